"""What witnesses have seen of a ledger, noted in it: heads countersigned, and heads that are somebody else's."""

from pathlib import Path

import pytest

from privacy.base64url import encode_signature
from privacy.canonical import to_canonical
from privacy.errors import LedgerError
from privacy.keys import SigningKey
from privacy.ledger import Ledger, verify_file
from privacy.ledger.entries import Checkpoint, Recover
from privacy.ledger.replay import replay
from privacy.ledger.signed_head import Countersigned, LedgerHead
from privacy.signed import Signed
from tests.privacy.ledger_makers import (
    KEY,
    OTHER_KEY,
    POPULATION,
    STEP,
    TERMS,
    UNPROTECTED,
    WITNESS,
    changed,
    countersigned,
    forged,
    granted_ledger,
    number_of,
    plan,
    values_of,
    write_every_kind,
)


def head_with(ledger: Ledger, fields: dict[str, object], key: SigningKey = KEY) -> Countersigned:
    """The ledger's head, except for ``fields``, signed and countersigned all the same."""
    head = ledger.sign_head().statement.model_copy(update=fields)
    return Countersigned.sign(WITNESS, "coordinator", Signed[LedgerHead].sign(key, head))


def test_head_says_what_is_granted_spent_and_set_aside(path: Path) -> None:
    with granted_ledger(path) as ledger:
        ledger.allow("a", POPULATION, plan(), TERMS)
        ledger.reserve("a", 1, STEP)
        head = ledger.sign_head().verify(KEY.public)
        assert (head.site, head.number, head.hash, head.recovered) == ("north", *ledger.head, None)
        (totals,) = head.accounts
        (grant,) = totals.grants
        (figures,) = ledger.read_state().find_account(POPULATION).budget.grants
        assert (totals.population, totals.protected, totals.held_out_protected) == (POPULATION, True, True)
        assert (grant.spent, grant.set_aside) == (figures.spent, figures.set_aside)
        assert (grant.epsilon, grant.delta, grant.order) == (3, 1e-3, 8)


def test_head_of_a_ledger_without_privacy_says_so(path: Path) -> None:
    with granted_ledger(path) as ledger:
        ledger.allow("open", POPULATION, plan(1, UNPROTECTED, UNPROTECTED), TERMS)
        ledger.pay_evaluation("open", 1, UNPROTECTED)
        assert not ledger.sign_head().statement.accounts[0].held_out_protected
        assert ledger.sign_head().statement.accounts[0].protected
        ledger.reserve("open", 1, UNPROTECTED)
        assert not ledger.sign_head().statement.accounts[0].protected


def test_head_that_a_witness_has_seen_is_noted_once(path: Path) -> None:
    with granted_ledger(path) as ledger:
        old, seen = countersigned(ledger), ledger.head
        ledger.record_refusal("a", "test", "a refusal")
        newer = countersigned(ledger)
        ledger.record_checkpoint(newer, WITNESS.public)
        noted = ledger.head
        ledger.record_checkpoint(newer, WITNESS.public)
        ledger.record_checkpoint(old, WITNESS.public)
        assert ledger.head == noted
        assert ledger.read_state().contains(*seen)
    ledger_state = verify_file(path, KEY.public)
    assert ledger_state.witnessed == (newer.head.statement.number, newer.head.statement.hash)
    assert ledger_state.witnessed.number == noted.number - 1


def test_other_head_under_a_number_that_its_witness_has_seen_is_no_repetition(path: Path) -> None:
    with granted_ledger(path) as ledger:
        honest, other = countersigned(ledger), head_with(ledger, {"accounts": ()})
        ledger.record_checkpoint(honest, WITNESS.public)
        state = ledger.read_state()
        assert state.has_recorded(Checkpoint(witness=WITNESS.public.text, countersigned=honest))
        assert not state.has_recorded(Checkpoint(witness=OTHER_KEY.public.text, countersigned=honest))
        with pytest.raises(LedgerError, match="is in the ledger already, and it says something else there"):
            state.has_recorded(Checkpoint(witness=WITNESS.public.text, countersigned=other))


def test_head_of_before_that_another_witness_has_seen_does_not_take_the_newest_back(path: Path) -> None:
    with granted_ledger(path) as ledger:
        old = countersigned(ledger, OTHER_KEY)
        ledger.record_refusal("a", "test", "a refusal")
        ledger.record_checkpoint(countersigned(ledger), WITNESS.public)
        newest = ledger.head
    values = values_of(path)
    body = {"witness": OTHER_KEY.public.text, "countersigned": old.model_dump(mode="json")}
    late = {**values[-1], "body": body}
    assert replay(forged([*values, late])).witnessed == (newest.number - 1, values[-1]["previous"])


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"site": "south"}, "the head is of the ledger of 'south'"),
        ({"hash": "9" * 64}, "the entry 3 that a witness has seen is not the one in this ledger"),
        ({"number": 2}, "the entry 2 that a witness has seen is not the one in this ledger"),
        ({"number": 4}, "the entry 4 that a witness has seen is not the one in this ledger"),
        ({"accounts": ()}, "the totals that a witness has seen are not those of this ledger at entry 3"),
    ],
)
def test_head_of_another_ledger_is_not_noted(path: Path, fields: dict[str, object], sentence: str) -> None:
    with granted_ledger(path) as ledger:
        with pytest.raises(LedgerError, match=sentence):
            ledger.record_checkpoint(head_with(ledger, fields), WITNESS.public)
        assert ledger.head.number == 3
        ledger.record_refusal("a", "test", "it continues")


