"""Collect a ledger's history for people: its populations, what each study did with them, and what went wrong.

:meth:`Timeline.apply` is the ``watch`` of a verified reading. It gets every entry, and the ledger's state after it.
It relies on what the ledger has checked and checks nothing again.

Rules:

* A population's **first result** is its first payment (``reserve`` or ``evaluate``), or what a recovery took over
  as spent. A grant after it may have been given because of results, and is marked so.
* What a grant has spent is what its studies have spent, and a rest: what the lost part of a recovered ledger had
  spent.
* A study that a recovery closed counts with everything it had set aside.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from typing import NamedTuple

from privacy.accounting.account import Account
from privacy.accounting.events import AnyEvent
from privacy.accounting.plan import Purpose
from privacy.accounting.renyi_filter import BudgetGrant as RenyiGrant
from privacy.accounting.renyi_filter import RenyiFilter
from privacy.keys import PublicKey
from privacy.ledger.entries import (
    About,
    Admits,
    Allow,
    Approve,
    Audit,
    Checkpoint,
    Choice,
    Clock,
    Decide,
    Ending,
    Entry,
    Evaluate,
    Grant,
    Incident,
    KeyChange,
    ModelRelease,
    Open,
    Population,
    Recover,
    Refuse,
    Reserve,
    Return,
    Settle,
)
from privacy.ledger.state import LedgerState

Paid = Counter[tuple[Purpose, AnyEvent]]


class Moment(NamedTuple):
    """The number and the time of an entry."""

    entry: int
    time: str


class Given(NamedTuple):
    """A grant. ``lost`` is one without an entry in this ledger: a recovery took it over."""

    at: Moment
    grant: RenyiGrant
    after_results: bool
    lost: bool
    patients: int | None
    """The public count of the population then; None if no registration is in this ledger."""
    by: str | None
    """Who granted it, in their own words; None where nobody is named, or the entry is lost."""


class Point(NamedTuple):
    """A population's figures after an entry, in epsilon; ``spent`` is None once nothing bounds it."""

    at: Moment
    granted: float
    spent: float | None
    committed: float
    """Spent and set aside together."""


class Amounts(NamedTuple):
    """What each grant of a population has spent, and spent and set aside together, after an entry; in nano units."""

    at: Moment
    unbounded: bool
    grants: tuple[tuple[int, int], ...]


class LedgerNote(NamedTuple):
    """A refusal or an incident, in the site's own words."""

    at: Moment
    study: str
    round: int | None
    code: str
    sentence: str


class Approval(NamedTuple):
    """A person has approved a number of runs of terms; an earlier version did not say whether launches or audits."""

    at: Moment
    terms: str
    by: str
    runs: int
    admits: Admits | None


class Decision(NamedTuple):
    """A person has agreed to one launch of a study or to the release of its model, or refused it."""

    at: Moment
    about: About
    choice: Choice
    by: str
    why: str | None


class Approver(NamedTuple):
    """Who has agreed to a study's admission, and in which entry."""

    at: Moment
    by: str


class SetBack(NamedTuple):
    """A person has said that the clock had been wrong; ``before`` is the time of the entry before."""

    at: Moment
    before: str
    by: str


class ReleasedModel(NamedTuple):
    """A model has left the site."""

    at: Moment
    model: str
    to: str


class KeyInUse(NamedTuple):
    """A key came into use."""

    at: Moment
    key: str


class WitnessedHeads(NamedTuple):
    """A witness of this ledger: how often it has seen the ledger, and up to which entry."""

    name: str
    key: str
    times: int
    newest: int
    at: Moment


class Recovery(NamedTuple):
    """A recovery took over a lost ledger's totals; ``seen`` is the last entry of it that a witness had seen."""

    at: Moment
    seen: int
    witness: str
    sentence: str


@dataclass
class Study:
    """What one study was allowed to do, and did. Amounts are in nano units at the order of the grant that pays."""

    admitted: Moment
    said: Allow
    paid: Paid = field(default_factory=Counter)
    reserved: list[int] = field(default_factory=list)
    settled: set[int] = field(default_factory=set)
    evaluated: list[int] = field(default_factory=list)
    spent: int = 0
    set_aside: int = 0
    last_paid: Moment | None = None
    closed: Moment | None = None
    closed_by_recovery: bool = False
    ending: Ending | None = None
    returned: int = 0
    releases: list[ReleasedModel] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The study's identifier."""
        return self.said.study


