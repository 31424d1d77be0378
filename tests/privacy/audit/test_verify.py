"""The auditor's tool against honest books, and against every way to change one."""

import json
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from privacy.audit.cli import cli
from privacy.audit.verify import check
from privacy.canonical import sha256, to_canonical
from privacy.errors import LedgerError
from privacy.keys import PublicKey, SigningKey
from privacy.ledger import Ledger
from privacy.ledger.book import read_book
from privacy.ledger.entries import BODIES, Signed
from tests.privacy.ledger_makers import DATA, KEY, OTHER_KEY, granted_ledger, write_story

ROOT = Path(__file__).parents[2]
Value = dict[str, Any]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("story") / "ledger.sqlite"
    write_story(path)
    return path


@pytest.fixture(scope="module")
def values(story: Path) -> list[Value]:
    with Ledger.open(story, KEY) as ledger:
        return [json.loads(line)["entry"] for line in ledger.export_lines() if b'"entry"' in line]


@pytest.fixture
def export(tmp_path: Path) -> Path:
    path = tmp_path / "export.jsonl"
    with granted_ledger(tmp_path / "ledger.sqlite") as ledger:
        path.write_bytes(b"".join(ledger.export_lines()))
    return path


def forged(values: list[Value], key: SigningKey = KEY, since: int = 1) -> Iterator[Signed]:
    """The book that ``values`` would make, chained anew; ``key`` signs from entry ``since`` on."""
    previous = "0" * 64
    for number, value in enumerate(values, start=1):
        data = to_canonical({**value, "number": number, "previous": previous})
        signer = key if number >= since else KEY
        yield Signed(data, signer.sign(b"consilium ledger entry v1\0" + data))
        previous = sha256(data)


def changed(values: list[Value], number: int, **body: Any) -> list[Value]:
    """``values`` with another body in entry ``number``."""
    value = values[number - 1]
    return [*values[: number - 1], {**value, "body": {**value["body"], **body}}, *values[number:]]


def number_of(values: list[Value], kind: str) -> int:
    return next(number for number, value in enumerate(values, start=1) if value["kind"] == kind)


def test_forged_book_without_a_change_is_the_honest_one(story: Path, values: list[Value]) -> None:
    assert read_book(forged(values), KEY.public).head.hash == check(story, KEY.public).head


@pytest.mark.parametrize(
    ("kind", "body", "sentence"),
    [
        ("reserve", {"charge": 1}, "the charge is written as 1, its event comes to"),
        ("reserve", {"charge": None}, "the charge is written as None"),
        ("evaluate", {"charge": 0}, "the charge is written as 0"),
        ("allow", {"charge": 0}, "the charge is written as 0"),
        ("return", {"charge": 10**9}, "the charge is written as 1000000000"),
        ("grant", {"limit": 10**10}, "the limit is written as 10000000000"),
        ("reserve", {"study": "nobody"}, "was never admitted here"),
        ("settle", {"round": 9}, "was never reserved"),
        ("population", {"patient_names": ["x"]}, "patient_names: unknown key"),
        ("population", {"unit": "record"}, "unit"),
        ("open", {"key": OTHER_KEY.public.text}, "expected the book of the key"),
    ],
)
def test_book_that_its_own_site_falsified_is_refused_by_entry(
    values: list[Value], kind: str, body: Value, sentence: str
) -> None:
    number = number_of(values, kind)
    with pytest.raises(LedgerError, match=f"^entry {number}: .*{sentence}"):
        read_book(forged(changed(values, number, **body)), KEY.public)


def test_allowance_beyond_the_grant_is_refused_by_entry(values: list[Value]) -> None:
    number = number_of(values, "allow")
    plan = values[number - 1]["body"]["plan"]
    plan = [{**plan[0], "times": plan[0]["times"] * 1000}, plan[1]]
    rounds = values[number_of(values, "reserve") - 1]["body"]["charge"]
    totals = values[number_of(values, "evaluate") - 1]["body"]["charge"]
    price = 5000 * rounds + 2 * totals
    with pytest.raises(LedgerError, match=f"^entry {number}: .* is left of 3"):
        read_book(forged(changed(values, number, plan=plan, charge=price)), KEY.public)


