"""A hospital's table becomes the contract's tensors as its mapping says, or everything that is wrong is told."""

import csv
import datetime
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pyarrow as pa
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from client.data.conversion.convert import convert_to
from client.data.conversion.kept_snapshots import make_snapshot
from client.data.conversion.report import ConversionError, SnapshotReport
from client.data.site_data import SiteData, read_contents, read_data
from privacy.errors import SiteConfigError
from privacy.study import TableContract

CONTRACT = TableContract.model_validate(
    {
        "name": "ward",
        "patient": "patient",
        "ranges_from": "made up",
        "records_per_patient": 4,
        "features": [
            {"kind": "number", "name": "age", "low": 0, "high": 100},
            {"kind": "category", "name": "sex", "values": ["f", "m"]},
            {"kind": "number", "name": "glucose", "low": 0, "high": 40},
            {"kind": "date", "name": "admitted", "earliest": "2020-01-01", "latest": "2025-12-31"},
            {"kind": "text", "name": "note", "buckets": 8},
        ],
        "label": {"name": "died", "positive": ["1"], "negative": ["0"]},
    }
)
GERMAN: dict[str, Any] = {
    "mapping": 1,
    "contract": "ward",
    "split": {"by": "fraction", "test": 0.3},
    "source": {"kind": "csv", "path": "export.csv", "encoding": "cp1252", "delimiter": ";", "decimal": ","},
    "columns": {
        "patient": "PatNr",
        "age": {"kind": "elapsed", "from": "geb", "to": "auf", "unit": "completed years", "format": "DD.MM.YYYY"},
        "sex": {"from": "Geschlecht", "values": {"weiblich": "f", "männlich": "m"}, "missing": ["k. A."]},
        "glucose": {"from": "BZ", "unit": "mg/dL", "to_unit": "mmol/L", "molar_mass": 180.156, "limits": True},
        "admitted": {"kind": "date", "from": "auf", "format": "DD.MM.YYYY"},
        "note": {"kind": "joined", "from": ["Befund", "Verlauf"]},
        "died": {"from": "Verstorben", "values": {"ja": "1"}, "otherwise": "0"},
    },
}
HEADER = ["PatNr", "geb", "auf", "Geschlecht", "BZ", "Befund", "Verlauf", "Verstorben"]


def make_rows(count: int) -> list[list[str]]:
    """Rows of a German export; patient by patient, two rows of every third one."""
    rows = list[list[str]]()
    for place in range(count):
        admitted = datetime.date(2021, 1, 1) + datetime.timedelta(days=place * 11 % 1500)
        born = datetime.date(1930 + place % 80, 1 + place % 12, 1 + place % 28)
        rows.append(
            [
                f"{place - (place % 3 == 1):05}",
                f"{born:%d.%m.%Y}",
                f"{admitted:%d.%m.%Y}",
                ("weiblich", "männlich", "k. A.")[place % 3],
                "" if place % 7 == 0 else f"{80 + place % 90},5",
                "Übung; belastet" if place % 2 else "",
                "ohne Befund",
                "ja" if place % 4 == 0 else "nein",
            ]
        )
    return rows


def write_mapping(folder: Path, mapping: dict[str, Any]) -> Path:
    path = folder / "mapping.yaml"
    path.write_text(yaml.safe_dump(mapping, allow_unicode=True), encoding="utf-8")
    return path


def write_german(folder: Path, rows: list[list[str]], header: list[str] = HEADER) -> Path:
    with (folder / "export.csv").open("w", encoding="cp1252", newline="") as file:
        csv.writer(file, delimiter=";").writerows([header, *rows])
    return write_mapping(folder, GERMAN)


def convert(mapping: Path, contract: TableContract = CONTRACT, most_quarantined: float = 0.0) -> SnapshotReport:
    """Convert into a folder of its own; return the report, with its mistakes."""
    folder = mapping.parent / "made"
    folder.mkdir()
    try:
        return convert_to(contract, mapping, folder, most_quarantined)
    except ConversionError as error:
        return error.report


