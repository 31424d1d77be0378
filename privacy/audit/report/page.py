"""Render the report as one page: whose ledger it is, what needs attention, each population, what the numbers mean.

Rules:

* One file: no script, no link to anything outside, one style sheet that the page's own policy names by its hash.
* The same ledger, read in the same way, gives the same bytes: no clock, no path, no language of the machine.
* Everything from a ledger is text, never markup (``privacy/audit/report/html.py``).
"""

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Final

from privacy.audit.report.findings import Finding, Reading, list_findings
from privacy.audit.report.formatting import (
    NONE,
    Column,
    format_count,
    format_day,
    format_delta,
    format_epsilon,
    render_digest,
    render_entry,
    render_facts,
    render_quote,
    render_table,
    render_time,
)
from privacy.audit.report.html import Content, Markup, join_content, render_element, render_head
from privacy.audit.report.population_section import render_population
from privacy.audit.report.study_section import SecondFigure, render_notes_table
from privacy.audit.report.timeline import Approval, Decision, KeyInUse, PopulationTimeline, Timeline, WitnessedHeads
from privacy.keys import PublicKey
from privacy.ledger.entries import BODIES, About, Admits, Choice

POPULATIONS: Final = 50
_ADMITTED: Final = {
    Admits.LAUNCH: "to launch",
    Admits.AUDIT: "to audit",
    Admits.ALONE: "to train alone",
    None: "to launch or audit",
}
_CHOICES: Final = {Choice.APPROVE: "agreed to", Choice.REFUSE: "refused"}
_SUBJECTS: Final = {About.ADMISSION: "launch", About.RELEASE: "release of its model"}
_PROMISE: Final = (
    "Epsilon and delta limit what anybody can learn from one patient’s having taken part, from all models and results "
    "of these studies together: any conclusion about this patient becomes at most ",
    render_element("i", "e", render_element("sup", "epsilon")),
    " times as likely, or as unlikely, as without them (1.65 times at epsilon 0.5, 2.72 at 1, 20.1 at 3), but for a "
    "chance of about delta. What the models say of people in general is not limited.",
)
_SPENT: Final = (
    "“Spent” is what this site has counted against its grants, at one order fixed when each grant was given, so that "
    "it holds although each study was chosen in view of earlier results. A study’s own figure is smaller: its sheet "
    "shows both. A grant enlarged after results were seen is sound as arithmetic, but a board should ask why."
)
_NOT_COVERED: Final = (
    "The figures hold if the site did what it wrote down: no ledger shows that it trained with the noise it names, or "
    "that two populations are different people. Not covered are what is public by design (how many patients, which "
    "studies and when), results that left without noise, and the same patient’s data at another hospital, whose ledger "
    "adds its own epsilon to this one. Whether an epsilon is small enough is for people to decide."
)


def render_page(reading: Reading, second: SecondFigure | None = None) -> bytes:
    """Render the whole page; with ``second``, it shows another accountant's figure beside the filter's."""
    site = reading.ledger.site
    histories = list(reading.timeline.histories.values())
    anchors = {history.population: f"population-{number}" for number, history in enumerate(histories, start=1)}
    found = list_findings(reading)
    shown = histories[:POPULATIONS]
    body = render_element(
        "body",
        render_element(
            "header",
            render_element("p", "Consilium · privacy ledger", class_="eyebrow"),
            render_element("h1", "Privacy statement of ", site),
            _render_lead(reading),
            _render_contents(shown, anchors),
        ),
        render_element(
            "main",
            _render_identity(reading),
            _render_attention(found),
            render_element("h2", "All populations", id="all"),
            _render_overview(reading, histories),
            render_element("h2", "What these numbers mean", id="meaning"),
            [render_element("p", each) for each in (_PROMISE, _SPENT, _NOT_COVERED)],
            [render_population(reading, each, anchors[each.population], second) for each in shown],
            _render_left_out(len(histories) - len(shown)),
            _render_rest(reading),
        ),
        render_element("footer", render_element("p", _describe_how_made(reading))),
    )
    page = render_element("html", render_head(f"Privacy statement of {site}", read_style_sheet()), body, lang="en")
    return b"<!DOCTYPE html>\n" + page.encode("utf-8") + b"\n"