def test_round_paid_twice_in_the_book_is_refused_by_entry(values: list[Value]) -> None:
    number = number_of(values, "reserve")
    repeated = [*values[:number], values[number - 1], *values[number:]]
    with pytest.raises(LedgerError, match=f"^entry {number + 1}: reserve of round 1 .* is in the book already"):
        read_book(forged(repeated), KEY.public)


def test_same_data_under_two_names_are_refused_by_entry(values: list[Value]) -> None:
    number = number_of(values, "population")
    twin = {**values[number - 1], "body": {**values[number - 1]["body"], "population": "twin"}}
    with pytest.raises(LedgerError, match=f"^entry {number + 1}: these data .* 'breast-2026'"):
        read_book(forged([*values[:number], twin]), KEY.public)


def test_unknown_kind_and_newer_version_are_refused_by_entry(values: list[Value]) -> None:
    with pytest.raises(LedgerError, match=r"^entry 3: .*unknown kind; known kinds: open, population"):
        read_book(forged([*values[:2], {**values[2], "kind": "forgive"}]), KEY.public)
    with pytest.raises(LedgerError, match=r"^entry 3: written in version 2.*install a newer one"):
        read_book(forged([*values[:2], {**values[2], "version": 2}]), KEY.public)


def test_time_that_runs_backwards_is_refused_by_entry(values: list[Value]) -> None:
    with pytest.raises(LedgerError, match=r"^entry 3: written at 2020-01-01T00:00:00Z, before"):
        read_book(forged([*values[:2], {**values[2], "time": "2020-01-01T00:00:00Z"}]), KEY.public)


def test_entry_signed_by_another_key_is_refused_by_entry(values: list[Value]) -> None:
    with pytest.raises(LedgerError, match=r"^entry 5: the signature is not by the key"):
        read_book(forged(values, OTHER_KEY, since=5))


def test_entries_left_out_or_in_another_order_are_refused_by_entry(values: list[Value]) -> None:
    signed = list(forged(values))
    with pytest.raises(LedgerError, match=r"^entry 4: expected number 4, got 5"):
        read_book([*signed[:3], *signed[4:]], KEY.public)
    with pytest.raises(LedgerError, match=r"^entry 4: expected number 4, got 5"):
        read_book([*signed[:3], signed[4], signed[3], *signed[5:]], KEY.public)
    with pytest.raises(LedgerError, match=r"^entry 1: expected number 1, got 2"):
        read_book(signed[1:], KEY.public)
    other_past = list(forged(changed(values, 2, patients=161)))
    with pytest.raises(LedgerError, match=r"^entry 4: it does not follow the entry before it"):
        read_book([*signed[:3], *other_past[3:]], KEY.public)


def test_book_that_another_key_wrote_is_refused_when_the_key_is_known(values: list[Value]) -> None:
    stolen = list(forged(changed(values, 1, key=OTHER_KEY.public.text), OTHER_KEY))
    assert read_book(stolen).key == OTHER_KEY.public  # it can only vouch for itself
    with pytest.raises(LedgerError, match=r"^entry 1: expected the book of the key"):
        read_book(stolen, KEY.public)


def test_export_with_any_byte_changed_is_refused(export: Path) -> None:
    whole = export.read_bytes()
    for position in range(len(whole)):
        for flip in (0x01, 0x20, 0x80):
            export.write_bytes(whole[:position] + bytes([whole[position] ^ flip]) + whole[position + 1 :])
            with pytest.raises(LedgerError):
                check(export, KEY.public)
    export.write_bytes(whole)
    assert check(export, KEY.public).entries == 3