@dataclass(frozen=True)
class Audited:
    """What an audit of a study's terms proved, and when."""

    at: Moment
    said: Audit


@dataclass
class PopulationTimeline:
    """One population: its registrations, its grants, its studies, and its figures after each of them."""

    population: str
    registered: list[tuple[Moment, Population]] = field(default_factory=list)
    grants: list[Given] = field(default_factory=list)
    studies: list[Study] = field(default_factory=list)
    amounts: list[Amounts] = field(default_factory=list)
    filters: Sequence[RenyiFilter] = ()
    """Those of the population's account, of all its grants."""
    first_result: Moment | None = None
    unbounded_since: Moment | None = None

    @cached_property
    def points(self) -> list[Point]:
        """The figures after each entry that changed them; to be asked for when all entries are recorded."""
        return [self._compute_point(each) for each in self.amounts]

    def _compute_point(self, amounts: Amounts) -> Point:
        filters = self.filters[: len(amounts.grants)]
        known = list(zip(filters, amounts.grants, strict=True))
        spent = sum((filter_.epsilon_of(spent) for filter_, (spent, _) in known), Decimal(0))
        committed = sum((filter_.epsilon_of(committed) for filter_, (_, committed) in known), Decimal(0))
        granted = sum(filter_.granted.epsilon for filter_ in filters)
        return Point(amounts.at, granted, None if amounts.unbounded else float(spent), float(committed))

    def compute_unattributed_spending(self, account: Account) -> list[int]:
        """Compute what each grant has spent that no study in this ledger explains, in nano units."""
        rest = [each.spent for each in account.filters]
        for study in self.studies:
            if study.said.grant is not None:
                rest[study.said.grant - 1] -= study.spent
        return rest


