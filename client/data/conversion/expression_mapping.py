"""Define the mapping of a contract of kind ``expression``: from matrices of genes and samples.

::

    mapping: 1
    contract: leukaemia
    sources:
      - {kind: gct, path: arrays.gct.gz}
    columns: {patient: sample, label: class}
    tables:
      - source: {kind: cls, path: arrays.cls}
        match: {sample: number}
        columns: {class: class}

A sample has these words: ``sample`` (its name), ``number`` (from 1, within its source), ``file``, the columns of a
table that are no genes, the descriptions of a GCT 1.3 or GCTX file, the ``obs`` of an h5ad file; and constants,
``words``.
"""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from client.data.conversion.joined_table import ClsTable
from client.data.conversion.record_words import RecordMapping, list_files
from client.data.conversion.sources import CsvSource, Delimiter, ExcelSource, ParquetSource, RowSource, SqlSource
from privacy.document import Document
from privacy.fields import Column


class _MatrixSource(Document):
    """What every source of a matrix has.

    Attributes:
        path: the file; text may be compressed by gzip.
        words: words that all its samples have.
    """

    path: Path
    words: dict[Column, str] = Field(default={})


class TextMatrixSource(_MatrixSource):
    """A matrix as text.

    Attributes:
        kind: ``table`` for CSV, TSV and the like.
        genes_in: whether genes are rows or columns; for ``gct`` and ``pcl`` they are rows.
        delimiter: between fields of a table; ``tab`` for a tab.
        quote: around fields; ``none`` if quotes are ordinary.
        decimal: the decimal mark.
        missing: the words for a missing value.
        names: the column that names the genes; where genes are columns, the one that names the samples. Without it the
            first one.
        ignored: columns that are neither genes nor samples, where genes are rows.
    """

    kind: Literal["table", "gct", "pcl"]
    genes_in: Literal["rows", "columns"] | None = None
    delimiter: Delimiter | None = None
    quote: Literal['"', "'", "none"] = '"'
    decimal: Literal[".", ","] = "."
    missing: tuple[str, ...] = ("", "NA", "NaN")
    names: str | None = None
    ignored: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.kind == "table":
            if self.genes_in is None:
                raise ValueError("genes_in: say whether the genes are in rows or in columns")
            if self.delimiter is None:
                raise ValueError("delimiter: say what separates the fields, such as ',' or tab")
            if self.delimiter == self.decimal:
                raise ValueError("delimiter and decimal are the same sign")
        elif (self.genes_in, self.delimiter) != (None, None):
            raise ValueError(f"a {self.kind} file has genes in rows, and tabs; leave out genes_in and delimiter")
        return self


class Hdf5Source(_MatrixSource):
    """A matrix in HDF5 (extra ``genomics``).

    Attributes:
        layer: of an h5ad file, the layer that is taken; ``raw`` for raw/X; without it X.
        names: the column of the genes' descriptions that names them; without it their index.
    """

    kind: Literal["h5ad", "10x", "gctx"]
    layer: Annotated[str, Field(pattern=r"^[^/]{1,100}$")] | None = None
    names: Annotated[str, Field(pattern=r"^[^/]{1,100}$")] | None = None

    @model_validator(mode="after")
    def _of_its_kind(self) -> Self:
        if self.layer is not None and self.kind != "h5ad":
            raise ValueError(f"a {self.kind} file has no layers; leave out layer")
        return self


class GeneNames(Document):
    """A table that leads from the file's names, such as probes, to genes of the contract.

    Attributes:
        source: the table.
        name: its column with the file's names.
        gene: its column with the genes; rows without one are skipped.
    """

    source: RowSource
    name: Column
    gene: Column


Stored = Literal["as-is", "log2", "log2p1", "ln", "ln1p", "log10"]


class ExpressionMapping(RecordMapping):
    """Where samples come from.

    Attributes:
        sources: the matrices; all have the same genes and scale.
        gene_names: leads from the file's names to the contract's.
        without_version: whether the part after the point of a name (ENSG00000141510.18) is left out.
        stored: the logarithm in which the files keep values, which is undone. ``log2p1`` is log2(1 + value).
    """

    sources: tuple[Annotated[TextMatrixSource | Hdf5Source, Field(discriminator="kind")], ...] = Field(min_length=1)
    gene_names: GeneNames | None = None
    without_version: bool = False
    stored: Stored = "as-is"

    @model_validator(mode="after")
    def _one_matrix_of_classes(self) -> Self:
        if len(self.sources) > 1 and any(isinstance(each.source, ClsTable) for each in self.tables):
            raise ValueError(
                "tables: a CLS file tells the samples of one matrix by their order; with several sources give the "
                "classes as a table with the names of the samples"
            )
        return self


def list_expression_files(mapping: ExpressionMapping) -> dict[str, Path] | None:
    """List the files that a conversion reads; None if one of its sources is a database."""
    tables: list[CsvSource | ExcelSource | ParquetSource | SqlSource] = (
        [] if mapping.gene_names is None else [mapping.gene_names.source]
    )
    files = list_files(*tables, *(each.source for each in mapping.tables))
    return None if files is None else files | {str(each.path): each.path for each in mapping.sources}
