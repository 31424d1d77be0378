import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.tasks.next_event import NextEventTask
from privacy.study.data.arrays import ArraysContract
from privacy.study.tasks.next_event import NextEventTerms
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
    [{"type": "flag", "name": "groups", "shape": [VISITS, 4]}],
)


def make_task(**options: object) -> NextEventTask:
    return NextEventTask(NextEventTerms.model_validate({"kind": "next-event", "top": [3, 5], **options}), CONTRACT)


def draw(count: int = 40, seed: int = 7) -> tuple[torch.Tensor, dict[str, NDArray[Any]]]:
    rng = np.random.default_rng(seed)
    codes = rng.random((count, VISITS, CODES)) < 0.2
    present = rng.random((count, VISITS)) < 0.6
    outputs = torch.from_numpy(rng.normal(0, 2, (count, VISITS, CODES)))
    outputs[:, :-1] += torch.from_numpy(codes[:, 1:] * 1.0)  # better than chance
    return outputs, {"visits": codes, "present": present}


def next_visits(targets: dict[str, NDArray[Any]], row: int) -> list[tuple[int, list[int]]]:
    """Each predicting row of a record, with the codes of the visit after it."""
    codes, present = targets["visits"][row], targets["present"][row]
    return [
        (t, np.flatnonzero(codes[t + 1]).tolist())
        for t in range(VISITS - 1)
        if present[t] and present[t + 1] and codes[t + 1].any()
    ]


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_losses_are_mean_cross_entropies_of_next_visits(loss: str) -> None:
    outputs, targets = draw()
    got = make_task(loss=loss).compute_losses(outputs, as_tensors(targets))
    alone = 0
    for row, value in enumerate(got.tolist()):
        each = []
        for t, codes in next_visits(targets, row):
            logits = outputs[row, t].tolist()
            if loss == "softmax":
                whole = math.log(sum(map(math.exp, logits)))
                each.append(sum(whole - logits[code] for code in codes) / len(codes))
            else:
                signs = [-1 if code in codes else 1 for code in range(CODES)]
                each.append(sum(math.log1p(math.exp(s * z)) for s, z in zip(signs, logits, strict=True)) / CODES)
        alone += not each
        assert value == pytest.approx(sum(each) / len(each) if each else 0.0)
    assert alone > 3


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_losses_of_records_do_not_depend_on_others(loss: str) -> None:
    outputs, targets = draw(count=8)
    require_losses_of_records_alone(make_task(loss=loss), outputs, targets)
    for size in (1e4, 1e30):
        require_finite_gradients(make_task(loss=loss), outputs.float() * size, targets)


def test_figures_are_mean_recalls_up_to_half_a_cell() -> None:
    outputs, targets = draw()
    task = make_task()
    counts = task.count_cells(outputs, targets, BINS).tolist()
    got = task.compute_figures(counts, BINS)
    assert list(got) == ["recall_at_3", "recall_at_5"]
    for k in (3, 5):
        recalls = []
        for row in range(len(outputs)):
            each = [
                len(set(np.argsort(-outputs[row, t].numpy())[:k].tolist()) & set(codes)) / len(codes)
                for t, codes in next_visits(targets, row)
            ]
            recalls += [sum(each) / len(each)] if each else []
        binned = np.mean([round(recall * BINS) / BINS for recall in recalls])
        assert got[f"recall_at_{k}"] == pytest.approx(binned)
        assert abs((got[f"recall_at_{k}"] or 0) - np.mean(recalls)) <= 1 / BINS / 2
        assert counts[BINS + 1] == len(outputs) - len(recalls)


