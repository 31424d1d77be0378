"""The tables of a demonstration: the spread of what was simulated, the sign of the gain, what is not protected."""

from typing import Any

import numpy as np
import pytest

from benchmarks.small_study import small_terms
from privacy.study.tasks.figures import FigureFacts
from server.demo.report import print_report
from server.demo.result import Alone, DemoResult, HospitalBudget, Pooled, summarise_trainings
from server.results.tally import Tally
from server.study.check import check_study


def make_result(name: str = "auroc", *, lower_is_better: bool = False, **changed: Any) -> DemoResult:
    """A study of two hospitals, whose first figure is 0.75 federated, 0.5 and 0.625 alone."""
    figures = (
        FigureFacts(name=name, title=name.upper(), lower_is_better=lower_is_better),
        FigureFacts(name="other", title="other"),
    )
    alone = (
        Alone(site="north", figure=name, value=0.5, spread=0.0625),
        Alone(site="south", figure=name, value=0.625, spread=None),
    )
    sites = tuple(
        HospitalBudget(name=each, patients=50, epsilon=3.0, delta=0.001, epsilon_left=2.5)
        for each in ("north", "south")
    )
    fields: dict[str, Any] = {
        "study": "small-1",
        "private": True,
        "generated": False,
        "rounds": 1,
        "seconds": 1.0,
        "figures": figures,
        "federated": {name: 0.75, "other": None},
        "chance": 0.03125,
        "test_patients_protected": False,
        "alone": alone,
        "pooled": Pooled(figure=name, value=0.875, spread=0.0),
        "sites": sites,
        "parameters": 3,
        "bytes_up": 1,
        "bytes_down": 1,
        "seconds_per_round": 1.0,
        "model_sha256": "0" * 64,
        "dir": None,
    }
    return DemoResult(**(fields | changed))


def print_rows(result: DemoResult, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Print the report; return its lines with single spaces and without borders."""
    print_report(result, Tally(), check_study(small_terms()))
    return [" ".join(line.replace("│", " ").split()) for line in capsys.readouterr().out.splitlines()]


def test_rows_say_the_mean_and_the_spread_of_what_was_simulated(capsys: pytest.CaptureFixture[str]) -> None:
    rows = print_rows(make_result(), capsys)
    assert "federated AUROC 0.750 one study" in rows
    assert "north alone AUROC 0.500 ± 0.062 simulated" in rows
    assert "south alone AUROC 0.625 simulated" in rows
    assert "pooled, no privacy AUROC 0.875 ± 0.000 simulated" in rows


def test_gain_is_the_range_over_the_hospitals(capsys: pytest.CaptureFixture[str]) -> None:
    assert make_result().compute_gains() == (0.25, 0.125)
    assert "gain over one alone AUROC +0.125 to +0.250" in print_rows(make_result(), capsys)


def test_gain_of_a_figure_that_is_better_when_lower_is_turned_round(capsys: pytest.CaptureFixture[str]) -> None:
    result = make_result("error", lower_is_better=True)
    assert result.compute_gains() == (-0.25, -0.125)
    rows = print_rows(result, capsys)
    assert "gain over one alone ERROR -0.250 to -0.125" in rows
    assert "the federation is better (lower ERROR)" in " ".join(rows)


def test_gain_without_figures_is_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    unknown = tuple(Alone(site=each, figure="auroc", value=None, spread=None) for each in ("north", "south"))
    assert make_result(alone=unknown).compute_gains() == ()
    assert make_result(federated={"auroc": None, "other": None}).compute_gains() == ()
    assert "gain over one alone AUROC -" in print_rows(make_result(alone=unknown), capsys)


@pytest.mark.parametrize("protected", [False, True])
def test_caption_says_whether_test_patients_are_protected(
    protected: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    text = " ".join(print_rows(make_result(test_patients_protected=protected), capsys))
    assert ("test patients are NOT protected here" in text) is not protected


def test_caption_says_what_other_test_patients_would_change(capsys: pytest.CaptureFixture[str]) -> None:
    assert "would move the federated AUROC by about 0.031" in " ".join(print_rows(make_result(), capsys))
    assert "would move" not in " ".join(print_rows(make_result(chance=None), capsys))


def test_trainings_are_summarised_as_numpy_does() -> None:
    found = [0.91, 0.97, 0.88]
    assert summarise_trainings(found) == pytest.approx((np.mean(found), np.std(found, ddof=1)))


def test_one_training_has_no_spread() -> None:
    assert summarise_trainings([0.91]) == (0.91, None)


def test_trainings_with_an_undefined_figure_have_no_mean() -> None:
    assert summarise_trainings([0.91, None]) == (None, None)
    assert summarise_trainings([]) == (None, None)


@pytest.mark.parametrize("generated", [False, True])
def test_generated_records_are_called_so(generated: bool, capsys: pytest.CaptureFixture[str]) -> None:
    rows = print_rows(make_result("auroc", generated=generated), capsys)
    assert ("which are generated: nobody's" in " ".join(rows)) is generated
