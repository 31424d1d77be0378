"""Tables with a row for each visit, and what was measured in columns of their own."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from client.data.conversion.events.mapping import EventTable
from client.data.conversion.report import ConversionError
from tests.client.data.conversion.converting import convert, list_reasons
from tests.client.data.conversion.events.people import GLUCOSE, make

OEDEMA = {"name": "oedema", "codes": [{"system": "other", "code": "oedema"}], "low": 0, "high": 2}
CONTRACT = make(codes=[], variables=[GLUCOSE, OEDEMA], steps={"kind": "visits", "length": 2})
MEASURED: list[dict[str, Any]] = [
    {"column": "Glucose", "code": {"system": "loinc", "code": "2345-7"}, "unit": "mmol/L", "missing": ["", "n.b."]},
    {"column": "Oedem", "code": {"system": "other", "code": "oedema"}, "words": {"nein": 0, "ja": 2}},
]
VARIABLES = [GLUCOSE | {"molar_mass": 180.156}, OEDEMA]


def convert_table(folder: Path, text: str, most: float = 0.0, **changes: Any) -> Any:
    (folder / "visits.csv").write_text(text)
    table = {
        "source": {"kind": "csv", "path": "visits.csv", "delimiter": ";", "decimal": ","},
        "patient": "Nr",
        "visit": "Besuch",
        "time": "Tag",
        "format": "days",
        "measured": MEASURED,
    }
    contract = make(codes=[], variables=VARIABLES, steps={"kind": "visits", "length": 2})
    return convert(contract, {"origin": {"kind": "tables", "events": [table | changes]}}, folder, most)


def test_row_gives_a_value_of_every_column_and_words_count_as_numbers(tmp_path: Path) -> None:
    text = "Nr;Besuch;Tag;Glucose;Oedem\np;a;0;10,0;nein\np;b;7,5;n.b.;ja\nq;c;0;;1\n"
    found = convert_table(tmp_path, text)
    rows = {patient: row for row, patient in enumerate(found.patients)}
    values, observed = found.arrays["values"], found.arrays["observed"]
    glucose = 2 * (10.0 * 18.0156 - 40) / 560 - 1.0
    np.testing.assert_allclose(values[rows["p"]], np.array([[glucose, -1], [0, 1]]), atol=1e-5)
    assert observed[rows["p"]].tolist() == [[True, True], [False, True]]
    np.testing.assert_allclose(values[rows["q"], 0], [0, 0], atol=1e-6)  # 1 is the middle of 0 to 2
    assert found.arrays["days"][rows["p"]].tolist() == [0, 7.5]  # a day is written like the other numbers


def test_visit_without_any_value_is_still_a_visit(tmp_path: Path) -> None:
    found = convert_table(tmp_path, "Nr;Besuch;Tag;Glucose;Oedem\np;a;0;5,0;ja\np;b;3;;\n")
    assert found.arrays["present"].tolist() == [[True, True]]
    assert not found.arrays["observed"][0, 1].any()


def test_row_with_an_unknown_word_is_left_out(tmp_path: Path) -> None:
    text = "Nr;Besuch;Tag;Glucose;Oedem\np;a;0;5,0;vielleicht\nq;b;0;5,0;ja\nr;c;1.5;5,0;ja\ns;d;x;5,0;ja\n"
    found = convert_table(tmp_path, text, most=0.9)
    assert found.patients == ["q"]
    assert list_reasons(found.report) == {
        "'Oedem' is no number; a limit such as <5 counts with 'limits: true'": 1,
        "'Tag' is not written as 'format' says (days)": 2,  # 1.5 may be 15, where the mark is a comma
    }


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"measured": []}, "expected columns of codes, measured columns, or a column of text"),
        ({"value": "Glucose"}, "value is of the row's codes"),
    ],
)
def test_table_that_says_too_little_is_refused(keys: dict[str, Any], message: str) -> None:
    table = {"source": {"kind": "csv", "path": "v.csv"}, "patient": "p", "time": "t", "measured": MEASURED}
    with pytest.raises(ValidationError, match=message):
        EventTable.model_validate(table | keys)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_mutated_table_gives_values_in_range_or_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = bytearray(b"Nr;Besuch;Tag;Glucose;Oedem\np;a;0;10,0;nein\np;b;7,5;n.b.;ja\nq;c;0;;1\n")
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(32, 126))
    try:
        found = convert_table(tmp_path_factory.mktemp("table"), content.decode(), most=1.0)
    except ConversionError:
        return
    assert np.abs(found.arrays["values"]).max() <= 1
    assert (found.arrays["values"][~found.arrays["observed"]] == 0).all()
