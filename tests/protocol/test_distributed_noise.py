"""Studies whose noise the sites add together: one global step a round, topped up when a site is lost."""

from typing import Any

import numpy as np
import pytest

from benchmarks.small_study import small_terms
from privacy.errors import TermsError
from privacy.secure_aggregation.round_layout import make_shared_noise
from privacy.study import Terms
from privacy.study.cost import compute_study_noise
from server.study.state import Phase
from tests.protocol.conftest import Found
from tests.protocol.invariants import require_finished, require_safe
from tests.protocol.moments import committed, in_phase, trained_once
from tests.simulator import FOUR, Simulator

ROUNDS = 4
ROOM = (60 + 10) + (70 + 10) + (80 + 10) + (90 + 10)
"""Public counts of the simulator's four sites, each rounded down by up to ten."""


def distributed_terms() -> Terms:
    return small_terms(
        training={"rounds": ROUNDS, "local_steps": 1},
        privacy={"placement": "distributed"},
        secure_aggregation={"value_range": "auto", "bits": 20},
    )


def variances(simulator: Simulator, number: int) -> dict[str, int]:
    return {name: simulator.store(name).read_variance(number) for name in simulator.names}


def test_whole_study_ends_with_one_model_at_all_sites(found: Found) -> None:
    simulator = found(distributed_terms())
    simulator.run()
    require_finished(simulator)
    require_safe(simulator)
    assert trained_once(simulator)
    events = [entry.body.event for entry in simulator.entries("ash", "reserve")]  # type: ignore[attr-defined]
    assert [event.kind for event in events] == ["distributed-gaussian"] * ROUNDS


def test_shares_are_those_of_the_cohort(found: Found) -> None:
    simulator = found(distributed_terms())
    in_phase(simulator, Phase.RELEASING)
    noise = make_shared_noise(simulator.terms, 6, compute_study_noise(simulator.terms), room=ROOM)
    assert variances(simulator, 1) == dict.fromkeys(FOUR, noise.compute_share_variance(4))


def test_survivors_top_their_shares_up_without_training_or_paying_again(found: Found) -> None:
    simulator = found(distributed_terms())
    in_phase(simulator, Phase.SEALING)
    simulator.transport.replies = lambda name, reply: None if name == "ash" else reply
    simulator.step()
    simulator.transport.replies = lambda _, reply: reply
    before = {name: simulator.store(name).read_integers(1) for name in FOUR}
    simulator.transport.cut_off.add("ash")
    simulator.run(lambda: 1 in committed(simulator), seconds=30)
    noise = make_shared_noise(simulator.terms, 6, compute_study_noise(simulator.terms), room=ROOM)
    assert committed(simulator)[1].committed.cohort == FOUR[1:]
    assert simulator.trained["birch", 1] == 1
    assert len(simulator.entries("birch", "reserve")) == 1
    assert before["birch"] is not None
    assert noise.compute_share_variance(3) > noise.compute_share_variance(4)
    simulator.transport.cut_off.clear()
    simulator.run(seconds=5)
    require_finished(simulator)


def test_topped_up_integers_are_the_first_ones_and_more_noise(found: Found) -> None:
    simulator = found(distributed_terms())
    in_phase(simulator, Phase.SEALING)
    simulator.transport.replies = lambda name, reply: None if name == "ash" else reply
    simulator.step()
    first = simulator.store("birch").read_integers(1)
    simulator.transport.cut_off.add("ash")
    simulator.run(lambda: simulator.store("birch").read_variance(1) > variances(simulator, 1)["ash"], seconds=30)
    second = simulator.store("birch").read_integers(1)
    assert first is not None
    assert second is not None
    noise = make_shared_noise(simulator.terms, 6, compute_study_noise(simulator.terms), room=ROOM)
    half, modulus = 1 << 19, 1 << 20
    moved = (second.astype(np.int64) - first + half) % modulus - half
    added = noise.compute_share_variance(3) - noise.compute_share_variance(4)
    assert np.abs(moved).max() < 8 * np.sqrt(added)
    assert np.any(moved)


def test_coordinator_killed_changes_nothing(found: Found) -> None:
    simulator = found(distributed_terms())
    simulator.run(lambda: 2 in committed(simulator))
    simulator.restart_coordinator()
    simulator.run(seconds=5)
    require_finished(simulator)
    require_safe(simulator)
    assert trained_once(simulator)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"training": {"rounds": 2, "local_steps": 3}}, "a round is one global step"),
        ({"training": {"rounds": 2, "local_steps": 1, "weights": "uniform"}}, "every patient counts alike"),
    ],
)
def test_terms_that_are_no_global_step_are_refused(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(TermsError, match=sentence):
        small_terms(**{"privacy": {"placement": "distributed"}, **change})


def test_site_refuses_a_study_whose_shares_are_no_noise(found: Found) -> None:
    terms = small_terms(
        training={"rounds": 2, "local_steps": 1},
        privacy={"placement": "distributed"},
        secure_aggregation={"value_range": 400.0, "bits": 8},
    )
    simulator = found(terms)
    simulator.run()
    (refusal,) = simulator.entries("ash", "refuse")
    assert getattr(refusal.body, "code", "") == "noise"
