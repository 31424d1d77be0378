"""Dates and texts of a table become the numbers that the contract says, and nothing else."""

import datetime
import hashlib
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.data.adapters.csv import Words, read_words
from client.data.encoding import encode_features
from client.data.site_data import read_data
from client.prediction.release_contract import name_features
from privacy.errors import DataError
from privacy.study import TableContract


def make_contract(scaled: str = "signed", **feature: Any) -> TableContract:
    return TableContract.model_validate(
        {
            "name": "ward",
            "patient": "id",
            "ranges_from": "made up",
            "scaled": scaled,
            "features": [{"name": "x", **feature}],
            "label": {"name": "ill", "positive": ["1"], "negative": ["0"]},
        }
    )


def encode(contract: TableContract, *words: str) -> Any:
    encoded = encode_features(contract, Words({"x": list(words)}, range(len(words)), "", ()))
    assert encoded.mistakes == ()
    return encoded.features


DAYS = {"kind": "date", "earliest": "2020-01-01", "latest": "2020-12-31"}


def test_days_of_a_range_are_scaled_and_clipped() -> None:
    words = ("2020-01-01", "2020-07-01", "2020-12-31", "2019-05-05", "", "2021-01-01")
    signed = encode(make_contract(**DAYS), *words)
    assert signed[:, 0].tolist() == pytest.approx([-1, 2 * 182 / 365 - 1, 1, -1, 0, 1])
    assert signed[:, 1].tolist() == [0, 0, 0, 0, 1, 0]
    unit = encode(make_contract("unit", **DAYS), *words)
    assert unit[:, 0].tolist() == pytest.approx([0, 182 / 365, 1, 0, 0.5, 1])
    counts = encode_features(make_contract(**DAYS), Words({"x": list(words)}, range(6), "", ())).counts
    assert (counts[0].missing, counts[0].below, counts[0].above) == (1, 1, 1)


@given(st.dates(datetime.date(1000, 1, 1)))
def test_month_and_day_are_a_place_on_a_circle(date: datetime.date) -> None:
    month = encode(make_contract(kind="date", taken="month"), date.isoformat())[0]
    angle = 2 * math.pi * (date.month - 1) / 12
    assert month.tolist() == pytest.approx([math.sin(angle), math.cos(angle), 0], abs=1e-6)
    day = encode(make_contract("unit", kind="date", taken="day_of_year"), date.isoformat())[0]
    days = (datetime.date(date.year, 12, 31) - datetime.date(date.year, 1, 1)).days + 1
    angle = 2 * math.pi * (date - datetime.date(date.year, 1, 1)).days / days
    assert day.tolist() == pytest.approx([(math.sin(angle) + 1) / 2, (math.cos(angle) + 1) / 2, 0], abs=1e-6)


def test_missing_date_is_the_middle_of_the_circle() -> None:
    assert encode(make_contract(kind="date", taken="month"), "?").tolist() == [[0, 0, 1]]


@pytest.mark.parametrize("word", ["01.03.2024", "2024-3-1", "2024-02-30", "2024-03-01T10:00", "20240301", "x"])
def test_what_is_no_date_is_a_mistake_with_its_line(tmp_path: Path, word: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f"id,x,ill\na,2024-03-01,1\nb,{word},0\n")
    with pytest.raises(DataError, match=re.escape("column 'x': 1 rows are not a date (year-month-day")):
        read_data(make_contract(**DAYS), path)
    mistakes = encode_features(make_contract(**DAYS), read_words(path, ["x"])).mistakes
    assert [place.number for place in mistakes[0].places] == [3]


def test_text_is_the_set_of_its_words_by_their_hash() -> None:
    contract = make_contract(kind="text", buckets=16)
    found = encode(contract, "Dyspno\u0308, NYHA-III dyspnö", "", "...")
    expected = np.zeros((3, 17))
    for word in ("dyspnö", "nyha", "iii"):
        expected[0, int(hashlib.sha256(word.encode()).hexdigest()[:16], 16) % 16] = 1
    expected[1, 16] = 1
    assert found.tolist() == expected.tolist()


def test_text_of_a_public_list_ignores_other_words() -> None:
    contract = make_contract(kind="text", words=["pain", "übung", "no"])
    assert encode(contract, "No chest PAIN, pain", "Übung").tolist() == [[1, 0, 1, 0], [0, 1, 0, 0]]
    assert contract.width == 4


@given(st.text(max_size=40), st.text(max_size=10))
def test_order_case_and_repetition_of_words_do_not_change_a_text(text: str, more: str) -> None:
    contract = make_contract(kind="text", buckets=32)
    assert (
        encode(contract, f"{text} {more} a").tolist()
        == encode(contract, f"a {more} {text} {text} {more.upper()}").tolist()
        or more.upper().casefold() != more.casefold()
    )


@pytest.mark.parametrize(
    ("feature", "sentence"),
    [
        ({"kind": "date"}, "name the public range: earliest and latest"),
        ({"kind": "date", "earliest": "2020-01-01", "latest": "2020-01-01"}, "expected earliest < latest"),
        ({"kind": "date", "taken": "month", "earliest": "2020-01-01"}, "taken: month has no range"),
        ({"kind": "text"}, "name either buckets or words"),
        ({"kind": "text", "buckets": 8, "words": ["a"]}, "name either buckets or words"),
        (
            {"kind": "text", "words": ["Pain", "chest pain"]},
            "expected single words in small letters, got Pain, chest",
        ),
        ({"kind": "text", "words": ["a", "a"]}, "listed twice"),
    ],
)
def test_column_with_a_mistake_is_refused(feature: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        make_contract(**feature)


@pytest.mark.parametrize(
    "feature",
    [
        DAYS,
        {"kind": "date", "taken": "day_of_year"},
        {"kind": "text", "buckets": 4},
        {"kind": "text", "words": ["a", "b"]},
    ],
)
def test_every_number_of_a_column_has_a_name(feature: dict[str, Any]) -> None:
    contract = make_contract(**feature)
    names = name_features(contract)
    assert len(set(names)) == contract.width == contract.list_inputs()[0].shape[0]
    assert encode(contract, "", "?").shape == (2, contract.width)
