"""The keys of other sites that this site has pinned."""

from typing import Annotated

from pydantic import Field, PlainSerializer, PlainValidator

from privacy.document import Document
from privacy.errors import SiteConfigError, WireError
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

    def pin(self, name: str, key: PublicKey, own: PublicKey) -> "Peers":
        """Return the peers with ``key``, which people have compared, as the identity of ``name``.

        Raises:
            SiteConfigError: it is this site's ``own`` key, or the name or the key is pinned otherwise.
        """
        if key == own:
            raise SiteConfigError(f"the key of '{name}' is this site's own key; a site is not its own peer")
        if self.pinned.get(name, key) != key:
            raise SiteConfigError(
                f"'{name}' is pinned with another key ({self.pinned[name].typed}); if it really changed its key, "
                f"remove the old one first: consilium-site peer forget {name}"
            )
        other = next((peer for peer, known in self.pinned.items() if known == key and peer != name), None)
        if other is not None:
            raise SiteConfigError(f"this key is pinned for '{other}' already; two peers cannot share a key")
        return Peers(pinned={**self.pinned, name: key})

    def forget(self, name: str) -> "Peers":
        """Return the peers without ``name``.

        Raises:
            SiteConfigError: it is not pinned.
        """
        if name not in self.pinned:
            known = ", ".join(sorted(self.pinned)) or "none"
            raise SiteConfigError(f"'{name}' is not pinned; pinned peers: {known}")
        return Peers(pinned={peer: key for peer, key in self.pinned.items() if peer != name})