def compute_features(row: list[str]) -> list[float]:
    """Compute the numbers of a row of a German export one by one, as the contract says."""
    import hashlib

    born, admitted = (datetime.datetime.strptime(each, "%d.%m.%Y").date() for each in row[1:3])
    age = admitted.year - born.year - ((admitted.month, admitted.day) < (born.month, born.day))
    sex = {"weiblich": [1.0, 0.0, 0.0], "männlich": [0.0, 1.0, 0.0], "k. A.": [0.0, 0.0, 1.0]}[row[3]]
    glucose = [0.0, 1.0] if not row[4] else [float(row[4].replace(",", ".")) * 10 / 180.156 / 20 - 1, 0.0]
    first = datetime.date(2020, 1, 1)
    days = 2 * (admitted - first).days / (datetime.date(2025, 12, 31) - first).days - 1
    words = [0.0] * 8
    for word in f"{row[5]} {row[6]}".replace(";", " ").lower().split():
        words[int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "big") % 8] = 1.0
    return [age / 50 - 1, 0.0, *sex, *glucose, days, 0.0, *words, 0.0]


def test_german_export_becomes_the_numbers_that_a_plain_loop_gives(tmp_path: Path) -> None:
    rows = make_rows(60)
    report = convert(write_german(tmp_path, rows), most_quarantined=0.0)
    assert (report.mistakes, report.quarantined, report.training + report.test) == ((), (), 60)
    found = dict[str, list[tuple[list[float], int]]]()
    for part in ("train", "test"):
        with np.load(tmp_path / "made" / f"{part}.npz") as arrays:
            for name, features, label in zip(
                *(arrays[each] for each in ("patient", "features", "label")), strict=True
            ):
                found.setdefault(name.decode(), []).append((features.tolist(), int(label)))
    for row in rows:
        features, label = found[row[0]].pop(0)
        assert features == pytest.approx(compute_features(row), abs=1e-6)
        assert label == (row[7] == "ja")
    assert not any(found.values())


def test_counts_of_the_report_are_those_of_the_rows(tmp_path: Path) -> None:
    rows = make_rows(70)
    rows[3][4] = "900,0"
    rows[5][2] = "01.01.2019"
    report = convert(write_german(tmp_path, rows))
    counts = {each.name: (each.rows, each.missing, each.below, each.above) for each in report.columns}
    assert counts["glucose"] == (70, 10, 0, 1)
    assert counts["sex"] == (70, 23, 0, 0)
    assert counts["admitted"] == (70, 0, 1, 0)


def test_snapshot_is_read_as_the_records_that_a_plain_file_gives(tmp_path: Path) -> None:
    rows = make_rows(80)
    snapshot = make_snapshot(CONTRACT, write_german(tmp_path, rows), tmp_path / "data", 0.0)
    plain = tmp_path / "plain.csv"
    with plain.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["patient", "age", "sex", "glucose", "admitted", "note", "died"])
        for row in rows:
            born, admitted = (datetime.datetime.strptime(each, "%d.%m.%Y").date() for each in row[1:3])
            age = admitted.year - born.year - ((admitted.month, admitted.day) < (born.month, born.day))
            glucose = str(float(row[4].replace(",", ".")) * 10 / 180.156) if row[4] else ""
            sex = {"weiblich": "f", "männlich": "m", "k. A.": "?"}[row[3]]
            writer.writerow([row[0], age, sex, glucose, admitted, f"{row[5]} {row[6]}", int(row[7] == "ja")])
    expected = collect(read_data(CONTRACT, plain))
    found = collect(read_data(CONTRACT, snapshot.train)) | collect(read_data(CONTRACT, snapshot.test))
    assert found.keys() == expected.keys()
    for name, (features, labels) in expected.items():
        assert found[name][0] == pytest.approx(features, abs=1e-6)
        assert (found[name][1] == labels).all()


