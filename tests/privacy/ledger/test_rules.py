"""A site that writes its own ledger falsely, with its own key: every rule names the first entry that breaks it."""

from pathlib import Path
from typing import Any

import pytest

from privacy.errors import BudgetError, LedgerError, RefusedError, StorageError
from privacy.ledger import verify_file
from privacy.ledger.entries import Population, read_entry
from privacy.ledger.replay import replay
from privacy.ledger.rules import Rule
from privacy.ledger.state import LedgerState
from tests.privacy.ledger_makers import (
    CHANGED_DATA,
    DATA,
    KEY,
    OTHER_KEY,
    PATIENTS,
    Value,
    changed,
    forged,
    granted_ledger,
    number_of,
    values_of,
    write_every_kind,
    write_story,
)


@pytest.fixture(scope="module")
def timeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("story") / "ledger.sqlite"
    write_story(path)
    return path


@pytest.fixture(scope="module")
def values(timeline: Path) -> list[Value]:
    return values_of(timeline)


@pytest.fixture(scope="module")
def every_kind(tmp_path_factory: pytest.TempPathFactory) -> list[Value]:
    path = tmp_path_factory.mktemp("every-kind") / "ledger.sqlite"
    write_every_kind(path)
    return values_of(path, OTHER_KEY)


def refused(values: list[Value], number: int, rule: Rule, sentence: str = "") -> None:
    """The ledger that ``values`` make breaks ``rule`` at entry ``number`` and is taken up to there."""
    with pytest.raises(LedgerError, match=rf"^entry {number} breaks the rule '{rule}': .*{sentence}"):
        replay(forged(values))
    assert replay(forged(values[: number - 1])).head.number == number - 1 if number > 1 else True


def test_forged_ledger_without_a_change_is_the_honest_one(timeline: Path, values: list[Value]) -> None:
    assert replay(forged(values), KEY.public).head == verify_file(timeline, KEY.public).head


def test_every_rule_has_a_case_here_or_is_about_signatures() -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    assert {rule for rule in Rule if f"Rule.{rule.name}" not in text} == set()


@pytest.mark.parametrize(
    ("kind", "body", "rule", "sentence"),
    [
        ("population", {"patient_names": ["x"]}, Rule.FORM, "patient_names: unknown key"),
        ("population", {"unit": "record"}, Rule.FORM, "unit"),
        ("population", {"patients_commitment": "x"}, Rule.FORM, "patients_commitment"),
        ("reserve", {"event": {"kind": "exponential"}}, Rule.FORM, "event"),
        ("reserve", {"curve": [1, 2, 3]}, Rule.FORM, "curve"),
        ("settle", {"round": 9}, Rule.ONCE, "settle of round 9 .* was never reserved"),
        ("grant", {"population": "nobody"}, Rule.ONCE, "'nobody' is not registered"),
        ("allow", {"population": "nobody"}, Rule.ONCE, "'nobody' is not registered"),
        ("grant", {"limit": 10**10}, Rule.PRICE, "the limit is written as 10000000000, its event comes to"),
        ("allow", {"charge": 0}, Rule.PRICE, "the charge is written as 0"),
        ("allow", {"curve": None}, Rule.PRICE, "the curve is written as None"),
        ("allow", {"grant": None}, Rule.PRICE, "the charge is written as 176076335, its event comes to 0"),
        ("reserve", {"charge": 1}, Rule.PRICE, "the charge is written as 1, its event comes to 31215267"),
        ("reserve", {"charge": None}, Rule.PRICE, "the charge is written as None"),
        ("reserve", {"curve": None}, Rule.PRICE, "the curve is written as None"),
        ("evaluate", {"charge": 0}, Rule.PRICE, "the charge is written as 0"),
        ("evaluate", {"curve": [0] * 22}, Rule.PRICE, "the curve is written as"),
        ("return", {"charge": 10**9}, Rule.PRICE, "the charge is written as 1000000000"),
        ("allow", {"grant": 2}, Rule.BUDGET, "has 1 grants, not number 2"),
        ("reserve", {"study": "nobody"}, Rule.BUDGET, "was never admitted here"),
        ("release", {"study": "nobody"}, Rule.BUDGET, "was never admitted here"),
        ("return", {"study": "nobody"}, Rule.BUDGET, "was never admitted here"),
        ("allow", {"approval": 3}, Rule.APPROVAL, "entry 3 does not approve the study 'first'"),
    ],
)
def test_ledger_that_its_own_site_falsified_is_refused_by_rule(
    values: list[Value], kind: str, body: Value, rule: Rule, sentence: str
) -> None:
    number = number_of(values, kind)
    refused(changed(values, number, **body), number, rule, sentence)


