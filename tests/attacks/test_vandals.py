"""A site that is broken or lies: it is named and lost, and the others continue with the same integers."""

from collections.abc import Callable
from typing import cast

import numpy as np
import pytest

from benchmarks.small_study import small_terms, without_privacy
from client.study.request_handler import RequestHandler
from client.training.jobs import Job, R, TrainedRound
from privacy.canonical import compute_digest, compute_sha256
from privacy.keys import SessionKey
from privacy.protocol.envelope import Blob, Envelope, read_body
from privacy.protocol.headers import Header
from privacy.protocol.key_messages import KeyOffer, Wrappings
from privacy.protocol.messages import Closed, Joined, Opened, Problem, Released, Reply, Sealed
from privacy.refusal_codes import RefusalCode
from privacy.secure_aggregation.schemes.bfv_parameters import COEFFICIENT_MODULUS, POLYNOMIAL_BYTES, SLOTS
from privacy.secure_aggregation.schemes.coefficients import pack_polynomial
from privacy.signed import Signed
from server.study.notes import Remark
from server.study.state import Phase
from tests.protocol.conftest import Found
from tests.protocol.invariants import require_finished, require_safe
from tests.simulator import FOUR, Simulator, WatchedTrainer

HONEST = ("birch", "cedar", "elm")
Lie = Callable[[Simulator, Envelope], Envelope | None]


def garbage(simulator: Simulator, reply: Envelope) -> Envelope:
    """Coefficients that no polynomial of this ring has."""
    beyond = pack_polynomial(np.full(SLOTS, COEFFICIENT_MODULUS, dtype=np.uint64))
    return sealed(simulator, reply, beyond + reply.blobs[0][POLYNOMIAL_BYTES:])


def truncated(simulator: Simulator, reply: Envelope) -> Envelope:
    return sealed(simulator, reply, reply.blobs[0][:-1])


def sealed(simulator: Simulator, reply: Envelope, blob: Blob, **view: object) -> Envelope:
    """Ash's sealed update with another blob or view, with a header that binds it."""
    content = read_body(reply).content
    assert isinstance(content, Sealed)
    old = content.header.statement
    new = old.model_copy(update={"blob": compute_sha256(blob), "view": old.view.model_copy(update=view)})
    header = Signed[Header].sign(simulator.homes["ash"].load_identity(), new)
    return simulator.forged("ash", reply, content.model_copy(update={"header": header}), blob)


def unbound(simulator: Simulator, reply: Envelope) -> Envelope:
    """A blob that the header does not name."""
    content = read_body(reply).content
    assert isinstance(content, Sealed)
    return simulator.forged("ash", reply, content, bytes(len(reply.blobs[0])))


def exchanged(simulator: Simulator, reply: Envelope) -> Envelope:
    """A blob that the message does not name."""
    return Envelope(reply.body, reply.signature, (bytes(len(reply.blobs[0])),))


def signed_by_another(simulator: Simulator, reply: Envelope) -> Envelope:
    body = read_body(reply)
    return Envelope(reply.body, simulator.homes["birch"].load_identity().sign(body.to_bytes()), reply.blobs)


def to_another_request(simulator: Simulator, reply: Envelope) -> Envelope:
    """What it said when it was asked to join."""
    return next(each for each in simulator.transport.wire if b'"sender":"ash"' in each.body)


def not_a_reply(simulator: Simulator, reply: Envelope) -> Envelope:
    return simulator.forged("ash", reply, Opened(base=0, evaluated=None))


def nonsense(simulator: Simulator, reply: Envelope) -> Envelope:
    return Envelope(b"nonsense", bytes(64))


def of_another_round(simulator: Simulator, reply: Envelope) -> Envelope:
    return sealed(simulator, reply, reply.blobs[0], round=2)


LIES: list[Lie] = [
    garbage,
    truncated,
    unbound,
    exchanged,
    signed_by_another,
    to_another_request,
    not_a_reply,
    nonsense,
    of_another_round,
]