def test_head_that_nobody_signed_is_not_noted(path: Path) -> None:
    with granted_ledger(path) as ledger:
        honest = countersigned(ledger)
        other_head = head_with(ledger, {"time": "2026-03-02T09:00:00Z"})
        for wrong, sentence in (
            (head_with(ledger, {}, OTHER_KEY), "not signed by this ledger's key"),
            (honest.model_copy(update={"seen": other_head.seen}), "the countersignature is over another head"),
        ):
            with pytest.raises(LedgerError, match=sentence):
                ledger.record_checkpoint(wrong, WITNESS.public)
        with pytest.raises(LedgerError, match="the countersigned head cannot be believed"):
            ledger.record_checkpoint(honest, OTHER_KEY.public)
        assert ledger.head.number == 3


def test_totals_shown_to_a_witness_are_those_of_that_entry_not_of_now(path: Path) -> None:
    with granted_ledger(path) as ledger:
        ledger.allow("a", POPULATION, plan(), TERMS)
        seen = countersigned(ledger)
        ledger.reserve("a", 1, STEP)
        ledger.register_population("second", "7" * 64, 100, 1, "8" * 64, "c" * 64, "id")
        ledger.grant(POPULATION, 1, 1e-4, 32)
        ledger.record_checkpoint(seen, WITNESS.public)
        ledger.give_back("a")
        ledger.record_checkpoint(countersigned(ledger), WITNESS.public)
    assert verify_file(path, KEY.public).witnessed == (9, values_of(path)[-1]["previous"])


def test_ledger_that_showed_a_witness_lower_totals_is_refused_by_rule(path: Path) -> None:
    with granted_ledger(path) as ledger:
        ledger.allow("a", POPULATION, plan(), TERMS)
        ledger.reserve("a", 1, STEP)
        ledger.record_checkpoint(countersigned(ledger), WITNESS.public)
        (totals,) = ledger.sign_head().statement.accounts
    values = values_of(path)
    head = values[-1]["body"]["countersigned"]["head"]["statement"]
    cheap = totals.model_copy(update={"grants": (totals.grants[0].model_copy(update={"spent": 0}),)})
    lied = LedgerHead.model_validate({**head, "accounts": [cheap.model_dump()]})
    shown = Countersigned.sign(WITNESS, "coordinator", Signed[LedgerHead].sign(KEY, lied))
    forgery = forged(changed(values, len(values), countersigned=shown.model_dump(mode="json")))
    with pytest.raises(LedgerError, match=r"^entry 6 breaks the rule 'witness': the totals that a witness"):
        replay(forgery)


def test_checkpoint_and_recovery_of_the_story_are_read_back(path: Path) -> None:
    write_every_kind(path)
    with Ledger.open(path, OTHER_KEY) as ledger:
        bodies = [entry.body for entry in ledger.read_entries()]
    checkpoints = [body for body in bodies if isinstance(body, Checkpoint)]
    assert [body.countersigned.seen.statement.number for body in checkpoints] == [8, 37]
    assert all(body.witness == WITNESS.public.text for body in checkpoints)
    assert any(isinstance(body, Recover) for body in bodies)
    assert number_of(values_of(path, OTHER_KEY), "recover") == 10


# The signed bytes in an entry's -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["checkpoint", "recover"])
@pytest.mark.parametrize(
    "sentence",
    ["lost", '"countersigned":{"head":{"signature":"', '},"seen":{"signature":"', '\\"},"seen":{"', "}{é"],
)
def test_signed_bytes_that_are_cut_out_of_an_entry_are_those_of_its_statements(
    tmp_path: Path, kind: str, sentence: str
) -> None:
    path = tmp_path / "ledger.sqlite"
    write_every_kind(path)
    values = values_of(path, OTHER_KEY)
    body = values[number_of(values, kind) - 1]["body"] | ({"sentence": sentence} if kind == "recover" else {})
    seen = Countersigned.model_validate(body["countersigned"])
    written = to_canonical({"body": body, "kind": kind, "time": '"countersigned":{"head":{"signature":"'})
    listed = seen.list_signed_bytes(KEY.public, WITNESS.public, written)
    assert [each.message for each in listed] == [
        seen.head.statement.make_signing_bytes(),
        seen.seen.statement.make_signing_bytes(),
    ]
    assert [each.key for each in listed] == [KEY.public, WITNESS.public]
    assert [encode_signature(each.signature) for each in listed] == [seen.head.signature, seen.seen.signature]