@cache
def read_style_sheet() -> str:
    """Read the style sheet."""
    return files("privacy.audit.report").joinpath("report.css").read_text(encoding="utf-8")


def _render_lead(reading: Reading) -> Markup:
    state = reading.ledger
    whose = (
        render_element("span", "✓ Verified with the site’s key. ", class_="calm")
        if reading.key_given
        else render_element("span", "△ Consistent in itself, not verified: no key was given. ", class_="caution")
    )
    return render_element(
        "p",
        whose,
        f"Complete up to entry {state.head.number:,}, written on {format_day(state.time)}. Every hash, signature, "
        "charge and budget was computed again from the signed bytes.",
        class_="lead",
    )


def _render_contents(shown: Sequence[PopulationTimeline], anchors: dict[str, str]) -> Markup:
    links = [
        ("attention", "What needs attention"),
        ("all", "All populations"),
        ("meaning", "What these numbers mean"),
    ]
    links += [(anchors[each.population], each.population) for each in shown[:12]]
    links += [("incidents", "Incidents and refusals"), ("approvals", "Approvals"), ("keys", "Keys and witnesses")]
    return render_element(
        "nav",
        render_element(
            "ul", [render_element("li", render_element("a", name, href=f"#{anchor}")) for anchor, name in links]
        ),
        aria_label="Contents",
    )


def _render_identity(reading: Reading) -> Markup:
    state, timeline = reading.ledger, reading.timeline
    given = (
        "as it was given to the reader" if reading.key_given else "from the ledger itself, compared with nothing"
    )
    witnessed = f"entry {state.witnessed.number:,}" if state.witnessed else "none: nobody has witnessed this ledger"
    recovered = [
        f"yes, at entry {each.at.entry} on {format_day(each.at.time)}" for each in timeline.recoveries[-1:]
    ]
    form = "an export, whole to its signed trailer" if reading.form == "export" else "the site’s own file"
    return render_facts(
        ("Ledger of", state.site),
        ("Signing key", [render_digest(state.key.typed), f" ({given})"]),
        ("Begun", render_time(timeline.opened) if timeline.opened else None),
        ("Complete up to", f"entry {state.head.number:,}"),
        ("Its hash", render_digest(state.head.hash)),
        ("Newest witnessed head", witnessed),
        ("Restored from a backup", recovered or "never"),
        ("Read from", form),
    )


def _render_attention(found: Sequence[Finding]) -> Markup:
    heading = render_element("h2", "What needs attention", id="attention")
    if not found:
        return join_content(heading, render_element("p", "Nothing in this ledger needs attention.", class_="calm"))
    items = [
        render_element("li", render_element("b", f.gravity), render_element("span", f.sentence), class_=f.gravity)
        for f in found[:100]
    ]
    more = (
        render_element("p", f"and {len(found) - 100:,} more, each with its population.")
        if len(found) > 100
        else None
    )
    return join_content(heading, render_element("ul", items, class_="findings"), more)


def _render_overview(reading: Reading, histories: Sequence[PopulationTimeline]) -> Markup:
    columns = [Column("Population")]
    columns += [
        Column(name, True) for name in ("Spent", "Left", "Granted", "Delta", "Set aside", "Patients", "Studies")
    ]

    def row(history: PopulationTimeline) -> Sequence[Content]:
        budget = reading.ledger.accounts[history.population].budget
        unbounded = render_element("b", "no bound", class_="alarm")
        return (
            history.population,
            unbounded if budget.epsilon_spent is None else format_epsilon(budget.epsilon_spent),
            f"{budget.epsilon_left:.4f}",
            NONE if budget.epsilon_granted is None else f"{budget.epsilon_granted:g}",
            NONE if budget.delta is None else format_delta(budget.delta),
            f"{budget.epsilon_set_aside:.4f}",
            f"{history.registered[-1][1].patients:,}" if history.registered else NONE,
            f"{budget.studies:,}",
        )

    if not histories:
        return render_element("p", "No data set is registered.")
    return render_table(
        "Epsilon of every population, at its delta", columns, histories, row, at_once=50, cards=True
    )


def _render_left_out(count: int) -> Content:
    if count <= 0:
        return None
    return render_element(
        "p", f"{format_count(count, 'further population')}: in the table above, without a part of their own here."
    )


