"""The part of a report that speaks of one population: its balance, its plot, its grants, and what each study took.

Rules:

* Shares are of a grant's limit, in the Renyi divergence at its order: there they add up exactly, which epsilons do not.
* The figure by privacy loss distributions is of the whole plan for one study, of everything paid for several.
"""

from collections.abc import Sequence

from privacy.accounting.account import Account
from privacy.accounting.figures import Budget
from privacy.accounting.pld import Certainty
from privacy.audit.report.charts import Mark, bar, epsilon_plot, swatch
from privacy.audit.report.findings import Reading
from privacy.audit.report.formatting import (
    NONE,
    Column,
    day,
    digest,
    entry,
    facts,
    format_delta,
    format_epsilon,
    percent,
    table,
)
from privacy.audit.report.html import Content, Markup, element, joined
from privacy.audit.report.study_section import SecondFigure, figure_by, planned_events, sheets
from privacy.audit.report.timeline import Given, Moment, Point, PopulationTimeline
from privacy.ledger.entries import Population


def population_part(
    reading: Reading, chapter: PopulationTimeline, anchor: str, second: SecondFigure | None
) -> Markup:
    """Everything about one population."""
    account = reading.ledger.accounts[chapter.population]
    budget = account.budget
    return element(
        "section",
        element("h2", "Population ", chapter.population, id=anchor),
        _unbounded(chapter),
        _balance(budget),
        _held_out(budget),
        _second_figure(chapter, account, budget, second) if second else None,
        _plot(reading, chapter),
        element("h3", "Grants"),
        _grants(chapter) if chapter.grants else element("p", "No budget was granted for these patients."),
        [_shares(chapter, account, number) for number in range(1, len(account.filters) + 1)],
        element("h3", "Data"),
        _registrations(chapter),
        element("h3", "Studies"),
        sheets(reading, chapter, account, second),
        aria_labelledby=anchor,
    )


def _unbounded(chapter: PopulationTimeline) -> Content:
    if chapter.unbounded_since is None:
        return None
    at = chapter.unbounded_since
    return element(
        "p",
        element("b", "No bound. ", class_="alarm"),
        f"These patients were trained on without privacy on {day(at.time)} (entry {at.entry}). What the models "
        "reveal about them is not limited by any epsilon, whatever else this page says.",
        class_="banner",
    )


def _balance(budget: Budget) -> Markup:
    unbounded = budget.epsilon_spent is None
    spent = element("span", "no bound", class_="alarm") if unbounded else format_epsilon(budget.epsilon_spent)
    return element(
        "dl",
        [
            element("div", element("dt", name), element("dd", content))
            for name, content in (
                ("Granted, epsilon", NONE if budget.epsilon_granted is None else f"{budget.epsilon_granted:g}"),
                ("at delta", NONE if budget.delta is None else format_delta(budget.delta)),
                ("Spent, epsilon", spent),
                ("Set aside", f"{budget.epsilon_set_aside:.4f}"),
                ("Left", f"{budget.epsilon_left:.4f}"),
            )
        ],
        class_="balance",
    )


def _held_out(budget: Budget) -> Content:
    if budget.held_out_protected:
        return None
    sentence = (
        "Held-out patients: not protected. Totals over them left without noise; no epsilon here speaks of them."
    )
    return element("p", element("b", sentence, class_="caution"))


def _second_figure(chapter: PopulationTimeline, account: Account, budget: Budget, second: SecondFigure) -> Markup:
    alone = len(chapter.studies) == 1
    of_studies = [planned_events(each) if alone else account.events_of(each.name) for each in chapter.studies]
    events = [event for each in of_studies for event in each]
    filters = f"epsilon {format_epsilon(budget.epsilon_spent)}, enforced: nothing was admitted beyond the grants"
    if budget.epsilon_spent is None:
        filters = "none: no epsilon bounds training without privacy"
        other = filters
    elif any(chapter.unattributed(account)):
        other = "none: what the lost part of the ledger paid for is not known"
    elif budget.delta is None:
        other = "none: nothing is granted, so there is no delta to compute it at"
    else:
        label = f"its whole plan, {Certainty.EXACT}" if alone else Certainty.ESTIMATE
        other = figure_by(second, events, budget.delta, label)
    return facts(("By the filter", filters), ("By loss distributions (PLD)", other))


