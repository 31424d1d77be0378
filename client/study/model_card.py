"""Make the card of a released model: the same facts as JSON and as Markdown.

Figures come from the terms, from opened totals and from the ledger, not from records.
"""

import math
from typing import Final

from client.prediction.release_contract import CONTRACT_FILE, MODEL_FILE
from client.study.card_document import (
    CardRounds,
    EvaluationFacts,
    LedgerFacts,
    ModelCard,
    ModelFacts,
    PrivacyFacts,
    SiteFacts,
)
from client.study.context import StudyContext
from client.study.cut_values import make_edge_rows, make_range_facts
from client.study.released_model import (
    Chosen,
    make_choice_facts,
    make_choice_rows,
    make_end_facts,
    make_launch_facts,
)
from models.catalogue import find_model
from models.fit import describe_inputs
from models.tasks.registry import find_threshold, list_figures, make_task
from models.tasks.uncertainty import estimate_noise_errors
from privacy.protocol.headers import Evaluated
from privacy.study import SchemeName, Terms, Unit

_CLIPPED: Final = {Unit.PATIENT: "patient", Unit.RECORD: "record", Unit.SITE: "whole update of a site"}
_MECHANISM: Final = {
    Unit.PATIENT: "sub-sampled Gaussian",
    Unit.RECORD: "mixture of Gaussians over the records of a patient",
    Unit.SITE: "whole update of a site replaced, sites sub-sampled",
}


def make_card(context: StudyContext, choice: Chosen, model_sha256: str, contract_sha256: str) -> ModelCard:
    """Make the card of a released model: facts from the terms, opened totals and the ledger."""
    return ModelCard(
        study=context.launch.study,
        purpose=context.terms.purpose,
        terms_sha256=context.terms.digest,
        model=make_model_facts(context.terms, context.launch.parameters, model_sha256),
        contract_sha256=contract_sha256,
        task=context.terms.task.kind,
        threshold=find_threshold(context.terms.task),
        figures=list_figures(context.terms.task, context.terms.data),
        rounds=CardRounds(
            planned=context.terms.training.rounds,
            applied=sum(context.terms.trains(each.round) for each in context.history.applied),
            sites={str(each.round): each.sites for each in context.history.applied},
        ),
        privacy=_make_privacy_facts(context),
        evaluation=tuple(_make_evaluation_facts(context, each) for each in context.history.evaluations),
        site=_make_site_facts(context),
        choice=make_choice_facts(context, choice),
        ended=make_end_facts(context),
        launches=make_launch_facts(context),
        range=make_range_facts(context),
    )


def make_model_facts(terms: Terms, parameters: int, sha256: str) -> ModelFacts:
    """Return what the model of ``terms`` is, of so many parameters that are trained together."""
    model = terms.model
    return ModelFacts(
        name=model.name,
        version=find_model(model.name).version,
        options=model.options,
        inputs=describe_inputs(model, terms.data),
        parameters=parameters,
        start=model.start,
        frozen=model.frozen,
        trained=model.trained,
        adapters=model.adapters,
        personal=model.personal,
        sha256=sha256,
    )


def _make_privacy_facts(context: StudyContext) -> PrivacyFacts:
    terms, privacy = context.terms, context.terms.privacy
    return PrivacyFacts(
        private=privacy.epsilon is not None,
        epsilon=privacy.epsilon,
        delta=privacy.delta,
        unit=privacy.unit,
        neighbouring=privacy.neighbouring,
        placement=privacy.placement,
        clipping_norm=privacy.clipping_norm,
        last_clipping_norm=context.store.read_clipping_norm(),
        participation=terms.cohort.participation,
        noise_multiplier=context.state.noise_multiplier,
        accountant=f"Renyi at integer orders, {_MECHANISM[privacy.unit]}",
        updates_sealed=terms.secure_aggregation.scheme is not SchemeName.OPEN,
        test_patients_protected=terms.evaluation.epsilon is not None or not terms.evaluation.rounds,
        evaluation_epsilon=terms.evaluation.epsilon,
    )


def _make_evaluation_facts(context: StudyContext, totals: Evaluated) -> EvaluationFacts:
    terms, deviation = context.terms, _compute_noise_deviation(context, totals.opened_in)
    task, bins = make_task(terms.task, terms.data), terms.evaluation.bins
    return EvaluationFacts(
        after_round=totals.round,
        patients=task.count_patients(totals.counts, bins),
        figures=dict(task.compute_figures(totals.counts, bins)),
        noise=dict(estimate_noise_errors(task, terms.cell_groups, totals.counts, bins, deviation)),
    )


def _make_site_facts(context: StudyContext) -> SiteFacts:
    budget = context.ledger.read_state().find_account_of_study(context.launch.study).budget
    head = context.read_head()
    return SiteFacts(
        name=context.site,
        patients_about=context.patients,
        epsilon_spent_by_this_study=context.compute_epsilon_spent(),
        epsilon_left=budget.epsilon_left,
        ledger=LedgerFacts(number=head.number, hash=head.hash),
    )


