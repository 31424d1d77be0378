"""The exported module encodes columns exactly as training does, for every kind of column."""

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.small_study import CONTRACT, small_terms
from client.data.table import read_table_contents
from client.prediction.export.exported_model import encode_columns, name_missing
from privacy.study import TableContract, Text, parse_terms

FEATURES: list[dict[str, Any]] = [
    {"kind": "number", "name": "age", "low": 20, "high": 80},
    {"kind": "category", "name": "sex", "values": ["f", "m"]},
    {"kind": "date", "name": "seen", "earliest": "2020-01-01", "latest": "2024-12-31"},
    {"kind": "date", "name": "born_in", "taken": "month"},
    {"kind": "date", "name": "fell_ill", "taken": "day_of_year"},
    {"kind": "text", "name": "note", "words": ["pain", "fever"]},
]
ROWS = [
    ("50", "f", "2022-06-01", "1980-01-31", "2024-02-29", "Pain, and fever"),
    ("900", "m", "1999-01-01", "1980-12-01", "2023-12-31", "none of it"),
    ("?", "?", "?", "?", "?", "?"),
]


def count_days(word: str) -> float:
    return np.nan if word == "?" else (datetime.date.fromisoformat(word) - datetime.date(1970, 1, 1)).days


def find_month(word: str) -> float:
    return np.nan if word == "?" else (datetime.date.fromisoformat(word).month - 1) / 12


def find_day(word: str) -> float:
    if word == "?":
        return np.nan
    date = datetime.date.fromisoformat(word)
    days = (datetime.date(date.year + 1, 1, 1) - datetime.date(date.year, 1, 1)).days
    return (date - datetime.date(date.year, 1, 1)).days / days


@pytest.mark.parametrize("scaled", ["signed", "unit"])
def test_columns_are_encoded_as_in_training(scaled: str, tmp_path: Path) -> None:
    value = small_terms().model_dump(mode="json")
    value["data"] = {**CONTRACT, "features": FEATURES, "scaled": scaled, "label": value["data"]["label"]}
    contract = parse_terms(value).data
    assert isinstance(contract, TableContract)
    path = tmp_path / "rows.csv"
    lines = [f'p{n},{",".join(row[:-1])},"{row[-1]}",no' for n, row in enumerate(ROWS)]
    path.write_text("\n".join(["id,age,sex,seen,born_in,fell_ill,note,ill", *lines]) + "\n")
    expected = read_table_contents(contract, path)
    assert expected.mistakes == ()
    ages, sexes, seen, born, ill, notes = zip(*ROWS, strict=True)
    note = contract.features[-1]
    assert isinstance(note, Text)
    places = [note.find_places(text) for text in notes]
    columns = {
        "age": torch.tensor([np.nan if word == "?" else float(word) for word in ages], dtype=torch.float64),
        "sex": torch.tensor([{"f": 0, "m": 1}.get(word, -1) for word in sexes]),
        "seen": torch.tensor([count_days(word) for word in seen], dtype=torch.float64),
        "born_in": torch.tensor([find_month(word) for word in born], dtype=torch.float64),
        "fell_ill": torch.tensor([find_day(word) for word in ill], dtype=torch.float64),
        "note": torch.tensor([[place in own for place in range(note.places)] for own in places]),
        name_missing("note"): torch.tensor([text == "?" for text in notes]),
    }
    found = encode_columns(contract, columns)
    np.testing.assert_allclose(found.numpy(), np.asarray(expected.inputs["features"][:]), atol=1e-6)
