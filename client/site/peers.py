"""The peers that this site believes: keys that its people have pinned, and members of a consortium that they trust.

Rules:

* a key that people have pinned counts before the consortium's word for that name;
* a contradiction is refused, never resolved: a list that gives a pinned peer another key, a pinned key that the
  consortium has revoked, a list that names a key that was revoked before;
* a list replaces one with a lower number, never one with a higher; two lists of one number are refused;
* revocations are kept for ever, whatever later lists say.
"""

from collections.abc import Mapping
from typing import Annotated, NamedTuple

from pydantic import Field, PlainSerializer, PlainValidator

from privacy.consortium import (
    MAX_REVOKED,
    Revocation,
    SignedList,
    SignedRevocation,
    merge_revocations,
    verify_list,
    verify_revocation,
)
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


class TrustedConsortium(Document):
    """The consortium whose word counts here: its pinned key, its newest list, and all its revocations."""

    name: Name
    key: PinnedKey
    newest: SignedList | None = None
    revoked: tuple[SignedRevocation, ...] = Field(default=(), max_length=MAX_REVOKED)

    @property
    def revocations(self) -> dict[str, Revocation]:
        """The revocations, by the text of the key."""
        return {each.statement.identity: each.statement for each in self.revoked}


class BelievedPeers(NamedTuple):
    """Whom this site believes on one day."""

    keys: Mapping[str, PublicKey]
    doubts: Mapping[str, str]
    """By name: why a peer that people or the consortium have named is not believed."""