@pytest.mark.parametrize("kind", ["allow", "reserve", "evaluate"])
def test_curve_lowered_at_any_order_is_refused_by_rule(values: list[Value], kind: str) -> None:
    number = number_of(values, kind)
    curve: list[int] = values[number - 1]["body"]["curve"]
    for index in range(len(curve)):
        lowered = [*curve[:index], curve[index] - 1, *curve[index + 1 :]]
        refused(changed(values, number, curve=lowered), number, Rule.PRICE, "the curve is written as")


def test_grant_at_an_order_that_entries_do_not_carry_is_refused_by_rule(values: list[Value]) -> None:
    refused(changed(values, 3, order=9, limit=2528966697), 3, Rule.BUDGET, "kept at one of the orders 2, 3, ")


def test_allowance_beyond_the_grant_is_refused_by_rule(values: list[Value]) -> None:
    number = number_of(values, "allow")
    plan = values[number - 1]["body"]["plan"]
    plan = [{**plan[0], "times": plan[0]["times"] * 1000}, plan[1]]
    round_, totals = (values[number_of(values, kind) - 1]["body"] for kind in ("reserve", "evaluate"))
    price = 5000 * round_["charge"] + 2 * totals["charge"]
    curve = [5000 * a + 2 * b for a, b in zip(round_["curve"], totals["curve"], strict=True)]
    refused(changed(values, number, plan=plan, charge=price, curve=curve), number, Rule.BUDGET, "is left of 3")


def test_study_paid_from_another_grant_than_the_first_with_room_is_refused_by_rule(
    every_kind: list[Value],
) -> None:
    number = number_of(every_kind[15:], "allow") + 15
    plan = every_kind[number - 1]["body"]["plan"]
    charges = [every_kind[number]["body"]["curve"], every_kind[number + 1]["body"]["curve"]]
    at_32 = 14
    price = plan[0]["times"] * charges[0][at_32] + plan[1]["times"] * charges[1][at_32]
    forgery = changed(every_kind, number, grant=2, charge=price)
    refused(forgery, number, Rule.BUDGET, "is paid from grant 1, not 2: the first with room")


def test_round_that_the_plan_does_not_name_is_refused_by_rule(values: list[Value]) -> None:
    first, number = number_of(values, "reserve"), number_of(values, "evaluate")
    paid = values[first - 1]["body"]
    forgery = changed(values, number, **{name: paid[name] for name in ("event", "charge", "curve")})
    refused(forgery, number, Rule.BUDGET, "not, or no longer, in the plan it was admitted with")


def test_round_paid_twice_is_refused_by_rule(values: list[Value]) -> None:
    number = number_of(values, "reserve")
    repeated = [*values[:number], values[number - 1], *values[number:]]
    refused(repeated, number + 1, Rule.ONCE, "reserve of round 1 .* is in the ledger already")


def test_study_admitted_twice_is_refused_by_rule(values: list[Value]) -> None:
    number = number_of(values, "allow")
    again = {**values[number - 1], "body": {**values[number - 1]["body"], "terms": "9" * 64}}
    refused([*values[:number], again], number + 1, Rule.ONCE, "allow of the study 'first' is in the ledger already")