def collect(data: SiteData) -> dict[str, tuple[Any, Any]]:
    """The records of each patient: features and labels, in their order."""
    patients = data.patients
    rows = {name: np.flatnonzero(patients.patient == place) for place, name in enumerate(data.ids)}
    return {name: (patients.inputs["features"][own], patients.targets["label"][own]) for name, own in rows.items()}


def write_same_records(folder: Path, kind: str) -> Path:
    """The same 300 records in one of four forms, with the mapping that leads from it."""
    names = ["patient", "age", "sex", "glucose", "admitted", "note", "died"]
    rows: list[list[Any]] = [
        [
            f"{place:04}",
            place % 90,
            "fm"[place % 2],
            None if place % 5 == 0 else 3 + place / 8,
            datetime.date(2021, 1, 1) + datetime.timedelta(days=place),
            f"Übung {place % 7}",
            place % 2,
        ]
        for place in range(300)
    ]
    source: dict[str, Any]
    match kind:
        case "csv":
            source = {"kind": "csv", "path": "t.csv", "encoding": "latin-1", "delimiter": ";", "decimal": ","}
            with (folder / "t.csv").open("w", encoding="latin-1", newline="") as file:
                writer = csv.writer(file, delimiter=";")
                writer.writerows(
                    [
                        names,
                        *(
                            [each if not isinstance(each, float) else str(each).replace(".", ",") for each in row]
                            for row in rows
                        ),
                    ]
                )
        case "sql":
            source = {"kind": "sql", "url": "sqlite:///t.sqlite", "table": "t"}
            database = sqlite3.connect(folder / "t.sqlite")
            database.execute(f"CREATE TABLE t ({', '.join(names)})")
            database.executemany(
                "INSERT INTO t VALUES (?, ?, ?, ?, ?, ?, ?)",
                [[*row[:4], str(row[4]), *row[5:]] for row in rows[::-1]],
            )
            database.commit()
            database.close()
        case "parquet":
            source = {"kind": "parquet", "path": "t.parquet"}
            columns = {name: pa.array([row[place] for row in rows]) for place, name in enumerate(names)}
            parquet.write_table(pa.table(columns), folder / "t.parquet")
        case _:
            source = {"kind": "excel", "path": "t.xlsx"}
            book = openpyxl.Workbook()
            for row in [names, *rows]:
                book.active.append(row)
            book.save(folder / "t.xlsx")
    return write_mapping(folder, {"mapping": 1, "contract": "ward", "source": source})


def test_same_records_in_four_forms_give_the_same_bytes(tmp_path: Path) -> None:
    digests = dict[str, dict[str, str]]()
    for kind in ("csv", "sql", "parquet", "excel"):
        folder = tmp_path / kind
        folder.mkdir()
        report = convert(write_same_records(folder, kind))
        assert (report.mistakes, report.quarantined) == ((), ())
        digests[kind] = report.files
    assert digests["sql"] == digests["parquet"] == digests["excel"] == digests["csv"]


def test_rows_that_cannot_be_used_are_left_out_each_with_its_reasons_and_place(tmp_path: Path) -> None:
    rows = make_rows(40)
    rows[0][4] = "80.5"
    rows[1][3] = "divers"
    rows[2][2] = "01.01.1800"
    rows[3][0] = " "
    rows[4][1], rows[4][3] = "gestern", "x"
    rows[5] = rows[5][:-1]
    report = convert(write_german(tmp_path, rows), most_quarantined=0.2)
    assert report.mistakes == ()
    assert report.training + report.test == 34
    places = {each.reason: [(place.row, place.column) for place in each.places] for each in report.quarantined}
    assert places == {
        "column 'glucose': is not a number with the decimal mark ','": [(2, "BZ")],
        "column 'sex': has a word that is none of 'f', 'm'": [(3, "Geschlecht"), (6, "Geschlecht")],
        "column 'age': its second date lies before the first": [(4, "geb, auf")],
        "names no patient": [(5, "PatNr")],
        "column 'age': is not a date in the format DD.MM.YYYY of the mapping": [(6, "geb, auf")],
        "does not have the 8 fields of the header": [(7, "")],
    }
    listed = (tmp_path / "made" / "quarantine.csv").read_text()
    assert len(listed.splitlines()) == 8
    assert not any(word in listed for word in ("divers", "gestern", "80.5"))


