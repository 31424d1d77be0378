"""Give the row of a matrix for each item of a pair: its similarities to the things of a public list.

The matrix is judged as a whole before a row of it is used. Each of these makes it unusable:

* a value outside the contract's range, which is a sign of a distance or of percents; it is not clipped;
* where the contract says that it is symmetric, two values of one pair of things that differ;
* where the contract names the value on the diagonal, another one there;
* where the contract names a file, another file.

An item without a row, or with a missing or unreadable value in it, has no input: its pairs are left out.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from client.data.adapters.expression import Layout
from client.data.adapters.similarity_matrix import SimilarityMatrix, read_similarity_arrays, read_similarity_table
from client.data.conversion.converters import Request
from client.data.conversion.findings import Findings, collect_mistakes
from client.data.conversion.label_words import UnusableError
from client.data.conversion.pairs_mapping import ItemMatrix, ItemMatrixArrays
from client.data.identifiers import normalise
from privacy.study.data.pairs import Similarities

_ROUNDED: Final = 1e-4  # parts of the range that rounding in a file may amount to


class SimilarityRows:
    """The rows of the matrix of one input."""

    def __init__(self, item: ItemMatrix | ItemMatrixArrays, wanted: Similarities, request: Request) -> None:
        """Read the matrix and judge it; what is wrong is a mistake of the conversion.

        Raises:
            DataUnavailableError: the file cannot be read now.
        """
        self.identifier: str = item.match
        self.words: tuple[str, ...] = (item.match,)
        self._title, self._rows = item.path.name, dict[str, NDArray[np.float32]]()
        self._seen, self._doubles = dict[bytes, str](), set[str]()
        with collect_mistakes(request.findings):
            matrix = _read(item, wanted, request)
            request.findings.record_source(str(item.path), matrix.sha256)
            for sentence in list_faults(matrix, wanted):
                request.findings.add_mistake(f"{self._title}: {sentence}")
            self._rows = dict(zip(matrix.rows, matrix.values, strict=True))

    def find(self, words: Mapping[str, str]) -> NDArray[np.float32]:
        """Return the row of a pair's item; (columns,).

        Raises:
            UnusableError: it has none, or one with a value that is missing or no number.
        """
        name = normalise(words.get(self.identifier, ""))
        row = self._rows.get(name)
        if row is None:
            raise UnusableError(f"names no row of {self._title}", self.identifier)
        if not np.isfinite(row).all():
            raise UnusableError(
                f"names a row of {self._title} with a value that is missing or no number", self.identifier
            )
        if self._seen.setdefault(row.tobytes(), name) != name:
            self._doubles.add(name)
        return row

    def note_doubles(self, findings: Findings, what: str) -> None:
        """Tell how many protected items have the row of another one."""
        if self._doubles:
            findings.add_note(
                f"{len(self._doubles)} items of '{what}' have the same row as another one: each has a budget of its "
                "own, as if they were different; give what is the same one identifier"
            )


def list_faults(matrix: SimilarityMatrix, wanted: Similarities) -> list[str]:
    """List what makes a matrix another one than the contract's."""
    values, allowed = matrix.values.astype(np.float64), _ROUNDED * (wanted.high - wanted.low)
    faults = list[str]()
    if wanted.sha256 not in (None, matrix.sha256):
        faults.append(
            f"the study asks for the file with the SHA-256 {wanted.sha256}, this one has {matrix.sha256}; get that file"
        )
    known = np.isfinite(values)
    outside = known & ((values < wanted.low - allowed) | (values > wanted.high + allowed))
    if count := int(outside.sum()):
        faults.append(
            f"{count} values are outside the contract's range from {wanted.low:g} to {wanted.high:g}; is it a "
            "distance, or in percent?"
        )
    columns = {normalise(name): place for place, name in enumerate(wanted.columns)}
    both = [(row, columns[name]) for row, name in enumerate(matrix.rows) if name in columns]
    if wanted.symmetric and both:
        rows, places = (np.array(each) for each in zip(*both, strict=True))
        square = values[np.ix_(rows, places)]  # things by things, in one order on both axes
        differs = np.abs(square - square.T) > allowed
        if count := int(np.triu(differs).sum()):
            faults.append(
                f"{count} pairs of things have two different values, and the contract says that the matrix is "
                "symmetric; are rows and columns of the same list?"
            )
    if wanted.symmetric and len(both) < len(wanted.columns):
        faults.append(
            f"{len(wanted.columns) - len(both)} of its columns have no row, and the contract says that the matrix is "
            "symmetric; the file is not complete"
        )
    if wanted.diagonal is not None:
        wrong = sum(bool(abs(values[row, place] - wanted.diagonal) > allowed) for row, place in both)
        if wrong:
            faults.append(
                f"{wrong} things have another similarity to themselves than {wanted.diagonal:g}, which the contract "
                "names"
            )
    return faults


def _read(item: ItemMatrix | ItemMatrixArrays, wanted: Similarities, request: Request) -> SimilarityMatrix:
    path = request.folder / item.path
    if isinstance(item, ItemMatrixArrays):
        return read_similarity_arrays(path, item.values, item.rows, item.columns, wanted.columns)
    layout = Layout("columns", item.delimiter, '"', item.decimal, item.missing, item.names)
    return read_similarity_table(path, layout, wanted.columns)
