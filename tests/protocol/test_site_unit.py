"""Studies whose unit is the site: whole updates, noised together; sites drawn in secret; a norm that adapts."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.small_study import small_terms
from models.federated.server_optimiser import make_optimiser
from privacy.accounting.epsilon import epsilon_of
from privacy.mechanisms.distributed_noise import SharedNoise
from privacy.secure_aggregation.round_layout import make_shared_noise
from privacy.study import Terms
from privacy.study.cost import compute_study_noise
from server.study.state import Phase
from tests.protocol.conftest import Found
from tests.protocol.invariants import require_finished, require_safe
from tests.protocol.moments import committed, in_phase, trained_once
from tests.simulator import FOUR, PowerCut, Simulator

ROUNDS = 3
WAYS: dict[str, dict[str, dict[str, Any]]] = {
    "everybody": {},
    "sampled": {"cohort": {"participation": 0.5}},
    "adaptive": {"privacy": {"adaptive_clipping": {}}},
    "sampled and adaptive": {"cohort": {"participation": 0.5}, "privacy": {"adaptive_clipping": {"rate": 0.5}}},
}


def site_terms(way: str = "everybody", **changes: dict[str, Any]) -> Terms:
    sections: dict[str, dict[str, Any]] = {
        "training": {"rounds": ROUNDS, "local_steps": 4, "weights": "uniform", "proximal": 0.1},
        "privacy": {"unit": "site", "placement": "distributed"},
        "secure_aggregation": {"value_range": 60.0, "bits": 20},
        "evaluation": {"rounds": [ROUNDS]},
    }
    for more in (WAYS[way], changes):
        sections |= {name: {**sections.get(name, {}), **change} for name, change in more.items()}
    return small_terms(**sections)


def noise_of(simulator: Simulator, norm: float | None = None) -> SharedNoise:
    return make_shared_noise(simulator.terms, 6, compute_study_noise(simulator.terms), norm)


def sealed_in_first_round(simulator: Simulator) -> dict[str, NDArray[np.uint32]]:
    found = {name: simulator.store(name).read_integers(1) for name in simulator.names}
    return {name: integers for name, integers in found.items() if integers is not None}


@pytest.mark.parametrize("way", WAYS)
def test_whole_study_ends_with_one_model_and_is_charged_to_the_patient(found: Found, way: str) -> None:
    simulator = found(site_terms(way))
    simulator.run(lambda: 2 in committed(simulator))
    simulator.restart_site("ash")
    simulator.run(seconds=5)
    require_finished(simulator)
    require_safe(simulator)
    assert trained_once(simulator)
    events = [entry.body.event for entry in simulator.entries("birch", "reserve")]  # type: ignore[attr-defined]
    participation = simulator.terms.cohort.participation
    assert [(each.kind, each.participation, each.steps) for each in events] == [
        ("site-updates", participation, 1)
    ] * ROUNDS
    assert 2.99 < epsilon_of(events, 1e-3) <= 3
    assert not list(simulator.store("ash").folder.glob("left-*"))
    assert simulator.store("ash").read_clipping_norm() != 1.0 or "adaptive" not in way


@pytest.mark.parametrize("way", WAYS)
def test_model_and_norm_are_those_of_the_sum_that_sites_sealed(found: Found, way: str) -> None:
    """Recomputed from the four sites' integers, in plain steps."""
    simulator = found(site_terms(way))
    in_phase(simulator, Phase.RELEASING)
    sealed, adaptive = sealed_in_first_round(simulator), simulator.terms.privacy.adaptive_clipping
    before = simulator.store("ash").read_model()
    assert {each.size for each in sealed.values()} == {6 + (adaptive is not None)}
    simulator.run(lambda: simulator.all_have(1))
    opened = sum(each.astype(np.int64) for each in sealed.values()) % 2**20
    opened = np.where(opened >= 2**19, opened - 2**20, opened)
    longest = 1.0 if adaptive is None else (1 + adaptive.share**2 / 4) ** 0.5
    total = opened * (2 * 60.0 * longest / 2**20)
    expected = 4 * simulator.terms.cohort.participation
    np.testing.assert_allclose(simulator.store("elm").read_model(), before + total[:6] / expected, rtol=1e-12)
    if adaptive is not None:
        within = np.clip(total[6] / (adaptive.share * expected) + 0.5, 0, 1)
        norm = 1 - adaptive.rate * (within - adaptive.quantile)
        assert simulator.store("elm").read_clipping_norm() == pytest.approx(norm, rel=1e-12)
    assert len({simulator.state(name).model_sha256 for name in FOUR}) == 1


def test_moments_and_norm_lie_side_by_side(found: Found) -> None:
    simulator = found(site_terms("adaptive", training={"server": {"rule": "adam"}}))
    simulator.run(seconds=5)
    require_finished(simulator)
    store = simulator.store("ash")
    assert store.read_shared().size == make_optimiser(simulator.terms).make_initial_state(np.zeros(6)).size == 18
    assert len(simulator.model_file("ash")) == 8 * 19
    assert 0.5 < (store.read_clipping_norm() or 0) < 2


