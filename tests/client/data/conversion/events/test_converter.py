"""Events become records: what is input, what is predicted, what is left out."""

import csv
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client.data.conversion.convert import convert_to
from client.data.conversion.report import ConversionError
from privacy.errors import DataError, SiteConfigError
from tests.client.data.conversion.converting import Converted, convert, list_reasons
from tests.client.data.conversion.events.people import GLUCOSE, VISITS, convert_rows, icd, lab, make

THIS_YEAR = {"when": "after", "days": 365}
TYPE_2 = [
    {"kind": "value", "variable": "HbA1c", "above": 7.0},
    {"kind": "code", "system": "icd9cm", "codes": ["250.00"]},
    {"kind": "code", "system": "icd10cm", "codes": ["E11"]},
    {"kind": "words", "phrases": ["type 2 diabetes", "diabetes mellitus type II"]},
]
HBA1C = {
    "name": "HbA1c",
    "codes": [{"system": "loinc", "code": "4548-4"}],
    "unit": "%",
    "low": 3,
    "high": 15,
    "conversions": [{"unit": "mmol/mol", "times": 0.09148, "plus": 2.152}],
}


def by_patient(converted: Converted, name: str) -> dict[str, Any]:
    return dict(zip(converted.patients, converted.arrays[name].tolist(), strict=True))


def test_one_disease_is_found_by_value_by_either_code_and_by_words(tmp_path: Path) -> None:
    """The survey's example: type 2 diabetes by HbA1c above 7.0, by 250.00, by E11, by words in a note."""
    later = "2021-03-01"
    rows = [
        *([patient, "2020-01-01", "v1", "icd10cm", "I10", "", "", ""] for patient in "abcdefghi"),
        lab("a", later, "v2", 7.4, "%", "4548-4"),
        lab("b", later, "v2", 60, "mmol/mol", "4548-4"),  # 7.6 %
        ["c", later, "v2", "icd9cm", "250.00", "", "", ""],
        icd("d", later, "v2", "E11.65"),
        ["e", later, "v2", "other", "note", "", "", "Known TYPE-2\ndiabetes, on metformin."],
        lab("f", later, "v2", 7.0, "%", "4548-4"),  # not above
        lab("g", later, "v2", 50, "mmol/mol", "4548-4"),  # 6.7 %
        ["h", later, "v2", "icd9cm", "250.01", "", "", ""],  # type 1
        ["i", later, "v2", "other", "note", "", "", "Type 2 diabetic foot? No."],
    ]
    label = {"kind": "happens", "of": TYPE_2, "window": {"when": "after", "days": 800, "followed": "assumed"}}
    contract = make(variables=[HBA1C], label=label, index={"visits": [1]})
    found = by_patient(convert_rows(contract, tmp_path, rows), "label")
    assert found == {**dict.fromkeys("abcde", 1), **dict.fromkeys("fghi", 0)}


def test_map_of_codes_lets_sites_code_in_either_system(tmp_path: Path) -> None:
    gem = b"25000 E119 10000\n4019 I10 10000\n4019 I159 10000\n99999 NoDx 11000\n"
    (tmp_path / "gem.txt").write_bytes(gem)
    sha256 = hashlib.sha256(gem).hexdigest()
    maps = [{"source": "icd9cm", "target": "icd10cm", "form": "gem", "sha256": sha256}]
    rows = [
        ["nine", "2020-01-01", "v", "icd9cm", "250.00", "", "", ""],
        ["nine", "2020-01-01", "v", "icd9cm", "401.9", "", "", ""],
        ["nine", "2020-01-01", "v", "icd9cm", "999.99", "", "", ""],
        icd("ten", "2020-01-01", "v", "E11.9"),
        icd("ten", "2020-01-01", "v", "I10"),
    ]
    file = [{"source": "icd9cm", "target": "icd10cm", "path": "gem.txt"}]
    converted = convert_rows(make(maps=maps), tmp_path, rows, maps=file)
    visits = by_patient(converted, "visits")
    assert visits["nine"] == visits["ten"] == [[True, True], [False, False], [False, False]]
    assert "icd9cm: 1 codes of 1 events lead to several codes by a map" in " ".join(converted.report.notes)
    assert converted.report.sources["gem.txt"] == sha256

    only_sure = convert_rows(make(maps=[maps[0] | {"several": "unknown"}]), tmp_path, rows, maps=file)
    assert by_patient(only_sure, "visits")["nine"][0] == [True, False]
    assert "icd9cm: 1 codes of 1 events lead to several codes by a map" in " ".join(only_sure.report.notes)
    with pytest.raises(SiteConfigError, match="maps: the study leads from icd9cm to icd10cm"):
        convert_rows(make(maps=maps), tmp_path, rows)
    (tmp_path / "gem.txt").write_bytes(gem + b"\n")
    with pytest.raises(DataError, match="the study asks for the file with the SHA-256"):
        convert_rows(make(maps=maps), tmp_path, rows, maps=file)


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ({"words": ["E1", "E11", "I10"]}, [False, True, False]),  # the longest beginning counts
        ({"words": ["E10", "I"], "others": True}, [False, False, True]),
        ({"words": ["E11.9"]}, [False]),  # a code is no wider one of its own
        ({"words": ["E11"]}, [True]),
    ],
)
def test_code_counts_for_the_longest_word_with_which_it_begins(
    tmp_path: Path, codes: dict[str, Any], expected: list[bool]
) -> None:
    contract = make(codes=[{"system": "icd10cm", **codes}], steps=VISITS | {"length": 1})
    found = convert_rows(contract, tmp_path, [icd("a", "2020-01-01", "v", "E11.65")])
    assert found.arrays["visits"].tolist() == [[expected]]


