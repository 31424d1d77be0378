"""Whoever wrote a ledger, an export or a testimony chose every byte of it: the auditor's program names what is wrong.

No file makes it say that it has a defect. The forgers here hold the site's key, so that hashes and signatures hold.
"""

import copy
import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from privacy.audit.cli import cli
from privacy.canonical import compute_sha256, to_canonical
from privacy.errors import Error, LedgerError
from privacy.ledger.export import format_export
from privacy.ledger.signing import LABEL, SignedEntry
from privacy.ledger.testimony import HeadSeen, Opening, RoundSeen, StudySeen, VoidSeen, read_testimony
from privacy.ledger.testimony import format_testimony as lines_of
from tests.privacy.ledger_makers import (
    KEY,
    OTHER_KEY,
    POPULATION,
    TERMS,
    WITNESS,
    Value,
    countersigned,
    granted_ledger,
    values_of,
    write_every_kind,
)

ODD: tuple[Any, ...] = (
    None, True, 0, -1, 1e308, 5e-324, 2**53 - 1, 1.5, -0.0, "", "x" * 3000, "é", "none", "\x1b[2J", "0" * 64,
    [], {}, [[]], {"a": 1}, [None], [1] * 22, {"kind": "gaussian"}, {"a": {"b": {"c": []}}},
)  # fmt: skip
LINES = (
    b'{"entry":{"\\ud800":1},"signature":"' + b"A" * 86 + b'"}\n',
    b'{"entry":[],"signature":"' + b"A" * 86 + b'"}\n',
    b'{"entry":{"body":[],"kind":[],"number":1},"signature":"' + b"A" * 86 + b'"}\n',
    b'{"entry":' + b"[" * 2000 + b"]" * 2000 + b',"signature":"A"}\n',
    b'{"signature":7,"trailer":[]}\n',
    b'{"signature":"","trailer":{"count":1e400,"head":""}}\n',
    b'{"signature":"\\ud800","trailer":{}}\n',
    b'{"entry":{"number":' + b"9" * 5000 + b"}}\n",
    b"[]\n",
    b"\n",
    b"\xff\n",
    b"7",
)


@pytest.fixture(scope="module")
def values(tmp_path_factory: pytest.TempPathFactory) -> list[Value]:
    path = tmp_path_factory.mktemp("hostile") / "ledger.sqlite"
    write_every_kind(path)
    return values_of(path, OTHER_KEY)


def places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a JSON value."""
    yield place
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in inside:
        yield from places(inner, (*place, name))


def with_odd(values: list[Value], number: int, place: tuple[Any, ...], odd: Any) -> list[Any]:
    """The ledger's entries with another value in one place."""
    changed: list[Any] = copy.deepcopy(values)
    target, last = changed, number
    for name in place:
        target, last = target[last], name
    target[last] = odd
    return changed


def signed(values: list[Any]) -> bytes:
    """An export whose forger chains and signs whatever it writes."""
    previous, key, entries = "0" * 64, KEY, []
    for value in values:
        chained = isinstance(value, dict) and "previous" in value
        data = to_canonical({**value, "previous": previous} if chained else value)
        entries.append(SignedEntry(data, key.sign(LABEL + data)))
        previous = compute_sha256(data)
        if isinstance(value, dict) and value.get("kind") == "key":
            key = OTHER_KEY
    return b"".join(format_export(entries, key))


def asked(path: Path) -> Iterator[Result]:
    """What each command says of a file."""
    for command in (
        ["verify", str(path)],
        ["report", str(path), "--force", "-o", str(path.with_suffix(".html"))],
        ["whatif", str(path), "--population", POPULATION, "--like", "first"],
        ["reconcile", str(path), str(path)],
    ):
        yield CliRunner().invoke(cli, command)


def require_sentence(result: Result) -> None:
    """It is done, or ends with an error of ours or a mistake in the command: never by a defect."""
    expected = result.exception is None or isinstance(result.exception, SystemExit | Error)
    assert expected, (result.exception, result.exc_info)


def test_every_field_of_every_kind_may_be_anything(values: list[Value], tmp_path: Path) -> None:
    """Fields drawn at random, each with an odd value under a right signature: the ledger verifies or is refused."""
    path, choice = tmp_path / "export.jsonl", random.Random(1)
    everywhere = [(number, place) for number, value in enumerate(values) for place in places(value)]
    for number, place in choice.sample(everywhere, 50):
        path.write_bytes(signed(with_odd(values, number, place, choice.choice(ODD))))
        verified, *others = asked(path)
        require_sentence(verified)
        if isinstance(verified.exception, Error):
            assert verified.exception.exit_code == LedgerError.exit_code
            assert str(path) in str(verified.exception)
        for result in others if verified.exception is None else ():
            require_sentence(result)


