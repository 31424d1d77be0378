"""Checking entries ahead changes no answer: the same state, or the same error about the same entry."""

import gc
import json
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from privacy import labels
from privacy.base64url import encode_signature
from privacy.canonical import to_canonical
from privacy.errors import LedgerError
from privacy.keys import SigningKey
from privacy.ledger import LedgerState, verify_export
from privacy.ledger import check_ahead as module
from privacy.ledger.check_ahead import check_ahead
from privacy.ledger.entries import read_entry
from privacy.ledger.export import format_export
from privacy.ledger.ledger import Ledger
from privacy.ledger.replay import replay
from privacy.ledger.signing import SignedEntry, list_signed_bytes
from privacy.signature_checkers import Checkers
from tests.privacy.ledger_makers import (
    KEY,
    OTHER_KEY,
    WITNESS,
    Value,
    forged,
    number_of,
    values_of,
    write_every_kind,
)

SITE = "north"


@pytest.fixture(scope="module")
def checkers() -> Iterator[Checkers]:
    """Two real processes."""
    with Checkers(2) as checkers:
        yield checkers


@pytest.fixture(autouse=True)
def worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every ledger here a long one."""
    monkeypatch.setattr(module, "WORTH_IT", 4)
    monkeypatch.setattr(module, "BATCH", 3)


@pytest.fixture(scope="module")
def values(tmp_path_factory: pytest.TempPathFactory) -> list[Value]:
    path = tmp_path_factory.mktemp("every-kind") / "ledger.sqlite"
    write_every_kind(path)
    return values_of(path, OTHER_KEY)


@pytest.fixture(scope="module")
def signed(values: list[Value]) -> list[SignedEntry]:
    """Entries of every kind, of which the last ones are signed by another key."""
    return list(forged(values, OTHER_KEY, since=number_of(values, "key") + 1))


def answer(verify: Callable[[], LedgerState]) -> object:
    """What there is to know about a verification: the state that it finds, or why it finds none."""
    try:
        state = verify()
    except Exception as error:
        return type(error), str(error)
    return state.head, state.keys, state.time, state.list_budgets(), state.make_head_statement(), state.unsettled


def serially(entries: Iterable[SignedEntry]) -> LedgerState:
    """Verify without anything being checked ahead."""
    state = LedgerState()
    for each in entries:
        state.apply(each)
    state.check_key(None)
    return state


def same_answer(entries: Iterable[SignedEntry], checkers: Checkers) -> object:
    """The answer that both ways give."""
    kept = list(entries)
    ahead, alone = answer(lambda: replay(kept, checkers=checkers)), answer(lambda: serially(kept))
    assert ahead == alone
    return ahead


def test_honest_ledger_of_every_kind_gives_the_same_state(signed: list[SignedEntry], checkers: Checkers) -> None:
    assert isinstance(same_answer(signed, checkers), tuple)
    assert replay(signed, checkers=checkers).head.number == len(signed)


def test_entries_are_checked_ahead_until_the_key_changes(
    signed: list[SignedEntry], values: list[Value], checkers: Checkers
) -> None:
    """Those that were checked under the key before are verified again."""
    state, found = LedgerState(), []
    for each, verified in check_ahead(signed, state, lambda signed: signed, checkers):
        state.apply(each, verified)
        found.append(verified is not None)
    change = number_of(values, "key")
    assert not found[0], "the first entry names the key"
    assert all(found[1:change])
    assert not any(found[change : change + 1])


@pytest.mark.parametrize("kind", ["one byte", "signature", "swapped", "left out", "repeated", "cut", "foreign"])
def test_tampering_is_named_alike_wherever_it_is(signed: list[SignedEntry], checkers: Checkers, kind: str) -> None:
    for place in range(len(signed)):
        entry, signature = signed[place]
        changed = list(signed)
        match kind:
            case "one byte":
                changed[place] = SignedEntry(entry[:-9] + bytes([entry[-9] ^ 1]) + entry[-8:], signature)
            case "signature":
                changed[place] = SignedEntry(entry, signature[:10] + bytes([signature[10] ^ 4]) + signature[11:])
            case "swapped":
                changed[place - 1], changed[place] = changed[place], changed[place - 1]
            case "left out":
                del changed[place]
            case "repeated":
                changed.insert(place, changed[place])
            case "cut":
                changed[place] = SignedEntry(entry[:-1], signature)
            case "foreign":
                other = SigningKey.generate()
                changed[place] = SignedEntry(entry, other.sign(b"consilium ledger entry v1\0" + entry))
        found = same_answer(changed, checkers)
        if not (kind == "left out" and place == len(signed) - 1):
            assert isinstance(found, tuple)
            assert found[0] is LedgerError


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_damage_gives_the_same_answer(
    data: st.DataObject, signed: list[SignedEntry], checkers: Checkers
) -> None:
    """Bytes changed, put in, taken out, in one entry or several, with or without a signature that fits."""
    changed = list(signed)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(changed) - 1))
        entry, signature = bytearray(changed[place].entry), bytearray(changed[place].signature)
        at = data.draw(st.integers(0, len(entry) - 1))
        match data.draw(st.sampled_from(["change", "insert", "remove", "signature", "drop"])):
            case "change":
                entry[at] = data.draw(st.integers(0, 255))
            case "insert":
                entry[at:at] = data.draw(st.binary(min_size=1, max_size=4))
            case "remove":
                del entry[at : at + data.draw(st.integers(1, 8))]
            case "signature":
                signature[data.draw(st.integers(0, 63))] ^= data.draw(st.integers(1, 255))
            case "drop":
                signature = signature[: data.draw(st.integers(0, 63))]
        forgery = bytes(entry)
        if data.draw(st.booleans()):  # the site itself wrote it falsely
            signature = bytearray(KEY.sign(b"consilium ledger entry v1\0" + forgery))
        changed[place] = SignedEntry(forgery, bytes(signature))
    same_answer(changed, checkers)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_false_body_gives_the_same_answer(data: st.DataObject, values: list[Value], checkers: Checkers) -> None:
    """The site signs and chains what breaks a rule, or is written in another way than entries are."""
    number = data.draw(st.integers(1, len(values)))
    body = dict(values[number - 1]["body"])
    name = data.draw(st.sampled_from(sorted(body)))
    odd: st.SearchStrategy[Any] = (
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
    )
    body[name] = data.draw(odd | st.sampled_from([each["body"].get(name) for each in values]))
    if data.draw(st.booleans()):
        del body[name]
    try:
        forgery = list(forged([*values[: number - 1], {**values[number - 1], "body": body}, *values[number:]]))
    except Exception:
        return  # nobody can write it
    same_answer(forgery, checkers)


def test_signature_of_a_seen_head_is_checked_ahead_too(
    signed: list[SignedEntry], values: list[Value], checkers: Checkers
) -> None:
    """A checkpoint holds two signatures beside the entry's own."""
    number = number_of(values, "checkpoint")

    def holds(signed: SignedEntry, site: str) -> bool:
        """Whether the entry would be passed on as verified."""
        try:
            listed = list_signed_bytes(signed, read_entry(signed.entry).body, site, KEY.public)
        except LedgerError:
            return False
        return checkers.submit(listed).result() == b"\1\1\1"

    assert holds(signed[number - 1], SITE)
    assert not holds(signed[number - 1], "south")
    for part in ("head", "seen"):
        body = read_entry(signed[number - 1].entry).body.model_dump(mode="json")
        text = body["countersigned"][part]["signature"]
        body["countersigned"][part]["signature"] = ("A" if text[0] != "A" else "B") + text[1:]
        forgery = list(forged([*values[: number - 1], {**values[number - 1], "body": body}, *values[number:]]))
        assert not holds(forgery[number - 1], SITE)
        found = same_answer(forgery, checkers)
        assert f"entry {number} breaks the rule 'witness'" in str(found)


