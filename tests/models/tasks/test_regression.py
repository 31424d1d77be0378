import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import pearsonr, somersd
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score
from torch.nn.functional import huber_loss

from models.tasks.regression import RegressionTask
from privacy.study.data.arrays import ArraysContract
from privacy.study.tasks.regression import RegressionTerms
from tests.models.tasks.record_checks import (
    ANY_FLOAT,
    make_contract,
    require_finite_gradients,
    require_losses_of_records_alone,
    require_one_cell_per_group,
    require_rank_is_first_figure,
)

LOW, HIGH, BINS = -40.0, 160.0, 8
WIDTH = (HIGH - LOW) / BINS
INPUTS = [{"type": "number", "name": "features", "shape": [3], "low": 0, "high": 1}]


def contract_of(*shape: int, scaled: str = "signed") -> ArraysContract:
    label = {"type": "number", "name": "label", "shape": shape, "low": LOW, "high": HIGH, "scaled": scaled}
    return make_contract(INPUTS, [label])


def make_task(*shape: int, scaled: str = "signed", **options: object) -> RegressionTask:
    terms = RegressionTerms.model_validate({"kind": "regression", **options})
    return RegressionTask(terms, contract_of(*shape, scaled=scaled))


def scale(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """Units of the target to [-1, 1]."""
    return ((values - LOW) / (HIGH - LOW) * 2 - 1).astype(np.float32)


def middles(place: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.asarray(LOW + (place + 0.5) * WIDTH, dtype=np.float64)


cells_of_eight_bins = st.lists(st.integers(-3, 4), min_size=BINS * BINS, max_size=BINS * BINS)


@given(cells_of_eight_bins)
def test_figures_of_any_histogram_match_scikit_learn_and_scipy_on_middles_of_bins(counts: list[int]) -> None:
    clipped = np.maximum(counts, 0)
    place = np.repeat(np.arange(BINS * BINS), clipped)
    truth, prediction = middles(place // BINS), middles(place % BINS)
    got = make_task().compute_figures(counts, BINS)
    assert list(got) == ["r2", "mse", "mae", "pearson", "concordance"]
    if not len(place):
        assert set(got.values()) == {None}
        return
    assert got["mse"] == pytest.approx(mean_squared_error(truth, prediction))
    assert got["mae"] == pytest.approx(mean_absolute_error(truth, prediction))
    if len(set(truth)) > 1:
        assert got["r2"] == pytest.approx(r2_score(truth, prediction))
        # Somers' D of the prediction given the truth: concordant less discordant, over pairs of different truths
        if len(set(prediction)) > 1:
            assert got["concordance"] == pytest.approx((somersd(truth, prediction).statistic + 1) / 2)
            assert got["pearson"] == pytest.approx(pearsonr(truth, prediction).statistic)
        else:
            assert (got["concordance"], got["pearson"]) == (0.5, None)
    else:
        assert (got["r2"], got["concordance"], got["pearson"]) == (None, None, None)


@given(cells_of_eight_bins)
def test_rank_of_any_histogram_is_r2(counts: list[int]) -> None:
    require_rank_is_first_figure(make_task(), counts, BINS)


def test_figures_of_records_are_those_of_raw_values_up_to_the_bins() -> None:
    rng, task, bins = np.random.default_rng(3), make_task(), 40
    width = (HIGH - LOW) / bins
    truth = rng.uniform(LOW, HIGH, 300)
    prediction = np.clip(truth + rng.normal(0, 30, 300), LOW, HIGH)
    counts = task.count_cells(torch.from_numpy(scale(prediction)), {"label": scale(truth)}, bins)
    got = task.compute_figures(counts.tolist(), bins)
    errors = np.abs(truth - prediction)
    assert abs((got["mae"] or 0) - errors.mean()) <= width
    assert abs((got["mse"] or 0) - (errors**2).mean()) <= (2 * errors * width + width**2).mean()
    # a pair that one bin makes a tie moves the concordance by at most a half
    place = [np.minimum(((each - LOW) / width).astype(int), bins - 1) for each in (truth, prediction)]
    order, pairs, tied = 0.0, 0, 0
    for one, other in itertools.combinations(range(300), 2):
        if place[0][one] != place[0][other]:
            pairs += 1
            order += (truth[one] < truth[other]) == (prediction[one] < prediction[other])
            tied += place[1][one] == place[1][other]
    assert abs((got["concordance"] or 0) - order / pairs) <= tied / pairs / 2 + 1e-12


def test_figures_of_a_perfect_model_are_the_best() -> None:
    task, truth = make_task(), scale(np.linspace(LOW, HIGH, 50))
    got = task.compute_figures(task.count_cells(torch.from_numpy(truth), {"label": truth}, BINS).tolist(), BINS)
    assert got == {kind.name: pytest.approx(kind.best) for kind in task.figures}


def test_figures_of_another_number_of_counts_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected 64 counts, got 63"):
        make_task().compute_figures([1] * 63, BINS)


@pytest.mark.parametrize(("bins", "cells"), [(2, 4), (100, 10_000), (10_000, 10_000)])
def test_cells_have_at_most_a_hundred_bins_an_axis(bins: int, cells: int) -> None:
    outputs, targets = torch.zeros(3), {"label": np.zeros(3, dtype=np.float32)}
    assert len(make_task().count_cells(outputs, targets, bins)) == cells


any_output = st.sampled_from(ANY_FLOAT) | st.floats(width=32)


@given(st.lists(st.tuples(any_output, st.floats(-1, 1, width=32)), min_size=1, max_size=4))
def test_any_record_adds_one_to_one_cell(records: list[tuple[float, float]]) -> None:
    task = make_task()
    outputs = torch.tensor([output for output, _ in records], dtype=torch.float32)
    truth = np.array([each for _, each in records], dtype=np.float32)
    require_one_cell_per_group(task, task.terms, contract_of(), outputs, {"label": truth}, BINS)


@pytest.mark.parametrize(("output", "cell"), [(float("nan"), 0), (float("-inf"), 0), (float("inf"), BINS - 1)])
def test_prediction_that_is_no_number_has_a_fixed_cell(output: float, cell: int) -> None:
    counts = make_task().count_cells(torch.tensor([output]), {"label": np.array([-1.0], dtype=np.float32)}, BINS)
    assert counts[cell] == 1


def test_losses_are_squares_or_hubers_of_scaled_errors() -> None:
    outputs, truth = torch.tensor([0.5, -3.0, 0.05]), torch.tensor([0.0, 1.0, 0.0])
    squared = make_task().compute_losses(outputs, {"label": truth})
    torch.testing.assert_close(squared, torch.tensor([0.25, 16.0, 0.0025]))
    huber = make_task(loss="huber", delta=0.1).compute_losses(outputs, {"label": truth})
    torch.testing.assert_close(huber, torch.tensor([0.1 * 0.45, 0.1 * 3.95, 0.00125]))


@pytest.mark.parametrize("loss", ["squared", "huber"])
@pytest.mark.parametrize("shape", [(), (4,)])
def test_losses_of_records_do_not_depend_on_others(loss: str, shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(1)
    outputs, truth = (torch.randn((5, *shape), generator=generator) for _ in range(2))
    task = make_task(*shape, loss=loss)
    require_losses_of_records_alone(task, outputs, {"label": truth.numpy()})
    require_finite_gradients(task, outputs * 1e30, {"label": truth.numpy()})


def test_losses_of_several_numbers_are_means() -> None:
    outputs, truth = torch.randn(3, 5, generator=torch.Generator().manual_seed(2)), torch.zeros(3, 5)
    got = make_task(5, loss="huber", delta=0.5).compute_losses(outputs, {"label": truth})
    for row in range(3):
        torch.testing.assert_close(got[row], huber_loss(outputs[row], truth[row], delta=0.5))


@pytest.mark.parametrize("bins", [50, 1000])
def test_several_numbers_are_judged_by_the_mean_absolute_error_in_units(bins: int) -> None:
    rng, task = np.random.default_rng(5), make_task(6)
    truth, prediction = rng.uniform(LOW, HIGH, (2, 80, 6))
    counts = task.count_cells(torch.from_numpy(scale(prediction)), {"label": scale(truth)}, bins)
    assert [kind.name for kind in task.figures] == ["mae"]
    half = (HIGH - LOW) / bins / 2
    got = task.compute_figures(counts.tolist(), bins)["mae"]
    assert got is not None
    assert abs(got - mean_absolute_error(truth, prediction)) <= half + 1e-4
    errors = np.abs(truth - prediction).mean(axis=1)
    assert got == pytest.approx((np.floor(errors / (2 * half)) * 2 * half + half).mean())


@given(st.lists(st.integers(-3, 4), min_size=BINS, max_size=BINS))
def test_rank_of_several_numbers_is_minus_the_error(counts: list[int]) -> None:
    require_rank_is_first_figure(make_task(6), counts, BINS, sign=-1, unit=HIGH - LOW)


@given(st.lists(st.tuples(any_output, any_output), min_size=1, max_size=4))
def test_any_record_of_several_numbers_adds_one_to_one_cell(records: list[tuple[float, float]]) -> None:
    task, outputs = make_task(2), torch.tensor(records, dtype=torch.float32)
    truth = np.full((len(records), 2), 0.25, dtype=np.float32)
    require_one_cell_per_group(task, task.terms, contract_of(2), outputs, {"label": truth}, BINS)


def test_several_numbers_with_nothing_but_no_numbers_are_in_the_worst_cell() -> None:
    task, truth = make_task(2), np.zeros((1, 2), dtype=np.float32)
    counts = task.count_cells(torch.full((1, 2), float("nan")), {"label": truth}, BINS)
    assert counts.tolist() == [0] * (BINS - 1) + [1]


@pytest.mark.parametrize(("scaled", "seen"), [("unit", 0.75), ("signed", 0.5), ("none", 110.0)])
def test_described_values_are_in_the_units_of_the_target(scaled: str, seen: float) -> None:
    task = make_task(scaled=scaled)
    assert task.describe_outputs(torch.tensor([seen]))["value"].tolist() == [110.0]
    counts = task.count_cells(torch.tensor([seen]), {"label": np.array([seen], dtype=np.float32)}, BINS)
    assert counts.reshape(BINS, BINS)[6, 6] == 1


def test_patients_are_the_sum_of_cells_and_never_negative() -> None:
    task = make_task()
    assert task.count_patients([5, -2] + [0] * 62, BINS) == 3
    assert task.count_patients([-5, 2] + [0] * 62, BINS) == 0
