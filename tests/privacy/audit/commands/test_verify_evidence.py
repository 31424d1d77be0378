"""Packs of evidence: honest ones, and every way to change one or to lay one beside the wrong ledger."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from privacy.audit.cli import cli
from privacy.base64url import encode_signature
from privacy.canonical import compute_digest, to_canonical
from privacy.errors import ContradictionError, Error, LedgerError, WireError
from privacy.labels import EVIDENCE, make_prefix
from privacy.ledger import Ledger
from privacy.ledger.evidence import EvidencePack, read_evidence
from privacy.ledger.signed_head import LedgerHead
from privacy.signed import Signed
from tests.privacy.evidence_makers import POLICY, pack, packages
from tests.privacy.ledger_makers import (
    KEY,
    OTHER_KEY,
    POPULATION,
    TERMS,
    Value,
    clock,
    granted_ledger,
    plan,
    requirement,
)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["verify-evidence", *map(str, arguments)], catch_exceptions=False)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return granted_ledger(tmp_path / "ledger.sqlite")


def write(path: Path, value: EvidencePack) -> Path:
    path.write_bytes(value.to_bytes())
    return path


def export(ledger: Ledger, path: Path) -> Path:
    path.write_bytes(b"".join(ledger.export_lines()))
    return path


def test_pack_is_verified_with_the_key_and_the_ledger_that_has_grown(ledger: Ledger, tmp_path: Path) -> None:
    file = write(tmp_path / "north.json", pack(ledger))
    ledger.require(requirement("first"))
    ledger.require(requirement("second", policy=compute_digest(POLICY)))
    shown = run(file, "--key", KEY.public.typed, "--ledger", export(ledger, tmp_path / "north.jsonl")).stdout
    assert "(as given)" in shown
    assert "in the ledger, followed by 2 later; 1 of 2 launches were judged by this policy" in shown
    assert "1 green, 0 amber, 0 red" in shown
    assert "ledger: no coordinator has countersigned any entry" in shown


def test_json_has_the_statement_and_sbom_is_written_for_other_programs(ledger: Ledger, tmp_path: Path) -> None:
    file = write(tmp_path / "north.json", pack(ledger))
    found = json.loads(run(file, "--sbom", tmp_path / "sbom.json", "--json").stdout)
    assert found["evidence"]["policy"] == POLICY
    assert found["policy_digest"] == compute_digest(POLICY)
    assert not found["key_given"]
    sbom = json.loads((tmp_path / "sbom.json").read_text())
    assert (sbom["bomFormat"], sbom["specVersion"], sbom["components"][0]["name"]) == ("CycloneDX", "1.5", "torch")
    assert run(file, "--sbom", file).exit_code == 2  # nothing is replaced
    assert read_evidence(file)


def test_any_value_that_is_changed_is_refused(ledger: Ledger, tmp_path: Path) -> None:
    value = json.loads(pack(ledger).to_bytes())
    places = list(_list_places(value))
    assert len(places) > 40
    for place in places:
        file = tmp_path / "changed.json"
        file.write_text(json.dumps(_replace(value, place)))
        with pytest.raises(WireError, match=r"changed\.json"):
            read_evidence(file)


@pytest.mark.parametrize("odd", [None, 1e308, "\x1b[31m", "\ud800", [], {}, -1, "x" * 5000, [[[[[[[[1]]]]]]]]])
def test_every_field_may_be_anything_even_where_it_is_signed(ledger: Ledger, tmp_path: Path, odd: Any) -> None:
    """A site that lies signs what it wants: the file is believed or refused, and breaks nothing."""
    value = json.loads(pack(ledger).to_bytes())
    for place in _list_places(value["evidence"]["statement"]):
        file = tmp_path / "odd.json"
        file.write_text(
            json.dumps({**value, "evidence": _forge(_replace(value["evidence"]["statement"], place, odd))})
        )
        try:
            read_evidence(file)
            shown = run(file).stdout
        except Error:
            continue
        assert "\x1b" not in shown


@pytest.mark.parametrize(
    "data", [b"", b"7", b"[]", b"{}", b"\xff", b"[" * 100_000, b'{"version":1,"version":1}', b'{"a":NaN}']
)
def test_file_that_is_no_pack_is_named(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.json").write_bytes(data)
    with pytest.raises(WireError, match=r"x\.json"):
        read_evidence(tmp_path / "x.json")


def test_pack_of_another_site_or_a_changed_key_is_refused(ledger: Ledger, tmp_path: Path) -> None:
    file = write(tmp_path / "north.json", pack(ledger))
    with pytest.raises(WireError, match="it is another site's, or the site has changed its key"):
        run(file, "--key", OTHER_KEY.public.typed)


def test_head_of_another_sites_ledger_in_a_pack_is_refused(ledger: Ledger, tmp_path: Path) -> None:
    with pytest.raises(WireError, match="changed after it was signed, or is not by the key"):
        pack(ledger, key=OTHER_KEY).verify()
    with pytest.raises(WireError, match="of the site 'south', the head of the ledger in it of 'north'"):
        pack(ledger, site="south").verify()


def test_list_of_packages_that_was_exchanged_is_refused(ledger: Ledger) -> None:
    with pytest.raises(WireError, match="the list of packages was changed"):
        pack(ledger).model_copy(update={"sbom": packages(torch="2.13.1")}).verify()


def test_ledger_of_another_site_an_older_copy_and_another_history_are_contradictions(
    ledger: Ledger, tmp_path: Path
) -> None:
    older = export(ledger, tmp_path / "older.jsonl")
    ledger.allow("first", POPULATION, plan(), TERMS)
    file = write(tmp_path / "north.json", pack(ledger))
    with pytest.raises(ContradictionError, match=r"older\.jsonl: .* shows entry 4 .* with 3 entries does not hold"):
        run(file, "--ledger", older)
    with granted_ledger(tmp_path / "other.sqlite", look=clock(start="2026-03-02T09:00:00+00:00")) as other:
        other.allow("first", POPULATION, plan(), TERMS)
    with pytest.raises(ContradictionError, match=r"other\.sqlite: .* was rewritten"):
        run(file, "--ledger", tmp_path / "other.sqlite")
    Ledger.create(tmp_path / "south.sqlite", OTHER_KEY, "south").close()
    with pytest.raises(LedgerError, match=r"south\.sqlite"):
        run(file, "--ledger", tmp_path / "south.sqlite")


def test_totals_that_are_not_the_ledgers_are_a_contradiction(ledger: Ledger, tmp_path: Path) -> None:
    head = ledger.sign_head().statement
    cheaper = head.accounts[0].model_copy(update={"grants": ()})
    lie = Signed[LedgerHead].sign(KEY, head.model_copy(update={"accounts": (cheaper,)})).model_dump(mode="json")
    file = write(tmp_path / "north.json", pack(ledger, ledger=lie))
    with pytest.raises(ContradictionError, match="and its totals, which this ledger"):
        run(file, "--ledger", export(ledger, tmp_path / "north.jsonl"))


def test_age_is_shown_and_bounded_and_the_future_is_refused(ledger: Ledger, tmp_path: Path) -> None:
    old = write(tmp_path / "old.json", pack(ledger, time="2020-01-01T00:00:00Z"))
    assert "days ago" in run(old).stdout
    with pytest.raises(WireError, match=r"days old, at most 90 are allowed; ask the site for a new one"):
        run(old, "--max-days", 90)
    with pytest.raises(WireError, match="in the future: one of the two clocks is wrong"):
        run(write(tmp_path / "new.json", pack(ledger, time="2999-01-01T00:00:00Z")))
    with pytest.raises(ValueError, match="time"):
        pack(ledger, time="2026-99-99T00:00:00Z")


def test_changes_since_an_earlier_pack_are_listed(ledger: Ledger, tmp_path: Path) -> None:
    earlier = write(tmp_path / "earlier.json", pack(ledger, packages(torch="2.13.0", numpy="2.1")))
    ledger.allow("first", POPULATION, plan(), TERMS)
    later = pack(
        ledger,
        packages(torch="2.13.1", pillow="12"),
        time="2026-03-04T08:00:00Z",
        policy={**POLICY, "epsilon_per_study": 8.0, "without_privacy": ["ward"]},
        launcher={"kind": "process", "asked": "none", "in_force": "training is not confined"},
        pins={"peers": {}, "consortium": None},
        checks=[{"check": "disk", "light": "red", "found": "0 GiB are free"}],
    )
    file = write(tmp_path / "later.json", later)
    shown = run(file, "--since", earlier).stdout
    for line in (
        "package: numpy: 2.1 (RECORD 000000000000) is gone",
        "package: pillow: 12 (RECORD 000000000000) is new",
        "package: torch: 2.13.0 (RECORD 000000000000) -> 2.13.1 (RECORD 000000000000)",
        "policy: epsilon_per_study: 3 -> 8",
        "launcher: asked: required -> none",
        f"peer: south: {OTHER_KEY.public.typed} is gone",
        "check: disk: green -> red",
        "ledger: entry 3 -> entry 4",
        "disk: 0 GiB are free",
        "policy: without_privacy is allowed",
    ):
        assert f"  {line}\n" in shown + "\n", line
    with pytest.raises(WireError, match="exchange them"):
        run(earlier, "--since", file)
    assert "nothing has changed" in run(file, "--since", file).stdout


def test_ledger_that_went_back_between_two_packs_is_a_contradiction(ledger: Ledger, tmp_path: Path) -> None:
    before = pack(ledger)
    ledger.allow("first", POPULATION, plan(), TERMS)
    earlier = write(tmp_path / "earlier.json", pack(ledger))
    later = before.evidence.statement.model_copy(update={"time": "2026-03-04T08:00:00Z"})
    file = write(tmp_path / "later.json", EvidencePack.sign(KEY, later, before.sbom))
    with pytest.raises(ContradictionError, match=r"had entry 4 .* ends with entry 3 .* without saying"):
        run(file, "--since", earlier)


def test_ledger_that_says_it_was_restored_is_a_change(ledger: Ledger, tmp_path: Path) -> None:
    head = ledger.sign_head().statement
    ledger.allow("first", POPULATION, plan(), TERMS)
    earlier = write(tmp_path / "earlier.json", pack(ledger))
    restored = Signed[LedgerHead].sign(KEY, head.model_copy(update={"recovered": "d" * 64})).model_dump(mode="json")
    file = write(tmp_path / "later.json", pack(ledger, time="2026-03-04T08:00:00Z", ledger=restored))
    assert "ledger: was restored from a backup" in run(file, "--since", earlier).stdout


def test_key_that_changed_is_believed_only_with_the_ledger(ledger: Ledger, tmp_path: Path) -> None:
    earlier = write(tmp_path / "earlier.json", pack(ledger))
    ledger.change_key(OTHER_KEY)
    file = write(tmp_path / "later.json", pack(ledger, key=OTHER_KEY, time="2026-03-04T08:00:00Z"))
    assert "only the ledger shows that both are the site's" in run(file, "--since", earlier).stdout
    shown = run(file, "--since", earlier, "--ledger", export(ledger, tmp_path / "north.jsonl")).stdout
    assert f"key: {KEY.public.typed} -> {OTHER_KEY.public.typed}" in shown
    assert "only the ledger" not in shown


def _list_places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value inside ``value``."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [each for key, inside in inner for each in [(*path, key), *_list_places(inside, (*path, key))]]


def _replace(value: Any, path: tuple[Any, ...], new: Any = "7") -> Any:
    copy = json.loads(json.dumps(value))
    inside = copy
    for key in path[:-1]:
        inside = inside[key]
    inside[path[-1]] = new
    return copy


def _forge(statement: Value) -> Value:
    """Sign any value as a site would its evidence."""
    try:
        signature = encode_signature(KEY.sign(make_prefix(EVIDENCE) + to_canonical(statement)))
    except WireError:
        signature = "A" * 86
    return {"statement": statement, "signature": signature}
