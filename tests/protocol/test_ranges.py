"""Sums that a study's range holds, or not: derived from public counts, refused before anybody pays, marked after."""

import json
import logging
from typing import Any

import pytest

from benchmarks.small_study import small_terms, without_privacy
from privacy.mechanisms.distributed_noise import SharedNoise
from privacy.secure_aggregation.round_layout import compute_update_range, make_shared_noise
from privacy.study import Terms
from privacy.study.cost import compute_study_noise
from privacy.study.launch import Launch
from server.study.state import Phase
from tests.protocol.conftest import Found
from tests.protocol.invariants import require_finished, require_safe
from tests.protocol.moments import committed, in_phase
from tests.simulator import FOUR, Simulator

ROOM = 70 + 80 + 90 + 100
"""Public counts are 60, 70, 80, 90, and each is rounded down by up to ten."""


def terms_with(value_range: float | str, rounds: int = 4) -> Terms:
    return small_terms(
        training={"rounds": rounds, "local_steps": 1},
        privacy={"placement": "distributed"},
        evaluation={"rounds": []},
        secure_aggregation={"value_range": value_range, "bits": 20},
    )


def stopped(simulator: Simulator) -> str:
    return simulator.journal.read_history().stopped or ""


def card(simulator: Simulator, name: str) -> tuple[dict[str, Any], str]:
    folder = simulator.homes[name].find_study_folder(simulator.study) / "release"
    return json.loads((folder / "card.json").read_text()), (folder / "card.md").read_text()


def views(simulator: Simulator) -> list[Any]:
    return [
        header.statement.view
        for event in committed(simulator).values()
        for header in event.committed.headers.values()
    ]


def test_range_of_public_counts_holds_the_sum_of_all_sites(found: Found) -> None:
    """By hand: all sites' patients at rate 0.5, the largest lot, and eight deviations of three sites' noise."""
    simulator = found(terms_with("auto"))
    simulator.run()
    require_finished(simulator)
    require_safe(simulator)
    assert {view.room for view in views(simulator)} == {ROOM}
    sigma = compute_study_noise(simulator.terms)
    taken = make_shared_noise(simulator.terms, 6, sigma, room=ROOM).value_range
    assert ROOM / 2 + 8 * sigma * 1.5**0.5 < taken < ROOM + 10 * sigma * 1.5**0.5
    for name in FOUR:
        assert not simulator.history(name).edges
        assert simulator.entries(name, "incident") == []
        facts, text = card(simulator, name)
        assert facts["range"] == {"value_range": "auto", "bits": 20, "at_edge": []}
        assert "range of values" not in text


def test_range_that_cannot_hold_the_sum_stops_the_study_before_anybody_pays(found: Found) -> None:
    simulator = found(terms_with(60))
    simulator.run()
    assert simulator.conductor.machine.phase is Phase.STOPPED
    assert "secure_aggregation.value_range is 60 clipping norms, the noise and the sum need 274" in stopped(
        simulator
    )
    assert "write secure_aggregation.value_range: auto, or at least 280" in stopped(simulator)
    assert not any(simulator.trained.values())
    for name in FOUR:
        assert simulator.entries(name, "reserve") == []


def test_range_that_the_sentence_names_is_taken(found: Found) -> None:
    simulator = found(terms_with(280, rounds=1))
    simulator.run()
    require_finished(simulator)


def test_range_below_a_sites_own_patients_is_refused_at_admission(found: Found) -> None:
    simulator = found(terms_with(40))
    simulator.run()
    for name in FOUR[1:]:
        (refusal,) = simulator.entries(name, "refuse")
        assert getattr(refusal.body, "code", "") == "noise"
        assert (
            "for this site's patients alone, others come on top: secure_aggregation.value_range is 40"
            in getattr(refusal.body, "sentence", "")
        )


def test_site_that_was_never_seen_counts_as_the_largest(found: Found) -> None:
    simulator = found(terms_with("auto"), launch=False)
    simulator.transport.cut_off.add("elm")
    simulator.launch()
    simulator.run(lambda: 1 in committed(simulator), seconds=30)
    assert {view.room for view in views(simulator)} == {70 + 80 + 90 + 90}
    simulator.transport.cut_off.clear()
    simulator.run(seconds=5)
    require_finished(simulator)
    assert views(simulator)[-1].room == ROOM