def _render_rest(reading: Reading) -> Markup:
    timeline = reading.timeline
    refused = [note for note in timeline.refusals if note.study not in timeline.studies]
    admitted = [note for note in timeline.refusals if note.study in timeline.studies]
    return join_content(
        render_element("h2", "Incidents and refusals", id="incidents"),
        render_notes_table("Incidents", timeline.incidents)
        if timeline.incidents
        else render_element("p", "No incident is recorded."),
        render_notes_table("Studies that were refused and never admitted", refused) if refused else None,
        render_notes_table("Refusals of studies that were admitted before or after", admitted)
        if admitted
        else None,
        render_element("p", "No refusal is recorded.") if not timeline.refusals else None,
        render_element("h2", "Approvals", id="approvals"),
        _render_decisions(timeline) if timeline.decisions else None,
        _render_approvals(reading) if timeline.approvals else None,
        None
        if timeline.approvals or timeline.decisions
        else render_element("p", "No approval by a person is recorded."),
        render_element("h2", "Keys and witnesses", id="keys"),
        render_table(
            "Keys that sign this ledger", [Column("In use since"), Column("Key")], timeline.keys, _make_key_row, 10
        ),
        _render_witnesses(list(timeline.witnesses.values())),
        [
            render_element("p", "Restored, ", render_entry(each.at), ": ", render_quote(each.sentence))
            for each in timeline.recoveries[:20]
        ],
        render_element("h3", "Entries by kind"),
        render_element(
            "p", ", ".join(f"{kind} {timeline.entries[kind]:,}" for kind in BODIES if timeline.entries[kind])
        ),
    )


def _render_decisions(timeline: Timeline) -> Markup:
    def row(decided: tuple[str, Decision]) -> Sequence[Content]:
        study, decision = decided
        return (
            render_entry(decision.at),
            render_quote(decision.by),
            f"{_CHOICES[decision.choice]} the {_SUBJECTS[decision.about]}",
            study,
            NONE if decision.why is None else render_quote(decision.why),
        )

    columns = [Column("When"), Column("By"), Column("Decision"), Column("Study"), Column("Why")]
    decided = [(study, each) for study, decisions in timeline.decisions.items() for each in decisions]
    return render_table("What people have decided about a launch or a model", columns, decided, row)


def _render_approvals(reading: Reading) -> Markup:
    studies: dict[int | None, list[str]] = {}
    for study in reading.timeline.studies.values():
        studies.setdefault(study.said.approval, []).append(study.name)

    def row(approval: Approval) -> Sequence[Content]:
        named = studies.get(approval.at.entry, [])
        names = ", ".join(named[:5]) + (f" and {len(named) - 5:,} more" if len(named) > 5 else "")
        runs = f"{approval.runs:,} {_ADMITTED[approval.admits]}"
        return (
            render_entry(approval.at),
            render_quote(approval.by),
            runs,
            names or "none admitted",
            render_digest(approval.terms),
        )

    columns = [
        Column("When"),
        Column("By"),
        Column("Runs"),
        Column("Studies admitted by it"),
        Column("Terms (SHA-256)"),
    ]
    return render_table("Terms that a person has approved", columns, reading.timeline.approvals, row)


def _make_key_row(key: KeyInUse) -> Sequence[Content]:
    return render_entry(key.at), render_digest(key.key)


def _render_witnesses(witnesses: Sequence[WitnessedHeads]) -> Markup:
    if not witnesses:
        return render_element("p", "No witness has countersigned this ledger.")
    columns = [
        Column("Witness"),
        Column("Key"),
        Column("Checkpoints", True),
        Column("Newest", True),
        Column("Written down"),
    ]

    def row(witness: WitnessedHeads) -> Sequence[Content]:
        seen = f"entry {witness.newest:,}"
        return (
            witness.name,
            render_digest(PublicKey.from_text(witness.key).typed),
            f"{witness.times:,}",
            seen,
            render_entry(witness.at),
        )

    return render_table("Who has seen this ledger", columns, witnesses, row)


def _describe_how_made(reading: Reading) -> str:
    return (
        f"Made from {format_count(reading.ledger.head.number, 'entry', 'entries')} by consilium-audit report. Epsilons "
        "that were spent are rounded up, those that are left are rounded down. Dates are UTC, as the site’s clock "
        "told them. The neighbouring relation is to add or remove one patient; the privacy unit is the patient."
    )
