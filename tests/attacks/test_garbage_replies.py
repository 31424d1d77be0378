"""A pinned site answers with garbage, signed or not, at every step of a study: it is that site's loss, and named.

The coordinator's process continues, the honest sites finish, and none of them is blamed.
"""

import json
from collections.abc import Callable
from typing import Any

import pytest

from benchmarks.small_study import small_terms
from privacy.base64url import encode_signature
from privacy.canonical import compute_sha256, from_canonical, to_canonical
from privacy.errors import WireError
from privacy.keys import SessionKey
from privacy.protocol.envelope import Blob, Envelope, read_body
from privacy.protocol.key_messages import Wrappings
from privacy.protocol.messages import Closed, Joined, Opened, Problem, Released, Reply, Sealed
from privacy.refusal_codes import RefusalCode
from server.study.notes import Remark
from tests.protocol.conftest import Found
from tests.protocol.invariants import require_finished, require_safe
from tests.simulator import Simulator

HONEST = ("ash", "birch", "cedar")
LIAR = "elm"
Lie = Callable[[Simulator, Envelope], Envelope]


def signed(simulator: Simulator, body: bytes, *blobs: Blob) -> Envelope:
    return Envelope(body, simulator.homes[LIAR].load_identity().sign(b"consilium message v1\0" + body), blobs)


def body_of(text: bytes) -> Lie:
    return lambda simulator, reply: signed(simulator, text)


def with_content(**changes: Any) -> Lie:
    """The honest reply with other fields in its content, correctly signed."""

    def lie(simulator: Simulator, reply: Envelope) -> Envelope:
        body = from_canonical(reply.body)
        content = {**body["content"], **changes}
        return signed(simulator, json.dumps({**body, "content": content}, sort_keys=True).encode(), *reply.blobs)

    return lie


def with_odd_head(simulator: Simulator, reply: Envelope) -> Envelope:
    """A ledger's head of absurd numbers, correctly signed, in an otherwise honest reply."""
    body = from_canonical(reply.body)
    if "ledger" not in body["content"]:
        return signed(simulator, b"{}")
    accounts: Any = [{
        "population": "p", "protected": True, "held_out_protected": True,
        "grants": [{"epsilon": 1e300, "delta": 1e-300, "order": 2, "spent": 0, "set_aside": 0}] * 10_000,
    }]  # fmt: skip
    statement = {**body["content"]["ledger"]["statement"], "accounts": accounts}
    key = simulator.homes[LIAR].load_identity()
    signature = key.sign(b"consilium ledger head v1\0" + to_canonical(statement))
    ledger: dict[str, Any] = {"statement": statement, "signature": encode_signature(signature)}
    return signed(simulator, to_canonical({**body, "content": {**body["content"], "ledger": ledger}}), *reply.blobs)


def with_extra_blob(simulator: Simulator, reply: Envelope) -> Envelope:
    """More than was asked for; the body names it."""
    body = from_canonical(reply.body)
    blobs = (*reply.blobs, b"more")
    notes: Any = [{"length": len(blob), "sha256": compute_sha256(blob)} for blob in blobs]
    return signed(simulator, to_canonical({**body, "blobs": notes}), *blobs)


LIES: dict[str, Lie] = {
    "surrogate as a key": body_of(b'{"\\ud800":1}'),
    "surrogate in a value": with_content(kind="\ud800"),
    "deep": body_of(b"[" * 900 + b"]" * 900),
    "no object": body_of(b"7"),
    "empty": body_of(b""),
    "no JSON": body_of(bytes(range(256))),
    "unknown kind": with_content(kind="run"),
    "kind that is no text": with_content(kind={"a": [1]}),
    "numbers beyond any": with_content(base=1e300, epoch=-1, round=1e300, attempt=None),
    "nothing in it": with_content(offer=None, grant=None, header=None, seed=None, evaluated=7, ledger=[]),
    "odd head": with_odd_head,
    "a blob too many": with_extra_blob,
}
KINDS: tuple[type[Reply], ...] = (Joined, Wrappings, Sealed, Released, Opened, Closed)


def lead_is_the_liar(simulator: Simulator) -> None:
    """``elm`` sorts last, so it leads only where the others have failed as leads."""
    for name in HONEST:
        simulator.conductor.machine.sites[name].failures_as_lead = 1


