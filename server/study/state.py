"""Hold the shared state of the study's state machine, without I/O.

The state is the sites with their status and their questions, the history, the phase and its deadline. What must be
durable or sent is returned as actions.
"""

from collections.abc import Iterable
from enum import StrEnum
from itertools import takewhile
from math import inf

from models.federated.early_stopping import RankedEvaluations
from privacy.mechanisms.value_range import count_most_patients
from privacy.protocol.headers import Committed, Evaluated, Header
from privacy.protocol.messages import Open, Request
from privacy.study.launch import SignedLaunch
from privacy.study.tasks.task import count_cells
from server.study.actions import Action, Ask, Note, Record
from server.study.events import Event, History, SiteOut, Stopped, TotalsOpened
from server.study.sites import SHUT, PendingRequest, SiteStatus, SiteView
from server.study.timeouts import Timeouts


class Phase(StrEnum):
    """What the study is waiting for."""

    JOINING = "joining"
    WAITING = "waiting"
    WRAPPING = "wrapping"
    SEALING = "sealing"
    RELEASING = "releasing"
    OPENING = "opening"
    CLOSING = "closing"
    GIVING_UP = "giving up"
    DONE = "done"
    STOPPED = "stopped"


class StudyState:
    """Shared state of one study.

    The part that runs the present phase sets ``phase`` and ``deadline`` (seconds on the caller's clock).
    """

    def __init__(self, launch: SignedLaunch, history: History, timeouts: Timeouts) -> None:
        self.signed_launch = launch
        self.launch = launch.statement
        self.launch_digest = self.launch.digest
        self.terms = self.launch.terms
        self.study = self.launch.study
        self.history = history
        self.timeouts = timeouts
        self.phase = Phase.JOINING
        self.deadline = 0.0
        self.waited_s = 0.0
        self.waiting_since: float | None = None
        self.waits_for_decisions = False
        self.evaluations: dict[int, tuple[int, ...]] = {}
        self.sites = {name: SiteView(name) for name in self.launch.names}
        for event in history.committed.values():
            for header in event.committed.headers.values():
                self.take_header(header.statement)
        self._ranked = RankedEvaluations(self.terms)
        for _, evaluated in sorted(history.totals.items()):
            self._ranked.add(evaluated.counts)
            self.take_counts(evaluated)
        for name, closed in history.closed.items():
            self.sites[name].standing = SiteStatus.CLOSED
            self.take_counts(closed.evaluated)
        for name, why in history.out.items():
            self.sites[name].standing, self.sites[name].why = SiteStatus.OUT, why

    # Sites -------------------------------------------------------------------------------------------------

    def list_eligible_sites(self) -> list[SiteView]:
        """List the sites that may take part, sorted by name."""
        return [site for _, site in sorted(self.sites.items()) if site.standing not in SHUT]

    def list_sites_with(self, standing: SiteStatus) -> list[SiteView]:
        """List the sites with this status, sorted by name."""
        return [site for _, site in sorted(self.sites.items()) if site.standing is standing]

    def list_undecided_sites(self) -> list[SiteView]:
        """List the sites whose people have not decided yet, and for whom the study waits before its first keys."""
        return self.list_sites_with(SiteStatus.DECIDING) if self.history.keys is None else []

    def list_returned_sites(self) -> list[SiteView]:
        """List the sites that were absent and have offered a key for the next epoch."""
        return [site for site in self.list_sites_with(SiteStatus.ABSENT) if site.offer is not None]

    def list_missed_rounds(self, site: SiteView) -> list[Committed]:
        """List the committed rounds that ``site`` has not opened yet, oldest first."""
        newest_first = takewhile(lambda number: number > site.base, reversed(self.history.committed))
        return [self.history.committed[number].committed for number in reversed(list(newest_first))]

    def describe_too_late(self, base: int) -> str | None:
        """Describe why a site that has opened the rounds up to ``base`` cannot catch up; None if it can."""
        removed = self.history.removed
        if base >= removed or not any(base < number <= removed for number in self.history.committed):
            return None
        return (
            f"has opened the rounds up to {base}, and the aggregates of those up to {removed} had no more room at the "
            "coordinator (aggregates_gb in coordinator.yaml): it cannot catch up"
        )

    @property
    def is_complete(self) -> bool:
        """Whether no round follows: the terms have no further round, or early stopping ends the study."""
        return self.history.next_round > self.terms.last_round or self.out_of_patience

    @property
    def out_of_patience(self) -> bool:
        """Whether early stopping ends the study, by the totals that all members have opened."""
        return self._ranked.are_out_of_patience

    @property
    def unopened(self) -> Committed | None:
        """The last committed round, if it carries unopened totals that decide whether another round follows."""
        event = self.history.committed.get(self.history.base)
        if self.terms.evaluation.patience is None or event is None or self.history.base in self.history.totals:
            return None
        view = event.committed.view
        return event.committed if self.terms.evaluates(view.round, view.base) else None

    @property
    def least_members(self) -> int:
        """The least number of sites for the next step: the terms' minimum for a round, one for closing."""
        return 1 if self.is_complete else self.terms.cohort.minimum

    @property
    def required_sites(self) -> set[str]:
        """The sites that the next round needs: after a void round whose sum had no noise, that round's cohort."""
        bare = self.terms.opens_without_noise(self.history.next_round, self.history.base)
        return set(self.history.void_cohort) if bare else set()

    def compute_room(self) -> int:
        """Compute for how many patients the next round's sum needs room.

        A site whose count is unknown counts as the largest known one.
        """
        counts = {site.name: site.patients for site in self.list_eligible_sites()}
        largest = max(counts.values(), default=0)
        return self._compute_room_of_counts(count or largest for count in counts.values())

    def compute_room_for(self, cohort: Iterable[str]) -> int:
        """Compute for how many patients the sum of ``cohort`` needs room, by their public counts."""
        return self._compute_room_of_counts(self.sites[name].patients for name in cohort)

    def _compute_room_of_counts(self, counts: Iterable[int]) -> int:
        return count_most_patients(counts) if self.terms.sums_patients else 0

    def take_header(self, header: Header) -> None:
        """Set a site's base and patient count from its header."""
        site = self.sites[header.site]
        site.base = max(site.base, header.view.base)
        site.patients = header.patients

    def take_counts(self, evaluated: Evaluated | None) -> None:
        """Keep opened totals; no site can change totals that are known already."""
        if evaluated is not None:
            self.evaluations.setdefault(evaluated.round, evaluated.counts)

    def fits_round(self, evaluated: Evaluated | None, base: int) -> bool:
        """Return whether ``evaluated`` has the shape of round ``base``'s totals; None if it has none."""
        event = self.history.committed.get(base)
        trained_from = None if event is None else event.committed.view.base
        if trained_from is None or not self.terms.evaluates(base, trained_from):
            return evaluated is None
        return (
            evaluated is not None
            and (evaluated.round, evaluated.opened_in) == (trained_from, base)
            and len(evaluated.counts) == count_cells(self.terms.cell_groups)
        )

    # Actions -----------------------------------------------------------------------------------------------

    def ask(self, site: SiteView, request: Request, now: float, aggregate: int | None = None) -> Ask:
        """Ask a site a question; it replaces the site's present question."""
        ask = Ask(site.name, request, aggregate)
        site.question = PendingRequest(ask, now)
        return ask

    def ask_to_open(self, site: SiteView, committed: Committed, now: float, *, sign_held: int | None = None) -> Ask:
        """Ask a site to open a round; with ``sign_held``, also to sign its held model under this key epoch."""
        keys = None if site.has_keys else self.history.keys
        request = Open(keys=keys, committed=committed, sign_held=sign_held)
        return self.ask(site, request, now, committed.round)

    def ask_again(self, now: float) -> list[Action]:
        """Repeat questions after their back-off: a message is delivered once, and a crash of the site loses it."""
        actions: list[Action] = []
        for site in self.sites.values():
            question = site.question
            if question and now - question.sent >= self.timeouts.ask_again_s * question.backoff:
                if not question.returned:  # the site was online when it was last asked
                    question.offline_since = None
                question.sent, question.times, question.returned = now, question.times + 1, False
                actions.append(question.ask)
        return actions

    def ask_soon(self, site: SiteView) -> None:
        """Mark that the question of ``site`` had no effect, so that it is repeated without back-off."""
        if site.question is not None:
            site.question.returned = True

    def ask_now(self, site: SiteView, now: float) -> list[Action]:
        """Repeat the question of a site whose process has just started: its earlier process has lost it."""
        site.lost_at = -inf
        if site.question is None:
            return []
        site.question.sent, site.question.offline_since, site.question.returned = now, None, False
        return [site.question.ask]

    def mark_offline(self, site: SiteView, now: float) -> float:
        """Mark that the network does not reach ``site``, and return for how many seconds this has lasted."""
        question = site.question
        if question is None:
            return 0.0
        if question.offline_since is None:
            question.offline_since = now
        question.times, question.returned = 0, True
        return now - question.offline_since

    def record(self, event: Event) -> list[Action]:
        """Apply ``event`` to the history, and return the action that makes it durable."""
        self.history.apply(event)
        if isinstance(event, TotalsOpened):
            self._ranked.add(event.evaluated.counts)
        return [Record(event)]

    def mark_absent(self, sites: Iterable[SiteView], why: str, now: float) -> list[Action]:
        """Mark sites as absent until they offer a key again."""
        actions: list[Action] = []
        for site in sites:
            if site.standing is SiteStatus.DECIDING:  # its people decide, whether it is here or not
                site.question, site.ask_at = None, now + self.timeouts.ask_again_s
                continue
            site.why, site.question, site.offer, site.has_keys, site.lost_at = why, None, None, False, now
            if site.standing in (SiteStatus.MEMBER, SiteStatus.EXPECTED):
                site.standing = SiteStatus.ABSENT
                actions.append(Note(f"absent: {why}", site.name))
        return actions

    def exclude(self, site: SiteView, why: str) -> list[Action]:
        """Exclude a site until the operator re-admits it."""
        if site.standing is SiteStatus.OUT:
            return []
        site.standing, site.why, site.offer = SiteStatus.OUT, why, None
        return [*self.record(SiteOut(site=site.name, why=why)), Note(f"is out: {why}", site.name)]

    def stop(self, why: str, way_out: str) -> list[Action]:
        """Stop the study until the operator resumes it; ``way_out`` says what the operator can do."""
        self.phase = Phase.STOPPED
        why = f"{why}; {way_out}"
        return [*self.record(Stopped(why=why)), Note(f"stopped: {why}")]

    def format_resume_command(self, *readmit: str) -> str:
        """Format the command that resumes the study."""
        return " ".join(["consilium study resume", self.study, *(f"--readmit {name}" for name in readmit)])

    def describe_new_launch(self) -> str:
        """Describe how to replace a study that cannot continue; giving it up frees the budget that it reserved."""
        return (
            f"it cannot continue; give it up with: consilium study give-up {self.study}, and launch the study again"
        )

    def stop_if_too_few(self) -> list[Action]:
        """Stop if the eligible sites cannot form the next round's cohort."""
        lack = self.describe_lack()
        return [] if lack is None else self.stop(*lack)

    def describe_lack(self) -> tuple[str, str] | None:
        """Describe why the eligible sites cannot form the next cohort, and the way out; None if they can."""
        possible = self.list_eligible_sites()
        shut = "; ".join(f"{site.name}: {site.why}" for site in self.sites.values() if site not in possible)
        out = {site.name for site in self.list_sites_with(SiteStatus.OUT)}
        if len(possible) < self.least_members:
            why = f"{len(possible)} sites can take part, the terms need {self.least_members} ({shut})"
            return why, self._describe_way_out(out, self.least_members - len(possible))
        if lacking := self.required_sites - {site.name for site in possible}:
            why = (
                f"without noise, the round after a void one needs the same sites, {', '.join(sorted(lacking))} too"
            )
            return f"{why} ({shut})", self._describe_way_out(out & lacking, len(lacking))
        return None

    def _describe_way_out(self, out: set[str], needed: int) -> str:
        if len(out) >= needed:
            choice = "" if len(out) == needed else f" (at least {needed} of them)"
            return f"let them in again with: {self.format_resume_command(*sorted(out))}{choice}"
        refused = ", ".join(site.name for site in self.list_sites_with(SiteStatus.REFUSED))
        if refused and len(out) + len(self.list_sites_with(SiteStatus.REFUSED)) >= needed:
            return f"once {refused} would admit the study, run: {self.format_resume_command(*sorted(out))}"
        return self.describe_new_launch()