class Timeline:
    """The history of the whole ledger, by population. Studies are in the order of their admission."""

    def __init__(self) -> None:
        self.entries: Counter[str] = Counter()
        self.histories: dict[str, PopulationTimeline] = {}
        self.studies: dict[str, Study] = {}
        self.approvals: list[Approval] = []
        self.decisions: dict[str, list[Decision]] = {}
        self.refusals: list[LedgerNote] = []
        self.incidents: list[LedgerNote] = []
        self.audits: dict[str, list[Audited]] = {}
        """By the digest of the terms that were audited."""
        self.keys: list[KeyInUse] = []
        self.witnesses: dict[str, WitnessedHeads] = {}
        self.recoveries: list[Recovery] = []
        self.clocks: list[SetBack] = []
        self._before: str = ""
        self.opened: Moment | None = None

    def apply(self, ledger_state: LedgerState, entry: Entry) -> None:
        """Record the next entry; ``ledger_state`` is the ledger's state after it."""
        at, before = Moment(entry.number, entry.time), self._before
        self._before = entry.time
        self.entries[entry.kind] += 1
        match entry.body:  # what a round brings comes first: a case that does not match takes pydantic long
            case Reserve() | Evaluate() as body:
                self._record_payment(at, body)
                self._record_point(ledger_state, at, self.studies[body.study].said.population)
            case Settle() as body:
                self.studies[body.study].settled.add(body.round)
            case Checkpoint() as body:
                self._record_witness(at, body)
            case Open() as body:
                self.opened = at
                self.keys.append(KeyInUse(at, PublicKey.from_text(body.key).typed))
            case Population() as body:
                self._find_or_make_history(body.population).registered.append((at, body))
                self._record_point(ledger_state, at, body.population)
            case Grant() as body:
                self._record_grant(at, body)
                self._record_point(ledger_state, at, body.population)
            case Approve() as body:
                self.approvals.append(Approval(at, body.terms, body.by, body.runs, body.admits))
            case Decide() as body:
                decision = Decision(at, body.about, body.choice, body.by, body.why)
                self.decisions.setdefault(body.study, []).append(decision)
            case Allow() as body:
                self.studies[body.study] = study = Study(at, body, set_aside=body.charge)
                self._find_or_make_history(body.population).studies.append(study)
                self._record_point(ledger_state, at, body.population)
            case Return() as body:
                study = self.studies[body.study]
                study.closed, study.returned, study.set_aside = at, body.charge, 0
                study.ending = body.why
                self._record_point(ledger_state, at, study.said.population)
            case ModelRelease() as body:
                self.studies[body.study].releases.append(ReleasedModel(at, body.model, body.to))
            case Audit() as body:
                self.audits.setdefault(self.studies[body.study].said.terms, []).append(Audited(at, body))
            case Refuse() as body:
                self.refusals.append(LedgerNote(at, body.study, None, body.code, body.sentence))
            case Incident() as body:
                self.incidents.append(LedgerNote(at, body.study, body.round, body.code, body.sentence))
            case KeyChange() as body:
                self.keys.append(KeyInUse(at, PublicKey.from_text(body.key).typed))
            case Clock() as body:
                self.clocks.append(SetBack(at, before, body.by))
            case Recover() as body:
                self._record_recovery(ledger_state, at, body)

    def list_approvers(self, study: Study) -> list[Approver]:
        """List who has agreed to a study's admission: to its terms ahead of the launch, or to this launch."""
        ahead = [Approver(each.at, each.by) for each in self.approvals if each.at.entry == study.said.approval]
        return ahead + [
            Approver(each.at, each.by)
            for each in self.decisions.get(study.name, ())
            if (each.about, each.choice) == (About.ADMISSION, Choice.APPROVE)
            and each.at.entry < study.admitted.entry
        ]

    def _find_or_make_history(self, population: str) -> PopulationTimeline:
        return self.histories.setdefault(population, PopulationTimeline(population))

    def _record_grant(self, at: Moment, body: Grant) -> None:
        history = self._find_or_make_history(body.population)
        granted = RenyiGrant(body.epsilon, body.delta, body.order, body.limit)
        patients = history.registered[-1][1].patients if history.registered else None
        history.grants.append(Given(at, granted, history.first_result is not None, False, patients, body.by))

    def _record_payment(self, at: Moment, body: Reserve | Evaluate) -> None:
        study = self.studies[body.study]
        purpose = Purpose.TRAIN if isinstance(body, Reserve) else Purpose.EVALUATE
        (study.reserved if isinstance(body, Reserve) else study.evaluated).append(body.round)
        study.paid[purpose, body.event] += 1
        study.spent += body.charge or 0
        study.set_aside -= body.charge or 0
        study.last_paid = at
        history = self._find_or_make_history(study.said.population)
        history.first_result = history.first_result or at

    def _record_witness(self, at: Moment, body: Checkpoint) -> None:
        seen = body.countersigned.seen.statement
        before = self.witnesses.get(body.witness)
        times, newest = (before.times, before.newest) if before else (0, 0)
        self.witnesses[body.witness] = WitnessedHeads(
            seen.witness, body.witness, times + 1, max(newest, seen.number), at
        )

    def _record_recovery(self, ledger_state: LedgerState, at: Moment, body: Recover) -> None:
        seen = body.countersigned.seen.statement
        self.recoveries.append(Recovery(at, seen.number, seen.witness, body.sentence))
        for study in self.studies.values():
            if study.closed is None:
                study.closed, study.closed_by_recovery = at, True
                study.spent, study.set_aside = study.spent + study.set_aside, 0
        # a recovery may bring grants, and whole populations, that have no entry in this ledger
        for population, account in ledger_state.accounts.items():
            history = self._find_or_make_history(population)
            for filter_ in account.filters[len(history.grants) :]:
                seen_results = history.first_result is not None
                patients = history.registered[-1][1].patients if history.registered else None
                history.grants.append(Given(at, filter_.granted, seen_results, True, patients, None))
            if account.unprotected_by or any(filter_.spent for filter_ in account.filters):
                history.first_result = history.first_result or at
            self._record_point(ledger_state, at, population)

    def _record_point(self, ledger_state: LedgerState, at: Moment, population: str) -> None:
        account, history = ledger_state.accounts[population], self.histories[population]
        if account.unprotected_by and history.unbounded_since is None:
            history.unbounded_since = at
        history.filters = account.filters
        grants = tuple([(each.spent, each.spent + each.set_aside) for each in account.filters])
        history.amounts.append(Amounts(at, account.unprotected_by is not None, grants))