def test_room_stays_through_a_rounds_attempts(found: Found) -> None:
    simulator = found(terms_with("auto"))
    in_phase(simulator, Phase.SEALING)
    simulator.transport.replies = lambda name, reply: None if name == "elm" else reply
    simulator.step()
    simulator.transport.replies = lambda _, reply: reply
    simulator.transport.cut_off.add("elm")
    simulator.run(lambda: 1 in committed(simulator), seconds=30)
    event = committed(simulator)[1].committed
    assert event.cohort == FOUR[:3]
    assert event.attempt > 1
    assert {header.statement.view.room for header in event.headers.values()} == {ROOM}


# What could not be prevented is told -------------------------------------------------------------------------


def test_sums_that_wrapped_are_marked_alike_at_every_site_in_card_ledger_and_log(
    found: Found, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Sites whose people have taken the rule out: the range hardly holds the noise, whatever the sum is."""
    monkeypatch.setattr(SharedNoise, "describe_problem", lambda *_: None)
    caplog.set_level(logging.WARNING, "activity")
    simulator = found(terms_with(6))
    simulator.run()
    require_finished(simulator)
    marks = simulator.history("ash").edges
    assert marks
    for name in FOUR:
        assert simulator.history(name).edges == marks
        facts, text = card(simulator, name)
        assert facts["range"]["at_edge"] == [mark.model_dump() for mark in marks]
        assert "**do not use this model**" in text
        codes = [getattr(entry.body, "code", "") for entry in simulator.entries(name, "incident")]
        assert codes == ["wrapped-around"] * len(marks)
    told = [record.getMessage() for record in caplog.records if record.name == "activity"]
    assert sum("sums have wrapped around; do not use the model" in each for each in told) == len(FOUR) * len(marks)


@pytest.mark.parametrize("private", [False, True])
def test_updates_that_local_noise_cuts_are_marked_and_each_site_warned(
    found: Found, caplog: pytest.LogCaptureFixture, *, private: bool
) -> None:
    caplog.set_level(logging.WARNING, "client.study.cut_values")
    make = small_terms if private else without_privacy
    simulator = found(make(secure_aggregation={"value_range": 1e-4}))
    simulator.run()
    require_finished(simulator)
    said = [record.getMessage() for record in caplog.records]
    assert sum("of 6 values of this site's update (" in each for each in said) == 2 * len(FOUR)
    if not private:  # without noise sites move the same way, and all of them are cut
        marks = simulator.history("ash").edges
        assert marks
        assert all(simulator.history(name).edges == marks for name in FOUR)
        assert "**too narrow**" in card(simulator, "elm")[1]
    for name in FOUR:
        assert simulator.entries(name, "incident") == [], "cut values are sent later: no incident"


@pytest.mark.parametrize("private", [False, True])
def test_auto_range_of_local_noise_cuts_nothing_and_is_refined(
    found: Found, caplog: pytest.LogCaptureFixture, *, private: bool
) -> None:
    caplog.set_level(logging.INFO, "client.study.cut_values")
    make = small_terms if private else without_privacy
    simulator = found(make(secure_aggregation={"value_range": "auto"}))
    simulator.run()
    require_finished(simulator)
    assert not any(simulator.history(name).edges for name in FOUR)
    assert simulator.state("ash").halvings > 0 or private, "noise may need the whole range"
    assert "were cut" not in caplog.text
    launch: Launch = simulator.store("ash").launch
    assert launch.terms.secure_aggregation.value_range is None
    assert compute_update_range(launch.terms, simulator.state("ash").noise_multiplier) > 1


def test_coordinator_that_has_seen_the_sites_knows_before_a_launch(found: Found) -> None:
    """Counts that sites have signed in an earlier study on the same contract, and of no other contract."""
    simulator = found(terms_with("auto"))
    simulator.run(lambda: 1 in committed(simulator))
    contract = simulator.terms.data
    known = simulator.federation.read_known_patients(contract, FOUR)
    assert known == {"ash": 60, "birch": 70, "cedar": 80, "elm": 90}
    assert simulator.federation.read_known_patients(contract, ("elm", "oak")) == {"elm": 90}
    other = contract.model_copy(update={"name": "other"})
    assert simulator.federation.read_known_patients(other, FOUR) == {}