class Peers(Document):
    """The contents of ``peers.json``: the sites that may take part in a cohort with this site."""

    pinned: dict[Name, PinnedKey] = Field(default_factory=dict)
    consortium: TrustedConsortium | None = None

    def find_believed(self, today: str, own: str | None = None) -> BelievedPeers:
        """Find the keys that are believed on the day ``today``, and say of the others why they are not.

        ``own`` is this site's name, which is left out: a consortium's list has this site too.
        """
        keys, doubts = dict(self.pinned), dict[str, str]()
        trusted = self.consortium
        if trusted is None:
            return BelievedPeers(keys, doubts)
        for member in () if trusted.newest is None else trusted.newest.statement.members:
            if member.name not in (own, *self.pinned):
                keys[member.name] = PublicKey.from_text(member.identity)
                if doubt := _find_doubt(trusted, member.valid_from, member.valid_until, today):
                    doubts[member.name] = f"'{member.name}' is not believed: {doubt}"
        for name, key in keys.items():
            if (revocation := trusted.revocations.get(key.text)) is not None:
                doubts[name] = (
                    f"the consortium '{trusted.name}' has revoked the key of '{name}' on {revocation.day}: "
                    f"{revocation.reason}; compare its new key with its people"
                )
        return BelievedPeers({name: key for name, key in keys.items() if name not in doubts}, doubts)

    def pin(self, name: str, key: PublicKey, own: PublicKey) -> "Peers":
        """Return the peers with ``key``, which people have compared, as the identity of ``name``.

        Raises:
            SiteConfigError: it is this site's ``own`` key, or the name or the key is pinned otherwise, or the
                consortium has revoked the key.
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
        if self.consortium is not None:
            self._require_uncontradicted(name, key, self.consortium)
        return self.model_copy(update={"pinned": {**self.pinned, name: key}})

    def forget(self, name: str) -> "Peers":
        """Return the peers without ``name``.

        Raises:
            SiteConfigError: it is not pinned.
        """
        if name not in self.pinned:
            known = ", ".join(sorted(self.pinned)) or "none"
            raise SiteConfigError(f"'{name}' is not pinned; pinned peers: {known}")
        return self.model_copy(update={"pinned": {peer: key for peer, key in self.pinned.items() if peer != name}})

    def trust_consortium(self, name: str, key: PublicKey, strangers: Mapping[str, PublicKey]) -> "Peers":
        """Return the peers with ``key``, which people have compared, as the key of the consortium ``name``.

        Args:
            name: the name by which its lists call the consortium.
            key: its key.
            strangers: keys that can be no consortium's, by whose they are: this site's and the coordinator's.

        Raises:
            SiteConfigError: the key is somebody else's, or another consortium is trusted.
        """
        for owner, other in {
            **strangers,
            **{f"the peer '{peer}'": known for peer, known in self.pinned.items()},
        }.items():
            if key == other:
                raise SiteConfigError(
                    f"the key of the consortium '{name}' is that of {owner}; a consortium's key is held by nobody who "
                    "takes part in studies or coordinates them"
                )
        if self.consortium is not None and (self.consortium.name, self.consortium.key) != (name, key):
            raise SiteConfigError(
                f"the consortium '{self.consortium.name}' ({self.consortium.key.typed}) is trusted here, and a site "
                "trusts one; remove it first: consilium-site peer forget-consortium"
            )
        return (
            self
            if self.consortium
            else self.model_copy(update={"consortium": TrustedConsortium(name=name, key=key)})
        )

    def forget_consortium(self) -> "Peers":
        """Return the peers without the consortium, its list and its revocations.

        Raises:
            SiteConfigError: none is trusted.
        """
        if self.consortium is None:
            raise SiteConfigError("no consortium is trusted here; nothing was changed")
        return self.model_copy(update={"consortium": None})

    def take_list(self, signed: SignedList, today: str) -> "Peers":
        """Return the peers with a newer list of the consortium.

        Raises:
            SiteConfigError: it is not the consortium's, is older than the one here, ended, or from the future; or it
                contradicts that one, a pinned key, or a revocation.
        """
        trusted = self._require_consortium()
        try:
            new = verify_list(signed, trusted.name, trusted.key)
        except WireError as error:
            raise SiteConfigError(f"the list cannot be believed: {error}") from None
        here = None if trusted.newest is None else trusted.newest.statement
        if here is not None and new.number < here.number:
            raise SiteConfigError(
                f"the list has the number {new.number}, this site has number {here.number}: an older list never "
                "replaces a newer one; ask for the newest"
            )
        if here is not None and new.number == here.number and new != here:
            raise SiteConfigError(
                f"the consortium has signed two different lists with the number {new.number}: its key may be in other "
                "hands; keep both files, and ask its people"
            )
        if new.valid_until < today:
            raise SiteConfigError(f"the list ended on {new.valid_until}, today is {today}; ask for a newer one")
        if new.issued > today:
            raise SiteConfigError(
                f"the list is issued on {new.issued}, and by this machine's clock it is {today}; is the clock right?"
            )
        for member in new.members:
            if (known := trusted.revocations.get(member.identity)) is not None:
                raise SiteConfigError(
                    f"the list gives '{member.name}' a key that the consortium revoked on {known.day} "
                    f"({known.reason}): a revoked key never comes back; ask its people"
                )
            pinned = self.pinned.get(member.name)
            if pinned is not None and pinned.text != member.identity:
                raise SiteConfigError(
                    f"the list gives '{member.name}' the key {PublicKey.from_text(member.identity).typed}, people here "
                    f"have pinned {pinned.typed}: one is wrong. Compare it with its people; if the list is right, run: "
                    f"consilium-site peer forget {member.name}, and import the list again"
                )
            owner = next((peer for peer, key in self.pinned.items() if key.text == member.identity), member.name)
            if owner != member.name:
                raise SiteConfigError(
                    f"the list gives '{member.name}' the key that people here have pinned for '{owner}'; ask both"
                )
        return self._with_consortium(
            trusted, newest=signed, revoked=merge_revocations(trusted.revoked, new.revoked)
        )

    def take_revocation(self, signed: SignedRevocation) -> "Peers":
        """Return the peers with one more revocation of the consortium.

        Raises:
            SiteConfigError: it is not the consortium's.
        """
        trusted = self._require_consortium()
        try:
            verify_revocation(signed, trusted.name, trusted.key)
        except WireError as error:
            raise SiteConfigError(f"the revocation cannot be believed: {error}") from None
        return self._with_consortium(trusted, revoked=merge_revocations(trusted.revoked, [signed]))

    def _require_consortium(self) -> TrustedConsortium:
        if self.consortium is None:
            raise SiteConfigError(
                "no consortium is trusted here; compare its key with its people, then run: "
                "consilium-site peer trust-consortium NAME KEY"
            )
        return self.consortium

    def _with_consortium(self, trusted: TrustedConsortium, **changes: object) -> "Peers":
        return self.model_copy(update={"consortium": trusted.model_copy(update=changes)})

    def _require_uncontradicted(self, name: str, key: PublicKey, trusted: TrustedConsortium) -> None:
        if key == trusted.key:
            raise SiteConfigError(
                f"the key of '{name}' is that of the consortium '{trusted.name}', which is no site"
            )
        if (revocation := trusted.revocations.get(key.text)) is not None:
            raise SiteConfigError(
                f"the consortium '{trusted.name}' has revoked this key of '{revocation.name}' on {revocation.day}: "
                f"{revocation.reason}"
            )
        for member in () if trusted.newest is None else trusted.newest.statement.members:
            if member.identity == key.text and member.name != name:
                raise SiteConfigError(
                    f"by the list of the consortium '{trusted.name}' this is the key of '{member.name}', not '{name}'"
                )


def _find_doubt(trusted: TrustedConsortium, valid_from: str, valid_until: str, today: str) -> str | None:
    assert trusted.newest is not None
    newest, word = trusted.newest.statement, f"by list {trusted.newest.statement.number} of '{trusted.name}'"
    if newest.valid_until < today:
        return (
            f"list {newest.number} of the consortium '{trusted.name}' ended on {newest.valid_until}, today is {today}; "
            "import a newer one: consilium-site peer import LIST"
        )
    if today < valid_from:
        return f"{word} it is a member from {valid_from}, today is {today}"
    if valid_until < today:
        return f"{word} it was a member until {valid_until}, today is {today}"
    return None