@pytest.mark.parametrize("line", LINES, ids=range(len(LINES)))
def test_line_that_nobody_would_write_is_named(values: list[Value], tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "export.jsonl"
    whole = signed(values).splitlines(keepends=True)
    path.write_bytes(b"".join([*whole[:3], line, *whole[4:]]))
    for result in asked(path):
        assert isinstance(result.exception, LedgerError | SystemExit), result.exc_info
    with pytest.raises(LedgerError, match=r"export\.jsonl: (line 4: |entry 4 )"):
        raise CliRunner().invoke(cli, ["verify", str(path)]).exception or AssertionError


def test_bytes_changed_anywhere_are_a_sentence(values: list[Value], tmp_path: Path) -> None:
    path, choice, whole = tmp_path / "export.jsonl", random.Random(2), signed(values)
    for _ in range(100):
        changed = bytearray(whole)
        for _ in range(choice.randint(1, 3)):
            at = choice.randrange(len(changed))
            changed[at : at + choice.randint(0, 2)] = choice.randbytes(choice.randint(0, 4))
        path.write_bytes(bytes(changed))
        require_sentence(CliRunner().invoke(cli, ["verify", str(path)]))


@pytest.mark.parametrize("entry", [b"\xff", b"{}", b'{"\\ud800":1}', b"[" * 5000])
@pytest.mark.parametrize("signature", [b"", b"x" * 64])
def test_ledger_file_with_other_bytes_in_an_entry_is_named(tmp_path: Path, entry: bytes, signature: bytes) -> None:
    path = tmp_path / "ledger.sqlite"
    granted_ledger(path).close()
    with closing(sqlite3.connect(path)) as connection, connection:
        triggers = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        try:
            connection.execute("UPDATE entry SET bytes = ?, signature = ? WHERE number = 2", (entry, signature))
        except sqlite3.IntegrityError:  # its own rules refuse a signature of another length
            connection.execute("UPDATE entry SET bytes = ? WHERE number = 2", (entry,))
        for _, statement in triggers:
            connection.execute(statement)
    result = CliRunner().invoke(cli, ["verify", str(path)])
    assert isinstance(result.exception, LedgerError), result.exc_info
    assert "entry 2 " in str(result.exception)


@pytest.fixture(scope="module")
def testimony(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    with granted_ledger(tmp_path_factory.mktemp("testimony") / "ledger.sqlite") as ledger:
        head = countersigned(ledger)
    site = KEY.public.text
    items: list[Opening | StudySeen | RoundSeen | VoidSeen | HeadSeen] = [
        Opening(witness="coordinator", federation="wood", key=WITNESS.public.text),
        StudySeen(study="first", terms=TERMS, sites={"north": site}),
        RoundSeen(
            study="first", round=1, attempt=1, base=0, trained=True, heads={"north": head.head.statement.hash}
        ),
        VoidSeen(study="first", round=2),
        HeadSeen(countersigned=head),
    ]
    return b"".join(lines_of(items, WITNESS))


def changes() -> Iterator[Callable[[bytes], bytes]]:
    choice = random.Random(3)

    def changed(at: float, width: int, new: bytes) -> Callable[[bytes], bytes]:
        return lambda data: data[: int(at * len(data))] + new + data[int(at * len(data)) + width :]

    for _ in range(60):
        yield changed(choice.random(), choice.randint(0, 3), choice.randbytes(choice.randint(0, 4)))
    for line in LINES:
        yield lambda data, line=line: data.splitlines(keepends=True)[0] + line  # type: ignore[misc]


def test_testimony_with_anything_in_it_is_a_sentence(testimony: bytes, tmp_path: Path) -> None:
    path = tmp_path / "testimony.jsonl"
    path.write_bytes(testimony)
    assert read_testimony(path).opening.federation == "wood"
    for change in changes():
        path.write_bytes(change(testimony))
        if path.read_bytes() == testimony:
            continue
        with pytest.raises(LedgerError, match=r"testimony\.jsonl: "):
            read_testimony(path)
