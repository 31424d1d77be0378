"""Tables that keep their contract and are probably not meant so."""

import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks.small_study import CONTRACT, write_csv
from client.data.adapters.csv import read_words
from client.data.encoding import encode_features
from client.data.plausibility import describe_probable_meaning, find_suspicions, format_word
from client.data.table import list_columns
from privacy.study import DataContract

SMALL = DataContract.model_validate(CONTRACT)


def contract(low: float = 20, high: float = 80, **changes: Any) -> DataContract:
    age, sex = CONTRACT["features"]
    return DataContract.model_validate(
        {**CONTRACT, "features": [{**age, "low": low, "high": high}, sex], **changes}
    )


def suspicions(folder: Path, ages: list[str], of: DataContract = SMALL, label: str = "") -> list[str]:
    rows = [f"p{row},{age},f,{label or ('yes' if row % 2 else 'no')}" for row, age in enumerate(ages)]
    words = read_words(write_csv(folder / "t.csv", rows), list_columns(of))
    return list(find_suspicions(of, words, encode_features(of, words).counts))


def test_table_as_it_is_meant_raises_no_suspicion(tmp_path: Path) -> None:
    assert suspicions(tmp_path, [str(age) for age in range(15, 85)]) == []


def test_column_missing_in_most_rows_is_suspicious(tmp_path: Path) -> None:
    assert suspicions(tmp_path, ["?", "", "50"]) == ["column 'age': 2 of 3 missing"]
    assert suspicions(tmp_path, ["?", "50"]) == []


@pytest.mark.parametrize(
    ("factor", "hint"),
    [
        (1000, "divided by a thousand"),
        (12, "divided by 12, months for years"),
        (365.25, "divided by 365.25, days for years"),
        (0.01, "multiplied by a hundred"),
    ],
)
def test_column_in_other_units_is_suspicious_and_the_factor_named(tmp_path: Path, factor: float, hint: str) -> None:
    (sentence,) = suspicions(tmp_path, [f"{age * factor:.4f}" for age in range(20, 80)])
    assert sentence.startswith("column 'age': 60 of 60 beyond the range, clipped; ")
    assert f"{hint}, they would be in it: other units?" in sentence


def test_column_clipped_without_a_known_factor_is_suspicious_all_the_same(tmp_path: Path) -> None:
    assert suspicions(tmp_path, ["-900", "5000000", "50"]) == ["column 'age': 2 of 3 beyond the range, clipped"]


def test_column_in_a_corner_of_its_range_is_suspicious(tmp_path: Path) -> None:
    """Grams where the contract means milligrams: nothing is clipped, since the range begins at 0."""
    wide = contract(0, 200)
    (sentence,) = suspicions(tmp_path, [f"{number / 1000}" for number in range(5, 190)], wide)
    assert sentence == "column 'age': all 185 numbers lie within 2% of the range 0 to 200: other units?"


@pytest.mark.parametrize(
    ("ages", "high", "count"),
    [
        (["950", "1.200", "2.050", "310"], 5000, 2),
        (["950", "1.200", "310", "230"], 600, 1),
        (["150.000", "210.500", "320.000"], 1_000_000, 3),
        (["1.234", "2", "3.1"], 5000, 0),
        (["7.350", "7.410", "7.400"], 14, 0),
        (["0.200", "950"], 5000, 0),
        (["1.200", "2.5"], 5000, 0),
    ],
)
def test_point_for_thousands_is_suspicious(tmp_path: Path, ages: list[str], high: float, count: int) -> None:
    found = [each for each in suspicions(tmp_path, ages, contract(0, high)) if "thousands" in each]
    assert [each.split(": ")[1].split()[0] for each in found] == ([str(count)] if count else [])


@pytest.mark.parametrize("label", ["yes", "no"])
def test_label_that_is_always_the_same_is_suspicious(tmp_path: Path, label: str) -> None:
    assert suspicions(tmp_path, ["50", "60"], label=label) == [
        "column 'ill': the label is the same in all 2 rows: nothing can be learnt"
    ]


def test_label_of_words_that_nobody_knows_is_a_mistake_and_not_suspicious(tmp_path: Path) -> None:
    assert suspicions(tmp_path, ["50", "60"], label="1.0") == []


def test_identifiers_that_a_spreadsheet_has_rounded_are_suspicious(tmp_path: Path) -> None:
    rows = ["1.23457E+11,50,f,yes", "1,2E+5,50,f,no".replace("1,2", "1.2"), "12,50,f,no", "1E5,50,f,no"]
    words = read_words(write_csv(tmp_path / "t.csv", rows), list_columns(SMALL))
    (sentence,) = find_suspicions(SMALL, words, encode_features(SMALL, words).counts)
    assert sentence.startswith("column 'id': 2 patients are numbers that a spreadsheet has rounded")


@pytest.mark.parametrize(
    ("column", "word", "hint"),
    [
        ("age", "NA", '\'NA\' 3 times: if it means missing, .* missing: \\["", "\\?", "NA"\\]'),
        ("sex", "NULL", "if it means missing"),
        ("age", ".", "if it means missing"),
        ("ill", "NA", "a row without a label cannot be used: leave it out"),
        ("ill", "", "a row without a label cannot be used"),
        ("age", "210,5", "a decimal comma"),
        ("age", "1,200", "a sign between thousands"),
        ("age", "1.200.000", "a sign between thousands"),
        ("age", "<5", "a limit of detection"),
        ("age", "5 mg", "a unit"),
        ("sex", "F", "'F' for 'f'\\?; the contract knows 'f', 'm'"),
        ("sex", "male", "the contract knows 'f', 'm'"),
        ("ill", "Yes", "'Yes' for 'yes'\\?"),
    ],
)
def test_mistaken_word_is_followed_by_what_was_meant(column: str, word: str, hint: str) -> None:
    assert re.search(hint, describe_probable_meaning(SMALL, column, {word: 3}))


def test_whole_number_that_a_data_frame_wrote_with_a_point_is_recognised() -> None:
    ones = contract(label={"name": "ill", "positive": ["1"], "negative": ["0"]})
    assert "'1.0' for '1'?" in describe_probable_meaning(ones, "ill", {"1.0": 5, "0.0": 7})


def test_word_is_shown_so_that_it_cannot_steer_a_terminal() -> None:
    assert format_word("\x1b[31mred\u202e") == "'\\x1b[31mred\\x202e'"
    assert format_word("") == "nothing"
    assert len(format_word("x" * 200)) == 42