def test_grid_of_a_later_round_follows_the_norm(found: Found) -> None:
    simulator = found(site_terms("sampled and adaptive"))
    in_phase(simulator, Phase.RELEASING, 2)
    norm = simulator.store("ash").read_clipping_norm()
    assert norm is not None
    assert norm != 1.0
    before = simulator.store("ash").read_model()
    sealed = [simulator.store(name).read_integers(2) for name in FOUR]
    total = sum(each.astype(np.int64) for each in sealed if each is not None) % 2**20
    total = np.where(total >= 2**19, total - 2**20, total)
    simulator.run(lambda: simulator.all_have(2))
    unit = 2 * 60.0 * norm * (1 + 0.5**2 / 4) ** 0.5 / 2**20
    np.testing.assert_allclose(simulator.store("ash").read_model(), before + total[:6] * unit / 2, rtol=1e-9)


@pytest.mark.parametrize("way", ["everybody", "sampled and adaptive"])
def test_survivors_top_their_shares_up_without_training_or_paying_again(found: Found, way: str) -> None:
    simulator = found(site_terms(way))
    in_phase(simulator, Phase.SEALING)
    simulator.transport.replies = lambda name, reply: None if name == "ash" else reply
    simulator.step()
    simulator.transport.replies = lambda _, reply: reply
    noise = noise_of(simulator)
    assert simulator.store("birch").read_variance(1) == noise.compute_share_variance(4)
    first = sealed_in_first_round(simulator)["birch"]
    simulator.transport.cut_off.add("ash")
    simulator.run(lambda: simulator.store("birch").read_variance(1) > noise.compute_share_variance(4), seconds=30)
    assert simulator.store("birch").read_variance(1) >= noise.compute_share_variance(3)
    moved = (sealed_in_first_round(simulator)["birch"].astype(np.int64) - first + 2**19) % 2**20 - 2**19
    assert 0 < np.abs(moved).max() < 8 * np.sqrt(noise.compute_share_variance(3) - noise.compute_share_variance(4))
    simulator.run(lambda: 1 in committed(simulator), seconds=30)
    assert committed(simulator)[1].committed.cohort == FOUR[1:]
    assert simulator.trained["birch", 1] == len(simulator.entries("birch", "reserve")) == 1
    simulator.transport.cut_off.clear()
    simulator.run(seconds=5)
    require_finished(simulator)
    require_safe(simulator)


def test_site_whose_power_fails_in_training_repeats_the_same_draw_and_pays_once(found: Found) -> None:
    simulator = found(site_terms("sampled and adaptive"))
    cuts = iter([True])

    def cut(site: str, number: int) -> None:
        if (site, number) == ("birch", 1) and next(cuts, False):
            raise PowerCut

    simulator.before_training = cut
    in_phase(simulator, Phase.SEALING)
    simulator.transport.cut_off.add("elm")  # so that three are left and birch is waited for
    simulator.run(lambda: simulator.trained["birch", 1] == 2, seconds=5)
    simulator.transport.cut_off.clear()
    simulator.run(seconds=5)
    assert len({key for site, number, key in simulator.draws if (site, number) == ("birch", 1)}) == 1
    require_finished(simulator)
    require_safe(simulator)


def test_coordinator_killed_changes_nothing(found: Found) -> None:
    simulator = found(site_terms("sampled and adaptive"))
    simulator.run(lambda: 2 in committed(simulator))
    simulator.restart_coordinator()
    simulator.run(seconds=5)
    require_finished(simulator)
    require_safe(simulator)
    assert trained_once(simulator)


@pytest.mark.parametrize("learning_rate", [1e-9, 1e38])
def test_what_sites_train_does_not_show_in_how_a_study_goes(found: Found, learning_rate: float) -> None:
    """Nothing, or training that diverges at every site: zeros and noise, and a study that ends."""
    simulator = found(site_terms("adaptive", training={"learning_rate": learning_rate}))
    simulator.run(seconds=5)
    require_finished(simulator)
    require_safe(simulator)


def test_drawn_sites_are_nowhere_to_be_seen(found: Found) -> None:
    """Neither what is on the wire nor the ledger depends on it: headers, sizes and entries are alike."""
    simulator = found(site_terms("sampled"))
    in_phase(simulator, Phase.RELEASING)
    simulator.run(seconds=5)
    ledgers = {
        tuple((entry.kind, getattr(entry.body, "charge", None)) for entry in simulator.entries(name, "reserve"))
        for name in FOUR
    }
    assert len(ledgers) == 1
    assert len({simulator.trained[name, number] for name in FOUR for number in range(1, ROUNDS + 1)}) == 1


def test_site_refuses_a_study_whose_sums_wrap(found: Found) -> None:
    simulator = found(site_terms(secure_aggregation={"value_range": 20.0}))
    simulator.run()
    (refusal,) = simulator.entries("ash", "refuse")
    assert getattr(refusal.body, "code", "") == "noise"
    assert "the noise and the sum need" in getattr(refusal.body, "sentence", "")
