"""Read expression matrices in HDF5, by parts: h5ad of anndata, 10x Genomics, GCTX.

Sources: anndata's on-disk format (encoding 0.1.0 and 0.2.0); 10x Genomics, feature-barcode matrices in HDF5, version 3;
cmapPy, the GCTX format.

Rules:

* samples (cells) come one after another, some at a time, with the genes that are wanted; the matrix is never in memory;
* a sparse matrix that is compressed by gene is copied to a scratch file, gene by gene, and read across from there;
* values that are stored twice for one sample and gene are added, as scipy does;
* other columns of the samples (``obs``) become words as in any table; a missing one is empty.
"""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from client.data.adapters.expression import UNREADABLE, Find, MatrixBlock, Values
from client.data.adapters.hdf5_file import (
    compute_hdf5_digest,
    find_dataset,
    find_part,
    list_group,
    open_hdf5,
    read_attribute,
    read_column,
    read_names,
)
from client.data.adapters.scratch_matrix import read_across
from privacy.errors import DataError

Hdf5Kind = Literal["h5ad", "10x", "gctx"]
_BLOCK: Final = 1 << 20  # values of a block
_SPARSE: Final = {"csr_matrix": "samples", "csc_matrix": "genes"}


class Hdf5Matrix:
    """A matrix in an HDF5 file."""

    def __init__(
        self,
        path: Path,
        kind: Hdf5Kind,
        find: Find,
        scratch: Path,
        layer: str | None = None,
        names: str | None = None,
        words: Collection[str] | None = None,
        ids: Collection[str] = (),
    ) -> None:
        """Read the names of genes and samples.

        Args:
            path: the file.
            kind: its format.
            find: says which genes are wanted.
            scratch: a file that is made if need be.
            layer: of an h5ad file, the layer whose values are taken; ``raw`` for those of ``raw``; None for ``X``.
            names: the column of the genes' descriptions that names them; None for their index.
            words: the columns of samples that are given as words; None for all. Others are not looked at.
            ids: the columns of samples that hold identifiers.

        Raises:
            DataUnavailableError: the file cannot be read now.
            DataError: it is no such file, or lacks h5py.
        """
        self._path, self._scratch, self._ids = path, scratch, ids
        self.sha256 = compute_hdf5_digest(path)
        with open_hdf5(path) as file:
            parts = _find_parts(file, kind, layer, names)
            self._values, self._by, self._shape = parts.values, parts.by, parts.shape
            every, self._words = read_names(file, parts.genes), dict(parts.words)
            self._samples = read_names(file, parts.samples)
            if (len(self._samples), len(every)) != self._shape:
                raise DataError(
                    f"expected {len(self._samples)} samples and {len(every)} genes, as they are named, got a matrix of "
                    f"{self._shape[0]} and {self._shape[1]}"
                )
        found = [find(name) for name in every]
        self._columns = np.array([place for place, gene in enumerate(found) if gene is not None], dtype=np.int64)
        self.genes = [gene for gene in found if gene is not None]
        self.samples, self.word_names, self.dates = len(self._samples), list(self._words), 0
        self._words = {name: place for name, place in self._words.items() if words is None or name in words}
        if len(set(self._samples)) < len(self._samples):
            raise DataError(
                f"{path}: {len(self._samples) - len(set(self._samples))} samples have the name of an earlier one; make "
                "them unique (anndata: obs_names_make_unique)"
            )

    def read_blocks(self) -> Iterator[MatrixBlock]:
        """Yield the samples.

        Raises:
            DataUnavailableError: the file cannot be read now.
            DataError: it is damaged.
        """
        with open_hdf5(self._path) as file:
            words = {name: read_column(file, place, is_id=name in self._ids) for name, place in self._words.items()}
            if wrong := [name for name, column in words.items() if len(column) != len(self._samples)]:
                raise DataError(
                    f"column '{wrong[0]}' does not have a word for each of {len(self._samples)} samples"
                )
            begin = 0
            for values in self._read_values(file):
                part = slice(begin, begin + len(values))
                yield MatrixBlock(
                    self._samples[part],
                    range(begin + 1, begin + 1 + len(values)),
                    np.where(np.isinf(values), UNREADABLE, values),
                    {name: column[part] for name, column in words.items()},
                )
                begin = part.stop

    def _read_values(self, file: Any) -> Iterator[Values]:
        samples, genes = self._shape
        if self._by == "dense":
            matrix, most = find_dataset(file, self._values), max(1, _BLOCK // max(1, genes))
            for begin in range(0, samples, most):
                yield np.asarray(matrix[begin : begin + most], dtype=np.float64)[:, self._columns]
        elif self._by == "samples":
            yield from self._read_rows(_Sparse(file, self._values, samples, genes))
        else:
            yield from self._read_across(_Sparse(file, self._values, genes, samples))

    def _read_rows(self, sparse: "_Sparse") -> Iterator[Values]:
        """Yield rows of a matrix that is compressed by sample."""
        column = np.full(self._shape[1], -1, dtype=np.int64)
        column[self._columns] = np.arange(len(self._columns))
        for begin, end in sparse.divide():
            row, place, values = sparse.read(begin, end)
            kept = column[place] >= 0
            block = np.zeros((end - begin, len(self._columns)))
            np.add.at(block, (row[kept], column[place[kept]]), values[kept])
            yield block

    def _read_across(self, sparse: "_Sparse") -> Iterator[Values]:
        """Yield rows of a matrix that is compressed by gene, by way of the scratch file."""
        samples = self._shape[0]
        with self._scratch.open("xb") as out:
            for gene in self._columns.tolist():
                _, place, values = sparse.read(gene, gene + 1)
                line = np.zeros(samples)
                np.add.at(line, place, values)
                out.write(line.tobytes())
        yield from read_across(self._scratch, len(self._columns), samples)


class _Sparse:
    """A compressed sparse matrix: data, indices, indptr."""

    def __init__(self, file: Any, place: str, lines: int, across: int) -> None:
        self._data, self._indices = (find_dataset(file, f"{place}/{name}") for name in ("data", "indices"))
        ends = find_dataset(file, f"{place}/indptr")
        if ends.shape != (lines + 1,) or ends.dtype.kind not in "iu":
            raise DataError(
                f"'{place}/indptr' is damaged: expected {lines + 1} whole numbers, got shape {ends.shape}"
            )
        self._ends = np.asarray(ends[:], dtype=np.int64)
        self._across = across
        lengths = np.diff(self._ends)
        if (
            self._ends[0] != 0
            or (lengths < 0).any()
            or (lengths > across).any()
            or self._data.shape != (self._ends[-1],)
            or self._indices.shape != self._data.shape
            or self._indices.dtype.kind not in "iu"
        ):
            raise DataError(f"'{place}' is damaged: indptr, indices and data do not belong together")

    def divide(self) -> Iterator[tuple[int, int]]:
        """Divide the lines into parts whose values, dense or sparse, fit into memory."""
        begin, lines, most = 0, len(self._ends) - 1, max(1, _BLOCK // max(1, self._across))
        while begin < lines:
            yield begin, min(lines, begin + most)
            begin += most

    def read(self, begin: int, end: int) -> tuple[NDArray[np.int64], NDArray[np.int64], Values]:
        """Return line (from 0 of the part), place across, and value of what is stored in some lines."""
        part = slice(self._ends[begin], self._ends[end])
        places = np.asarray(self._indices[part], dtype=np.int64)
        if len(places) and (places.min() < 0 or places.max() >= self._across):
            raise DataError(f"its indices are damaged: expected 0 to {self._across - 1}")
        lines = np.repeat(np.arange(end - begin), np.diff(self._ends[begin : end + 1]))
        return lines, places, np.asarray(self._data[part], dtype=np.float64)


class _Parts:
    """Where the parts of a matrix lie in the file."""

    def __init__(
        self, values: str, by: str, shape: tuple[int, int], genes: str, samples: str, words: Mapping[str, str]
    ) -> None:
        self.values, self.by, self.shape = values, by, shape
        self.genes, self.samples, self.words = genes, samples, words


def _find_parts(file: Any, kind: Hdf5Kind, layer: str | None, names: str | None) -> _Parts:
    match kind:
        case "gctx":
            shape = find_dataset(file, "0/DATA/0/matrix").shape
            words = {each: f"0/META/COL/{each}" for each in list_group(file, "0/META/COL") if each != "id"}
            return _Parts(
                "0/DATA/0/matrix",
                "dense",
                _require_two(shape),
                f"0/META/ROW/{names or 'id'}",
                "0/META/COL/id",
                words,
            )
        case "10x":
            genes, samples = _require_two(tuple(find_dataset(file, "matrix/shape")[:].tolist()))
            return _Parts(
                "matrix", "samples", (samples, genes), f"matrix/features/{names or 'id'}", "matrix/barcodes", {}
            )
    values = {None: "X", "raw": "raw/X"}.get(layer, f"layers/{layer}")
    of_genes = "raw/var" if layer == "raw" else "var"
    genes_index = f"{of_genes}/{names or _find_index(file, of_genes)}"
    index = _find_index(file, "obs")
    words = {
        name: f"obs/{name}" for name in list_group(file, "obs") if name not in (index, "__categories", "_index")
    }
    found = find_part(file, values)
    if hasattr(found, "shape"):
        return _Parts(values, "dense", _require_two(found.shape), genes_index, f"obs/{index}", words)
    encoding = read_attribute(found, "encoding-type") or read_attribute(found, "h5sparse_format") or ""
    by = _SPARSE.get(encoding if encoding.endswith("_matrix") else f"{encoding}_matrix")
    if by is None:
        raise DataError(f"'{values}' is neither a dense matrix nor csr_matrix nor csc_matrix")
    sizes = found.attrs.get("shape", found.attrs.get("h5sparse_shape"))
    shape = _require_two(tuple(np.asarray(sizes).tolist()) if sizes is not None else ())
    return _Parts(values, by, shape, genes_index, f"obs/{index}", words)


def _require_two(shape: tuple[int, ...]) -> tuple[int, int]:
    if len(shape) != 2 or min(shape) < 0:
        raise DataError(f"expected a matrix of two axes, got the shape {shape}")
    return int(shape[0]), int(shape[1])


def _find_index(file: Any, group: str) -> str:
    found = find_part(file, group)
    if hasattr(found, "shape"):
        raise DataError(f"'{group}' is a table of an old version of anndata; read and write it with a newer one")
    return read_attribute(found, "_index") or "_index"
