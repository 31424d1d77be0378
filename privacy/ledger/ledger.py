"""The site's interface to its ledger: append everything that is granted, spent, released and refused.

Rules:

* **Check, record, then act**: when a method returns, its entry is durable.
* One append is one immediate transaction (:class:`Append`): entries of other processes are read and checked, the
  rules are checked, the entry is written. Two processes can never spend the same budget.
* A repeated request is recorded once and changes nothing. What people decide (a grant, an approval) counts each
  time.
* Opening verifies the ledger; one that does not verify is not opened. What this program has verified before and
  finds unchanged is not verified a second time (:mod:`privacy.ledger.verified_mark`).
* A :class:`~privacy.errors.StorageError`, from any method that reads or appends, means that nothing was recorded.
  The file is then read again before it is used.

One file, although it is long: one method for each kind of entry, most of them a docstring and a line.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from privacy.accounting.epsilon import compute_renyi_limit, compute_stored_curve
from privacy.accounting.events import AnyEvent
from privacy.accounting.plan import Planned, compute_plan_curve
from privacy.document import parse
from privacy.errors import Error, LedgerError, RefusedError, StorageError
from privacy.keys import PublicKey, SigningKey
from privacy.ledger.database import TIMEOUT_S, open_file, read_signed_entries, translate_errors
from privacy.ledger.entries import (
    About,
    Admits,
    Allow,
    Approve,
    Audit,
    Body,
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
    Population,
    Recover,
    Refuse,
    ReleaseCohort,
    Require,
    Reserve,
    Return,
    Review,
    Revoke,
    Settle,
    read_entry,
)
from privacy.ledger.export import format_export
from privacy.ledger.papers import Paper
from privacy.ledger.signed_head import Countersigned, LedgerHead
from privacy.ledger.signing import Head, sign_key_proof
from privacy.ledger.state import LedgerState
from privacy.ledger.transaction import Append, Create, format_time, read_new_entries, read_verified_entries
from privacy.ledger.verified_mark import WORTH_MARKING, read_mark, write_mark
from privacy.refusal_codes import RefusalCode
from privacy.sentence import fit_sentence
from privacy.signed import Signed as SignedStatement

CLOCK_STEP: Final = timedelta(hours=1)
"""If the clock is behind the last entry by at most this, the new entry repeats that time."""

_OF: Final = {Admits.AUDIT: "an audit", Admits.ALONE: "a training alone"}

B = TypeVar("B", bound=Body)


def read_utc_time() -> datetime:
    """Read the machine's clock."""
    return datetime.now(UTC)


