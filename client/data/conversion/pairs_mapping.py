"""Define the mapping of a contract of kind ``pairs``: from a table of pairs and what its items are made of.

::

    mapping: 1
    contract: davis-kinases
    pairs: {kind: csv, path: measurements.csv}
    items:
      compound: {kind: table, match: drug, source: {kind: csv, path: drugs.csv}, id: drug_id, text: smiles}
      protein: {kind: fasta, match: target, path: proteins.fa}
    affinity: {column: kd, unit: nM}

``items`` has an entry for each input of the contract. An item of kind ``column`` stands in the table of pairs itself.
Similarities are of kind ``matrix`` or ``npz``, all other inputs of the other kinds.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from client.data.conversion.record_words import RecordMapping, list_files
from client.data.conversion.sources import Delimiter, RowSource
from privacy.document import Document
from privacy.fields import Column
from privacy.study.data.tensors import TensorName

Unit = Literal["M", "mM", "uM", "nM", "pM", "p"]
"""Of a constant: mol/l and parts of it, or ``p`` for -log10 of mol/l."""


ArrayName = Annotated[str, Field(min_length=1, max_length=200)]


class ItemColumn(Document):
    """Letters in the table of pairs.

    Attributes:
        column: that holds them.
        id: the column that names the item; needed if it is what the contract protects.
    """

    kind: Literal["column"]
    column: Column
    id: Column | None = None


class ItemTable(Document):
    """Letters in a table of items.

    Attributes:
        match: the column of the table of pairs that names the item.
        source: the table of items.
        id: its column of names.
        text: its column of letters.
    """

    kind: Literal["table"]
    match: Column
    source: RowSource
    id: Column
    text: Column


class ItemFasta(Document):
    """Letters in a FASTA file, by the first word of the header.

    Attributes:
        match: the column of the table of pairs that names the item.
    """

    kind: Literal["fasta"]
    match: Column
    path: Path


class ItemMatrix(Document):
    """A matrix as a table: its first row names the columns.

    Attributes:
        match: the column of the table of pairs that names the item, as the matrix names its row.
        names: the column that names the rows; without it the first one.
        delimiter: between fields; ``tab`` for a tab.
        decimal: the decimal mark.
        missing: the words for a missing value.
    """

    kind: Literal["matrix"]
    match: Column
    path: Path
    names: str | None = None
    delimiter: Delimiter = "\t"
    decimal: Literal[".", ","] = "."
    missing: tuple[str, ...] = ("", "NA", "NaN")


class ItemMatrixArrays(Document):
    """A matrix in a ``.npz`` file: an array of values, and the names of rows and columns.

    Attributes:
        match: the column of the table of pairs that names the item, as the matrix names its row.
        values: the array of values, (rows, columns).
        rows: the array of the rows' names; ``columns`` that of the columns' names.
    """

    kind: Literal["npz"]
    match: Column
    path: Path
    values: ArrayName
    rows: ArrayName
    columns: ArrayName


Item = Annotated[ItemColumn | ItemTable | ItemFasta | ItemMatrix | ItemMatrixArrays, Field(discriminator="kind")]


class AffinityColumn(Document):
    """The constant of a pair.

    Attributes:
        relation: the column that says whether it is only a bound (``>``, ``<``), if it does not stand at the number.
    """

    column: Column
    unit: Unit
    relation: Column | None = None


class PairsMapping(RecordMapping):
    """Where pairs come from."""

    pairs: RowSource
    items: dict[TensorName, Item]
    affinity: AffinityColumn | None = None


def list_pair_files(mapping: PairsMapping) -> dict[str, Path] | None:
    """List the files that a conversion reads; None if one of its sources is a database."""
    tables = [mapping.pairs, *(each.source for each in mapping.tables)]
    # two inputs may be of one table of items
    tables += dict.fromkeys(each.source for each in mapping.items.values() if isinstance(each, ItemTable))
    files = list_files(*tables)
    if files is None:
        return None
    own = (ItemFasta, ItemMatrix, ItemMatrixArrays)
    return files | {str(each.path): each.path for each in mapping.items.values() if isinstance(each, own)}
