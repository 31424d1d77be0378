"""Every kind of entry, written and read back; bytes that are none."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy.accounting.epsilon import compute_charge, compute_stored_curve
from privacy.accounting.renyi import STORED_ORDERS
from privacy.canonical import Json, to_canonical
from privacy.errors import LedgerError
from privacy.keys import PublicKey
from privacy.ledger import Ledger
from privacy.ledger.entries import BODIES, Allow, Approve, Grant, Population, Recover, Refuse, Reserve, read_entry
from privacy.sentence import fit_sentence
from tests.privacy.ledger_makers import (
    COUNTS,
    FILTERED,
    KEY,
    OTHER_KEY,
    POPULATION,
    RECORDS,
    STEP,
    WITNESS,
    clock,
    granted_ledger,
    plan,
    write_every_kind,
)


def test_ledger_of_every_kind_reads_back_as_it_was_written(path: Path) -> None:
    write_every_kind(path)
    with Ledger.open(path, OTHER_KEY) as ledger:
        entries = list(ledger.read_entries())
        assert ledger.site == "north"
        assert ledger.head.number == len(entries)
    assert {entry.kind for entry in entries} == set(BODIES)
    assert [entry.number for entry in entries] == list(range(1, len(entries) + 1))
    assert entries[0].time == "2026-03-02T08:00:00Z"
    reserved, again, audited, alone = [entry.body for entry in entries if isinstance(entry.body, Reserve)]
    assert (reserved.study, reserved.round, reserved.event) == ("first", 1, STEP)
    assert (reserved.charge, reserved.curve) == (compute_charge(STEP, 8), compute_stored_curve(STEP))
    assert (again.event, again.charge) == (RECORDS, compute_charge(RECORDS, 8))
    assert (audited.study, audited.event) == ("audited", STEP)
    assert (alone.study, alone.event, alone.charge) == ("alone", FILTERED, compute_charge(FILTERED, 8))
    first, third, audit, by_itself = [entry.body for entry in entries if isinstance(entry.body, Allow)]
    assert (first.grant, list(first.plan), list(third.plan)) == (1, plan(), plan(2, RECORDS, COUNTS))
    approvals = [entry for entry in entries if isinstance(entry.body, Approve)]
    assert [each.body.admits for each in approvals if isinstance(each.body, Approve)] == [
        "launch",
        "launch",
        "audit",
        "alone",
    ]
    assert [audit.approval, by_itself.approval] == [each.number for each in approvals[-2:]]
    assert third.charge == 2 * compute_charge(RECORDS, 8) + 2 * compute_charge(COUNTS, 8)
    assert [entry.body.order for entry in entries if isinstance(entry.body, Grant)] == [8, 32]
    changed = [entry.body for entry in entries if isinstance(entry.body, Population)][1]
    assert (changed.patients, changed.records_per_patient, changed.patients_commitment) == (170, 3, "6" * 64)
    (recovered,) = [entry.body for entry in entries if isinstance(entry.body, Recover)]
    assert recovered.countersigned.verify(KEY.public, WITNESS.public).number == 10
    assert recovered.sentence.startswith("restored: entries after 9 are lost; a witness has seen entry 10")


def test_curve_of_an_entry_is_the_events_at_every_carried_order(path: Path) -> None:
    with granted_ledger(path) as ledger:
        ledger.allow("a", POPULATION, plan(), "3" * 64)
        ledger.reserve("a", 1, STEP)
        body = list(ledger.read_entries())[-1].body
    assert isinstance(body, Reserve)
    assert body.curve == tuple(compute_charge(STEP, order) for order in STORED_ORDERS)


@given(
    study=st.from_regex(r"[a-z0-9][a-z0-9._-]{0,99}", fullmatch=True),
    code=st.from_regex(r"[a-z][a-z0-9-]{0,59}", fullmatch=True),
    sentence=st.text(st.characters(codec="utf-8"), max_size=2000).map(fit_sentence),
    number=st.integers(1, 2**53 - 1),
    time=st.datetimes(timezones=st.none()).map(lambda at: at.strftime("%Y-%m-%dT%H:%M:%SZ").zfill(20)),
)
def test_entry_of_any_words_survives_its_bytes(
    study: str, code: str, sentence: str, number: int, time: str
) -> None:
    body: dict[str, Json] = {"study": study, "code": code, "sentence": sentence}
    value: Json = {
        "version": 1,
        "number": number,
        "kind": "refuse",
        "time": time,
        "previous": "0" * 64,
        "body": body,
    }
    entry = read_entry(to_canonical(value))
    assert entry.body == Refuse(study=study, code=code, sentence=sentence)
    assert entry.to_bytes() == to_canonical(value)


REFUSE: dict[str, Any] = {
    "version": 1,
    "number": 1,
    "kind": "refuse",
    "time": "2026-03-02T08:00:00Z",
    "previous": "0" * 64,
    "body": {"study": "a", "code": "test", "sentence": "a refusal"},
}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"version": 2}, "written in version 2, this program reads up to 1: install a newer one"),
        ({"version": 0}, "version"),
        ({"kind": "forgive"}, "unknown kind; known kinds: open, population, grant, approve"),
        ({"number": 0}, "number"),
        ({"number": True}, "number expects a number, got a yes or a no"),
        ({"time": "2026-03-02T08:00:00+00:00"}, "time"),
        ({"time": "2026-02-30T08:00:00Z"}, "time"),
        ({"previous": "0" * 63}, "previous"),
        ({"hash": "0" * 64}, "hash: unknown key"),
        ({"body": {"study": "a", "code": "test", "sentence": ""}}, "sentence"),
        ({"body": {"study": "a", "code": "Test", "sentence": "a"}}, "code"),
        ({"body": {"study": "a", "code": "test", "sentence": "a", "patient": "x"}}, "patient: unknown key"),
        ({"body": None}, "expected keys and values"),
    ],
)
def test_entry_with_a_field_out_of_range_is_refused(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(LedgerError, match=sentence):
        read_entry(to_canonical({**REFUSE, **change}))


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"null", "expected keys and values, got nothing"),
        (b" " + to_canonical(REFUSE), "not the canonical form"),
        (b'"' + b"x" * (1 << 20) + b'"', "expected at most 1048576 bytes"),
    ],
)
def test_bytes_that_are_no_entry_are_refused(data: bytes, sentence: str) -> None:
    with pytest.raises(LedgerError, match=sentence):
        read_entry(data)


def test_body_that_cannot_be_written_is_refused_before_anything_is(path: Path) -> None:
    with granted_ledger(path, look=clock()) as ledger:
        head = ledger.head
        with pytest.raises(LedgerError, match="ledger entry 'refuse': code"):
            ledger.record_refusal("a", "Not A Code", "a refusal")
        assert ledger.head == head


def test_key_in_an_entry_is_the_sites(path: Path) -> None:
    write_every_kind(path)
    with Ledger.open(path, OTHER_KEY) as ledger:
        opened = next(ledger.read_entries()).body
    assert PublicKey.from_text(opened.model_dump()["key"]) == KEY.public
