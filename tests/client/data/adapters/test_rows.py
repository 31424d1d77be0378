"""Every value of a typed source has one word, the same as in a text file; an identifier keeps what it is."""

import datetime
import math
import uuid
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.data.adapters.rows import UnusableValueError, Wanted, write_rows, write_word
from privacy.errors import DataError

PARIS = datetime.timezone(datetime.timedelta(hours=1))


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (None, ""),
        (float("nan"), ""),
        (Decimal("NaN"), ""),
        (" gro\u0308ß ", "größ"),
        (12, "12"),
        (np.int64(-3), "-3"),
        (12.0, "12"),
        (0.1, "0.1"),
        (np.float32(0.1), "0.1"),
        (1e22, "1e+22"),
        (Decimal("12.50"), "12.5"),
        (Decimal("1E+3"), "1000"),
        (Decimal("100"), "100"),
        (math.inf, "inf"),
        (True, "true"),
        (np.bool_(False), "false"),
        (datetime.date(2024, 3, 1), "2024-03-01"),
        (datetime.datetime(2024, 3, 1), "2024-03-01"),
        (datetime.datetime(2024, 3, 1, 14, 30), "2024-03-01T14:30:00"),
        (datetime.datetime(2024, 3, 1, tzinfo=PARIS), "2024-03-01T00:00:00+01:00"),
        (datetime.time(7, 5), "07:05:00"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    ],
)
def test_value_has_its_word(value: Any, word: str) -> None:
    assert write_word(value) == word


def test_number_is_written_with_the_decimal_mark_of_its_source() -> None:
    assert [write_word(value, ",") for value in (12.5, Decimal("0.250"), 3, 4.0)] == ["12,5", "0,25", "3", "4"]


@pytest.mark.parametrize("value", [12.0, 12.5, np.float32(7), Decimal("12.0"), Decimal("1E+3")])
def test_identifier_with_a_point_has_no_word(value: Any) -> None:
    with pytest.raises(UnusableValueError, match="store it as text"):
        write_word(value, is_id=True)


@pytest.mark.parametrize("value", [b"a", [1], {"a": 1}, datetime.timedelta(1)])
def test_value_of_another_type_has_no_word(value: Any) -> None:
    with pytest.raises(UnusableValueError, match="expected text, a number, a date, or yes or no"):
        write_word(value)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_word_of_a_number_is_the_same_number(number: float) -> None:
    assert float(write_word(number)) == number


def test_rows_with_a_value_that_has_no_word_are_reported_and_left_out() -> None:
    problems = list[tuple[str, int, str]]()
    rows = [("a", 1.5), (2.0, b""), ("c", 3)]
    words, places = write_rows(
        rows,
        [7, 8, 9],
        ["id", "n"],
        Wanted(("id", "n"), ids=frozenset(["id"])),
        ".",
        lambda *each: problems.append(each),
    )
    assert (words, places) == ({"id": ["a", "c"], "n": ["1.5", "3"]}, [7, 9])
    assert [(place, column) for _, place, column in problems] == [(8, "id")]


def test_optional_column_may_be_absent_and_another_may_not() -> None:
    wanted = Wanted(("a", "b"), optional=frozenset(["b"]))
    assert wanted.list_present(["x", "a"]) == ["a"]
    with pytest.raises(DataError, match="lacks 1 column of the mapping: a; did you mean 'A' for 'a'"):
        wanted.list_present(["A", "b"])
