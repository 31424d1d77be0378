"""Studies whose lots are taken in turn: what noise leaves, through restarts, void rounds, and sites that are away."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.small_study import small_terms
from client.ledger.entry_text import describe_entry
from client.study.round_files import CARRIED_NOISE
from client.study.store import StudyStore
from privacy.accounting.events import BandedGaussian
from privacy.audit.commands.report import read_timeline
from privacy.audit.report.page import render_page
from privacy.mechanisms.correlated_noise import BandedNoise
from privacy.study import Terms
from privacy.study.cost import compute_study_noise
from tests.protocol.conftest import Found
from tests.protocol.invariants import require_finished, require_safe
from tests.protocol.moments import THREE, committed, make_void, trained_once
from tests.simulator import FOUR, PowerCut, Simulator, Vector, change_policy

ROUNDS, LOTS, BANDS, PARAMETERS = 4, 4, 3, 6


def ordered_terms(matrix: str = "banded", **training: Any) -> Terms:
    return small_terms(
        training={"rounds": ROUNDS, "local_steps": LOTS, "sampling_rate": 1 / LOTS, **training},
        privacy={
            "placement": "correlated",
            "correlation": {"matrix": matrix, "bands": BANDS if matrix == "banded" else None},
        },
        secure_aggregation={"value_range": "auto"},
        evaluation={"rounds": [ROUNDS]},
    )


def chain_noise(simulator: Simulator, site: str, rounds: Sequence[int]) -> NDArray[np.float64]:
    """The noise that a site carries on after ``rounds``, each after the other, from the draws of its rounds."""
    keys = {number: key for name, number, key in simulator.draws if name == site}
    deviation, past = compute_study_noise(simulator.terms) * 1.0, None  # a clipping norm of 1
    for number in rounds:
        noise = BandedNoise(keys[number], PARAMETERS, deviation, BANDS, past)
        for _ in range(simulator.terms.training.lots):
            noise.draw_step()
        past = noise.stack_past()
    assert past is not None
    return past


def carried(simulator: Simulator, site: str, number: int) -> bytes:
    return simulator.store(site).read_carried_noise(number).tobytes()


@pytest.mark.parametrize("matrix", ["banded", "tree"])
def test_whole_study_is_charged_round_by_round_by_its_matrix(found: Found, matrix: str) -> None:
    simulator = found(ordered_terms(matrix, local_steps=2 * LOTS))
    simulator.run(seconds=5)
    require_finished(simulator)
    require_safe(simulator)
    assert trained_once(simulator)
    events = [entry.body.event for entry in simulator.entries("ash", "reserve")]  # type: ignore[attr-defined]
    assert [event.kind for event in events] == [f"{matrix}-gaussian"] * ROUNDS
    assert {(event.lots, event.steps, event.passes) for event in events} == {(LOTS, 2 * LOTS, 2)}
    assert all(list(simulator.store(name).folder.glob(CARRIED_NOISE)) == [] for name in FOUR)  # closed
    said = [describe_entry(entry.body) for entry in simulator.entries("ash", "reserve")]
    assert all(f"{matrix}-gaussian" in line and f"lots {LOTS}, steps {2 * LOTS}" in line for line in said)
    assert len(said) == ROUNDS
    page = str(render_page(read_timeline(simulator.homes["ash"].ledger_path, None)))
    assert f"{matrix}-gaussian" in page
    assert f"{LOTS} lots in turn" in page


def test_noise_goes_on_from_round_to_round(found: Found) -> None:
    simulator = found(ordered_terms())
    simulator.run(lambda: simulator.all_have(3))
    for name in FOUR:
        assert carried(simulator, name, 3) == chain_noise(simulator, name, (1, 2, 3)).tobytes()
        assert (
            len(list(simulator.store(name).folder.glob(CARRIED_NOISE))) <= 2
        )  # and, maybe, of the round in progress


def test_site_whose_power_fails_after_training_repeats_its_noise_and_pays_once(
    found: Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All three sites are needed, so the round waits for the one that died, with its noise stored and no integers."""
    simulator = found(ordered_terms(), names=THREE)
    kept, cut = StudyStore.keep_rounding_residual, list[bytes]()

    def once(store: StudyStore, number: int, left: Vector) -> None:
        if number == 2 and not cut and store.folder.parent.parent.name == "ash":
            cut.append(store.read_carried_noise(number).tobytes())
            raise PowerCut
        kept(store, number, left)

    monkeypatch.setattr(StudyStore, "keep_rounding_residual", once)
    simulator.run(lambda: simulator.all_have(2), seconds=5)
    assert simulator.trained["ash", 2] == 2
    assert cut == [carried(simulator, "ash", 2)] == [chain_noise(simulator, "ash", (1, 2)).tobytes()]
    simulator.run(seconds=5)
    require_finished(simulator)
    require_safe(simulator)


