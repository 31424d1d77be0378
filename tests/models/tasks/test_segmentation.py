import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.special import expit, log_expit, log_softmax, softmax
from sklearn.metrics import f1_score, jaccard_score

from models.tasks.registry import make_task
from models.tasks.segmentation import SegmentationTask
from privacy.study.tasks.segmentation import SegmentationTerms
from tests.models.tasks.contributions import (
    AN_INPUT,
    any_float,
    check_contribution,
    check_gradient_is_finite,
    check_losses_of_each_record_alone,
    check_losses_of_short_outputs_are_wide,
    make_contract,
    to_tensors,
)

FLAT, DEEP = (4, 5), (2, 3, 4)
FLAGS = make_contract([AN_INPUT], [{"type": "flag", "name": "mask", "shape": FLAT}])
IDS = make_contract([AN_INPUT], [{"type": "id", "name": "mask", "shape": DEEP, "values": 4}])
OF_FLAGS = SegmentationTask()
OF_IDS = SegmentationTask(4, flags=False)
IGNORING = SegmentationTask(4, flags=False, ignored=3)


def draw_flags(seed: int, records: int = 30) -> tuple[NDArray[Any], NDArray[Any]]:
    """Draw logits and masks, (records, 4, 5); some masks are empty, some logits predict nothing."""
    rng = np.random.default_rng(seed)
    truth = rng.random((records, *FLAT)) < rng.choice([0.0, 0.3, 0.7], records)[:, None, None]
    outputs = rng.normal(size=truth.shape) + 2 * truth - 1
    outputs[::7], truth[::14] = -4.0, False
    return outputs, truth


