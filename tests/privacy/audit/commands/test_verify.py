"""The auditor's tool against honest ledgers, and against every way to change one."""

import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from privacy.accounting.epsilon import compute_renyi_limit
from privacy.audit.check_ledger import check_ledger
from privacy.audit.cli import cli
from privacy.audit.report.findings import list_findings_in_entries
from privacy.audit.report.timeline import Timeline
from privacy.errors import LedgerError
from privacy.ledger import Ledger
from privacy.ledger.replay import replay
from tests.privacy.ledger_makers import (
    CHANGED_DATA,
    DATA,
    KEY,
    OTHER_KEY,
    PATIENTS,
    POPULATION,
    TERMS,
    WITNESS,
    Value,
    changed,
    clock,
    countersigned,
    forged,
    granted_ledger,
    values_of,
    write_every_kind,
    write_story,
)

ROOT = Path(__file__).parents[4]


@pytest.fixture(scope="module")
def timeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("story") / "ledger.sqlite"
    write_story(path)
    return path


@pytest.fixture(scope="module")
def every_kind(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("every-kind") / "ledger.sqlite"
    write_every_kind(path)
    return path


@pytest.fixture(scope="module")
def values(timeline: Path) -> list[Value]:
    return values_of(timeline)


@pytest.fixture
def export(tmp_path: Path) -> Path:
    path = tmp_path / "export.jsonl"
    with granted_ledger(tmp_path / "ledger.sqlite") as ledger:
        path.write_bytes(b"".join(ledger.export_lines()))
    return path


@pytest.fixture
def witnessed_export(tmp_path: Path) -> Path:
    """A small ledger of the kinds that carry signatures of others: checkpoint, recover, key."""
    path, look = tmp_path / "ledger.sqlite", clock()
    with Ledger.create(path, KEY, "north", look) as ledger:
        ledger.approve(TERMS, "data protection")
        ledger.record_checkpoint(countersigned(ledger), WITNESS.public)
    backup = path.read_bytes()
    with Ledger.open(path, KEY, look) as ledger:
        ledger.record_refusal("a", "test", "lost")
        lost = countersigned(ledger)
    path.write_bytes(backup)
    with Ledger.open(path, KEY, look) as ledger:
        ledger.recover(lost, WITNESS.public)
        ledger.change_key(OTHER_KEY)
        ledger.record_checkpoint(countersigned(ledger), WITNESS.public)
        export = tmp_path / "witnessed.jsonl"
        export.write_bytes(b"".join(ledger.export_lines()))
    return export


def test_ledger_that_another_key_wrote_is_refused_when_the_key_is_known(values: list[Value]) -> None:
    stolen = list(forged(changed(values, 1, key=OTHER_KEY.public.text), OTHER_KEY))
    assert replay(stolen).key == OTHER_KEY.public  # it can only vouch for itself
    with pytest.raises(LedgerError, match=r"^expected the ledger of the key"):
        replay(stolen, KEY.public)


def test_export_with_any_byte_changed_is_refused(export: Path) -> None:
    whole = export.read_bytes()
    for position in range(len(whole)):
        for flip in (0x01, 0x20, 0x80):
            export.write_bytes(whole[:position] + bytes([whole[position] ^ flip]) + whole[position + 1 :])
            with pytest.raises(LedgerError):
                check_ledger(export, KEY.public)
    export.write_bytes(whole)
    assert check_ledger(export, KEY.public).entries == 3


def test_export_with_a_byte_of_a_witness_changed_is_refused(witnessed_export: Path) -> None:
    whole = witnessed_export.read_bytes()
    for position in range(0, len(whole), 3):
        flipped = whole[position] ^ (1 << position % 8)
        witnessed_export.write_bytes(whole[:position] + bytes([flipped]) + whole[position + 1 :])
        with pytest.raises(LedgerError):
            check_ledger(witnessed_export, KEY.public)
    witnessed_export.write_bytes(whole)
    assert check_ledger(witnessed_export, KEY.public).entries == 6


def test_export_of_every_kind_with_bytes_changed_here_and_there_is_refused(
    every_kind: Path, tmp_path: Path
) -> None:
    export = tmp_path / "export.jsonl"
    with Ledger.open(every_kind, OTHER_KEY) as ledger:
        whole = b"".join(ledger.export_lines())
    for position in range(0, len(whole), 53):
        flipped = whole[position] ^ (1 << position % 8)
        export.write_bytes(whole[:position] + bytes([flipped]) + whole[position + 1 :])
        with pytest.raises(LedgerError):
            check_ledger(export, KEY.public)


def test_export_cut_here_or_there_is_refused(witnessed_export: Path) -> None:
    whole = witnessed_export.read_bytes()
    for length in range(0, len(whole), 7):
        witnessed_export.write_bytes(whole[:length])
        with pytest.raises(LedgerError):
            check_ledger(witnessed_export, KEY.public)


@pytest.mark.parametrize(
    "change",
    [lambda data: data.replace(b"\n", b"\r\n"), lambda data: b"\xef\xbb\xbf" + data],
    ids=["line ends", "byte order mark"],
)
def test_export_that_an_editor_saved_again_says_the_same(export: Path, change: Callable[[bytes], bytes]) -> None:
    before = check_ledger(export, None)
    export.write_bytes(change(export.read_bytes()))
    assert (check_ledger(export, None).head, check_ledger(export, None).entries) == (before.head, before.entries)


def test_export_cut_after_an_entry_says_where_it_ends(export: Path) -> None:
    export.write_bytes(b"".join(export.read_bytes().splitlines(keepends=True)[:2]))
    with pytest.raises(LedgerError, match="ends after entry 2 without its signed trailer"):
        check_ledger(export, KEY.public)


def test_export_with_entries_left_out_before_the_trailer_is_refused(export: Path) -> None:
    lines = export.read_bytes().splitlines(keepends=True)
    export.write_bytes(b"".join([*lines[:2], lines[-1]]))
    with pytest.raises(LedgerError, match="line 3: the trailer promises 3 entries, the export holds 2"):
        check_ledger(export, KEY.public)


def test_export_with_something_after_the_trailer_is_refused(export: Path) -> None:
    lines = export.read_bytes().splitlines(keepends=True)
    export.write_bytes(b"".join([*lines, lines[0]]))
    with pytest.raises(LedgerError, match="line 5: something follows the trailer"):
        check_ledger(export, KEY.public)


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
            with pytest.raises(LedgerError, match=f": entry {number} breaks the rule"):
                check_ledger(path, KEY.public)
            connection.execute("DROP TRIGGER entry_unchanged")
            connection.execute(f"UPDATE entry SET {column} = ? WHERE number = ?", (value, number))  # noqa: S608
            connection.execute(trigger)
    connection.close()
    assert check_ledger(path, KEY.public).entries == 3


def test_file_and_export_say_the_same(timeline: Path, tmp_path: Path) -> None:
    with Ledger.open(timeline, KEY) as ledger:
        (tmp_path / "export.jsonl").write_bytes(b"".join(ledger.export_lines()))
    from_file, from_export = check_ledger(timeline, None), check_ledger(tmp_path / "export.jsonl", None)
    assert (from_file.form, from_export.form) == ("sqlite", "export")
    different = {"file", "form"}
    assert from_file.model_dump(exclude=different) == from_export.model_dump(exclude=different)


def test_file_is_only_read(timeline: Path) -> None:
    before = {path.name: path.read_bytes() for path in timeline.parent.iterdir()}
    check_ledger(timeline, KEY.public)
    assert {path.name: path.read_bytes() for path in timeline.parent.iterdir()} == before


def test_file_in_use_is_read_up_to_its_last_entry(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with granted_ledger(path) as ledger:
        ledger.record_refusal("a", "test", "a refusal")
        assert check_ledger(path, KEY.public).head == ledger.head.hash


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
    assert check_ledger(path, KEY.public).entries == 3


def run(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", "from privacy.audit.cli import main; main()", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )


def test_verify_prints_the_budget_of_every_population(timeline: Path) -> None:
    done = run("verify", timeline)
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


def test_verify_with_the_sites_key_prints_one_json_document(timeline: Path) -> None:
    result = CliRunner().invoke(cli, ["verify", str(timeline), "--json", "--key", KEY.public.typed])
    found = json.loads(result.stdout)
    assert (found["site"], found["key_given"], found["entries"]) == ("north", True, 12)
    (budget,) = found["populations"]
    (grant,) = budget["grants"]
    assert grant["spent"] + grant["set_aside"] + grant["left"] == grant["limit"]
    assert budget["epsilon_granted"] == 3


def test_verify_of_every_kind_says_what_was_seen_and_taken_over(every_kind: Path) -> None:
    done = run("verify", every_kind, "--key", KEY.public.typed)
    assert (done.returncode, done.stderr) == (0, "")
    for line in (
        f"key          {OTHER_KEY.public.typed} (as given)",
        "complete     up to entry 39, written at 2026-03-02T08:22:00Z",
        "newest witnessed head: entry 37",
        "from a backup; a lost ledger's totals up to its entry 10 are taken over",
        "granted    epsilon 3, delta 0.001, kept at order 8",
        "granted    epsilon 1, delta 0.0001, kept at order 32",
        "studies    4",
        "clock had been wrong: entry 39 is dated 2026-03-02T08:22:00Z, the one before it 2026-03-02T08:38:00Z. Ada",
    ):
        assert line in done.stdout


def test_verify_flags_a_grant_whose_delta_is_more_than_one_in_the_patients(tmp_path: Path) -> None:
    """160 patients when it was given; then the file grew to 400, of whom delta 0.005 is two."""
    with granted_ledger(tmp_path / "ledger.sqlite") as ledger:
        ledger.grant(POPULATION, 2.0, 0.0045, 8)
        assert check_ledger(tmp_path / "ledger.sqlite", None).attention == ()
        ledger.register_population(POPULATION, CHANGED_DATA, 400, 1, PATIENTS, "c" * 64, "id")
        flagged = check_ledger(tmp_path / "ledger.sqlite", None).attention
        assert [sentence.split(" on ")[0] for sentence in flagged] == ["The grant of epsilon 2 to breast-2026"]
        assert "delta 0.0045, 0.0055 with the grants before it, which is more than one in about 400" in flagged[0]
    done = run("verify", tmp_path / "ledger.sqlite")
    assert "attention\n  The grant of epsilon 2 to breast-2026" in done.stdout


def test_verify_flags_a_grant_that_a_site_should_never_have_made(values: list[Value]) -> None:
    forgery = changed(values, 3, delta=0.9, limit=compute_renyi_limit(3, 0.9, 8))
    timeline = Timeline()
    ledger_state = replay(forged(forgery), watch=timeline.apply)
    (flagged,) = list_findings_in_entries(ledger_state, timeline)
    assert "(entry 3) has delta 0.9 which is more than one in about 160 patients" in flagged


def test_verify_of_several_ledgers_reports_each_and_asks_each_for_its_own_key(
    timeline: Path, every_kind: Path
) -> None:
    result = CliRunner().invoke(cli, ["verify", str(timeline), str(every_kind), "--json"])
    found = json.loads(result.stdout)["ledgers"]
    assert [(each["file"], each["entries"]) for each in found] == [(str(timeline), 12), (str(every_kind), 39)]
    keys = ["--key", KEY.public.typed, "--key", OTHER_KEY.public.typed]
    assert CliRunner().invoke(cli, ["verify", str(timeline), str(every_kind), *keys]).exit_code == 0
    one = CliRunner().invoke(cli, ["verify", str(timeline), str(every_kind), *keys[:2]])
    assert one.exit_code == 2
    assert "2 ledgers and 1 keys: give one --key for each, or none" in one.stderr


def test_verify_of_several_ledgers_fails_with_the_one_that_is_wrong(timeline: Path, export: Path) -> None:
    export.write_bytes(export.read_bytes()[:-1])
    done = run("verify", timeline, export)
    assert (done.returncode, done.stdout) == (LedgerError.exit_code, "")
    assert str(export) in done.stderr


def test_verify_of_a_wrong_ledger_is_one_sentence_and_the_documented_exit_code(export: Path) -> None:
    export.write_bytes(export.read_bytes().replace(DATA.encode(), DATA[::-1].replace("1", "5").encode()))
    done = run("verify", export)
    assert (done.returncode, done.stdout) == (LedgerError.exit_code, "")
    assert done.stderr.startswith(f"consilium-audit: {export}: entry 2 breaks the rule 'signature': ")
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
    path = tmp_path / "ledger"
    path.write_bytes(content)
    with pytest.raises(LedgerError):
        check_ledger(path, None)


@pytest.mark.parametrize("path", ["missing", "."])
def test_verify_of_no_file_is_a_sentence(tmp_path: Path, path: str) -> None:
    with pytest.raises(LedgerError, match="cannot be read"):
        check_ledger(tmp_path / path, None)


def test_verify_with_a_key_that_is_none_is_wrong_usage(timeline: Path) -> None:
    result = CliRunner().invoke(cli, ["verify", str(timeline), "--key", "abc"])
    assert result.exit_code == 2
    assert "expected a key of 60 characters in groups of five (k1...), got 3 characters" in result.stderr


def test_audit_starts_without_the_heavy_libraries() -> None:
    heavy = {"torch", "flwr", "dp_accounting", "numpy", "pandas"}
    code = f"import privacy.audit.cli, sys; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == "set()\n"


# The head that the site gave over another channel ----------------------------------------------------------


def verified(*words: str) -> str:
    done = CliRunner().invoke(cli, ["verify", *words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return " ".join(done.output.split())


def test_verify_compares_the_head_for_the_auditor(export: Path) -> None:
    head = json.loads(verified(str(export), "--json"))["head"]
    assert f"{head} (as given)" in verified(str(export), "--head", head.upper())
    assert json.loads(verified(str(export), "--head", head, "--json"))["head_given"] == 3


def test_verify_of_an_older_head_says_what_it_does_not_vouch_for(export: Path) -> None:
    older = json.loads(export.read_text().splitlines()[2])["entry"]["previous"]
    assert "that of entry 2; nothing outside this file vouches for 1 later" in verified(
        str(export), "--head", older
    )


def test_verify_of_a_head_that_the_ledger_lacks_is_refused(export: Path) -> None:
    with pytest.raises(LedgerError, match=r"no entry has the hash f{64} that was given; its newest, entry 3, has"):
        verified(str(export), "--head", "f" * 64)


@pytest.mark.parametrize(("heads", "said"), [(("abc",), "64 hexadecimal digits"), (("a" * 64,) * 2, "one --head")])
def test_verify_with_a_head_that_is_none_is_wrong_usage(export: Path, heads: tuple[str, ...], said: str) -> None:
    words = [word for head in heads for word in ("--head", head)]
    done = CliRunner().invoke(cli, ["verify", str(export), *words])
    assert done.exit_code == 2
    assert said in done.output
