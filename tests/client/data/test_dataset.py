from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.small_study import CONTRACT, small_files, small_terms, write_csv, write_patients
from client.data.dataset import compute_public_count, make_study_files, read_study
from client.data.site_data import read_data
from privacy.canonical import compute_sha256
from privacy.errors import DataError, DataUnavailableError
from privacy.study import TableContract

SMALL = TableContract.model_validate(CONTRACT)
TWICE = TableContract.model_validate({**CONTRACT, "records_per_patient": 2})


def test_table_becomes_numbers_by_public_choices_alone(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "t.csv", ["a,50,f,yes", "b,20,m,no", "c,?,,never", "d,200,f,no", "e, 35 ,m,no"])
    table = read_data(SMALL, path)
    assert table.patients.inputs["features"][:].tolist() == [
        # age, age missing, f, m, sex missing
        [0.0, 0.0, 1.0, 0.0, 0.0],
        [-1.0, 0.0, 0.0, 1.0, 0.0],
        [0.0, 1.0, 0.0, 0.0, 1.0],
        [1.0, 0.0, 1.0, 0.0, 0.0],
        [-0.5, 0.0, 0.0, 1.0, 0.0],
    ]
    assert table.patients.targets["label"][:].tolist() == [1, 0, 0, 0, 0]
    assert table.patients.inputs["features"].dtype == np.float32
    assert table.patients.targets["label"].dtype == np.int64
    assert table.patients.inputs["features"].shape[1] == SMALL.width
    assert (table.clipped, table.ids, table.patients.patients) == (1, ("a", "b", "c", "d", "e"), 5)


def test_table_digest_is_that_of_the_file(tmp_path: Path) -> None:
    path = write_patients(tmp_path / "t.csv", 3, "p")
    assert read_data(SMALL, path).sha256 == compute_sha256(path.read_bytes())


def test_table_records_are_grouped_by_patient_and_cut_in_file_order(tmp_path: Path) -> None:
    rows = ["a,20,f,no", "b,30,f,no", "a,40,f,no", "c,50,f,no", "a,60,f,yes", "b,70,f,yes"]
    patients = read_data(TWICE, write_csv(tmp_path / "t.csv", rows)).patients
    ages = (patients.inputs["features"][:][:, 0] * 30 + 50).round().tolist()
    assert ages == [20, 40, 30, 70, 50]
    assert patients.patient.tolist() == [0, 0, 1, 1, 2]
    assert patients.targets["label"][:].tolist() == [0, 0, 0, 1, 0]
    assert patients.patients == 3


def test_table_patient_in_two_unicode_forms_is_one_patient(tmp_path: Path) -> None:
    rows = ["Zo\u00e9,50,f,yes", "Zoe\u0301 ,20,m,no", "\uff11,30,f,no", "1,40,f,no"]
    table = read_data(TWICE, write_csv(tmp_path / "t.csv", rows))
    assert table.ids == ("Zo\u00e9", "1")
    assert table.patients.patient.tolist() == [0, 0, 1, 1]


def test_table_reads_a_byte_order_mark_quotes_and_other_columns(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes('\ufeffid,note,ill,sex,age\r\n"a","x, ""y""\nz",yes,f,50\r\n\r\n'.encode())
    assert read_data(SMALL, path).patients.inputs["features"][:][0, 0] == 0.0


@given(st.lists(st.floats(-1000, 1000), min_size=1, max_size=20))
def test_table_scaled_numbers_stay_in_range_and_order(
    tmp_path_factory: pytest.TempPathFactory, ages: list[float]
) -> None:
    path = tmp_path_factory.mktemp("scaled") / "t.csv"
    write_csv(path, [f"{row},{age!r},f,no" for row, age in enumerate(sorted(ages))])
    table = read_data(SMALL, path)
    scaled = table.patients.inputs["features"][:][:, 0]
    assert (np.abs(scaled) <= 1).all()
    assert (np.diff(scaled) >= 0).all()
    assert table.clipped == sum(not 20 <= age <= 80 for age in ages)


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (["a,50,f,yes", "b,3 years,f,no", "c,1e999,f,no", "d,1_0,f,no", "e,nan,m,no"],
         "column 'age': 4 rows are not a number"),
        (["a,50,x,yes", "b,50,F,no"], "column 'sex': 2 rows have a word outside the vocabulary"),
        (["a,50,f,perhaps", "b,50,f,"], "column 'ill': 2 rows are neither a positive nor a negative word"),
        ([",50,f,yes", "?,50,f,no", "\u200b,50,f,no"], "column 'id': 3 rows without a patient"),
        (["a\x00b,50,f,yes", "\x07,50,f,no"], "column 'id': 2 rows have a control character in the patient"),
        (["a,50,f", "b,50,f,no,no"], "2 rows do not have the header's 4 fields"),
        ([], "has no rows"),
        (['a,50,"f,no'], "is not CSV"),
    ],
)  # fmt: skip
def test_table_that_breaks_the_contract_is_refused_by_column_and_count(
    tmp_path: Path, rows: list[str], sentence: str
) -> None:
    with pytest.raises(DataError, match=sentence) as caught:
        read_data(SMALL, write_csv(tmp_path / "t.csv", rows))
    for value in ("3 years", "1e999", "perhaps", " x", "F,"):
        assert value not in str(caught.value)


