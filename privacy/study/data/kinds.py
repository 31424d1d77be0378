"""The kinds of data contract; without ``kind`` it is a table."""

from typing import Annotated, Any

from pydantic import Discriminator, Tag

from privacy.document import Document
from privacy.study.data.arrays import ArraysContract
from privacy.study.data.events import EventsContract
from privacy.study.data.expression import ExpressionContract
from privacy.study.data.images import ImagesContract
from privacy.study.data.pairs import PairsContract
from privacy.study.data.sequences import SequencesContract
from privacy.study.data.table import TableContract


def _read_kind(value: Any) -> Any:
    return value.get("kind", "table") if isinstance(value, dict) else getattr(value, "kind", "table")


AnyContract = Annotated[
    Annotated[TableContract, Tag("table")]
    | Annotated[ArraysContract, Tag("arrays")]
    | Annotated[EventsContract, Tag("events")]
    | Annotated[ExpressionContract, Tag("expression")]
    | Annotated[ImagesContract, Tag("images")]
    | Annotated[PairsContract, Tag("pairs")]
    | Annotated[SequencesContract, Tag("sequences")],
    Discriminator(_read_kind),
]


class ContractFile(Document):
    """A document with a contract of any kind under ``data``."""

    data: AnyContract