def leaves(value: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The paths to everything in a JSON value that is no list and no object."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if parts is None:
        yield at
    else:
        for name, inside in parts:
            yield from leaves(inside, (*at, name))


def other(value: Any) -> Any:
    """Another value that the field of a head can hold."""
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 1
        case None:
            return "0" * 64
        case _ if value.endswith("Z"):
            return value.replace("2026", "2027")
        case _:
            return ("b" if value[0] != "b" else "c") + value[1:]


@pytest.mark.parametrize("signed_anew", [False, True])
def test_any_false_field_of_a_seen_head_is_named_alike(
    values: list[Value], checkers: Checkers, signed_anew: bool
) -> None:
    """By a witness who signs nonsense, too: then all signatures hold, and the head is not the one it has seen."""
    number = number_of(values, "checkpoint")
    body = values[number - 1]["body"]
    places = list(leaves(body))
    assert len(places) > 20
    for place in places:
        changed = json.loads(json.dumps(body))
        inside = changed
        for part in place[:-1]:
            inside = inside[part]
        inside[place[-1]] = other(inside[place[-1]])
        if signed_anew:
            seen = changed["countersigned"]
            for name, key, label in (("head", KEY, labels.LEDGER_HEAD), ("seen", WITNESS, labels.COUNTERSIGNATURE)):
                message = labels.make_prefix(label) + to_canonical(seen[name]["statement"])
                seen[name]["signature"] = encode_signature(key.sign(message))
        forgery = list(forged([*values[: number - 1], {**values[number - 1], "body": changed}]))
        found = same_answer(forgery, checkers)
        harmless = {("countersigned", "seen", "statement", "witness"), ("countersigned", "seen", "signature")}
        harmless |= {("countersigned", "head", "signature")}
        if not (signed_anew and place in harmless):
            assert f"entry {number} breaks the rule 'witness'" in str(found), place


def test_failure_of_the_file_is_raised_after_the_entries_before_it(
    signed: list[SignedEntry], checkers: Checkers
) -> None:
    def read(upto: int, damaged: int | None = None) -> Iterator[SignedEntry]:
        for number, each in enumerate(signed[:upto], start=1):
            yield SignedEntry(each.entry, bytes(64)) if number == damaged else each
        raise OSError(5, "the disk does not answer")

    for upto in (0, 1, 3, 4, 5, 7, 20):
        seen: list[int] = []
        with pytest.raises(OSError, match="does not answer"):
            replay(read(upto), watch=lambda state, entry: seen.append(entry.number), checkers=checkers)  # noqa: B023
        assert seen == list(range(1, upto + 1))
    with pytest.raises(LedgerError, match="entry 6 breaks the rule 'signature'"):
        replay(read(20, damaged=6), checkers=checkers)


def test_process_that_is_killed_changes_no_answer(signed: list[SignedEntry]) -> None:
    with Checkers(1) as checkers:
        os.kill(checkers.pids[0], signal.SIGKILL)
        assert replay(signed, checkers=checkers).head.number == len(signed)
        same_answer([*signed[:9], signed[9]._replace(signature=bytes(64)), *signed[10:]], checkers)


def test_without_a_process_everything_is_verified_here(signed: list[SignedEntry]) -> None:
    with Checkers(0) as checkers:
        assert replay(signed, checkers=checkers).head.number == len(signed)


def test_processes_of_a_verification_end_with_it_and_collection_goes_on(
    signed: list[SignedEntry], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    state, before, pids = LedgerState(), set(_list_children()), set[int]()
    entries = check_ahead(signed, state, lambda signed: signed)
    for each, verified in entries:
        state.apply(each, verified)
        pids = set(_list_children()) - before
        if state.head.number == 12:
            break
    assert len(pids) == 2
    assert not gc.isenabled()
    entries.close()
    assert set(_list_children()) == before
    assert gc.isenabled()


# Exports ----------------------------------------------------------------------------------------------------


@pytest.fixture
def export(tmp_path: Path, signed: list[SignedEntry]) -> Path:
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(b"".join(format_export(signed, OTHER_KEY)))
    return path


def same_export_answer(path: Path, checkers: Checkers, monkeypatch: pytest.MonkeyPatch) -> object:
    ahead = answer(lambda: verify_export(path, checkers=checkers))
    with monkeypatch.context() as patch:
        patch.setattr(module, "WORTH_IT", 10**9)
        alone = answer(lambda: verify_export(path))
    assert ahead == alone
    return ahead


def test_honest_export_gives_the_same_state(
    export: Path, checkers: Checkers, monkeypatch: pytest.MonkeyPatch, signed: list[SignedEntry]
) -> None:
    same_export_answer(export, checkers, monkeypatch)
    assert verify_export(export, checkers=checkers).head.number == len(signed)


LINES: dict[str, Callable[[list[bytes], int], None]] = {
    "space": lambda lines, at: lines.__setitem__(at, lines[at].replace(b'"entry":', b'"entry": ', 1)),
    "second signature": lambda lines, at: lines.__setitem__(
        at, lines[at][:-2] + b',"signature":"' + encode_signature(bytes(64)).encode() + b'"}\n'
    ),
    "other signature": lambda lines, at: lines.__setitem__(at, lines[at][:-8] + b"AAAAA" + lines[at][-3:]),
    "key inside": lambda lines, at: lines.__setitem__(at, lines[at].replace(b'"entry":{', b'"entry":{"a":1,', 1)),
    "not JSON": lambda lines, at: lines.__setitem__(at, lines[at][1:]),
    "no newline": lambda lines, at: lines.__setitem__(at, lines[at][:-1] + b" "),
    "left out": lambda lines, at: lines.__delitem__(at),
    "repeated": lambda lines, at: lines.insert(at, lines[at]),
    "trailer early": lambda lines, at: lines.insert(at, lines[-1]),
    "cut off": lambda lines, at: lines.__delitem__(slice(at, None)),
}


@pytest.mark.parametrize("what", LINES)
@pytest.mark.parametrize("at", [0, 1, 2, 3, 6, 11, 20, -1])
def test_tampered_export_gives_the_same_answer(
    export: Path, checkers: Checkers, monkeypatch: pytest.MonkeyPatch, what: str, at: int
) -> None:
    before = export.read_bytes()
    lines = before.splitlines(keepends=True)
    LINES[what](lines, at)
    export.write_bytes(b"".join(lines))
    found = same_export_answer(export, checkers, monkeypatch)
    assert isinstance(found, tuple)
    assert found[0] is LedgerError or export.read_bytes() == before, "the last line has no entry"


# The site's own ledger --------------------------------------------------------------------------------------


def test_opening_a_long_ledger_names_the_same_entry(
    tmp_path: Path, values: list[Value], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    path = tmp_path / "ledger.sqlite"
    write_every_kind(path)
    with Ledger.open(path, OTHER_KEY) as ledger:
        assert ledger.head.number == len(values)
        ledger._connection.execute("DROP TRIGGER entry_unchanged")
        ledger._connection.execute("UPDATE entry SET signature = zeroblob(64) WHERE number = 9")
        ledger._connection.execute(
            "CREATE TRIGGER entry_unchanged BEFORE UPDATE ON entry\n"
            "    BEGIN SELECT raise(ABORT, 'an entry is never changed'); END"
        )
    with pytest.raises(LedgerError, match="entry 9 breaks the rule 'signature'"):
        Ledger.open(path, OTHER_KEY)


def _list_children() -> list[int]:
    found = Path(f"/proc/self/task/{os.getpid()}/children")
    return [int(word) for word in found.read_text().split()]
