"""Render the section of one population: its balance, its plot, its grants, and what each study spent.

Rules:

* Shares are parts of a grant's limit in Renyi divergence at its order, because these add up exactly and epsilons do
  not.
* With one study, the figure by privacy loss distributions covers its whole plan. With several studies it covers
  everything paid.
"""

from collections.abc import Sequence

from privacy.accounting.account import Account
from privacy.accounting.figures import Budget
from privacy.accounting.pld import Certainty
from privacy.audit.report.charts import Mark, render_bar, render_epsilon_plot, render_swatch
from privacy.audit.report.findings import Reading
from privacy.audit.report.formatting import (
    NONE,
    Column,
    format_day,
    format_delta,
    format_epsilon,
    format_percent,
    render_digest,
    render_entry,
    render_facts,
    render_quote,
    render_table,
)
from privacy.audit.report.html import Content, Markup, join_content, render_element
from privacy.audit.report.study_section import (
    SecondFigure,
    describe_second_figure,
    list_planned_events,
    render_sheets,
)
from privacy.audit.report.timeline import Given, Moment, Point, PopulationTimeline
from privacy.ledger.entries import Population


def render_population(
    reading: Reading, history: PopulationTimeline, anchor: str, second: SecondFigure | None
) -> Markup:
    """Render everything about one population."""
    account = reading.ledger.accounts[history.population]
    budget = account.budget
    return render_element(
        "section",
        render_element("h2", "Population ", history.population, id=anchor),
        _render_unbounded(history),
        _render_balance(budget),
        _render_held_out(budget),
        _render_second_figure(history, account, budget, second) if second else None,
        _render_plot(reading, history),
        render_element("h3", "Grants"),
        _render_grants(history)
        if history.grants
        else render_element("p", "No budget was granted for these patients."),
        [_render_shares(history, account, number) for number in range(1, len(account.filters) + 1)],
        render_element("h3", "Data"),
        _render_registrations(history),
        render_element("h3", "Studies"),
        render_sheets(reading, history, account, second),
        aria_labelledby=anchor,
    )


def _render_unbounded(history: PopulationTimeline) -> Content:
    if history.unbounded_since is None:
        return None
    at = history.unbounded_since
    return render_element(
        "p",
        render_element("b", "No bound. ", class_="alarm"),
        f"These patients were trained on without privacy on {format_day(at.time)} (entry {at.entry}). What the models "
        "reveal about them is not limited by any epsilon, whatever else this page says.",
        class_="banner",
    )


