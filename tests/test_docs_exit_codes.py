"""``docs/exit-codes.md`` says what the program does: every code, once, with the words of ``privacy/errors.py``."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from privacy import command_line, errors
from privacy.errors import CoordinatorError, Error, ProtocolError, SiteError, StudyError

RANGES = {
    StudyError: range(10, 20),
    SiteError: range(20, 40),
    CoordinatorError: range(40, 60),
    ProtocolError: range(60, 80),
}


def kinds() -> Iterator[type[Error]]:
    """Every error that ``privacy/errors.py`` defines."""
    for value in vars(errors).values():
        if isinstance(value, type) and issubclass(value, Error):
            yield value


@pytest.fixture(scope="module")
def rows(repository: Path) -> list[list[str]]:
    """The page's table rows, as cells."""
    text = (repository / "docs" / "exit-codes.md").read_text(encoding="utf-8")
    return [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in text.splitlines()
        if re.match(r"\| \d", line)
    ]


def test_every_error_has_a_row_with_its_code_and_meaning(rows: list[list[str]]) -> None:
    written = {name: (int(code), meaning) for code, name, meaning in rows if name.endswith("Error")}
    stated = {
        kind.__name__: (kind.exit_code, str(kind.__doc__).splitlines()[0].replace("``", "`"))
        for kind in kinds()
        if kind is not Error
    }
    assert written == stated


def test_every_other_code_has_a_row(rows: list[list[str]]) -> None:
    others = {int(code) for code, name, _ in rows if not name.endswith("Error")}
    assert others == {0, command_line.DEFECT, 2, command_line.OUTPUT_LOST, command_line.INTERRUPTED}
    assert Error.exit_code == command_line.DEFECT


def test_codes_are_unique_and_rise(rows: list[list[str]]) -> None:
    codes = [int(code) for code, _, _ in rows]
    assert len(codes) == len(set(codes))
    assert len({kind.exit_code for kind in kinds()}) == len(list(kinds()))
    assert codes[5:] == sorted(codes[5:])


def test_codes_lie_in_the_range_of_who_must_act() -> None:
    for kind in kinds():
        for family, codes in RANGES.items():
            if issubclass(kind, family):
                assert kind.exit_code in codes, kind