def test_site_that_is_restarted_between_rounds_goes_on_with_its_noise(found: Found) -> None:
    simulator = found(ordered_terms(), names=THREE)
    simulator.run(lambda: simulator.all_have(1))
    simulator.restart_site("birch")
    simulator.run(lambda: simulator.all_have(3), seconds=5)
    assert carried(simulator, "birch", 3) == chain_noise(simulator, "birch", (1, 2, 3)).tobytes()


def test_site_that_was_away_goes_on_where_its_noise_is_in_the_model(found: Found) -> None:
    """Nothing is carried on from a round without it, and every round it takes part in is whole passes."""
    simulator = found(ordered_terms())
    simulator.run(lambda: simulator.all_have(1))
    simulator.transport.cut_off.add("elm")
    simulator.run(lambda: 2 in committed(simulator), seconds=20)
    simulator.transport.cut_off.clear()
    simulator.run(lambda: simulator.state("elm").base == 3, seconds=5)
    applied = [each.round for each in simulator.history("elm").applied if "elm" in each.sites]
    assert 2 not in applied
    last = max(number for number in applied if number <= 3)
    assert carried(simulator, "elm", last) == chain_noise(simulator, "elm", applied).tobytes()
    require_safe(simulator)


def test_void_round_is_paid_and_nothing_of_its_noise_is_carried_on(found: Found) -> None:
    """Two rounds then go on from the same noise: each draws its own, and each is paid in full."""
    simulator = found(ordered_terms())
    make_void(simulator, 2)
    simulator.run(lambda: simulator.state("ash").base == 3, seconds=5)
    assert carried(simulator, "ash", 3) == chain_noise(simulator, "ash", (1, 3)).tobytes()
    keys = {key for name, _, key in simulator.draws if name == "ash"}
    assert len(keys) == len({number for name, number, _ in simulator.draws if name == "ash"})
    simulator.run(seconds=5)
    require_safe(simulator)
    paid = [entry.body.event for entry in simulator.entries("ash", "reserve")]  # type: ignore[attr-defined]
    assert len(paid) == ROUNDS
    noise = compute_study_noise(simulator.terms)
    assert set(paid) == {BandedGaussian(noise_multiplier=noise, lots=LOTS, bands=BANDS, steps=LOTS)}


def test_lost_noise_is_begun_anew_and_the_site_s_log_says_so(
    found: Found, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As after a restore: what is not in a backup costs accuracy, never privacy; the round is paid as any other."""
    simulator, forgets = found(ordered_terms()), StudyStore.forget_carried_noise

    def lose(store: StudyStore, upto: int, but: int | None) -> None:
        forgets(store, upto, but)
        if upto == 2 and store.folder.parent.parent.name == "ash":
            (store.folder / "noise-00002.npz").unlink()

    monkeypatch.setattr(StudyStore, "forget_carried_noise", lose)
    simulator.run(lambda: simulator.all_have(3))
    assert carried(simulator, "ash", 3) == chain_noise(simulator, "ash", (3,)).tobytes()
    assert "the noise of round 2 is not here any more" in caplog.text
    simulator.run(seconds=5)
    require_finished(simulator)
    require_safe(simulator)


def test_site_refuses_lots_in_turn_unless_its_policy_names_them(found: Found) -> None:
    simulator = found(ordered_terms(), launch=False)
    change_policy(simulator.homes["ash"], placements=["local", "distributed"])
    simulator.launch()
    simulator.run(seconds=5)
    refused = [entry.body.sentence for entry in simulator.entries("ash", "refuse")]  # type: ignore[attr-defined]
    assert refused
    assert "has the placement 'correlated', this site allows: local, distributed" in refused[0]
    assert simulator.entries("ash", "reserve") == []
