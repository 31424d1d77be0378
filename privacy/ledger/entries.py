"""The entries of a site's ledger: the closed list of kinds, and the bytes that are hashed and signed.

Rules:

* An entry is RFC 8785 JSON: version, number, kind, time (UTC, whole seconds), SHA-256 of the entry before, body.
* A field is never removed and never changes its meaning; an unknown kind, field or newer version is refused.
* A body names public quantities only: terms, noise, counts that the site has made public. It never holds a record.

``docs/ledger.md`` shows the bytes.

One file, although it is long: the list of kinds is closed, and is read as one.
"""

import json
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import AfterValidator, Field, SerializeAsAny, field_validator, model_validator

from privacy.accounting.events import Event
from privacy.accounting.plan import Plan
from privacy.accounting.renyi import STORED_ORDERS
from privacy.document import Document, parse
from privacy.errors import LedgerError
from privacy.fields import Digest, OrderNonce
from privacy.ledger.signed_head import Countersigned
from privacy.sentence import Sentence
from privacy.study import MAX_SITES, Column, Name, Neighbouring, ReleaseChoice, Unit

VERSION: Final = 1
MAX_ENTRY_BYTES: Final = 1 << 20

StudyName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,99}$")]
Round = Annotated[int, Field(ge=0, le=10_000)]
Charge = Annotated[int, Field(ge=0)]
Curve = Annotated[tuple[Charge, ...], Field(min_length=len(STORED_ORDERS), max_length=len(STORED_ORDERS))]
"""What an event costs at each of the accountant's ``STORED_ORDERS`` orders, in nano units, rounded up."""
GrantNumber = Annotated[int, Field(ge=1, le=1000)]
Key = Annotated[str, Field(min_length=43, max_length=43)]
PositiveCount = Annotated[int, Field(ge=1, le=10**9)]
Code = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,59}$")]
EntryNumber = Annotated[int, Field(ge=1, le=2**53 - 1)]
Person = Annotated[Sentence, Field(max_length=100)]
"""The name of a person as they wrote it; it is not proven."""
MachineAccount = Annotated[Sentence, Field(max_length=100)]
"""The account of the machine under which the command ran, as the operating system named it."""

Bound = Annotated[float, Field(ge=0, le=1000)]

Subject = tuple[str | int, ...]


class Body(Document):
    """The content of an entry. ``subject`` identifies what can be recorded only once."""

    kind: ClassVar[str]

    @property
    def subject(self) -> Subject | None:
        """The key of what can be recorded only once; None if the entry may be repeated."""
        return None


class Open(Body):
    """The first entry: the site, and the key that signs the ledger."""

    kind: ClassVar[str] = "open"

    site: Name
    key: Key


class Population(Body):
    """A data set is registered under one data contract.

    Under a known name, the file has changed and the budget has not.

    Attributes:
        contract: digest of the data contract that people at the site have checked; only studies of exactly this
            contract may use the files.
        patient_column: the column that identifies a patient; it never changes within a population.
        patients_commitment: commitment to the keyed digests of every patient the population ever had, under a
            secret of the site; others cannot test a guess against it.
        said_different: counts of patients whose identifiers look like those of another population (under its name),
            or like one person twice in these files (under this population's name), and who are different people by
            what people at the site say.
    """

    kind: ClassVar[str] = "population"

    population: Name
    contract: Digest
    patient_column: Column
    data: Digest
    patients: PositiveCount
    records_per_patient: PositiveCount
    patients_commitment: Digest
    said_different: dict[Name, PositiveCount] = Field(default_factory=dict)
    unit: Literal[Unit.PATIENT] = Unit.PATIENT
    neighbouring: Neighbouring = Neighbouring.ADD_OR_REMOVE_ONE


class Grant(Body):
    """The data protection officer grants a budget, or a further one, kept at one order."""

    kind: ClassVar[str] = "grant"

    population: Name
    epsilon: Annotated[float, Field(gt=0, le=100)]
    delta: Annotated[float, Field(gt=0, lt=1)]
    order: Annotated[int, Field(ge=2, le=256)]
    limit: Charge
    by: Person | None = None
    account: MachineAccount | None = None


