"""Files of every kind become named tensors, grouped by patient; numpy and plain loops are the oracles."""

import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import client.data.site_data
from benchmarks.small_study import CONTRACT, write_csv
from client.data.dataset import make_study_files, read_study
from client.data.examples import treat_records_as_patients
from client.data.lazy_array import LazyArray
from client.data.objections import Objections, compute_patient_digest
from client.data.site_data import read_data
from privacy.canonical import compute_sha256
from privacy.errors import DataError
from privacy.study import TableContract
from tests.client.data.named_arrays import choose_writer, make_arrays, make_contract, write_arrays

SECRET = b"s" * 32


@pytest.fixture
def in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even small arrays are read from their file when they are used."""
    monkeypatch.setattr(client.data.site_data, "MAX_LOADED", 0)


# Tables: labels of every kind ------------------------------------------------------------------------------


def table(folder: Path, label: dict[str, Any], header: str, rows: list[str], **changes: Any) -> Any:
    contract = TableContract.model_validate({**CONTRACT, "label": label, **changes})
    return read_data(contract, write_csv(folder / "t.csv", rows, header=header)).patients


def test_table_with_classes_becomes_their_places(tmp_path: Path) -> None:
    label = {"kind": "class", "name": "grade", "classes": [["low"], ["mid", "middle"], ["high"]]}
    rows = ["a,50,f,high", "b,50,f,middle", "c,50,f,low", "d,50,f,mid"]
    grade = table(tmp_path, label, "id,age,sex,grade", rows).targets["label"]
    assert (grade.tolist(), grade.dtype) == ([2, 1, 0, 1], np.int64)


def test_table_with_a_number_to_predict_scales_and_clips_it(tmp_path: Path) -> None:
    label = {"kind": "number", "name": "score", "low": -10, "high": 30}
    rows = ["a,50,f,-10", "b,50,f,0", "c,50,f,31.5", "d,50,f,-1e3"]
    score = table(tmp_path, label, "id,age,sex,score", rows).targets["label"]
    assert (score.tolist(), score.dtype) == ([0.0, 0.25, 1.0, 0.0], np.float32)


def test_table_with_several_labels_becomes_flags(tmp_path: Path) -> None:
    columns = [{"name": name, "positive": ["1"], "negative": ["0"]} for name in ("x", "y", "z")]
    rows = ["a,50,f,1,0,0", "b,50,f,0,0,1"]
    flags = table(tmp_path, {"kind": "several", "columns": columns}, "id,age,sex,x,y,z", rows).targets["labels"]
    assert (flags.tolist(), flags.dtype) == ([[True, False, False], [False, False, True]], np.bool_)


SURVIVAL = {
    "kind": "survival", "time": "days", "longest": 100, "event": "end", "censored": ["alive", "lost"],
    "causes": [["heart"], ["other", "unknown"]],
}  # fmt: skip


def test_table_with_survival_becomes_time_and_cause_and_is_censored_at_the_longest_time(tmp_path: Path) -> None:
    rows = ["a,50,f,25,alive", "b,50,f,50,heart", "c,50,f,100,unknown", "d,50,f,101,heart", "e,50,f,0,lost"]
    targets = table(tmp_path, SURVIVAL, "id,age,sex,days,end", rows).targets
    assert targets["time"].tolist() == [0.25, 0.5, 1.0, 1.0, 0.0]
    assert targets["event"].tolist() == [0, 1, 2, 0, 0]
    assert (targets["time"].dtype, targets["event"].dtype) == (np.float32, np.int64)


def test_table_in_the_unit_range_has_missing_numbers_in_the_middle(tmp_path: Path) -> None:
    rows = ["a,20,f,yes", "b,80,m,no", "c,?,?,no", "d,35,f,no"]
    patients = table(tmp_path, CONTRACT["label"], "id,age,sex,ill", rows, scaled="unit")
    assert patients.inputs["features"].tolist() == [
        [0.0, 0.0, 1.0, 0.0, 0.0],
        [1.0, 0.0, 0.0, 1.0, 0.0],
        [0.5, 1.0, 0.0, 0.0, 1.0],
        [0.25, 0.0, 1.0, 0.0, 0.0],
    ]


@pytest.mark.parametrize(
    ("label", "header", "row", "sentences"),
    [
        ({"kind": "class", "name": "g", "classes": [["a"], ["b"]]}, "g", "secret", ["'g': 1 rows have a word that"]),
        ({"kind": "number", "name": "g", "low": 0, "high": 1}, "g", "", ["'g': 1 rows are not a number"]),
        (SURVIVAL, "days,end", "-1,secret", ["'days': 1 rows are a time below 0", "'end': 1 rows have a word"]),
        (SURVIVAL, "days,x", "1,alive", ["lacks 1 column of the contract: end"]),
        (
            {"kind": "several", "columns": [{"name": n, "positive": ["1"], "negative": ["0"]} for n in "xy"]},
            "x,y", "2,secret", ["'x': 1 rows are neither", "'y': 1 rows are neither"],
        ),
    ],
)  # fmt: skip
def test_table_with_a_label_that_breaks_the_contract_names_every_column(
    tmp_path: Path, label: dict[str, Any], header: str, row: str, sentences: list[str]
) -> None:
    with pytest.raises(DataError) as caught:
        table(tmp_path, label, f"id,age,sex,{header}", [f"a,x,f,{row}"])
    for sentence in [*sentences, "column 'age': 1 rows are not a number"]:
        assert sentence in str(caught.value)
    assert "secret" not in str(caught.value)


# Arrays ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("packed", [False, True])
def test_arrays_become_scaled_tensors_of_the_contracts_types(tmp_path: Path, packed: bool) -> None:
    arrays = make_arrays()
    path = choose_writer(packed=packed)(tmp_path / "a.npz", **arrays, other=np.arange(3))
    data = read_data(make_contract(), path)
    patients = data.patients
    assert set(patients.inputs) == {"image", "codes", "missing"}
    np.testing.assert_allclose(patients.inputs["image"][:], arrays["image"] / 255, rtol=1e-6)
    np.testing.assert_array_equal(patients.inputs["codes"][:], arrays["codes"])
    np.testing.assert_array_equal(patients.inputs["missing"][:], arrays["missing"])
    np.testing.assert_array_equal(patients.targets["label"][:], arrays["label"])
    types = {name: patients.find(name).dtype for name in ("image", "codes", "missing", "label")}
    assert types == {"image": np.float32, "codes": np.int64, "missing": np.bool_, "label": np.int64}
    assert (data.ids, patients.patients, patients.records) == (tuple(arrays["patient"]), 24, 24)
    assert data.sha256 == compute_sha256(path.read_bytes())


@pytest.mark.usefixtures("in_parts")
@pytest.mark.parametrize("packed", [False, True])
def test_arrays_are_read_when_their_records_are_selected(tmp_path: Path, packed: bool) -> None:
    arrays = make_arrays()
    patients = read_data(make_contract(), choose_writer(packed=packed)(tmp_path / "a.npz", **arrays)).patients
    image = patients.inputs["image"]
    assert isinstance(image, LazyArray)
    assert (len(image), image.shape, image.dtype) == (24, (24, 3, 4), np.dtype(np.float32))
    whole = (arrays["image"] / 255).astype(np.float32)
    for rows in (np.array([5, 0, 5]), slice(2, 9), np.arange(24) % 2 == 0, np.array([], dtype=np.int64)):
        part = image[rows]
        np.testing.assert_array_equal(part, whole[rows])
        assert part.flags.writeable
        assert part.flags.c_contiguous
    assert treat_records_as_patients(patients).inputs["image"] is image


@pytest.mark.usefixtures("in_parts")
def test_arrays_are_grouped_by_patient_and_cut_in_file_order(tmp_path: Path) -> None:
    arrays = {**make_arrays(6), "patient": np.array(["a", "b", "a", "c", " a", "b\u200b"])}
    path = write_arrays(tmp_path / "a.npz", **arrays)
    data = read_data(make_contract(records_per_patient=2), path)
    assert (data.ids, data.patients.patient.tolist()) == (("a", "b", "c"), [0, 0, 1, 1, 2])
    kept = [0, 2, 1, 5, 3]
    np.testing.assert_array_equal(data.patients.inputs["codes"][:], arrays["codes"][kept])
    np.testing.assert_array_equal(data.patients.inputs["codes"][np.array([4, 1])], arrays["codes"][[3, 2]])
    np.testing.assert_array_equal(data.patients.targets["label"][:], arrays["label"][kept])


@pytest.mark.usefixtures("in_parts")
def test_arrays_leave_out_patients_who_object(tmp_path: Path) -> None:
    arrays = make_arrays(12)
    train = write_arrays(tmp_path / "train.npz", **arrays)
    test = write_arrays(tmp_path / "test.npz", **make_arrays(6, "q"))
    files, everybody = make_study_files(make_contract(), train, test)
    assert (len(everybody), files.public_patients) == (18, 10)
    objections = Objections(SECRET, {compute_patient_digest(SECRET, "P3"): "2026-03-31"})
    assert objections.includes("p3")
    all_of_them = Objections(SECRET, {compute_patient_digest(SECRET, f"q{each}"): "" for each in range(6)})
    training, testing = read_study(replace(files, objections=all_of_them))
    assert (training.patients.patients, testing.patients.patients) == (12, 0)
    assert testing.patients.inputs["image"][:].shape == (0, 3, 4)
    arrays["patient"][3] = "P3"
    one_left_out = read_data(make_contract(), write_arrays(tmp_path / "b.npz", **arrays), objections)
    assert "P3" not in one_left_out.ids
    np.testing.assert_array_equal(one_left_out.patients.inputs["codes"][:], np.delete(arrays["codes"], 3, axis=0))


def test_arrays_of_a_patient_in_both_files_are_refused(tmp_path: Path) -> None:
    train = write_arrays(tmp_path / "train.npz", **make_arrays(12))
    numbers = {**make_arrays(6, "q"), "patient": np.array(["q1", "p11", "\uff50\uff12", "q2", "q3", "p0"])}
    with pytest.raises(DataError, match="3 patients are in the training file and in the test file"):
        make_study_files(make_contract(), train, write_arrays(tmp_path / "test.npz", **numbers))


def test_arrays_of_another_file_than_registered_are_refused(tmp_path: Path) -> None:
    train = write_arrays(tmp_path / "train.npz", **make_arrays(12))
    test = write_arrays(tmp_path / "test.npz", **make_arrays(6, "q"))
    files, _ = make_study_files(make_contract(), train, test)
    write_arrays(test, **make_arrays(6, "q", seed=1))
    with pytest.raises(DataError, match=r"test\.npz: the file changed since it was registered"):
        read_study(files)


@pytest.mark.usefixtures("in_parts")
@pytest.mark.parametrize("change", ["byte", "cut"])
def test_arrays_of_a_file_that_is_changed_while_it_is_used_are_not_read_on(tmp_path: Path, change: str) -> None:
    path = write_arrays(tmp_path / "a.npz", **make_arrays())
    image = read_data(make_contract(), path).patients.inputs["image"]
    image[:5]
    with path.open("r+b") as file:
        if change == "byte":
            file.seek(300)
            file.write(b"\xff")
        else:
            file.truncate(100)
    with pytest.raises(DataError, match="the file changed while it was used"):
        image[:5]


@pytest.mark.usefixtures("in_parts")
def test_arrays_of_a_file_that_is_replaced_are_read_on_as_they_were(tmp_path: Path) -> None:
    path, arrays = tmp_path / "a.npz", make_arrays()
    image = read_data(make_contract(), write_arrays(path, **arrays)).patients.inputs["image"]
    write_arrays(tmp_path / "b.npz", **make_arrays(seed=1)).replace(path)
    np.testing.assert_array_equal(image[:], (arrays["image"] / 255).astype(np.float32))


@pytest.mark.parametrize(("ids", "names"), [
    (np.array([7, 7, 12], dtype=np.uint16), ("7", "12")),
    (np.array([-1, 0, 9], dtype=">i8"), ("-1", "0", "9")),
    (np.array(["\u00e9", "e\u0301", "x"]), ("\u00e9", "x")),
    (np.array(["\u00e9".encode(), b"b", b"b"]), ("\u00e9", "b")),
])  # fmt: skip
def test_arrays_name_patients_by_text_or_whole_numbers(
    tmp_path: Path, ids: NDArray[Any], names: tuple[str, ...]
) -> None:
    path = write_arrays(tmp_path / "a.npz", **{**make_arrays(3), "patient": ids})
    assert read_data(make_contract(records_per_patient=3), path).ids == names


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_arrays_of_any_type_and_order_are_those_that_were_written(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("round")
    records = data.draw(st.integers(1, 7))
    shape = tuple(data.draw(st.lists(st.integers(1, 3), max_size=3)))
    kind = data.draw(st.sampled_from(["<f4", ">f8", "<f2", "u1", ">i2", "<i8", "?"]))
    order = data.draw(st.sampled_from("CF"))
    seed, packed, loaded = data.draw(st.integers(0, 99)), data.draw(st.booleans()), data.draw(st.booleans())
    drawn = np.random.default_rng(seed).uniform(0, 90, (records, *shape)).astype(kind)
    values = np.asfortranarray(drawn) if order == "F" else drawn
    contract = make_contract(
        inputs=[{"type": "number", "name": "x", "shape": shape, "low": 10, "high": 60, "scaled": "signed"}],
        targets=[],
    )
    path = choose_writer(packed=packed)(folder / "a.npz", x=values, patient=np.arange(records)[::-1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client.data.site_data, "MAX_LOADED", 1 << 20 if loaded else 0)
        array = read_data(contract, path).patients.inputs["x"]
    assert isinstance(array, LazyArray) is not loaded
    expected = [2 * (min(max(float(each), 10), 60) - 10) / 50 - 1 for each in values.ravel()]
    np.testing.assert_allclose(np.asarray(array[:]).ravel(), expected, atol=1e-6)


HIGH_WATER = """
import sys
from pathlib import Path
import numpy as np
from client.data.site_data import read_data
from privacy.study import ArraysContract

