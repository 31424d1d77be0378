"""The keys of other sites that this site has pinned."""

from typing import Annotated

from pydantic import Field, PlainSerializer, PlainValidator

from privacy.document import Document
from privacy.errors import WireError
from privacy.keys import PublicKey
from privacy.study import Name


def _parse_typed_key(text: str) -> PublicKey:
    try:
        return PublicKey.from_typed(text)
    except WireError as error:
        raise ValueError(str(error)) from None


PinnedKey = Annotated[
    PublicKey,
    PlainValidator(lambda value: value if isinstance(value, PublicKey) else _parse_typed_key(str(value))),
    PlainSerializer(lambda key: key.typed),
]
"""A public key; in the file as people type it."""


class Peers(Document):
    """The contents of ``peers.json``: the sites that may take part in a cohort with this site."""

    pinned: dict[Name, PinnedKey] = Field(default_factory=dict)
