from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.special import expit, log_expit

from models.tasks.reconstruction import ReconstructionTask
from models.tasks.registry import make_task
from privacy.study.tasks.reconstruction import ReconstructionTerms
from tests.models.tasks.contributions import (
    any_float,
    check_contribution,
    check_gradient_is_finite,
    check_losses_of_each_record_alone,
    check_losses_of_short_outputs_are_wide,
    make_contract,
    to_tensors,
)

SHAPE = (3, 4)
CONTRACT = make_contract(
    [
        {"type": "number", "name": "features", "shape": SHAPE, "low": 0, "high": 9},
        {"type": "flag", "name": "observed", "shape": SHAPE},
    ],
    [],
)
TASK = ReconstructionTask()
MASKED = ReconstructionTask(mask="observed")
Loss = Literal["squared", "cross-entropy"]


def draw_records(seed: int, records: int = 41) -> tuple[NDArray[Any], dict[str, NDArray[Any]]]:
    """Draw outputs near the values, the values, and a mask that leaves out some records whole."""
    rng = np.random.default_rng(seed)
    values = rng.random((records, *SHAPE)).astype(np.float32)
    spread = rng.uniform(0, 0.6, records)[:, None, None]
    observed = rng.random(values.shape) < 0.6
    observed[::9] = False
    return values + spread * rng.normal(size=values.shape), {"features": values, "observed": observed}


def measure_errors(said: NDArray[Any], targets: dict[str, NDArray[Any]], masked: bool) -> list[float]:
    """Compute the root mean square difference of each record that has values."""
    errors = []
    for record, values, observed in zip(said, targets["features"], targets["observed"], strict=True):
        differences = (record - values)[observed] if masked else (record - values).ravel()
        if len(differences):
            errors.append(float(np.sqrt(np.mean(differences**2))))
    return errors


