"""List what a reader of a ledger must not overlook, in plain sentences, the most serious first.

Rules:

* A finding is a fact of the ledger, never a suspicion, and names the entries that show it.
* **Alarm**: something that no later entry can correct. **Caution**: something that a board should ask about.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import NamedTuple

from privacy.audit.report.formatting import format_count, format_day
from privacy.audit.report.timeline import LedgerNote, PopulationTimeline, Timeline
from privacy.ledger.papers import Paper
from privacy.ledger.state import LedgerState


@dataclass(frozen=True)
class Reading:
    """A verified ledger, its history, and how it was read."""

    ledger: LedgerState
    story: Timeline
    form: str
    """``sqlite`` or ``export``."""
    key_given: bool
    papers: dict[str, Paper] = field(default_factory=dict)
    """The papers of studies in an export, by study."""

    @cached_property
    def incidents(self) -> dict[str, list[LedgerNote]]:
        """Incidents, by study."""
        return _group_by_study(self.story.incidents)

    @cached_property
    def refusals(self) -> dict[str, list[LedgerNote]]:
        """Refusals, by study, whether the study was admitted or not."""
        return _group_by_study(self.story.refusals)


class Gravity(StrEnum):
    """How serious a finding is."""

    ALARM = "alarm"
    CAUTION = "caution"


class Finding(NamedTuple):
    """One sentence, and how serious it is."""

    gravity: Gravity
    sentence: str


def list_findings(reading: Reading) -> list[Finding]:
    """List everything that needs attention; empty if nothing does."""
    story, found = reading.story, list[Finding]()
    for chapter in story.chapters.values():
        found += [Finding(Gravity.ALARM, each) for each in _list_alarms(chapter)]
        found += [Finding(Gravity.CAUTION, each) for each in _list_cautions(reading.ledger, chapter)]
    found += [
        Finding(Gravity.CAUTION, each)
        for each in (*_list_clock_corrections(story), *_list_ledger_cautions(reading))
    ]
    return sorted(found, key=lambda finding: finding.gravity is not Gravity.ALARM)


def list_findings_in_entries(ledger_state: LedgerState, story: Timeline) -> list[str]:
    """List what in the entries needs attention, the most serious first; not how the ledger was read."""
    chapters = story.chapters.values()
    alarms = [each for chapter in chapters for each in _list_alarms(chapter)]
    return [
        *alarms,
        *(each for chapter in chapters for each in _list_cautions(ledger_state, chapter)),
        *_list_clock_corrections(story),
    ]


def _group_by_study(notes: Iterable[LedgerNote]) -> dict[str, list[LedgerNote]]:
    grouped: dict[str, list[LedgerNote]] = {}
    for note in notes:
        grouped.setdefault(note.study, []).append(note)
    return grouped


def _list_alarms(chapter: PopulationTimeline) -> Iterator[str]:
    if since := chapter.unbounded_since:
        yield (
            f"The patients of {chapter.population} were trained on without privacy on {format_day(since.time)} "
            f"(entry {since.entry}). No epsilon describes them any more, and no later entry can change that."
        )
    yield from _list_excessive_deltas(chapter)


def _list_excessive_deltas(chapter: PopulationTimeline) -> Iterator[str]:
    """Find grants whose deltas together are more than 1 divided by the number of patients, then and now."""
    together = 0.0
    now = chapter.registered[-1][1].patients if chapter.registered else None
    for each in chapter.grants:
        together += each.grant.delta
        # the larger count of then and now, which allows the smaller delta, is the stricter one
        patients = max((count for count in (each.patients, now) if count is not None), default=None)
        if patients is not None and together * patients > 1:
            added = "" if together == each.grant.delta else f", {together:g} with the grants before it,"
            yield (
                f"The grant of epsilon {each.grant.epsilon:g} to {chapter.population} on {format_day(each.at.time)} "
                f"(entry {each.at.entry}) has delta {each.grant.delta:g}{added} which is more than one in about "
                f"{patients:,} patients: what it promises would allow publishing one patient's record."
            )


def _list_cautions(ledger_state: LedgerState, chapter: PopulationTimeline) -> Iterator[str]:
    late = [each for each in chapter.grants if each.after_results and not each.lost]
    for number, each in enumerate(late[:3]):
        if number == 2 and len(late) > 3:
            yield f"The budget of {chapter.population} was enlarged {len(late) - 2} more times after that."
            break
        yield (
            f"The budget of {chapter.population} was enlarged after results were seen: epsilon "
            f"{each.grant.epsilon:g} on {format_day(each.at.time)} (entry {each.at.entry})."
        )
    if not ledger_state.accounts[chapter.population].held_out_protected:
        yield (
            f"Totals over the held-out patients of {chapter.population} left without noise: these patients are "
            "not protected, and the epsilon below does not speak of them."
        )
    said_different = chapter.registered[-1][1].said_different if chapter.registered else {}
    for population, count in said_different.items():
        written = f"like patients of {population}" if population != chapter.population else "like another of them"
        yield (
            f"{format_count(count, 'patient')} of {chapter.population} {'is' if count == 1 else 'are'} written "
            f"{written}, and different people by what the site's people say. If they are the same, they have more "
            "than the budget below: ask."
        )
    if not chapter.registered:
        yield f"{chapter.population} is known from a lost ledger only; its registration is not in this one."


def _list_clock_corrections(story: Timeline) -> Iterator[str]:
    for each in story.clocks:
        yield (
            f"The site's clock had been wrong: entry {each.at.entry} is dated {each.at.time}, the one before it "
            f"{each.before}. {each.by} said so. The order of entries is their numbers; dates before it may be wrong."
        )


def _list_ledger_cautions(reading: Reading) -> Iterator[str]:
    ledger_state, story = reading.ledger, reading.story
    for each in story.recoveries:
        yield (
            f"The ledger was restored from a backup on {format_day(each.at.time)} (entry {each.at.entry}): totals up "
            f"to entry {each.seen} of the lost ledger are taken over, everything open counts as spent, and what "
            "happened in the lost part is not told here."
        )
    if story.incidents:
        yield f"{format_count(len(story.incidents), 'incident')} recorded, each listed below."
    if ledger_state.unsettled:
        unsettled = format_count(
            len(ledger_state.unsettled), "round was paid and never settled", "rounds were paid and never settled"
        )
        yield f"{unsettled}: interrupted or still running, counted in full."
    if not reading.key_given:
        yield (
            "The ledger vouches for itself only: its key came from the ledger. Compare the key above with the one that "
            "the site has given you by another way."
        )
    if ledger_state.witnessed is None:
        yield "Nobody has witnessed this ledger: that it was not replaced by an older copy rests on the site's word."
    elif (behind := ledger_state.head.number - ledger_state.witnessed.number) and reading.form == "sqlite":
        yield (
            f"{format_count(behind, 'entry', 'entries')} at the end nobody has witnessed, and a file cannot show "
            "that later ones were removed."
        )
