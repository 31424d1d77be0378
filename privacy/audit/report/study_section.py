"""Render a sheet for each study: when, under which terms, with what noise, for which rounds, and how it ended.

Rules:

* A study's own epsilon is at the delta of the grant that pays for it. Its terms fixed its whole plan in advance. A
  study that stopped early may have stopped because of results, so the plan's figure is shown beside that of its
  rounds.
* One study has several epsilons, none of them wrong: each is shown with what it covers.
* What the ledger does not hold comes from the study's paper, where there is one
  (``privacy/audit/report/study_facts.py``).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from math import isinf
from typing import Any, Final

from privacy.accounting.account import Account
from privacy.accounting.epsilon import epsilon_of
from privacy.accounting.events import AnyEvent, IndividualGaussian, Unprotected, repeat_event
from privacy.accounting.plan import Planned, Purpose, describe_event
from privacy.accounting.pld import Certainty
from privacy.audit.report.findings import Reading
from privacy.audit.report.formatting import (
    NONE,
    Column,
    format_count,
    format_day,
    format_delta,
    format_epsilon,
    format_percent,
    format_ranges,
    render_digest,
    render_entry,
    render_facts,
    render_quote,
    render_table,
)
from privacy.audit.report.html import Content, Markup, join_content, render_element
from privacy.audit.report.study_facts import render_study_facts
from privacy.audit.report.timeline import Approver, LedgerNote, PopulationTimeline, ReleasedModel, Study
from privacy.errors import BudgetError
from privacy.ledger.launches import launches_of

SHEETS: Final = 100
_OPEN_SHEETS: Final = 6

SecondFigure = Callable[[Sequence[AnyEvent], float], float]
"""Computes the epsilon of events at a delta by another accountant; raises ``BudgetError`` where there is none."""


def render_sheets(
    reading: Reading, history: PopulationTimeline, account: Account, second: SecondFigure | None
) -> Content:
    """Render a sheet for each study, at most for the newest hundred."""
    if not history.studies:
        return render_element("p", "No study was admitted.")
    newest = history.studies[-SHEETS:]
    older = len(history.studies) - len(newest)
    is_open = len(newest) <= _OPEN_SHEETS
    return [
        render_element(
            "p",
            f"The newest {len(newest)} studies; {older:,} older ones are in the ledger, in the figures and in the "
            "shares above, and have no sheet of their own here.",
        )
        if older
        else None,
        [_render_sheet(reading, history, account, study, second, is_open) for study in newest],
    ]


def _render_sheet(
    reading: Reading,
    history: PopulationTimeline,
    account: Account,
    study: Study,
    second: SecondFigure | None,
    is_open: bool,
) -> Markup:
    said = study.said
    incidents, refusals = reading.incidents.get(study.name), reading.refusals.get(study.name)
    approvers = reading.timeline.list_approvers(study)
    unsettled = len(study.reserved) - len(study.settled)
    remarks = [format_count(len(incidents), "incident")] if incidents else []
    return render_element(
        "details",
        render_element(
            "summary",
            render_element("h4", study.name),
            render_element(
                "span",
                f"{format_day(study.admitted.time)} · {_describe_state(study)}{_describe_share_taken(history, study)}",
                class_="quiet",
            ),
            [render_element("b", f" · {remark}", class_="caution") for remark in remarks],
        ),
        render_study_facts(reading, study),
        render_facts(
            ("Admitted", render_entry(study.admitted)),
            ("Terms (SHA-256)", render_digest(said.terms)),
            ("Launches of it", _describe_launches(reading, study)),
            (
                "Approved by a person",
                [_render_approver(each) for each in approvers] or "not asked for: admitted by the site's policy",
            ),
            ("Kind", _describe_kind(study)),
            ("Paid from", NONE if said.grant is None else f"grant {said.grant}"),
            ("Training rounds paid", _format_rounds(study.reserved)),
            (
                "of these settled",
                f"{len(study.settled):,}" + (f"; {unsettled:,} not, counted in full" if unsettled else ""),
            ),
            ("Rounds evaluated", _format_rounds(study.evaluated)),
            ("Closed", _render_closing(study)),
            ("Models released", [_render_release(each) for each in study.releases[:20]] or "none"),
            ("", f"and {len(study.releases) - 20:,} more" if len(study.releases) > 20 else None),
        ),
        _render_epsilons(reading, history, account, study, second),
        _render_plan(study),
        render_notes_table(f"Incidents of {study.name}", incidents, 5) if incidents else None,
        render_notes_table(f"Refused to {study.name}", refusals, 5) if refusals else None,
        class_="study",
        open=is_open,
    )


def _describe_launches(reading: Reading, study: Study) -> str | None:
    """Describe how often the study was launched, and what all launches cost together; None for a single launch."""
    launches = launches_of(reading.ledger, study.name)
    if len(launches.studies) == 1:
        return None
    cost = "no epsilon bounds them"
    if launches.epsilon is not None:
        cost = f"together epsilon {launches.epsilon:.4f} at delta {format_delta(launches.delta)}, at the grants' orders"
    same = "all with these terms"
    if launches.same_terms < len(launches.studies):
        same = f"{launches.same_terms} with exactly these terms"
    return f"one of {len(launches.studies)} of this name, {same}; {cost}"


def _describe_kind(study: Study) -> str | None:
    """Describe a training with a filter for each patient; None for all others."""
    filtered = [part.event for part in study.said.plan if isinstance(part.event, IndividualGaussian)]
    if not filtered:
        return None
    return (
        f"{IndividualGaussian.title}: {filtered[0].steps:,} steps over all patients of this site alone, of which "
        f"everybody pays for {filtered[0].paid_steps:,}. Whoever has spent theirs, by the length of their own "
        "gradients, was left out; nothing says who that was, or how many"
    )


def _describe_state(study: Study) -> str:
    if study.closed_by_recovery:
        return "closed by the recovery"
    return "closed" if study.closed else "open"


def _describe_share_taken(history: PopulationTimeline, study: Study) -> str:
    number = study.said.grant
    if number is None:
        return ""
    return f" · {format_percent(study.spent, history.grants[number - 1].grant.limit)} of grant {number}"


def _format_rounds(numbers: Sequence[int]) -> str:
    if not numbers:
        return "none"
    return f"{len(numbers):,} ({'round' if len(numbers) == 1 else 'rounds'} {format_ranges(numbers)})"


def _render_approver(approver: Approver) -> Markup:
    return render_element("div", render_entry(approver.at), ": ", render_quote(approver.by))


def _render_release(release: ReleasedModel) -> Markup:
    return render_element(
        "div",
        render_digest(release.model),
        render_element("div", render_entry(release.at), ", to ", render_quote(release.to)),
    )


def _render_closing(study: Study) -> Content:
    if study.closed is None:
        return "not yet: what is set aside is kept for it"
    if study.closed_by_recovery:
        return join_content(render_entry(study.closed), ", by the recovery: all it had set aside counts as spent")
    limit = "nothing went back" if not study.returned else "what it had not used went back"
    return join_content(render_entry(study.closed), f", {limit}")


def _render_epsilons(
    reading: Reading, history: PopulationTimeline, account: Account, study: Study, second: SecondFigure | None
) -> Markup:
    """Render every epsilon that people may read about this study, and why they differ."""
    rows = [
        _make_promised_row(reading, study),
        *_make_audited_rows(reading, study),
        *_make_computed_rows(history, account, study, second),
    ]
    columns = [Column("Which"), Column("Epsilon", True), Column("What it is of")]
    caption = f"Why {study.name} has several epsilons: each answers another question"
    return render_table(caption, columns, [each for each in rows if each], lambda each: each, cards=True)


def _make_promised_row(reading: Reading, study: Study) -> Sequence[Content] | None:
    paper = reading.papers.get(study.name)
    if paper is None:
        return None
    epsilon, delta = paper.said.terms.privacy.epsilon, paper.said.terms.privacy.delta
    if epsilon is None or delta is None:
        return None
    return (
        "promised",
        f"{epsilon:g}",
        f"the terms: at most this much for a training patient, at delta {format_delta(delta)}; what is paid for test "
        "patients is not in it",
    )


def _make_audited_rows(reading: Reading, study: Study) -> Iterator[Sequence[Content]]:
    """Yield what audits of exactly these terms on this site's patients proved: bounds from below."""
    for audited in reading.timeline.audits.get(study.said.terms, ()):
        said, bounds = audited.said, audited.said.at_least
        surely = max(bounds.one_run, bounds.trade_off)
        if said.gaussian_is_claimed:
            surely = max(surely, bounds.gaussian, bounds.independent or 0.0)
        beyond = surely > said.epsilon
        shown = f"{surely:.2f}"
        yield (
            "at least",
            render_element("b", shown, class_="alarm") if beyond else shown,
            join_content(
                f"by an attack with {said.canaries:,} canaries on one training of these terms, which claim "
                f"{said.epsilon:g} at delta {format_delta(said.delta)}"
                f"{'; the claim does not hold' if beyond else ''}: ",
                render_entry(audited.at),
            ),
        )


