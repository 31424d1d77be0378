"""The coordinator is killed before everything that it writes or sends, once in each run, and comes back."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks.small_study import small_terms, without_privacy
from privacy.study import Terms
from server.results.read import read_results
from server.study.events import Event
from server.study.journal import Journal
from server.study.notes import ReplyReceived, StudyNote
from server.study.runner import HANDLING_FILE
from server.study.sites import SiteStatus
from tests.protocol.conftest import Found
from tests.protocol.invariants import require_finished, require_safe
from tests.protocol.moments import committed
from tests.simulator import PowerCut, Simulator

THREE = ("ash", "birch", "cedar")
EVERY = 300
"""More than there are moments in the study below."""


class Fuse:
    """Burns at the ``moment``-th thing that the coordinator does, once."""

    def __init__(self, moment: int) -> None:
        self.left = moment

    def burn(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise PowerCut


class MortalJournal(Journal):
    """A real journal, beside which the power may fail before each write."""

    def __init__(self, folder: Path, fuse: Fuse) -> None:
        super().__init__(folder)
        self.fuse = fuse

    def record(self, event: Event) -> None:
        self.fuse.burn()
        super().record(event)

    def take_next_number(self) -> int:
        self.fuse.burn()
        return super().take_next_number()

    def find_aggregate_path(self, number: int) -> Path:
        self.fuse.burn()
        return super().find_aggregate_path(number)

    def append_note(self, note: StudyNote) -> None:
        super().append_note(note)
        if isinstance(note, ReplyReceived):
            self.fuse.burn()


def run_with_power_cut(simulator: Simulator, moment: int, *, delivered: bool, restart: str = "") -> bool:
    """Run the study through a power cut at ``moment``; whether it came before the end."""
    fuse = Fuse(moment)
    simulator.open_journal = lambda folder: MortalJournal(folder, fuse)
    try:
        simulator.launch()
        simulator.run(seconds=5)
    except PowerCut:
        simulator.restart_coordinator(delivered=delivered)
        if restart:
            simulator.restart_site(restart)
        simulator.run(seconds=5)
        return True
    return False


def terms_of(kind: str) -> Terms:
    short: dict[str, dict[str, Any]] = {"training": {"rounds": 1}, "evaluation": {"rounds": [1]}}
    return without_privacy(**short) if kind == "epsilon none" else small_terms(**short)


@pytest.mark.parametrize("delivered", [True, False], ids=["sites were asked", "sites were not asked"])
def test_study_finishes_wherever_the_coordinator_is_killed(found: Found, delivered: bool) -> None:
    for moment in range(1, EVERY, 2) if delivered else range(2, EVERY, 6):
        simulator = found(terms_of("private"), THREE, launch=False)
        before_the_end = run_with_power_cut(simulator, moment, delivered=delivered)
        require_finished(simulator)
        require_safe(simulator)
        assert set(simulator.trained.values()) == {1}
        assert simulator.journal.read_history().void == set()
        if not before_the_end:
            break
    assert 40 < moment < EVERY


@pytest.mark.parametrize("kind", ["private", "epsilon none"])
@pytest.mark.parametrize("who", THREE)
def test_study_goes_on_or_says_why_when_a_site_dies_with_the_coordinator(found: Found, kind: str, who: str) -> None:
    """Then a round may be void and the study have too few sites: it stops with that sentence, and can be resumed."""
    first = 1 + 3 * THREE.index(who) + (kind == "private")  # the six together come close to every moment
    for moment in range(first, EVERY, 9):
        simulator = found(terms_of(kind), THREE, launch=False)
        before_the_end = run_with_power_cut(simulator, moment, delivered=True, restart=who)
        out = simulator.journal.read_history().out
        if simulator.journal.read_history().stopped is not None:
            assert set(out) == {who}
            simulator.resume(who)
            simulator.run(seconds=5)
        require_finished(simulator)
        require_safe(simulator)
        assert set(simulator.trained.values()) == {1}
        if not before_the_end:
            break
    assert 40 < moment < EVERY


def test_site_over_whose_replies_the_coordinator_dies_twice_is_out(found: Found) -> None:
    simulator = found(small_terms(training={"rounds": 2}))
    simulator.run(lambda: 1 in committed(simulator))
    mark = simulator.journal.folder / HANDLING_FILE
    mark.write_text("ash\n")  # what a process leaves that dies over a reply
    simulator.restart_coordinator()
    assert "ash" not in simulator.journal.read_history().out
    mark.write_text("ash\nash\n")
    simulator.restart_coordinator()
    simulator.run(seconds=5)
    assert "died 2 times over a reply of its" in simulator.journal.read_history().out["ash"]
    assert committed(simulator)[2].committed.cohort == ("birch", "cedar", "elm")
    shown = read_results(simulator.federation.find_study_folder(simulator.study)).sites
    assert [(site.name, site.state) for site in shown if site.state is not SiteStatus.CLOSED] == [
        ("ash", SiteStatus.OUT)
    ]


def test_reply_that_is_handled_leaves_no_mark(found: Found) -> None:
    simulator = found(small_terms(training={"rounds": 1}, evaluation={"rounds": []}))
    mark = simulator.journal.folder / HANDLING_FILE
    mark.write_text("ash\n")
    simulator.run()
    assert not mark.exists()