def ash_says(simulator: Simulator, kind: type[Reply], lie: Lie, times: int = 1) -> None:
    """From now on ash lies in its first ``times`` replies of ``kind``."""
    left = [times]

    def change(name: str, reply: Envelope) -> Envelope | None:
        if name == "ash" and isinstance(read_body(reply).content, kind) and left[0]:
            left[0] -= 1
            return lie(simulator, reply)
        return reply

    simulator.transport.replies = change


def notes_about_ash(simulator: Simulator) -> str:
    remarks = [note for note in simulator.journal.read_notes() if isinstance(note, Remark)]
    return "\n".join(note.text for note in remarks if note.site == "ash")


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
def test_bad_sealed_update_is_that_sites_loss_and_the_others_go_on(found: Found, lie: Lie) -> None:
    """A site sends what is no sealed update, or not the one its header names.

    It is named, and a new attempt does without it.
    """
    simulator = found(small_terms(training={"rounds": 3}))
    ash_says(simulator, Sealed, lie)
    simulator.run(lambda: simulator.conductor.machine.phase is Phase.SEALING)
    simulator.run(lambda: 1 in simulator.journal.read_history().committed, seconds=5)
    committed = simulator.journal.read_history().committed[1].committed
    assert (committed.attempt, committed.cohort) == (2, HONEST)
    assert "absent: " in notes_about_ash(simulator)
    simulator.run(seconds=5)
    require_finished(simulator)
    require_safe(simulator)
    assert set(simulator.trained.values()) == {1}
    assert simulator.journal.read_history().committed[3].committed.cohort == FOUR


@pytest.mark.parametrize("lie", [signed_by_another, not_a_reply, nonsense], ids=lambda lie: lie.__name__)
@pytest.mark.parametrize("kind", [Joined, Wrappings, Released, Closed], ids=lambda kind: kind.__name__.lower())
def test_bad_reply_of_any_kind_does_not_keep_the_others_from_the_end(
    found: Found, lie: Lie, kind: type[Reply]
) -> None:
    """A site answers nonsense whenever it is asked one kind of question: the others finish."""
    simulator = found(small_terms())
    ash_says(simulator, kind, lie, times=10**6)
    simulator.run(seconds=10)
    require_finished(simulator, *HONEST)
    require_safe(simulator)


@pytest.mark.parametrize("kind", [Joined, Sealed, Released], ids=lambda kind: kind.__name__.lower())
def test_cohort_never_falls_below_the_minimum(found: Found, kind: type[Reply]) -> None:
    """Enough saboteurs would leave a cohort in which a sum is a lone update: the study stops instead."""
    simulator = found(small_terms(cohort={"minimum": 4}))
    ash_says(simulator, kind, nonsense, times=10**6)
    simulator.run(seconds=10)
    assert "3 sites can take part, the terms need 4 (ash: " in (simulator.journal.read_history().stopped or "")
    assert simulator.journal.read_history().committed == {}
    require_safe(simulator)


def test_sealed_update_of_a_site_outside_the_cohort_is_not_added(found: Found) -> None:
    """It says it sealed when it was asked to join: with its header in, an honest site's would be missing."""
    simulator = found(small_terms())
    simulator.run(lambda: simulator.conductor.machine.phase is Phase.SEALING)
    kept: list[Envelope] = []

    def change(name: str, reply: Envelope) -> Envelope | None:
        content = read_body(reply).content
        if name == "ash" and isinstance(content, Sealed) and not kept:
            kept.append(reply)
            return nonsense(simulator, reply)
        if name == "ash" and isinstance(content, Joined):
            attempt = simulator.journal.read_history().attempt
            assert attempt is not None
            lie = sealed(
                simulator, kept[0], kept[0].blobs[0], attempt=attempt.attempt, cohort=compute_digest(attempt.cohort)
            )
            return simulator.forged("ash", reply, read_body(lie).content, *lie.blobs)  # type: ignore[arg-type]
        return None if name == "birch" and isinstance(content, Sealed) and len(kept) < 2 else reply

    simulator.transport.replies = change
    for _ in range(4):
        simulator.step(5)
    kept.append(kept[0])  # birch's answers arrive from now on
    simulator.run(seconds=5)
    require_finished(simulator, *HONEST)
    require_safe(simulator)


