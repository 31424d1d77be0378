"""Tables that keep their contract and are probably not meant so."""

import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks.small_study import CONTRACT, write_csv
from client.data.adapters.csv import read_words
from client.data.encoding import encode_features
from client.data.plausibility import describe_probable_meaning, find_suspicions, format_word
from client.data.site_data import read_contents
from privacy.study import TableContract

SMALL = TableContract.model_validate(CONTRACT)


def contract(low: float = 20, high: float = 80, **changes: Any) -> TableContract:
    age, sex = CONTRACT["features"]
    return TableContract.model_validate(
        {**CONTRACT, "features": [{**age, "low": low, "high": high}, sex], **changes}
    )


def suspicions(folder: Path, ages: list[str], of: TableContract = SMALL, label: str = "") -> list[str]:
    rows = [f"p{row},{age},f,{label or ('yes' if row % 2 else 'no')}" for row, age in enumerate(ages)]
    words = read_words(write_csv(folder / "t.csv", rows), of.list_columns())
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
    assert sentence.startswith(f"column 'age': 60 of 60 beyond the range, clipped; {hint}")
    assert sentence.endswith(", they would be in it: other units?")


def test_every_unit_that_fits_is_named_since_people_know_which(tmp_path: Path) -> None:
    """Of months, ten and 17.1 bring all numbers into the range, and 18.02 a bit fewer than the others."""
    (sentence,) = suspicions(tmp_path, [f"{age * 12}" for age in range(20, 80)])
    named = {
        word
        for word in ("by ten", "by 12,", "by 17.1,", "by 18.02,", "by 38.67,", "by a hundred")
        if word in sentence
    }
    fits = {
        word
        for word, factor in (
            ("by ten", 10),
            ("by 12,", 12),
            ("by 17.1,", 17.1),
            ("by 18.02,", 18.02),
            ("by 38.67,", 38.67),
            ("by a hundred", 100),
        )
        if sum(20 <= age * 12 / factor <= 80 for age in range(20, 80)) > 30
    }
    assert named == fits
    assert len(fits) > 1


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
    words = read_words(write_csv(tmp_path / "t.csv", rows), SMALL.list_columns())
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


# Labels of other kinds -------------------------------------------------------------------------------------

CLASSES = {"kind": "class", "name": "ill", "classes": [["0"], ["1", "one"], ["2"]]}
NUMBER = {"kind": "number", "name": "ill", "low": 0, "high": 10}
SURVIVAL = {
    "kind": "survival", "time": "days", "longest": 10, "event": "ill", "censored": ["0"], "causes": [["1"], ["2"]],
}  # fmt: skip
SEVERAL = {
    "kind": "several",
    "columns": [{"name": n, "positive": ["1"], "negative": ["0"]} for n in ("days", "ill")],
}


def warnings(folder: Path, label: dict[str, Any], rows: list[str]) -> list[str]:
    of = contract(label=label)
    path = write_csv(
        folder / "t.csv", [f"p{row},50,f,{end}" for row, end in enumerate(rows)], "id,age,sex,days,ill"
    )
    contents = read_contents(of, path)
    assert contents.mistakes == ()
    return list(contents.find_warnings())


@pytest.mark.parametrize(
    ("label", "rows", "expected"),
    [
        (CLASSES, ["x,0", "x,one", "x,2"], []),
        (CLASSES, ["x,0", "x,one", "x,1"], ["column 'ill': 1 of 3 classes occur in no row"]),
        (CLASSES, ["x,1", "x,one"], ["column 'ill': the label is the same in all 2 rows: nothing can be learnt"]),
        (NUMBER, ["x,1", "x,9"], []),
        (NUMBER, ["x,3", "x,3.0"], ["column 'ill': the label is the same in all 2 rows: nothing can be learnt"]),
        (NUMBER, ["x,1", "x,2", "x,11"], ["column 'ill': 1 of 3 beyond the range 0 to 10, clipped"]),
        (
            NUMBER, ["x,1000", "x,9000", "x,5000"],
            ["column 'ill': 3 of 3 beyond the range, clipped; divided by a thousand, they would be in it: other "
             "units?"],
        ),
        (SURVIVAL, ["1,0", "2,1", "3,2"], []),
        (SURVIVAL, ["1,0", "20,1", "3,2"], ["column 'days': 1 of 3 beyond the range 0 to 10, count as censored there"]),
        (SURVIVAL, ["1,0", "2,2"], ["column 'ill': 1 of 3 outcomes occur in no row"]),
        (SEVERAL, ["0,1", "1,0"], []),
        (SEVERAL, ["0,1", "0,0"], ["column 'days': the label is the same in all 2 rows: nothing can be learnt"]),
    ],
)  # fmt: skip
def test_label_of_another_kind_is_suspicious_if_it_teaches_nothing_or_is_clipped(
    tmp_path: Path, label: dict[str, Any], rows: list[str], expected: list[str]
) -> None:
    assert warnings(tmp_path, label, rows) == expected


@pytest.mark.parametrize(
    ("label", "column", "hint"),
    [
        (CLASSES, "ill", "the contract knows '0', '1', 'one', '2'"),
        (SURVIVAL, "ill", "the contract knows '0', '1', '2'"),
        (SURVIVAL, "days", "a row without a label cannot be used"),
        (SEVERAL, "days", "the contract knows '1', '0'"),
        (NUMBER, "ill", "a row without a label cannot be used"),
    ],
)
def test_mistaken_word_of_a_label_is_followed_by_what_the_contract_knows(
    label: dict[str, Any], column: str, hint: str
) -> None:
    found = describe_probable_meaning(contract(label=label), column, {"NA": 1})
    assert hint in found
    assert "missing:" not in found
