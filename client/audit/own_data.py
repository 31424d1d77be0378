"""Audit a study on this site's own patients: decided by a person, paid like a study, signed into the ledger.

The audit trains the study's terms once, here alone: the other sites are in memory, with generated patients. What leaves
the training are noised sums, which are charged as the study itself would be; the attack uses nothing else of the
patients. So the audit costs the population what one launch of these terms costs.

Whatever would refuse a launch of these terms here refuses the audit (``client/study/own_training.py``).

While it trains, the patients that take part are in a hidden folder of the site's, which no backup takes. A crash may
leave it; the next audit removes it.

=========  ===========================================================================================================
step       what is durable when it ends
=========  ===========================================================================================================
allow      the whole price is set aside, by an approval of audits of exactly these terms (``approve --for audit``)
reserve    a round is paid, before its first gradient
settle     its training has ended
audit      the bounds, beside the epsilon that the terms claim
return     the account is closed. After a failure what was paid stays paid, and there is no result
=========  ===========================================================================================================
"""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from client.audit.audit_study import FOLDER_PREFIX, OwnPatients, StudyAudit, audit_study
from client.audit.canaries import require_auditable
from client.data.dataset import read_study
from client.site.folder import SiteFolder
from client.study.own_training import require_allowed
from privacy.accounting.plan import Planned, Purpose
from privacy.errors import SiteConfigError
from privacy.files import take_lock
from privacy.ledger.entries import Admits, AtLeast, Audit, Ending
from privacy.study import Terms
from privacy.study.cost import compute_study_noise, make_training_event

_DIGITS = 4  # of a bound in the ledger


def audit_own_data(home: SiteFolder, terms: Terms, *, canaries: int, sites: int, patients: int) -> StudyAudit:
    """Audit ``terms`` on the patients that are registered here under exactly their contract.

    Run by a site.

    Raises:
        SiteConfigError: no data are registered under this contract; the restored site was not confirmed; or another
            audit runs here.
        TermsError: the study cannot be audited.
        RefusedError: a launch of these terms would be refused here; or ``approval``: nobody has approved an
            audit of them, the approval is used up, or two people must agree.
        BudgetError: the grants have no room for it.
        DataUnavailableError, DataError: the files cannot be read now, or changed since they were registered.
    """
    require_auditable(terms)
    registration = home.load_registry().find_exact(terms.data)
    if registration is None:
        raise SiteConfigError(f"{home.folder}: no data are registered here under the contract '{terms.data.name}'")
    objections = home.open_patient_register().load_objections()
    trained = read_study(registration.to_study_files(objections))[0].patients
    event = make_training_event(terms, compute_study_noise(terms))
    plan = [Planned(purpose=Purpose.TRAIN, event=event, times=terms.training.rounds)]
    study = f"audit-{terms.name}-{secrets.token_hex(4)}"
    with _hold_alone(home), home.open_ledger() as ledger:
        require_allowed(home, ledger, terms, "an audit", "Audit on generated patients: leave --own-data out")
        ledger.allow(study, registration.population, plan, terms.digest, approval=Admits.AUDIT)
        paid: list[int] = []

        def pay(number: int) -> None:
            if paid:
                ledger.settle(study, paid[-1])
            ledger.reserve(study, number, event)
            paid.append(number)

        ended = Ending.WITHDRAWN
        try:
            own = OwnPatients(trained, registration.public_patients, home.folder, pay)
            found = audit_study(terms, canaries=canaries, sites=sites, patients=patients, own=own)
            ledger.settle(study, paid[-1])
            ledger.record_audit(make_entry(study, found))
            ended = Ending.FINISHED
        finally:
            ledger.give_back(study, ended)
    return found


@contextmanager
def _hold_alone(home: SiteFolder) -> Iterator[None]:
    """Let one audit of own data run at a time, and remove what a crashed one has left."""
    lock = take_lock(home.folder / "audit.lock")
    if lock is None:
        raise SiteConfigError(f"{home.folder}: another audit of own data runs here; wait for it")
    try:
        for left in home.folder.glob(f"{FOLDER_PREFIX}*"):
            shutil.rmtree(left)
        yield
    finally:
        os.close(lock)


def make_entry(study: str, found: StudyAudit) -> Audit:
    """Return what the ledger keeps of an audit."""
    bounds = found.bounds
    independent = None if bounds.independent is None else round(bounds.independent, _DIGITS)
    return Audit(
        study=study,
        canaries=found.canaries,
        epsilon=found.epsilon,
        delta=found.delta,
        gaussian_is_claimed=found.gaussian,
        at_least=AtLeast(
            one_run=round(bounds.one_run, _DIGITS),
            trade_off=round(bounds.trade_off, _DIGITS),
            gaussian=round(bounds.gaussian, _DIGITS),
            independent=independent,
        ),
    )
