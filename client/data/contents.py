"""What a file holds against its contract, record by record in the file's order: one form for every kind of data."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from client.data.encoding import ColumnCounts
from client.data.examples import Array
from client.data.mistakes import Mistake


@dataclass(frozen=True, eq=False)
class Contents:
    """The contents of one file; its tensors are not usable where there are mistakes.

    Attributes:
        ids: each record's patient, in normal form; empty if the file does not tell it.
        inputs: (records, ...) each, by the name of the contract's tensor.
        targets: (records, ...) each, likewise; empty if they were not asked for, or the file lacks one.
        counts: of every column of a feature, or of every array.
        target_counts: of columns of numbers of the label.
        mistakes: what breaks the contract.
        notes: what its owner may want to know.
        sha256: of the file's bytes, hexadecimal.
        find_warnings: finds what is probably not meant; it takes time and is for those who register the file.
    """

    ids: Sequence[str] = field(repr=False)
    inputs: Mapping[str, Array] = field(repr=False)
    targets: Mapping[str, Array] = field(repr=False)
    counts: tuple[ColumnCounts, ...]
    target_counts: tuple[ColumnCounts, ...]
    mistakes: tuple[Mistake, ...]
    notes: tuple[str, ...]
    sha256: str
    find_warnings: Callable[[], Iterable[str]] = field(repr=False)

    @property
    def clipped(self) -> int:
        """The numbers beyond their public range."""
        return sum(count.below + count.above for count in (*self.counts, *self.target_counts))
