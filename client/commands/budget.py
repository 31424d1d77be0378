"""``consilium-site budget``: what was granted, spent and set aside, what is left, and what a study would cost."""

from __future__ import annotations

from decimal import Decimal
from math import floor
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from client.commands.confirm import ask_at_terminal, read_machine_account
from privacy.accounting.renyi import NANO, STORED_ORDERS
from privacy.canonical import Json
from privacy.command_line import Commands, print_json, print_table, say
from privacy.errors import BudgetError

if TYPE_CHECKING:
    from client.admission.budget_forecast import GrantRoom, OrderAdvice
    from client.site.folder import SiteFolder
    from client.study.held_budget import Hold
    from privacy.accounting.account import Account
    from privacy.accounting.figures import Budget, GrantFigures
    from privacy.accounting.grant_order import OrderChoice


@click.group(cls=Commands, invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def budget(context: click.Context, as_json: bool) -> None:
    """Show what was granted, spent and set aside for each population, and what is left for which study."""
    from client.admission.budget_forecast import compute_grant_room
    from client.study.held_budget import list_holds

    if context.invoked_subcommand is not None:
        return
    home: SiteFolder = context.obj
    with home.open_ledger() as ledger:
        state = ledger.read_state()
    accounts = list(state.accounts.values())
    holds = list_holds(state, home)
    if as_json:
        held: list[Json] = [each._asdict() for each in holds]
        print_json({"populations": [_make_document(account) for account in accounts], "holds": held})
        return
    rows: list[tuple[str, ...]] = []
    alarming: set[int] = set()
    for account in accounts:
        figures = account.budget
        if figures.epsilon_spent is None:
            alarming.add(len(rows))
        rows += _make_budget_rows(figures, compute_grant_room(account))
    print_table(_HEADINGS, rows, alarming)
    if holds:
        click.echo()
        print_table(_HOLDS, [_make_hold_row(each) for each in holds])
        say(
            "a study that will not continue is left, and what it holds is free again, by: consilium-site withdraw STUDY"
        )


@budget.command("grant")
@click.argument("population")
@click.option("--epsilon", required=True, type=float, help="The most that all studies together may cost.")
@click.option(
    "--delta", required=True, type=float, help="For all grants together at most one in the number of patients."
)
@click.option(
    "--typical",
    "studies",
    required=True,
    multiple=True,
    metavar="STUDY.yaml",
    type=click.Path(path_type=Path),
    help="A study like those expected; may be repeated. The order that admits most of them is taken.",
)
@click.option(
    "--order",
    type=click.Choice([str(order) for order in STORED_ORDERS]),
    help="Keep the grant at this Renyi order instead.",
)
@click.option("--by", "name", help="Who grants it; it stands in the ledger (the account of this machine does too).")
@click.option("--despite", is_flag=True, help="Grant it although it does not hold all typical studies even once.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--further", is_flag=True, help="Add to a grant that the population has: epsilons and deltas add.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def budget_grant(
    home: SiteFolder,
    population: str,
    epsilon: float,
    delta: float,
    studies: tuple[Path, ...],
    order: str | None,
    name: str | None,
    despite: bool,
    yes: bool,
    further: bool,
    as_json: bool,
) -> None:
    """Grant POPULATION a budget, kept at one Renyi order from now on; shows what each order would admit.

    A grant is for good: it is never changed or taken back. At a terminal you are asked once more.
    """
    from client.admission.budget_forecast import advise_order, compute_least_epsilon
    from privacy.study import read_terms

    expected = [read_terms(study) for study in studies]
    with home.open_ledger() as ledger:
        account = ledger.read_state().find_account(population)
        _check_further(account, further)
        account.require_fitting_delta(delta, ledger.read_state().find_population(population).patients)
        advice = advise_order(epsilon, delta, expected, None if order is None else int(order))
        if as_json:
            print_json(_make_advice_document(population, epsilon, delta, advice))
        else:
            print_table(("order", "conversion takes", "all expected cost", "fit", ""), _make_advice_rows(advice))
        for sentence in _list_notices(account, advice):
            say(sentence)
        if advice.taken.admits < 1 and not despite:
            raise BudgetError(
                f"the grant does not hold all expected studies even once, and nothing was granted: at delta {delta:g} "
                f"they take epsilon {compute_least_epsilon(advice):g}; grant that much, or say --despite"
            )
        ask_at_terminal(
            f"this is for good: all studies on the patients of '{population}' together may then cost epsilon "
            f"{epsilon:g} at delta {delta:g}, and no grant is ever changed or taken back. Grant it?",
            yes,
        )
        ledger.grant(population, epsilon, delta, advice.taken.order, name, read_machine_account())
    say(f"granted '{population}' epsilon {epsilon:g} at delta {delta:g}, kept at Renyi order {advice.taken.order}")


@budget.command("explain")
@click.argument("study", metavar="STUDY.yaml", type=click.Path(path_type=Path))
@click.option("--runs", type=click.IntRange(1, 1000), help="And what so many runs cost together, and if they fit.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def budget_explain(home: SiteFolder, study: Path, runs: int | None, as_json: bool) -> None:
    """Explain what STUDY.yaml would cost here, what would be left, and whether this site would admit it."""
    from client.commands.study_table import explain_at_site, print_explanation
    from privacy.study import read_terms

    terms = read_terms(study)
    with home.open_ledger() as ledger:
        explanation = explain_at_site(home, ledger, terms, runs=runs)
    if as_json:
        print_json(explanation.model_dump(mode="json"))
    else:
        print_explanation(explanation)


# The table of budgets --------------------------------------------------------------------------------------

_HEADINGS = ("population", "grant", "epsilon", "delta", "order", "spent", "set aside", "left", "would still fit")


def _make_budget_rows(figures: Budget, room: GrantRoom | None) -> list[tuple[str, ...]]:
    """Make the row of a population; with several grants, add one row for each of them."""
    spent = "unbounded" if figures.epsilon_spent is None else f"{figures.epsilon_spent:.3f}"
    one = figures.grants[0] if len(figures.grants) == 1 else None
    whole = (
        figures.population,
        "all" if len(figures.grants) > 1 else "1" if one else "-",
        "-" if figures.epsilon_granted is None else f"{figures.epsilon_granted:g}",
        "-" if figures.delta is None else f"{figures.delta:g}",
        str(one.order) if one else "-",
        spent,
        f"{figures.epsilon_set_aside:.3f}",
        f"{figures.epsilon_left:.3f}",
        "-" if room is None else f"{room.more} more like '{room.like}'",
    )
    return [
        whole,
        *(_make_grant_row(number, each) for number, each in enumerate(figures.grants, start=1) if not one),
    ]


def _make_grant_row(number: int, grant: GrantFigures) -> tuple[str, ...]:
    return (
        "",
        str(number),
        f"{grant.epsilon:g}",
        f"{grant.delta:g}",
        str(grant.order),
        f"{grant.epsilon_spent:.3f}",
        f"{grant.epsilon_set_aside:.3f}",
        f"{grant.epsilon_left:.3f}",
        "",
    )


_HOLDS: Final = ("open study", "population", "grant", "holds", "since", "last heard of", "given back on")


def _make_hold_row(hold: Hold) -> tuple[str, ...]:
    return (
        hold.study,
        hold.population,
        "-" if hold.grant is None else str(hold.grant),
        f"{hold.epsilon:.3f}",
        hold.since[:10],
        f"{hold.last_heard[:10]}, {hold.last_event}",
        "-" if hold.given_back_on is None else hold.given_back_on,
    )


def _make_document(account: Account) -> Json:
    from client.admission.budget_forecast import compute_grant_room

    room = compute_grant_room(account)
    fits = None if room is None else {"like": room.like, "more": room.more}
    return {**account.budget.model_dump(mode="json"), "fits": fits}


# What the orders would admit -------------------------------------------------------------------------------


def _check_further(account: Account, further: bool) -> None:
    if account.filters and not further:
        granted = account.budget
        raise BudgetError(
            f"'{account.population}' has a grant already (epsilon {granted.epsilon_granted:g}, delta "
            f"{granted.delta:g}); a further one adds its epsilon and delta to them, for good: if that is meant, say so "
            "with --further"
        )
    if further and not account.filters:
        raise BudgetError(f"'{account.population}' has no grant yet, so this is its first: leave out --further")


def _list_notices(account: Account, advice: OrderAdvice) -> list[str]:
    """List what the officer should read before the grant is written into the ledger."""
    from client.admission.budget_forecast import has_produced_results

    taken, best = advice.taken, advice.best
    sentences = [
        f"order {best.order} admits most, {_format_fit(best)} times all expected studies: at a lower one the "
        "conversion to epsilon takes more of the grant, at a higher one each study costs more"
    ]
    if taken.order != best.order:
        sentences.append(
            f"order {taken.order} is taken as you said; it admits {_format_fit(taken)} times all of them"
        )
    if account.filters:
        sentences.append("this adds to the grants before: a population's epsilons and deltas are summed")
        if has_produced_results(account):
            sentences.append(
                "results from these patients have been seen, so every report will say that the budget was enlarged "
                "after results were seen"
            )
    return sentences


def _make_advice_rows(advice: OrderAdvice) -> list[tuple[str, ...]]:
    from privacy.accounting.figures import round_up

    return [
        (
            str(choice.order),
            f"{round_up(choice.conversion):.4f}",
            f"{round_up(Decimal(choice.price) / NANO):.4f}",
            _format_fit(choice),
            _format_mark(choice, advice),
        )
        for choice in advice.choices
    ]


def _format_mark(choice: OrderChoice, advice: OrderAdvice) -> str:
    if choice == advice.taken:
        return "<- taken"
    return "<- admits most" if choice == advice.best else ""


def _format_fit(choice: OrderChoice) -> str:
    """Format how many times all expected studies fit, rounded down."""
    return f"{Decimal(floor(choice.admits * 100)) / 100:.2f}"


def _make_advice_document(population: str, epsilon: float, delta: float, advice: OrderAdvice) -> Json:
    return {
        "population": population,
        "epsilon": epsilon,
        "delta": delta,
        "order": advice.taken.order,
        "best_order": advice.best.order,
        "orders": [
            {
                "order": choice.order,
                "conversion": float(choice.conversion),
                "price": choice.price,
                "fit": float(choice.admits),
            }
            for choice in advice.choices
        ],
    }