def _make_computed_rows(
    history: PopulationTimeline, account: Account, study: Study, second: SecondFigure | None
) -> Iterator[Sequence[Content]]:
    if study.said.grant is None or not account.allowances[study.name].private:
        if account.allowances[study.name].private and study.said.grant is None:
            yield "charged", NONE, "nothing of it is charged: it has no training, and totals without noise"
        else:
            yield "spent", render_element("b", "no bound", class_="alarm"), "it trained without privacy"
        return
    filter_ = account.find_filter(study.said.grant)
    grant, paid, plan = filter_.granted, account.list_paid_events(study.name), list_planned_events(study)
    at = f"at delta {format_delta(grant.delta)}, the grant’s"
    if set(plan) != set(paid):
        yield (
            "planned",
            format_epsilon(_compute_own_epsilon(tuple(plan), grant.delta)),
            f"all of its plan, training and totals, {at}",
        )
    own = "the rounds and totals it paid for, as if there were no other study"
    yield (
        "spent",
        format_epsilon(_compute_own_epsilon(tuple(paid), grant.delta)),
        f"{own}, {at}, at the order that shows it best",
    )
    yield (
        "charged",
        format_epsilon(float(filter_.epsilon_of(study.spent))),
        f"the same at order {grant.order}, which was fixed when grant {study.said.grant} was given, as if the grant "
        "had paid for nothing else: what later studies find used up",
    )
    if second:
        yield "by PLD", *_make_pld_cells(second, plan, grant.delta)


