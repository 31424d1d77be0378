"""Dates are read in the formats that the mapping names; exchanged days and months are noticed."""

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.data.conversion.dates import DateReader, check_format

FORMATS = {
    "iso": "%Y-%m-%d",
    "DD.MM.YYYY": "%d.%m.%Y",
    "MM/DD/YYYY": "%m/%d/%Y",
    "YYYYMMDD": "%Y%m%d",
    "DD-MON-YYYY": "%d-%b-%Y",
    "MON DD, YYYY": "%B %d, %Y",
}


@pytest.mark.parametrize(
    ("word", "form", "expected"),
    [
        ("2024-03-01", "iso", (2024, 3, 1)),
        ("2024-03-01T14:30", "iso", (2024, 3, 1, 14, 30)),
        ("2024-03-01 14:30:15.25+01:00", "iso", (2024, 3, 1, 14, 30, 15, 250000)),
        ("2024-03-01T14:30:00Z", "iso", (2024, 3, 1, 14, 30)),
        ("1.3.2024", "DD.MM.YYYY", (2024, 3, 1)),
        ("01.03.2024", "DD.MM.YYYY", (2024, 3, 1)),
        ("1.3.2024 7:05", "DD.MM.YYYY hh:mm", (2024, 3, 1, 7, 5)),
        ("20240301", "YYYYMMDD", (2024, 3, 1)),
        ("20240301T070503", "YYYYMMDDThhmmss", (2024, 3, 1, 7, 5, 3)),
        ("2024031", "YYYYMMDD", None),
        ("1-MAR-2024", "DD-MON-YYYY", (2024, 3, 1)),
        ("31.04.2024", "DD.MM.YYYY", None),
        ("29.02.2023", "DD.MM.YYYY", None),
        ("01.03.24", "DD.MM.YYYY", None),
        ("2024-3-1", "iso", None),
        ("2024-W09-5", "iso", None),
        ("20240301", "iso", None),
        ("01.03.2024 x", "DD.MM.YYYY", None),
        ("", "iso", None),
    ],
)
def test_date_is_read_only_as_its_format_says(word: str, form: str, expected: tuple[int, ...] | None) -> None:
    found = DateReader([form]).read(word)
    assert found == (None if expected is None else datetime.datetime(*expected))  # type: ignore[arg-type]


@given(st.dates(datetime.date(1000, 1, 1)), st.sampled_from(sorted(FORMATS)))
def test_date_that_the_standard_library_writes_is_read_back(date: datetime.date, form: str) -> None:
    word = date.strftime(FORMATS[form])
    reader = DateReader([form])
    assert reader.read(word) == datetime.datetime.combine(date, datetime.time())
    assert reader.list_doubts() == []


@given(st.text(max_size=12))
def test_any_text_gives_a_date_or_none(word: str) -> None:
    found = DateReader(["DD.MM.YYYY", "iso", "DD-MON-YYYY hh:mm"]).read(word)
    assert found is None or isinstance(found, datetime.datetime)


def test_exchanged_days_and_months_put_the_column_in_doubt() -> None:
    reader = DateReader(["MM/DD/YYYY"])
    assert [reader.read(word) is None for word in ("03/04/2024", "25/04/2024", "99/99/2024")] == [False, True, True]
    (doubt,) = reader.list_doubts()
    assert doubt.startswith(
        "1 dates are none in the format that the mapping names, and would be with day and month"
    )


def test_date_that_fits_two_formats_with_different_days_is_none() -> None:
    reader = DateReader(["DD/MM/YYYY", "MM/DD/YYYY"])
    assert reader.read("03/04/2024") is None
    assert reader.read("04/04/2024") == datetime.datetime(2024, 4, 4)
    assert reader.read("25/04/2024") == datetime.datetime(2024, 4, 25)
    assert reader.list_doubts() == []


def test_spreadsheet_that_exchanged_what_it_could_is_noticed() -> None:
    """Of 01/02 to 28/02, an English spreadsheet takes 01/02 to 12/02 for January to December, and leaves the rest."""
    reader = DateReader(["iso", "DD/MM/YYYY"])
    for day in range(1, 29):
        word = f"2024-{day:02}-02" if day <= 12 else f"{day:02}/02/2024"
        assert reader.read(word) is not None
    assert reader.list_doubts() == []  # all stored dates are of the 2nd: too few different days
    for day in range(1, 13):
        reader.read(f"2024-05-{day:02}")
    (doubt,) = reader.list_doubts()
    assert "a spreadsheet has taken the first ones for month and day" in doubt


@pytest.mark.parametrize(
    "form", ["DD.MM.YY", "DD.MM", "YYYY-MM", "YYYY-MM-DD-MM", "yyyy-mm-dd", "MON MM DD YYYY", ""]
)
def test_format_that_says_no_day_is_refused(form: str) -> None:
    with pytest.raises(ValueError, match=r"expected iso, or a format|stands twice|knows the parts"):
        check_format(form)