def test_bucket_of_a_code_is_its_digest(tmp_path: Path) -> None:
    contract = make(codes=[{"system": "icd10cm", "buckets": 7}], steps=VISITS | {"length": 1})
    found = convert_rows(contract, tmp_path, [icd("a", "2020-01-01", "v", "e11.65")])
    place = int(hashlib.sha256(b"icd10cm\x00E1165").hexdigest()[:16], 16) % 7
    assert np.flatnonzero(found.arrays["visits"]).tolist() == [place]


def test_codes_as_ids_are_in_order_and_zero_is_none(tmp_path: Path) -> None:
    sets = [{"system": "icd10cm", "words": ["E11", "I10"]}, {"system": "atc", "words": ["A10"]}]
    contract = make(codes=sets, steps={"kind": "visits", "length": 2, "most_codes": 2})
    rows = [icd("a", "2020-01-01", "v1", "I10"), ["a", "2020-01-01", "v1", "atc", "A10BA02", "", "", ""]]
    rows += [icd("a", "2020-02-01", "v2", code) for code in ("I10", "E11")]
    rows += [["a", "2020-02-01", "v2", "atc", "A10", "", "", ""]]
    found = convert_rows(contract, tmp_path, rows)
    assert found.arrays["codes"].tolist() == [[[2, 3], [1, 2]]]
    assert any("more codes than most_codes" in note for note in found.report.notes)


def test_codes_without_a_column_are_listed_and_counted(tmp_path: Path) -> None:
    rows = [icd("a", "2020-01-01", "v", code) for code in ("E11", "J45", "J45.0", "J45")]
    contract = make()
    convert_rows(contract, tmp_path, rows)
    out = tmp_path / "out"
    out.mkdir()
    report = convert_to(contract, tmp_path / "mapping.yaml", out, 0.0)
    with (out / "unused_codes.csv").open(newline="") as lines:
        listed = [row["code"] + " " + row["events"] for row in csv.DictReader(lines)]
    assert listed == ["J45 2", "J450 1"]
    assert (out / "unused_codes.csv").stat().st_mode & 0o777 == 0o600
    assert "icd10cm: 2 codes of 3 events become nothing" in report.notes[0]
    assert "J45" not in " ".join(report.notes)


def test_visits_are_in_order_of_their_beginning_and_the_last_ones_are_kept(tmp_path: Path) -> None:
    rows = [
        icd("a", "2020-04-01", "v4", "E11"),
        icd("a", "2020-01-01", "v1", "E11"),
        icd("a", "2020-03-02", "v3", "I10"),
        icd("a", "2020-02-01", "v2", "I10"),
        icd("a", "2020-02-01", "v2", "E11.9"),
    ]
    converted = convert_rows(make(), tmp_path, rows)
    assert converted.arrays["visits"].tolist() == [[[True, True], [False, True], [True, False]]]
    assert converted.arrays["days"].tolist() == [[0, 30, 30]]
    assert converted.arrays["present"].tolist() == [[True, True, True]]
    first = convert_rows(make(steps=VISITS | {"keep": "first"}), tmp_path, rows)
    assert first.arrays["visits"].tolist() == [[[True, False], [True, True], [False, True]]]