@pytest.mark.parametrize("what", LIES)
def test_garbage_at_any_step_is_that_sites_loss(found: Found, what: str) -> None:
    """Each kind of reply in its turn; patience 1 asks for totals to be opened too."""
    simulator = found(small_terms(training={"rounds": 2}))
    lead_is_the_liar(simulator)
    told: set[str] = set()

    def replies(name: str, reply: Envelope) -> Envelope:
        kind = read_body(reply).content.kind
        if name != LIAR or kind in told:
            return reply
        told.add(kind)
        return LIES[what](simulator, reply)

    simulator.transport.replies = replies
    simulator.run(seconds=5)
    require_finished(simulator, *HONEST)
    require_safe(simulator)
    assert {"joined", "wrapped", "sealed"} <= told
    require_named(simulator)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__.lower())
def test_surrogate_at_every_reply_of_a_kind_ends_nobody(found: Found, kind: type[Reply]) -> None:
    """A body that had no canonical form killed the coordinator's process at each of its starts."""
    simulator = found(
        small_terms(training={"rounds": 2}, evaluation={"rounds": [1], "patience": 1, "epsilon": 1.0})
    )
    lead_is_the_liar(simulator)
    lie, told = LIES["surrogate as a key"], []

    def replies(name: str, reply: Envelope) -> Envelope:
        if name == LIAR and isinstance(read_body(reply).content, kind):
            told.append(kind)
            return lie(simulator, reply)
        return reply

    simulator.transport.replies = replies
    simulator.run(seconds=10)
    require_finished(simulator, *HONEST)
    require_safe(simulator)
    assert told
    require_named(simulator)


def require_named(simulator: Simulator) -> None:
    """Notes say that the liar's replies were refused, and blame nobody else."""
    texts = [(note.site, note.text) for note in simulator.journal.read_notes() if isinstance(note, Remark)]
    assert any(site == LIAR and "its reply is refused" in text for site, text in texts)
    assert not [text for site, text in texts if site in HONEST and "absent" in text]
    assert set(simulator.journal.read_history().out) <= {LIAR}


def test_session_key_that_is_none_is_that_sites_loss_and_not_the_leads(found: Found) -> None:
    """X25519 gives nothing with a point of small order: whoever wraps would fail over it."""
    simulator = found(small_terms(training={"rounds": 1}, evaluation={"rounds": []}))
    none = "A" * 43

    def replies(name: str, reply: Envelope) -> Envelope:
        content = read_body(reply).content
        if name != LIAR or not isinstance(content, Joined):
            return reply
        offer = content.offer.statement.model_copy(update={"session_key": none})
        key = simulator.homes[LIAR].load_identity()
        return simulator.forged(
            LIAR, reply, content.model_copy(update={"offer": type(content.offer).sign(key, offer)})
        )

    with pytest.raises(WireError):
        SessionKey().agree(none, b"")
    simulator.transport.replies = replies
    simulator.run(seconds=10)
    require_finished(simulator, *HONEST)
    require_named(simulator)


class Crash(BaseException):
    """What no handler of ours sees: the process is gone."""


def test_site_over_whose_replies_the_process_crashes_is_out_after_two(found: Found) -> None:
    """A reply over which C++ crashes: everybody is asked again after a restart, and the others' answers come first."""
    simulator = found(small_terms(training={"rounds": 1}, evaluation={"rounds": []}))
    crash: list[int] = []

    inner = simulator.transport.receive_arrivals

    def arrivals(coming: Callable[[str], None]) -> Any:
        for arrival in inner(coming):
            if arrival.site == LIAR and arrival.envelope and b'"kind":"sealed"' in arrival.envelope.body:
                crash.append(1)
                raise Crash
            yield arrival

    simulator.transport.receive_arrivals = arrivals  # type: ignore[method-assign]
    for _ in range(20):
        try:
            simulator.run(seconds=5)
            break
        except Crash:
            simulator.restart_coordinator()
    assert len(crash) == 2
    assert "died 2 times over a reply of its" in simulator.journal.read_history().out[LIAR]
    require_finished(simulator, *HONEST)


def test_problem_that_orders_the_operators_terminal_about_is_refused(found: Found) -> None:
    """What a site says is shown to people: no control characters, and no more than a few lines."""
    simulator = found(small_terms(training={"rounds": 1}, evaluation={"rounds": []}))
    lie = with_content(sentence="\x1b[2J\x1b[1;1Hall is well")

    def replies(name: str, reply: Envelope) -> Envelope:
        content = read_body(reply).content
        if name != LIAR or not isinstance(content, Joined):
            return reply
        problem = Problem(code=RefusalCode.POLICY, sentence="all is well", base=None)
        return lie(simulator, simulator.forged(LIAR, reply, problem))

    simulator.transport.replies = replies
    simulator.run(seconds=10)
    require_finished(simulator, *HONEST)
    texts = [text for note in simulator.journal.read_notes() for _, text in note if isinstance(text, str)]
    assert texts
    assert not any("\x1b" in text for text in texts)
    require_named(simulator)
