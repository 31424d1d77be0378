"""A study that has waited long enough for a better model ends, at all sites alike, whatever happens around it."""

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from benchmarks.small_study import small_terms, without_privacy
from privacy.canonical import compute_sha256
from privacy.ledger.entries import Allow, Evaluate, Reserve, Return
from privacy.protocol.envelope import Envelope, read_body
from privacy.protocol.messages import Opened, Problem, Reply, Train
from privacy.study import Terms
from server.study.events import TotalsOpened
from server.study.state import Phase
from tests.protocol.conftest import Found
from tests.protocol.invariants import budget, require_finished, require_safe
from tests.protocol.moments import THREE, committed, in_phase, make_void
from tests.protocol.test_coordinator_killed import EVERY, run_with_power_cut
from tests.simulator import FOUR, Simulator


def still(rounds: int = 6, patience: int = 2, **more: dict[str, Any]) -> Terms:
    """A study whose model hardly moves, so that every evaluation has the same AUROC."""
    return without_privacy(
        training={"rounds": rounds, "server_learning_rate": 1e-6},
        evaluation={"rounds": list(range(1, rounds + 1)), "patience": patience},
        **more,
    )


def paid(rounds: int = 8, patience: int = 1) -> Terms:
    """A study of which noise decides when it ends; that it never does before the end has a chance of one in 8!."""
    return small_terms(
        training={"rounds": rounds, "local_steps": 1},
        evaluation={"rounds": list(range(1, rounds + 1)), "patience": patience, "epsilon": 2},
    )


