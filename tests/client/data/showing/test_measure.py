"""What the page counts, against plain numpy and Python on the raw values."""

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchmarks.small_study import write_csv
from client.data.showing.bars import Distribution
from client.data.showing.measure import BINS, MOST_BARS, Beyond, count_records, measure
from client.data.showing.views import list_views
from client.data.site_data import read_contents
from privacy.study import AnyContract, ArraysContract, TableContract
from tests.client.data.named_arrays import make_arrays, make_contract, write_arrays

TABLE = TableContract.model_validate(
    {
        "name": "ward",
        "patient": "id",
        "ranges_from": "invented",
        "features": [
            {"kind": "number", "name": "age", "low": 20, "high": 80},
            {"kind": "category", "name": "sex", "values": ["f", "m"]},
            {"kind": "date", "name": "seen", "earliest": "2020-01-01", "latest": "2024-01-01"},
            {"kind": "date", "name": "born", "taken": "month"},
            {"kind": "text", "name": "note", "words": ["pain", "fever"]},
        ],
        "label": {"kind": "class", "name": "end", "classes": [["home"], ["ward", "unit"], ["dead"]]},
    }
)


def shown(contract: AnyContract, train: Path, test: Path) -> dict[str, Distribution]:
    """Every distribution of two files, by name."""
    views, both = list_views(contract), [read_contents(contract, path) for path in (train, test)]
    assert not any(contents.mistakes for contents in both)
    arrays = [{**contents.inputs, **contents.targets} for contents in both]
    beyond = [
        {each.name: Beyond(each.below, each.above) for each in (*contents.counts, *contents.target_counts)}
        for contents in both
    ]
    tensors = (*contract.list_inputs(), *contract.list_targets())
    return {each.name: each for each in measure(views, tensors, arrays[0], arrays[1], (beyond[0], beyond[1]))}


def write_ward(path: Path, records: int, seed: int) -> Path:
    """Patients of the ward, some of them with missing values, some beyond a range."""
    random = np.random.default_rng(seed)
    rows = []
    for number in range(records):
        age = "" if random.random() < 0.1 else str(random.integers(10, 100))
        seen = f"{random.integers(2019, 2026)}-{random.integers(1, 13):02}-{random.integers(1, 29):02}"
        born = f"{random.integers(1930, 2000)}-{random.integers(1, 13):02}-{random.integers(1, 29):02}"
        note = random.choice(["", "Pain!", "fever and pain", "nothing"])
        end = random.choice(["home", "ward", "unit", "dead"])
        rows.append(f"p{number},{age},{random.choice(['f', 'm', '?'])},{seen},{born},{note},{end}")
    return write_csv(path, rows, header="id,age,sex,seen,born,note,end")


@pytest.fixture
def ward(tmp_path: Path) -> tuple[dict[str, Distribution], list[dict[str, str]]]:
    """What is shown of two files of the ward, and the raw rows of the first."""
    train, test = write_ward(tmp_path / "train.csv", 500, 1), write_ward(tmp_path / "test.csv", 80, 2)
    return shown(TABLE, train, test), list(csv.DictReader(train.read_text(encoding="utf-8").splitlines()))


def test_numbers_of_a_table_are_counted_as_numpy_counts_them(
    ward: tuple[dict[str, Distribution], list[dict[str, str]]],
) -> None:
    distributions, rows = ward
    ages = np.array([float(row["age"]) for row in rows if row["age"]])
    inside = ages[(ages >= 20) & (ages <= 80)]
    age = distributions["age"].training
    assert list(age.counts) == np.histogram(inside, bins=BINS, range=(20, 80))[0].tolist()
    assert (age.below, age.above) == (int((ages < 20).sum()), int((ages > 80).sum()))
    assert (age.missing, age.total) == (sum(not row["age"] for row in rows), len(ages))
    days = np.array([np.datetime64(row["seen"]) for row in rows])
    first, last = np.datetime64("2020-01-01"), np.datetime64("2024-01-01")
    numbers = (days[(days >= first) & (days <= last)] - first).astype(int)
    seen = distributions["seen"]
    assert list(seen.training.counts) == np.histogram(numbers, bins=BINS, range=(0, 1461))[0].tolist()
    assert (seen.unit, seen.training.above) == ("day", int((days > last).sum()))


def test_words_of_a_table_are_counted_by_name(
    ward: tuple[dict[str, Distribution], list[dict[str, str]]],
) -> None:
    distributions, rows = ward
    sex = distributions["sex"]
    counted = Counter(row["sex"] for row in rows)
    assert dict(zip(sex.labels, sex.training.counts, strict=True)) == {"f": counted["f"], "m": counted["m"]}
    assert (sex.training.missing, sex.training.total) == (counted["?"], 500 - counted["?"])
    end = distributions["end"]
    ends = Counter(row["end"] for row in rows)
    assert dict(zip(end.labels, end.training.counts, strict=True)) == {
        "home": ends["home"], "ward, unit": ends["ward"] + ends["unit"], "dead": ends["dead"],
    }  # fmt: skip
    assert end.role == "target"
    note = distributions["note"]
    found = {word: sum(word in row["note"].lower() for row in rows) for word in ("pain", "fever")}
    assert dict(zip(note.labels, note.training.counts, strict=True)) == found
    assert note.training.missing == sum(not row["note"] for row in rows)
    months = Counter(int(row["born"][5:7]) for row in rows)
    assert list(distributions["born"].training.counts) == [months[month] for month in range(1, 13)]