def test_order_of_rows_changes_nothing(tmp_path: Path) -> None:
    rows = [
        lab(f"p{n % 7}", f"2020-01-{1 + n % 28:02}T{n % 24:02}:00", f"v{n % 5}", 100 + n % 3) for n in range(200)
    ]
    rows += [icd(f"p{n % 7}", f"2020-01-{1 + n % 28:02}", f"v{n % 5}", "E11") for n in range(50)]
    contract = make(variables=[GLUCOSE])
    one = convert_rows(contract, tmp_path, rows)
    other = convert_rows(contract, tmp_path, rows[::-1])
    assert one.patients == other.patients
    for name, values in one.arrays.items():
        np.testing.assert_array_equal(values, other.arrays[name])


def test_value_of_each_step_is_the_last_and_gaps_count_from_the_one_before(tmp_path: Path) -> None:
    rows = [
        lab("a", "2020-01-01T08:00", "v", 40),
        lab("a", "2020-01-01T08:30", "v", 320),
        lab("a", "2020-01-01T11:59", "v", 10_000),  # beyond the range
        lab("a", "2020-01-01T12:00", "v", 600),  # the end of the window belongs to the last step
        lab("a", "2020-01-01T12:01", "v", 40),  # later
    ]
    contract = make(
        codes=[],
        variables=[GLUCOSE],
        steps={"kind": "grid", "length": 4},
        index={"at": "visit-start", "hours": 4},
    )
    converted = convert_rows(contract, tmp_path, rows)
    assert converted.arrays["values"][0, :, 0].tolist() == [0.0, 0.0, 0.0, 1.0]
    assert converted.arrays["observed"][0, :, 0].tolist() == [True, False, False, True]
    assert converted.arrays["gaps"][0, :, 0].tolist() == [0.0, 0.25, 0.5, 0.75]
    assert converted.arrays["present"].tolist() == [[True] * 4]
    mean = make(codes=[], variables=[GLUCOSE], steps={"kind": "grid", "length": 4, "several": "mean"},
                index={"at": "visit-start", "hours": 4})  # fmt: skip
    assert convert_rows(mean, tmp_path, rows).arrays["values"][0, 0, 0] == pytest.approx(2 * (180 - 40) / 560 - 1)


def test_static_facts_are_those_at_the_index(tmp_path: Path) -> None:
    contract = make(
        static=[{"kind": "age", "low": 0, "high": 100}, {"kind": "fact", "name": "sex", "values": ["female"]}]
    )
    rows = [icd(patient, "2020-07-01", "v", "E11") for patient in "abc"]
    persons = [["a", "1970-07-01", "", "", "F"], ["b", "1920", "", "", "M"]]
    static = by_patient(convert_rows(contract, tmp_path, rows, persons=persons), "static")
    assert static["a"] == pytest.approx([0.0, 0.0, 1.0, 0.0], abs=1e-3)
    assert static["b"] == pytest.approx([1.0, 0.0, 0.0, 1.0], abs=1e-3)  # a word that is not listed is missing
    assert static["c"] == [0.0, 1.0, 0.0, 1.0]


def test_bag_has_codes_values_and_facts_in_zero_to_one(tmp_path: Path) -> None:
    contract = make(
        steps={"kind": "bag"}, variables=[GLUCOSE, HBA1C], static=[{"kind": "age", "low": 0, "high": 100}]
    )
    rows = [icd("a", "2020-01-01", "v", "I10"), lab("a", "2020-01-01", "v", 180)]
    converted = convert_rows(contract, tmp_path, rows, persons=[["a", "1995-01-01", "", "", ""]])
    np.testing.assert_allclose(converted.arrays["features"], [[0, 1, 0.25, 1, 0.5, 0, 0.25, 0]], atol=1e-3)


