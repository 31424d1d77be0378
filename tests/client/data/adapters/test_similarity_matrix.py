"""A matrix of names and numbers is read whole and in the asked order, or refused in one sentence."""

import contextlib
import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from client.data.adapters.expression import Layout
from client.data.adapters.similarity_matrix import SimilarityMatrix, read_similarity_arrays, read_similarity_table
from privacy.errors import DataError
from tests.client.data.conversion.converting import SHARED

TAB = Layout("columns")
TABLE = "\tB\tA\tother\nx\t1\t0.5\t9\n y \t0.25\tNA\t9\nz\tten\t0\t9\n"


def read(path: Path, *columns: str) -> SimilarityMatrix:
    return read_similarity_table(path, TAB, columns)


def test_table_gives_the_asked_columns_in_the_asked_order(tmp_path: Path) -> None:
    path = tmp_path / "m.tsv"
    path.write_text(TABLE)
    found = read(path, "A", "B")
    assert (list(found.rows), list(found.places)) == (["x", "y", "z"], [2, 3, 4])
    np.testing.assert_array_equal(found.values, [[0.5, 1], [np.nan, 0.25], [0, np.inf]])
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_arrays_give_the_same_as_the_table(tmp_path: Path) -> None:
    values = np.array([[1, 0.5, 9], [0.25, np.nan, 9]])
    np.savez(tmp_path / "m.npz", v=values, r=np.array(["x", "y"]), c=np.array(["B", "A", "other"]))
    found = read_similarity_arrays(tmp_path / "m.npz", "v", "r", "c", ("A", "B"))
    assert list(found.rows) == ["x", "y"]
    np.testing.assert_array_equal(found.values, np.array([[0.5, 1], [np.nan, 0.25]], np.float32))
    assert found.sha256 == hashlib.sha256((tmp_path / "m.npz").read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\tA\nx\t1\n", "lacks 1 of the contract's 2 columns, such as B"),
        ("\tA\tB\tB\nx\t1\t2\t3\n", "1 of the contract's columns stand there several times, such as 'B'"),
        ("\tA\tB\n", "has no row"),
        ("\tA\tB\nx\t1\t2\n x\t1\t2\n", "1 rows have the name of an earlier one"),
        ("\tA\tB\n\t1\t2\n", "1 rows have no name"),
        ("\tA\tB\nx\t0,5\t2\n", "1 values have a comma, and the decimal mark is a point"),
        ("\tA\tB\nx\t1\n", "1 rows do not have the 3 fields of the header"),
    ],
)
def test_table_that_is_no_such_matrix_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "m.tsv"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read(path, "A", "B")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"v": np.zeros((2, 3)), "r": np.array(["x", "y"]), "c": np.array(["A", "B"])}, r"\(2, 2\).* got \(2, 3\)"),
        (
            {"v": np.array([["a", "b"]]), "r": np.array(["x"]), "c": np.array(["A", "B"])},
            "expected numbers, got <U1",
        ),
        ({"v": np.zeros((1, 2)), "r": np.array([["x"]]), "c": np.array(["A", "B"])}, "expected a list of names"),
        ({"v": np.zeros((1, 2)), "c": np.array(["A", "B"])}, "lacks the array 'r'"),
    ],
)
def test_arrays_that_are_no_such_matrix_are_refused(
    tmp_path: Path, arrays: dict[str, np.ndarray], message: str
) -> None:
    np.savez(tmp_path / "m.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=message):
        read_similarity_arrays(tmp_path / "m.npz", "v", "r", "c", ("A", "B"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(st.data())
def test_mutated_table_gives_a_sentence_or_numbers_of_its_own_text(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(TABLE.encode())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "m.tsv"
    path.write_bytes(content)
    with contextlib.suppress(DataError):
        found = read(path, "A", "B")
        words = content.decode().replace("\n", "\t").replace("\r", "\t").split("\t")
        there = {float(np.float32(word)) for word in words if _is_number(word)}
        finite = found.values[np.isfinite(found.values)]
        assert set(finite.tolist()) <= there


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


@pytest.mark.skipif(not (SHARED / "dti").exists(), reason="shared/data/dti is not here")
@pytest.mark.parametrize("name", ["nr_simmat_dc.txt", "nr_simmat_dg.txt"])
def test_real_matrices_have_pandas_numbers(name: str) -> None:
    table = pd.read_csv(SHARED / "dti" / name, sep="\t", index_col=0)
    wanted = sorted(table.columns)
    found = read(SHARED / "dti" / name, *wanted)
    assert list(found.rows) == list(table.index)
    np.testing.assert_array_equal(found.values, table[wanted].to_numpy(np.float32))
