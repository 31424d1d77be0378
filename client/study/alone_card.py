"""Make the card of a model that one site has trained alone: a release's card, marked, and nothing of other sites in it.

Its figures come from the terms and from the ledger. None is of records, since figures of those who were left out would
tell who they are.
"""

from client.prediction.release_contract import CONTRACT_FILE, MODEL_FILE
from client.site.registry import Registration
from client.study.card_document import (
    AloneFacts,
    CardRounds,
    ChoiceFacts,
    EndFacts,
    LaunchFacts,
    LedgerFacts,
    ModelCard,
    PrivacyFacts,
    RangeFacts,
    SiteFacts,
)
from client.study.model_card import make_model_facts
from models.tasks.registry import find_threshold, list_figures
from privacy.accounting.events import IndividualGaussian
from privacy.ledger import Ledger
from privacy.ledger.launches import launches_of
from privacy.study import Terms


def make_alone_card(
    terms: Terms,
    study: str,
    ledger: Ledger,
    registration: Registration,
    event: IndividualGaussian,
    *,
    parameters: int,
    model_sha256: str,
    contract_sha256: str,
) -> ModelCard:
    """Make the card of the model that ``study`` has trained and paid for with ``event``.

    Args:
        terms: its terms.
        study: its name in the ledger.
        ledger: this site's.
        registration: the files of its patients.
        event: what it has paid for.
        parameters: P, how many were trained.
        model_sha256: of the model's file.
        contract_sha256: of the release's contract.
    """
    figures, rounds = list_figures(terms.task, terms.data), terms.training.rounds
    return ModelCard(
        study=study,
        purpose=terms.purpose,
        terms_sha256=terms.digest,
        model=make_model_facts(terms, parameters, model_sha256),
        contract_sha256=contract_sha256,
        task=terms.task.kind,
        threshold=find_threshold(terms.task),
        figures=figures,
        rounds=CardRounds(planned=rounds, applied=rounds, sites={}),
        privacy=_make_privacy_facts(terms, event),
        evaluation=(),
        site=_make_site_facts(study, ledger, registration, terms),
        choice=ChoiceFacts(
            asked=terms.release.model,
            after_round=rounds,
            is_best=False,
            figure=figures[0].name,
            value=None,
            evaluations=0,
            paid=False,
        ),
        ended=EndFacts(after_round=rounds, early=False, patience=None),
        launches=_make_launch_facts(terms, study, ledger),
        range=RangeFacts(value_range="auto", bits=terms.secure_aggregation.bits, at_edge=()),
        alone=AloneFacts(kind=event.title, steps=event.steps, paid_steps=event.paid_steps),
    )


def _make_privacy_facts(terms: Terms, event: IndividualGaussian) -> PrivacyFacts:
    privacy = terms.privacy
    return PrivacyFacts(
        private=True,
        epsilon=privacy.epsilon,
        delta=privacy.delta,
        unit=privacy.unit,
        neighbouring=privacy.neighbouring,
        placement=privacy.placement,
        clipping_norm=privacy.clipping_norm,
        last_clipping_norm=privacy.clipping_norm,
        participation=1.0,
        noise_multiplier=event.noise_multiplier,
        accountant=f"Renyi at integer orders, {event.title}",
        updates_sealed=False,
        test_patients_protected=True,
        evaluation_epsilon=None,
    )


def _make_site_facts(study: str, ledger: Ledger, registration: Registration, terms: Terms) -> SiteFacts:
    account, head = ledger.read_state().find_account(registration.population), ledger.head
    assert terms.privacy.delta is not None, "an epsilon comes with a delta, which the terms check"
    return SiteFacts(
        name=ledger.site,
        patients_about=registration.public_patients,
        epsilon_spent_by_this_study=account.compute_study_epsilon(study, terms.privacy.delta),
        epsilon_left=account.budget.epsilon_left,
        ledger=LedgerFacts(number=head.number, hash=head.hash),
    )


def _make_launch_facts(terms: Terms, study: str, ledger: Ledger) -> LaunchFacts:
    launches = launches_of(ledger.read_state(), study)
    return LaunchFacts(
        name=terms.name,
        seen=len(launches.studies),
        same_terms=launches.same_terms,
        studies=launches.studies,
        epsilon_together=launches.epsilon,
        delta_together=launches.delta,
        whole_ledger=launches.whole,
    )


def format_alone_markdown(card: ModelCard) -> str:
    """Write the card of a training alone as Markdown, with the same facts."""
    model, privacy, site, alone, launches = card.model, card.privacy, card.site, card.alone, card.launches
    assert alone is not None, "a card of another training"
    assert launches.epsilon_together is not None, "and it has a price"
    runs = "the only one of these terms" if launches.seen == 1 else f"one of {launches.seen} of this name"
    return "\n".join(
        [
            f"# {card.study}",
            "",
            card.purpose,
            "",
            f"**{alone.kind[0].upper()}{alone.kind[1:]}.** Patients whose own gradients had spent their budget were "
            "left out of later steps. Nobody knows who, or how many, and it is not by chance: those whom the model "
            "gets wrong leave first. So it may be bad for them, and for whole groups, without a sign. It was evaluated "
            "on nobody.",
            "",
            "| | |",
            "| --- | --- |",
            f"| model | {model.name}, version {model.version}, {model.parameters} parameters |",
            f"| file | `{MODEL_FILE}`, SHA-256 `{model.sha256}` |",
            f"| to use it | `{CONTRACT_FILE}`: `consilium-site predict` |",
            f"| steps | {alone.steps}, of which every patient pays for {alone.paid_steps} at full length |",
            f"| privacy of training patients | epsilon {privacy.epsilon:g}, delta {privacy.delta:g}, the same for "
            f"every patient ({privacy.neighbouring} patient, noise {privacy.noise_multiplier:g} times the clipping "
            f"norm {privacy.clipping_norm:g}) |",
            f"| trainings | {runs} at this site; together epsilon {launches.epsilon_together:g}, delta "
            f"{launches.delta_together:g} |",
            f"| terms | SHA-256 `{card.terms_sha256}` |",
            f"| this site | {site.name}, about {site.patients_about} patients, ledger entry {site.ledger.number} "
            f"`{site.ledger.hash}` |",
            "",
        ]
    )