def test_figures_of_other_codes_are_predicted_from_labels() -> None:
    rng = np.random.default_rng(2)
    groups, present = rng.random((20, VISITS, 4)) < 0.5, np.ones((20, VISITS), dtype=bool)
    task = make_task(labels="groups", top=[1, 2, 30])
    assert task.terms.list_targets() == ("groups", "present")
    perfect = torch.zeros(20, VISITS, 4)
    perfect[:, :-1] = torch.from_numpy(groups[:, 1:]).float()
    counts = task.count_cells(perfect, {"groups": groups, "present": present}, 100)
    got = task.compute_figures(counts.tolist(), 100)
    assert list(got) == ["recall_at_1", "recall_at_2"]
    sizes = groups[:, 1:].sum(axis=2)
    best = [np.mean([min(1, 1 / size) for size in row if size]) for row in sizes if row.any()]
    assert abs((got["recall_at_1"] or 0) - np.mean(best)) <= 0.005


def test_equal_logits_are_taken_by_the_number_of_the_code() -> None:
    """A model that says the same of all codes finds the first k, not every one."""
    codes = np.zeros((CODES, VISITS, CODES), dtype=bool)
    codes[np.arange(CODES), 1, np.arange(CODES)] = True
    present = np.ones((CODES, VISITS), dtype=bool)
    for value in (0.0, float("nan"), float("-inf")):
        outputs = torch.full((CODES, VISITS, CODES), value)
        counts = make_task().count_cells(outputs, {"visits": codes, "present": present}, BINS)
        assert counts[BINS] == 3
        assert counts[0] == CODES - 3


def test_logit_that_is_no_number_is_the_smallest() -> None:
    codes, present = np.zeros((1, VISITS, CODES), dtype=bool), np.ones((1, VISITS), dtype=bool)
    codes[0, 1, [4, 5]] = True
    outputs = torch.arange(CODES).neg().float().expand(1, VISITS, CODES).clone()
    outputs[:, :, :3] = float("nan")
    counts = make_task().count_cells(outputs, {"visits": codes, "present": present}, BINS)
    assert counts[BINS] == 1


@given(st.lists(st.integers(-3, 4), min_size=2 * BINS + 4, max_size=2 * BINS + 4))
def test_figures_of_any_counts_are_shares_and_rank_is_the_first(counts: list[int]) -> None:
    got = make_task().compute_figures(counts, BINS)
    for first, name in ((0, "recall_at_3"), (BINS + 2, "recall_at_5")):
        cells = np.maximum(counts[first : first + BINS + 1], 0)
        if cells.sum():
            assert got[name] == pytest.approx(np.average(np.linspace(0, 1, BINS + 1), weights=cells))
        else:
            assert got[name] is None
    require_rank_is_first_figure(make_task(), counts, BINS)


any_output = st.sampled_from(ANY_FLOAT) | st.floats(width=32)


@given(st.integers(0, 2**32 - 1), any_output, any_output, st.sampled_from([2, 10, 10_000]))
def test_any_record_adds_one_to_one_cell_of_each_histogram(seed: int, one: float, other: float, bins: int) -> None:
    outputs, targets = draw(count=3, seed=seed)
    outputs = outputs.float()
    outputs[0], outputs[1, :, ::2] = one, other
    require_one_cell_per_group(make_task(), make_task().terms, CONTRACT, outputs, targets, bins)


def test_many_records_are_counted_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    outputs, targets = draw()
    whole = make_task().count_cells(outputs, targets, BINS)
    monkeypatch.setattr("models.tasks.visit_recall._NUMBERS_AT_ONCE", 7 * VISITS * CODES)
    np.testing.assert_array_equal(make_task().count_cells(outputs, targets, BINS), whole)


def test_described_probabilities_are_of_the_loss() -> None:
    outputs, _ = draw(count=2)
    softmax = make_task().describe_outputs(outputs)["probability"]
    np.testing.assert_allclose(softmax.sum(axis=2), 1)
    sigmoid = make_task(loss="sigmoid").describe_outputs(outputs)["probability"]
    np.testing.assert_allclose(sigmoid, 1 / (1 + np.exp(-outputs.numpy())))
