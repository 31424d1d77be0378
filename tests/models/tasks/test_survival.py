import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.tasks.survival import SurvivalTask
from privacy.study.data.arrays import ArraysContract
from privacy.study.tasks.survival import SurvivalTerms
from privacy.study.tasks.task import count_cells
from tests.models.tasks.record_checks import (
    ANY_FLOAT,
    make_contract,
    require_finite_gradients,
    require_losses_of_records_alone,
    require_one_cell_per_group,
    require_rank_is_first_figure,
)

LOW, HIGH, INTERVALS, BINS = 10.0, 90.0, 8, 6
INPUTS = [{"type": "number", "name": "features", "shape": [3], "low": 0, "high": 1}]


def contract_of(causes: int) -> ArraysContract:
    time = {"type": "number", "name": "time", "low": LOW, "high": HIGH}
    return make_contract(INPUTS, [time, {"type": "id", "name": "event", "values": causes + 1}])


def make_task(causes: int, horizons: tuple[float, ...] = (30.0, 50.0, 80.0)) -> SurvivalTask:
    terms = SurvivalTerms(kind="survival", intervals=INTERVALS, horizons=horizons)
    return SurvivalTask(terms, contract_of(causes))


@dataclass
class People:
    """Records, and what a plain reading of the rules says of them."""

    causes: int
    outputs: torch.Tensor
    time: NDArray[np.float32]
    event: NDArray[np.int64]

    @property
    def targets(self) -> dict[str, NDArray[Any]]:
        return {"time": self.time, "event": self.event}

    def place(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Interval and event as they are counted."""
        seen = self.time < 1
        return np.where(seen, self.time * INTERVALS, INTERVALS - 1).astype(int), np.where(seen, self.event, 0)

    def incidence(self, cause: int, horizon: float) -> NDArray[np.float64]:
        shares = np.exp(self.outputs.double().numpy())
        shares /= shares.sum(axis=1, keepdims=True)
        first = (cause - 1) * INTERVALS
        return np.asarray(shares[:, first : first + round((horizon - LOW) / 10)].sum(axis=1))

    def middle(self, cause: int, horizon: float, bins: int = BINS) -> NDArray[np.float64]:
        return (np.floor(self.incidence(cause, horizon) * bins) + 0.5) / bins


def draw(causes: int, count: int = 70, seed: int = 4) -> People:
    rng = np.random.default_rng(seed)
    outputs = torch.from_numpy(rng.normal(0, 1.5, (count, causes * INTERVALS + 1)))
    # better than chance: early events where the model says so
    share = np.exp(outputs.numpy())
    early = share[:, :4].sum(axis=1) / share.sum(axis=1)
    time = np.clip(rng.beta(1.5, 1 + 2 * early), 0, 1)
    time[:3] = 1.0
    event = rng.integers(0, causes + 1, count)
    # no time so near an edge that float32 could move it
    return People(causes, outputs, (np.floor(time * 400) / 400 + 0.001 * (time < 1)).astype(np.float32), event)


@pytest.mark.parametrize("causes", [1, 3])
def test_losses_are_log_likelihoods_of_the_joint_softmax(causes: int) -> None:
    people = draw(causes)
    got = make_task(causes).compute_losses(
        people.outputs, {name: torch.from_numpy(each) for name, each in people.targets.items()}
    )
    for row, loss in enumerate(got.tolist()):
        weights = [math.exp(each) for each in people.outputs[row].tolist()]
        time, event = float(people.time[row]), int(people.event[row])
        interval = int(time * INTERVALS)
        if time >= 1:
            chance = weights[-1]
        elif event:
            chance = weights[(event - 1) * INTERVALS + interval]
        else:
            rest = (
                weights[cause * INTERVALS + i] for cause in range(causes) for i in range(interval + 1, INTERVALS)
            )
            chance = sum(rest) + weights[-1]
        assert loss == pytest.approx(-math.log(chance / sum(weights)))


@pytest.mark.parametrize("causes", [1, 2])
def test_losses_of_records_do_not_depend_on_others(causes: int) -> None:
    people = draw(causes, count=12)
    require_losses_of_records_alone(make_task(causes), people.outputs, people.targets)
    for size in (1e4, 1e30):
        require_finite_gradients(make_task(causes), people.outputs.float() * size, people.targets)


@pytest.mark.parametrize("intervals", [2, 7, 20, 200])
def test_time_at_an_edge_is_in_the_interval_after_it(intervals: int) -> None:
    """In loss and totals alike, though float32 may have made the time less than the edge."""
    terms = SurvivalTerms(kind="survival", intervals=intervals)
    task = SurvivalTask(terms, contract_of(1))
    edges = np.arange(intervals)
    time, event = (edges / intervals).astype(np.float32), np.ones(intervals, dtype=np.int64)
    outputs = torch.full((intervals, intervals + 1), -50.0)
    outputs[edges, edges] = 50.0
    losses = task.compute_losses(outputs, {"time": torch.from_numpy(time), "event": torch.from_numpy(event)})
    assert losses.abs().max() < 1e-6
    counts = task.count_cells(outputs, {"time": time, "event": event}, BINS)
    first = counts[: intervals * 2 * BINS].reshape(intervals, 2, BINS)
    assert (first[:, 1].sum(axis=1) == 1).all()


@pytest.mark.parametrize("causes", [1, 2, 3])
def test_figures_match_double_loops_on_binned_values(causes: int) -> None:
    people, task = draw(causes), make_task(causes)
    counts = task.count_cells(people.outputs, people.targets, BINS).tolist()
    got = task.compute_figures(counts, BINS)
    interval, event = people.place()
    concordances, briers = [], []
    for cause in range(1, causes + 1):
        each = [
            count_pairs_in_order(interval, event, people.middle(cause, horizon), cause, int((horizon - LOW) / 10))
            for horizon in (30.0, 50.0, 80.0)
        ]
        scores = [
            average_weighted_squares(
                interval, event, people.middle(cause, horizon), cause, int((horizon - LOW) / 10)
            )
            for horizon in (30.0, 50.0, 80.0)
        ]
        concordances.append(np.mean(each))
        briers.append((20 * (scores[0] + scores[1]) / 2 + 30 * (scores[1] + scores[2]) / 2) / 50)
    assert got["concordance"] == pytest.approx(np.mean(concordances))
    assert got["brier"] == pytest.approx(np.mean(briers))
    if causes > 1:
        for cause in range(1, causes + 1):
            assert got[f"concordance_{cause}"] == pytest.approx(concordances[cause - 1])
            assert got[f"brier_{cause}"] == pytest.approx(briers[cause - 1])
    assert list(got) == [kind.name for kind in task.figures]
    require_rank_is_first_figure(task, counts, BINS)


def count_pairs_in_order(
    interval: NDArray[Any], event: NDArray[Any], score: NDArray[Any], cause: int, edge: int
) -> float:
    order, pairs = 0.0, 0
    for case, other in itertools.permutations(range(len(interval)), 2):
        if event[case] == cause and interval[case] < edge and interval[other] > interval[case]:
            pairs += 1
            order += 1.0 if score[case] > score[other] else 0.5 if score[case] == score[other] else 0.0
    return order / pairs


def average_weighted_squares(
    interval: NDArray[Any], event: NDArray[Any], score: NDArray[Any], cause: int, edge: int
) -> float:
    def uncensored(before: int) -> float:
        kept = 1.0
        for i in range(before):
            at_risk = sum(1 for s, e in zip(interval, event, strict=True) if s > i or (s == i and e == 0))
            lost = sum(1 for s, e in zip(interval, event, strict=True) if s == i and e == 0)
            kept *= 1 - lost / at_risk if at_risk else 1
        return kept

    total = 0.0
    for s, e, f in zip(interval, event, score, strict=True):
        if s >= edge:
            total += f**2 / uncensored(edge)
        elif e:
            total += ((e == cause) - f) ** 2 / uncensored(s)
    return total / len(interval)


def test_figures_of_one_cause_match_scikit_survival_on_binned_values() -> None:
    metrics = pytest.importorskip("sksurv.metrics", reason="scikit-survival is not installed")
    people, task = draw(1, count=150), make_task(1)
    got = task.compute_figures(task.count_cells(people.outputs, people.targets, BINS).tolist(), BINS)
    interval, event = people.place()
    # within an interval events come first for the censoring's estimate ...
    times = np.where(event > 0, interval + 0.2, interval + 0.6)
    known = np.array(list(zip(event > 0, times, strict=True)), dtype=[("event", bool), ("time", float)])
    survival = np.column_stack([1 - people.middle(1, horizon) for horizon in (30.0, 50.0, 80.0)])
    assert got["brier"] == pytest.approx(metrics.integrated_brier_score(known, known, survival, [2.0, 4.0, 7.0]))
    # ... and are no pair with the censored of the same interval for the concordance
    times = np.where(event > 0, interval + 0.6, interval + 0.2)
    each = [
        metrics.concordance_index_censored((event > 0) & (times < edge), times, people.middle(1, LOW + 10 * edge))[
            0
        ]
        for edge in (2, 4, 7)
    ]
    assert got["concordance"] == pytest.approx(np.mean(each))


def test_figures_are_those_of_raw_incidences_up_to_the_bins() -> None:
    people, task, bins = draw(2), make_task(2, horizons=(50.0,)), 20
    got = task.compute_figures(task.count_cells(people.outputs, people.targets, bins).tolist(), bins)
    interval, event = people.place()
    for cause in (1, 2):
        raw, binned = people.incidence(cause, 50.0), people.middle(cause, 50.0, bins)
        brier = average_weighted_squares(interval, event, raw, cause, 4)
        # a square of a number up to 1 moves by at most a bin, twice half of one; weights are as in the score of ones
        weights = average_weighted_squares(interval, event, np.full(len(interval), 2.0), 0, 4) / 4
        assert abs((got[f"brier_{cause}"] or 0) - brier) <= weights / bins
        ties = count_pairs_in_order(interval, event, np.zeros(len(interval)), cause, 4)
        assert ties == 0.5
        concordance = count_pairs_in_order(interval, event, raw, cause, 4)
        same = np.mean(
            [
                binned[case] == binned[other]
                for case, other in itertools.permutations(range(len(interval)), 2)
                if event[case] == cause and interval[case] < 4 and interval[other] > interval[case]
            ]
        )
        assert abs((got[f"concordance_{cause}"] or 0) - concordance) <= same / 2 + 1e-12


@settings(max_examples=50)
@given(st.integers(1, 2), st.integers(0, 2**32 - 1))
def test_figures_of_noised_counts_are_shares_and_rank_is_their_mean(causes: int, seed: int) -> None:
    task = make_task(causes)
    cells = count_cells(task.terms.list_cell_groups(task.contract, BINS))
    counts = np.random.default_rng(seed).integers(-4, 5, cells).tolist()
    got = task.compute_figures(counts, BINS)
    assert got == task.compute_figures([max(0, count) for count in counts], BINS)
    assert 0 <= (got["concordance"] or 0) <= 1
    assert all(value is None or (math.isfinite(value) and value >= 0) for value in got.values())
    require_rank_is_first_figure(task, counts, BINS)


@pytest.mark.parametrize("only", [[], [0]])
def test_figures_of_nobody_or_of_the_censored_alone_have_no_concordance(only: list[int]) -> None:
    task = make_task(1)
    counts = [0] * count_cells(task.terms.list_cell_groups(task.contract, BINS))
    for place in only:
        counts[place] = 5
    got = task.compute_figures(counts, BINS)
    assert got["concordance"] is None
    assert task.compute_rank(counts, BINS) is None
    assert (got["brier"] is None) == (not only)


def test_event_at_the_end_of_the_range_is_censored_in_the_last_interval() -> None:
    targets: dict[str, NDArray[Any]] = {"time": np.array([1.0], dtype=np.float32), "event": np.array([1])}
    counts = make_task(2).count_cells(torch.zeros(1, 2 * INTERVALS + 1), targets, BINS)
    for part in np.split(counts, 6):
        assert part.reshape(INTERVALS, 3, BINS)[-1, 0].sum() == 1


any_output = st.sampled_from(ANY_FLOAT) | st.floats(width=32)
record = st.tuples(
    st.lists(any_output, min_size=2 * INTERVALS + 1, max_size=2 * INTERVALS + 1),
    st.sampled_from(ANY_FLOAT) | st.floats(0, 1, width=32),
    st.integers(0, 2),
)


@given(st.lists(record, min_size=1, max_size=3), st.sampled_from([2, 6, 10_000]))
def test_any_record_adds_one_to_one_cell_of_each_histogram(
    records: list[tuple[list[float], float, int]], bins: int
) -> None:
    task = make_task(2)
    outputs = torch.tensor([logits for logits, _, _ in records], dtype=torch.float32)
    targets: dict[str, NDArray[Any]] = {
        "time": np.array([time for _, time, _ in records], dtype=np.float32),
        "event": np.array([event for _, _, event in records], dtype=np.int64),
    }
    require_one_cell_per_group(task, task.terms, contract_of(2), outputs, targets, bins)


def test_described_incidences_are_those_of_each_cause_at_the_horizons() -> None:
    people = draw(2, count=9)
    got = make_task(2).describe_outputs(people.outputs)
    assert list(got) == ["incidence_1", "incidence_2"]
    for cause, which in itertools.product((1, 2), range(3)):
        want = people.incidence(cause, (30.0, 50.0, 80.0)[which])
        np.testing.assert_allclose(got[f"incidence_{cause}"][:, which], want)
