"""The state that a ledger's entries add up to: every entry is verified against all entries before it.

* The site applies its own entries before it appends one. The auditor applies them again.
* ``Rule`` lists what is checked. The error names the broken rule together with the entry.
* A refused append leaves the state unchanged.

One file, although it is long: every rule between two entries, in the order of the kinds; approvals, recovery and
totals stand beside.
"""

from collections.abc import Callable
from typing import Final

from privacy.accounting.account import Account
from privacy.accounting.epsilon import compute_renyi_limit, compute_stored_curve
from privacy.accounting.events import AnyEvent, IndividualGaussian
from privacy.accounting.figures import Budget
from privacy.accounting.plan import Purpose, compute_plan_curve
from privacy.errors import BudgetError, Error, LedgerError, RefusedError, StorageError
from privacy.keys import PublicKey, SigningKey
from privacy.ledger import entries
from privacy.ledger.approvals import Approvals
from privacy.ledger.cohorts import Cohorts
from privacy.ledger.decisions import Decisions
from privacy.ledger.entries import (
    Admits,
    Allow,
    Approve,
    Audit,
    Body,
    Checkpoint,
    Clock,
    Decide,
    Ending,
    Entry,
    Evaluate,
    Incident,
    KeyChange,
    ModelRelease,
    Open,
    Population,
    Recover,
    Refuse,
    ReleaseCohort,
    Require,
    Reserve,
    Return,
    Revoke,
    Settle,
    Subject,
    read_entry,
)
from privacy.ledger.recovery import compute_paid_since, take_over_lost_accounts
from privacy.ledger.rules import BrokenRuleError, Rule, describe_subject, find_broken_rule, require_equal
from privacy.ledger.signed_head import LedgerHead
from privacy.ledger.signing import (
    FIRST,
    Head,
    SignedEntry,
    sign,
    verify_key_proof,
    verify_seen_head,
    verify_signature,
)
from privacy.ledger.totals import AccountHistory
from privacy.refusal_codes import RefusalCode

_PROGRESS: Final = {Reserve, Settle, Evaluate, Allow}
_FREE: Final = {Settle, Checkpoint}
"""What changes no account; most entries are of these."""
ROLLBACK: Final = "rollback"
"""The code of an incident: what a witness has seen of this ledger is not in it."""
_NEVER: Final = "0000-00-00T00:00:00Z"


_Signatures = tuple[str, str]