class Admits(StrEnum):
    """What an approval of terms is for: a launch, an audit on this site's patients, or a training of the site alone."""

    LAUNCH = "launch"
    AUDIT = "audit"
    ALONE = "alone"


class Approve(Body):
    """The data protection officer agrees that ``runs`` studies, audits, or trainings alone of these terms are admitted.

    ``admits`` says which. An entry of an earlier version does not have it: it is for either, whichever comes first.
    """

    kind: ClassVar[str] = "approve"

    terms: Digest
    runs: Annotated[int, Field(ge=1, le=1000)]
    by: Person
    account: MachineAccount | None = None
    admits: Admits | None = Field(default=None, exclude_if=lambda admits: admits is None)


class Revoke(Body):
    """The data protection officer takes back the unused runs of all approvals of these terms."""

    kind: ClassVar[str] = "revoke"

    terms: Digest
    by: Person
    account: MachineAccount | None = None


class Require(Body):
    """What the site's policy asks of one launch of a study, before it is admitted. The newest one of a study holds.

    Attributes:
        persons: how many people must agree.
        rule: the policy's rule by which nobody needs to; None where somebody does.
        release: whether the release of its model waits for a person.
        operator: under which name its operator ordered the launch.
        operator_key: the key that signed the order.
        nonce: the order's; with the key, it tells one order from all others.
        epsilon: what training and evaluation ask for together; None without privacy.
        policy: SHA-256 of the policy that was in force.
    """

    kind: ClassVar[str] = "require"

    study: StudyName
    launch: Digest
    terms: Digest
    persons: Annotated[int, Field(ge=0, le=2)]
    rule: Name | None
    release: bool
    operator: Name
    operator_key: Key
    nonce: OrderNonce
    epsilon: Annotated[float, Field(gt=0, le=200)] | None
    policy: Digest

    @model_validator(mode="after")
    def _rule_or_persons(self) -> "Require":
        if (self.persons == 0) is (self.rule is None):
            raise ValueError(
                "rule: a rule by which nobody needs to agree, or people who must; not both, not neither"
            )
        return self


class About(StrEnum):
    """What a decision is about."""

    ADMISSION = "admission"
    RELEASE = "release"


class Choice(StrEnum):
    """What a person decided."""

    APPROVE = "approve"
    REFUSE = "refuse"


class Review(Document):
    """The review of a study by the people of another site, on which a decision relies."""

    site: Name
    terms: Digest
    """What they have reviewed."""


class Decide(Body):
    """A person decides about one launch of a study, or about the release of its model.

    Attributes:
        model: SHA-256 of the model that is to be released; None for an admission.
        reviewed: the review of another site that the person relied on.
        why: their reason, in their words.
    """

    kind: ClassVar[str] = "decide"

    study: StudyName
    launch: Digest
    terms: Digest
    about: About
    choice: Choice
    model: Digest | None = None
    reviewed: Review | None = None
    why: Sentence | None = None
    by: Person
    account: MachineAccount | None = None

    @model_validator(mode="after")
    def _coherent(self) -> "Decide":
        if (self.about is About.RELEASE) is (self.model is None):
            raise ValueError("model: a decision about a release names it, and no other decision does")
        if self.reviewed is not None and self.reviewed.terms != self.terms:
            raise ValueError("reviewed: the other site has reviewed other terms than these")
        return self


class Allow(Body):
    """A study is admitted and its whole price set aside, from one grant; from none if nothing in it has a price.

    ``approval`` is the entry of the approval of which it uses a run; None where the site's policy requires none.
    """

    kind: ClassVar[str] = "allow"

    study: StudyName
    population: Name
    terms: Digest
    approval: EntryNumber | None = None
    plan: Plan
    grant: GrantNumber | None
    curve: Curve | None
    charge: Charge

    @property
    def subject(self) -> Subject:
        """A study is admitted once."""
        return (self.kind, self.study)


