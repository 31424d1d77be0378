"""Keep what the holder of a consortium's key has: the key, the newest list, every revocation; on a machine offline.

::

    consortium.key    Ed25519, 0600; signs lists and revocations
    consortium.json   the consortium's name, its newest signed list, its revocations

Rules:

* the folder is no site's: whoever holds this key neither takes part in studies nor coordinates them;
* numbers rise: a list is stored before its file is handed out, so that no number is used twice;
* a revocation is stored before it is handed out, and stands in every later list.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import Field

from client.site.folder import SITE_FILE
from privacy.consortium import MAX_REVOKED, Day, Member, MemberList, Revocation, SignedList, SignedRevocation
from privacy.document import Document, parse, read_document
from privacy.errors import SiteConfigError, WireError
from privacy.files import create_folder, replace_file, require_private
from privacy.keys import PublicKey, SigningKey
from privacy.sentence import fit_sentence
from privacy.study import Name

_RESTORE: Final = "restore it from your backup"


class ConsortiumState(Document):
    """The contents of ``consortium.json``."""

    name: Name
    newest: SignedList | None = None
    revoked: tuple[SignedRevocation, ...] = Field(default=(), max_length=MAX_REVOKED)


class MemberLine(Document):
    """A member as people write it: name and typed key; days only where they differ from the list's."""

    name: str
    key: str
    valid_from: Day | None = None
    valid_until: Day | None = None


class MembersFile(Document):
    """The YAML file from which a list is signed."""

    members: tuple[MemberLine, ...] = Field(min_length=1)


@dataclass(frozen=True)
class ConsortiumFolder:
    """The folder of a consortium's key. Reading what is missing or damaged raises SiteConfigError."""

    folder: Path

    @classmethod
    def create(cls, folder: Path, name: str) -> "ConsortiumFolder":
        """Create the key of the consortium ``name`` in the new folder ``folder``.

        Raises:
            SiteConfigError: the folder is not empty or cannot be written, or the name cannot be used.
        """
        state = parse({"name": name}, ConsortiumState, SiteConfigError, "the consortium")
        with create_folder(folder, SiteConfigError):
            SigningKey.generate().save(folder / "consortium.key")
            replace_file(folder / "consortium.json", state.to_bytes(), SiteConfigError)
        return cls(folder)

    def load_key(self) -> SigningKey:
        """Load the consortium's key.

        Raises:
            SiteConfigError: there is none here, or the folder is also a site's.
        """
        if not (self.folder / "consortium.key").exists():
            raise SiteConfigError(
                f"{self.folder}: no consortium.key here; make one: consilium-site consortium create DIR --name NAME"
            )
        if (self.folder / SITE_FILE).exists():
            raise SiteConfigError(f"{self.folder}: this is a site's folder; a consortium's key lies in none")
        require_private(self.folder, SiteConfigError)
        return SigningKey.load(self.folder / "consortium.key")

    def load_state(self) -> ConsortiumState:
        """Load the consortium's name, list and revocations."""
        return read_document(self.folder / "consortium.json", ConsortiumState, SiteConfigError, _RESTORE)

    def sign_list(self, lines: Sequence[MemberLine], until: str, today: str) -> SignedList:
        """Sign the next list, of exactly these members, and store it.

        Args:
            lines: all members.
            until: the last day of the list.
            today: the day on which it is signed.

        Raises:
            SiteConfigError: a member cannot be used, or a key is revoked.
        """
        key, state = self.load_key(), self.load_state()
        revoked = {each.statement.identity: each.statement for each in state.revoked}
        members = []
        for line in lines:
            try:
                identity = PublicKey.from_typed(line.key)
            except WireError as error:
                raise SiteConfigError(f"the key of '{line.name}': {error}") from None
            if identity == key.public:
                raise SiteConfigError(
                    f"the key of '{line.name}' is the consortium's own; a consortium is no member"
                )
            if (known := revoked.get(identity.text)) is not None:
                raise SiteConfigError(
                    f"the key of '{line.name}' was revoked on {known.day} ({known.reason}): a revoked key never comes "
                    "back; the site changes its key, and its people compare the new one with you"
                )
            value = {
                "name": line.name,
                "identity": identity.text,
                "valid_from": line.valid_from or today,
                "valid_until": line.valid_until or until,
            }
            members.append(parse(value, Member, SiteConfigError, f"the member '{line.name}'"))
        statement = parse(
            {
                "consortium": state.name,
                "number": 1 if state.newest is None else state.newest.statement.number + 1,
                "issued": today,
                "valid_until": until,
                "members": tuple(sorted(members, key=lambda each: each.name)),
                "revoked": state.revoked,
            },
            MemberList,
            SiteConfigError,
            "the list",
        )
        signed = SignedList.sign(key, statement)
        self._store(state.model_copy(update={"newest": signed}))
        return signed

    def revoke(self, name: str, key: PublicKey | None, reason: str, today: str) -> SignedRevocation:
        """Revoke a member's key, and store it; a key that is revoked already gives the same revocation.

        Args:
            name: the member.
            key: its key; None takes the key that the newest list names.
            reason: why, for the people of all sites.
            today: the day on which it is signed.

        Raises:
            SiteConfigError: the newest list has no such member, and no key is given.
        """
        own, state = self.load_key(), self.load_state()
        identity = self._find_identity(state, name) if key is None else key.text
        known = next((each for each in state.revoked if each.statement.identity == identity), None)
        if known is not None:
            return known
        fields = {"consortium": state.name, "name": name, "identity": identity, "day": today}
        statement = parse({**fields, "reason": fit_sentence(reason)}, Revocation, SiteConfigError, "the revocation")
        signed = SignedRevocation.sign(own, statement)
        self._store(state.model_copy(update={"revoked": (*state.revoked, signed)}))
        return signed

    def _find_identity(self, state: ConsortiumState, name: str) -> str:
        members = () if state.newest is None else state.newest.statement.members
        for member in members:
            if member.name == name:
                return member.identity
        known = ", ".join(member.name for member in members) or "none"
        raise SiteConfigError(
            f"the newest list has no member '{name}'; members: {known}; else name the key: --key KEY"
        )

    def _store(self, state: ConsortiumState) -> None:
        replace_file(self.folder / "consortium.json", state.to_bytes(), SiteConfigError)
