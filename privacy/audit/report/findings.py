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
    timeline: Timeline
    form: str
    """``sqlite`` or ``export``."""
    key_given: bool
    papers: dict[str, Paper] = field(default_factory=dict)
    """The papers of studies in an export, by study."""

    @cached_property
    def incidents(self) -> dict[str, list[LedgerNote]]:
        """Incidents, by study."""
        return _group_by_study(self.timeline.incidents)

    @cached_property
    def refusals(self) -> dict[str, list[LedgerNote]]:
        """Refusals, by study, whether the study was admitted or not."""
        return _group_by_study(self.timeline.refusals)


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
    timeline, found = reading.timeline, list[Finding]()
    for history in timeline.histories.values():
        found += [Finding(Gravity.ALARM, each) for each in _list_alarms(history)]
        found += [Finding(Gravity.CAUTION, each) for each in _list_cautions(reading.ledger, history)]
    found += [
        Finding(Gravity.CAUTION, each)
        for each in (*_list_clock_corrections(timeline), *_list_ledger_cautions(reading))
    ]
    return sorted(found, key=lambda finding: finding.gravity is not Gravity.ALARM)


def list_findings_in_entries(ledger_state: LedgerState, timeline: Timeline) -> list[str]:
    """List what in the entries needs attention, the most serious first; not how the ledger was read."""
    histories = timeline.histories.values()
    alarms = [each for history in histories for each in _list_alarms(history)]
    return [
        *alarms,
        *(each for history in histories for each in _list_cautions(ledger_state, history)),
        *_list_clock_corrections(timeline),
    ]


def _group_by_study(notes: Iterable[LedgerNote]) -> dict[str, list[LedgerNote]]:
    grouped: dict[str, list[LedgerNote]] = {}
    for note in notes:
        grouped.setdefault(note.study, []).append(note)
    return grouped


def _list_alarms(history: PopulationTimeline) -> Iterator[str]:
    if since := history.unbounded_since:
        yield (
            f"The patients of {history.population} were trained on without privacy on {format_day(since.time)} "
            f"(entry {since.entry}). No epsilon describes them any more, and no later entry can change that."
        )
    yield from _list_excessive_deltas(history)


def _list_excessive_deltas(history: PopulationTimeline) -> Iterator[str]:
    """Find grants whose deltas together are more than 1 divided by the number of patients, then and now."""
    together = 0.0
    now = history.registered[-1][1].patients if history.registered else None
    for each in history.grants:
        together += each.grant.delta
        # the larger count of then and now, which allows the smaller delta, is the stricter one
        patients = max((count for count in (each.patients, now) if count is not None), default=None)
        if patients is not None and together * patients > 1:
            added = "" if together == each.grant.delta else f", {together:g} with the grants before it,"
            yield (
                f"The grant of epsilon {each.grant.epsilon:g} to {history.population} on {format_day(each.at.time)} "
                f"(entry {each.at.entry}) has delta {each.grant.delta:g}{added} which is more than one in about "
                f"{patients:,} patients: what it promises would allow publishing one patient's record."
            )


def _list_cautions(ledger_state: LedgerState, history: PopulationTimeline) -> Iterator[str]:
    late = [each for each in history.grants if each.after_results and not each.lost]
    for number, each in enumerate(late[:3]):
        if number == 2 and len(late) > 3:
            yield f"The budget of {history.population} was enlarged {len(late) - 2} more times after that."
            break
        yield (
            f"The budget of {history.population} was enlarged after results were seen: epsilon "
            f"{each.grant.epsilon:g} on {format_day(each.at.time)} (entry {each.at.entry})."
        )
    if not ledger_state.accounts[history.population].held_out_protected:
        yield (
            f"Totals over the held-out patients of {history.population} left without noise: these patients are "
            "not protected, and the epsilon below does not speak of them."
        )
    said_different = history.registered[-1][1].said_different if history.registered else {}
    for population, count in said_different.items():
        written = f"like patients of {population}" if population != history.population else "like another of them"
        yield (
            f"{format_count(count, 'patient')} of {history.population} {'is' if count == 1 else 'are'} written "
            f"{written}, and different people by what the site's people say. If they are the same, they have more "
            "than the budget below: ask."
        )
    if not history.registered:
        yield f"{history.population} is known from a lost ledger only; its registration is not in this one."


def _list_clock_corrections(timeline: Timeline) -> Iterator[str]:
    for each in timeline.clocks:
        yield (
            f"The site's clock had been wrong: entry {each.at.entry} is dated {each.at.time}, the one before it "
            f"{each.before}. {each.by} said so. The order of entries is their numbers; dates before it may be wrong."
        )


def _list_ledger_cautions(reading: Reading) -> Iterator[str]:
    ledger_state, timeline = reading.ledger, reading.timeline
    for each in timeline.recoveries:
        yield (
            f"The ledger was restored from a backup on {format_day(each.at.time)} (entry {each.at.entry}): totals up "
            f"to entry {each.seen} of the lost ledger are taken over, everything open counts as spent, and what "
            "happened in the lost part is not told here."
        )
    if timeline.incidents:
        yield f"{format_count(len(timeline.incidents), 'incident')} recorded, each listed below."
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
