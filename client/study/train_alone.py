"""Train a study on this site's own patients alone, with a filter for each of them: a labelled study of one site.

Whoever has spent their own budget, by the length of their own gradients, is left out of later steps; so everybody pays
for fewer steps than are taken, and less noise is needed (``privacy/accounting/individual_filter.py``). It is decided by
a person (``approve STUDY.yaml --for alone``), allowed by the policy (``individual_filters``), paid before the first
step, and shown to auditors. Rules:

* every patient is in every step (``sampling_rate: 1``), and everybody's gradient is computed. The number of steps is
  that of the terms, sums are divided by the public count, and nothing that is written, said or charged depends on who
  is left;
* the whole price is paid before the first step, once: a crash can only overstate it;
* what each patient has spent is in memory only, and goes with the process. A training that was interrupted begins from
  nothing and is charged again: there is nothing to restore from a backup;
* one model is written, after the last step. It is evaluated on nobody: figures of those who train would tell who was
  left out.

=========  ===========================================================================================================
step       what is durable when it ends
=========  ===========================================================================================================
allow      the whole price is set aside, by an approval of trainings alone of exactly these terms
reserve    it is paid
settle     the training has ended, and the model is unpublished
release    the model's digest; then it moves to ``studies/NAME/release``
return     the account is closed. After a failure what was paid stays paid
=========  ===========================================================================================================

A model whose release was not recorded is removed. What a crash has left (an open account, an unpublished model) is put
in order by the next training alone.
"""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from safetensors.numpy import save

from client.data.dataset import read_study
from client.data.examples import Patients
from client.prediction.release_contract import CONTRACT_FILE, MODEL_FILE, make_contract
from client.site.folder import SiteFolder
from client.site.registry import Registration
from client.study.alone_card import format_alone_markdown, make_alone_card
from client.study.own_training import require_allowed
from client.study.release import CARD_FILE
from client.study.release_folder import UNPUBLISHED, publish_release
from client.training.device import CPU
from client.training.local_steps import run_self_test_once
from client.training.simulate import train_in_one_place
from client.training.study_model import begin_model
from models.parameters.flatten import read_shared_parameters
from models.parameters.lora import compute_plain_tensors
from privacy.accounting.calibration import compute_noise_multiplier
from privacy.accounting.events import IndividualGaussian
from privacy.accounting.individual_filter import IndividualFilter
from privacy.accounting.plan import Planned, Purpose
from privacy.canonical import compute_sha256
from privacy.errors import RefusedError, SiteConfigError, StorageError, TermsError
from privacy.files import replace_file, take_lock
from privacy.ledger import Ledger
from privacy.ledger.entries import Admits, Ending, ModelRelease
from privacy.refusal_codes import RefusalCode
from privacy.study import Choice, Placement, Terms, Unit

_ROUND: Final = 1  # the whole training is paid as one
_TO: Final = "this site"


class TrainedAlone(NamedTuple):
    """A finished training: its name in the ledger, what it paid for, the model's SHA-256, and where it is."""

    study: str
    event: IndividualGaussian
    model: str
    folder: Path


def train_alone(home: SiteFolder, terms: Terms, paid_steps: int) -> TrainedAlone:
    """Train ``terms`` on the patients that are registered here under exactly their contract, and release the model.

    Run by a site.

    Args:
        home: the site.
        terms: the study; its schedule of rounds and steps is kept.
        paid_steps: how many steps of full length every patient pays for. With all of them nobody is left out.

    Raises:
        SiteConfigError: no data are registered under this contract; the restored site was not confirmed; or another
            training alone runs here.
        TermsError: the study cannot be trained so.
        RefusedError: a launch of these terms would be refused here; ``policy``: the policy does not allow filters; or
            ``approval``: nobody has approved it, the approval is used up, or two people must agree.
        BudgetError: the grants have no room for it.
        DataUnavailableError, DataError: the files cannot be read now, or changed since they were registered.
        DivergedError: the parameters left the numbers that a model can compute with.
    """
    event = make_event(terms, paid_steps)
    registration = home.load_registry().find_exact(terms.data)
    if registration is None:
        raise SiteConfigError(f"{home.folder}: no data are registered here under the contract '{terms.data.name}'")
    study = f"alone-{terms.name}-{secrets.token_hex(4)}"
    with _hold_alone(home), home.open_ledger() as ledger:
        _require_allowed(home, ledger, terms)
        _close_open(home, ledger)
        # what can fail without a step fails before anything is paid
        objections = home.open_patient_register().load_objections()
        patients = read_study(registration.to_study_files(objections))[0].patients
        begin_model(terms, _find_weights(home, terms))
        run_self_test_once(terms, CPU.device)
        plan = [Planned(purpose=Purpose.TRAIN, event=event, times=1)]
        ledger.allow(study, registration.population, plan, terms.digest, approval=Admits.ALONE)
        try:
            ledger.reserve(study, _ROUND, event)
            model = _train(home, ledger, study, terms, registration, patients, event)
        finally:
            _close_open(home, ledger)
    return TrainedAlone(study, event, model, home.find_study_folder(study) / "release")