@pytest.mark.parametrize(
    ("seen", "died", "expected"),
    [
        ("2021-06-01", "", {"a": 0}),  # seen to the window's end
        ("2020-06-01", "", {}),  # not seen so long
        ("2020-06-01", "2020-07-01", {"a": 0}),  # died: nothing more could happen
    ],
)
def test_record_has_a_label_only_if_the_window_was_seen(
    tmp_path: Path, seen: str, died: str, expected: dict[str, int]
) -> None:
    contract = make(label={"kind": "happens", "of": [TYPE_2[2]], "window": THIS_YEAR})
    rows = [
        icd("a", "2020-01-01", "v", "I10"),
        icd("other", "2020-01-01", "v", "I10"),
        icd("other", "2020-02-01", "", "E11"),
    ]
    converted = convert_rows(contract, tmp_path, rows, persons=[["a", "", died, seen, ""]])
    assert by_patient(converted, "label") == expected | {"other": 1}
    if not expected:
        assert "1 records are of patients who were not seen until the window's end" in converted.report.notes


def test_what_is_known_at_the_index_is_not_predicted(tmp_path: Path) -> None:
    contract = make(
        label={"kind": "happens", "of": [TYPE_2[2]], "window": THIS_YEAR | {"followed": "assumed"}},
        index={"visits": "each"},
        records_per_patient=5,
    )
    rows = [icd("a", "2020-01-01", "v1", "I10"), icd("a", "2020-05-01", "v2", "E11")]
    converted = convert_rows(contract, tmp_path, rows)
    assert converted.arrays["label"].tolist() == [1, 0]
    without = make(label=contract.label, index={"visits": "each", "without": [TYPE_2[2]]}, records_per_patient=5)
    assert convert_rows(without, tmp_path, rows).arrays["label"].tolist() == [1]


def test_next_visits_codes_are_predicted_from_all_but_the_last_visit(tmp_path: Path) -> None:
    contract = make(
        label={
            "kind": "codes",
            "of": {"system": "icd10cm", "words": ["E11", "I10"]},
            "window": {"when": "next-visit"},
        },
        index={"visits": "each", "before_last": 1},
        records_per_patient=5,
    )
    rows = [icd("a", f"2020-0{n}-01", f"v{n}", code) for n, code in ((1, "I10"), (2, "E11"), (3, "J45"))]
    converted = convert_rows(contract, tmp_path, rows)
    assert converted.arrays["labels"].tolist() == [[True, False], [False, False]]
    assert converted.arrays["present"].sum(axis=1).tolist() == [1, 2]


def test_survival_counts_the_first_cause_or_the_last_day_seen(tmp_path: Path) -> None:
    causes = [[{"kind": "death"}], [TYPE_2[2]]]
    contract = make(
        label={"kind": "survival", "causes": causes, "longest": 1000, "unit": "days"}, index={"visits": [1]}
    )
    rows = [icd(patient, "2020-01-01", "v1", "I10") for patient in "abcd"]
    rows += [icd("b", "2020-01-11", "v2", "E11"), icd("d", "2024-01-01", "v2", "I10")]
    persons = [
        ["a", "", "2020-02-01", "", ""],
        ["b", "", "2020-02-01", "", ""],
        ["c", "", "", "2020-03-01", ""],
        ["d", "", "", "", ""],
    ]
    converted = convert_rows(contract, tmp_path, rows, persons=persons)
    assert by_patient(converted, "event") == {"a": 1, "b": 2, "c": 0, "d": 0}
    times = by_patient(converted, "time")
    # a day without a time: a death is at its end, what else happens at its beginning
    assert [round(times[each], 3) for each in "abcd"] == [32.0, 10.0, 61.0, 1000.0]


def test_class_and_value_of_a_window(tmp_path: Path) -> None:
    window = {"when": "next-visit"}
    kinds = {"kind": "class", "of": [[TYPE_2[2]], [{"kind": "value", "variable": "glucose", "above": 200}]],
             "otherwise": "class", "window": window}  # fmt: skip
    rows = [icd(patient, "2020-01-01", "v1", "I10") for patient in "abcd"]
    rows += [
        icd("a", "2020-02-01", "v2", "E11"),
        lab("a", "2020-02-01", "v2", 300),
        lab("b", "2020-02-01", "v2", 210),
    ]
    rows += [lab("b", "2020-02-01T10:00", "v2", 90), icd("c", "2020-02-01", "v2", "I10")]
    one = make(variables=[GLUCOSE], label=kinds, index={"visits": [1]})
    converted = convert_rows(one, tmp_path, rows)
    assert by_patient(converted, "label") == {"a": 0, "b": 1, "c": 2}
    assert "1 records have no next visit" in converted.report.notes
    value = {"kind": "value", "variable": "glucose", "take": "last", "window": window, "low": 0, "high": 600}
    found = convert_rows(make(variables=[GLUCOSE], label=value, index={"visits": [1]}), tmp_path, rows)
    assert by_patient(found, "label") == {"a": 300, "b": 90}


