"""A study of statistics from launch to page, compared with pandas over the sites' own files."""

from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from client.study.statistics_file import STATISTICS_FILE
from models.tasks.statistics_document import Statistics
from privacy.canonical import from_canonical
from privacy.errors import FederationError
from privacy.ledger.entries import Evaluate, Return
from privacy.mechanisms.shared_totals import compute_share_variances
from privacy.study.tasks.task import compute_squared_scales
from server.cli import cli
from server.results.read import read_results, read_summary
from server.study.state import Phase
from tests.protocol.conftest import Found
from tests.protocol.invariants import require_safe
from tests.protocol.moments import THREE, in_phase
from tests.simulator import Simulator
from tests.statistics_study import ASKED, statistics_terms

HARDLY_ANY_NOISE = {"epsilon": 100}
ALSO_THREE = {"cohort": {"minimum": 3}, "task": {**ASKED, "differences": []}}


def read_files(simulator: Simulator, *names: str) -> pd.DataFrame:
    """All patients of these sites, from the files that were registered."""
    parts = []
    for name in names:
        registered = simulator.homes[name].load_registry().find_exact(simulator.terms.data)
        assert registered is not None
        files = registered.to_study_files()
        parts += [pd.read_csv(path).assign(site=name) for path in (files.train, files.test)]
    return pd.concat(parts)


def read_kept(simulator: Simulator, name: str) -> Statistics:
    path = simulator.homes[name].find_study_folder(simulator.study) / STATISTICS_FILE
    assert path.stat().st_mode & 0o777 == 0o600
    return Statistics.model_validate(from_canonical(path.read_bytes().rstrip(b"\n")))


def test_statistics_of_all_sites_are_those_of_the_pooled_files(found: Found) -> None:
    simulator = found(statistics_terms(privacy=HARDLY_ANY_NOISE))
    simulator.run()
    assert simulator.conductor.machine.phase is Phase.DONE
    require_safe(simulator)
    kept = [read_kept(simulator, name) for name in simulator.names]
    shown = read_results(simulator.federation.find_study_folder(simulator.study))
    assert all(each == shown.statistics for each in kept)

    table, document = read_files(simulator, *simulator.names), kept[0]
    columns = {each.name: each for each in document.columns}
    # The error shown is that of 95 of 100 runs: three times it is nearly six standard deviations.
    assert document.patients.error is not None
    assert document.patients.value == pytest.approx(len(table), abs=3 * document.patients.error)
    assert document.noise_deviation < 1
    ill = columns["ill"].counts
    assert ill[1].patients == pytest.approx(sum(table["ill"] == "yes"), abs=3 * ill[1].error)
    assert columns["age"].mean is not None
    assert columns["age"].deviation is not None
    assert columns["age"].mean.value == pytest.approx(table["age"].mean(), abs=0.5)
    assert columns["age"].deviation.value == pytest.approx(table["age"].std(ddof=0), abs=0.5)
    correlation = table["age"].corr((table["ill"] == "yes").astype(float))
    assert document.correlations[0].correlation.value == pytest.approx(correlation, abs=0.05)


def test_statistics_are_paid_once_and_release_no_model(found: Found) -> None:
    simulator = found(statistics_terms())
    simulator.run()
    for name in simulator.names:
        assert not simulator.entries(name, "reserve", "model-release")
        (paid,), (closed,) = simulator.entries(name, "evaluate"), simulator.entries(name, "return")
        assert isinstance(paid.body, Evaluate)
        assert isinstance(closed.body, Return)
        assert (paid.body.round, paid.body.event.kind, closed.body.charge) == (0, "distributed-gaussian", 0)
        folder = simulator.homes[name].find_study_folder(simulator.study)
        assert not (folder / "release").exists()
        assert not (folder / "unpublished").exists()
    summary = read_summary(simulator.federation.find_study_folder(simulator.study))
    assert summary.figure is not None
    assert summary.figure.title == "patients"


def test_sites_that_are_left_add_more_noise_to_the_same_counts(found: Found) -> None:
    simulator = found(statistics_terms(**ALSO_THREE))
    in_phase(simulator, Phase.SEALING)
    simulator.transport.cut_off.add("elm")
    simulator.step()
    before = {name: simulator.state(name).counted for name in THREE}
    simulator.step(1000)  # it is not waited for any longer
    simulator.run()
    assert simulator.conductor.machine.phase is Phase.DONE
    scales, noise = (
        compute_squared_scales(simulator.terms.cell_groups),
        simulator.state("ash").evaluation_noise_multiplier,
    )
    assert noise is not None
    for name in THREE:
        first, last = before[name], simulator.state(name).counted
        assert first is not None
        assert last is not None
        assert (first.honest, last.honest) == (3, 2)
        added = [after - there for after, there in zip(last.counts, first.counts, strict=True)]
        wanted = [
            more - less
            for more, less in zip(
                compute_share_variances(scales, noise, 2), compute_share_variances(scales, noise, 3), strict=True
            )
        ]
        spread = sum(each**2 / variance for each, variance in zip(added, wanted, strict=True)) / len(added)
        # About 1: it is noise of the variance that lacks. Chi-square, 32 cells: beyond this once in 10 million.
        assert 0.2 < spread < 3
        assert len(simulator.entries(name, "evaluate")) == 1
    document = read_kept(simulator, "ash")
    assert document.sites == THREE
    table = read_files(simulator, *THREE)
    assert document.patients.value == pytest.approx(len(table), abs=3 * (document.patients.error or 0))


def test_restarted_site_seals_what_it_has_counted_already(found: Found) -> None:
    simulator = found(statistics_terms())
    in_phase(simulator, Phase.SEALING)
    simulator.transport.cut_off.add("elm")
    simulator.step()
    counted = simulator.state("ash").counted
    simulator.restart_site("ash")
    simulator.transport.cut_off.clear()
    simulator.run(seconds=5)
    assert simulator.conductor.machine.phase is Phase.DONE
    assert simulator.state("ash").counted == counted
    assert len(simulator.entries("ash", "evaluate")) == 1


def test_same_sites_may_be_asked_again_and_pay_again(found: Found) -> None:
    simulator = found(statistics_terms())
    simulator.run()
    first = simulator.study
    simulator.launch()
    simulator.run()
    assert simulator.study != first
    assert simulator.conductor.machine.phase is Phase.DONE
    assert len(simulator.entries("ash", "evaluate")) == 2


def test_page_is_written_from_the_coordinators_folder(found: Found, tmp_path: Path) -> None:
    simulator = found(statistics_terms())
    page, place = tmp_path / "page.html", ["--dir", str(simulator.federation.folder), "study"]
    with pytest.raises(FederationError, match="is open and has no statistics yet"):
        CliRunner().invoke(cli, [*place, "statistics", simulator.study], catch_exceptions=False)
    simulator.run()
    done = CliRunner().invoke(
        cli, [*place, "statistics", simulator.study, "--out", str(page), "--json"], catch_exceptions=False
    )
    assert Statistics.model_validate_json(done.stdout) == read_kept(simulator, "ash")
    assert b"patients</b> at 4 sites together would qualify" in page.read_bytes()
    shown = CliRunner().invoke(cli, [*place, "show", simulator.study], catch_exceptions=False).stdout
    assert "would qualify" in shown
    assert f"consilium study statistics {simulator.study}" in shown
