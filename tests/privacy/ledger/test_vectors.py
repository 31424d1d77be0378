"""The golden ledgers: made from the format's description alone, read by the program, and the other way round."""

import json
from pathlib import Path
from typing import Any

import pytest

from privacy.accounting.epsilon import compute_stored_curve
from privacy.accounting.events import (
    AnyEvent,
    BandedGaussian,
    DistributedGaussian,
    IndividualGaussian,
    SiteUpdates,
    TreeGaussian,
)
from privacy.accounting.renyi import STORED_ORDERS
from privacy.audit.check_ledger import check_ledger
from privacy.errors import LedgerError
from privacy.keys import PublicKey
from privacy.ledger import Ledger
from privacy.ledger.entries import BODIES
from privacy.ledger.rules import Rule
from tests.privacy.ledger_makers import COUNTS, OTHER_KEY, RECORDS, STEP, TOTALS, write_every_kind
from tests.privacy.vectors.ledger import generate
from tests.privacy.vectors.ledger.mechanisms import ORDERS, curve

FOLDER = Path(generate.__file__).parent
EXPECTED: dict[str, Any] = json.loads((FOLDER / "expected.json").read_text(encoding="utf-8"))
KEY = PublicKey.from_text(EXPECTED["key"])


def test_golden_ledgers_are_what_their_generator_writes() -> None:
    stored = {
        str(path.relative_to(FOLDER)): path.read_bytes()
        for path in [*FOLDER.glob("*.json*"), *FOLDER.glob("refused/*")]
    }
    assert stored == generate.files()


def test_golden_ledger_verifies_to_the_figures_written_beside_it() -> None:
    found = check_ledger(FOLDER / "accepted.jsonl", KEY)
    figures = EXPECTED["accepted"] | {"key": PublicKey.from_text(EXPECTED["accepted"]["key"]).typed}
    assert {name: getattr(found, name) for name in figures if name != "grants"} == {
        name: figure for name, figure in figures.items() if name != "grants"
    }
    (budget,) = found.populations
    grants = [
        {"order": each.order, "limit": each.limit, "spent": each.spent, "set_aside": each.set_aside}
        for each in budget.grants
    ]
    assert grants == figures["grants"]


def test_ledger_of_an_earlier_version_whose_approvals_admit_either_still_verifies() -> None:
    lines = (FOLDER / "earlier.jsonl").read_bytes().splitlines()[:-1]
    entries = [json.loads(line)["entry"] for line in lines]
    assert all("admits" not in entry["body"] for entry in entries)
    assert check_ledger(FOLDER / "earlier.jsonl", KEY).entries == len(entries) == 10
    assert [entry["kind"] for entry in entries][-4:] == ["reserve", "allow", "reserve", "audit"]


def test_golden_ledger_has_every_kind_and_is_what_the_program_writes(path: Path) -> None:
    golden = (FOLDER / "accepted.jsonl").read_bytes()
    kinds = {json.loads(line)["entry"]["kind"] for line in golden.splitlines()[:-1]}
    assert kinds == set(BODIES)
    write_every_kind(path)
    with Ledger.open(path, OTHER_KEY) as ledger:
        assert b"".join(ledger.export_lines()) == golden


@pytest.mark.parametrize("name", EXPECTED["refused"])
def test_golden_ledger_that_breaks_a_rule_is_refused_by_entry_and_rule(name: str) -> None:
    wrong = EXPECTED["refused"][name]
    path = FOLDER / "refused" / f"{name}.jsonl"
    with pytest.raises(LedgerError, match=rf": entry {wrong['entry']} breaks the rule '{wrong['rule']}': "):
        check_ledger(path, KEY)


@pytest.mark.parametrize(
    "event",
    [
        STEP,
        STEP.model_copy(update={"sampling_rate": 1.0}),
        TOTALS,
        COUNTS,
        RECORDS,
        RECORDS.model_copy(update={"records_per_patient": 1}),
        RECORDS.model_copy(update={"sampling_rate": 1.0}),
        DistributedGaussian(noise_multiplier=1.3, sampling_rate=0.1, steps=7, colluders=1),
        SiteUpdates(noise_multiplier=6.5, participation=0.3, steps=7, colluders=1),
        SiteUpdates(noise_multiplier=1.3, participation=0.99, steps=7, colluders=1),
        SiteUpdates(noise_multiplier=6.5, participation=1.0, steps=7, colluders=1),
        BandedGaussian(noise_multiplier=6.5, bands=5, lots=7, steps=21),
        BandedGaussian(noise_multiplier=20.0, bands=64, lots=100, steps=300),
        TreeGaussian(noise_multiplier=6.5, lots=7, steps=21),
        IndividualGaussian(noise_multiplier=6.5, paid_steps=11, steps=40),
    ],
    ids=lambda event: event.kind,
)
def test_curve_of_an_event_follows_from_the_page_alone(event: AnyEvent) -> None:
    assert compute_stored_curve(event, 3) == tuple(curve(event.model_dump(), 3) or ())


def test_golden_ledgers_break_every_rule() -> None:
    assert {wrong["rule"] for wrong in EXPECTED["refused"].values()} == set(Rule)
    assert ORDERS == STORED_ORDERS
