"""SCAFFOLD in a federation: beside a plain implementation, and every site's variate where rounds and sites are lost."""

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.small_study import read_columns, small_terms, without_privacy
from client.data.site_data import read_data
from client.study.store import StudyStore
from models.federated.server_optimiser import make_optimiser
from privacy.study import Terms
from server.study.state import Phase
from tests.protocol.conftest import Found
from tests.protocol.invariants import require_finished, require_safe
from tests.protocol.moments import THREE, committed, in_phase, make_void
from tests.simulator import FOUR, PowerCut, Simulator

Vector = NDArray[np.float64]
Variates = dict[str, Vector]

EXACT = {"rounds": 5, "local_steps": 6, "sampling_rate": 1.0, "learning_rate": 0.5, "control_variates": True}
NOISED = {"rounds": 5, "control_variates": True, "weights": "uniform"}
FINE = {"bits": 24}


def exact_terms(**changes: object) -> Terms:
    """Everybody in every lot and no noise: what a plain implementation can follow."""
    return without_privacy(training={**EXACT, **changes}, secure_aggregation=FINE)


def noised_terms() -> Terms:
    return small_terms(training=NOISED, secure_aggregation=FINE)


# The plain implementation ----------------------------------------------------------------------------------


class Hospital:
    """A logistic regression's gradient on one hospital's table, in float64."""

    def __init__(self, simulator: Simulator, name: str) -> None:
        table = read_data(simulator.terms.data, simulator.homes[name].folder / "train.csv").patients
        features, labels = read_columns(table)
        self.inputs = np.hstack([features.astype(np.float64), np.ones((len(features), 1))])
        self.labels = labels.astype(np.float64)

    def gradient(self, model: Vector) -> Vector:
        chance = 1 / (1 + np.exp(-(self.inputs @ model)))
        mean: Vector = self.inputs.T @ (chance - self.labels) / len(self.labels)
        return mean


def scaffold(
    simulator: Simulator, start: Vector, cohorts: list[tuple[str, ...]]
) -> tuple[Vector, Vector, Variates]:
    """Algorithm 1 of Karimireddy et al. 2020 with option II, word by word, if sites weigh alike.

    If they weigh by their patients, c is the mean over all who have taken part so far, weighted likewise.

    Returns:
        The model, the server's control variate, and every site's own.
    """
    hospitals = {name: Hospital(simulator, name) for name in simulator.names}
    training = simulator.terms.training
    by_patients = training.weights == "patients"
    size = {name: len(each.labels) if by_patients else 1 for name, each in hospitals.items()}
    reference = simulator.state("ash").reference
    assert reference is not None
    size = {name: min(count, reference) for name, count in size.items()}
    seen: set[str] = set()
    x, c = start.copy(), np.zeros_like(start)
    own = {name: np.zeros_like(start) for name in simulator.names}
    for number, cohort in enumerate(cohorts, start=1):
        rate, updates, changes = training.compute_learning_rate(number), [], []
        for name in cohort:
            y = x.copy()
            for _ in range(training.local_steps):
                y = y - rate * (hospitals[name].gradient(y) - own[name] + c)
            after = own[name] - c + (x - y) / (training.local_steps * rate)
            updates.append(y - x)
            changes.append(after - own[name])
            own[name] = after
        x = x + training.server_learning_rate * np.average(updates, axis=0, weights=[size[name] for name in cohort])
        seen |= set(cohort)
        if by_patients:
            c = np.average([own[name] for name in seen], axis=0, weights=[size[name] for name in seen])
        else:
            c = c + len(cohort) / len(simulator.names) * np.mean(changes, axis=0)
    return x, c, own


# What the federation has -----------------------------------------------------------------------------------


def effective(simulator: Simulator, name: str) -> Vector:
    """The own variate by which a site corrects its next round."""
    store = simulator.store(name)
    mine = [each.round for each in store.history.applied if name in each.sites]
    return store.read_variate(mine[-1]) if mine else np.zeros(store.launch.parameters)


def shared_variate(simulator: Simulator) -> Vector:
    shares = {simulator.store(name).read_shared_variate().tobytes() for name in simulator.names}
    assert len(shares) == 1
    return np.frombuffer(shares.pop())


