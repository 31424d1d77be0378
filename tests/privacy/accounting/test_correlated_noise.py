"""The price of correlated noise against known figures, matrices, and dp-accounting's tree."""

import itertools
import math

import numpy as np
import pytest
from dp_accounting import NeighboringRelation, SingleEpochTreeAggregationDpEvent
from dp_accounting.rdp import RdpAccountant

from privacy.accounting.analytic_gaussian import compute_gaussian_delta
from privacy.accounting.correlated_noise import (
    compute_banded_sensitivity,
    compute_final_error,
    compute_prefix_error,
    compute_tree_error,
    compute_window_error,
    count_tree_levels,
    epsilon_of_banded,
    epsilon_of_tree,
    make_band,
)
from privacy.accounting.epsilon import epsilon_of
from privacy.accounting.events import AnyEvent, BandedGaussian, TreeGaussian, repeat_event
from privacy.accounting.pld import compute_pld_epsilon
from privacy.mechanisms.correlated_noise import list_nodes


@pytest.mark.parametrize(
    ("noise", "steps", "expected"),
    [(1.13, 1600, 18.7096), (8.83, 1600, 1.7732), (1.0, 1, 5.2215), (1.0, 2, 7.7662), (1.0, 8, 11.6886)],
)
def test_known_epsilons_of_trees(noise: float, steps: int, expected: float) -> None:
    """Origin: dp-accounting over its orders, delta 1e-6; the paper's own, looser conversion gives 19.74 and 2.04."""
    ours = epsilon_of_tree(noise, steps, 1e-6)
    assert ours == pytest.approx(expected, abs=2e-3)
    assert ours <= expected + 5e-5


@pytest.mark.parametrize(("steps", "epochs"), [(1, 1), (5, 1), (1600, 1), (64, 3)])
def test_tree_costs_what_dp_accounting_says(steps: int, epochs: int) -> None:
    orders = [1.5, 2, 8, 32]
    accountant = RdpAccountant(orders, NeighboringRelation.REPLACE_SPECIAL)
    accountant.compose(SingleEpochTreeAggregationDpEvent(2.0, steps), epochs)
    ours = [order * epochs * count_tree_levels(steps) / (2 * 2.0**2) for order in orders]
    assert accountant._rdp == pytest.approx(ours)


@pytest.mark.parametrize("steps", [1, 2, 7, 8, 100])
def test_a_step_is_in_as_many_nodes_of_the_tree_as_it_has_levels_at_most(steps: int) -> None:
    """All nodes of all prefixes together: those that contain one step."""
    nodes = {node for t in range(1, steps + 1) for node in list_nodes(t)}
    most = max(sum(first <= step <= last for first, last in nodes) for step in range(1, steps + 1))
    assert most <= count_tree_levels(steps)
    assert most == count_tree_levels(steps) or steps & (steps - 1)  # reached by full trees


@pytest.mark.parametrize(("bands", "steps"), [(1, 6), (3, 10), (4, 16), (8, 8)])
def test_banded_sensitivity_bounds_every_way_to_take_part(bands: int, steps: int) -> None:
    """All patterns of uses at least ``bands`` apart, with gradients of length 1 in the worst direction."""
    strategy = np.zeros((steps, steps))
    for offset, coefficient in enumerate(make_band(bands)):
        strategy += coefficient * np.eye(steps, k=-offset)
    most = 0.0
    for first in range(bands):
        uses = np.arange(first, steps, bands)
        most = max(most, float(np.linalg.norm(strategy[:, uses].sum(1))))
    random = np.random.default_rng(1)
    for _ in range(50):
        taken, step = list[int](), int(random.integers(0, bands))
        while step < steps:
            taken.append(step)
            step += bands + int(random.integers(0, 3))
        gradients = random.standard_normal((len(taken), 4))
        gradients /= np.linalg.norm(gradients, axis=1, keepdims=True)
        most = max(most, float(np.linalg.norm(strategy[:, taken] @ gradients)))
    assert most <= compute_banded_sensitivity(bands, steps) * (1 + 1e-12)