@pytest.mark.parametrize("code", ["opening-failed", "release-refused"])
def test_site_that_sounds_the_alarm_stops_the_study_and_is_named(found: Found, code: RefusalCode) -> None:
    """A site says that an aggregate did not open, or that headers differ.

    An alarm stops the study, and who gave it is known to the operator.
    """
    simulator = found(small_terms())
    problem = Problem(code=code, sentence="something is wrong", base=0)
    ash_says(simulator, Sealed, lambda simulator, reply: simulator.forged("ash", reply, problem))
    simulator.run()
    why = simulator.journal.read_history().stopped or ""
    assert why.startswith("ash: something is wrong; ")
    assert "launch the study again" in why


def test_site_that_says_it_has_released_what_nobody_asked_for_is_lost(found: Found) -> None:
    """Else one site could make every round void."""
    simulator = found(small_terms(training={"rounds": 3}))
    problem = Problem(code=RefusalCode.RELEASED, sentence="this site released its mask", base=0)
    ash_says(simulator, Sealed, lambda simulator, reply: simulator.forged("ash", reply, problem), times=10**6)
    simulator.run(seconds=5)
    assert simulator.journal.read_history().void == set()
    require_finished(simulator, *HONEST)


def test_site_that_always_says_it_is_behind_is_lost(found: Found) -> None:
    """A site keeps asking for rounds that it says it missed: nobody waits for it for ever."""
    simulator = found(small_terms(training={"rounds": 3}))
    problem = Problem(code=RefusalCode.BEHIND, sentence="this site has applied round 0", base=0)
    ash_says(simulator, Sealed, lambda simulator, reply: simulator.forged("ash", reply, problem), times=10**6)
    simulator.run(seconds=5)
    require_finished(simulator, *HONEST)


@pytest.mark.parametrize("code", ["failed", "refused"])
def test_site_that_keeps_failing_is_out_after_three_times(found: Found, code: RefusalCode) -> None:
    """A site fails again and again, which costs everybody a new attempt each time: after three times it is out."""
    simulator = found(small_terms(training={"rounds": 12}))
    problem = Problem(code=code, sentence="the site's own log says why", base=None)
    ash_says(simulator, Sealed, lambda simulator, reply: simulator.forged("ash", reply, problem), times=10**6)
    simulator.run(seconds=5)
    assert "failed 3 times" in simulator.journal.read_history().out["ash"]
    require_finished(simulator, *HONEST)


def test_offer_that_its_site_has_not_signed_is_that_sites_loss(found: Found) -> None:
    """Else the lead would refuse to wrap, and be blamed."""
    simulator = found(small_terms())

    def lie(simulator: Simulator, reply: Envelope) -> Envelope:
        content = read_body(reply).content
        assert isinstance(content, Joined)
        statement = content.offer.statement.model_copy(update={"session_key": SessionKey().public})
        offer: Signed[KeyOffer] = content.offer.model_copy(update={"statement": statement})
        return simulator.forged("ash", reply, Joined(offer=offer, ledger=content.ledger, program=content.program))

    ash_says(simulator, Joined, lie, times=10**6)
    simulator.run(seconds=10)
    require_finished(simulator, *HONEST)


def with_seed(seed: str) -> Lie:
    """Ash releases another seed than the one it sealed with."""

    def lie(simulator: Simulator, reply: Envelope) -> Envelope:
        content = read_body(reply).content
        assert isinstance(content, Released)
        return simulator.forged("ash", reply, content.model_copy(update={"seed": seed}))

    return lie


def test_wrong_seed_at_release_is_that_sites_and_the_others_go_on(found: Found) -> None:
    """A site releases a wrong seed, so that the sum does not open and nobody knows through whom.

    Its header committed to the seed: the coordinator sees whose is wrong, the round is void, and that site is out.
    """
    simulator = found(small_terms(training={"rounds": 3}))
    ash_says(simulator, Released, with_seed("00" * 32), times=10**6)
    simulator.run(seconds=5)
    history = simulator.journal.read_history()
    assert history.void == {1}
    assert list(history.out) == ["ash"]
    assert "does not answer the 'release'" in notes_about_ash(simulator)
    assert [event.committed.cohort for event in history.committed.values()][:2] == [HONEST, HONEST]
    require_finished(simulator, *HONEST)
    assert not any("opening-failed" in str(entry.body) for name in FOUR for entry in simulator.entries(name))
    require_safe(simulator)


