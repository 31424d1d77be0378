"""The report as one page: who keeps the ledger, what needs attention, each population, and what the numbers mean.

Rules:

* One file: no script, no link to anything outside, one style sheet that the page's own policy names by its hash.
* The same ledger, read in the same way, gives the same bytes: no clock, no path, no language of the machine.
* Whatever a ledger says is text (``privacy/audit/report/html.py``).
"""

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Final

from privacy.audit.report.findings import Finding, Reading, findings
from privacy.audit.report.formatting import (
    NONE,
    Column,
    count_of,
    day,
    digest,
    entry,
    facts,
    format_delta,
    format_epsilon,
    quoted,
    table,
    when,
)
from privacy.audit.report.html import Content, Markup, element, joined
from privacy.audit.report.population_section import population_part
from privacy.audit.report.study_section import SecondFigure, notes_table
from privacy.audit.report.timeline import Approval, Key, PopulationTimeline, Witness
from privacy.keys import PublicKey
from privacy.ledger.entries import BODIES

POPULATIONS: Final = 50
_PROMISE: Final = (
    "Epsilon and delta limit what anybody can learn from one patient’s having taken part, from all models and results "
    "of these studies together: any conclusion about this patient becomes at most ",
    element("i", "e", element("sup", "epsilon")),
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


def render(reading: Reading, second: SecondFigure | None = None) -> bytes:
    """The whole page; with ``second``, another accountant's figure stands beside the filter's."""
    site = reading.ledger.site
    chapters = list(reading.story.chapters.values())
    anchors = {chapter.population: f"population-{number}" for number, chapter in enumerate(chapters, start=1)}
    found = findings(reading)
    shown = chapters[:POPULATIONS]
    body = element(
        "body",
        element(
            "header",
            element("p", "Consilium · privacy ledger", class_="eyebrow"),
            element("h1", "Privacy statement of ", site),
            _lead(reading),
            _contents(shown, anchors),
        ),
        element(
            "main",
            _identity(reading),
            _attention(found),
            element("h2", "All populations", id="all"),
            _overview(reading, chapters),
            element("h2", "What these numbers mean", id="meaning"),
            [element("p", each) for each in (_PROMISE, _SPENT, _NOT_COVERED)],
            [population_part(reading, each, anchors[each.population], second) for each in shown],
            _left_out(len(chapters) - len(shown)),
            _rest(reading),
        ),
        element("footer", element("p", _how_made(reading))),
    )
    page = element("html", _head(site), body, lang="en")
    return b"<!DOCTYPE html>\n" + page.encode("utf-8") + b"\n"


@cache
def style() -> str:
    """The style sheet."""
    return files("privacy.audit.report").joinpath("report.css").read_text(encoding="utf-8")


def _head(site: str) -> Markup:
    digest = base64.b64encode(hashlib.sha256(style().encode("utf-8")).digest()).decode("ascii")
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", f"Privacy statement of {site}"),
        element("style", Markup(style())),
    )


def _lead(reading: Reading) -> Markup:
    state = reading.ledger
    whose = (
        element("span", "✓ Verified with the site’s key. ", class_="calm")
        if reading.key_given
        else element("span", "△ Consistent in itself, not verified: no key was given. ", class_="caution")
    )
    return element(
        "p",
        whose,
        f"Complete up to entry {state.head.number:,}, written on {day(state.time)}. Every hash, signature, charge and "
        "budget was computed again from the signed bytes.",
        class_="lead",
    )


def _contents(shown: Sequence[PopulationTimeline], anchors: dict[str, str]) -> Markup:
    links = [
        ("attention", "What needs attention"),
        ("all", "All populations"),
        ("meaning", "What these numbers mean"),
    ]
    links += [(anchors[each.population], each.population) for each in shown[:12]]
    links += [("incidents", "Incidents and refusals"), ("approvals", "Approvals"), ("keys", "Keys and witnesses")]
    return element(
        "nav",
        element("ul", [element("li", element("a", name, href=f"#{anchor}")) for anchor, name in links]),
        aria_label="Contents",
    )


def _identity(reading: Reading) -> Markup:
    state, story = reading.ledger, reading.story
    given = (
        "as it was given to the reader" if reading.key_given else "from the ledger itself, compared with nothing"
    )
    witnessed = f"entry {state.witnessed.number:,}" if state.witnessed else "none: nobody has witnessed this ledger"
    recovered = [f"yes, at entry {each.at.entry} on {day(each.at.time)}" for each in story.recoveries[-1:]]
    form = "an export, whole to its signed trailer" if reading.form == "export" else "the site’s own file"
    return facts(
        ("Ledger of", state.site),
        ("Signing key", [digest(state.key.typed), f" ({given})"]),
        ("Begun", when(story.opened) if story.opened else None),
        ("Complete up to", f"entry {state.head.number:,}"),
        ("Its hash", digest(state.head.hash)),
        ("Newest witnessed head", witnessed),
        ("Restored from a backup", recovered or "never"),
        ("Read from", form),
    )


