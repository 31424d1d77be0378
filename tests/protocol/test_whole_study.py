"""A study from launch to release, compared with what a plain computation over the sites' folders gives."""

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.small_study import small_terms, without_privacy
from client.training.jobs import ScoreModel
from client.training.session import TrainingSession
from privacy.secure_aggregation.round_layout import make_grid
from privacy.study import Terms, parse_terms
from server.study.state import Phase
from tests.protocol.conftest import Found
from tests.protocol.invariants import budget, require_finished, require_safe
from tests.protocol.moments import in_phase
from tests.simulator import Simulator

NOISED = {"rounds": [1, 2], "bins": 10, "epsilon": 3}


def mean_update(simulator: Simulator, number: int) -> NDArray[np.float64]:
    """The weighted mean of the updates that the sites have stored as integers."""
    grid = make_grid(simulator.terms, simulator.state(simulator.names[0]).halvings)
    patients = {name: simulator.state(name).patients for name in simulator.names}
    steps = np.zeros(simulator.journal.read_launch().statement.parameters)
    for name in simulator.names:
        integers = simulator.store(name).read_integers(number)
        assert integers is not None
        steps += integers.astype(np.float64) - grid.zero
    weights = [count / max(patients.values()) for count in patients.values()]
    return steps * grid.value_range / grid.steps / sum(weights)


def own_totals(simulator: Simulator, name: str) -> tuple[int, ...]:
    """What the site counts on its own test file, with the model it has reached, without noise."""
    registered = simulator.homes[name].load_registry().find_exact(simulator.terms.data)
    assert registered is not None
    files = registered.to_study_files()
    return TrainingSession(simulator.terms, files, "cpu").run(ScoreModel(simulator.store(name).read_model(), None))


@pytest.mark.parametrize("terms", [small_terms(), without_privacy()], ids=["private", "epsilon none"])
def test_update_of_every_round_is_the_weighted_mean_of_the_stored_integers(found: Found, terms: Terms) -> None:
    simulator = found(terms)
    for number in (1, 2):
        simulator.run(lambda: simulator.conductor.machine.phase is Phase.RELEASING)
        before = simulator.store("ash").read_model()
        expected = before + terms.training.server_learning_rate * mean_update(simulator, number)
        simulator.run(lambda: simulator.all_have(number))  # noqa: B023
        for name in simulator.names:
            np.testing.assert_allclose(simulator.store(name).read_model(), expected, rtol=0, atol=1e-14)
    require_safe(simulator)


def test_every_site_ends_with_the_same_model_file(found: Found) -> None:
    simulator = found(small_terms())
    simulator.run()
    require_finished(simulator)
    require_safe(simulator)
    assert len({simulator.model_file(name) for name in simulator.names}) == 1


def test_opened_totals_are_the_sum_of_the_sites_histograms(found: Found) -> None:
    simulator = found(small_terms(evaluation={"rounds": [1, 2]}))
    for number in (1, 2):
        simulator.run(lambda: simulator.all_have(number))  # noqa: B023
        expected = np.sum([own_totals(simulator, name) for name in simulator.names], axis=0)
        simulator.run(lambda: number in simulator.conductor.machine.evaluations)  # noqa: B023
        assert simulator.conductor.machine.evaluations[number] == tuple(expected.tolist())
        assert sum(expected) == 4 * 30


def test_every_round_is_reserved_and_settled_once_and_the_rest_goes_back(found: Found) -> None:
    simulator = found(small_terms(training={"rounds": 3}, evaluation={"rounds": [3]}))
    simulator.run()
    for name in simulator.names:
        kinds = [(entry.kind, getattr(entry.body, "round", 0)) for entry in simulator.entries(name)[3:]]
        seen = ("checkpoint", 0)
        trained = [step for number in (1, 2, 3) for step in (seen, ("reserve", number), ("settle", number))]
        assert kinds == [
            ("require", 0),
            ("allow", 0),
            *trained,
            seen,
            ("evaluate", 3),
            ("return", 0),
            ("release", 0),
        ]
        found_budget = budget(simulator, name)
        assert found_budget.grants[0].set_aside == 0
        assert found_budget.epsilon_spent is not None
        assert found_budget.epsilon_granted is not None
        assert found_budget.epsilon_spent + found_budget.epsilon_left <= found_budget.epsilon_granted
        assert found_budget.protected
        assert not found_budget.held_out_protected


def test_noised_evaluation_is_charged_and_differs_from_the_true_totals(found: Found) -> None:
    simulator = found(small_terms(training={"rounds": 3}, evaluation=NOISED))
    simulator.run(lambda: simulator.all_have(1))
    true = np.sum([own_totals(simulator, name) for name in simulator.names], axis=0)
    simulator.run()
    opened = np.array(simulator.conductor.machine.evaluations[1])
    noise = simulator.state("ash").evaluation_noise_multiplier
    assert noise is not None
    assert 0 < np.std(opened - true) < 6 * noise * len(simulator.names) ** 0.5
    for name in simulator.names:
        charges = [entry.body.charge for entry in simulator.entries(name, "evaluate")]  # type: ignore[attr-defined]
        assert len(charges) == 2
        assert all(charge > 0 for charge in charges)
        assert budget(simulator, name).held_out_protected
    require_safe(simulator)


def test_study_without_privacy_is_in_the_ledger_without_bound(found: Found) -> None:
    simulator = found(without_privacy())
    simulator.run()
    require_finished(simulator)
    for name in simulator.names:
        assert [entry.body.charge for entry in simulator.entries(name, "reserve")] == [None, None]  # type: ignore[attr-defined]
        assert budget(simulator, name).epsilon_spent is None


def test_private_study_after_one_without_privacy_is_refused(found: Found) -> None:
    simulator = found(without_privacy())
    simulator.run()
    simulator.terms = small_terms()
    simulator.journal.close()
    simulator.launch()
    simulator.run()
    why = simulator.journal.read_history().stopped
    assert why is not None
    assert "trained on without privacy" in why
    assert all(simulator.entries(name)[-1].kind == "refuse" for name in simulator.names)


def test_totals_are_opened_after_every_second_round_and_the_last(found: Found) -> None:
    value = small_terms(training={"rounds": 5}).model_dump(mode="json")
    value["evaluation"] = {"every": 2, "bins": 10, "epsilon": 2}
    simulator = found(parse_terms(value))
    simulator.run()
    require_finished(simulator)
    for name in simulator.names:
        opened = [(each.round, each.opened_in) for each in simulator.history(name).evaluations]
        assert opened == [(2, 3), (4, 5), (5, 6)]
        assert [entry.body.round for entry in simulator.entries(name, "evaluate")] == [2, 4, 5]  # type: ignore[attr-defined]
    assert simulator.trained.keys() == {(name, number) for name in simulator.names for number in range(1, 6)}


def test_updates_are_added_while_another_site_still_trains(found: Found) -> None:
    simulator, added = found(small_terms()), list[str]()
    simulator.transport.expect_no_update = added.append  # type: ignore[assignment,method-assign]
    in_phase(simulator, Phase.SEALING)
    simulator.transport.slow = lambda name, _: name == "elm"
    simulator.run(lambda: len(added) == 3)
    assert (sorted(added), simulator.conductor.machine.phase) == (["ash", "birch", "cedar"], Phase.SEALING)
    assert simulator.conductor._sum is not None
    assert simulator.conductor._sum._added == 3
    simulator.transport.slow = lambda *_: False
    simulator.run()
    require_finished(simulator)