class Reserve(Body):
    """A training round is paid, before its first gradient. No charge means no bound."""

    kind: ClassVar[str] = "reserve"

    study: StudyName
    round: Round
    event: Event
    curve: Curve | None
    charge: Charge | None

    @property
    def subject(self) -> Subject:
        """A round is paid once."""
        return (self.kind, self.study, self.round)


class Settle(Body):
    """A reserved round's training has ended; what it cost was known when it was reserved."""

    kind: ClassVar[str] = "settle"

    study: StudyName
    round: Round

    @property
    def subject(self) -> Subject:
        """A round is settled once."""
        return (self.kind, self.study, self.round)


class Evaluate(Body):
    """A round's totals over held-out patients are paid, before they are counted. No charge means no bound."""

    kind: ClassVar[str] = "evaluate"

    study: StudyName
    round: Round
    event: Event
    curve: Curve | None
    charge: Charge | None

    @property
    def subject(self) -> Subject:
        """A round's totals are paid once."""
        return (self.kind, self.study, self.round)


class Ending(StrEnum):
    """Why a study's account is closed."""

    FINISHED = "finished"
    """The study is finished, and this site has its model."""
    WITHDRAWN = "withdrawn"
    """People of this site have left the study."""
    GIVEN_UP = "given-up"
    """The coordinator has said that the study will not continue."""
    ABANDONED = "abandoned"
    """No message of the study came for as long as its terms allow."""


class Return(Body):
    """A study's account is closed, and what it had not used is free again.

    If nothing was paid, its approval is unused again.
    """

    kind: ClassVar[str] = "return"

    study: StudyName
    charge: Charge
    why: Ending = Ending.FINISHED

    @property
    def subject(self) -> Subject:
        """A study closes once."""
        return (self.kind, self.study)


class ModelRelease(Body):
    """A model has left the site."""

    kind: ClassVar[str] = "release"

    study: StudyName
    model: Digest
    to: Annotated[str, Field(min_length=1, max_length=100)] = ReleaseChoice().to

    @property
    def subject(self) -> Subject:
        """A model is released to each recipient once."""
        return (self.kind, self.study, self.model, self.to)


class ReleaseCohort(Body):
    """The site releases its mask of a sum of statistics: from now on others may know the sum over this cohort.

    Attributes:
        cohort: the sites that are counted together, in rising order.
        minimum: by how many sites at least another cohort must differ, as the study's terms say.
    """

    kind: ClassVar[str] = "cohort"

    study: StudyName
    cohort: Annotated[tuple[Name, ...], Field(min_length=3, max_length=MAX_SITES)]
    minimum: Annotated[int, Field(ge=3, le=MAX_SITES)]

    @field_validator("cohort")
    @classmethod
    def _rising(cls, cohort: tuple[str, ...]) -> tuple[str, ...]:
        if list(cohort) != sorted(set(cohort)):
            raise ValueError("expected names in rising order, each once")
        return cohort

    @property
    def subject(self) -> Subject:
        """A study's cohort is recorded once."""
        return (self.kind, self.study, *self.cohort)


class AtLeast(Document):
    """Bounds of epsilon from below (``privacy/audit/empirical/guesses.py``), which says what each presumes."""

    one_run: Bound
    trade_off: Bound
    gaussian: Bound
    independent: Bound | None


class Audit(Body):
    """An audit of a study's terms has trained on this site's patients with canaries: what its attack proved.

    Attributes:
        study: the audit's own account, from which its rounds were paid.
        canaries: invented patients who took part by a coin each.
        epsilon: what the terms claim, at ``delta``.
        gaussian_is_claimed: whether the claimed mechanism is Gaussian, so that no bound presumes more than the claim.
        at_least: the bounds, with 95 per cent each.
    """

    kind: ClassVar[str] = "audit"

    study: StudyName
    canaries: Annotated[int, Field(ge=2, le=100_000)]
    epsilon: Annotated[float, Field(gt=0, le=200)]
    delta: Annotated[float, Field(gt=0, lt=1)]
    gaussian_is_claimed: bool
    at_least: AtLeast

    @property
    def subject(self) -> Subject:
        """An audit has one result."""
        return (self.kind, self.study)


