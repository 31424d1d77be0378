"""Notes are read back as they were written, in the journal and over the operator's socket."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy.errors import FederationError
from privacy.refusal_codes import RefusalCode
from privacy.study.tasks.figures import FigureFacts
from server.study.events import StudyStatus
from server.study.figures import Figure
from server.study.notes import (
    FiguresOpened,
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
    read_note,
    read_watched_note,
)
from server.study.sites import SiteStatus
from server.study.state import Phase

FIGURES = FiguresOpened(
    after_round=2,
    opened_in=3,
    sites=("ash", "birch"),
    patients=40,
    threshold=0.5,
    noise_deviation=0.0,
    mostly_noise=False,
    figures={
        "auroc": Figure(value=None, noise=None, chance=None),
        "accuracy": Figure(value=0.5, noise=0.0, chance=0.1),
    },
)
STORED: list[WatchedNote] = [
    StudyBegan(
        private=True,
        sealed=True,
        exchanges=4,
        figures=(
            FigureFacts(name="auroc", title="AUROC"),
            FigureFacts(name="mae", title="error", lower_is_better=True),
        ),
        phase=Phase.JOINING,
    ),
    RequestSent(site="ash", what="train", bytes=10, round=1, attempt=2),
    ReplyReceived(site="ash", what="problem", bytes=10, code=RefusalCode.BUDGET, text="it is used up"),
    RoundDone(round=1, attempt=1, sites=("ash", "birch")),
    RoundVoided(round=2, sites=("ash",)),
    StudyStopped(why="the operator stopped the study"),
    FIGURES,
    Remark(text="is out: twice", site="ash", standing=SiteStatus.OUT, why="twice"),
]
WATCHED: list[WatchedNote] = [*STORED, Heartbeat(), WatchEnded(standing=StudyStatus.STOPPED, why="2 sites left")]


@pytest.mark.parametrize("note", WATCHED, ids=lambda note: note.kind)
@given(number=st.integers(0, 2**40), time=st.floats(0, 2**40))
def test_note_comes_over_the_socket_as_it_was_sent(note: WatchedNote, number: int, time: float) -> None:
    sent = note.model_copy(update={"number": number, "time": time})
    assert read_watched_note(json.loads(json.dumps(sent.model_dump(mode="json")))) == sent


@pytest.mark.parametrize("note", [Heartbeat(), WATCHED[-1]], ids=lambda note: note.kind)
def test_what_only_a_watcher_gets_is_in_no_journal(note: WatchedNote) -> None:
    with pytest.raises(FederationError, match="a note of the study is damaged, or of another version"):
        read_note(note.model_dump(mode="json"))


@pytest.mark.parametrize(
    "fields", [{}, {"kind": "something-new"}, {"kind": "beat", "loss": 1.0}, {"kind": "beat", "time": math.inf}]
)
def test_unknown_note_is_refused_with_what_to_do(fields: dict[str, object]) -> None:
    with pytest.raises(FederationError, match="restart the coordinator with this one"):
        read_watched_note(fields)
