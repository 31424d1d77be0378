"""The closed list of what crosses a site's border: its bytes, its fields, and what is refused."""

import json
import typing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from privacy.base64url import decode_wrapped_key, encode_wrapped_key
from privacy.canonical import compute_sha256, from_canonical, to_canonical
from privacy.errors import WireError
from privacy.keys import PublicKey
from privacy.protocol import messages
from privacy.protocol.envelope import (
    MAX_BODY_BYTES,
    BlobNote,
    Body,
    Envelope,
    make_envelope,
    open_envelope,
    read_body,
)
from privacy.protocol.messages import Close, Closed, Join, Problem
from privacy.refusal_codes import RefusalCode
from privacy.sentence import fit_sentence
from privacy.study.launch import SignedLaunch
from tests.privacy.head_makers import standing
from tests.privacy.launch_makers import COORDINATOR_KEY, SITE_KEYS, golden_launch

GOLDEN: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "vectors" / "documents.json").read_text(encoding="utf-8")
)
STUDY = GOLDEN["study"]
ASH = SITE_KEYS["ash"]


def golden(message: dict[str, str]) -> Envelope:
    blobs = (bytes.fromhex(message["blob"]),) if message["blob"] else ()
    return Envelope(message["body"].encode(), bytes.fromhex(message["signature"]), blobs)


def sent(content: messages.Request | messages.Reply, *, blobs: tuple[bytes, ...] = (), number: int = 7) -> Envelope:
    return make_envelope(
        ASH,
        content,
        study=STUDY,
        sender="ash",
        receiver="coordinator",
        number=number,
        answers=b"asked",
        blobs=blobs,
    )


def resigned(envelope: Envelope, **changes: Any) -> Envelope:
    """The message with other fields, signed again by the same site: an insider's forgery."""
    body = to_canonical({**from_canonical(envelope.body), **changes})
    return Envelope(body, ASH.sign(b"consilium message v1\0" + body), envelope.blobs)


# Bytes -----------------------------------------------------------------------------------------------------


def test_request_is_the_golden_message() -> None:
    envelope = make_envelope(
        COORDINATOR_KEY,
        Join(launch=golden_launch(), epoch=1),
        study=STUDY,
        sender="coordinator",
        receiver="ash",
        number=7,
    )
    assert envelope == golden(GOLDEN["request"])
    assert compute_sha256(envelope.body) == GOLDEN["request"]["sha256"]


def test_reply_is_the_golden_message() -> None:
    envelope = make_envelope(
        ASH,
        Problem(code=RefusalCode.POLICY, sentence="epsilon 9 is too much — 3 is allowed"),
        study=STUDY,
        sender="ash",
        receiver="coordinator",
        number=7,
        answers=GOLDEN["request"]["body"].encode(),
        blobs=(b"a sealed update",),
    )
    assert envelope == golden(GOLDEN["reply"])


@pytest.mark.parametrize("reason", GOLDEN["refused"])
def test_golden_message_that_must_fail_is_refused(reason: str) -> None:
    with pytest.raises(WireError):
        open_envelope(golden(GOLDEN["refused"][reason]), PublicKey.from_text(GOLDEN["coordinator"]))


@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=2000).map(fit_sentence),
    st.integers(0, 1 << 40),
    st.lists(st.binary(max_size=100), max_size=4),
)
def test_message_opens_as_what_was_sent(sentence: str, number: int, blobs: list[bytes]) -> None:
    content = Problem(code=RefusalCode.FAILED, sentence=sentence, base=number)
    envelope = sent(content, blobs=tuple(blobs), number=number)
    body = open_envelope(envelope, ASH.public)
    assert (body.content, body.number, body.answers) == (content, number, compute_sha256(b"asked"))
    assert (body.study, body.sender, body.receiver) == (STUDY, "ash", "coordinator")
    assert envelope.size == len(envelope.body) + 64 + sum(map(len, blobs))


# Refusals --------------------------------------------------------------------------------------------------


def test_body_with_any_byte_changed_is_refused() -> None:
    envelope = sent(Close(base=1))
    for place in range(len(envelope.body)):
        changed = bytearray(envelope.body)
        changed[place] ^= 1
        with pytest.raises(WireError, match="a signature is not by the key"):
            open_envelope(Envelope(bytes(changed), envelope.signature), ASH.public)