@pytest.mark.parametrize("bins", [2, 7, 100, 10_000])
@pytest.mark.parametrize("worst", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("masked", [False, True])
def test_figures_match_the_middles_of_bins_and_raw_errors(bins: int, worst: float, masked: bool) -> None:
    outputs, targets = draw_records(bins)
    terms = ReconstructionTerms(kind="reconstruction", worst=worst, mask="observed" if masked else None)
    task = make_task(terms, CONTRACT)
    counts = task.count_cells(torch.from_numpy(outputs), targets, bins).tolist()
    errors = np.array(measure_errors(outputs, targets, masked))
    middles = (np.minimum(np.floor(errors / worst * bins), bins - 1) + 0.5) * worst / bins
    figures = task.compute_figures(counts, bins)
    assert figures == pytest.approx({"reconstruction_error": middles.mean(), "median_error": np.median(middles)})
    cut = np.minimum(errors, worst)  # what exceeds the worst error is not seen
    for name, raw in (("reconstruction_error", cut.mean()), ("median_error", np.median(cut))):
        got = figures[name]
        assert got is not None
        assert abs(got - raw) <= worst / (2 * bins) + 1e-12
    rank = task.compute_rank(counts, bins)
    assert rank is not None
    assert -float(rank) == figures["reconstruction_error"]
    assert task.count_patients(counts, bins) == len(outputs)
    assert [kind.name for kind in task.figures] == list(figures)


@given(st.lists(st.integers(0, 6), min_size=9, max_size=9))
def test_median_of_any_histogram_matches_numpy(counts: list[int]) -> None:
    middles = np.repeat((np.arange(9) + 0.5) / 9, counts)
    expected = float(np.median(middles)) if len(middles) else None
    got = TASK.compute_figures(counts, 9)["median_error"]
    assert got == (None if expected is None else pytest.approx(expected))


def test_cross_entropy_compares_the_sigmoid() -> None:
    outputs, targets = draw_records(4)
    task = ReconstructionTask(loss="cross-entropy")
    counts = task.count_cells(torch.from_numpy(outputs), targets, 50).tolist()
    errors = np.array(measure_errors(expit(outputs), targets, masked=False))
    assert task.compute_figures(counts, 50)["reconstruction_error"] == pytest.approx(
        ((np.floor(errors * 50) + 0.5) / 50).mean()
    )
    assert task.describe_outputs(torch.from_numpy(outputs))["values"] == pytest.approx(expit(outputs))
    assert TASK.describe_outputs(torch.from_numpy(outputs))["values"] == pytest.approx(outputs)


@pytest.mark.parametrize("wrong", [torch.nan, torch.inf, -torch.inf, 1e200])
def test_a_record_that_is_no_number_is_in_the_last_bin(wrong: float) -> None:
    outputs = torch.zeros(1, *SHAPE, dtype=torch.float64)
    outputs[0, 0, 0] = wrong
    targets = {"features": np.zeros((1, *SHAPE), np.float32), "observed": np.ones((1, *SHAPE), bool)}
    assert TASK.count_cells(outputs, targets, 4).tolist() == [0, 0, 0, 1]
    assert MASKED.count_cells(outputs, targets, 4).tolist() == [0, 0, 0, 1, 0]
    targets["observed"][0, 0, 0] = False  # then it does not count
    assert MASKED.count_cells(outputs, targets, 4).tolist() == [1, 0, 0, 0, 0]


def test_a_patient_of_whom_no_value_counts_is_in_no_figure() -> None:
    outputs = torch.ones(2, *SHAPE)
    observed = np.zeros((2, *SHAPE), bool)
    observed[1] = True
    targets = {"features": np.full((2, *SHAPE), 0.9, np.float32), "observed": observed}
    counts = MASKED.count_cells(outputs, targets, 4).tolist()
    assert counts == [1, 0, 0, 0, 1]
    assert MASKED.compute_figures(counts, 4)["reconstruction_error"] == 0.125
    assert MASKED.count_patients(counts, 4) == 2


def test_negative_counts_are_zero_and_no_patients_give_no_figures() -> None:
    assert TASK.compute_figures([5, -2, 3, -1], 4) == TASK.compute_figures([5, 0, 3, 0], 4)
    assert set(TASK.compute_figures([-1, 0, 0, -5], 4).values()) == {None}
    assert TASK.compute_rank([-1, 0, 0, -5], 4) is None
    assert TASK.count_patients([-1, 2, 0, -5], 4) == 0
    assert TASK.count_patients([-1, 9, 0, -5], 4) == 3  # noise cancels in the sum
    assert set(MASKED.compute_figures([0, 0, 7], 2).values()) == {None}


def test_another_number_of_counts_is_refused() -> None:
    with pytest.raises(ValueError, match="expected 4 counts, got 5"):
        TASK.compute_figures([1] * 5, 4)


@given(
    arrays(np.float32, (3, *SHAPE), elements=any_float),
    arrays(np.float32, (3, *SHAPE), elements=st.floats(0, 1, width=32)),
    arrays(np.bool_, (3, *SHAPE)),
    st.integers(2, 12),
    st.sampled_from([None, "observed"]),
    st.sampled_from(["squared", "cross-entropy"]),
)
def test_one_record_adds_one_to_one_cell(
    outputs: NDArray[Any], values: NDArray[Any], observed: NDArray[Any], bins: int, mask: str | None, loss: Loss
) -> None:
    terms = ReconstructionTerms(kind="reconstruction", mask=mask, loss=loss)
    check_contribution(terms, CONTRACT, outputs, {"features": values, "observed": observed}, bins)


@pytest.mark.parametrize("loss", ["squared", "cross-entropy"])
@pytest.mark.parametrize("mask", [None, "observed"])
def test_losses_match_a_loop_over_records(loss: Loss, mask: str | None) -> None:
    outputs, targets = draw_records(5, records=12)
    task = make_task(ReconstructionTerms(kind="reconstruction", loss=loss, mask=mask), CONTRACT)
    expected = []
    for said, values, observed in zip(outputs, targets["features"], targets["observed"], strict=True):
        each = (said - values) ** 2
        if loss == "cross-entropy":
            each = -values * log_expit(said) - (1 - values) * log_expit(-said)
        kept = each[observed] if mask else each.ravel()
        expected.append(kept.mean() if len(kept) else 0.0)
    got = task.compute_losses(torch.from_numpy(outputs), to_tensors(targets))
    assert got.numpy() == pytest.approx(np.array(expected))
    check_losses_of_each_record_alone(task, torch.from_numpy(outputs).float(), targets)
    check_losses_of_short_outputs_are_wide(task, torch.from_numpy(outputs).float(), targets)


def test_single_values_are_reconstructed_too() -> None:
    task = ReconstructionTask(target="age")
    targets = {"age": np.array([0.5, 0.25], np.float32)}
    outputs = torch.tensor([0.5, 0.75])
    assert task.compute_losses(outputs, to_tensors(targets)).tolist() == [0.0, 0.25]
    assert task.count_cells(outputs, targets, 4).tolist() == [1, 0, 1, 0]
    nobody = {"age": np.zeros(0, np.float32)}
    assert task.count_cells(torch.zeros(0), nobody, 4).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("size", [1e4, 1e30])
@pytest.mark.parametrize("loss", ["squared", "cross-entropy"])
def test_gradient_of_extreme_outputs_is_finite(size: float, loss: Loss) -> None:
    signs = torch.from_numpy(np.random.default_rng(0).choice([-1.0, 1.0], (3, *SHAPE))).float()
    _, targets = draw_records(1, records=3)
    for task in (ReconstructionTask(loss=loss), ReconstructionTask(loss=loss, mask="observed")):
        check_gradient_is_finite(task, size * signs, targets)


@pytest.mark.parametrize("loss", ["squared", "cross-entropy"])
def test_gradient_where_an_uncounted_output_is_no_number_is_finite(loss: Loss) -> None:
    _, targets = draw_records(1, records=3)
    outputs = torch.zeros(3, *SHAPE)
    outputs[torch.from_numpy(~targets["observed"])] = torch.nan
    check_gradient_is_finite(ReconstructionTask(loss=loss, mask="observed"), outputs, targets)