def test_more_unusable_rows_than_the_policy_allows_refuse_the_source(tmp_path: Path) -> None:
    rows = make_rows(40)
    for row in rows[:10]:
        row[4] = "80.5"
    with pytest.raises(ConversionError, match=r"10 of 40 items \(25.00%\) cannot be used"):
        make_snapshot(CONTRACT, write_german(tmp_path, rows), tmp_path / "data", 0.05)
    assert not list((tmp_path / "data").glob("ward-*"))


def test_day_and_month_exchanged_refuse_the_source(tmp_path: Path) -> None:
    rows = make_rows(40)
    for row in rows[7::8]:
        day, month, year = row[2].split(".")
        row[2] = f"{month}.{day}.{year}"
    report = convert(write_german(tmp_path, rows), most_quarantined=1.0)
    assert [each for each in report.mistakes if "day and month exchanged" in each]


def test_points_that_may_stand_between_thousands_are_asked_about(tmp_path: Path) -> None:
    contract = {
        **CONTRACT.model_dump(mode="json"),
        "features": [{"kind": "number", "name": "wbc", "low": 0, "high": 50_000}],
    }
    (tmp_path / "t.csv").write_text(
        "patient,wbc,died\n" + "".join(f"{row},{1 + row % 9}.{100 + row},{row % 2}\n" for row in range(30))
    )
    source: dict[str, Any] = {"kind": "csv", "path": "t.csv"}
    for extra, doubtful in (({}, True), ({"decimal": "."}, False), ({"decimal": ",", "thousands": "."}, False)):
        folder = tmp_path / f"{len(extra)}{doubtful}{'thousands' in extra}"
        folder.mkdir()
        (folder / "t.csv").write_bytes((tmp_path / "t.csv").read_bytes())
        mapping = write_mapping(folder, {"mapping": 1, "contract": "ward", "source": {**source, **extra}})
        report = convert(mapping, TableContract.model_validate(contract))
        assert ["decimal" in each for each in report.mistakes] == [True] * doubtful


def test_column_in_other_units_is_warned_about(tmp_path: Path) -> None:
    rows = make_rows(40)
    mapping = write_german(tmp_path, rows)
    wrong = {**GERMAN, "columns": {**GERMAN["columns"], "glucose": {"from": "BZ", "limits": True}}}
    write_mapping(tmp_path, wrong)
    report = convert(mapping)
    (warning,) = [each for each in report.warnings if "glucose" in each]
    assert "34 of 34 beyond the range, clipped" in warning
    assert "divided by" in warning


def test_split_by_column_holds_out_its_words_and_asks_about_others(tmp_path: Path) -> None:
    rows = [[*row, "heldout" if int(row[0]) % 5 == 0 else "learn"] for row in make_rows(50)]
    path = write_german(tmp_path, rows, [*HEADER, "part"])
    split = {"by": "column", "name": "part", "training": ["learn"], "test": ["heldout"]}
    write_mapping(tmp_path, {**GERMAN, "split": split})
    report = convert(path)
    assert report.mistakes == ()
    assert report.test == sum(row[-1] == "heldout" for row in rows)
    (tmp_path / "other").mkdir()
    rows[7][-1] = "?"
    path = write_german(tmp_path / "other", rows, [*HEADER, "part"])
    write_mapping(tmp_path / "other", {**GERMAN, "split": split})
    assert convert(path).mistakes == (
        "split: 1 rows have a word in the column 'part' that is in neither list; add it to one of them",
    )


