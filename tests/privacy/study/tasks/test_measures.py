"""What can be counted of a record, by its contract alone."""

from typing import Any

import pytest
from pydantic import TypeAdapter

from privacy.study import AnyContract
from privacy.study.tasks.measures import MOST_WORDS, Form, Measure, is_of_two, list_measures
from privacy.study.tasks.statistics import list_record_ranges

KIND: TypeAdapter[Any] = TypeAdapter(AnyContract)
COLUMNS = [
    {"kind": "number", "name": "age", "low": 0, "high": 100},
    {"kind": "category", "name": "sex", "values": ["f", "m"]},
    {"kind": "category", "name": "ward", "values": [f"w{number}" for number in range(MOST_WORDS + 1)]},
    {"kind": "date", "name": "seen", "earliest": "1970-01-02", "latest": "1970-01-12"},
    {"kind": "date", "name": "born", "taken": "month"},
    {"kind": "text", "name": "note", "words": ["pain", "fever"]},
]


def read(**fields: Any) -> tuple[Measure, ...]:
    return list_measures(KIND.validate_python({"name": "ward", "patient": "pid", "ranges_from": "known", **fields}))


def test_measures_of_a_table_are_its_label_and_its_columns_with_their_places() -> None:
    label = {"name": "ill", "positive": ["yes", "maybe"], "negative": ["no"]}
    ill, age, sex, ward, seen, born, note = read(features=COLUMNS, label=label)
    assert (ill.name, ill.tensor, ill.words, ill.missing) == ("ill", "label", ("no", "yes, maybe"), False)
    assert (age.form, age.place, age.indicator, age.low, age.high) == (Form.ONE, 0, 1, 0.0, 100.0)
    assert (sex.form, sex.place, sex.indicator, sex.words) == (Form.ONE_HOT, 2, 4, ("f", "m"))
    assert (ward.form, ward.indicator, len(ward.words)) == (Form.PRESENT, 5 + MOST_WORDS + 1, 1)  # too many words
    first = 5 + MOST_WORDS + 2
    assert (seen.place, seen.indicator, seen.low, seen.high, seen.days) == (first, first + 1, 1.0, 11.0, True)
    assert (born.form, born.place, born.indicator, len(born.words)) == (Form.TURN, first + 2, first + 4, 12)
    assert (note.form, note.place, note.indicator) == (Form.PRESENT, first + 5, first + 7)  # no word of it
    assert [is_of_two(each) for each in (ill, age, sex)] == [True, False, False]


def test_measures_of_images_are_their_label_their_columns_and_their_brightness() -> None:
    image = {"height": 4, "width": 4, "values": {"kind": "full-range"}, "resize": "stretch"}
    found = read(
        kind="images", images=[image], features=COLUMNS[:1], masks=[{"name": "mask"}],
        label={"kind": "class", "name": "grade", "classes": [["1"], ["2"], ["3", "4"]]},
    )  # fmt: skip
    grade, age, mask, brightness = found
    assert (grade.words, age.name, mask.stands_for) == (("1", "2", "3, 4"), "age", "share of flags that say yes")
    assert (brightness.name, brightness.stands_for) == ("image", "mean of a record's values")


SURVIVAL = {"kind": "survival", "time": "days", "longest": 90, "event": "end", "censored": ["0"], "causes": [["1"]]}
SEVERAL = {
    "kind": "several",
    "columns": [{"name": name, "positive": ["1"], "negative": ["0"]} for name in ("a", "b")],
}


@pytest.mark.parametrize(
    ("label", "names"),
    [
        ({"kind": "number", "name": "dose", "low": 0, "high": 9}, ["dose"]),
        (SURVIVAL, ["end", "days"]),
        (SEVERAL, ["a", "b"]),
        ({"kind": "class", "name": "many", "classes": [[str(number)] for number in range(MOST_WORDS + 1)]}, []),
    ],
)
def test_measures_of_a_label_are_its_columns(label: dict[str, Any], names: list[str]) -> None:
    assert [each.name for each in read(features=COLUMNS[:1], label=label)] == [*names, "age"]


@pytest.mark.parametrize("most", [1, 2, 3, 4, 5, 8, 9, 10_000])
def test_ranges_of_records_hold_every_number_once(most: int) -> None:
    ranges = list_record_ranges(most)
    assert [number for first, last in ranges for number in range(first, last + 1)] == list(range(1, most + 1))