class Ledger:
    """A site's ledger, open for appending. Make one with :meth:`create` or :meth:`open`; close it, or use ``with``.

    An open ledger belongs to one thread; other threads and processes open the file again.
    """

    def __init__(
        self, path: Path, connection: sqlite3.Connection, key: SigningKey, clock: Callable[[], datetime]
    ) -> None:
        self._path = path
        self._file = _identify_file(path)
        self._connection = connection
        self._key = key
        self._clock = clock
        self._state = LedgerState()
        self.on_incident: Callable[[str, str], None] | None = None
        """Called with the study and the sentence of each incident that is entered here."""

    @classmethod
    def create(
        cls, path: Path, key: SigningKey, site: str, clock: Callable[[], datetime] = read_utc_time
    ) -> "Ledger":
        """Create a new ledger for ``site``, completely or not at all; only its owner can read the file (0600).

        Raises:
            StorageError: there is a file already, or the folder cannot be written.
        """
        creation = Create(path, site, key, format_time(clock()))
        try:
            for step in creation.steps:
                step()
        finally:
            creation.clean_up()
        return cls.open(path, key, clock)

    @classmethod
    def open(
        cls,
        path: Path,
        key: SigningKey,
        clock: Callable[[], datetime] = read_utc_time,
        timeout_s: float = TIMEOUT_S,
    ) -> "Ledger":
        """Open the ledger and verify it.

        Args:
            path: the SQLite file.
            key: the site's identity, which has signed the ledger so far.
            clock: returns the time.
            timeout_s: how long to wait while another process writes.

        Raises:
            LedgerError: missing, corrupt, of a newer version, or an entry is wrong (named).
            StorageError: locked, read-only, or on a disk that cannot be written.
        """
        ledger = cls(path, open_file(path, timeout_s), key, clock)
        try:
            mark = read_mark(path, key)
            if mark is not None:
                with translate_errors(path):
                    ledger._state = read_verified_entries(ledger._connection, mark)
            verified = ledger._state.head.number
            ledger.refresh()
            if ledger.head.number == 0:
                raise LedgerError(f"{path}: the ledger is empty; restore it from a backup")
            if ledger.head.number - verified >= WORTH_MARKING:
                write_mark(path, key, ledger.head)
        except BaseException:
            ledger.close()
            raise
        return ledger

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *cause: object) -> None:
        self.close()

    @property
    def site(self) -> str:
        """The name of the site."""
        return self._known_state.site

    @property
    def key(self) -> PublicKey:
        """The key that signs this ledger now."""
        return self._key.public

    @property
    def head(self) -> Head:
        """Number and hash of the last entry that this process has written or read; see :meth:`refresh`."""
        return self._known_state.head

    def sign_head(self) -> SignedStatement[LedgerHead]:
        """Sign the head with its totals, for witnesses, after the entries of other processes are read.

        Raises:
            LedgerError: an entry is wrong (named).
        """
        self.refresh()
        return SignedStatement[LedgerHead].sign(self._key, self._state.make_head_statement())

    def refresh(self) -> None:
        """Read and check the entries that other processes have added.

        Raises:
            LedgerError: an entry is wrong (named).
        """
        self._require_in_place()
        with translate_errors(self._path):
            self._catch_up()

    def register_population(
        self,
        name: str,
        data_digest: str,
        patients: int,
        records_per_patient: int,
        patients_commitment: str,
        contract: str,
        patient_column: str,
        said_different: Mapping[str, int] | None = None,
    ) -> None:
        """Register a data set's patients, or their changed file.

        Args:
            name: the population.
            data_digest: SHA-256 of the file as it is now.
            patients: how many, as the site makes it public.
            records_per_patient: the most records of one patient that enter a step.
            patients_commitment: commitment to the keyed digests of every patient it ever had; see
                ``client/data/patient_register.py``.
            contract: the digest of the data contract that the file satisfies.
            patient_column: the column that identifies a patient.
            said_different: by population, how many patients have identifiers like those of another population and
                are other people by what people at the site say.

        Raises:
            RefusedError: the same data are registered under another name, or another column identifies the
                population's patients.
            LedgerError: the ledger cannot take it.
        """
        self._add(
            Population,
            population=name,
            data=data_digest,
            patients=patients,
            records_per_patient=records_per_patient,
            patients_commitment=patients_commitment,
            contract=contract,
            patient_column=patient_column,
            said_different=dict(said_different or {}),
        )

    def grant(
        self,
        population: str,
        epsilon: float,
        delta: float,
        order: int,
        by: str | None = None,
        account: str | None = None,
    ) -> None:
        """Grant ``population`` a budget, or a further one, kept at ``order`` from now on.

        Args:
            population: the population whose patients it is for.
            epsilon: the most that all studies together may cost.
            delta: together with the grants before it, at most 1 divided by the number of patients.
            order: the order of the Renyi divergence.
            by: the name of the person who grants it, as they wrote it.
            account: the account of the machine under which the command runs.

        Raises:
            BudgetError: epsilon is too small for this order, or delta is too large for so few patients.
            LedgerError: the ledger cannot take it.
        """
        room = max(0, compute_renyi_limit(epsilon, delta, order))
        fields = {"population": population, "epsilon": epsilon, "delta": delta, "order": order, "limit": room}
        granted = _make_body(Grant, **fields, by=by, account=account)

        def body(ledger_state: LedgerState) -> Body:
            account = ledger_state.find_account(population)
            if population not in ledger_state.populations:
                raise LedgerError(
                    f"the population '{population}' is known from a lost ledger only; register its files first"
                )
            account.require_fitting_delta(delta, ledger_state.populations[population].patients)
            return granted

        self._record(body)

    def approve(
        self,
        terms_digest: str,
        by: str,
        runs: int = 1,
        account: str | None = None,
        admits: Admits = Admits.LAUNCH,
    ) -> None:
        """Record that ``by`` approves ``runs`` further launches, audits, or trainings alone of these terms.

        It counts each time.

        Raises:
            LedgerError: the ledger cannot take it.
        """
        self._add(Approve, terms=terms_digest, runs=runs, by=by, account=account, admits=admits)

    def revoke(self, terms_digest: str, by: str, account: str | None = None) -> None:
        """Record that ``by`` takes back the unused runs of all approvals of these terms.

        Raises:
            LedgerError: no run is unused, or the ledger cannot take it.
        """
        self._add(Revoke, terms=terms_digest, by=by, account=account)

    def require(self, required: Require) -> None:
        """Record what the policy asks of a launch; if that is the newest about this study already, nothing changes.

        Raises:
            RefusedError: ``order``: the operator's order was for another launch.
            LedgerError: the ledger cannot take it.
        """

        def body(ledger_state: LedgerState) -> Body | None:
            return None if ledger_state.decisions.find_required(required.study) == required else required

        self._record(body)

    def decide(
        self,
        study: str,
        about: About,
        choice: Choice,
        by: str,
        *,
        launch: str,
        model: str | None = None,
        reviewed: Review | None = None,
        why: str | None = None,
        account: str | None = None,
    ) -> None:
        """Record what ``by`` decides about the launch of ``study`` that waits, or about the release of its ``model``.

        ``launch`` is the digest of the launch that they were shown.

        Raises:
            RefusedError: ``approval``: nobody was asked about this study, or last about another launch of this name.
            LedgerError: the other site reviewed other terms, or the ledger cannot take it.
        """

        def body(ledger_state: LedgerState) -> Body:
            asked = ledger_state.decisions.find_required(study)
            if asked is None:
                raise RefusedError(RefusalCode.APPROVAL, f"nobody was asked about the study '{study}'")
            if asked.launch != launch:
                raise RefusedError(
                    RefusalCode.APPROVAL,
                    f"'{study}' is another launch now than the one that was shown; look at it again",
                )
            return _make_body(
                Decide,
                study=study,
                launch=asked.launch,
                terms=asked.terms,
                about=about,
                choice=choice,
                model=model,
                reviewed=None if reviewed is None else reviewed.model_dump(),
                why=None if why is None else fit_sentence(why),
                by=by,
                account=account,
            )

        self._record(body)

    def accept_clock(self, by: str, account: str | None = None) -> None:
        """Record that, as ``by`` says, the clock is right although it is behind the last entry.

        Raises:
            LedgerError: the clock is not behind, or the ledger cannot take it.
        """
        said = _make_body(Clock, by=by, account=account)
        self._record(lambda ledger_state: said, lambda: format_time(self._clock()))

    def allow(
        self,
        study: str,
        population: str,
        plan: Sequence[Planned],
        terms_digest: str,
        *,
        approval: Admits | None = None,
    ) -> None:
        """Admit ``study`` with its whole plan, and set its price aside.

        Args:
            study: the study's identifier.
            population: the population whose patients it uses.
            plan: all events that it will cause.
            terms_digest: the digest of its terms.
            approval: what it is, if it needs an approval of its terms that admits this, and uses a run of it.

        Raises:
            BudgetError: it does not fit, or the population was already trained on without privacy.
            RefusedError: ``approval`` if it needs one, and none is left, or people have not agreed to this launch.
            LedgerError: the study was admitted differently before, or the ledger cannot take it.
        """

        def body(ledger_state: LedgerState) -> Body:
            account, said = ledger_state.find_account(population), ledger_state.find_allowance(study)
            grant = account.find_grant(study, plan) if said is None else said.grant
            used = (
                said.approval
                if said is not None
                else None
                if approval is None
                else _find_approval(ledger_state, study, terms_digest, approval)
            )
            return _make_body(
                Allow,
                study=study,
                population=population,
                terms=terms_digest,
                approval=used,
                plan=tuple(plan),
                grant=grant,
                curve=compute_plan_curve(plan),
                charge=0 if grant is None else account.find_filter(grant).compute_plan_price(plan),
            )

        self._record(body)

    def reserve(self, study: str, round: int, event: AnyEvent) -> None:
        """Pay a training round; the payment is durable when this returns, so before the first gradient.

        Raises:
            BudgetError: the study's plan does not have it, or not so often, or the study is closed.
            LedgerError: the round was paid with another event, or the ledger cannot take it.
        """
        self._record(lambda ledger_state: _make_payment(Reserve, ledger_state, study, round, event))

    def settle(self, study: str, round: int) -> None:
        """Record that a reserved round's training has ended.

        Raises:
            LedgerError: it was never reserved, or the ledger cannot take it.
        """
        self._add(Settle, study=study, round=round)

    def pay_evaluation(self, study: str, round: int, event: AnyEvent) -> None:
        """Pay a round's totals over held-out patients, before they are counted.

        Raises:
            BudgetError: as :meth:`reserve`.
            LedgerError: as :meth:`reserve`.
        """
        self._record(lambda ledger_state: _make_payment(Evaluate, ledger_state, study, round, event))

    def give_back(self, study: str, why: Ending = Ending.FINISHED) -> None:
        """Close ``study`` and free what it has not used; if it is closed already, nothing changes.

        Raises:
            BudgetError: the study was never admitted.
            LedgerError: the ledger cannot take it.
        """

        def body(ledger_state: LedgerState) -> Return | None:
            account = ledger_state.find_account_of_study(study)
            if account.allowances[study].closed:
                return None
            return Return(study=study, charge=account.read_unused_amount(study), why=why)

        self._record(body)

    def record_release(self, study: str, model_digest: str, to: str = "sites") -> None:
        """Record that a study's model has left the site.

        Raises:
            BudgetError: the study was never admitted.
            LedgerError: the ledger cannot take it.
        """
        self._add(ModelRelease, study=study, model=model_digest, to=to)

    def record_cohort(self, study: str, cohort: Sequence[str], minimum: int) -> None:
        """Record with which cohort statistics are released; durable when this returns, so before the mask leaves.

        Raises:
            RefusedError: ``release-refused``: the cohort differs by too few sites from an earlier one.
            BudgetError: the study was never admitted.
            LedgerError: the ledger cannot take it.
        """
        self._add(ReleaseCohort, study=study, cohort=tuple(cohort), minimum=minimum)

    def record_audit(self, audit: Audit) -> None:
        """Record what an audit of a study proved, on the account from which it was paid.

        Raises:
            BudgetError: the audit was never admitted.
            LedgerError: it has another result, or the ledger cannot take it.
        """
        self._record(lambda _: audit)

    def record_refusal(self, study: str, code: str, sentence: str) -> None:
        """Record that the site refused a request, and by which rule; the sentence is cut if it is too long.

        Raises:
            LedgerError: the ledger cannot take it.
        """
        self._add(Refuse, study=study, code=code, sentence=fit_sentence(sentence))

    def record_incident(self, study: str, code: str, sentence: str, round: int | None = None) -> None:
        """Record an event that must be kept: a void round, an aggregate that did not open.

        The same incident is recorded once. The sentence is cut if it is too long.

        Raises:
            LedgerError: the ledger cannot take it.
        """
        before = self.head.number
        self._add(Incident, study=study, round=round, code=code, sentence=fit_sentence(sentence))
        if self.on_incident is not None and self.head.number > before:
            self.on_incident(study, fit_sentence(sentence))

    def record_checkpoint(self, countersigned: Countersigned, witness: PublicKey) -> None:
        """Record that ``witness`` has seen this ledger up to a head; a head that is noted as seen changes nothing.

        Raises:
            LedgerError: the head is not this ledger's, a signature is wrong, or the ledger cannot take it.
        """
        seen = countersigned.seen.statement

        def body(ledger_state: LedgerState) -> Body | None:
            if ledger_state.has_been_seen(seen.number, seen.hash):
                return None
            return _make_body(Checkpoint, witness=witness.text, countersigned=countersigned.model_dump())

        self._record(body)

    def recover(self, countersigned: Countersigned, witness: PublicKey) -> None:
        """Continue from an older copy of the ledger: take over what ``witness`` has seen of the lost one.

        Everything that was open counts as spent, and its studies are closed.

        Raises:
            LedgerError: nothing is lost, the head is not of this ledger, or the ledger cannot take it.
        """
        seen = countersigned.head.statement

        def body(ledger_state: LedgerState) -> Body:
            sentence = (
                f"restored: entries after {ledger_state.head.number} are lost; a witness has seen entry {seen.number}, "
                "whose totals are taken over, with everything open counted as spent"
            )
            dumped = countersigned.model_dump()
            return _make_body(Recover, witness=witness.text, countersigned=dumped, sentence=sentence)

        self._record(body)

    def change_key(self, key: SigningKey) -> None:
        """Sign with ``key`` from now on; the present key signs the change.

        Raises:
            LedgerError: the key was used before, or the ledger cannot take it.
        """
        self._record(
            lambda ledger_state: _make_body(
                KeyChange, key=key.public.text, proof=sign_key_proof(key, ledger_state.head)
            )
        )
        self._key = key

    def read_state(self) -> LedgerState:
        """Return the verified state of the ledger, with the entries of other processes, for reading only.

        Raises:
            LedgerError: an entry is wrong (named).
            StorageError: the file cannot be read now.
        """
        self.refresh()
        return self._state

    def copy_state(self) -> LedgerState:
        """Return a copy of the state, to try what an entry would change; nothing in the copy is recorded."""
        self.refresh()
        return deepcopy(self._state)

    def read_entries(self) -> Iterator[Entry]:
        """Yield every entry, from the first."""
        with translate_errors(self._path):
            for signed in read_signed_entries(self._connection):
                yield read_entry(signed.entry)

    def export_lines(self, papers: Iterable[Paper] = ()) -> Iterator[bytes]:
        """Yield the ledger as signed JSON lines with ``papers`` of studies and a trailer (``docs/ledger.md``)."""
        self.refresh()
        with translate_errors(self._path):
            yield from format_export(read_signed_entries(self._connection), self._key, papers)

    def prepare_append(
        self, body_for: Callable[[LedgerState], Body | None], time: Callable[[], str] | None = None
    ) -> "Append":
        """Prepare one append: the entry that ``body_for`` makes of the state, unless the ledger has it already."""
        return Append(self._path, self._connection, self._state, self._key, time or self._read_time, body_for)

    def _add(self, kind: type[Body], **fields: Any) -> None:
        body = _make_body(kind, **fields)
        self._record(lambda ledger_state: body)

    def _record(
        self, body_for: Callable[[LedgerState], Body | None], time: Callable[[], str] | None = None
    ) -> None:
        self._require_in_place()
        addition = self.prepare_append(body_for, time)
        with translate_errors(self._path):
            try:
                for step in addition.steps:
                    step()
            except Error:  # a refusal: the ledger is as it was
                raise
            except BaseException:
                self._state = LedgerState()  # it may be ahead of the file: it is read again before it is asked
                raise
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    def _catch_up(self) -> None:
        try:
            read_new_entries(self._path, self._connection, self._state)
            if self._state.head.number and self._state.key != self._key.public:
                raise LedgerError(
                    f"{self._path}: expected the ledger of the key {self._key.public.typed}, got that of "
                    f"{self._state.key.typed}"
                )
        except LedgerError:
            self._state = LedgerState()
            raise

    @property
    def _known_state(self) -> LedgerState:
        """The last state that this process has read; it is read again if a failure made it unsure."""
        if self._state.head.number == 0:
            self.refresh()
        return self._state

    def _require_in_place(self) -> None:
        """Refuse to append to a file that was moved or replaced, because the entry would be lost with it."""
        if _identify_file(self._path) != self._file:
            raise LedgerError(f"{self._path}: the ledger was moved or replaced while in use; start the site again")

    def _read_time(self) -> str:
        """Return the present time, or the last entry's time if the clock was set back by at most ``CLOCK_STEP``."""
        now = self._clock()
        stepped_back = format_time(now) < self._state.time <= format_time(now + CLOCK_STEP)
        return self._state.time if stepped_back else format_time(now)