def _attention(found: Sequence[Finding]) -> Markup:
    heading = element("h2", "What needs attention", id="attention")
    if not found:
        return joined(heading, element("p", "Nothing in this ledger needs attention.", class_="calm"))
    items = [
        element("li", element("b", f.gravity), element("span", f.sentence), class_=f.gravity) for f in found[:100]
    ]
    more = element("p", f"and {len(found) - 100:,} more, each with its population.") if len(found) > 100 else None
    return joined(heading, element("ul", items, class_="findings"), more)


def _overview(reading: Reading, chapters: Sequence[PopulationTimeline]) -> Markup:
    columns = [Column("Population")]
    columns += [
        Column(name, True) for name in ("Spent", "Left", "Granted", "Delta", "Set aside", "Patients", "Studies")
    ]

    def row(chapter: PopulationTimeline) -> Sequence[Content]:
        budget = reading.ledger.accounts[chapter.population].budget
        unbounded = element("b", "no bound", class_="alarm")
        return (
            chapter.population,
            unbounded if budget.epsilon_spent is None else format_epsilon(budget.epsilon_spent),
            f"{budget.epsilon_left:.4f}",
            NONE if budget.epsilon_granted is None else f"{budget.epsilon_granted:g}",
            NONE if budget.delta is None else format_delta(budget.delta),
            f"{budget.epsilon_set_aside:.4f}",
            f"{chapter.registered[-1][1].patients:,}" if chapter.registered else NONE,
            f"{budget.studies:,}",
        )

    if not chapters:
        return element("p", "No data set is registered.")
    return table("Epsilon of every population, at its delta", columns, chapters, row, at_once=50, cards=True)


def _left_out(count: int) -> Content:
    if count <= 0:
        return None
    return element(
        "p", f"{count_of(count, 'further population')}: in the table above, without a part of their own here."
    )


def _rest(reading: Reading) -> Markup:
    story = reading.story
    refused = [note for note in story.refusals if note.study not in story.studies]
    admitted = [note for note in story.refusals if note.study in story.studies]
    return joined(
        element("h2", "Incidents and refusals", id="incidents"),
        notes_table("Incidents", story.incidents) if story.incidents else element("p", "No incident is recorded."),
        notes_table("Studies that were refused and never admitted", refused) if refused else None,
        notes_table("Refusals of studies that were admitted before or after", admitted) if admitted else None,
        element("p", "No refusal is recorded.") if not story.refusals else None,
        element("h2", "Approvals", id="approvals"),
        _approvals(reading) if story.approvals else element("p", "No approval by a person is recorded."),
        element("h2", "Keys and witnesses", id="keys"),
        table("Keys that sign this ledger", [Column("In use since"), Column("Key")], story.keys, _key_row, 10),
        _witnesses(list(story.witnesses.values())),
        [element("p", "Restored, ", entry(each.at), ": ", quoted(each.sentence)) for each in story.recoveries[:20]],
        element("h3", "Entries by kind"),
        element("p", ", ".join(f"{kind} {story.entries[kind]:,}" for kind in BODIES if story.entries[kind])),
    )


def _approvals(reading: Reading) -> Markup:
    studies: dict[int | None, list[str]] = {}
    for study in reading.story.studies.values():
        studies.setdefault(study.said.approval, []).append(study.name)

    def row(approval: Approval) -> Sequence[Content]:
        named = studies.get(approval.at.entry, [])
        names = ", ".join(named[:5]) + (f" and {len(named) - 5:,} more" if len(named) > 5 else "")
        runs = f"{approval.runs:,}"
        return entry(approval.at), quoted(approval.by), runs, names or "none admitted", digest(approval.terms)

    columns = [
        Column("When"),
        Column("By"),
        Column("Runs", True),
        Column("Studies admitted by it"),
        Column("Terms (SHA-256)"),
    ]
    return table("Terms that a person has approved", columns, reading.story.approvals, row)


def _key_row(key: Key) -> Sequence[Content]:
    return entry(key.at), digest(key.key)


def _witnesses(witnesses: Sequence[Witness]) -> Markup:
    if not witnesses:
        return element("p", "No witness has countersigned this ledger.")
    columns = [
        Column("Witness"),
        Column("Key"),
        Column("Checkpoints", True),
        Column("Newest", True),
        Column("Written down"),
    ]

    def row(witness: Witness) -> Sequence[Content]:
        seen = f"entry {witness.newest:,}"
        return (
            witness.name,
            digest(PublicKey.from_text(witness.key).typed),
            f"{witness.times:,}",
            seen,
            entry(witness.at),
        )

    return table("Who has seen this ledger", columns, witnesses, row)


def _how_made(reading: Reading) -> str:
    return (
        f"Made from {count_of(reading.ledger.head.number, 'entry', 'entries')} by consilium-audit report. Epsilons "
        "that were spent are rounded up, those that are left are rounded down. Dates are UTC, as the site’s clock "
        "told them. The neighbouring relation is to add or remove one patient; the privacy unit is the patient."
    )