def test_date_and_first_event_are_moments_too(tmp_path: Path) -> None:
    rows = [
        icd("a", "2019-12-31", "v1", "I10"),
        icd("a", "2020-01-01", "v2", "E11"),
        icd("b", "2020-01-01", "v1", "I10"),
    ]
    at_date = convert_rows(make(index={"at": "date", "date": "2020-01-01"}), tmp_path, rows)
    assert at_date.patients == ["a"]
    assert at_date.arrays["visits"].tolist() == [[[False, True], [False, False], [False, False]]]
    first = convert_rows(make(index={"at": "first-event", "of": [TYPE_2[2]]}), tmp_path, rows)
    assert first.patients == ["a"]
    assert first.arrays["visits"].tolist() == [[[False, True], [True, False], [False, False]]]


def test_days_are_visits_where_the_source_numbers_none(tmp_path: Path) -> None:
    rows = [
        icd("a", "2020-01-01T08:00", "", "I10"),
        icd("a", "2020-01-01T20:00", "", "E11"),
        icd("a", "2020-01-03", "", "I10"),
    ]
    converted = convert_rows(make(steps=VISITS | {"by": "day"}), tmp_path, rows)
    assert converted.arrays["visits"].tolist() == [[[True, True], [False, True], [False, False]]]


def test_event_without_a_number_belongs_to_the_visit_around_it(tmp_path: Path) -> None:
    rows = [
        icd("a", "2020-01-02", "", "E11"),
        icd("a", "2020-06-01", "", "I10"),
        icd("a", "2020-03-01", "v2", "I10"),
    ]
    visits = [["a", "v1", "2020-01-01", "2020-01-03"], ["a", "v2", "2020-03-01", ""]]
    converted = convert_rows(make(), tmp_path, rows, visits=visits)
    assert converted.arrays["visits"].tolist() == [[[True, False], [False, True], [False, False]]]
    assert "1 events are in no visit" in converted.report.notes


def test_hospitals_own_codes_are_translated(tmp_path: Path) -> None:
    rows = [["a", "2020-01-01", "v", "other", "GLU-N", 180, "mg%", ""]]
    changes = {"translate": {"GLU-N": {"system": "loinc", "code": "2345-7"}}, "units": {"mg%": "mg/dL"}}
    converted = convert_rows(make(variables=[GLUCOSE]), tmp_path, rows, changes=changes)
    assert converted.arrays["values"][0, 0, 0] == pytest.approx(-0.5)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (icd("", "2020-01-01", "v", "E11"), "'patient' names no patient"),
        (icd("a", "", "v", "E11"), "'time' has no time"),
        (icd("a", "03/04/2020", "v", "E11"), "'time' is not written as 'format' says (iso)"),
        (icd("a", "2020", "v", "E11"), "'time' has no day"),
        (
            icd("a", "2020-01-01T00:00Z", "v", "E11"),
            "'time' has an offset; name the hospital's time zone in the mapping, as 'zone'",
        ),
        (icd("a", "2020-01-01", "v", "250.00"), "'code' is no code of icd10cm"),
        (icd("a", "1950-01-01", "v", "E11"), "is before the patient's birth"),
        (
            ["a", "2020-01-01", "v", "ICD", "E11", "", "", ""],
            "'system' names a system that the mapping's 'systems' do not list",
        ),
        (lab("a", "2020-01-01", "v", "5,4"), "'value' is no number; a limit such as <5 counts with 'limits: true'"),
        (lab("a", "2020-01-01", "v", "<5"), "'value' is no number; a limit such as <5 counts with 'limits: true'"),
        (
            lab("a", "2020-01-01", "v", 5, ""),
            "has no unit, expected one for 'glucose'; name it under units in the mapping",
        ),
        (lab("a", "2020-01-01", "v", 5, "mmol/L"), "is in a unit that does not become mg/dL of 'glucose'"),
        (lab("a", "2020-01-01", "v", 1e300), "is no number of usual size"),
    ],
)  # fmt: skip
def test_row_that_cannot_be_used_is_left_out_with_its_reason(tmp_path: Path, row: list[Any], reason: str) -> None:
    rows = [icd("a", "2020-01-01", "v", "E11"), row]
    converted = convert_rows(
        make(variables=[GLUCOSE]), tmp_path, rows, persons=[["a", "1960-01-01", "", "", ""]], most=0.9
    )
    assert list_reasons(converted.report) == {reason: 1}
    place = converted.report.quarantined[0].places[0]
    assert (place.source, place.row) == ("events.csv", 3)
    with pytest.raises(ConversionError, match="cannot be used"):
        convert_rows(make(variables=[GLUCOSE]), tmp_path, rows, persons=[["a", "1960-01-01", "", "", ""]], most=0.1)