def test_prefix_error_is_that_of_the_matrices() -> None:
    bands, steps = 4, 20
    strategy = np.zeros((steps, steps))
    for offset, coefficient in enumerate(make_band(bands)):
        strategy += coefficient * np.eye(steps, k=-offset)
    sums = np.tril(np.ones((steps, steps))) @ np.linalg.inv(strategy)
    assert compute_prefix_error(bands, steps) == pytest.approx(float(np.sqrt((sums**2).sum() / steps)))
    assert compute_prefix_error(1, steps) == pytest.approx(np.sqrt((steps + 1) / 2))


def test_one_epoch_of_banded_noise_has_less_error_than_a_tree_and_much_less_than_independent_noise() -> None:
    """At equal price: errors times sensitivities, one use of every record in 256 steps."""
    steps = 256
    banded = compute_prefix_error(steps, steps) * compute_banded_sensitivity(steps, steps)
    tree = compute_tree_error(steps) * count_tree_levels(steps) ** 0.5
    independent = compute_prefix_error(1, steps)  # a record is used once, so its sensitivity is 1
    assert banded < 0.5 * tree < tree < independent * 1.2
    assert banded < 0.35 * independent


def test_one_band_and_one_step_are_the_gaussian() -> None:
    assert epsilon_of_banded(2.0, 1, 9, 1e-6) == pytest.approx(epsilon_of_banded(2.0 / 3, 1, 1, 1e-6))
    assert epsilon_of_tree(2.0, 1, 1e-6) == epsilon_of_banded(2.0, 1, 1, 1e-6)


@pytest.mark.parametrize("phase", range(4))
def test_round_by_round_banded_noise_costs_no_more_than_gaussian_events(phase: int) -> None:
    """What a ledger could charge a round of 3 epochs, 4 lots: 3 releases of noise over the band's length.

    Given what was released before, the noise of a step is independent, so a round's divergence is the sum of squares of
    what a patient moves in its steps. A use's trace runs into the next round; the round before has paid for it.
    """
    bands, epochs, rounds = 4, 3, 5
    uses = np.zeros(bands * epochs * rounds)
    uses[phase::bands] = 1  # of a patient whose lot is this phase, always with a gradient of length 1
    moved = np.convolve(uses, make_band(bands))[: len(uses)]
    by_round = np.square(moved).reshape(rounds, -1).sum(1)
    charged = epochs * float(np.square(make_band(bands)).sum())
    assert (by_round <= charged + 1e-12).all()
    assert by_round[1:] == pytest.approx(charged)  # and no less, once the first trace has run over
    assert (by_round[0] < charged - 1e-6) == (phase > 0)


def make_strategy(bands: int, steps: int) -> np.ndarray:
    strategy = np.zeros((steps, steps))
    for offset, coefficient in enumerate(make_band(bands)):
        strategy += coefficient * np.eye(steps, k=-offset)
    return strategy


@pytest.mark.parametrize(("bands", "lots", "passes"), [(2, 2, 3), (2, 4, 3), (3, 3, 3), (4, 4, 2), (3, 5, 2)])
def test_charge_of_banded_events_is_the_largest_change_over_all_ways_to_take_part(
    bands: int, lots: int, passes: int
) -> None:
    """Every lot, every subset of the passes (a site may be away), every sign of the gradients: nothing moves C x more.

    Signs suffice: the columns do not overlap, so directions do not matter.
    """
    steps, most = lots * passes, 0.0
    strategy = make_strategy(bands, steps)
    for phase in range(lots):
        for signs in itertools.product((-1.0, 0.0, 1.0), repeat=passes):
            moved = np.zeros(steps)
            moved[phase::lots] = signs
            most = max(most, float(np.linalg.norm(strategy @ moved)))
    event = BandedGaussian(noise_multiplier=1.0, bands=bands, lots=lots, steps=steps)
    # order 2 of a Gaussian with sensitivity m and noise 1: m^2
    assert float(event.compute_renyi_divergence(2)) == pytest.approx(most**2, rel=1e-12)


