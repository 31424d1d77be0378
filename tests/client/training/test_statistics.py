"""What patients add to a study's statistics: against pandas and plain loops, and never more than the bound."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchmarks.small_study import CONTRACT, write_csv
from client.data.dataset import make_study_files
from client.data.examples import Patients
from client.training.jobs import ExportPersonal, FirstModel, ScoreModel
from client.training.statistics import count_statistics
from client.training.statistics_session import StatisticsSession
from privacy.errors import TrainingError
from privacy.study import Terms, parse_terms
from privacy.study.tasks.statistics import UNIT
from tests.statistics_study import statistics_terms

VISITS = {
    "name": "ward",
    "patient": "pid",
    "ranges_from": "invented",
    "records_per_patient": 5,
    "features": [
        {"kind": "number", "name": "sugar", "low": 0, "high": 10},
        {"kind": "category", "name": "sex", "values": ["f", "m"]},
        {"kind": "date", "name": "seen", "earliest": "2020-01-01", "latest": "2024-01-01"},
        {"kind": "date", "name": "born", "taken": "month"},
        {"kind": "text", "name": "words", "buckets": 8},
    ],
    "label": {
        "kind": "several",
        "columns": [
            {"name": "ill", "positive": ["yes"], "negative": ["no"]},
            {"name": "old", "positive": ["1"], "negative": ["0"]},
        ],
    },
}
ARRAYS = {
    "kind": "arrays",
    "name": "scans",
    "ranges_from": "invented",
    "records_per_patient": 3,
    "inputs": [
        {"type": "number", "name": "scan", "shape": [2, 3], "low": 0, "high": 10},
        {"type": "flag", "name": "measured", "shape": [4]},
        {"type": "id", "name": "codes", "shape": [3], "values": 50},
        {"type": "id", "name": "huge", "values": 500},
    ],
    "targets": [{"type": "id", "name": "grade", "values": 3}, {"type": "flag", "name": "dead"}],
}


def terms_on(contract: dict[str, Any], **task: Any) -> Terms:
    return statistics_terms(contract, task={"kind": "statistics", "pairs": [], "differences": [], **task})


def by_group(counts: tuple[int, ...], terms: Terms) -> dict[str, list[float]]:
    """The cells of each group, in patients."""
    found, place = {}, 0
    for group in terms.cell_groups:
        found[group.name] = [each / UNIT for each in counts[place : place + group.cells]]
        place += group.cells
    assert place == len(counts)
    return found


def read_files(tmp_path: Path, terms: Terms, train: list[str], test: list[str], header: str) -> Any:
    files, _ = make_study_files(
        terms.data, write_csv(tmp_path / "train.csv", train, header), write_csv(tmp_path / "test.csv", test, header)
    )
    return files


def write_rows(random: np.random.Generator, count: int, prefix: str) -> list[str]:
    """Several visits a patient, with missing values and values beyond the range."""
    rows = []
    for patient in range(count):
        for _ in range(int(random.integers(1, 6))):
            sugar = random.choice(["", f"{random.uniform(-2, 12):.2f}", "5"])
            sex, ill, old = random.choice(["f", "m", "?"]), random.choice(["yes", "no"]), random.integers(2)
            seen = random.choice(["2021-05-04", "2019-01-01", "2023-12-31", ""])
            born = random.choice(["1950-01-31", "1961-07-01", "1970-12-24", "?"])
            rows.append(
                f"{prefix}{patient},{sugar},{sex},{seen},{born},{random.choice(['ab', '', 'c'])},{ill},{old}"
            )
    return rows


def test_counts_of_a_table_equal_pandas_on_the_last_record_of_each_patient(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    terms = terms_on(VISITS, pairs=[["sugar", "ill"], ["sugar", "seen"]], differences=["sugar", "old"])
    header = "pid,sugar,sex,seen,born,words,ill,old"
    train, test = write_rows(random, 70, "a"), write_rows(random, 30, "b")
    files = read_files(tmp_path, terms, train, test, header)
    found = by_group(StatisticsSession(terms, files).run(ScoreModel(np.zeros(1), None)), terms)

    table = pd.concat(
        [pd.read_csv(tmp_path / f"{part}.csv", dtype=str, keep_default_na=False) for part in ("train", "test")]
    )
    last = table.groupby("pid", sort=False).last()
    assert found["patients"] == [100]
    records = table.groupby("pid").size()
    assert found["records"] == [sum(records == 1), sum(records == 2), sum(records.isin([3, 4])), sum(records == 5)]
    absent = last[["sugar", "sex", "seen", "born", "words"]].isin(["", "?"])
    assert found["missing columns"] == [sum(absent.sum(axis=1) == k) for k in range(4)] + [
        sum(absent.sum(axis=1) >= 4)
    ]
    sugar = pd.to_numeric(last["sugar"], errors="coerce").clip(0, 10)
    bins = np.minimum((sugar.dropna() / 10 * 10 + 1e-9).astype(int), 9)
    assert found["column sugar"] == [sum(bins == k) for k in range(10)] + [sum(sugar.isna())]
    assert found["column sex"] == [sum(last["sex"] == "f"), sum(last["sex"] == "m"), sum(last["sex"] == "?")]
    assert found["column ill"] == [sum(last["ill"] == "no"), sum(last["ill"] == "yes")]
    months = pd.to_datetime(last["born"], errors="coerce").dt.month
    assert found["column born"] == [sum(months == k) for k in range(1, 13)] + [sum(months.isna())]
    assert found["column words"] == [sum(last["words"] != ""), sum(last["words"] == "")]
    v = sugar / 5 - 1
    assert found["moments of sugar"] == pytest.approx([v.sum(), (v**2).sum()], abs=100 / UNIT)
    w = 2.0 * (last["ill"] == "yes") - 1
    both = sugar.notna()
    sums = [sum(both), v.sum(), w[both].sum(), (v**2).sum(), sum(both), (v * w).sum()]
    assert found["pair of 'sugar' and 'ill'"] == pytest.approx(sums, abs=100 / UNIT)
    assert found["difference of sugar"] == pytest.approx([v.sum() ** 2 / sum(both)], rel=0.02, abs=2 / UNIT)
    old = 2.0 * (last["old"] == "1") - 1
    assert found["difference of old"] == pytest.approx([old.sum() ** 2 / 100], abs=1 / UNIT)


def test_counts_of_arrays_stand_for_the_values_of_a_record() -> None:
    terms = terms_on(ARRAYS, bins=4, pairs=[["scan", "dead"]])
    random = np.random.default_rng(1)
    patient = np.array([0, 0, 1, 2, 2, 2])
    inputs: dict[str, NDArray[Any]] = {
        "scan": random.uniform(0, 1, (6, 2, 3)).astype(np.float32),
        "measured": random.integers(0, 2, (6, 4)).astype(bool),
        "codes": random.integers(0, 2, (6, 3)),
        "huge": random.integers(0, 500, 6),
    }
    targets: dict[str, NDArray[Any]] = {
        "grade": random.integers(0, 3, 6),
        "dead": random.integers(0, 2, 6).astype(bool),
    }
    found = by_group(count_statistics([Patients(inputs, targets, patient, 3)], terms), terms)
    last = [1, 2, 5]
    assert "column huge" not in found
    assert found["records"] == [1, 1, 1]
    expected = [0] * 4
    for row in last:
        expected[int(inputs["scan"][row].mean() * 4)] += 1
    assert found["column scan"] == expected
    assert found["column grade"] == [sum(targets["grade"][row] == k for row in last) for k in range(3)]
    assert found["column dead"] == [sum(not targets["dead"][row] for row in last), targets["dead"][last].sum()]
    shares = [2 * (inputs["codes"][row] != 0).mean() - 1 for row in last]
    assert found["moments of codes"] == pytest.approx([sum(shares), sum(s * s for s in shares)], abs=3 / UNIT)


def test_counts_in_several_parts_equal_those_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    terms = terms_on(CONTRACT, differences=["age"], pairs=[["age", "ill"]])
    patients = make_rows(np.random.default_rng(2), 50)
    whole = count_statistics([patients], terms)
    monkeypatch.setattr("client.training.statistics._BATCH", 7)
    assert count_statistics([patients], terms) == whole


def test_no_patients_count_as_zeros() -> None:
    terms = terms_on(CONTRACT, differences=["age"], pairs=[["age", "ill"]])
    nobody = make_rows(np.random.default_rng(2), 0)
    assert set(count_statistics([nobody, nobody], terms)) == {0}


def make_rows(random: np.random.Generator, count: int, extreme: float | None = None) -> Patients:
    """Patients of the small contract: age scaled, its indicator, two sexes, their indicator."""
    age = random.uniform(-1, 1, count) if extreme is None else np.full(count, extreme)
    sex, gone = random.integers(0, 2, count), random.random(count) < 0.2
    features = np.stack([age, random.random(count) < 0.2, sex == 0, sex == 1, gone], axis=1).astype(np.float32)
    return Patients({"features": features}, {"label": random.integers(0, 2, count)}, np.arange(count), count)


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(0, 12),
    extreme=st.sampled_from([None, 1.0, -1.0]),
    added=st.floats(allow_nan=True, allow_infinity=True, width=32),
    label=st.integers(-3, 5),
)
def test_one_patient_more_changes_no_group_by_more_than_its_bound(
    seed: int, count: int, extreme: float | None, added: float, label: int
) -> None:
    terms = terms_on(CONTRACT, differences=["age", "ill"], pairs=[["age", "ill"]])
    patients = make_rows(np.random.default_rng(seed), count, extreme)
    row = np.array([[added, seed % 2, 0, 0, added]], dtype=np.float32)  # whatever the records hold
    more = Patients(
        {"features": np.concatenate([patients.inputs["features"][:], row])},
        {"label": np.concatenate([patients.targets["label"][:], [label]])},
        np.arange(count + 1),
        count + 1,
    )
    before, after = (count_statistics([each], terms) for each in (patients, more))
    place, scaled = 0, 0.0
    for group in terms.cell_groups:
        change = np.array(after[place : place + group.cells]) - before[place : place + group.cells]
        squared = int((change**2).sum())
        assert squared <= group.squared_sensitivity, group.name
        scaled += squared / group.squared_sensitivity / len(terms.cell_groups)
        place += group.cells
    assert scaled <= 1  # all groups together are one Gaussian of sensitivity 1


def test_session_with_a_key_repeats_the_draw_and_without_noise_has_none(tmp_path: Path) -> None:
    terms = statistics_terms()
    rows = [f"a{number},{30 + number},f,{'yes' if number % 2 else 'no'}" for number in range(20)]
    files = read_files(tmp_path, terms, rows, ["b1,40,m,no"], "id,age,sex,ill")
    session = StatisticsSession(terms, files)
    assert session.run(FirstModel()).tolist() == [0.0]
    bare = session.run(ScoreModel(np.zeros(1), None))
    noised = session.run(ScoreModel(np.zeros(1), 3.0, None, b"k" * 32, 2))
    assert noised == session.run(ScoreModel(np.zeros(1), 3.0, None, b"k" * 32, 2)) != bare
    with pytest.raises(TrainingError, match="no job of a study that trains nothing"):
        session.run(ExportPersonal(None))


def test_terms_of_visits_are_accepted_as_written() -> None:
    assert parse_terms(terms_on(VISITS).model_dump(mode="json")) == terms_on(VISITS)
