"""A ledger whose site changes its key."""

from pathlib import Path

import pytest

from privacy.audit.check_ledger import check_ledger
from privacy.errors import LedgerError
from privacy.ledger import Ledger, verify_file
from privacy.ledger.replay import replay
from tests.privacy.ledger_makers import (
    KEY,
    OTHER_KEY,
    WITNESS,
    changed,
    clock,
    countersigned,
    forged,
    granted_ledger,
    values_of,
)


@pytest.fixture
def ledger_state(path: Path) -> Path:
    """A ledger that was under one key up to entry 5, and is under another from entry 6."""
    look = clock()
    with granted_ledger(path, look=look) as ledger:
        ledger.record_refusal("a", "test", "under the old key")
        ledger.change_key(OTHER_KEY)
        ledger.record_refusal("a", "test", "under the new key")
    return path


def test_new_key_opens_the_ledger_and_the_old_one_does_not(ledger_state: Path) -> None:
    with Ledger.open(ledger_state, OTHER_KEY) as ledger:
        assert [entry.number for entry in ledger.read_entries()] == [1, 2, 3, 4, 5, 6]
        ledger.record_refusal("a", "test", "and continues")
    with pytest.raises(LedgerError, match=f"expected the ledger of the key {KEY.public.typed}, got that of"):
        Ledger.open(ledger_state, KEY)


def test_auditor_who_was_given_either_key_accepts(ledger_state: Path) -> None:
    for key in (KEY, OTHER_KEY):
        found = check_ledger(ledger_state, key.public)
        assert (found.key, found.key_given, found.entries) == (OTHER_KEY.public.typed, True, 6)
    with pytest.raises(LedgerError, match="expected the ledger of the key"):
        check_ledger(ledger_state, WITNESS.public)


def test_export_after_the_change_ends_in_the_new_keys_trailer(ledger_state: Path, tmp_path: Path) -> None:
    export = tmp_path / "export.jsonl"
    with Ledger.open(ledger_state, OTHER_KEY) as ledger:
        export.write_bytes(b"".join(ledger.export_lines()))
    assert check_ledger(export, KEY.public).head == check_ledger(ledger_state, None).head


def test_entry_by_the_old_key_after_the_change_is_refused_by_rule(ledger_state: Path) -> None:
    values = values_of(ledger_state, OTHER_KEY)
    assert replay(forged(values, OTHER_KEY, since=6)).keys == [KEY.public, OTHER_KEY.public]
    for since, wrong in ((7, 6), (5, 5)):
        with pytest.raises(LedgerError, match=f"^entry {wrong} breaks the rule 'signature': the signature is not"):
            replay(forged(values, OTHER_KEY, since=since))


def test_key_that_did_not_sign_this_ledgers_head_is_refused_by_rule(ledger_state: Path) -> None:
    values = values_of(ledger_state, OTHER_KEY)
    proof = values[4]["body"]["proof"]
    for forgery in (changed(values, 5, key=WITNESS.public.text), [*values[:3], *values[4:]]):
        with pytest.raises(
            LedgerError, match=r"breaks the rule 'signature': the key .* has not signed this ledger's"
        ):
            replay(forged(forgery, OTHER_KEY, since=6))
    spelled = proof[:-1] + chr(ord(proof[-1]) + 1)
    with pytest.raises(LedgerError, match=r"^entry 5 breaks the rule 'signature'"):
        replay(forged(changed(values, 5, proof=spelled), OTHER_KEY, since=6))


def test_key_that_has_signed_this_ledger_before_is_refused(ledger_state: Path) -> None:
    with Ledger.open(ledger_state, OTHER_KEY) as ledger:
        for key in (KEY, OTHER_KEY):
            with pytest.raises(LedgerError, match=r"has signed this ledger before|is in the ledger already"):
                ledger.change_key(key)
        ledger.record_refusal("a", "test", "still under the present key")
    assert verify_file(ledger_state).keys == [KEY.public, OTHER_KEY.public]


def test_process_that_still_holds_the_old_key_adds_nothing(path: Path) -> None:
    """Its entry would not be believed, and neither would anything after it."""
    with granted_ledger(path) as ledger, Ledger.open(path, KEY) as other:
        ledger.change_key(OTHER_KEY)
        with pytest.raises(LedgerError, match=f"the ledger is signed by the key {OTHER_KEY.public.typed}, not by"):
            other.record_refusal("a", "test", "with the old key")
        with pytest.raises(LedgerError, match="expected the ledger of the key"):
            list(other.export_lines())
    assert verify_file(path).head.number == 4


def test_head_that_the_old_key_signed_is_still_this_ledgers(path: Path) -> None:
    with granted_ledger(path) as ledger:
        seen = countersigned(ledger)
        ledger.change_key(OTHER_KEY)
        ledger.record_checkpoint(seen, WITNESS.public)
        ledger.record_checkpoint(countersigned(ledger), WITNESS.public)
    witnessed = verify_file(path).witnessed
    assert witnessed is not None
    assert witnessed.number == 5
