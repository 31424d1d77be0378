"""What the coordinator is shown of a study: the figures of the sites' cards, from opened totals, and nothing else."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from benchmarks.small_study import small_terms, without_privacy
from models.tasks.binary import BinaryTask
from privacy.errors import FederationError
from privacy.keys import SigningKey
from privacy.protocol.headers import Evaluated
from privacy.protocol.messages import Closed
from privacy.study import Terms
from server.cli import cli
from server.results.documents import StudyResults, StudySummary
from server.results.read import read_results, read_summary
from server.study.events import Finished, RoundVoid, SiteClosed, SiteOut, SiteReadmitted
from server.study.figures import find_known_totals
from server.study.notes import FiguresOpened
from server.watch.progress import Progress
from tests.privacy.head_makers import standing
from tests.protocol.conftest import Found
from tests.simulator import Simulator

EVERY = {"rounds": [1, 2], "epsilon": 2.0}
FIGURES = ("auroc", "average_precision", "accuracy", "sensitivity", "specificity", "brier", "calibration")


def consilium(simulator: Simulator, *words: str) -> Result:
    return CliRunner().invoke(
        cli, ["--dir", str(simulator.federation.folder), "study", *words], catch_exceptions=False
    )


def results(simulator: Simulator) -> StudyResults:
    return read_results(simulator.federation.find_study_folder(simulator.study))


def summary(simulator: Simulator) -> StudySummary:
    return read_summary(simulator.federation.find_study_folder(simulator.study))


def card(simulator: Simulator, name: str) -> dict[str, Any]:
    path = simulator.homes[name].find_study_folder(simulator.study) / "release" / "card.json"
    read: dict[str, Any] = json.loads(path.read_bytes())
    return read


@pytest.mark.parametrize("terms", [small_terms(evaluation=EVERY), without_privacy()], ids=["noised", "bare"])
def test_results_are_those_of_every_sites_card(found: Found, terms: Terms) -> None:
    simulator = found(terms)
    simulator.run()
    shown = results(simulator)
    assert [each.after_round for each in shown.evaluations] == list(terms.evaluation.rounds)
    for name in simulator.names:
        for mine, theirs in zip(shown.evaluations, card(simulator, name)["evaluation"], strict=True):
            assert set(mine.figures) == set(FIGURES)
            assert {name: each.value for name, each in mine.figures.items()} == theirs["figures"]
            assert {name: each.noise for name, each in mine.figures.items()} == theirs["noise"]
            assert mine.patients == theirs["patients"]
    assert {each.name: each.epsilon_spent for each in shown.sites} == {
        name: card(simulator, name)["site"]["epsilon_spent_by_this_study"] for name in simulator.names
    }
    assert (shown.standing, shown.rounds.applied, shown.rounds.left) == ("finished", 2, 0)
    assert shown.movement.seconds_left is None


def test_noise_of_figures_is_that_of_all_sites_of_the_cohort(found: Found) -> None:
    simulator = found(small_terms(evaluation=EVERY))
    simulator.run()
    of_a_site = simulator.state("ash").evaluation_noise_multiplier
    assert of_a_site is not None
    shown = results(simulator).evaluations[0]
    assert shown.noise_deviation == pytest.approx(2 * of_a_site)  # four sites' variances add up
    assert shown.figures["auroc"].noise is not None
    assert shown.figures["auroc"].noise > 0.01


def test_figures_are_told_to_whoever_watches_once_each_also_after_a_restart(found: Found) -> None:
    simulator = found(small_terms(evaluation={"rounds": [1, 2]}, training={"rounds": 3}))
    simulator.run(lambda: 2 in simulator.journal.read_history().committed)
    simulator.restart_coordinator()
    simulator.run()
    told = [note for note in simulator.journal.read_notes() if isinstance(note, FiguresOpened)]
    assert [note.after_round for note in told] == [1, 2]
    own = BinaryTask().compute_figures(
        simulator.history("ash").evaluations[0].counts, simulator.terms.evaluation.bins
    )
    assert {name: each.value for name, each in told[0].figures.items()} == own


def test_study_in_progress_counts_its_rounds_and_the_time_left(found: Found) -> None:
    simulator = found(small_terms(training={"rounds": 4}, evaluation={"rounds": [4]}))
    simulator.run(lambda: 2 in simulator.journal.read_history().committed)
    shown = results(simulator)
    assert (shown.standing, shown.rounds.applied, shown.rounds.planned, shown.rounds.left) == ("open", 2, 4, 2)
    assert shown.movement.seconds_left == pytest.approx(3 * shown.movement.seconds_per_round, rel=1.0)  # type: ignore[operator]
    assert {each.state for each in shown.sites} == {"member"}
    assert "2 of 4, 2 left" in consilium(simulator, "list").stdout


def test_lost_round_and_closing_evaluation_are_not_counted_as_applied(found: Found) -> None:
    """walk.md 8: a ten-round study was "11 of 10", and one that lost a round "10 of 10"."""
    simulator = found(small_terms(training={"rounds": 2}, evaluation={"rounds": [2]}))
    simulator.journal.record(RoundVoid(round=1, sites=("elm",)))
    simulator.restart_coordinator()
    simulator.run()
    counted = summary(simulator).rounds
    assert (counted.planned, counted.applied, counted.void, counted.left) == (2, 1, 1, 0)
    assert "1 of 2, 1 void" in consilium(simulator, "list").stdout
    assert "1 of 2, 1 void" in consilium(simulator, "show", simulator.study).stdout


def test_site_that_is_out_stands_with_its_reason_until_it_is_readmitted(found: Found) -> None:
    simulator = found(small_terms())
    simulator.journal.record(SiteOut(site="elm", why="failed 3 times"))
    assert {each.name: (each.state, each.why) for each in results(simulator).sites}["elm"] == (
        "out",
        "failed 3 times",
    )
    assert "failed 3 times" in consilium(simulator, "show", simulator.study).stdout
    simulator.journal.record(SiteReadmitted(site="elm"))
    assert {each.name: each.state for each in results(simulator).sites}["elm"] == "expected"


def test_site_that_refused_stands_with_its_sentence(found: Found) -> None:
    simulator = found(small_terms(), launch=False)
    with simulator.homes["elm"].open_ledger():
        pass
    path = simulator.homes["elm"].folder / "policy.yaml"
    path.write_text(path.read_text().replace("unprotected_test_patients: true", "unprotected_test_patients: false"))
    simulator.restart_site("elm")
    simulator.launch()
    simulator.run(lambda: 1 in simulator.journal.read_history().committed)
    elm = {each.name: each for each in results(simulator).sites}["elm"]
    assert elm.state == "refused"
    assert "test patients" in elm.why
    assert elm.rounds == 0


def closed(totals: Evaluated | None) -> Closed:
    return Closed(base=3, evaluated=totals, ledger=standing(SigningKey.generate(), "ash"), epsilon_spent=1.0)


def test_last_totals_count_once_two_sites_that_closed_have_told_them_alike(found: Found) -> None:
    simulator = found(small_terms())
    simulator.run(lambda: 3 in simulator.journal.read_history().committed)
    history, terms = simulator.journal.read_history(), simulator.terms
    totals = Evaluated(round=2, opened_in=3, counts=tuple(range(20)))
    history.apply(SiteClosed(site="ash", closed=closed(totals)))
    assert find_known_totals(terms, history) == ([], [])
    history.apply(SiteClosed(site="elm", closed=closed(totals)))
    assert find_known_totals(terms, history) == ([totals], [])
    other = totals.model_copy(update={"counts": (1,) * 20})
    history.apply(SiteClosed(site="birch", closed=closed(other)))
    known, remarks = find_known_totals(terms, history)
    assert known == []
    assert "2 different totals after round 2" in remarks[0]


@pytest.mark.parametrize(
    "totals",
    [
        Evaluated(round=2, opened_in=9, counts=(1,) * 20),
        Evaluated(round=1, opened_in=3, counts=(1,) * 20),
        Evaluated(round=2, opened_in=3, counts=(1,) * 3),
    ],
    ids=["of-no-round", "not-planned", "other-shape"],
)
def test_totals_that_cannot_be_the_studys_are_not_shown(found: Found, totals: Evaluated) -> None:
    simulator = found(small_terms())
    simulator.run(lambda: 3 in simulator.journal.read_history().committed)
    history = simulator.journal.read_history()
    history.apply(SiteClosed(site="ash", closed=closed(totals)))
    history.apply(Finished())
    assert find_known_totals(simulator.terms, history) == ([], [])


# The commands ----------------------------------------------------------------------------------------------


def test_show_needs_no_coordinator_and_says_threshold_noise_and_price(found: Found) -> None:
    simulator = found(small_terms(evaluation=EVERY))
    simulator.run()
    said = consilium(simulator, "show", simulator.study).stdout
    for part in (
        "epsilon 3, delta 0.001",
        "a score of 0.5 or more counts as positive",
        "± is how far the noise",
        "2 of 2",
    ):
        assert part in said
    read = StudyResults.model_validate_json(consilium(simulator, "show", simulator.study, "--json").stdout)
    assert read == results(simulator)


def test_show_of_a_bare_study_says_so_in_capitals(found: Found) -> None:
    simulator = found(without_privacy())
    simulator.run()
    said = consilium(simulator, "show", simulator.study).stdout
    assert "WITHOUT PRIVACY" in said
    assert "NOT protected" in said


def test_compare_lays_studies_side_by_side(found: Found) -> None:
    simulator = found(small_terms())
    simulator.run()
    first = simulator.study
    simulator.launch()
    simulator.run()
    said = consilium(simulator, "compare", first, simulator.study).stdout
    lines = {line[:24].strip(): line.split() for line in said.splitlines()}
    assert [first, simulator.study] == lines[""]
    values = [
        f"{each.evaluations[-1].figures['auroc'].value:.3f}"
        for each in (read_results(simulator.federation.find_study_folder(n)) for n in (first, simulator.study))
    ]
    assert lines["AUROC"][1:] == values
    read = json.loads(consilium(simulator, "compare", first, simulator.study, "--json").stdout)
    assert [each["study"] for each in read["studies"]] == [first, simulator.study]


@pytest.mark.parametrize("name", ["none-00000000", "../studies", ""])
def test_study_that_was_not_launched_here_is_refused(found: Found, name: str) -> None:
    simulator = found(small_terms(), launch=False)
    with pytest.raises(FederationError, match=r"there is no study .*; see: consilium study list"):
        consilium(simulator, "show", name)


def test_list_in_a_folder_that_is_no_federation_says_so(tmp_path: Path) -> None:
    with pytest.raises(FederationError, match=r"no coordinator\.yaml here"):
        CliRunner().invoke(cli, ["--dir", str(tmp_path), "study", "list"], catch_exceptions=False)


def test_watching_shows_figures_and_the_time_left(found: Found, capsys: pytest.CaptureFixture[str]) -> None:
    simulator = found(small_terms(evaluation=EVERY))
    simulator.run()
    with Progress() as progress:
        for note in simulator.journal.read_notes():
            progress.add_note(note)
    said = capsys.readouterr().err
    assert "round 1 of 3 is done; about" in said
    assert "after round 1, on the sites' test patients: AUROC" in said
    assert said.index("AUROC") < said.index("specificity") < said.index("Brier score"), "in the task's order"
    assert "so far epsilon" in said