def test_study_that_goes_on_after_its_end_is_refused_by_rule(values: list[Value]) -> None:
    number = number_of(values, "return")
    late = {**values[number_of(values, "reserve") - 1], "time": values[number - 1]["time"]}
    late["body"] = {**late["body"], "round": 9}
    refused([*values[:number], late], number + 1, Rule.BUDGET, "is closed here")


def test_same_data_under_two_names_are_refused_by_rule(values: list[Value]) -> None:
    number = number_of(values, "population")
    twin = {**values[number - 1], "body": {**values[number - 1]["body"], "population": "twin"}}
    refused([*values[:number], twin], number + 1, Rule.POPULATION, "these data .* 'breast-2026'")


@pytest.mark.parametrize(
    ("change", "rule", "sentence"),
    [
        ({"kind": "forgive"}, Rule.FORM, "unknown kind; known kinds: open, population"),
        ({"version": 2}, Rule.FORM, "written in version 2.*install a newer one"),
        ({"time": "2020-01-01T00:00:00Z"}, Rule.CHAIN, "written at 2020-01-01T00:00:00Z, before the entry"),
    ],
)
def test_entry_of_another_time_or_kind_is_refused_by_rule(
    values: list[Value], change: dict[str, Any], rule: Rule, sentence: str
) -> None:
    refused([*values[:2], {**values[2], **change}], 3, rule, sentence)


def test_ledger_that_does_not_open_once_is_refused_by_rule(values: list[Value]) -> None:
    refused(values[1:], 1, Rule.OPENING, "expected a ledger to begin with 'open', got 'population'")
    refused([values[0], values[0]], 2, Rule.OPENING, "the ledger is open already")


def test_entries_left_out_or_in_another_order_are_refused_by_rule(values: list[Value]) -> None:
    signed = list(forged(values))
    for entries, number in (
        ([*signed[:3], *signed[4:]], 4),
        ([*signed[:3], signed[4], signed[3], *signed[5:]], 4),
        (signed[1:], 1),
    ):
        with pytest.raises(LedgerError, match=f"^entry {number} breaks the rule '{Rule.CHAIN}': expected number"):
            replay(entries)
    other_past = list(forged(changed(values, 2, patients=161)))
    with pytest.raises(LedgerError, match=f"^entry 4 breaks the rule '{Rule.CHAIN}': it does not follow"):
        replay([*signed[:3], *other_past[3:]])


def test_entry_signed_by_another_key_is_refused_by_rule(values: list[Value]) -> None:
    with pytest.raises(LedgerError, match=f"^entry 5 breaks the rule '{Rule.SIGNATURE}': the signature is not"):
        replay(forged(values, OTHER_KEY, since=5))


@pytest.mark.parametrize(
    ("kind", "path", "value", "sentence"),
    [
        ("checkpoint", "witness", OTHER_KEY.public.text, "cannot be believed"),
        ("checkpoint", "witness", "A" * 42 + "!", "43 base64url characters"),
        ("checkpoint", "countersigned.seen.statement.number", 7, "cannot be believed"),
        ("checkpoint", "countersigned.seen.signature", "A" * 86, "cannot be believed"),
        ("checkpoint", "countersigned.head.statement.hash", "9" * 64, "not signed by this ledger's key"),
        ("checkpoint", "countersigned.head.statement.site", "south", "the head is of the ledger of 'south'"),
        ("recover", "countersigned.head.statement.accounts", [], "not signed by this ledger's key"),
        ("recover", "witness", OTHER_KEY.public.text, "cannot be believed"),
    ],
)
def test_witness_that_did_not_sign_this_is_refused_by_rule(
    every_kind: list[Value], kind: str, path: str, value: Any, sentence: str
) -> None:
    number = number_of(every_kind, kind)
    body = _replaced(every_kind[number - 1]["body"], path.split("."), value)
    refused(changed(every_kind, number, **body), number, Rule.WITNESS, sentence)