def test_message_signed_by_another_is_refused() -> None:
    with pytest.raises(WireError, match="a signature is not by the key"):
        open_envelope(sent(Close(base=1)), SITE_KEYS["birch"].public)


def test_signature_without_the_label_is_refused() -> None:
    body = sent(Close(base=1)).body
    with pytest.raises(WireError, match="a signature is not by the key"):
        open_envelope(Envelope(body, ASH.sign(body)), ASH.public)


@pytest.mark.parametrize(
    "blobs", [(), (b"one",), (b"one", b"tw0"), (b"two", b"one"), (b"one", b"two", b""), (b"one", b"two!")]
)
def test_message_with_other_blobs_is_refused(blobs: tuple[bytes, ...]) -> None:
    envelope = sent(Close(base=1), blobs=(b"one", b"two"))
    with pytest.raises(WireError, match="a message's blobs are not those that its body names"):
        open_envelope(Envelope(envelope.body, envelope.signature, blobs), ASH.public)


def test_body_that_is_too_large_is_refused_before_it_is_parsed() -> None:
    body = b" " * (MAX_BODY_BYTES + 1)
    with pytest.raises(WireError, match=r"a message body has 4194305 bytes, expected at most 4194304"):
        open_envelope(Envelope(body, ASH.sign(b"consilium message v1\0" + body)), ASH.public)


def test_message_that_no_receiver_takes_is_not_made() -> None:
    longest = {f"option{number}": "x" * 1000 for number in range(5000)}
    terms = golden_launch().statement.terms
    large = terms.model_copy(update={"model": terms.model.model_copy(update={"options": longest})})
    launch = golden_launch().statement.model_copy(update={"terms": large})
    with pytest.raises(WireError, match=r"a 'join' message would have 5\d{6} bytes, at most 4194304 are taken"):
        sent(Join(launch=SignedLaunch.sign(COORDINATOR_KEY, launch), epoch=1))