def test_export_cut_anywhere_is_refused(export: Path) -> None:
    whole = export.read_bytes()
    for length in range(len(whole)):
        export.write_bytes(whole[:length])
        with pytest.raises(LedgerError):
            check(export, KEY.public)


def test_export_cut_after_an_entry_says_where_it_ends(export: Path) -> None:
    export.write_bytes(b"".join(export.read_bytes().splitlines(keepends=True)[:2]))
    with pytest.raises(LedgerError, match="ends after entry 2 without its signed trailer"):
        check(export, KEY.public)


def test_export_with_entries_left_out_before_the_trailer_is_refused(export: Path) -> None:
    lines = export.read_bytes().splitlines(keepends=True)
    export.write_bytes(b"".join([*lines[:2], lines[-1]]))
    with pytest.raises(LedgerError, match="line 3: the trailer promises 3 entries, the export holds 2"):
        check(export, KEY.public)


def test_export_with_something_after_the_trailer_is_refused(export: Path) -> None:
    lines = export.read_bytes().splitlines(keepends=True)
    export.write_bytes(b"".join([*lines, lines[0]]))
    with pytest.raises(LedgerError, match="line 5: something follows the trailer"):
        check(export, KEY.public)


def test_file_with_any_entry_changed_is_refused_by_entry(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    granted_ledger(path).close()
    connection = sqlite3.connect(path, isolation_level=None)
    (trigger,) = connection.execute("SELECT sql FROM sqlite_schema WHERE name = 'entry_unchanged'").fetchone()
    for number, data, signature in connection.execute("SELECT * FROM entry").fetchall():
        for column, value in (("bytes", data), ("signature", signature)):
            middle = len(value) // 2
            tampered = value[:middle] + bytes([value[middle] ^ 1]) + value[middle + 1 :]
            connection.execute("DROP TRIGGER entry_unchanged")
            connection.execute(f"UPDATE entry SET {column} = ? WHERE number = ?", (tampered, number))  # noqa: S608
            connection.execute(trigger)
            with pytest.raises(LedgerError, match=f"entry {number}: "):
                check(path, KEY.public)
            connection.execute("DROP TRIGGER entry_unchanged")
            connection.execute(f"UPDATE entry SET {column} = ? WHERE number = ?", (value, number))  # noqa: S608
            connection.execute(trigger)
    connection.close()
    assert check(path, KEY.public).entries == 3


def test_file_and_export_say_the_same(story: Path, tmp_path: Path) -> None:
    with Ledger.open(story, KEY) as ledger:
        (tmp_path / "export.jsonl").write_bytes(b"".join(ledger.export_lines()))
    from_file, from_export = check(story, None), check(tmp_path / "export.jsonl", None)
    assert (from_file.form, from_export.form) == ("sqlite", "export")
    different = {"file", "form"}
    assert from_file.model_dump(exclude=different) == from_export.model_dump(exclude=different)


def test_file_is_only_read(story: Path) -> None:
    before = {path.name: path.read_bytes() for path in story.parent.iterdir()}
    check(story, KEY.public)
    assert {path.name: path.read_bytes() for path in story.parent.iterdir()} == before


def test_file_in_use_is_read_up_to_its_last_entry(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with granted_ledger(path) as ledger:
        ledger.refuse("a", "test", "a refusal")
        assert check(path, KEY.public).head == ledger.head.hash


def test_file_of_a_killed_site_is_read_up_to_its_last_entry(tmp_path: Path) -> None:
    script = """
import os, signal, sys
from pathlib import Path
from tests.privacy.ledger_makers import granted_ledger
ledger = granted_ledger(Path(sys.argv[1]))
os.kill(os.getpid(), signal.SIGKILL)
"""
    path = tmp_path / "ledger.sqlite"
    killed = subprocess.run([sys.executable, "-c", script, path], cwd=ROOT)
    assert killed.returncode == -signal.SIGKILL
    assert (tmp_path / "ledger.sqlite-wal").stat().st_size > 0
    assert check(path, KEY.public).entries == 3


def run(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", "from privacy.audit.cli import main; main()", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )


def test_verify_prints_the_budget_of_every_population(story: Path) -> None:
    done = run("verify", story)
    assert (done.returncode, done.stderr) == (0, "")
    for line in (
        "site         north",
        "key from the ledger itself: compare it with what the site gave you",
        "complete     up to entry 12, written at 2026-03-02T08:11:00Z",
        "population   breast-2026",
        "granted    epsilon 3, delta 0.001, kept at order 8",
        "rounds reserved and not settled, counted in full: 1",
    ):
        assert line in done.stdout


def test_verify_with_the_sites_key_prints_one_json_document(story: Path) -> None:
    result = CliRunner().invoke(cli, ["verify", str(story), "--json", "--key", KEY.public.text])
    found = json.loads(result.stdout)
    assert (found["site"], found["key_given"], found["entries"]) == ("north", True, 12)
    (budget,) = found["populations"]
    assert budget["spent"] + budget["left"] == budget["limit"]
    assert budget["epsilon_granted"] == 3


def test_verify_of_a_wrong_book_is_one_sentence_and_the_documented_exit_code(export: Path) -> None:
    export.write_bytes(export.read_bytes().replace(DATA.encode(), DATA[::-1].replace("1", "5").encode()))
    done = run("verify", export)
    assert (done.returncode, done.stdout) == (LedgerError.exit_code, "")
    assert done.stderr.startswith("consilium-audit: entry 2: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"hello\n",
        b"null\n",
        b"[" * 100_000 + b"\n",
        b'{"entry":1,"signature":1}\n',
        b'{"entry":{"version":1e400},"signature":""}\n',
        b'{"signature":"","trailer":{}}\n',
        b"\xff\xfe\n",
        b"SQLite format 3\0 and nothing else",
        bytes(range(256)) * 20,
    ],
)
def test_verify_of_anything_else_is_a_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "book"
    path.write_bytes(content)
    with pytest.raises(LedgerError):
        check(path, None)


@pytest.mark.parametrize("path", ["missing", "."])
def test_verify_of_no_file_is_a_sentence(tmp_path: Path, path: str) -> None:
    with pytest.raises(LedgerError, match="cannot be read"):
        check(tmp_path / path, None)


def test_verify_with_a_key_that_is_none_is_wrong_usage(story: Path) -> None:
    result = CliRunner().invoke(cli, ["verify", str(story), "--key", "abc"])
    assert result.exit_code == 2
    assert "43 base64url characters" in result.stderr


def test_audit_starts_without_the_heavy_libraries() -> None:
    heavy = {"torch", "flwr", "dp_accounting", "numpy", "pandas"}
    code = f"import privacy.audit.cli, sys; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == "set()\n"


def test_documented_example_is_a_book_that_holds(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "ledger.md").read_text()
    example = tmp_path / "example.jsonl"
    example.write_text(text.split("```jsonl\n")[1].split("```")[0])
    found = check(example, PublicKey.from_text(text.split("key\n`")[1][:43]))
    (budget,) = found.populations
    assert (budget.limit, budget.spent, budget.epsilon_spent) == (2443772287, 31215267, 0.5875)
    for figure in (budget.limit, budget.spent, budget.epsilon_spent):
        assert str(figure) in text.split("## Events and charges")[1]


def test_documented_kinds_are_those_of_the_code() -> None:
    table = (ROOT / "docs" / "ledger.md").read_text().split("## Kinds")[1].split("## Events")[0]
    rows = [line.split("|") for line in table.splitlines() if line.startswith("| `")]
    assert [row[1].strip(" `") for row in rows] == list(BODIES)
    for row in rows:
        assert set(re.findall(r"`([a-z_]+)`", row[3])) - {"null"} == set(BODIES[row[1].strip(" `")].model_fields)