def go_on(simulator: Simulator, base: int) -> None:
    """Until all sites have applied the same round, ``base`` or a later one."""
    simulator.run(
        lambda: simulator.all_have(base) and len({simulator.state(name).base for name in simulator.names}) == 1
    )


def first_model(simulator: Simulator) -> Vector:
    simulator.run(lambda: simulator.all_have(0))
    return simulator.store("ash").read_model()


def require_consistent(simulator: Simulator) -> None:
    """Where sites weigh alike, the shared variate is the mean over the roster of all own ones, to rounding.

    What an update's rounding left behind is less than a step of the grid, in this round and the one before.
    """
    terms = simulator.terms
    own = np.mean([effective(simulator, name) for name in simulator.names], axis=0)
    reach = terms.training.local_steps * terms.training.learning_rate
    step = terms.secure_aggregation.value_range / (2 ** (terms.secure_aggregation.bits - 1) - 1)
    np.testing.assert_allclose(shared_variate(simulator), own, rtol=0, atol=2 * step / reach)
    assert np.abs(own).max() > 100 * step / reach


def require_oracle(simulator: Simulator, start: Vector, rounds: int) -> None:
    cohorts = [committed(simulator)[number].committed.cohort for number in range(1, rounds + 1)]
    x, c, own = scaffold(simulator, start, cohorts)
    np.testing.assert_allclose(simulator.store("ash").read_model(), x, rtol=0, atol=1e-5)
    np.testing.assert_allclose(shared_variate(simulator), c, rtol=0, atol=1e-5)
    for name in simulator.names:
        np.testing.assert_allclose(effective(simulator, name), own[name], rtol=0, atol=1e-5)


# Tests -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", ["uniform", "patients"])
@pytest.mark.parametrize("schedule", ["constant", "linear"])
def test_federation_is_the_published_algorithm(found: Found, weights: str, schedule: str) -> None:
    simulator = found(exact_terms(weights=weights, schedule=schedule, server_learning_rate=0.8))
    start = first_model(simulator)
    go_on(simulator, 4)
    require_oracle(simulator, start, 4)
    simulator.run(seconds=5)
    require_finished(simulator)
    require_safe(simulator)


@pytest.mark.parametrize("weights", ["uniform", "patients"])
@pytest.mark.parametrize("missed", [1, 2])
def test_site_that_drops_out_and_comes_back_keeps_its_own(found: Found, missed: int, weights: str) -> None:
    simulator = found(exact_terms(weights=weights))
    start = first_model(simulator)
    in_phase(simulator, Phase.SEALING, missed)
    simulator.transport.cut_off.add("elm")
    simulator.run(lambda: missed in committed(simulator), seconds=50)
    simulator.transport.cut_off.clear()
    go_on(simulator, 4)
    cohorts = [committed(simulator)[number].committed.cohort for number in (1, 2, 3, 4)]
    assert cohorts[missed - 1] == ("ash", "birch", "cedar")
    assert cohorts[3] == FOUR
    require_oracle(simulator, start, 4)
    if weights == "uniform":
        require_consistent(simulator)


def test_noised_variates_add_up_to_the_shared_one(found: Found) -> None:
    simulator = found(noised_terms())
    for number in (1, 2, 3, 4):
        go_on(simulator, number)
        require_consistent(simulator)
    require_safe(simulator)


def test_variates_are_of_the_shared_layers_where_others_stay_at_sites(found: Found) -> None:
    model = {"name": "mlp", "options": {"hidden": [3]}, "personal": ["head"]}
    simulator = found(small_terms(model=model, training=NOISED, secure_aggregation=FINE))
    go_on(simulator, 3)
    require_consistent(simulator)
    assert len(shared_variate(simulator)) == simulator.store("ash").launch.parameters == 5 * 3 + 3
    simulator.run(seconds=5)
    require_finished(simulator)
    require_safe(simulator)


