"""Find how data of a kind of contract are converted: the mapping's form, and the converter."""

from collections.abc import Callable, Iterator
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
    """

    mapping: type[DataMapping]
    convert: Callable[[Request], Iterator[Batch]]


def find_converter(contract: AnyContract) -> Converter:
    """Find the converter for the kind of ``contract``.

    Raises:
        SiteConfigError: data of this kind have no mapping: they are given as files that keep the contract.
    """
    match contract.kind:  # imported here: each reads formats with libraries of its own
        case _:
            pass
    raise SiteConfigError(
        f"a contract of kind '{contract.kind}' takes no mapping; make files that keep it, and name them with --train "
        "and --test"
    )