def _identify_file(path: Path) -> tuple[int, int] | None:
    """Return device and inode of the file at ``path``; None if there is none.

    Raises:
        StorageError: the disk gives no answer.
    """
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StorageError(f"{path}: the disk does not say what is there: {error.strerror}", "ledger") from None
    return found.st_dev, found.st_ino


def _make_body(kind: type[B], **fields: Any) -> B:
    return parse(fields, kind, LedgerError, f"a ledger entry '{kind.kind}'")


def _find_approval(ledger_state: LedgerState, study: str, terms: str, admits: Admits) -> int:
    found = ledger_state.find_approval(terms, admits)
    if found is None:
        raise RefusedError(
            RefusalCode.APPROVAL,
            f"the terms of '{study}' have no approval that is unused and not revoked"
            if admits is Admits.LAUNCH
            else f"the terms of '{study}' have no approval of {_OF[admits]} that is unused and not revoked; the data "
            f"protection officer gives one: consilium-site approve STUDY.yaml --for {admits} --by NAME",
        )
    return found


def _make_payment(
    kind: type[Reserve] | type[Evaluate], ledger_state: LedgerState, study: str, round: int, event: AnyEvent
) -> Body:
    price = ledger_state.find_account_of_study(study).compute_price(study, event)
    return _make_body(kind, study=study, round=round, event=event, curve=compute_stored_curve(event), charge=price)