class Refuse(Body):
    """The site refused what was asked."""

    kind: ClassVar[str] = "refuse"

    study: StudyName
    code: Code
    sentence: Sentence


class Incident(Body):
    """An event that must be kept: a void round, an aggregate that did not open."""

    kind: ClassVar[str] = "incident"

    study: StudyName
    round: Round | None
    code: Code
    sentence: Sentence


class Checkpoint(Body):
    """A witness has seen this ledger up to an entry."""

    kind: ClassVar[str] = "checkpoint"

    witness: Key
    countersigned: Countersigned

    @property
    def subject(self) -> Subject:
        """An entry is noted once for each witness."""
        seen = self.countersigned.seen.statement
        return (self.kind, self.witness, seen.number)


class KeyChange(Body):
    """From the next entry on, another key signs.

    ``proof`` is its signature over this ledger's head, so that no site can claim a key that it does not hold.
    """

    kind: ClassVar[str] = "key"

    key: Key
    proof: Annotated[str, Field(min_length=86, max_length=86)]

    @property
    def subject(self) -> Subject:
        """A key comes into use once."""
        return (self.kind, self.key)


class Clock(Body):
    """A person says that the clock had been wrong: this entry has an earlier time than the one before it."""

    kind: ClassVar[str] = "clock"

    by: Person
    account: MachineAccount | None = None


class Recover(Body):
    """The ledger was restored from a backup; the totals that a witness has seen of the lost one are taken over.

    Everything that was open, in this ledger or in the lost one, counts as spent, and its studies are closed.
    """

    kind: ClassVar[str] = "recover"

    witness: Key
    countersigned: Countersigned
    sentence: Sentence


BODIES: Final[dict[str, type[Body]]] = {
    body.kind: body
    for body in (
        Open,
        Population,
        Grant,
        Approve,
        Revoke,
        Require,
        Decide,
        Allow,
        Reserve,
        Settle,
        Evaluate,
        Return,
        ModelRelease,
        ReleaseCohort,
        Audit,
        Refuse,
        Incident,
        Checkpoint,
        KeyChange,
        Clock,
        Recover,
    )
}


def _require_real_date(time: str) -> str:
    datetime.fromisoformat(time)  # the pattern alone would accept the 31st of February
    return time


class Entry(Document):
    """One entry of the ledger."""

    version: Literal[1] = VERSION
    number: EntryNumber
    kind: str
    time: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"), AfterValidator(_require_real_date)]
    previous: Digest
    body: SerializeAsAny[Body]

    @model_validator(mode="before")
    @classmethod
    def _body_of_its_kind(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        body, kind = value.get("body"), value.get("kind")
        if type(body) is not dict and isinstance(body, Body):  # the latter alone takes pydantic long
            return value
        if kind not in BODIES:
            raise ValueError(f"unknown kind; known kinds: {', '.join(BODIES)}")
        return {**value, "body": BODIES[kind].model_validate(body)}


def read_entry(data: bytes, *, verified: bool = False) -> Entry:
    """Parse an entry; ``data`` must be its canonical form.

    Args:
        data: the entry's bytes.
        verified: they are known to be canonical, so that this is not checked again.

    Raises:
        LedgerError: not JSON, not canonical, a newer version, an unknown kind or field, a value out of range.
    """
    if len(data) > MAX_ENTRY_BYTES:
        raise LedgerError(f"expected at most {MAX_ENTRY_BYTES} bytes, got {len(data)}")
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        raise LedgerError("the bytes are not JSON") from None
    if isinstance(value, dict) and isinstance(version := value.get("version"), int) and version > VERSION:
        raise LedgerError(f"written in version {version}, this program reads up to {VERSION}: install a newer one")
    entry = parse(value, Entry, LedgerError, "the entry")
    if not verified and entry.to_bytes() != data:
        raise LedgerError("the bytes are not the canonical form (RFC 8785) of what they say")
    return entry