def make_event(terms: Terms, paid_steps: int) -> IndividualGaussian:
    """Make the event that training ``terms`` alone is paid as, with the least noise that gives their epsilon.

    Raises:
        TermsError: the study cannot be trained so.
        BudgetError: no noise reaches its epsilon.
    """
    privacy, training = terms.privacy, terms.training
    reasons = {
        "a study of statistics trains nothing": terms.counts_only,
        "privacy.epsilon is none: there is no budget to spend": privacy.epsilon is None,
        f"privacy.unit is {privacy.unit}: a filter is for a patient": privacy.unit is not Unit.PATIENT,
        f"privacy.placement is {privacy.placement}: one site alone adds its noise itself; write local": (
            privacy.placement is not Placement.LOCAL
        ),
        f"training.sampling_rate is {training.sampling_rate:g}: whoever is not drawn would have to pay all the same; "
        "write 1": training.sampling_rate != 1,
        "model.personal: one site alone shares no layers": bool(terms.model.personal),
        "release.model is best: nothing is evaluated; write last or average": terms.release.model is Choice.BEST,
    }
    for reason in (reason for reason, there in reasons.items() if there):
        raise TermsError(f"this study cannot be trained alone with a filter for each patient: {reason}")
    assert privacy.epsilon is not None, "which is one of the reasons"
    assert privacy.delta is not None, "an epsilon comes with a delta, which the terms check"
    steps = training.rounds * training.lots
    if not 1 <= paid_steps <= steps:
        raise TermsError(
            f"expected 1 to {steps} paid steps, which is how many steps the terms take, got {paid_steps}"
        )
    noise = compute_noise_multiplier(privacy.epsilon, privacy.delta, 1.0, paid_steps)
    return IndividualGaussian(noise_multiplier=noise, paid_steps=paid_steps, steps=steps)


def _require_allowed(home: SiteFolder, ledger: Ledger, terms: Terms) -> None:
    policy = home.policy
    if not policy.individual_filters:
        raise RefusedError(
            RefusalCode.POLICY,
            "this site's policy does not allow trainings with a filter for each patient; whoever allows them writes "
            "individual_filters: true in policy.yaml",
        )
    if policy.release == "person":
        raise RefusedError(
            RefusalCode.POLICY,
            "policy.yaml asks for a person to decide about each release (release: person), who decides about a study "
            "that was launched; a training alone was not. Launch the study, or write release: automatic",
        )
    require_allowed(home, ledger, terms, "a training alone", "Launch the study instead")


def _find_weights(home: SiteFolder, terms: Terms) -> Path | None:
    start = terms.model.start
    return None if start is None else home.open_public_weights().build_path(start)


def _train(
    home: SiteFolder,
    ledger: Ledger,
    study: str,
    terms: Terms,
    registration: Registration,
    patients: Patients,
    event: IndividualGaussian,
) -> str:
    """Train, write the model and its card, and release it; return the SHA-256 of the model's file."""
    patient_filter = IndividualFilter(patients.patients, event.paid_steps)
    module = train_in_one_place(
        terms,
        patients,
        event.noise_multiplier,
        _find_weights(home, terms),
        public_patients=registration.public_patients,
        patient_filter=patient_filter,
    )
    ledger.settle(study, _ROUND)
    folder = home.find_study_folder(study)
    unpublished = folder / UNPUBLISHED
    unpublished.mkdir(parents=True)
    model = save(compute_plain_tensors(module), metadata={"study": study, "trained": event.title})
    contract = make_contract(study, terms, compute_sha256(model)).to_bytes() + b"\n"
    card = make_alone_card(
        terms,
        study,
        ledger,
        registration,
        event,
        parameters=len(read_shared_parameters(module)),
        model_sha256=compute_sha256(model),
        contract_sha256=compute_sha256(contract),
    )
    replace_file(unpublished / MODEL_FILE, model, StorageError)
    replace_file(unpublished / CONTRACT_FILE, contract, StorageError)
    replace_file(unpublished / CARD_FILE, card.to_bytes() + b"\n", StorageError)
    replace_file(unpublished / "card.md", format_alone_markdown(card).encode("utf-8"), StorageError)
    ledger.record_release(study, compute_sha256(model), _TO)
    publish_release(folder)
    return compute_sha256(model)


@contextmanager
def _hold_alone(home: SiteFolder) -> Iterator[None]:
    """Let one training alone run at a time."""
    lock = take_lock(home.folder / "alone.lock")
    if lock is None:
        raise SiteConfigError(f"{home.folder}: another training alone runs here; wait for it")
    try:
        yield
    finally:
        os.close(lock)


def _close_open(home: SiteFolder, ledger: Ledger) -> None:
    """Close every open account of a training alone, of which none runs now.

    A model whose release stands in the ledger is published, if it is not yet; any other is removed.
    """
    state = ledger.read_state()
    left = [
        study
        for account in state.accounts.values()
        for study, allowance in account.allowances.items()
        if not allowance.closed and state.is_admitted_as(study, Admits.ALONE)
    ]
    if not left:
        return
    released = {entry.body.study for entry in ledger.read_entries() if isinstance(entry.body, ModelRelease)}
    for study in left:
        folder = home.find_study_folder(study)
        if study in released:
            publish_release(folder)
        else:
            shutil.rmtree(folder, ignore_errors=True)
        ledger.give_back(study, Ending.FINISHED if study in released else Ending.WITHDRAWN)