def test_arrays_are_counted_over_all_their_values(tmp_path: Path) -> None:
    arrays, others = make_arrays(60), make_arrays(24, "q", seed=3)
    arrays["image"] = arrays["image"].astype(np.float32)
    arrays["image"][0, 0] = [-5, 300, 255, 0]
    train, test = write_arrays(tmp_path / "a.npz", **arrays), write_arrays(tmp_path / "b.npz", **others)
    found = shown(make_contract(), train, test)
    inside = arrays["image"][(arrays["image"] >= 0) & (arrays["image"] <= 255)]
    image = found["image"].training
    assert list(image.counts) == np.histogram(inside, bins=BINS, range=(0, 255))[0].tolist()
    assert (image.below, image.above, image.total) == (1, 1, 720)
    codes = found["codes"]
    counted = Counter(arrays["codes"].reshape(-1).tolist())
    assert dict(zip(codes.labels, codes.training.counts, strict=True)) == {
        str(each): counted[each] for each in range(10)
    }
    assert list(found["missing"].training.counts) == arrays["missing"].sum(axis=0).tolist()
    assert list(found["label"].test.counts) == [8, 8, 8]


def test_of_many_words_the_most_frequent_are_shown_and_the_others_counted(tmp_path: Path) -> None:
    contract = make_contract(inputs=[{"type": "id", "name": "codes", "shape": [5], "values": 1000}])
    random = np.random.default_rng(0)
    files, drawn = [], []
    for name in ("a", "b"):
        codes = np.minimum(random.geometric(0.05, (200, 5)), 999)
        drawn.append(codes)
        patient = np.array([f"{name}{number}" for number in range(200)])
        files.append(write_arrays(tmp_path / f"{name}.npz", patient=patient, codes=codes, label=np.arange(200) % 3))
    found = shown(contract, files[0], files[1])["codes"]
    both = Counter(np.concatenate(drawn).reshape(-1).tolist())
    assert len(found.labels) == MOST_BARS
    assert found.others == len(both) - MOST_BARS
    least = min(first + second for first, second in zip(found.training.counts, found.test.counts, strict=True))
    assert least >= sorted(both.values(), reverse=True)[MOST_BARS - 1]


def test_values_of_a_series_that_were_not_observed_are_missing(tmp_path: Path) -> None:
    contract = ArraysContract.model_validate(
        {
            "kind": "arrays", "name": "stay", "patient": "patient", "ranges_from": "invented",
            "inputs": [
                {"type": "number", "name": "values", "shape": [4, 2], "low": -1, "high": 1, "scaled": "none"},
                {"type": "flag", "name": "observed", "shape": [4, 2]},
                {"type": "flag", "name": "present", "shape": [4]},
            ],
            "targets": [{"type": "id", "name": "label", "values": 2}],
        }
    )  # fmt: skip
    random = np.random.default_rng(0)
    present = np.arange(4) < random.integers(1, 5, (50, 1))
    arrays: dict[str, Any] = {
        "patient": np.array([f"p{number}" for number in range(50)]),
        "values": random.uniform(-1, 1, (50, 4, 2)).astype(np.float32),
        "observed": random.random((50, 4, 2)) < 0.5,
        "present": present,
        "label": np.arange(50) % 2,
    }
    path = write_arrays(tmp_path / "a.npz", **arrays)
    found = shown(contract, path, path)
    there = arrays["observed"][:, :, 1] & present
    second = found["values [1]"].training
    kept = arrays["values"][:, :, 1][there]
    assert list(second.counts) == np.histogram(kept, bins=BINS, range=(-1, 1))[0].tolist()
    assert (second.total, second.missing) == (int(there.sum()), int(present.sum() - there.sum()))
    rates = found["observed"].training
    expected = [int((arrays["observed"][:, :, place] & present).sum()) for place in range(2)]
    assert (list(rates.counts), rates.total) == (expected, int(present.sum()))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-50, 350), min_size=1, max_size=60), st.integers(1, 7))
def test_whole_numbers_on_any_public_range_fall_into_the_bins_of_a_plain_loop(ages: list[int], step: int) -> None:
    low, high = 0, 20 * step
    expected, below, above = [0] * BINS, 0, 0
    for age in ages:
        below, above = below + (age < low), above + (age > high)
        if low <= age <= high:
            expected[min((age - low) * BINS // (high - low), BINS - 1)] += 1
    contract = ArraysContract.model_validate(
        {
            "kind": "arrays", "name": "n", "patient": "patient", "ranges_from": "invented",
            "inputs": [{"type": "number", "name": "x", "low": low, "high": high}],
            "targets": [{"type": "id", "name": "label", "values": 2}],
        }
    )  # fmt: skip
    scaled = np.clip((np.array(ages, np.float64) - low) / (high - low), 0, 1).astype(np.float32)
    arrays: dict[str, NDArray[Any]] = {"x": scaled, "label": np.zeros(len(ages), np.int64)}
    tensors = (*contract.list_inputs(), *contract.list_targets())
    found = measure(list_views(contract), tensors, arrays, arrays, ({"x": Beyond(below, above)}, {}))
    (x,) = [each for each in found if each.name == "x"]
    assert list(x.training.counts) == expected


def test_records_of_patients_are_counted() -> None:
    assert count_records(["a", "b", "a", "c", "a"]) == (5, 3, {1: 2, 3: 1})
