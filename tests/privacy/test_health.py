"""Lines of a check: each says what to do, and a check that fails is a line."""

from collections.abc import Iterator

import pytest
from pydantic import ValidationError

from privacy.errors import LedgerError, SiteHealthError
from privacy.health import Health, Light, Line, amber, green, print_health, red, run_checks


def make(*lines: Line) -> Health:
    return Health(program="p", program_version="0", subject="ash", time="2026-01-01T00:00:00Z", lines=lines)


def test_line_that_is_not_green_names_the_next_step() -> None:
    with pytest.raises(ValidationError, match="names no next step"):
        red("disk", "full", "")
    assert green("disk", "room").step == ""


def test_red_line_is_an_error_that_names_it_and_amber_is_not() -> None:
    make(green("a", "x"), amber("b", "x", "y")).require_no_red(SiteHealthError)
    with pytest.raises(SiteHealthError, match="2 of 3 checks are red: c, d"):
        make(green("a", "x"), red("c", "x", "y"), red("d", "x", "y")).require_no_red(SiteHealthError)


def test_check_that_fails_is_a_red_line_and_hides_no_other() -> None:
    def refuse() -> Iterator[Line]:
        yield green("first", "before it fails")
        raise LedgerError("the ledger is damaged; restore it")

    def break_() -> Iterator[Line]:
        yield from ()
        raise ValueError("record 7 holds 'Ann'")

    def miss() -> Iterator[Line]:
        with open("/none/such"):
            yield green("never", "")

    lines = list(run_checks([("a", refuse), ("b", break_), ("c", miss), ("d", lambda: [green("d", "fine")])]))
    assert [(line.check, line.light) for line in lines] == [
        ("first", Light.GREEN), ("a", Light.RED), ("b", Light.RED), ("c", Light.RED), ("d", Light.GREEN),
    ]  # fmt: skip
    assert lines[1].found == "the ledger is damaged; restore it"
    assert lines[2].found == "the check itself failed (ValueError)"
    assert lines[3].found == "/none/such: No such file or directory"


def test_table_has_the_step_under_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_health(make(green("name", "found"), red("ledger", "damaged", "restore it")), as_json=False)
    assert capsys.readouterr().out.splitlines() == [
        "green  name    found",
        "red    ledger  damaged",
        "               -> restore it",
    ]