def _replaced(value: Value, path: list[str], leaf: Any) -> Value:
    return {**value, path[0]: leaf if len(path) == 1 else _replaced(value[path[0]], path[1:], leaf)}


def test_recovery_of_what_is_not_lost_is_refused_by_rule(every_kind: list[Value]) -> None:
    seen, lost = (number_of(every_kind, kind) for kind in ("checkpoint", "recover"))
    honest = every_kind[seen - 1]["body"]["countersigned"]
    refused(
        changed(every_kind, lost, countersigned=honest), lost, Rule.WITNESS, "is in the ledger: nothing is lost"
    )


def test_budget_after_a_recovery_is_counted_from_what_was_taken_over(every_kind: list[Value]) -> None:
    """The grant has room for the second study only if the lost one is forgotten."""
    number = number_of(every_kind[15:], "allow") + 15
    plan = every_kind[number - 1]["body"]["plan"]
    records, counts = (every_kind[number + index]["body"]["curve"] for index in (0, 1))
    at_8, at_32 = 6, 14
    room = 2443772287 - 176076335
    times = room // records[at_8] + 1
    plan = [{**plan[0], "times": times}, {**plan[1], "times": 1}]
    curve = [times * a + b for a, b in zip(records, counts, strict=True)]
    forgery = changed(every_kind, number, plan=plan, curve=curve, charge=curve[at_8])
    assert curve[at_32] > 846438876
    refused(forgery, number, Rule.BUDGET, "is left of")


def test_refusal_leaves_a_ledger_that_is_being_written_as_it_was(path: Path) -> None:
    granted_ledger(path).close()
    ledger_state = verify_file(path, KEY.public)
    before = ledger_state.make_head_statement()
    again = Population(
        population="twin",
        contract="c" * 64,
        patient_column="id",
        data=DATA,
        patients=1,
        records_per_patient=1,
        patients_commitment=PATIENTS,
    )
    for body, time, error, sentence in (
        (again, "2026-03-02T09:00:00Z", RefusedError, "use 'breast-2026'"),
        (again, "2026-03-01T09:00:00Z", StorageError, "set the clock"),
    ):
        with pytest.raises(error, match=sentence):
            ledger_state.append(body, time, KEY)
    assert ledger_state.make_head_statement() == before
    fresh = again.model_copy(update={"data": CHANGED_DATA})
    assert read_entry(ledger_state.append(fresh, "2026-03-02T09:00:00Z", KEY).entry).body == fresh


def test_ledger_that_is_not_begun_takes_only_its_opening() -> None:
    body = Population(
        population="twin",
        contract="c" * 64,
        patient_column="id",
        data=DATA,
        patients=1,
        records_per_patient=1,
        patients_commitment=PATIENTS,
    )
    with pytest.raises(LedgerError, match="expected a ledger to begin with 'open'"):
        LedgerState().append(body, "2026-03-02T09:00:00Z", KEY)
    for ask in (
        lambda: LedgerState().site,
        lambda: LedgerState().key,
        lambda: LedgerState().make_head_statement(),
        lambda: LedgerState().check_key(None),
    ):
        with pytest.raises(LedgerError, match="the ledger has no entry yet"):
            ask()
    with pytest.raises(BudgetError, match="was never admitted here"):
        LedgerState().find_account_of_study("a")


def test_cohort_that_leaves_one_site_out_after_all_were_counted_is_refused(every_kind: list[Value]) -> None:
    number = number_of(every_kind, "cohort")
    values = changed(every_kind, number, cohort=["east", "north", "south", "west"])
    fewer = {**values[number - 1], "body": {**values[number - 1]["body"], "cohort": ["east", "north", "south"]}}
    refused([*values[:number], fewer], number + 1, Rule.COHORT, "differs by 1 site .west.*at least 3")
    other = {**fewer, "body": {**fewer["body"], "cohort": ["a", "b", "c"]}}  # three and four sites apart
    assert replay(forged([*values[:number], other])).head.number == number + 1