def test_table_with_several_mistakes_lists_them_together(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'ill': 1 rows.*'age': 1 rows.*'sex': 1 rows"):
        read_data(SMALL, write_csv(tmp_path / "t.csv", ["a,x,y,z"]))


def test_table_without_columns_names_them(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="breaks the contract 'small': lacks 2 columns of the contract: ill, age"):
        read_data(SMALL, write_csv(tmp_path / "t.csv", ["a,f"], header="id,sex"))


def test_table_with_a_column_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="names a column twice: age"):
        read_data(SMALL, write_csv(tmp_path / "t.csv", ["a,1,2,f,no"], header="id,age,age,sex,ill"))


@pytest.mark.parametrize(
    ("content", "sentence"), [(b"", "is empty; the first line must name the columns"), (b"\xff\xfe1", "in UTF-8")]
)
def test_table_of_other_bytes_is_refused(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=sentence):
        read_data(SMALL, path)


def test_table_that_is_not_there_cannot_be_read_now(tmp_path: Path) -> None:
    with pytest.raises(DataUnavailableError, match=r"none\.csv: cannot be read: No such file"):
        read_data(SMALL, tmp_path / "none.csv")


def test_table_shows_no_record_when_printed(tmp_path: Path) -> None:
    table = read_data(SMALL, write_csv(tmp_path / "t.csv", ["secret-id,50,f,yes"]))
    assert "secret-id" not in repr(table)
    assert "array" not in repr(table)


@pytest.mark.parametrize(("patients", "public"), [(10, 10), (19, 10), (20, 20), (1234, 1230)])
def test_public_count_is_rounded_down_to_tens(patients: int, public: int) -> None:
    assert compute_public_count(patients) == public


def test_public_count_of_fewer_than_ten_is_refused() -> None:
    with pytest.raises(DataError, match="at least 10 training patients, got 9"):
        compute_public_count(9)


def test_register_fixes_digests_and_public_count(tmp_path: Path) -> None:
    files = small_files(tmp_path, small_terms(), train=67)
    assert files.public_patients == 60
    assert files.train_sha256 == compute_sha256(files.train.read_bytes())
    training, testing = read_study(files)
    assert (training.patients.patients, testing.patients.patients) == (67, 30)


def test_register_patient_in_both_files_is_refused_with_the_count(tmp_path: Path) -> None:
    train = write_patients(tmp_path / "train.csv", 30, "p")
    test = write_patients(tmp_path / "test.csv", 5, "p")
    with pytest.raises(DataError, match="5 patients are in the training file and in the test file"):
        make_study_files(SMALL, train, test)


def test_register_patient_in_both_files_in_two_unicode_forms_is_refused(tmp_path: Path) -> None:
    rows = [f"p{number},50,f,yes" for number in range(20)]
    train = write_csv(tmp_path / "train.csv", [*rows, "Zo\u00e9,60,f,yes"])
    test = write_csv(tmp_path / "test.csv", ["q1,40,m,no", "Zoe\u0301,62,m,no"])
    with pytest.raises(DataError, match="1 patients are in the training file and in the test file"):
        make_study_files(SMALL, train, test)


def test_read_study_of_a_file_that_changed_is_refused(tmp_path: Path) -> None:
    files = small_files(tmp_path, small_terms())
    write_patients(files.test, 31, "c")
    with pytest.raises(DataError, match=r"test\.csv: the file changed since it was registered"):
        read_study(files)