def test_prediction_needs_no_label_and_takes_all_rows(tmp_path: Path) -> None:
    rows = [row[:-1] for row in make_rows(30)]
    path = write_german(tmp_path, rows, HEADER[:-1])
    folder = tmp_path / "made"
    folder.mkdir()
    report = convert_to(CONTRACT, path, folder, 0.0, with_targets=False, divided=False)
    assert (report.mistakes, report.training, report.test) == ((), 30, 0)
    contents = read_contents(CONTRACT, folder / "train.npz", with_targets=False)
    assert len(contents.ids) == 30


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"agee": "x"}, "columns.agee: the contract has no such column; did you mean 'age'"),
        ({"age": {"from": "BZ", "unit": "mg/dL", "to_unit": "years"}}, "they do not measure the same"),
        ({"sex": {"from": "BZ", "valeus": {}}}, "columns.sex.valeus: unknown key; did you mean 'values'"),
        ({"age": {"from": "BZ", "unit": "mg/dL"}}, "unit is the hospital's, to_unit the contract's; name both"),
        ({"age": {"from": "BZ", "molar_mass": 1}}, "molar_mass is for a conversion"),
        (
            {"age": {"kind": "elapsed", "from": "a", "to": "b", "unit": "years", "format": "DD.MM.YY"}},
            "expected iso",
        ),
        ({"age": {"kind": "elapsed", "from": "a", "to": "b"}}, "unit: missing"),
    ],
)
def test_mapping_with_a_mistake_is_refused(tmp_path: Path, columns: dict[str, Any], sentence: str) -> None:
    path = write_german(tmp_path, make_rows(10))
    write_mapping(tmp_path, {**GERMAN, "columns": {**GERMAN["columns"], **columns}})
    with pytest.raises(SiteConfigError, match=sentence):
        convert(path)


def test_columns_that_the_source_lacks_are_all_named(tmp_path: Path) -> None:
    header = ["PatNr", "geboren", "auf", "geschlecht", "BZ", "Befund", "Verlauf", "Verstorben"]
    report = convert(write_german(tmp_path, make_rows(10), header))
    (mistake,) = report.mistakes
    assert "lacks 2 columns of the mapping: geb, Geschlecht" in mistake
    assert "did you mean 'geschlecht' for 'Geschlecht'?" in mistake


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_mutated_export_gives_a_sentence_or_the_numbers_of_its_rows(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """A row that comes out unharmed is one whose line was not touched: nothing is shifted into it."""
    folder = tmp_path_factory.mktemp("t")
    rows = make_rows(30)
    path = write_german(folder, rows)
    lines = (folder / "export.csv").read_bytes().split(b"\r\n")
    touched = data.draw(st.sets(st.integers(1, 30), min_size=1, max_size=5))
    for number in touched:
        line = bytearray(lines[number])
        for _ in range(data.draw(st.integers(1, 4))):
            place = data.draw(st.integers(0, max(0, len(line) - 1)))
            line[place : place + data.draw(st.integers(0, 4))] = data.draw(
                st.sampled_from([b"", b";", b'"', b",", b".", b"0", b"9", b"\n", b"\x00", b"\xff", b" "])
            )
        lines[number] = bytes(line)
    (folder / "export.csv").write_bytes(b"\r\n".join(lines))
    report = convert(path, most_quarantined=1.0)
    assert not any("\n" in each for each in report.mistakes)
    if report.mistakes:
        return
    expected: dict[str, list[list[float]]] = {}
    for number, row in enumerate(rows, 1):
        if number not in touched:
            expected.setdefault(row[0], []).append(compute_features(row))
    found: dict[str, list[list[float]]] = {}
    for part in ("train", "test"):
        with np.load(folder / "made" / f"{part}.npz") as arrays:
            for name, features in zip(arrays["patient"], arrays["features"], strict=True):
                found.setdefault(name.decode("utf-8", "replace"), []).append(features.tolist())
    for name, records in expected.items():
        for features in records:
            assert any(features == pytest.approx(each, abs=1e-5) for each in found.get(name, []))
