"""Sign and verify a site's pack of evidence: what is installed and in force there, in one file for a security officer.

Rules:

* the statement is signed by the site's identity key, under a label of its own; the list of packages lies beside it in
  the pack, and the statement has its digest;
* it holds public facts and the installation's own: nothing computed from a record, no secret. The head of the ledger
  has what was spent, which is public;
* the head in it is signed by the same key, for the same site: evidence of one site is never put on another's ledger;
* a pack is the site's own word about its machine. What can be checked against something else is the ledger's head
  (against an export), the policy (against what that export says of launches), and the digests (against an installation
  that the reader has made).
"""

import datetime
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import AfterValidator, Field

from privacy import labels
from privacy.canonical import compute_digest
from privacy.document import Document, parse
from privacy.errors import Error, WireError
from privacy.exchanged_files import read_exchanged_document
from privacy.fields import Digest, KeyText, Name, SiteName
from privacy.health import Light
from privacy.keys import PublicKey, SigningKey
from privacy.ledger.signed_head import LedgerHead, Time
from privacy.program import Program
from privacy.sbom import Sbom, Text
from privacy.sentence import Sentence
from privacy.signed import Signed, Statement

_DEEPEST: Final = 6
_MOST_CHECKS: Final = 100
_MOST_PEERS: Final = 1000


def _require_shallow(value: dict[str, Any]) -> dict[str, Any]:
    level: list[Any] = [value]
    for _ in range(_DEEPEST):
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
        if not level:
            return value
    raise ValueError("nested too deeply for a policy")


def _require_date(text: str) -> str:
    datetime.datetime.fromisoformat(text)
    return text


Moment = Annotated[Time, AfterValidator(_require_date)]
FieldName = Annotated[str, Field(pattern=r"^[a-z_]{1,40}$")]
PolicyContents = Annotated[dict[FieldName, Any], Field(max_length=100), AfterValidator(_require_shallow)]
TypedKeyText = Annotated[str, Field(pattern=r"^[a-z0-9-]{40,90}$")]


class CheckResult(Document):
    """What one line of ``consilium-site check`` found."""

    check: Text
    light: Light
    found: Sentence


class ConsortiumPin(Document):
    """The consortium that the site trusts, and the newest list that it has of it."""

    name: Name
    key: TypedKeyText
    list_number: int | None = Field(ge=1)
    list_ends: str | None = Field(pattern=r"^\d{4}-\d\d-\d\d$")
    revoked: int = Field(ge=0)


class Pins(Document):
    """Whom the site believes: keys that its people have compared, by name, and a consortium."""

    peers: dict[Name, TypedKeyText] = Field(max_length=_MOST_PEERS)
    consortium: ConsortiumPin | None


class CoordinatorFacts(Document):
    """The coordinator that admitted the site, and how each knows the other."""

    federation: Name
    address: Text
    key: TypedKeyText
    authority: Digest
    """SHA-256 of the federation's authority, the only one that is trusted, as PEM."""
    certificate_ends: Moment | None
    """When the site's own certificate runs out; None if it cannot be used, and then a check says why."""


class LauncherFacts(Document):
    """Where training runs, what ``site.yaml`` asks for, and what is in force on this machine now."""

    kind: Name
    asked: Name | None
    """None where the launcher leaves it to the cluster."""
    in_force: Sentence


class Evidence(Statement):
    """What is installed and in force at a site at one time. Signed by the site."""

    label: ClassVar[str] = labels.EVIDENCE

    version: Literal[1] = 1
    site: SiteName
    key: KeyText
    time: Moment
    program: Program
    python: Text
    system: Text
    sbom: Digest
    policy: PolicyContents
    launcher: LauncherFacts
    hooks: tuple[FieldName, ...] = Field(max_length=50)
    """The events of which a program of the site's own is told."""
    proxy: bool
    metrics: bool
    pins: Pins
    coordinator: CoordinatorFacts | None
    """None if the site has not joined."""
    checks: tuple[CheckResult, ...] = Field(max_length=_MOST_CHECKS)
    ledger: Signed[LedgerHead]
    witnessed: int | None = Field(ge=1)
    """The newest entry that the coordinator has countersigned."""

    @property
    def policy_digest(self) -> str:
        """The digest by which entries of the ledger name this policy."""
        return compute_digest(self.policy)


class EvidencePack(Document):
    """The file: the signed statement, and the list of packages whose digest is in it."""

    version: Literal[1] = 1
    evidence: Signed[Evidence]
    sbom: Sbom

    @classmethod
    def sign(cls, key: SigningKey, evidence: Evidence, sbom: Sbom) -> "EvidencePack":
        """Sign ``evidence``, which names the digest of ``sbom``.

        Run by a site.
        """
        return cls(evidence=Signed[Evidence].sign(key, evidence), sbom=sbom)

    def verify(self, key: PublicKey | None = None) -> Evidence:
        """Verify the signatures and digests of the pack, and return what it says.

        Args:
            key: the site's key from another source; without it the pack vouches for itself only.

        Raises:
            WireError: a signature is wrong, the key is another one, or the parts do not belong together.
        """
        said = self.evidence.statement
        own = PublicKey.from_text(said.key)
        if key is not None and key != own:
            raise WireError(
                f"it is signed with the key {own.typed} of '{said.site}', the one given is {key.typed}: it is another "
                "site's, or the site has changed its key; ask its people"
            )
        try:
            self.evidence.verify(own)
            head = said.ledger.verify(own)
        except WireError as error:
            raise WireError(f"it was changed after it was signed, or is not by the key it names: {error}") from None
        if head.site != said.site:
            raise WireError(f"it is of the site '{said.site}', the head of the ledger in it of '{head.site}'")
        if self.sbom.digest != said.sbom:
            raise WireError(
                f"the list of packages was changed: its digest is {self.sbom.digest[:16]}, the signed one "
                f"{said.sbom[:16]}; ask for the file again"
            )
        return said


def read_evidence(path: Path, key: PublicKey | None = None) -> tuple[EvidencePack, Evidence]:
    """Read and verify a pack, whatever it holds.

    Raises:
        WireError: naming the file: it is no pack, or does not verify.
    """
    value = read_exchanged_document(path, WireError)
    pack = parse(value, EvidencePack, WireError, str(path))
    try:
        return pack, pack.verify(key)
    except Error as error:
        raise WireError(f"{path}: {error}") from None
    except Exception as error:  # the file comes from another party: any value is possible
        raise WireError(f"{path}: it cannot be used ({type(error).__name__})") from error