def _plot(reading: Reading, chapter: PopulationTimeline) -> Content:
    points, until = chapter.points, reading.ledger.time
    if len(points) < 2 or (not chapter.grants and chapter.unbounded_since is None):
        return None
    late = [Mark(each.at, "▲", "enlarged after results were seen") for each in chapter.grants if each.after_results]
    incidents = [
        Mark(note.at, "◆", note.code) for study in chapter.studies for note in reading.incidents.get(study.name, [])
    ]
    recovered = [
        Mark(each.at, "↺", "restored from a backup") for each in reading.story.recoveries if each.at >= points[0].at
    ]
    budget = reading.ledger.accounts[chapter.population].budget
    axis = "epsilon" if budget.delta is None else f"epsilon, at delta {format_delta(budget.delta)}"
    signs = (("▲", "grant after results", late), ("◆", "incident", incidents), ("↺", "restored", recovered))
    return joined(
        element("h3", "Epsilon over time"),
        element(
            "ul",
            [
                element("li", swatch(kind), name)
                for kind, name in (("granted", "granted"), ("spent", "spent"), ("aside", "spent and set aside"))
            ],
            [element("li", element("span", sign, class_="sign"), name) for sign, name, marks in signs if marks],
            element("li", swatch("unbounded"), "no bound from here") if chapter.unbounded_since else None,
            class_="legend",
        ),
        element("figure", epsilon_plot(points, [*late, *incidents, *recovered], until, _described(chapter), axis)),
        _plot_in_words(points),
    )


def _described(chapter: PopulationTimeline) -> str:
    first, last = chapter.points[0], chapter.points[-1]
    spent = "has no bound" if last.spent is None else f"is {format_epsilon(last.spent)} spent"
    return (
        f"Epsilon of {chapter.population} over time, from {day(first.at.time)} to {day(last.at.time)}: a line that "
        f"goes up in steps and at the end {spent} of {last.granted:g} granted. The figures follow in a table."
    )


def _plot_in_words(points: Sequence[Point]) -> Markup:
    some = 24
    chosen = points if len(points) <= some else [points[n * (len(points) - 1) // (some - 1)] for n in range(some)]
    columns = [Column("When"), Column("Granted", True), Column("Spent", True), Column("Spent and set aside", True)]

    def row(point: Point) -> Sequence[Content]:
        committed = None if point.spent is None else point.committed
        return entry(point.at), f"{point.granted:g}", format_epsilon(point.spent), format_epsilon(committed)

    note = "" if len(points) <= some else f", {some} of {len(points):,} entries that moved it"
    return element(
        "details",
        element("summary", "The same in figures"),
        table(f"Epsilon over time{note}", columns, chosen, row, at_once=some),
    )


def _grants(chapter: PopulationTimeline) -> Markup:
    columns = [
        Column("Grant"),
        Column("Epsilon", True),
        Column("Delta", True),
        Column("Order", True),
        Column("Given"),
        Column("Remark"),
    ]

    def row(numbered: tuple[int, Given]) -> Sequence[Content]:
        number, (at, grant, after_results, lost, _) = numbered
        if lost:
            remark: Content = "taken over from the lost ledger; given before, in an entry that is not here"
        elif after_results:
            remark = element("b", "▲ enlarged after results were seen", class_="caution")
        else:
            remark = "before any result"
        return f"{number}", f"{grant.epsilon:g}", format_delta(grant.delta), f"{grant.order}", entry(at), remark

    return table(
        "What the data protection officer allowed",
        columns,
        list(enumerate(chapter.grants, start=1)),
        row,
        cards=True,
    )


def _shares(chapter: PopulationTimeline, account: Account, number: int) -> Content:
    filter_ = account.filter(number)
    limit = filter_.granted.limit
    paid = sorted(
        (each for each in chapter.studies if each.said.grant == number),
        key=lambda study: (-study.spent - study.set_aside, study.admitted),
    )
    rows: list[tuple[str, str, int, int]] = [(each.name, "spent", each.spent, each.set_aside) for each in paid]
    if lost := chapter.unattributed(account)[number - 1]:
        rows.insert(0, ("the lost part of the ledger", "lost", lost, 0))

    def row(each: tuple[str, str, int, int]) -> Sequence[Content]:
        name, kind, spent, aside = each
        return name, percent(spent, limit), percent(aside, limit), bar((kind, spent), ("aside", aside), whole=limit)

    columns = [Column("Study"), Column("Spent", True), Column("Set aside", True), Column("Of the grant")]
    left = percent(filter_.left, limit)
    caption = (
        f"Shares of grant {number}: {percent(filter_.spent, limit)} spent, {percent(filter_.set_aside, limit)} set "
        f"aside, {left} left. Parts of its limit in Rényi divergence at order {filter_.granted.order}, where "
        "charges add up exactly."
    )
    return (
        table(caption, columns, rows, row, at_once=15)
        if rows
        else element("p", f"Nothing is paid from grant {number}.")
    )


def _registrations(chapter: PopulationTimeline) -> Markup:
    columns = [
        Column("Registered"),
        Column("Patients (public)", True),
        Column("Records a patient, at most", True),
        Column("SHA-256 of the files"),
    ]

    def row(registered: tuple[Moment, Population]) -> Sequence[Content]:
        at, body = registered
        return entry(at), f"{body.patients:,}", f"{body.records_per_patient:,}", digest(body.data)

    return table(
        "The data that these patients are known by", columns, chapter.registered, row, at_once=5, cards=True
    )