def _make_pld_cells(second: SecondFigure, plan: Sequence[AnyEvent], delta: float) -> tuple[str, str]:
    try:
        found = second(plan, delta)
    except BudgetError as error:
        return NONE, f"none: {error}"
    if isinf(found):
        return NONE, f"no epsilon is large enough at delta {format_delta(delta)}"
    return format_epsilon(
        found
    ), f"its whole plan by privacy loss distributions, {Certainty.EXACT}, at delta {format_delta(delta)}"


def list_planned_events(study: Study) -> list[AnyEvent]:
    """List every event of the study's plan once, as :meth:`Account.list_paid_events` does for paid events."""
    times: dict[tuple[Purpose, AnyEvent], int] = {}
    for part in study.said.plan:
        times[part.purpose, part.event] = times.get((part.purpose, part.event), 0) + part.times
    return [repeat_event(event, n) for (_, event), n in times.items() if not isinstance(event, Unprotected)]


@lru_cache(maxsize=1024)
def _compute_own_epsilon(events: tuple[AnyEvent, ...], delta: float) -> float:
    return epsilon_of(events, delta)


def _render_plan(study: Study) -> Markup:
    columns = [
        Column("Purpose"),
        Column("Mechanism"),
        Column("Noise", True),
        Column("Sampling rate", True),
        Column("Steps a round", True),
        Column("Rounds planned", True),
        Column("Rounds paid", True),
    ]
    return render_table(
        f"What {study.name} was admitted with",
        columns,
        study.said.plan,
        partial(_make_planned_row, study),
        6,
        100,
        cards=True,
    )


def _make_planned_row(study: Study, part: Planned) -> Sequence[Content]:
    event = part.event.model_dump()
    noise = event.get("noise_multiplier", event.get("scale"))
    unprotected = isinstance(part.event, Unprotected)
    return (
        "training" if part.purpose is Purpose.TRAIN else "totals over held-out patients",
        render_element("b", "no noise", class_="alarm")
        if unprotected
        else describe_event(part.event).split(",")[0],
        NONE if noise is None else f"{noise:g}",
        _describe_sampling(event),
        NONE if unprotected else f"{event.get('steps', event.get('count')):,}",
        f"{part.times:,}",
        f"{study.paid[part.purpose, part.event]:,}",
    )


def _describe_sampling(event: Mapping[str, Any]) -> Content:
    if "lots" in event:
        return f"{event['lots']} lots in turn"
    if "paid_steps" in event:
        return "everybody who can pay"
    return f"{event['sampling_rate']:g}" if "sampling_rate" in event else NONE


def render_notes_table(caption: str, notes: Sequence[LedgerNote], at_once: int = 20) -> Markup:
    """Render a table of refusals or incidents."""
    columns = [
        Column("Study"),
        Column("When"),
        Column("Round", True),
        Column("What"),
        Column("In the site's words"),
    ]

    def row(note: LedgerNote) -> Sequence[Content]:
        number = NONE if note.round is None else str(note.round)
        return note.study, render_entry(note.at), number, note.code, render_quote(note.sentence)

    return render_table(caption, columns, notes, row, at_once)


def describe_second_figure(second: SecondFigure, events: Sequence[AnyEvent], delta: float, label: str) -> str:
    """Describe the epsilon of ``events`` by ``second``, or why there is none."""
    try:
        found = second(events, delta)
    except BudgetError as error:
        return f"none: {error}"
    if isinf(found):
        return f"none: no epsilon is large enough at delta {format_delta(delta)}"
    return f"epsilon {format_epsilon(found)} at delta {format_delta(delta)}, {label}"
