from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.tasks.embedding import EmbeddingTask
from privacy.study.data.arrays import ArraysContract
from privacy.study.tasks.embedding import EmbeddingTerms
from tests.models.tasks.record_checks import (
    ANY_FLOAT,
    as_tensors,
    make_contract,
    require_finite_gradients,
    require_losses_of_records_alone,
    require_one_cell_per_group,
    require_rank_is_first_figure,
)

VISITS, CODES, BINS = 5, 12, 10
CONTRACT: ArraysContract = make_contract(
    [
        {"type": "flag", "name": "visits", "shape": [VISITS, CODES]},
        {"type": "flag", "name": "present", "shape": [VISITS]},
    ],
    [],
)


def make_task(window: int = 1) -> EmbeddingTask:
    return EmbeddingTask(EmbeddingTerms(kind="embedding", top=(3, 5), window=window), CONTRACT)


def draw(count: int = 40, seed: int = 7) -> tuple[torch.Tensor, dict[str, NDArray[Any]]]:
    rng = np.random.default_rng(seed)
    codes = rng.random((count, VISITS, CODES)) < 0.2
    present = rng.random((count, VISITS)) < 0.6
    return torch.from_numpy(rng.normal(0, 2, (count, VISITS, CODES))), {"visits": codes, "present": present}


def neighbours(targets: dict[str, NDArray[Any]], row: int, window: int) -> list[tuple[int, list[int]]]:
    """Each row of a record with the codes of each visit of its window."""
    codes, present = targets["visits"][row], targets["present"][row]
    return [
        (t, np.flatnonzero(codes[near]).tolist())
        for t in range(VISITS)
        for near in range(VISITS)
        if 0 < abs(t - near) <= window and present[t] and present[near] and codes[near].any()
    ]


@pytest.mark.parametrize("window", [1, 2, 100])
def test_losses_are_mean_cross_entropies_of_the_window(window: int) -> None:
    outputs, targets = draw()
    got = make_task(window).compute_losses(outputs, as_tensors(targets))
    scores = torch.log_softmax(outputs, dim=2)
    for row, value in enumerate(got.tolist()):
        each = [-scores[row, t, codes].mean().item() for t, codes in neighbours(targets, row, window)]
        assert value == pytest.approx(np.mean(each) if each else 0.0)


@pytest.mark.parametrize("window", [1, 2])
def test_figures_are_mean_recalls_up_to_half_a_cell(window: int) -> None:
    outputs, targets = draw()
    counts = make_task(window).count_cells(outputs, targets, BINS).tolist()
    got = make_task(window).compute_figures(counts, BINS)
    assert list(got) == ["recall_at_3", "recall_at_5"]
    for k in (3, 5):
        recalls = []
        for row in range(len(outputs)):
            each = [
                len(set(np.argsort(-outputs[row, t].numpy())[:k].tolist()) & set(codes)) / len(codes)
                for t, codes in neighbours(targets, row, window)
            ]
            recalls += [np.mean(each)] if each else []
        assert got[f"recall_at_{k}"] == pytest.approx(np.mean([round(each * BINS) / BINS for each in recalls]))
        assert abs((got[f"recall_at_{k}"] or 0) - np.mean(recalls)) <= 1 / BINS / 2
    require_rank_is_first_figure(make_task(window), counts, BINS)


def test_codes_of_a_visit_are_no_target_of_its_own_row() -> None:
    """Changing the codes of the only visit, or of a visit without neighbours, changes nothing."""
    outputs, targets = draw(count=6)
    targets["present"][:] = [True, False, False, False, False]
    assert make_task().compute_losses(outputs, as_tensors(targets)).tolist() == [0.0] * 6
    counts = make_task().count_cells(outputs, targets, BINS)
    assert counts[BINS + 1] == counts[2 * BINS + 3] == counts.sum() / 2 == 6


def test_losses_of_records_do_not_depend_on_others() -> None:
    outputs, targets = draw(count=8)
    require_losses_of_records_alone(make_task(2), outputs, targets)
    for size in (1e4, 1e30):
        require_finite_gradients(make_task(2), outputs.float() * size, targets)


any_output = st.sampled_from(ANY_FLOAT) | st.floats(width=32)


@given(st.integers(0, 2**32 - 1), any_output, any_output)
def test_any_record_adds_one_to_one_cell_of_each_histogram(seed: int, one: float, other: float) -> None:
    outputs, targets = draw(count=3, seed=seed)
    outputs = outputs.float()
    outputs[0], outputs[1, :, ::2] = one, other
    require_one_cell_per_group(make_task(), make_task().terms, CONTRACT, outputs, targets, BINS)