@pytest.mark.parametrize("lots", [2, 3, 7, 8])
def test_charge_of_tree_events_is_the_largest_number_of_nodes(lots: int) -> None:
    nodes = {node for t in range(1, lots + 1) for node in list_nodes(t)}
    most = max(sum(first <= step <= last for first, last in nodes) for step in range(1, lots + 1))
    event = TreeGaussian(noise_multiplier=1.0, lots=lots, steps=3 * lots)
    assert float(event.compute_renyi_divergence(2)) >= 3 * most
    assert float(event.compute_renyi_divergence(2)) == 3 * count_tree_levels(lots)


@pytest.mark.parametrize(("bands", "lots", "rounds"), [(4, 4, 3), (2, 4, 3), (3, 5, 2)])
def test_rounds_never_cost_less_than_what_was_done_so_far_and_together_as_much_as_the_matrix(
    bands: int, lots: int, rounds: int
) -> None:
    """However early a study ends: the squared sensitivity of the matrix so far, by brute force over lots."""
    for ended in range(1, rounds + 1):
        strategy = make_strategy(bands, ended * lots)
        truth = max(float(np.square(strategy[:, phase::lots].sum(1)).sum()) for phase in range(lots))
        event = BandedGaussian(noise_multiplier=1.0, bands=bands, lots=lots, steps=lots)
        assert float(repeat_event(event, ended).compute_renyi_divergence(2)) == pytest.approx(truth, rel=1e-12)


EVENTS: list[AnyEvent] = [
    BandedGaussian(noise_multiplier=8.0, bands=8, lots=16, steps=320),
    BandedGaussian(noise_multiplier=3.0, bands=16, lots=16, steps=16),
    TreeGaussian(noise_multiplier=8.0, lots=16, steps=320),
]


@pytest.mark.parametrize("event", EVENTS)
def test_whole_study_is_one_gaussian_of_the_matrix_s_sensitivity(event: AnyEvent) -> None:
    """Gaussian differential privacy to (epsilon, delta), exactly, lies a little below both figures that are shown."""
    assert isinstance(event, BandedGaussian | TreeGaussian)
    column = (
        count_tree_levels(16) if isinstance(event, TreeGaussian) else float(np.square(make_band(event.bands)).sum())
    )
    noise = event.noise_multiplier / math.sqrt(column * event.steps / 16)
    loss = compute_pld_epsilon([event], 1e-5)
    assert compute_gaussian_delta(noise, loss) <= 1e-5
    assert compute_gaussian_delta(noise, loss - 0.01) > 1e-5
    assert loss < epsilon_of([event], 1e-5) < 1.1 * loss + 0.05


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"bands": 4, "lots": 8, "steps": 12}, "expected whole passes over 8 lots, got 12 steps"),
        ({"bands": 9, "lots": 8, "steps": 8}, "a patient is used every 8 steps"),
        ({"bands": 1, "lots": 8, "steps": 8}, "greater than or equal to 2"),
    ],
)
def test_event_that_is_no_whole_passes_is_refused(fields: dict[str, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        BandedGaussian.model_validate({"noise_multiplier": 1.0, **fields})


@pytest.mark.parametrize(("bands", "window"), [(2, 4), (4, 4), (8, 24)])
def test_window_error_is_that_of_the_matrices(bands: int, window: int) -> None:
    inverse = np.linalg.inv(make_strategy(bands, 5 * window))
    most = max(float(np.linalg.norm(inverse[first : first + window].sum(0))) for first in range(4 * window + 1))
    assert compute_window_error(bands, window) == pytest.approx(most)


@pytest.mark.parametrize(("bands", "steps"), [(1, 7), (4, 20), (8, 1000), (64, 2000)])
def test_final_error_is_that_of_the_last_row_of_the_matrices(bands: int, steps: int) -> None:
    last = np.linalg.solve(make_strategy(bands, steps).T, np.ones(steps))
    assert compute_final_error(bands, steps) == pytest.approx(float(np.linalg.norm(last)), rel=1e-10)
