"""Find how data of a kind of contract are converted: the mapping's form, and the converter."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from client.data.conversion.batch import Batch
from client.data.conversion.findings import Findings
from client.data.conversion.mapping import DataMapping, Splitter
from privacy.errors import SiteConfigError
from privacy.study import AnyContract


@dataclass(frozen=True)
class Request:
    """What is converted.

    Attributes:
        contract: what the records must be.
        mapping: where they come from; of the converter's own type.
        folder: that of the mapping file, to which its paths are relative.
        scratch: a private folder for what does not fit into memory; it is removed afterwards.
        splitter: says who is held out.
        findings: takes what is wrong.
        with_targets: whether the targets are wanted too; without them only inputs are made, for prediction.
    """

    contract: Any
    mapping: Any
    folder: Path
    scratch: Path
    splitter: Splitter
    findings: Findings
    with_targets: bool = True


@dataclass(frozen=True)
class Converter:
    """How data of one kind of contract are converted.

    Attributes:
        mapping: the form of the mapping file.
        convert: yields the records in bounded memory, and reports what is wrong to ``findings``. It raises DataError
            or DataUnavailableError where nothing can be read at all.
        list_files: lists the files that a conversion reads, by the names that it records their SHA-256 with, if it
            reads nothing else; None if only reading tells. While these files are the same, nothing is converted again.
    """

    mapping: type[DataMapping]
    convert: Callable[[Request], Iterator[Batch]]
    list_files: Callable[[Any], Mapping[str, Path] | None] = lambda _: None


def find_converter(contract: AnyContract) -> Converter:
    """Find the converter for the kind of ``contract``.

    Raises:
        SiteConfigError: data of this kind have no mapping: they are given as files that keep the contract.
    """
    match contract.kind:  # imported here: each reads formats with libraries of its own
        case "events":
            from client.data.conversion.events.converter import convert_events, list_event_files
            from client.data.conversion.events.mapping import EventsMapping

            return Converter(EventsMapping, convert_events, list_event_files)
        case "images":
            from client.data.conversion.images.convert import convert_images
            from client.data.conversion.images.mapping import ImagesMapping

            return Converter(ImagesMapping, convert_images)
        case "expression":
            from client.data.conversion.expression import convert_expression
            from client.data.conversion.expression_mapping import ExpressionMapping, list_expression_files

            return Converter(ExpressionMapping, convert_expression, list_expression_files)
        case "pairs":
            from client.data.conversion.pairs import convert_pairs
            from client.data.conversion.pairs_mapping import PairsMapping, list_pair_files

            return Converter(PairsMapping, convert_pairs, list_pair_files)
        case "sequences":
            from client.data.conversion.sequences import convert_sequences
            from client.data.conversion.sequences_mapping import SequencesMapping, list_sequence_files

            return Converter(SequencesMapping, convert_sequences, list_sequence_files)
        case "table":
            from client.data.conversion.table import convert_table
            from client.data.conversion.table_mapping import TableMapping, list_table_files

            return Converter(TableMapping, convert_table, list_table_files)
        case _:
            pass
    raise SiteConfigError(
        f"a contract of kind '{contract.kind}' takes no mapping; make files that keep it, and name them with --train "
        "and --test"
    )
