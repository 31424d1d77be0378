"""Choose the model that a site releases; state on its card why the study ended and how often it was launched.

Rules:

* the best model is the best evaluated one (``models/federated/early_stopping.py``), every site's same bytes; where
  no evaluation has a first figure there is no best one, and the last is released;
* the card says by which totals a model was chosen, and whether they were paid for;
* when a study ends early depends on what was opened, so its promise stays that of all its rounds;
* a chosen run is never shown as the only one: the card counts the launches that this site's ledger has seen, and
  says what all of them cost together.
"""

from typing import NamedTuple

from client.study.card_document import ChoiceFacts, EndFacts, LaunchFacts, ModelCard
from client.study.context import StudyContext
from models.parameters.vector import Vector
from models.tasks.registry import make_task
from privacy.ledger.launches import launches_of
from privacy.study import Choice


class Chosen(NamedTuple):
    """The model that is released, (P,), and the round after which it was the shared one."""

    round: int
    vector: Vector


def choose_model(context: StudyContext) -> Chosen:
    """Return the model that the terms release: the best evaluated one, the moving average, or the last.

    Run by a site.

    Raises:
        SiteConfigError: it cannot be read.
    """
    best, kept = context.state.best, context.store.read_best()
    if best is not None and kept is not None:
        return Chosen(best.round, kept)
    trained = [each.round for each in context.history.applied if context.terms.trains(each.round)]
    averaged = context.terms.release.model is Choice.AVERAGE
    return Chosen(max(trained, default=0), context.store.read_average() if averaged else context.store.read_model())


def make_choice_facts(context: StudyContext, choice: Chosen) -> ChoiceFacts:
    """Return which model is released, and by which figure of which totals it was chosen."""
    terms, totals = context.terms, {each.round: each.counts for each in context.history.evaluations}
    task, counts = make_task(terms.task, terms.data), totals.get(choice.round)
    first = task.figures[0].name
    return ChoiceFacts(
        asked=terms.release.model,
        after_round=choice.round,
        is_best=context.state.best is not None,
        figure=first,
        value=None if counts is None else task.compute_figures(counts, terms.evaluation.bins)[first],
        evaluations=len(totals),
        paid=terms.evaluation.epsilon is not None,
    )


def make_end_facts(context: StudyContext) -> EndFacts:
    """Return when training ended, and whether by early stopping."""
    terms, base = context.terms, context.state.base
    return EndFacts(
        after_round=base,
        early=context.is_out_of_patience and base < terms.last_round,
        patience=terms.evaluation.patience,
    )


def make_launch_facts(context: StudyContext) -> LaunchFacts:
    """Return how often the study was launched at this site, and what all launches cost together."""
    launches = launches_of(context.ledger.read_state(), context.launch.study)
    return LaunchFacts(
        name=context.terms.name,
        seen=len(launches.studies),
        same_terms=launches.same_terms,
        studies=launches.studies,
        epsilon_together=launches.epsilon,
        delta_together=launches.delta,
        whole_ledger=launches.whole,
    )


def make_choice_rows(card: ModelCard) -> list[str]:
    """Make rows of the card's table from the same facts."""
    ended, rounds = card.ended, card.rounds
    title = next(each.title for each in card.figures if each.name == card.choice.figure)
    rows = [f"| chosen | {_describe_choice(card.choice, title)} |"]
    if ended.early:
        rows.append(
            f"| ended | early, after round {ended.after_round} of {rounds.planned}: {ended.patience} "
            f"evaluations brought no better {title}. That depended on results, so the promise below is that of all "
            "planned rounds; what was not used went back to the grant |"
        )
    return [*rows, f"| launches | {_describe_launches(card.launches, private=card.privacy.private)} |"]


def _describe_choice(choice: ChoiceFacts, title: str) -> str:
    after = f"the model after round {choice.after_round}"
    if choice.asked == Choice.AVERAGE:
        return f"the moving average of the shared models up to round {choice.after_round}"
    if choice.asked != Choice.BEST:
        return f"{after}, the last one"
    if not choice.is_best:
        return f"{after}, the last one: no evaluation gave a figure to choose by ({title})"
    how = "that test patients' budget paid for" if choice.paid else "**without noise, which nobody paid for**"
    return f"{after}, the best of {choice.evaluations} evaluated ({title} {choice.value:.3f}), by totals {how}"


def _describe_launches(launches: LaunchFacts, *, private: bool) -> str:
    seen, whole = launches.seen, launches.whole_ledger
    if seen == 1 and whole:
        return f"the only one of '{launches.name}' that this site has admitted so far"
    epsilon, delta = launches.epsilon_together, launches.delta_together
    cost = (
        "no epsilon bounds them" if epsilon is None else f"together they cost epsilon {epsilon:g}, delta {delta:g}"
    )
    charged = f": the best of {seen} is charged as {seen}" if private else ""
    return (
        f"**one of {'' if whole else 'at least '}{seen}** of '{launches.name}' at this site, "
        f"{launches.same_terms} of them with exactly these terms; {cost}{charged}"
    )
