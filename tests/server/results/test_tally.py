"""A study's notes added up, and shown."""

import pytest

from server.results.tally import WITHOUT_PRIVACY, Tally
from server.study.events import StudyStatus
from server.study.notes import (
    Heartbeat,
    Remark,
    ReplyReceived,
    RequestSent,
    RoundDone,
    RoundVoided,
    StudyBegan,
    StudyStopped,
    WatchedNote,
    WatchEnded,
)
from server.study.sites import SiteStatus
from server.watch.progress import Progress

NOTES: list[WatchedNote] = [
    RequestSent(time=0.0, site="ash", what="join", bytes=1000),
    ReplyReceived(time=1.0, site="ash", what="joined", bytes=100),
    RequestSent(time=10.0, site="ash", what="train", round=1, attempt=1, bytes=2000),
    RequestSent(time=10.5, site="birch", what="train", round=1, attempt=1, bytes=3000),
    ReplyReceived(time=12.0, site="ash", what="sealed", round=1, bytes=400, epsilon=0.5),
    ReplyReceived(time=13.0, site="birch", what="sealed", round=1, bytes=500, epsilon=0.6),
    RequestSent(time=13.5, site="ash", what="release", round=1, attempt=1, bytes=10),
    ReplyReceived(time=14.0, site="ash", what="released", round=1, attempt=1, bytes=20),
    RoundDone(time=15.0, round=1, attempt=1, sites=("ash", "birch")),
]


def tally(notes: list[WatchedNote]) -> Tally:
    found = Tally()
    for note in notes:
        found.add_note(note)
    return found


def test_rounds_times_are_between_their_notes() -> None:
    found = tally(NOTES).rounds[1]
    assert (found.seconds, found.working, found.releasing) == (5.0, 3.0, 2.0)
    assert found.sites == ("ash", "birch")


def test_bytes_are_added_by_round_and_by_site() -> None:
    found = tally(NOTES)
    assert (found.rounds[1].bytes_down, found.rounds[1].bytes_up) == (2000 + 3000 + 10, 400 + 500 + 20)
    ash = found.sites["ash"]
    assert (ash.bytes_down, ash.bytes_up) == (1000 + 2000 + 10, 100 + 400 + 20)


@pytest.mark.parametrize(
    ("seen", "phase", "since"),
    [(1, "joining", 0.0), (2, "joined", None), (3, "training", 10.0), (5, "sealed", None), (7, "releasing", 13.5)],
)
def test_site_is_in_the_phase_of_its_newest_note(seen: int, phase: str, since: float | None) -> None:
    ash = tally(NOTES[:seen]).sites["ash"]
    assert (ash.phase, ash.since) == (phase, since)


def test_price_stays_when_a_reply_names_none() -> None:
    assert tally(NOTES).sites["ash"].epsilon == 0.5
    assert tally(NOTES[:2]).sites["ash"].epsilon is None


def test_void_rounds_are_listed() -> None:
    found = tally([*NOTES, RoundVoided(time=20.0, round=2, sites=("ash",))])
    assert found.void == [2]


@pytest.mark.parametrize(
    "note",
    [
        Heartbeat(time=99.0),
        WatchEnded(time=99.0, standing=StudyStatus.FINISHED, why=""),
        StudyStopped(time=99.0, why="the operator stopped the study"),
    ],
)
def test_other_notes_only_move_the_clock(note: WatchedNote) -> None:
    found = tally([*NOTES, note])
    assert found.now == 99.0
    assert found.rounds == tally(NOTES).rounds


def test_remark_without_a_status_leaves_the_sites_status() -> None:
    out = Remark(site="ash", text="is out", standing=SiteStatus.OUT, why="twice")
    found = tally([out, Remark(site="ash", text="a sentence")])
    assert (found.sites["ash"].standing, found.sites["ash"].why) == (SiteStatus.OUT, "twice")


def test_progress_prints_plain_lines_where_there_is_no_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    with Progress() as progress:
        for note in [*NOTES, Remark(text="[bold]round 1 is done[/bold]")]:
            progress.add_note(note)
    output = capfd.readouterr()
    assert output.out == ""
    lines = output.err.splitlines()
    assert " ".join(lines[0].split()) == (
        "round 1 ash sealed after 2.0 s; so far epsilon 0.500 bytes up 500 down 3,000"
    )
    assert lines[1].startswith("round   1  birch")
    assert lines[2] == "round 1 of ? is done"
    assert lines[3] == "[bold]round 1 is done[/bold]"


def test_progress_says_when_there_is_no_privacy(capfd: pytest.CaptureFixture[str]) -> None:
    with Progress() as progress:
        progress.add_note(StudyBegan(private=False, sealed=True, exchanges=3, figures=()))
    assert WITHOUT_PRIVACY in capfd.readouterr().err


def test_quiet_progress_adds_up_and_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with Progress(quiet=True) as progress:
        for note in NOTES:
            progress.add_note(note)
    assert progress.tally.rounds[1].seconds == 5.0
    assert capfd.readouterr() == ("", "")
