"""h5ad, 10x and GCTX files give the numbers that were written; a damaged one gives a sentence."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import sparse

from client.data.adapters import hdf5_matrix, scratch_matrix
from client.data.adapters.hdf5_matrix import Hdf5Matrix
from privacy.errors import DataError
from tests.client.data.conversion.converting import SHARED

h5py = pytest.importorskip("h5py", reason="needs the extra genomics")
SAMPLES, GENES = 7, 5
DENSE: NDArray[np.float64] = sparse.random(SAMPLES, GENES, 0.4, random_state=0).toarray()
WANTED = ("g4", "g0", "g3")


def read(
    path: Path, kind: Any = "h5ad", **keys: Any
) -> tuple[Hdf5Matrix, NDArray[np.float64], dict[str, list[str]]]:
    scratch = path.with_suffix(".scratch")
    scratch.unlink(missing_ok=True)
    matrix = Hdf5Matrix(path, kind, lambda name: name if name in WANTED else None, scratch, **keys)
    blocks = list(matrix.read_blocks())
    names = [name for block in blocks for name in block.samples]
    words = {name: [word for block in blocks for word in block.words[name]] for name in matrix.word_names}
    assert names == [f"c{n}" for n in range(len(names))]
    return matrix, np.concatenate([block.values for block in blocks]), words


def write_h5ad(path: Path, values: Any, place: str = "X") -> Path:
    """A file as anndata 0.8 and later writes it."""
    with h5py.File(path, "w") as file:
        if sparse.issparse(values):
            group = file.create_group(place)
            group.attrs["encoding-type"] = f"{values.format}_matrix"
            group.attrs["shape"] = values.shape
            for name in ("data", "indices", "indptr"):
                group[name] = getattr(values, name)
        else:
            file[place] = values
        for group, letter, count in (("obs", "c", SAMPLES), ("var", "g", GENES)):
            file.create_group(group).attrs["_index"] = "names"
            file[f"{group}/names"] = [f"{letter}{n}" for n in range(count)]
        file["var/symbol"] = ["g0", "x", "g3", "g4", "y"]
        file["obs/age"] = np.arange(SAMPLES)
        file["obs/weight"] = np.arange(SAMPLES) / 2
        file["obs/ill"] = np.arange(SAMPLES) > 2
        donor = file.create_group("obs/donor")
        donor.attrs["encoding-type"] = "categorical"
        donor["codes"], donor["categories"] = np.array([0, 1, -1, 0, 1, 1, 0], dtype=np.int8), ["d\u00e9", "7"]
    return path


@pytest.mark.parametrize("form", [np.array, sparse.csr_matrix, sparse.csc_matrix], ids=["dense", "csr", "csc"])
@pytest.mark.parametrize("block", [1, 8, 1000])
def test_h5ad_in_any_form_and_blocks_gives_the_wanted_genes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: Any, block: int
) -> None:
    for module in (hdf5_matrix, scratch_matrix):
        monkeypatch.setattr(module, "_BLOCK", block)
    matrix, values, _ = read(write_h5ad(tmp_path / "m.h5ad", form(DENSE)))
    assert list(matrix.genes) == ["g0", "g3", "g4"]
    np.testing.assert_array_equal(values, DENSE[:, [0, 3, 4]])


def test_h5ad_columns_of_samples_become_words(tmp_path: Path) -> None:
    _, _, words = read(write_h5ad(tmp_path / "m.h5ad", DENSE))
    assert words == {
        "age": ["0", "1", "2", "3", "4", "5", "6"],
        "weight": ["0", "0.5", "1", "1.5", "2", "2.5", "3"],
        "ill": ["false"] * 3 + ["true"] * 4,
        "donor": ["d\u00e9", "7", "", "d\u00e9", "7", "7", "d\u00e9"],
    }


def test_h5ad_column_that_nobody_asks_for_is_not_looked_at(tmp_path: Path) -> None:
    path = write_h5ad(tmp_path / "m.h5ad", DENSE)
    with h5py.File(path, "a") as file:
        file["obs/odd"] = np.zeros((SAMPLES, 2))
    with pytest.raises(DataError, match="'obs/odd' is no column"):
        read(path)
    matrix = Hdf5Matrix(path, "h5ad", lambda name: name, tmp_path / "s", words=("age",))
    (block,) = matrix.read_blocks()
    assert (list(block.words), "odd" in matrix.word_names) == (["age"], True)


def test_h5ad_identifier_that_is_a_number_with_a_point_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'obs/weight' is an identifier that is stored as a number with a point"):
        read(write_h5ad(tmp_path / "m.h5ad", DENSE), ids=("weight",))


def test_h5ad_layer_and_names_of_genes_are_taken_as_named(tmp_path: Path) -> None:
    matrix, values, _ = read(
        write_h5ad(tmp_path / "m.h5ad", DENSE, "layers/counts"), layer="counts", names="symbol"
    )
    assert list(matrix.genes) == ["g0", "g3", "g4"]
    np.testing.assert_array_equal(values, DENSE[:, [0, 2, 3]])


def test_10x_and_gctx_give_the_wanted_genes(tmp_path: Path) -> None:
    columns = sparse.csr_matrix(DENSE)  # features x barcodes, compressed by barcode
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for name in ("data", "indices", "indptr"):
            file[f"matrix/{name}"] = getattr(columns, name)
        file["matrix/shape"] = [GENES, SAMPLES]
        file["matrix/barcodes"] = np.array([f"c{n}" for n in range(SAMPLES)], dtype="S")
        file["matrix/features/id"] = np.array([f"g{n}" for n in range(GENES)], dtype="S")
    np.testing.assert_array_equal(read(tmp_path / "x.h5", "10x")[1], DENSE[:, [0, 3, 4]])
    with h5py.File(tmp_path / "x.gctx", "w") as file:
        file["0/DATA/0/matrix"] = DENSE
        file["0/META/ROW/id"] = np.array([f"g{n}" for n in range(GENES)], dtype="S")
        file["0/META/COL/id"] = np.array([f"c{n}" for n in range(SAMPLES)], dtype="S")
        file["0/META/COL/plate"] = np.arange(SAMPLES)
    _, values, words = read(tmp_path / "x.gctx", "gctx")
    np.testing.assert_array_equal(values, DENSE[:, [0, 3, 4]])
    assert words == {"plate": [str(n) for n in range(SAMPLES)]}


def test_value_stored_twice_is_added_as_scipy_does(tmp_path: Path) -> None:
    twice = sparse.csr_matrix(
        (np.array([1.0, 2.0]), np.array([0, 0]), np.array([0, 2, *[2] * (SAMPLES - 1)])), DENSE.shape
    )
    _, values, _ = read(write_h5ad(tmp_path / "m.h5ad", twice))
    np.testing.assert_array_equal(values, twice.toarray()[:, [0, 3, 4]])


def damage(path: Path, place: str, values: Any) -> Path:
    with h5py.File(path, "a") as file:
        del file[place]
        file[place] = values
    return path


@pytest.mark.parametrize(
    ("place", "values", "sentence"),
    [
        ("X/indptr", np.arange(3), "'X/indptr' is damaged"),
        ("X/indptr", np.array([0, 9, 1, 1, 1, 1, 1, 1]), "do not belong together"),
        ("X/indices", np.full(14, 99), "its indices are damaged"),
        ("X/indices", np.full(14, -1), "its indices are damaged"),
        ("obs/names", ["a", "b"], "expected 2 samples and 5 genes"),
        ("obs/names", ["a"] * SAMPLES, "6 samples have the name of an earlier one"),
        ("obs/donor/codes", np.array([9] * SAMPLES), "a category that is not listed"),
        ("obs/age", np.arange(3), "column 'age' does not have a word for each of 7 samples"),
        ("var/names", np.arange(GENES), "'var/names' is no column of text"),
        ("X", np.zeros((2, 2, 2)), "expected a matrix of two axes"),
    ],
)
def test_h5ad_that_is_damaged_is_refused_with_a_sentence(
    tmp_path: Path, place: str, values: Any, sentence: str
) -> None:
    path = damage(write_h5ad(tmp_path / "m.h5ad", sparse.csr_matrix(DENSE)), place, values)
    with pytest.raises(DataError, match=sentence) as refused:
        read(path)
    assert str(refused.value).startswith(f"{path}: ")


def test_h5ad_column_that_says_it_is_huge_is_refused_before_it_is_loaded(tmp_path: Path) -> None:
    path = write_h5ad(tmp_path / "m.h5ad", DENSE)
    with h5py.File(path, "a") as file:
        del file["obs/age"]
        file.create_dataset("obs/age", shape=(1 << 40,), dtype="f8", chunks=(1 << 10,))  # nothing is stored
    assert path.stat().st_size < 1 << 20
    with pytest.raises(DataError, match="'obs/age' has more than"):
        read(path)


def test_h5ad_that_links_to_another_file_is_refused(tmp_path: Path) -> None:
    write_h5ad(tmp_path / "other.h5ad", DENSE)
    path = write_h5ad(tmp_path / "m.h5ad", DENSE)
    for link in (h5py.ExternalLink(str(tmp_path / "other.h5ad"), "X"), h5py.SoftLink("/obs/age")):
        with pytest.raises(DataError, match="'X' is a link; copy the data into the file"):
            read(damage(path, "X", link))
    layout = h5py.VirtualLayout(DENSE.shape, DENSE.dtype)
    layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5ad"), "X", DENSE.shape)
    with h5py.File(path, "a") as file:
        del file["X"]
        file.create_virtual_dataset("X", layout)
    with pytest.raises(DataError, match="'X' has its values in another file"):
        read(path)


@pytest.mark.parametrize(("content", "sentence"), [(b"", "is empty"), (b"PK\x03\x04", "is no HDF5 file")])
def test_file_that_is_no_hdf5_is_refused(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "m.h5ad"
    path.write_bytes(content)
    with pytest.raises(DataError, match=sentence):
        read(path)


@settings(max_examples=40, deadline=None)
@given(st.binary(min_size=1, max_size=8), st.floats(0, 1, exclude_max=True))
def test_h5ad_with_mutated_bytes_gives_numbers_or_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, where: float
) -> None:
    path = write_h5ad(tmp_path_factory.mktemp("h5") / "m.h5ad", sparse.csr_matrix(DENSE))
    content = bytearray(path.read_bytes())
    at = int(where * len(content))
    content[at : at + len(noise)] = noise
    path.write_bytes(content)
    scratch = path.with_suffix(".scratch")
    try:
        blocks = list(Hdf5Matrix(path, "h5ad", lambda name: name, scratch).read_blocks())
    except DataError as error:
        blocks, sentence = [], str(error)
        refused = sentence.startswith(f"{path}: ")
    else:
        refused = False
    assert refused or sum(len(block.samples) for block in blocks) == SAMPLES


@pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared/data")
@pytest.mark.parametrize(
    ("name", "kind", "layer", "shape", "total"),
    [
        ("v0.7.0.h5ad", "h5ad", None, (30, 20), 285.0),
        ("v0.7.0.h5ad", "h5ad", "array", (30, 20), 302.83045121571445),
        ("v0.7.0.h5ad", "h5ad", "raw", (30, 40), 627.0),
        ("10x_v3.h5", "10x", None, (1107, 507), 41549.0),
        ("mini.gctx", "gctx", None, (6, 6), 78.99308),
    ],
)
def test_real_file_has_the_total_that_its_own_library_reads(
    tmp_path: Path, name: str, kind: Any, layer: str | None, shape: tuple[int, int], total: float
) -> None:
    """The totals are those of anndata 0.12, scanpy 1.11 and cmapPy 4, which were run once, beside this program."""
    path = SHARED / "adapters" / "genomics" / name
    blocks = list(Hdf5Matrix(path, kind, lambda gene: gene, tmp_path / "scratch", layer).read_blocks())
    values = np.concatenate([block.values for block in blocks])
    assert values.shape == shape
    assert values.sum() == pytest.approx(total, rel=1e-6)


@pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared/data")
def test_real_h5ad_without_a_matrix_is_refused_with_a_sentence(tmp_path: Path) -> None:
    path = SHARED / "adapters" / "genomics" / "v0.11.4.h5ad"
    with pytest.raises(DataError, match="has no 'X'; is it the format and the layer"):
        Hdf5Matrix(path, "h5ad", lambda gene: gene, tmp_path / "scratch")


def test_without_h5py_the_sentence_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_h5ad(tmp_path / "m.h5ad", DENSE)
    monkeypatch.setitem(sys.modules, "h5py", None)  # as if it were not installed
    with pytest.raises(DataError, match=r"install the extra genomics: pip install 'consilium\[genomics\]'"):
        read(path)
