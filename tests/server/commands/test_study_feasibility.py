"""``consilium study feasibility`` as its operator types it, before any site is asked."""

import re
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from benchmarks.small_study import small_terms, write_study
from privacy.errors import FederationError, TermsError
from privacy.study import read_terms
from server.cli import cli
from server.federation.config import CoordinatorConfig
from server.federation.folder import Federation
from tests.statistics_study import statistics_terms


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Federation.create(tmp_path / "wood", CoordinatorConfig(federation="wood", port=9092)).folder


def study(folder: Path, *arguments: str | Path) -> Result:
    """The command in this process; expected failures are raised."""
    words = ["--dir", str(folder), "study", *map(str, arguments)]
    return CliRunner().invoke(cli, words, catch_exceptions=False, standalone_mode=False)


def test_feasibility_writes_a_study_file_that_people_can_check_and_approve(folder: Path, tmp_path: Path) -> None:
    trains = write_study(tmp_path / "study.yaml", small_terms(cohort={"minimum": 4}))
    written = tmp_path / "asked.yaml"
    asked = ("--epsilon", "0.5", "--pair", "age", "ill", "--difference", "age", "--terms", written)
    assert study(folder, "feasibility", trains, *asked).exit_code == 0
    terms = read_terms(written)
    assert (terms.counts_only, terms.asked_epsilon) == (True, 0.5)
    assert terms.task.model_dump()["pairs"] == (("age", "ill"),)
    checked = study(folder, "check", written, "--runs", "2").stdout
    assert "statistics, and epsilon_per_study of 0.5" in checked
    assert "in one exchange; trains nothing" in checked
    assert re.search(r"nor more than 4,194,\d{3} patients to train on", checked)  # 2^31 / 512, less 12 deviations
    with pytest.raises(TermsError, match="cannot be written: File exists"):
        study(folder, "feasibility", trains, *asked)


def test_feasibility_of_a_study_that_trains_needs_an_epsilon(folder: Path, tmp_path: Path) -> None:
    trains = write_study(tmp_path / "study.yaml", small_terms())
    with pytest.raises(click.UsageError, match="does not say what its feasibility may cost; name an --epsilon"):
        study(folder, "feasibility", trains)


def test_feasibility_of_a_study_of_statistics_takes_no_other_question(folder: Path, tmp_path: Path) -> None:
    counts = write_study(tmp_path / "study.yaml", statistics_terms())
    with pytest.raises(click.UsageError, match="says itself what is counted and what it costs"):
        study(folder, "feasibility", counts, "--epsilon", "1")


def test_feasibility_with_too_few_sites_is_refused_before_any_is_asked(folder: Path, tmp_path: Path) -> None:
    counts = write_study(tmp_path / "study.yaml", statistics_terms())
    with pytest.raises(TermsError, match="2 sites are invited, the terms need 4"):
        study(folder, "feasibility", counts, "--site", "ash", "--site", "elm")


def test_statistics_of_an_unknown_study_are_refused(folder: Path) -> None:
    with pytest.raises(FederationError, match="small-12345678"):
        study(folder, "statistics", "small-12345678")