class LedgerState:
    """The state of a ledger after the last entry that was applied."""

    def __init__(self) -> None:
        self.opened: Open | None = None
        self.keys: list[PublicKey] = []
        self.head = Head(0, FIRST)
        self.time = _NEVER
        self.populations: dict[str, Population] = {}
        self.accounts: dict[str, Account] = {}
        self.unsettled: set[tuple[str, int]] = set()
        self.witnessed: Head | None = None
        self.recovered: Head | None = None
        self.rollback: Incident | None = None
        """The last incident of a rollback from which the ledger was not recovered."""
        self._taken_over: set[Head] = set()
        self._hashes: list[str] = []
        self._events: dict[AnyEvent, AnyEvent] = {}
        """The events of all plans, each by itself."""
        self._history = AccountHistory()
        self._population_of_data: dict[str, str] = {}
        self._registered: set[tuple[str, str, str]] = set()
        """Population, contract and data of every registration."""
        self._population_of_study: dict[str, str] = {}
        self._refused: dict[str, Refuse] = {}
        self._incidents: set[Incident] = set()
        self._said: dict[Subject, Body | _Signatures] = {}
        self._working: set[str] = set()
        """Studies that have paid for something."""
        self._approvals = Approvals()
        self._decisions = Decisions()
        self._cohorts = Cohorts()
        self._heard: dict[str, tuple[Entry, Entry]] = {}
        """The first and the last entry about the progress of each study."""

    @property
    def key(self) -> PublicKey:
        """The key that signs this ledger now.

        Raises:
            LedgerError: the ledger has no entry yet.
        """
        self._require_opened()
        return self.keys[-1]

    @property
    def site(self) -> str:
        """The name of the site.

        Raises:
            LedgerError: the ledger has no entry yet.
        """
        return self._require_opened().site

    def check_key(self, key: PublicKey | None) -> None:
        """Check that ``key`` signs, or has signed, this ledger; None accepts any ledger.

        Raises:
            LedgerError: it is another site's ledger, or has no entry yet.
        """
        own = self.key
        if key is not None and key not in self.keys:
            raise LedgerError(f"expected the ledger of the key {key.typed}, got that of {own.typed}")

    def apply(self, signed: SignedEntry, verified: Entry | None = None) -> Entry:
        """Verify and apply the next entry. The state is unusable after an error.

        Args:
            signed: the entry.
            verified: what ``read_entry`` reads from exactly these bytes, if form and signatures are known to be right,
                so that they are not checked again. The caller has to know it (:mod:`privacy.ledger.verified_mark`,
                :mod:`privacy.ledger.check_ahead`).

        Raises:
            LedgerError: naming the entry, the rule it breaks, and how.
        """
        number = self.head.number + 1
        try:
            entry = self._read(signed, verified)
            self._apply_body(entry.body, verified is not None)
        except Error as error:
            raise LedgerError(f"entry {number} breaks the rule '{find_broken_rule(error)}': {error}") from None
        except Exception as error:  # the file comes from another party: any bytes are possible
            raise LedgerError(f"entry {number} cannot be read ({type(error).__name__})") from error
        self._advance(entry, signed)
        return entry

    def append(self, body: Body, time: str, key: SigningKey) -> SignedEntry:
        """Append an entry, and return it signed. A refusal leaves the state unchanged.

        Run by a site.

        Raises:
            BudgetError: the budget does not allow it.
            RefusedError: the data belong to another population.
            StorageError: the clock is behind the last entry.
            LedgerError: it contradicts the ledger, or ``key`` does not sign it any more.
        """
        if time < self.time and not isinstance(body, Clock):
            raise StorageError(
                f"the clock says {time}, the last entry was written at {self.time}: set the clock; or, if it is right "
                "now and was wrong then, say so once, in the ledger: consilium-site ledger clock --by NAME",
                "ledger",
            )
        self._require_turned_back(body, time)
        number, previous = self.head.number + 1, self.head.hash
        entry = Entry(number=number, kind=body.kind, time=time, previous=previous, body=body)
        expected = _read_opening_key(body) if self.opened is None else self.key
        if key.public != expected:
            raise LedgerError(f"the ledger is signed by the key {expected.typed}, not by {key.public.typed}")
        self._apply_body(body)
        signed = sign(entry, key)
        self._advance(entry, signed)
        return signed

    def has_recorded(self, body: Body) -> bool:
        """Return whether the ledger has exactly this already, so that a repeated request changes nothing.

        Raises:
            LedgerError: it says something else about the same subject.
        """
        subject = body.subject
        if subject is not None:
            said = self._said.get(subject)
            if said is not None and said != _abridge(body):
                raise BrokenRuleError(
                    Rule.ONCE,
                    f"{describe_subject(body)} is in the ledger already, and it says something else there",
                )
            return said is not None
        match body:
            case Population():
                return self.populations.get(body.population) == body
            case Refuse():
                return self._refused.get(body.study) == body
            case Incident():
                return body in self._incidents
        return False

    def contains(self, number: int, hash: str) -> bool:
        """Return whether entry ``number`` with this hash is in this ledger, or was taken over by a recovery."""
        return self.has_entry(number, hash) or Head(number, hash) in self._taken_over

    def has_entry(self, number: int, hash: str) -> bool:
        """Return whether entry ``number`` of this ledger itself has this hash."""
        return 0 < number <= self.head.number and self._hashes[number - 1] == hash

    def find_entry_number(self, hash: str) -> int | None:
        """Return the number of the entry with this hash; None if this ledger has none."""
        return self._hashes.index(hash) + 1 if hash in self._hashes else None

    def has_been_seen(self, number: int, hash: str) -> bool:
        """Return whether a checkpoint of this entry adds nothing, because it or a later one is noted as seen."""
        older = self.witnessed is not None and number <= self.witnessed.number
        return Head(number, hash) in self._taken_over or (older and self.contains(number, hash))

    def find_population(self, name: str) -> Population:
        """Return what was registered last as ``name``.

        Raises:
            LedgerError: nothing was.
        """
        if name not in self.populations:
            raise LedgerError(f"the population '{name}' is not registered in this ledger")
        return self.populations[name]

    def find_account(self, population: str) -> Account:
        """Return the account of ``population``.

        Raises:
            LedgerError: it is not registered.
        """
        if population not in self.accounts:
            raise BrokenRuleError(Rule.ONCE, f"the population '{population}' is not registered in this ledger")
        return self.accounts[population]

    def find_account_of_study(self, study: str) -> Account:
        """Return the account from which ``study`` is paid.

        Raises:
            BudgetError: it has no allowance here.
        """
        if study not in self._population_of_study:
            raise BudgetError(f"the study '{study}' has no allowance in this ledger: it was never admitted here")
        return self.accounts[self._population_of_study[study]]

    def find_allowance(self, study: str) -> Allow | None:
        """Return the entry's content with which ``study`` was admitted; None if it was not."""
        said = self._said.get((Allow.kind, study))
        return said if isinstance(said, Allow) else None

    def is_registered(self, population: str, contract: str, data: str) -> bool:
        """Return whether files of digest ``data`` were registered for ``population`` under this contract digest."""
        return (population, contract, data) in self._registered

    def has_paid(self, study: str) -> bool:
        """Return whether ``study`` has paid for any round or totals."""
        return study in self._working

    def has_reserved(self, study: str, number: int) -> bool:
        """Return whether the training of round ``number`` is paid."""
        return (Reserve.kind, study, number) in self._said

    def has_paid_evaluation(self, study: str, number: int) -> bool:
        """Return whether the totals of the model after round ``number`` are paid."""
        return (Evaluate.kind, study, number) in self._said

    def find_approval(self, terms: str, admits: Admits) -> int | None:
        """Return the entry of the oldest approval of these terms that has a run left for this; None if none has."""
        return self._approvals.find(terms, admits)

    def count_approved_runs(self, terms: str, admits: Admits) -> int:
        """Return how many launches, audits, or trainings alone of these terms the approvals still allow."""
        return self._approvals.count_runs(terms, admits)

    def is_admitted_as(self, study: str, admits: Admits) -> bool:
        """Return whether the account of ``study`` was opened by an approval that says that it admits this."""
        said = self.find_allowance(study)
        return said is not None and self._approvals.find_admitted(said.approval) is admits

    def find_approver(self, number: int) -> str | None:
        """Return who gave the approval of entry ``number``; None if that is no approval."""
        return self._approvals.find_approver(number)

    @property
    def decisions(self) -> Decisions:
        """What was asked of people about launches, and what they decided; for reading only."""
        return self._decisions

    @property
    def cohorts(self) -> Cohorts:
        """The cohorts with which statistics were released; for reading only."""
        return self._cohorts

    def find_admission_entry(self, study: str) -> Entry | None:
        """Return the entry that admitted ``study``; None if it was not admitted."""
        return self._heard[study][0] if study in self._heard else None

    def find_last_entry(self, study: str) -> Entry | None:
        """Return the last entry about the progress of ``study``: admitted, a round paid, or a round ended."""
        return self._heard[study][1] if study in self._heard else None

    def find_ending(self, study: str) -> Ending | None:
        """Return why the account of ``study`` was closed; None if it is open, or a recovery closed it."""
        said = self._said.get((Return.kind, study))
        return said.why if isinstance(said, Return) else None

    def list_budgets(self) -> list[Budget]:
        """Return the budget figures of every population."""
        return [account.budget for account in self.accounts.values()]

    def make_head_statement(self) -> LedgerHead:
        """Make the head with its totals, as the site shows it to others.

        Raises:
            LedgerError: the ledger has no entry yet.
        """
        return LedgerHead(
            site=self.site,
            number=self.head.number,
            hash=self.head.hash,
            time=self.time,
            recovered=None if self.recovered is None else self.recovered.hash,
            accounts=self._history.compute_totals(self.accounts, self.head.number),
        )

    def _read(self, signed: SignedEntry, verified: Entry | None) -> Entry:
        entry = read_entry(signed.entry) if verified is None else verified
        if entry.number != self.head.number + 1:
            raise BrokenRuleError(Rule.CHAIN, f"expected number {self.head.number + 1}, got {entry.number}")
        if entry.previous != self.head.hash:
            raise BrokenRuleError(Rule.CHAIN, "it does not follow the entry before it (the hash differs)")
        if entry.time < self.time and not isinstance(entry.body, Clock):
            raise BrokenRuleError(Rule.CHAIN, f"written at {entry.time}, before the entry before it ({self.time})")
        self._require_turned_back(entry.body, entry.time)
        key = _read_opening_key(entry.body) if self.opened is None else self.key
        try:
            if verified is None:
                verify_signature(signed, key)
        except LedgerError as error:
            raise BrokenRuleError(Rule.SIGNATURE, str(error)) from None
        return entry

    def _apply_body(self, body: Body, verified: bool = False) -> None:
        """Apply ``body``, which was ``verified`` before or not; on an error nothing is changed."""
        subject = body.subject
        if subject is not None and self.has_recorded(body):
            raise BrokenRuleError(Rule.ONCE, f"{describe_subject(body)} is in the ledger already")
        match body:  # what a round brings comes first: a case that does not match takes pydantic long
            case Reserve():
                self._pay(body, Purpose.TRAIN)
                self.unsettled.add((body.study, body.round))
            case Evaluate():
                self._require_launched(body)
                self._pay(body, Purpose.EVALUATE)
            case Settle():
                if (body.study, body.round) not in self.unsettled:
                    raise BrokenRuleError(
                        Rule.ONCE, f"{describe_subject(body)} was never reserved, so it cannot be settled"
                    )
                self.unsettled.remove((body.study, body.round))
            case Checkpoint():
                self._apply_checkpoint(body, verified)
            case Open():
                self._open(body)
            case Population():
                self._register(body)
            case entries.Grant():
                require_equal(
                    "limit", body.limit, max(0, compute_renyi_limit(body.epsilon, body.delta, body.order))
                )
                self.find_account(body.population).add_grant(body.epsilon, body.delta, body.order)
            case Allow():
                self._allow(body)
            case Return():
                account = self.find_account_of_study(body.study)
                require_equal("charge", body.charge, account.read_unused_amount(body.study))
                account.give_back(body.study)
                self._restore_approval(body.study)
            case ModelRelease():
                self.find_account_of_study(body.study)
                self._require_launched(body)
                self._decisions.require_released(body)
            case Audit():
                self._require_audited(body.study)
            case ReleaseCohort():
                self._require_launched(body)
                self._cohorts.add(self.find_account_of_study(body.study).population, body)
            case Require():
                self._require_launched(body)
                self._decisions.require(body)
            case Decide():
                self._decisions.add(body)
            case Refuse():
                self._refused[body.study] = body
            case KeyChange():
                self._change_key(body)
            case Recover():
                self._recover(body, verified)
            case Incident():
                self._incidents.add(body)
                if body.code == ROLLBACK:
                    self.rollback = body
            case Approve():
                self._approvals.add(self.head.number + 1, body)
            case Revoke():
                self._approvals.revoke(body)
            case Clock():
                pass  # its time is checked with the chain
            case _:
                raise LedgerError(f"the kind '{body.kind}' has no rule")
        if subject is not None:
            self._said[subject] = _abridge(body)

    def _open(self, body: Open) -> None:
        if self.opened is not None:
            raise BrokenRuleError(Rule.OPENING, "the ledger is open already")
        self.keys.append(PublicKey.from_text(body.key))
        self.opened = body

    def _register(self, body: Population) -> None:
        owner = self._population_of_data.get(body.data, body.population)
        if owner != body.population:
            raise RefusedError(
                RefusalCode.SAME_DATA,
                f"these data are registered as the population '{owner}': the same patients have one budget, "
                f"under one name; use '{owner}'",
            )
        known = self.populations.get(body.population)
        if known is not None and known.patient_column != body.patient_column:
            raise RefusedError(
                RefusalCode.PATIENT_COLUMN,
                f"the patients of '{body.population}' are told by the column '{known.patient_column}', this contract "
                f"tells them by '{body.patient_column}': whoever is one patient must stay one patient; use a contract "
                f"with patient: {known.patient_column}, or another population if these are other people",
            )
        self._population_of_data[body.data] = body.population
        self._registered.add((body.population, body.contract, body.data))
        self.populations[body.population] = body
        self.accounts.setdefault(body.population, Account(body.population))

    def _allow(self, body: Allow) -> None:
        account = self.find_account(body.population)
        if body.grant is not None:
            require_equal("charge", body.charge, account.find_filter(body.grant).compute_plan_price(body.plan))
        else:
            require_equal("charge", body.charge, 0)
        require_equal("curve", body.curve, compute_plan_curve(body.plan))
        self._approvals.require(body, launched=self._decisions.find_required(body.study) is not None)
        self._require_filters_alone(body)
        self._decisions.require_admitted(body, self._approvals.find_approver(body.approval))
        account.allow(body.study, body.plan, body.grant)
        self._events.update((part.event, part.event) for part in body.plan)
        self._population_of_study[body.study] = body.population
        self._approvals.use(body.approval)

    def _require_launched(self, body: Evaluate | ModelRelease | ReleaseCohort | Require) -> None:
        """Refuse what only a launch has: totals, a model, a cohort, a question; a training alone may have a model."""
        if self.is_admitted_as(body.study, Admits.AUDIT):
            raise BrokenRuleError(
                Rule.APPROVAL,
                f"'{body.study}' was admitted as an audit, which pays for its training and has a result, and nothing "
                f"else: no {describe_subject(body)}",
            )
        if not self.is_admitted_as(body.study, Admits.ALONE):
            return
        if not isinstance(body, ModelRelease):
            raise BrokenRuleError(
                Rule.APPROVAL,
                f"'{body.study}' was admitted as a training alone, which pays once and has a model, and nothing else: "
                f"no {describe_subject(body)}",
            )
        if not self.find_account_of_study(body.study).allowances[body.study].paid:
            raise BrokenRuleError(Rule.ONCE, f"'{body.study}' has not paid for a training, so it has no model")

    def _require_filters_alone(self, body: Allow) -> None:
        """Require that approvals of trainings alone admit those with a filter for each patient, and no others do."""
        filtered = [isinstance(part.event, IndividualGaussian) for part in body.plan]
        alone = self._approvals.find_admitted(body.approval) is Admits.ALONE
        once = len(body.plan) == 1 and body.plan[0].times == 1 and body.plan[0].purpose is Purpose.TRAIN
        if alone != any(filtered) or (alone and not once):
            raise BrokenRuleError(
                Rule.APPROVAL,
                f"'{body.study}': a training with a filter for each patient is paid once and whole, needs an approval "
                "of trainings alone, and is all that such an approval admits",
            )

    def _require_audited(self, study: str) -> None:
        """Refuse the result of an audit on a launch's account, on a closed one, or before its training is paid."""
        allowance = self.find_account_of_study(study).allowances[study]
        said = self.find_allowance(study)
        asked = self._decisions.find_required(study) is not None
        if said is None or not self._approvals.may_audit(said.approval, launched=asked):
            raise BrokenRuleError(
                Rule.APPROVAL,
                f"'{study}' was not admitted by an approval of audits, so no result of an audit stands on its account",
            )
        if not allowance.paid or allowance.closed:
            raise BrokenRuleError(
                Rule.ONCE,
                f"'{study}' has no open account that has paid for a training, so it has no result of an audit",
            )

    def _restore_approval(self, study: str) -> None:
        """Give the approved run of a study back, if the study was closed before it paid for anything."""
        said = self.find_allowance(study)
        if said is not None and not self.find_account_of_study(study).allowances[study].paid:
            self._approvals.restore(said.approval)

    def _require_turned_back(self, body: Body, time: str) -> None:
        if type(body) is Clock and time >= self.time:
            raise BrokenRuleError(
                Rule.CHAIN,
                f"the clock ({time}) is not behind the last entry ({self.time}): there is nothing to say of it",
            )

    def _pay(self, body: Reserve | Evaluate, purpose: Purpose) -> None:
        account = self.find_account_of_study(body.study)
        event = self._events.get(body.event, body.event)  # the object of the plan, which is found without comparing
        require_equal("charge", body.charge, account.compute_price(body.study, event))
        require_equal("curve", body.curve, compute_stored_curve(event))
        account.pay(body.study, purpose, event)
        self._working.add(body.study)

    def _apply_checkpoint(self, body: Checkpoint, verified: bool) -> None:
        head = body.countersigned.head.statement if verified else verify_seen_head(body, self.site, self.keys)
        if not self.has_entry(head.number, head.hash):
            raise BrokenRuleError(
                Rule.WITNESS, f"the entry {head.number} that a witness has seen is not the one in this ledger"
            )
        if not self._history.equals(head.accounts, self.accounts, head.number):
            raise BrokenRuleError(
                Rule.WITNESS,
                f"the totals that a witness has seen are not those of this ledger at entry {head.number}",
            )
        if self.witnessed is None or head.number > self.witnessed.number:
            self.witnessed = Head(head.number, head.hash)

    def _change_key(self, body: KeyChange) -> None:
        if PublicKey.from_text(body.key) in self.keys:
            raise BrokenRuleError(Rule.ONCE, f"the key {body.key} has signed this ledger before")
        try:
            self.keys.append(verify_key_proof(body, self.head))
        except LedgerError as error:
            raise BrokenRuleError(Rule.SIGNATURE, str(error)) from None

    def _recover(self, body: Recover, verified: bool) -> None:
        head = body.countersigned.head.statement if verified else verify_seen_head(body, self.site, self.keys)
        if self.contains(head.number, head.hash):
            raise BrokenRuleError(
                Rule.WITNESS, f"entry {head.number}, which the witness has seen, is in the ledger: nothing is lost"
            )
        witnessed = None if self.witnessed is None else self.witnessed.number
        take_over_lost_accounts(self.accounts, head, compute_paid_since(self.accounts, self._history, witnessed))
        self._approvals.revoke_all()
        self._decisions.end_all()
        self.unsettled.clear()
        self.recovered = Head(head.number, head.hash)
        self.rollback = None
        self._taken_over.add(self.recovered)

    def _advance(self, entry: Entry, signed: SignedEntry) -> None:
        hash = signed.hash
        self.head = Head(entry.number, hash)
        self.time = entry.time
        kind = type(entry.body)  # to ask for an instance takes pydantic long, and nothing is derived from these
        if kind in _PROGRESS:
            study = entry.body.study  # type: ignore[attr-defined]
            first, _ = self._heard.get(study, (entry, entry))
            self._heard[study] = first, entry
        self._hashes.append(hash)
        if kind not in _FREE:
            self._history.record(entry.number, self.accounts)

    def _require_opened(self) -> Open:
        if self.opened is None:
            raise LedgerError("the ledger has no entry yet")
        return self.opened


def _abridge(body: Body) -> Body | _Signatures:
    """Return what tells later whether a further entry about the same subject says the same.

    A third of all entries are checkpoints, each of seven documents; both signatures in it sign all that it says.
    """
    if type(body) is not Checkpoint:
        return body
    return body.countersigned.head.signature, body.countersigned.seen.signature


Watch = Callable[[LedgerState, Entry], None]


def _read_opening_key(body: Body) -> PublicKey:
    if not isinstance(body, Open):
        raise BrokenRuleError(Rule.OPENING, f"expected a ledger to begin with 'open', got '{body.kind}'")
    return PublicKey.from_text(body.key)
