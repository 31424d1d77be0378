"""Convert matrices of genes and samples to a contract of kind ``expression``.

Rules:

* a value becomes the measured one (``stored`` undone), then what the contract says (its transform). If both are the
  same logarithm, nothing is done. Values are clipped and scaled when a snapshot is read;
* several rows of one gene (probes) are joined after the transform, as the contract says; what is missing is left out;
* a sample with an unreadable value, or with fewer genes than the contract wants, is left out. What stands for a missing
  gene is the contract's;
* names that a spreadsheet made of genes (1-Mar, 2-Sep) are counted and told: their genes are absent.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from client.data.adapters.expression import UNREADABLE, Find, GenesInColumns, GenesInRows, Layout, Matrix
from client.data.conversion.batch import Batch, BatchBuilder
from client.data.conversion.converters import Request
from client.data.conversion.expression_mapping import ExpressionMapping, Hdf5Source, Stored, TextMatrixSource
from client.data.conversion.findings import collect_mistakes
from client.data.conversion.record_words import RecordWords
from client.data.conversion.sources import open_rows
from privacy.errors import DataError
from privacy.study.data.expression import ExpressionContract

Values = NDArray[np.float64]
_SHOWN: Final = 5  # names of absent genes


def convert_expression(request: Request) -> Iterator[Batch]:
    """Yield the samples of the mapping's sources.

    Raises:
        DataUnavailableError: a file cannot be read now.
        SiteConfigError: the mapping does not fit the contract.
    """
    contract: ExpressionContract = request.contract
    mapping: ExpressionMapping = request.mapping
    finder = RecordWords(request, contract.label)
    find = _make_find(request)
    builder = BatchBuilder((*contract.list_inputs(), *(contract.list_targets() if request.with_targets else ())))
    for number, source in enumerate(mapping.sources):
        title, done = str(source.path), 0
        with collect_mistakes(request.findings):
            matrix = _open_matrix(request, source, find, number, finder)
            joiner = _GeneJoiner(contract, matrix, title)
            finder.require({"sample", "number", "file", *matrix.word_names, *source.words}, title)
            for block in matrix.read_blocks():
                values = joiner.join(compute_values(block.values, mapping.stored, contract.transform))
                for place, row in enumerate(values):
                    done += 1
                    reason = _find_fault(contract, block.values[place], row)
                    if reason is not None:
                        request.findings.quarantine(reason, title, block.places[place])
                        continue
                    words = {name: column[place] for name, column in block.words.items()}
                    words |= {"sample": block.samples[place], "number": str(done), "file": source.path.name}
                    found = finder.find(words | source.words, title, block.places[place])
                    if found is None:
                        continue
                    filled = np.where(np.isnan(row), contract.fill, row).astype(np.float32)
                    if batch := builder.add(
                        found.patient, found.held_out, {contract.input: filled, **found.targets}
                    ):
                        yield batch
                request.findings.report_progress(title, done, matrix.samples or None)
            request.findings.record_source(title, matrix.sha256)
            finder.require_classes(matrix.samples, title)
            _add_notes(request, matrix, joiner, title)
    if batch := builder.finish():
        yield batch


def compute_values(values: Values, stored: Stored, transform: str) -> Values:
    """Compute the values of the contract from those of a file; NaN and unreadable ones stay.

    A value below 0 has no logarithm of 1 + value that is meant: it becomes unreadable.
    """
    if stored == transform or (stored == "as-is" and transform == "none"):
        return values
    with np.errstate(over="ignore", invalid="ignore"):
        match stored:
            case "as-is":
                measured = values
            case "log2":
                measured = np.exp2(values)
            case "log2p1":
                measured = np.exp2(values) - 1
            case "ln":
                measured = np.exp(values)
            case "ln1p":
                measured = np.expm1(values)
            case "log10":
                measured = np.power(10.0, values)
        if transform == "none":
            return measured
        return np.where(measured < 0, UNREADABLE, np.log2(1 + np.maximum(measured, 0)))


class _GeneJoiner:
    """Puts the columns of a matrix in the contract's order, and joins those of one gene."""

    def __init__(self, contract: ExpressionContract, matrix: Matrix, title: str) -> None:
        """Check that the genes are there.

        Raises:
            DataError: too many are absent, or one has several rows, which the contract refuses.
        """
        places = dict[str, list[int]]()
        for place, gene in enumerate(matrix.genes):
            places.setdefault(gene, []).append(place)
        self.absent = [gene for gene in contract.genes if gene not in places]
        several = [gene for gene in contract.genes if len(places.get(gene, ())) > 1]
        if several and contract.repeated == "refuse":
            raise DataError(
                f"{title}: {len(several)} genes of the contract have several rows or columns, such as '{several[0]}'; "
                "leave one of each, or ask the study's author for data.repeated: mean"
            )
        most = contract.most_absent * len(contract.genes)
        if len(self.absent) > most:
            dates = f"; {matrix.dates} names are dates, which a spreadsheet makes of genes" if matrix.dates else ""
            raise DataError(
                f"{title}: lacks {len(self.absent)} of {len(contract.genes)} genes of the contract, such as "
                f"{', '.join(self.absent[:_SHOWN])}; at most {int(most)} may be absent{dates}. Are its genes named "
                "otherwise (gene_names, names), or with a version (without_version)?"
            )
        self._first = np.array([places[gene][0] if gene in places else -1 for gene in contract.genes])
        self._several = [(contract.genes.index(gene), places[gene]) for gene in several]
        self._largest = contract.repeated == "largest"

    def join(self, values: Values) -> Values:
        """Return the genes of the contract, (samples, genes); NaN where absent."""
        absent = np.full((len(values), 1), np.nan)
        joined = np.concatenate([values, absent], axis=1)[:, self._first]
        for gene, places in self._several:
            part = values[:, places]
            there = ~np.isnan(part)
            if self._largest:
                best = np.where(there, part, -np.inf).max(1)
                joined[:, gene] = np.where(there.any(1), best, np.nan)
            else:
                total, count = np.where(there, part, 0).sum(1), there.sum(1)
                joined[:, gene] = np.where(count > 0, total / np.maximum(count, 1), np.nan)
        return joined