@pytest.mark.parametrize("change", [lambda body: body + b"\n", lambda body: body.replace(b'":', b'": ', 1)])
def test_body_that_is_not_canonical_is_refused(change: Any) -> None:
    body = change(sent(Close(base=1)).body)
    with pytest.raises(WireError, match="expected canonical JSON"):
        open_envelope(Envelope(body, ASH.sign(b"consilium message v1\0" + body)), ASH.public)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"consilium": 2}, "consilium: expected 1"),
        ({"content": {"kind": "run", "base": 1}}, "content.kind: expected 'join', 'wrap', 'train'"),
        ({"content": {"base": 1}}, "content.kind: missing"),
        ({"content": {"kind": "close", "base": 1, "loss": 0.5}}, "loss: unknown key"),
        ({"content": {"kind": "close", "base": -1}}, "base: expected at least 0"),
        ({"content": {"kind": "close", "base": (1 << 40) + 1}}, "base: expected at most"),
        ({"loss": 0.5}, "loss: unknown key"),
        ({"study": "golden"}, "study: it is not written as expected"),
        ({"study": "../../etc-00000000"}, "study: it is not written as expected"),
        ({"sender": "Ash\n"}, "sender: expected a name"),
        ({"sender": "ash\n"}, "sender: expected a name"),
        ({"answers": "0" * 63}, "answers: expected a SHA-256"),
        ({"number": True}, "number expects a number"),
        ({"blobs": [{"length": 0, "sha256": "0" * 64}] * 5}, "blobs: expected at most 4 entries"),
    ],
)
def test_message_that_is_not_of_this_version_is_refused(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(WireError) as caught:
        open_envelope(resigned(sent(Close(base=1)), **change), ASH.public)
    assert sentence in str(caught.value)


def test_body_is_read_before_its_signature_to_know_whose_it_should_be() -> None:
    assert read_body(Envelope(sent(Close(base=1)).body, b"")).sender == "ash"


@pytest.mark.parametrize("data", [b"", b"\0\xff" * 50])
def test_wrapped_bytes_read_back_from_their_text_are_equal(data: bytes) -> None:
    assert decode_wrapped_key(encode_wrapped_key(data)) == data


def test_text_that_is_no_base64url_is_refused() -> None:
    with pytest.raises(WireError, match="a wrapped key is not written in base64url"):
        decode_wrapped_key("A")


# The closed list -------------------------------------------------------------------------------------------

HEAD = {"number", "hash", "recovered.number", "recovered.hash"}
EVALUATED = {"round", "opened_in", "counts"}
OFFER = {"study", "launch", "site", "epoch", "session_key", "base", "holds", "patients"}
GRANT = {"study", "launch", "lead", "epoch", "offers", "commitment", "wrapped", "keyring"}
VIEW = {
    "study", "launch", "epoch", "round", "attempt", "cohort", "base", "model", "key", "layout", "reference", "room",
    "patients", "headers",
}  # fmt: skip
HELD = {"study", "launch", "site", "epoch", "base", "model"}
HEADER = {"site", "view", "patients", "blob", "own_mask", "ledger", "epsilon_spent", "totals"}
PROGRAM = {"program.version", "program.code"}
"""Of the installed program; the same at every site that runs it."""

BOOK = (
    {"ledger.signature"}
    | {f"ledger.statement.{name}" for name in ("site", "number", "hash", "time", "recovered")}
    | {f"ledger.statement.accounts.{name}" for name in ("population", "protected", "held_out_protected")}
    | {f"ledger.statement.accounts.grants.{name}" for name in ("epsilon", "delta", "order", "spent", "set_aside")}
)
LEAVES = {
    "joined": {"kind", "offer.signature"} | {f"offer.statement.{name}" for name in OFFER} | BOOK | PROGRAM,
    "waiting": {"kind", "since", "contact", "sentence"},
    "wrapped": {"kind", "grant.signature"} | {f"grant.statement.{name}" for name in GRANT},
    "sealed": {"kind", "header.signature"}
    | {f"header.statement.{name}" for name in HEADER - {"view", "ledger"}}
    | {f"header.statement.view.{name}" for name in VIEW}
    | {f"header.statement.ledger.{name}" for name in HEAD}
    | {f"header.statement.seen.{name}" for name in HEAD}
    | {f"evaluated.{name}" for name in EVALUATED}
    | BOOK,
    "released": {"kind", "round", "attempt", "seed"},
    "opened": {"kind", "base", "held.signature"}
    | {f"evaluated.{name}" for name in EVALUATED}
    | {f"held.statement.{name}" for name in HELD},
    "closed": {"kind", "base", "epsilon_spent"} | {f"evaluated.{name}" for name in EVALUATED} | BOOK,
    "given-up": {"kind"} | BOOK,
    "problem": {"kind", "code", "sentence", "base"},
}
"""Everything that a site ever says. Each name here was judged: public, or sealed, or a digest of what is sealed."""


def leaves(model: type[BaseModel], prefix: str = "") -> set[str]:
    found = set()
    for name, field in model.model_fields.items():
        inner = models_in(field.annotation)
        found |= set().union(*(leaves(each, f"{prefix}{name}.") for each in inner)) if inner else {prefix + name}
    return found


def models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in typing.get_args(annotation) for model in models_in(part)]


def test_reply_contains_what_is_listed_here_and_nothing_else() -> None:
    """A field that is added to a reply must be judged, and listed here."""
    replies = {model.model_fields["kind"].default: model for model in typing.get_args(messages.Reply)}
    assert {kind: leaves(model) for kind, model in replies.items()} == LEAVES


def test_message_around_a_reply_contains_what_is_listed_here_and_nothing_else() -> None:
    assert set(Body.model_fields) == {
        "consilium", "study", "sender", "receiver", "number", "answers", "blobs", "content",
    }  # fmt: skip
    assert set(BlobNote.model_fields) == {"length", "sha256"}


def test_price_in_clear_is_absent_without_privacy() -> None:
    closed = Closed(base=1, evaluated=None, ledger=standing(SITE_KEYS["ash"], "ash"), epsilon_spent=None)
    assert from_canonical(closed.to_bytes())["epsilon_spent"] is None
