"""``docs/ledger.md`` shows the bytes that the program writes, and lists what a ledger may say and must keep to."""

import re
from pathlib import Path
from typing import get_args

from privacy.accounting.events import AnyEvent
from privacy.accounting.renyi import AT_LEAST, STORED_ORDERS
from privacy.audit.check_ledger import check_ledger
from privacy.document import Document
from privacy.keys import PublicKey
from privacy.ledger import database
from privacy.ledger.entries import BODIES, VERSION
from privacy.ledger.rules import Rule
from privacy.ledger.signed_head import AccountTotals, Countersigned, GrantTotals, LedgerHead, Seen
from tests.docs.ledger_example import export
from tests.docs.pages import ROOT, blocks, rows
from tests.privacy.ledger_makers import KEY

PAGE = ROOT / "docs" / "ledger.md"
TEXT = PAGE.read_text(encoding="utf-8")


def fields(cell: str) -> set[str]:
    return set(re.findall(r"`([a-z_]+)`", cell)) - {"null"}


def test_example_is_what_the_program_writes() -> None:
    assert blocks(PAGE, "jsonl") == [export()], "write it anew: python -m tests.docs.ledger_example"


def test_example_is_a_ledger_that_holds_with_the_figures_of_the_page(tmp_path: Path) -> None:
    example = tmp_path / "example.jsonl"
    example.write_text(blocks(PAGE, "jsonl")[0], encoding="utf-8")
    key = PublicKey.from_text(TEXT.split("key\n`")[1][:43])
    assert key == KEY.public
    found = check_ledger(example, key)
    assert (found.entries, found.witnessed) == (6, 5)
    (budget,) = found.populations
    (grant,) = budget.grants
    assert (grant.limit, grant.spent, grant.epsilon_spent) == (2443772287, 31215267, 0.5875)
    for figure in (grant.limit, grant.spent, grant.epsilon_spent):
        assert str(figure) in TEXT.split("## Events and charges")[1]


def test_table_of_kinds_is_the_closed_list() -> None:
    table = {row[0].strip("`"): row[2] for row in rows(PAGE, "Kinds")}
    assert list(table) == list(BODIES)
    for kind, cell in table.items():
        assert fields(cell) == set(BODIES[kind].model_fields), kind


def test_table_of_events_is_the_closed_list() -> None:
    events: dict[str, type[Document]] = {event.model_fields["kind"].default: event for event in get_args(AnyEvent)}
    table = {row[0].strip("`"): row[1] for row in rows(PAGE, "Events and charges")}
    assert set(table) == set(events)
    for kind, cell in table.items():
        assert fields(cell) == set(events[kind].model_fields) - {"kind"}, kind


def test_table_of_statements_is_what_is_signed() -> None:
    section = TEXT.split("## Heads")[1].split("## What must hold")[0]
    table = {row[1].strip("`"): fields(row[2]) for row in rows(PAGE, "Heads")}
    assert table == {kind.label: set(kind.model_fields) for kind in (LedgerHead, Seen)}
    for kind in (AccountTotals, GrantTotals):
        assert set(kind.model_fields) <= fields(section)
    assert all(f'"{name}"' in section for name in Countersigned.model_fields)


def test_table_of_rules_is_the_closed_list_in_the_order_of_the_code() -> None:
    assert [row[0].strip("`") for row in rows(PAGE, "What must hold")] == list(Rule)


def test_numbers_of_the_page_are_those_of_the_code() -> None:
    orders = [int(word) for word in re.findall(r"\d+", TEXT.split("at the orders ")[1].split(", each")[0])]
    assert tuple(orders) == STORED_ORDERS
    assert f"{AT_LEAST} stands for itself" in TEXT
    assert f"format version {VERSION}" in TEXT
    assert f"`application_id` 0x{database.APPLICATION_ID:X}, `user_version` {database.SCHEMA_VERSION}" in TEXT