def figure(counts: tuple[int, ...]) -> float | None:
    """The AUROC of totals by scikit-learn."""
    cells = np.clip(counts, 0, None)
    labels = np.repeat([0] * (len(cells) // 2) + [1] * (len(cells) // 2), cells)
    scores = np.repeat([*range(len(cells) // 2)] * 2, cells)
    return float(roc_auc_score(labels, scores)) if 0 < labels.sum() < len(labels) else None


def last_exchange(simulator: Simulator, name: str) -> int:
    """The exchange after which the study ends, read off what a site has opened, sentence by sentence."""
    patience = simulator.terms.evaluation.patience
    assert patience is not None
    best: float | None = None
    waited = 0
    for each in simulator.history(name).evaluations:
        found = figure(each.counts)
        if found is not None and (best is None or found > best + 1e-12):
            best, waited = found, 0
        elif best is not None:
            waited += 1
        if waited == patience:
            return each.opened_in
    return simulator.terms.last_round


def require_ended_by_rule(simulator: Simulator, *names: str) -> int:
    """The study has ended where the rule says, for everybody; after which exchange."""
    everybody = names or simulator.names
    require_finished(simulator, *everybody)
    require_safe(simulator)
    ends = {last_exchange(simulator, name) for name in everybody}
    assert len(ends) == 1
    end = ends.pop()
    assert {simulator.state(name).base for name in everybody} == {end}
    assert max(committed(simulator)) == end
    assert max(number for _, number in simulator.trained) <= end, "nobody trains after the end"
    return end


def test_study_ends_after_the_exchange_that_brings_the_last_straw(found: Found) -> None:
    """Equal is not better: the models of rounds 2 and 3 are no better than that of round 1.

    The totals of round 3 ride in exchange 4, which also trains; there is no exchange 5.
    """
    simulator = found(still())
    simulator.run()
    assert require_ended_by_rule(simulator) == 4
    for name in FOUR:
        history = simulator.history(name)
        assert [(each.round, each.opened_in) for each in history.evaluations] == [(1, 2), (2, 3), (3, 4)]
        assert [each.round for each in history.applied] == [1, 2, 3, 4]
        assert simulator.state(name).closed
        card = (simulator.homes[name].find_study_folder(simulator.study) / "release" / "card.md").read_text()
        assert "| ended | early, after round 4 of 6: 2 evaluations brought no better AUROC" in card


def test_study_without_patience_trains_all_its_rounds(found: Found) -> None:
    simulator = found(
        without_privacy(training={"rounds": 4, "server_learning_rate": 1e-6}, evaluation={"rounds": [1, 2, 3, 4]})
    )
    simulator.run()
    require_finished(simulator)
    assert max(committed(simulator)) == 5
    assert sorted(simulator.journal.read_history().totals) == [2, 3, 4], (
        "learnt from headers, of which the last has none"
    )


def test_patience_that_is_never_tried_changes_nothing(found: Found) -> None:
    simulator = found(still(rounds=3, patience=5))
    simulator.run()
    require_finished(simulator)
    assert max(committed(simulator)) == simulator.terms.last_round == 4
    assert not simulator.conductor.machine._state.out_of_patience


def test_what_an_early_end_leaves_unused_goes_back_to_the_grant(found: Found) -> None:
    simulator = found(paid())
    simulator.run()
    end = require_ended_by_rule(simulator)
    for name in FOUR:
        bodies = [entry.body for entry in simulator.entries(name)]
        allowed = sum(body.charge for body in bodies if isinstance(body, Allow))
        spent = [body.charge or 0 for body in bodies if isinstance(body, Reserve | Evaluate)]
        returned = [body.charge for body in bodies if isinstance(body, Return)]
        assert len(spent) == (end if end <= 8 else 8) + len(simulator.history(name).evaluations)
        assert returned == [allowed - sum(spent)]
        assert (returned[0] > 0) == (end < simulator.terms.last_round)
        grant = budget(simulator, name).grants[0]
        assert (grant.spent, grant.set_aside) == (sum(spent), 0)
        assert grant.left == grant.limit - grant.spent


def test_site_refuses_to_train_after_the_end_whoever_asks(found: Found) -> None:
    """A coordinator that does not know the rule, or does not keep to it."""
    simulator = found(still())
    simulator.run(lambda: simulator.conductor.machine.phase is Phase.CLOSING)
    before = dict(simulator.trained)
    keys = simulator.journal.read_history().keys
    for name in FOUR:
        assert simulator.state(name).base == 4
        further = Train(
            round=5,
            attempt=1,
            epoch=simulator.journal.read_history().epoch,
            base=4,
            cohort=FOUR,
            reference=simulator.state(name).reference or 0,
            keys=keys,
            witnessed=simulator.federation.open_witness().read_newest_head(name),
        )
        reply, _ = simulator.exchange(name, further)
        assert isinstance(reply, Problem)
        assert (reply.code, reply.base) == ("enough", 4)
        assert "ended after round 4, by its own terms: 2 evaluations brought no better AUROC" in reply.sentence
    assert simulator.trained == before
    simulator.run(seconds=5)
    assert require_ended_by_rule(simulator) == 4


def test_coordinator_that_forgot_the_rule_gets_no_further_round(found: Found) -> None:
    """Its terms have no patience: it continues asking, and is stopped; then it is put right."""
    simulator = found(still())
    patient = simulator.conductor.machine._state.terms
    forgetful = patient.evaluation.model_copy(update={"patience": None})
    simulator.conductor.machine._state.terms = patient.model_copy(update={"evaluation": forgetful})
    simulator.run(seconds=5)
    assert "can take part, the terms need 3" in (simulator.journal.read_history().stopped or "")
    assert max(committed(simulator)) == 4
    assert max(number for _, number in simulator.trained) == 4
    require_safe(simulator)
    simulator.resume(*FOUR)
    simulator.run(seconds=5)
    assert require_ended_by_rule(simulator) == 4


@pytest.mark.parametrize("delivered", [True, False], ids=["sites were asked", "sites were not asked"])
@pytest.mark.parametrize("phase", [Phase.OPENING, Phase.CLOSING])
def test_restarted_coordinator_ends_the_study_where_it_would_have(
    found: Found, phase: Phase, delivered: bool
) -> None:
    simulator = found(still())
    simulator.run(lambda: simulator.conductor.machine.phase is phase and 4 in committed(simulator))
    simulator.restart_coordinator(delivered=delivered)
    simulator.run(seconds=5)
    assert require_ended_by_rule(simulator) == 4
    opened = simulator.journal.read_history().totals
    assert {number: evaluated.round for number, evaluated in opened.items()} == {2: 1, 3: 2, 4: 3}


def test_study_ends_alike_wherever_the_coordinator_is_killed(found: Found) -> None:
    terms = still(rounds=3, patience=1)
    for moment in range(20, EVERY, 9):
        simulator = found(terms, THREE, launch=False)
        before_the_end = run_with_power_cut(simulator, moment, delivered=bool(moment % 2))
        assert require_ended_by_rule(simulator) == 3
        if not before_the_end:
            break
    assert 40 < moment < EVERY


@pytest.mark.parametrize("restarted", [False, True])
def test_site_that_missed_the_opening_ends_with_the_others(found: Found, restarted: bool) -> None:
    """It is cut off while the totals that end the study are opened, and comes back while the others wait."""
    simulator = found(still(release={"model": "best"}))
    simulator.run(lambda: simulator.conductor.machine.phase is Phase.OPENING and 4 in committed(simulator))
    simulator.transport.cut_off.add("elm")
    simulator.step(1)
    assert not simulator.conductor.machine._state.is_complete, "the others have opened, elm is waited for"
    simulator.step(1000)
    assert simulator.conductor.machine.phase is Phase.CLOSING
    assert simulator.state("elm").base == 3
    if restarted:
        simulator.restart_site("elm")
    simulator.transport.cut_off.clear()
    simulator.run(seconds=5)
    assert require_ended_by_rule(simulator) == 4


def test_site_away_for_several_evaluations_catches_up_and_ends_with_the_others(found: Found) -> None:
    simulator = found(still(rounds=9, patience=5, release={"model": "best"}))
    in_phase(simulator, Phase.SEALING, 2)
    simulator.transport.cut_off.add("elm")
    simulator.step(1000)
    simulator.run(lambda: 4 in committed(simulator))
    assert simulator.state("elm").base < 2
    simulator.transport.cut_off.clear()
    simulator.run(seconds=5)
    assert require_ended_by_rule(simulator) >= 7
    assert simulator.history("elm").evaluations == simulator.history("ash").evaluations


def test_members_restarted_while_they_open_do_not_keep_the_study_from_ending(found: Found) -> None:
    simulator = found(still(), THREE)
    simulator.run(lambda: simulator.conductor.machine.phase is Phase.OPENING and 4 in committed(simulator))
    simulator.restart_site("cedar")
    simulator.run(seconds=5)
    assert require_ended_by_rule(simulator) == 4


def test_too_few_members_after_opening_wait_for_the_others(found: Found) -> None:
    """Two of three cannot say what the third has opened: the study waits for it, as it does before a round."""
    simulator = found(still(), THREE)
    simulator.run(lambda: simulator.conductor.machine.phase is Phase.OPENING and 4 in committed(simulator))
    simulator.transport.cut_off.add("cedar")
    simulator.step()
    simulator.step(1000)
    for _ in range(40):
        simulator.step(5)
    assert simulator.conductor.machine.phase is Phase.WAITING
    assert 4 not in simulator.journal.read_history().totals
    simulator.transport.cut_off.clear()
    simulator.run(seconds=5)
    assert require_ended_by_rule(simulator) == 4


def test_void_exchange_brings_its_totals_one_exchange_later(found: Found) -> None:
    """Exchange 3 would have brought the totals of round 2; exchange 4 does, and the rule sees what was opened."""
    terms = small_terms(
        training={"rounds": 8, "local_steps": 1},
        evaluation={"rounds": list(range(1, 9)), "patience": 1, "epsilon": 2},
    )
    simulator = found(terms)
    make_void(simulator, 2)
    simulator.run(seconds=5)
    require_ended_by_rule(simulator)
    assert simulator.journal.read_history().void == {2}
    first = simulator.history("ash").evaluations[0]
    assert (first.round, first.opened_in) == (1, 3)
    for name in simulator.names:
        paid_for = [entry.body.round for entry in simulator.entries(name, "evaluate")]  # type: ignore[attr-defined]
        assert len(paid_for) == len(set(paid_for)), "the totals of round 1 were paid once"


def lying(simulator: Simulator, name: str, **lie: object) -> None:
    """From now on ``name`` answers with other totals than it has opened."""

    def changed(site: str, reply: Envelope) -> Envelope:
        content: Reply = read_body(reply).content  # type: ignore[assignment]
        if site != name or not isinstance(content, Opened) or content.evaluated is None:
            return reply
        told = content.model_copy(update={"evaluated": content.evaluated.model_copy(update=lie)})
        return simulator.forged(name, reply, told)

    simulator.transport.replies = changed


def test_members_that_say_they_opened_different_totals_stop_the_study(found: Found) -> None:
    simulator = found(still())
    counts = (0,) * 19 + (1,)
    lying(simulator, "cedar", counts=counts)
    simulator.run()
    why = simulator.journal.read_history().stopped or ""
    assert "ash and cedar have opened different totals of round 1" in why
    assert simulator.journal.read_history().totals == {}
    assert all(number <= 2 for _, number in simulator.trained)


@pytest.mark.parametrize("lie", [{"round": 0}, {"opened_in": 1}, {"counts": (1, 2, 3, 4)}])
def test_site_that_answers_with_totals_of_something_else_is_lost(found: Found, lie: dict[str, object]) -> None:
    simulator = found(still())
    lying(simulator, "elm", **lie)
    simulator.run(seconds=5)
    assert require_ended_by_rule(simulator, *THREE) < 6  # the cohorts alternate, and so may the figures
    assert all(each.round == each.opened_in - 1 for each in simulator.journal.read_history().totals.values())


def test_totals_that_ended_the_study_are_read_back_from_the_journal(found: Found) -> None:
    simulator = found(still())
    simulator.run()
    for number, evaluated in simulator.journal.read_history().totals.items():
        assert evaluated == simulator.history("ash").evaluations[number - 2]
        assert TotalsOpened(evaluated=evaluated).kind == "totals-opened"


def test_end_of_patience_with_local_noise_gives_every_site_one_model(found: Found) -> None:
    simulator = found(paid(patience=2))
    simulator.run()
    require_ended_by_rule(simulator)
    assert len({compute_sha256(simulator.model_file(name)) for name in FOUR}) == 1