def _render_balance(budget: Budget) -> Markup:
    unbounded = budget.epsilon_spent is None
    spent = (
        render_element("span", "no bound", class_="alarm") if unbounded else format_epsilon(budget.epsilon_spent)
    )
    return render_element(
        "dl",
        [
            render_element("div", render_element("dt", name), render_element("dd", content))
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


def _render_held_out(budget: Budget) -> Content:
    if budget.held_out_protected:
        return None
    sentence = (
        "Held-out patients: not protected. Totals over them left without noise; no epsilon here speaks of them."
    )
    return render_element("p", render_element("b", sentence, class_="caution"))


def _render_second_figure(
    history: PopulationTimeline, account: Account, budget: Budget, second: SecondFigure
) -> Markup:
    alone = len(history.studies) == 1
    of_studies = [
        list_planned_events(each) if alone else account.list_paid_events(each.name) for each in history.studies
    ]
    events = [event for each in of_studies for event in each]
    filters = f"epsilon {format_epsilon(budget.epsilon_spent)}, enforced: nothing was admitted beyond the grants"
    if budget.epsilon_spent is None:
        filters = "none: no epsilon bounds training without privacy"
        other = filters
    elif any(history.compute_unattributed_spending(account)):
        other = "none: what the lost part of the ledger paid for is not known"
    elif budget.delta is None:
        other = "none: nothing is granted, so there is no delta to compute it at"
    else:
        label = f"its whole plan, {Certainty.EXACT}" if alone else Certainty.ESTIMATE
        other = describe_second_figure(second, events, budget.delta, label)
    return render_facts(("By the filter", filters), ("By loss distributions (PLD)", other))


def _render_plot(reading: Reading, history: PopulationTimeline) -> Content:
    points, until = history.points, reading.ledger.time
    if len(points) < 2 or (not history.grants and history.unbounded_since is None):
        return None
    late = [Mark(each.at, "▲", "enlarged after results were seen") for each in history.grants if each.after_results]
    incidents = [
        Mark(note.at, "◆", note.code) for study in history.studies for note in reading.incidents.get(study.name, [])
    ]
    recovered = [
        Mark(each.at, "↺", "restored from a backup")
        for each in reading.timeline.recoveries
        if each.at >= points[0].at
    ]
    budget = reading.ledger.accounts[history.population].budget
    axis = "epsilon" if budget.delta is None else f"epsilon, at delta {format_delta(budget.delta)}"
    signs = (("▲", "grant after results", late), ("◆", "incident", incidents), ("↺", "restored", recovered))
    return join_content(
        render_element("h3", "Epsilon over time"),
        render_element(
            "ul",
            [
                render_element("li", render_swatch(kind), name)
                for kind, name in (("granted", "granted"), ("spent", "spent"), ("aside", "spent and set aside"))
            ],
            [
                render_element("li", render_element("span", sign, class_="sign"), name)
                for sign, name, marks in signs
                if marks
            ],
            render_element("li", render_swatch("unbounded"), "no bound from here")
            if history.unbounded_since
            else None,
            class_="legend",
        ),
        render_element(
            "figure",
            render_epsilon_plot(points, [*late, *incidents, *recovered], until, _describe_plot(history), axis),
        ),
        _render_plot_table(points),
    )


def _describe_plot(history: PopulationTimeline) -> str:
    first, last = history.points[0], history.points[-1]
    spent = "has no bound" if last.spent is None else f"is {format_epsilon(last.spent)} spent"
    return (
        f"Epsilon of {history.population} over time, from {format_day(first.at.time)} to {format_day(last.at.time)}: "
        f"a line that goes up in steps and at the end {spent} of {last.granted:g} granted. The figures follow in a "
        "table."
    )


def _render_plot_table(points: Sequence[Point]) -> Markup:
    some = 24
    chosen = points if len(points) <= some else [points[n * (len(points) - 1) // (some - 1)] for n in range(some)]
    columns = [Column("When"), Column("Granted", True), Column("Spent", True), Column("Spent and set aside", True)]

    def row(point: Point) -> Sequence[Content]:
        committed = None if point.spent is None else point.committed
        return render_entry(point.at), f"{point.granted:g}", format_epsilon(point.spent), format_epsilon(committed)

    note = "" if len(points) <= some else f", {some} of {len(points):,} entries that moved it"
    return render_element(
        "details",
        render_element("summary", "The same in figures"),
        render_table(f"Epsilon over time{note}", columns, chosen, row, at_once=some),
    )


def _render_grants(history: PopulationTimeline) -> Markup:
    columns = [
        Column("Grant"),
        Column("Epsilon", True),
        Column("Delta", True),
        Column("Order", True),
        Column("Given"),
        Column("By"),
        Column("Remark"),
    ]

    def row(numbered: tuple[int, Given]) -> Sequence[Content]:
        number, (at, grant, after_results, lost, _, by) = numbered
        if lost:
            remark: Content = "taken over from the lost ledger; given before, in an entry that is not here"
        elif after_results:
            remark = render_element("b", "▲ enlarged after results were seen", class_="caution")
        else:
            remark = "before any result"
        return (
            f"{number}",
            f"{grant.epsilon:g}",
            format_delta(grant.delta),
            f"{grant.order}",
            render_entry(at),
            "not noted" if by is None else render_quote(by),
            remark,
        )

    return render_table(
        "What the data protection officer allowed",
        columns,
        list(enumerate(history.grants, start=1)),
        row,
        cards=True,
    )


def _render_shares(history: PopulationTimeline, account: Account, number: int) -> Content:
    filter_ = account.find_filter(number)
    limit = filter_.granted.limit
    paid = sorted(
        (each for each in history.studies if each.said.grant == number),
        key=lambda study: (-study.spent - study.set_aside, study.admitted),
    )
    rows: list[tuple[str, str, int, int]] = [(each.name, "spent", each.spent, each.set_aside) for each in paid]
    if lost := history.compute_unattributed_spending(account)[number - 1]:
        rows.insert(0, ("the lost part of the ledger", "lost", lost, 0))

    def row(each: tuple[str, str, int, int]) -> Sequence[Content]:
        name, kind, spent, aside = each
        return (
            name,
            format_percent(spent, limit),
            format_percent(aside, limit),
            render_bar((kind, spent), ("aside", aside), whole=limit),
        )

    columns = [Column("Study"), Column("Spent", True), Column("Set aside", True), Column("Of the grant")]
    left = format_percent(filter_.left, limit)
    caption = (
        f"Shares of grant {number}: {format_percent(filter_.spent, limit)} spent, "
        f"{format_percent(filter_.set_aside, limit)} set aside, {left} left. Parts of its limit "
        f"in Rényi divergence at order {filter_.granted.order}, where charges add up exactly."
    )
    return (
        render_table(caption, columns, rows, row, at_once=15)
        if rows
        else render_element("p", f"Nothing is paid from grant {number}.")
    )


def _render_registrations(history: PopulationTimeline) -> Markup:
    columns = [
        Column("Registered"),
        Column("Patients (public)", True),
        Column("Records a patient, at most", True),
        Column("SHA-256 of the files"),
    ]

    def row(registered: tuple[Moment, Population]) -> Sequence[Content]:
        at, body = registered
        return render_entry(at), f"{body.patients:,}", f"{body.records_per_patient:,}", render_digest(body.data)

    return render_table(
        "The data that these patients are known by", columns, history.registered, row, at_once=5, cards=True
    )