def test_visit_that_ends_before_it_begins_is_left_out(tmp_path: Path) -> None:
    visits = [["a", "v", "2020-01-02", "2020-01-01"], ["a", "w", "2020-01-02T01:50", "2020-01-02T01:05"]]
    converted = convert_rows(make(), tmp_path, [icd("a", "2020-01-01", "v", "E11")], visits=visits, most=0.9)
    assert list_reasons(converted.report) == {"'end' lies before the visit's beginning": 1}
    assert converted.arrays["present"].sum() == 2  # a clock that is set back in between is no mistake


def test_values_in_another_unit_than_said_are_noticed(tmp_path: Path) -> None:
    rows = [lab(f"p{n}", "2020-01-01", "v", 5 + n / 10) for n in range(20)]  # mmol/L, called mg/dL
    report = convert_rows(make(variables=[GLUCOSE]), tmp_path, rows).report
    assert "'glucose': 20 of 20 values are beyond 40 to 600 mg/dL; are they in this unit?" in report.warnings
    assert "no code of the sources is in data.codes; are they of these systems?" in report.warnings
    assert (report.columns[0].name, report.columns[0].rows, report.columns[0].below) == ("glucose", 20, 20)


def test_value_twice_counts_once(tmp_path: Path) -> None:
    rows = [lab("a", "2020-01-01T01:00", "v", value) for value in (100, 100, 400)]
    contract = make(codes=[], variables=[GLUCOSE], steps={"kind": "grid", "length": 1, "several": "mean"},
                    index={"at": "visit-start", "hours": 1})  # fmt: skip
    converted = convert_rows(contract, tmp_path, rows)
    assert converted.arrays["values"][0, 0, 0] == pytest.approx(2 * (250 - 40) / 560 - 1)
    assert "1 values are there twice, and count once" in converted.report.notes


def test_patient_with_two_dates_of_birth_has_none(tmp_path: Path) -> None:
    contract = make(static=[{"kind": "age"}])
    persons = [["a", "1960-01-01", "", "", ""], ["a", "1961-01-01", "", "", ""]]
    converted = convert_rows(contract, tmp_path, [icd("a", "2020-01-01", "v", "E11")], persons=persons)
    assert converted.arrays["static"].tolist() == [[0.0, 1.0]]
    assert "1 patients have two different dates of birth, so that none counts" in converted.report.notes


def test_points_that_may_stand_between_thousands_are_asked_about(tmp_path: Path) -> None:
    rows = [lab("a", "2020-01-01", "v", "1.200"), lab("b", "2020-01-01", "v", "3.400")]
    with pytest.raises(ConversionError, match="may stand between thousands"):
        convert_rows(make(variables=[GLUCOSE]), tmp_path, rows)


def test_records_without_targets_are_for_prediction(tmp_path: Path) -> None:
    contract = make(label={"kind": "happens", "of": [TYPE_2[2]], "window": THIS_YEAR})
    rows = [icd("a", "2020-01-01", "v", "I10"), icd("b", "2020-01-01", "v", "E11")]
    with pytest.raises(
        ConversionError, match="none gives a record: 2 records are of patients who were not seen"
    ):  # nobody was seen long enough to have a label
        convert_rows(contract, tmp_path, rows)
    origin = {
        "kind": "tables",
        "events": [{"source": {"kind": "csv", "path": "events.csv"}, "patient": "patient", "time": "time",
                    "visit": "visit", "codes": [{"column": "code", "system": "icd10cm"}]}],
    }  # fmt: skip
    predicted = convert(contract, {"origin": origin}, tmp_path, with_targets=False)
    assert sorted(predicted.patients) == ["a", "b"]
    assert "label" not in predicted.arrays