def measure_peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 1024

contract = ArraysContract.model_validate({
    "kind": "arrays", "name": "a", "ranges_from": "invented",
    "inputs": [{"type": "number", "name": "x", "shape": [128, 1024], "low": 0, "high": 255}],
})
before = measure_peak()
image = read_data(contract, Path(sys.argv[1])).patients.inputs["x"]
random = np.random.default_rng(0)
total = 0.0
for _ in range(60):
    total += float(image[random.integers(0, len(image), 32)].sum())
print(measure_peak() - before, total)
"""


def test_arrays_of_600_megabytes_are_checked_and_read_in_parts_within_100(tmp_path: Path) -> None:
    records = 4800  # of 128 KiB
    path = tmp_path / "large.npz"
    with zipfile.ZipFile(path, "w") as archive:
        with archive.open("patient.npy", "w") as file:
            np.lib.format.write_array(file, np.arange(records))
        with archive.open("x.npy", "w", force_zip64=True) as file:
            header = {"descr": "|u1", "fortran_order": False, "shape": (records, 128, 1024)}
            np.lib.format.write_array_header_1_0(file, header)
            for start in range(0, records, 100):
                file.write(bytes([start // 100]) * (100 << 17))
    done = subprocess.run(
        [sys.executable, "-c", HIGH_WATER, str(path)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    growth, total = (float(each) for each in done.stdout.split())
    assert growth < 100
    random = np.random.default_rng(0)
    chosen = np.concatenate([random.integers(0, records, 32) for _ in range(60)])
    assert total == pytest.approx(float((chosen // 100).sum()) * (1 << 17) / 255, rel=1e-5)