def test_withheld_releases_cost_no_more_than_was_set_aside(found: Found) -> None:
    """One site lets every round become void to burn the others' budgets: three times, then it is out.

    Let in again, it does so again. A void round counts among the terms' rounds, so all of them together cost what was
    set aside at admission.
    """
    terms = small_terms(training={"rounds": 5}, evaluation={"rounds": []}, cohort={"minimum": 4})
    simulator = found(terms)
    ash_says(simulator, Released, lambda simulator, reply: None, times=10**6)
    simulator.run(seconds=20)
    assert simulator.journal.read_history().void == {1, 2, 3}
    assert "ash: vanished between sealing and release of round 3" in (
        simulator.journal.read_history().stopped or ""
    )
    simulator.resume("ash")
    simulator.run(seconds=20)
    history = simulator.journal.read_history()
    assert history.void == {1, 2, 3, 4, 5}
    assert history.committed == {}
    for name in HONEST:
        assert len(simulator.entries(name, "reserve")) == 5
    require_safe(simulator)  # every ledger: spent and set aside within what was admitted


def random_sum(simulator: Simulator, reply: Envelope) -> Envelope:
    """A well-formed ciphertext of nothing."""
    words = np.random.default_rng(1).integers(0, COEFFICIENT_MODULUS, SLOTS, dtype=np.uint64)
    return sealed(simulator, reply, pack_polynomial(words) + reply.blobs[0][POLYNOMIAL_BYTES:])


def test_site_that_seals_random_data_stops_the_study_and_no_model_is_moved(found: Found) -> None:
    """A site seals noise under an honest header: the sum does not open, and by design nobody can see through whom.

    The honest limit: it costs the study, it is not named. Nothing is applied, and nothing is learnt.
    """
    simulator = found(small_terms())

    def lie(name: str, reply: Envelope) -> Envelope:
        content = read_body(reply).content
        if name == "ash" and isinstance(content, Sealed):
            return random_sum(simulator, reply)
        if name == "ash" and isinstance(content, Problem) and content.code == "release-refused":
            sealing = simulator.sites["ash"]._participations[simulator.study]._sealed
            assert sealing is not None
            return simulator.forged("ash", reply, Released(round=1, attempt=1, seed=sealing.kept.own_seed))
        return reply

    simulator.transport.replies = lie
    simulator.run(seconds=5)
    why = simulator.journal.read_history().stopped or ""
    assert "round 1 does not open" in why
    assert {simulator.state(name).base for name in FOUR} == {0}
    assert simulator.journal.read_history().out == {}
    require_safe(simulator)


class ShoutingTrainer(WatchedTrainer):
    """Trains, and says a thousand more of every parameter."""

    def run(self, job: Job[R]) -> R:
        answer = super().run(job)
        if isinstance(answer, TrainedRound):
            return cast("R", answer._replace(update=answer.update + 1000.0))
        return answer


def test_site_that_shouts_makes_the_scale_no_coarser_than_the_terms(found: Found) -> None:
    """A site saturates every value, so that everybody else's round to nothing.

    The terms' range is the coarsest scale there is; the step of a 16-bit grid over it is the most that it costs, and
    what rounding leaves is sent later.
    """
    simulator = found(without_privacy(training={"rounds": 3}, evaluation={"rounds": []}))
    simulator.sites["ash"].close()
    simulator.sites["ash"] = RequestHandler(
        simulator.homes["ash"], lambda launch, files: ShoutingTrainer(launch.terms, files, "ash", simulator)
    )
    simulator.run(lambda: simulator.all_have(2), seconds=5)
    assert {simulator.state(name).halvings for name in FOUR} == {0}
    simulator.run(seconds=5)
    require_finished(simulator)