def format_markdown(card: ModelCard) -> str:
    """Write a card as Markdown, with the same facts."""
    model, privacy, site = card.model, card.privacy, card.site
    if privacy.private:
        promise = (
            f"epsilon {privacy.epsilon:g}, delta {privacy.delta:g} for each training patient of each site "
            f"({privacy.neighbouring} patient, {privacy.placement} noise, "
            f"clipping norm {privacy.clipping_norm:g} for each {_CLIPPED[privacy.unit]})"
        )
    else:
        promise = "**none**: this model was trained without differential privacy and may reveal its patients"
    sealed = "sealed: nobody could read a single site's"
    if not privacy.updates_sealed:
        sealed = "**not sealed**: the coordinator could read every site's"
    if privacy.test_patients_protected:
        test = f"epsilon {privacy.evaluation_epsilon:g}" if privacy.evaluation_epsilon else "not used"
    else:
        test = "**not protected**: their totals were opened without noise"
    lines = [
        f"# {card.study}",
        "",
        card.purpose,
        "",
        "| | |",
        "| --- | --- |",
        f"| model | {model.name}, version {model.version}, {model.parameters} parameters trained together, "
        f"from {_format_inputs(model.inputs)} |",
        *_make_layer_rows(model),
        f"| file | `{MODEL_FILE}`, SHA-256 `{model.sha256}` |",
        f"| to use it | `{CONTRACT_FILE}` has columns, ranges, words and threshold: `consilium-site predict` |",
        f"| rounds | {card.rounds.applied} of {card.rounds.planned} |",
        *make_choice_rows(card),
        f"| privacy of training patients | {promise} |",
        f"| privacy of test patients | {test} |",
        f"| updates | {sealed} |",
        *make_edge_rows(card),
        f"| terms | SHA-256 `{card.terms_sha256}` |",
        f"| this site | {site.name}, about {site.patients_about} patients, "
        f"ledger entry {site.ledger.number} `{site.ledger.hash}` |",
        "",
        "## Evaluation on the sites' held-out patients",
        "",
        *_warn_about_personal_scores(card),
        *_describe_threshold(card),
        *_make_evaluation_table(card),
    ]
    return "\n".join(lines) + "\n"


def _describe_threshold(card: ModelCard) -> list[str]:
    if card.threshold is None:
        return []
    return [
        f"A probability of {card.threshold:g} or more is a positive prediction, fixed before training: figures that "
        "count predictions are at that threshold.",
        "",
    ]


def _make_evaluation_table(card: ModelCard) -> list[str]:
    names = [each.name for each in card.figures]
    headings = ("after round", *(each.title for each in card.figures), "patients")
    rows = [
        (str(each.after_round), *(_format_with_noise(each, name) for name in names), str(each.patients))
        for each in card.evaluation
    ]
    return [f"| {' | '.join(cells)} |" for cells in (headings, ("---",) * len(headings), *rows)]


def _make_layer_rows(model: ModelFacts) -> list[str]:
    """Make rows on where the model began and what was not trained together; none for a model trained whole."""
    rows = []
    if model.start:
        rows.append(f"| began as | public weights, SHA-256 `{model.start}` |")
    for heading, layers in (("frozen", model.frozen), ("only trained", model.trained)):
        if layers:
            rows.append(f"| {heading} | {', '.join(layers)} |")
    if model.adapters:
        adapters = model.adapters
        beside = ", ".join(adapters.layers) or "every frozen layer that takes them"
        rows.append(f"| adapters | rank {adapters.rank}, beside {beside}; merged in the file |")
    if model.personal:
        rows.append(
            f"| personal | {', '.join(model.personal)}: each site has its own, the file has their first values |"
        )
    return rows


def _warn_about_personal_scores(card: ModelCard) -> list[str]:
    """Make a warning where the scores are not the released file's."""
    if not card.model.personal:
        return []
    return [
        "**Not of the file**: each site scored the shared layers with layers of its own, which are not in it.",
        "",
    ]


def _compute_noise_deviation(context: StudyContext, number: int) -> float:
    """Compute the deviation of all sites' noise in the totals of round ``number``, at a scale of 1; 0 without noise."""
    sites = next(len(each.sites) for each in context.history.applied if each.round == number)
    # the sites' noises are independent: their variances add up
    return (context.state.evaluation_noise_multiplier or 0.0) * math.sqrt(sites)


def _format_with_noise(each: EvaluationFacts, name: str) -> str:
    """Format a figure, with the error that the noise in its totals gives it."""
    value, noise = each.figures[name], each.noise[name]
    return _format_figure(value) + (f" ± {noise:.3f}" if noise and value is not None else "")


def _format_figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _format_inputs(inputs: dict[str, str]) -> str:
    return ", ".join(f"{name} ({what})" for name, what in inputs.items())