def _find_fault(contract: ExpressionContract, raw: Values, row: Values) -> str | None:
    """Find why a sample cannot be used; None if it can."""
    if np.isinf(raw).any():
        return "has a value that is no number"
    if np.isinf(row).any():
        return "has a value of which the logarithm cannot be taken, or is too large"
    missing = int(np.isnan(row).sum())
    if missing > contract.most_absent * len(contract.genes):
        return "lacks a value of more genes than the contract allows"
    return None


def _add_notes(request: Request, matrix: Matrix, joiner: _GeneJoiner, title: str) -> None:
    request.findings.add_note(f"{title}: {matrix.samples} samples; {len(matrix.genes)} of its genes are used")
    if joiner.absent:
        request.findings.add_note(
            f"{title}: {len(joiner.absent)} genes of the contract are absent, and filled as it says: "
            f"{', '.join(joiner.absent[:_SHOWN])}{' ...' if len(joiner.absent) > _SHOWN else ''}"
        )
    if matrix.dates:
        request.findings.add_note(
            f"{title}: {matrix.dates} genes have a date as a name, which a spreadsheet makes of MARCH1 or SEPT2"
        )


def _open_matrix(
    request: Request, source: TextMatrixSource | Hdf5Source, find: Find, number: int, finder: RecordWords
) -> Matrix:
    path, scratch = request.folder / source.path, request.scratch / f"matrix-{number}"
    if isinstance(source, Hdf5Source):  # imported here: h5py is an extra
        from client.data.adapters.hdf5_matrix import Hdf5Matrix

        return Hdf5Matrix(path, source.kind, find, scratch, source.layer, source.names, finder.wanted, finder.ids)
    quote = None if source.quote == "none" or source.kind != "table" else source.quote
    layout = Layout(
        source.genes_in or "rows",
        source.delimiter or "\t",
        quote,
        source.decimal,
        source.missing,
        source.names,
        source.ignored,
    )
    if layout.genes_in == "columns":
        return GenesInColumns(path, layout, find, finder.wanted)
    return GenesInRows(path, layout, find, scratch, source.kind)


def _make_find(request: Request) -> Find:
    """Make the function from a name in a file to a gene of the contract."""
    mapping: ExpressionMapping = request.mapping
    wanted, renamed = frozenset(request.contract.genes), dict[str, str]()
    if (table := mapping.gene_names) is not None:
        ambiguous = 0
        for chunk in open_rows(table.source, request.folder, (table.name, table.gene), request.findings):
            for name, gene in zip(chunk.columns[table.name], chunk.columns[table.gene], strict=True):
                if gene in wanted and renamed.setdefault(name, gene) != gene:
                    ambiguous += 1
        if ambiguous:
            request.findings.add_mistake(
                f"{table.source.title}: {ambiguous} names lead to two genes of the contract; leave one"
            )

    def find(name: str) -> str | None:
        name = name.rpartition(".")[0] or name if mapping.without_version else name
        gene = name if mapping.gene_names is None else renamed.get(name, "")
        return gene if gene in wanted else None

    return find
