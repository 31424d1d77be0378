"""Times are read as the mapping says, and never guessed."""

import contextlib
import datetime
import os
import time
import zoneinfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.data.conversion.events.times import TimeReader, UnusableTimeError, find_zone

EPOCH = datetime.datetime(1970, 1, 1)
NEW_YORK = find_zone("America/New_York")


def read(word: str, *forms: str, zone: zoneinfo.ZoneInfo | None = None) -> datetime.datetime:
    return EPOCH + datetime.timedelta(seconds=TimeReader(forms or ("iso",), zone).read(word).second)


@pytest.mark.parametrize(
    ("word", "forms", "expected"),
    [
        ("2024-03-01", ("iso",), datetime.datetime(2024, 3, 1)),
        ("2024-03-01T14:30", ("iso",), datetime.datetime(2024, 3, 1, 14, 30)),
        ("2024-03-01 14:30:59.9", ("iso",), datetime.datetime(2024, 3, 1, 14, 30, 59)),
        ("03.04.2024", ("DD.MM.YYYY",), datetime.datetime(2024, 4, 3)),
        ("03.04.2024", ("MM.DD.YYYY",), datetime.datetime(2024, 3, 4)),
        ("1.4.2024 7:05", ("DD.MM.YYYY hh:mm",), datetime.datetime(2024, 4, 1, 7, 5)),
        ("36.5", ("hours",), datetime.datetime(1970, 1, 2, 12, 30)),
        ("-1", ("days",), datetime.datetime(1969, 12, 31)),
    ],
)
def test_time_is_read_in_its_form(word: str, forms: tuple[str, ...], expected: datetime.datetime) -> None:
    assert read(word, *forms) == expected


@pytest.mark.parametrize(
    ("word", "forms", "reason"),
    [
        ("2024", ("iso",), "has no day"),
        ("2024-03", ("iso",), "has no day"),
        ("2024-02-30", ("iso",), "not written"),
        ("03/04/2024", ("iso",), "not written"),
        ("2024-03-01T10:00:00Z", ("iso",), "name the hospital's time zone"),
        ("9999-12-31", ("iso",), "before 1850 or after 2149"),
        ("01.02.2024", ("DD.MM.YYYY", "MM.DD.YYYY"), "not written"),  # two days fit
        ("nan", ("days",), "not written"),
        ("1e300", ("days",), "not written"),
    ],
)
def test_time_in_another_form_is_refused(word: str, forms: tuple[str, ...], reason: str) -> None:
    with pytest.raises(UnusableTimeError, match=reason) as caught:
        read(word, *forms)
    assert word not in str(caught.value)


def test_time_with_an_offset_is_read_on_the_hospitals_clock() -> None:
    assert read("2024-07-01T16:00:00Z", zone=NEW_YORK) == datetime.datetime(2024, 7, 1, 12)
    assert read("2024-01-01T03:00:00+01:00", zone=NEW_YORK) == datetime.datetime(2023, 12, 31, 21)


@given(st.datetimes(datetime.datetime(1851, 1, 1), datetime.datetime(2149, 1, 1)), st.integers(-14 * 60, 14 * 60))
def test_offset_of_any_size_is_read_as_the_library_reads_it(moment: datetime.datetime, offset: int) -> None:
    written = moment.replace(microsecond=0, tzinfo=datetime.timezone(datetime.timedelta(minutes=offset)))
    expected = written.astimezone(NEW_YORK).replace(tzinfo=None)
    assert abs((read(written.isoformat(), zone=NEW_YORK) - expected).total_seconds()) < 1


def test_time_zone_of_the_machine_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    found = set()
    for zone in ("UTC", "Asia/Tokyo", "America/Los_Angeles"):
        monkeypatch.setitem(os.environ, "TZ", zone)
        time.tzset()
        found.add((read("2024-03-10T02:30:00"), read("2024-03-10T02:30:00Z", zone=NEW_YORK)))
    monkeypatch.undo()
    time.tzset()
    assert len(found) == 1


@pytest.mark.parametrize(
    ("word", "expected"), [("1950", (1950, 7, 1)), ("1950-03", (1950, 3, 15)), ("1950-03-02", (1950, 3, 2))]
)
def test_birth_without_its_day_is_in_the_middle(word: str, expected: tuple[int, int, int]) -> None:
    moment = TimeReader(("iso",), None).read_birth(word)
    assert EPOCH + datetime.timedelta(seconds=moment.second) == datetime.datetime(*expected)


@given(st.text(max_size=30), st.sampled_from(["iso", "DD.MM.YYYY", "MM/DD/YYYY hh:mm", "days", "minutes"]))
def test_any_text_is_a_time_or_a_reason(word: str, form: str) -> None:
    with contextlib.suppress(UnusableTimeError):
        assert -1e11 < TimeReader((form,), NEW_YORK).read(word).second < 1e11


def test_day_and_month_exchanged_are_doubted() -> None:
    reader = TimeReader(("DD/MM/YYYY",), None)
    for day in range(1, 13):
        reader.read(f"{day:02}/03/2024")
    with pytest.raises(UnusableTimeError):
        reader.read("03/25/2024")
    assert "exchanged" in reader.list_doubts()[0]