def test_void_round_leaves_every_variate_as_it_was(found: Found) -> None:
    simulator = found(noised_terms())
    in_phase(simulator, Phase.RELEASING, 2)
    before = {name: effective(simulator, name).tobytes() for name in FOUR}
    make_void(simulator, 2)
    simulator.run(lambda: simulator.conductor.machine.phase is Phase.SEALING)
    assert simulator.journal.read_history().void == {2}
    assert {name: effective(simulator, name).tobytes() for name in FOUR} == before
    simulator.run(lambda: {simulator.state(name).base for name in ("ash", "cedar", "elm")} == {4})
    own = np.mean([effective(simulator, name) for name in FOUR], axis=0)
    np.testing.assert_allclose(simulator.store("ash").read_shared_variate(), own, atol=1e-5)
    assert sorted(path.name for path in simulator.store("ash").folder.glob("control-*"))[0] == "control-00004.npz"


def test_power_cut_between_variate_and_integers_changes_nothing(
    found: Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All three sites are needed, so the round waits for the one that died; repeated, its work is the same draw."""
    simulator = found(noised_terms(), names=THREE)
    kept = StudyStore.keep_rounding_residual
    cut: list[bytes] = []

    def once(store: StudyStore, number: int, left: Vector) -> None:
        if number == 2 and not cut and store.folder.parent.parent.name == "ash":
            cut.append(store.read_variate(number).tobytes())
            raise PowerCut
        kept(store, number, left)

    monkeypatch.setattr(StudyStore, "keep_rounding_residual", once)
    go_on(simulator, 2)
    assert committed(simulator)[2].committed.cohort == THREE
    assert simulator.trained["ash", 2] == 2
    assert cut == [effective(simulator, "ash").tobytes()]
    require_consistent(simulator)
    simulator.run(seconds=5)
    require_finished(simulator)
    require_safe(simulator)


def test_power_cut_before_old_variates_are_removed_changes_nothing(
    found: Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulator = found(noised_terms(), names=THREE)
    forgets = StudyStore.forget_variates
    cut: list[int] = []

    def once(store: StudyStore, upto: int, but: int | None = None) -> None:
        if upto == 2 and not cut and store.folder.parent.parent.name == "ash":
            cut.append(upto)
            raise PowerCut
        forgets(store, upto, but)

    monkeypatch.setattr(StudyStore, "forget_variates", once)
    go_on(simulator, 4)
    assert cut == [2]
    require_consistent(simulator)
    names = sorted(path.name for path in simulator.store("ash").folder.glob("control-*"))
    assert "control-00002.npz" not in names


def test_site_dropped_from_an_attempt_it_had_trained_for_does_not_take_its_variate(found: Found) -> None:
    """What it sealed is lost on the way; the others seal again without it, and the round is applied so."""
    simulator = found(noised_terms())
    in_phase(simulator, Phase.SEALING, 2)
    simulator.transport.replies = lambda name, envelope: None if name == "elm" else envelope
    simulator.run(lambda: simulator.trained["elm", 2] > 0)
    before = effective(simulator, "elm").tobytes()
    assert simulator.store("elm").read_variate(2).tobytes() != before
    simulator.step(1000)
    simulator.run(lambda: 2 in committed(simulator), seconds=5)
    simulator.transport.replies = lambda name, envelope: envelope
    simulator.run(lambda: simulator.state("elm").base == 2)
    assert "elm" not in committed(simulator)[2].committed.cohort
    assert effective(simulator, "elm").tobytes() == before
    go_on(simulator, 2)
    require_consistent(simulator)


def test_nothing_of_a_variate_is_left_when_the_study_closes(found: Found) -> None:
    simulator = found(noised_terms())
    simulator.run(seconds=5)
    require_finished(simulator)
    for name in FOUR:
        assert list(simulator.store(name).folder.glob("control-*")) == []
    shared = simulator.store("ash").read_shared()
    assert shared.size == 2 * simulator.store("ash").launch.parameters
    assert make_optimiser(simulator.terms).variate_of(shared).any()


def test_sealed_update_is_no_longer_than_without_variates(found: Found) -> None:
    simulator = found(noised_terms())
    in_phase(simulator, Phase.RELEASING, 1)
    integers = simulator.store("ash").read_integers(1)
    assert integers is not None
    assert len(integers) == simulator.store("ash").launch.parameters