def draw_ids(seed: int, records: int = 30) -> tuple[NDArray[Any], NDArray[Any]]:
    """Draw logits (records, 4, 2, 3, 4) and masks (records, 2, 3, 4); class 2 is rare, and often absent."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(4, (records, *DEEP), p=[0.55, 0.3, 0.02, 0.13])
    outputs = rng.normal(size=(records, 4, *DEEP)) + 2.0 * (truth[:, None] == np.arange(4)[:, None, None, None])
    outputs[:, 2] -= 2.0
    return outputs, truth


def measure(truth: NDArray[Any], predicted: NDArray[Any], each: int) -> list[tuple[int, int, int]]:
    """Count intersection, prediction and truth of each record, voxel by voxel."""
    sizes = []
    for true, said in zip(truth.reshape(len(truth), -1), predicted.reshape(len(truth), -1), strict=True):
        pairs = list(zip(true.tolist(), said.tolist(), strict=True))
        both = sum(a == each and b == each for a, b in pairs)
        sizes.append((both, sum(b == each for _, b in pairs), sum(a == each for a, _ in pairs)))
    return sizes


def round_half_up(value: Fraction) -> int:
    return math.floor(value + Fraction(1, 2))


def compute_expected(classes: list[list[tuple[int, int, int]]], bins: int, voxels: int) -> dict[str, float]:
    """Compute the figures of the rounded Dice and sizes of every class, by definition."""
    dices, ious, of_all, of_union = [], [], [], []
    for sizes in classes:
        present = [(both, said + true) for both, said, true in sizes if said + true]
        rounded = [Fraction(round_half_up(Fraction(2 * a, b) * (bins - 1)), bins - 1) for a, b in present]
        dices.append(float(sum(rounded) / len(rounded)))
        ious.append(float(sum(dice / (2 - dice) for dice in rounded) / len(rounded)))
        parts = [[round_half_up(Fraction(1000 * part, voxels)) for part in each] for each in sizes]
        both, said, true = (sum(column) for column in zip(*parts, strict=True))
        of_all.append(2 * both / (said + true))
        of_union.append(both / (said + true - both))
    means = [sum(column) / len(column) for column in (dices, ious, of_all, of_union)]
    figures = dict(zip(["mean_dice", "mean_iou", "total_dice", "total_iou"], means, strict=True))
    return figures | ({f"dice_{place + 1}": dice for place, dice in enumerate(dices)} if len(dices) > 1 else {})


def check_against_loops(
    task: SegmentationTask, outputs: NDArray[Any], truth: NDArray[Any], predicted: NDArray[Any], bins: int
) -> None:
    counts = task.count_cells(torch.from_numpy(outputs), {"mask": truth}, bins).tolist()
    foreground = [each for each in range(1, task.classes) if each != task.ignored]
    classes = [measure(truth, predicted, each) for each in foreground]
    expected = compute_expected(classes, bins, math.prod(truth.shape[1:]))
    got = task.compute_figures(counts, bins)
    assert got == pytest.approx(expected)
    assert list(got) == [kind.name for kind in task.figures]
    rank = task.compute_rank(counts, bins)
    assert rank is not None
    assert float(rank) == got["mean_dice"]
    assert task.count_patients(counts, bins) == len(truth)


@pytest.mark.parametrize("bins", [2, 7, 100, 10_000])
def test_figures_of_flags_match_loops_over_voxels(bins: int) -> None:
    outputs, truth = draw_flags(bins)
    check_against_loops(OF_FLAGS, outputs, truth, outputs >= 0, bins)


@pytest.mark.parametrize("bins", [2, 7, 100, 10_000])
def test_figures_of_ids_match_loops_over_voxels(bins: int) -> None:
    outputs, truth = draw_ids(bins)
    check_against_loops(OF_IDS, outputs, truth, outputs.argmax(axis=1), bins)


def test_ignored_voxels_and_the_logits_of_their_class_count_in_nothing() -> None:
    outputs, truth = draw_ids(6)
    predicted = np.where(truth == 3, 0, outputs[:, :3].argmax(axis=1))
    check_against_loops(IGNORING, outputs, truth, predicted, 20)
    changed = outputs.copy()
    changed[:, 3] = 1e9
    changed[np.broadcast_to((truth == 3)[:, None], outputs.shape)] = -7.0
    before, after = (
        IGNORING.count_cells(torch.from_numpy(each), {"mask": truth}, 20) for each in (outputs, changed)
    )
    assert before.tolist() == after.tolist()
    losses = [
        IGNORING.compute_losses(torch.from_numpy(each), to_tensors({"mask": truth})) for each in (outputs, changed)
    ]
    torch.testing.assert_close(*losses)


@pytest.mark.parametrize("bins", [10, 101])
def test_mean_dice_and_iou_of_raw_masks_match_scikit_learn_within_the_bin_error(bins: int) -> None:
    outputs, truth = draw_flags(8)
    figures = OF_FLAGS.compute_figures(
        OF_FLAGS.count_cells(torch.from_numpy(outputs), {"mask": truth}, bins).tolist(), bins
    )
    pairs = [(a.ravel(), b.ravel()) for a, b in zip(truth, outputs >= 0, strict=True) if a.any() or b.any()]
    assert len(pairs) < len(truth)  # the others have nothing to find, and nothing found
    dice, iou = figures["mean_dice"], figures["mean_iou"]
    assert dice is not None
    assert iou is not None
    assert abs(dice - np.mean([f1_score(*pair) for pair in pairs])) <= 0.5 / (bins - 1)
    assert abs(iou - np.mean([jaccard_score(*pair) for pair in pairs])) <= 1 / (bins - 1)


def test_totals_of_raw_masks_match_scikit_learn_within_rounded_sizes() -> None:
    outputs, truth = draw_flags(9)
    figures = OF_FLAGS.compute_figures(
        OF_FLAGS.count_cells(torch.from_numpy(outputs), {"mask": truth}, 10).tolist(), 10
    )
    # 20 voxels: every share is a whole number of thousandths
    assert figures["total_dice"] == pytest.approx(f1_score(truth.ravel(), (outputs >= 0).ravel()))
    assert figures["total_iou"] == pytest.approx(jaccard_score(truth.ravel(), (outputs >= 0).ravel()))


def test_threshold_moves_the_prediction() -> None:
    terms = SegmentationTerms(kind="segmentation", threshold=0.9)
    task = make_task(terms, FLAGS)
    outputs, truth = draw_flags(10)
    assert isinstance(task, SegmentationTask)
    check_against_loops(task, outputs, truth, expit(outputs) >= 0.9, 10)


def test_perfect_and_missed_masks_have_dice_one_and_zero() -> None:
    truth = np.zeros((2, *FLAT), bool)
    truth[:, 1] = True
    perfect = np.where(truth, 5.0, -5.0)
    for outputs, expected in ((perfect, 1.0), (-perfect, 0.0)):
        counts = OF_FLAGS.count_cells(torch.from_numpy(outputs), {"mask": truth}, 10).tolist()
        assert set(OF_FLAGS.compute_figures(counts, 10).values()) == {expected}


@pytest.mark.parametrize("wrong", [torch.nan, torch.inf, -torch.inf])
def test_a_record_that_is_not_finite_has_its_own_cell_and_counts_as_missed(wrong: float) -> None:
    truth = np.zeros((2, *FLAT), bool)
    truth[:, :2] = True
    outputs = torch.from_numpy(np.where(truth, 5.0, -5.0))
    outputs[1, 3, 3] = wrong
    counts = OF_FLAGS.count_cells(outputs, {"mask": truth}, 3).tolist()
    assert counts == [0, 0, 1, 0, 1, 500, 500, 1000]
    assert OF_FLAGS.compute_figures(counts, 3)["mean_dice"] == 0.5
    assert OF_FLAGS.compute_figures(counts, 3)["mean_iou"] == 0.5


def test_a_class_that_nobody_has_is_left_out() -> None:
    truth = np.zeros((3, *DEEP), np.int64)
    truth[:, 0] = 1
    outputs = np.where(truth[:, None] == np.arange(4)[:, None, None, None], 3.0, 0.0)
    counts = OF_IDS.count_cells(torch.from_numpy(outputs), {"mask": truth}, 5).tolist()
    figures = OF_IDS.compute_figures(counts, 5)
    assert (figures["mean_dice"], figures["dice_2"], figures["dice_3"]) == (1.0, None, None)


def test_noised_totals_are_clipped() -> None:
    outputs, truth = draw_flags(1)
    counts = OF_FLAGS.count_cells(torch.from_numpy(outputs), {"mask": truth}, 6)
    noised = np.where(counts == 0, -3, counts).tolist()
    assert OF_FLAGS.compute_figures(noised, 6) == OF_FLAGS.compute_figures(counts.tolist(), 6)
    # more intersection than there is truth
    figures = OF_FLAGS.compute_figures([0] * 8 + [900, 300, 200], 6)
    assert figures["total_dice"] == pytest.approx(0.8)
    assert figures["total_iou"] == pytest.approx(2 / 3)
    assert set(OF_FLAGS.compute_figures([-1] * 11, 6).values()) == {None}
    assert OF_FLAGS.compute_rank([-1] * 11, 6) is None
    assert OF_FLAGS.count_patients([-1] * 11, 6) == 0


def test_another_number_of_counts_is_refused() -> None:
    with pytest.raises(ValueError, match="expected 7 counts, got 3"):
        OF_FLAGS.compute_figures([1, 2, 3], 2)


@given(arrays(np.float32, (3, *FLAT), elements=any_float), arrays(np.bool_, (3, *FLAT)), st.integers(2, 12))
def test_one_record_of_flags_adds_at_most_the_bound_to_each_group(
    outputs: NDArray[Any], truth: NDArray[Any], bins: int
) -> None:
    check_contribution(SegmentationTerms(kind="segmentation"), FLAGS, outputs, {"mask": truth}, bins)


@given(
    arrays(np.float32, (2, 4, *DEEP), elements=any_float),
    arrays(np.int64, (2, *DEEP), elements=st.integers(0, 3)),
    st.integers(2, 12),
    st.sampled_from([None, 0, 3]),
)
def test_one_record_of_ids_adds_at_most_the_bound_to_each_group(
    outputs: NDArray[Any], truth: NDArray[Any], bins: int, ignored: int | None
) -> None:
    terms = SegmentationTerms(kind="segmentation", ignored=ignored)
    check_contribution(terms, IDS, outputs, {"mask": truth}, bins)


def test_a_record_all_of_one_class_reaches_the_bound_of_the_sums() -> None:
    _, sums = SegmentationTerms(kind="segmentation").list_cell_groups(FLAGS, 4)
    counts = OF_FLAGS.count_cells(torch.ones(1, *FLAT), {"mask": np.ones((1, *FLAT), bool)}, 4)
    assert int((counts[-3:] ** 2).sum()) == sums.squared_sensitivity
    assert not sums.histogram


@pytest.mark.parametrize("weights", [(), (0.5, 3.0)])
def test_losses_of_flags_match_a_loop_over_records(weights: tuple[float, ...]) -> None:
    outputs, truth = draw_flags(5, records=8)
    terms = SegmentationTerms(kind="segmentation", overlap_weight=0.4, class_weights=weights)
    task = make_task(terms, FLAGS)
    background, foreground = weights or (1.0, 1.0)
    expected = []
    for logits, mask in zip(outputs, truth, strict=True):
        entropy = np.where(mask, -foreground * log_expit(logits), -background * log_expit(-logits)).mean()
        said = expit(logits)
        dice = (2 * said[mask].sum() + 1) / (said.sum() + mask.sum() + 1)
        expected.append(0.6 * entropy + 0.4 * (1 - dice))
    got = task.compute_losses(torch.from_numpy(outputs), to_tensors({"mask": truth}))
    assert got.numpy() == pytest.approx(np.array(expected))
    check_losses_of_each_record_alone(task, torch.from_numpy(outputs).float(), {"mask": truth})
    check_losses_of_short_outputs_are_wide(task, torch.from_numpy(outputs).float(), {"mask": truth})


@pytest.mark.parametrize(
    ("ignored", "weights"), [(None, ()), (None, (0.5, 1.0, 3.0, 2.0)), (3, (0.5, 1.0, 3.0, 2.0)), (0, ())]
)
def test_losses_of_ids_match_a_loop_over_records(ignored: int | None, weights: tuple[float, ...]) -> None:
    outputs, truth = draw_ids(7, records=5)
    task = make_task(SegmentationTerms(kind="segmentation", ignored=ignored, class_weights=weights), IDS)
    kept = [each for each in range(4) if each != ignored]
    expected = []
    for logits, mask in zip(outputs, truth, strict=True):
        counted = mask != (-1 if ignored is None else ignored)
        places = [kept.index(each) for each in mask[counted]]
        logs = log_softmax(logits[kept][:, counted], axis=0)  # (kept, counted voxels)
        weight = np.array(weights or (1.0,) * 4)[mask[counted]]
        entropy = (-weight * logs[places, np.arange(len(places))]).mean()
        said, dices = softmax(logits[kept][:, counted], axis=0), []
        for place, each in enumerate(kept):
            true = mask[counted] == each
            if each:
                dices.append((2 * said[place][true].sum() + 1) / (said[place].sum() + true.sum() + 1))
        expected.append(0.7 * entropy + 0.3 * (1 - np.mean(dices)))
    got = task.compute_losses(torch.from_numpy(outputs), to_tensors({"mask": truth}))
    assert got.numpy() == pytest.approx(np.array(expected))
    check_losses_of_each_record_alone(task, torch.from_numpy(outputs).float(), {"mask": truth})
    check_losses_of_short_outputs_are_wide(task, torch.from_numpy(outputs).float(), {"mask": truth})


def test_a_record_that_nobody_labelled_has_no_loss() -> None:
    outputs, _ = draw_ids(7, records=2)
    nothing = np.full((2, *DEEP), 3)
    losses = IGNORING.compute_losses(torch.from_numpy(outputs), to_tensors({"mask": nothing}))
    assert losses.tolist() == [0.0, 0.0]
    check_gradient_is_finite(IGNORING, torch.from_numpy(outputs), {"mask": nothing})


@pytest.mark.parametrize("size", [1e4, 1e30, 3e38])
def test_gradient_of_extreme_logits_is_finite(size: float) -> None:
    signs = torch.from_numpy(np.random.default_rng(0).choice([-1.0, 1.0], (4, *FLAT))).float()
    check_gradient_is_finite(OF_FLAGS, size * signs, {"mask": draw_flags(0, records=4)[1]})
    signs = torch.from_numpy(np.random.default_rng(0).choice([-1.0, 1.0], (4, 4, *DEEP))).float()
    for task in (OF_IDS, IGNORING):
        check_gradient_is_finite(task, size * signs, {"mask": draw_ids(0, records=4)[1]})


def test_described_outputs_are_the_mask_and_its_probabilities() -> None:
    outputs, _ = draw_flags(9, records=3)
    said = OF_FLAGS.describe_outputs(torch.from_numpy(outputs))
    assert said["probability"] == pytest.approx(expit(outputs))
    assert said["class"].tolist() == (outputs >= 0).tolist()
    outputs, _ = draw_ids(9, records=3)
    said = IGNORING.describe_outputs(torch.from_numpy(outputs))
    assert said["probabilities"][:, :3] == pytest.approx(softmax(outputs[:, :3], axis=1))
    assert not said["probabilities"][:, 3].any()
    assert said["class"].tolist() == outputs[:, :3].argmax(axis=1).tolist()
