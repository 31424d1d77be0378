"""A journal's events, and their sum."""

import typing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy.canonical import to_canonical
from privacy.errors import FederationError
from privacy.protocol.headers import Committed, Evaluated
from privacy.protocol.messages import Closed
from server.study import events
from server.study.events import (
    AggregatesRemoved,
    AttemptAsked,
    EpochAsked,
    Event,
    Finished,
    GaveUp,
    History,
    ModelsHeld,
    ReleaseAsked,
    Resumed,
    RoundCommitted,
    RoundVoid,
    SiteClosed,
    SiteDecided,
    SiteDeciding,
    SiteOut,
    SiteProgram,
    SiteReadmitted,
    Stopped,
    TotalsOpened,
    WaitBegan,
    parse_event,
)
from tests.privacy.head_makers import standing
from tests.privacy.launch_makers import PROGRAM, SITE_KEYS

COHORT = ("ash", "birch", "cedar")


def committed(number: int) -> RoundCommitted:
    return RoundCommitted(
        committed=Committed(round=number, attempt=1, epoch=1, cohort=COHORT, headers={}),
    )


def asked(number: int, attempt: int = 1) -> AttemptAsked:
    return AttemptAsked(round=number, attempt=attempt, epoch=1, cohort=COHORT, reference=60)


def after(*events: Event) -> History:
    found = History()
    for event in events:
        found.apply(event)
    return found


CLOSED = Closed(base=1, evaluated=None, ledger=standing(SITE_KEYS["ash"], "ash"), epsilon_spent=1.5)
EVENTS: tuple[Event, ...] = (
    EpochAsked(epoch=2),
    asked(1),
    ReleaseAsked(round=1, attempt=1),
    committed(1),
    TotalsOpened(evaluated=Evaluated(round=1, opened_in=2, counts=(3, -1, 0, 5))),
    WaitBegan(why="2 sites are here"),
    SiteDeciding(site="ash", since="2026-03-02T08:00:00Z", contact="Ada, 1234", sentence="not yet"),
    SiteDecided(site="ash"),
    SiteProgram(site="ash", program=PROGRAM),
    ModelsHeld(held={}),
    RoundVoid(round=2, sites=("ash",)),
    AggregatesRemoved(upto=3),
    SiteOut(site="ash", why="it vanished"),
    SiteReadmitted(site="ash"),
    SiteClosed(
        site="ash",
        closed=Closed(base=1, evaluated=None, ledger=standing(SITE_KEYS["ash"], "ash"), epsilon_spent=1.5),
    ),
    Stopped(why="the operator stopped it"),
    Resumed(),
    GaveUp(),
    Finished(),
)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.kind)
def test_event_read_back_from_its_bytes_is_equal(event: Event) -> None:
    assert parse_event(event.to_bytes()) == event


def test_every_kind_of_event_is_tried_here_but_the_keys() -> None:
    """``epoch-keyed`` carries signed offers and a grant: the in-memory federation writes real ones."""
    kinds = {model.model_fields["kind"].default for model in typing.get_args(events.Event)}
    assert kinds - {event.kind for event in EVENTS} == {"epoch-keyed"}


@pytest.mark.parametrize(
    "data",
    [
        to_canonical({"kind": "site-bribed", "site": "ash"}),
        to_canonical({"kind": "site-out", "site": "ash"}),
        to_canonical({"kind": "finished", "loss": 1}),
        b'{"kind": "finished"}',
        b"",
    ],
)
def test_event_that_this_version_does_not_know_is_refused(data: bytes) -> None:
    with pytest.raises(FederationError, match="holds an event that this version does not know"):
        parse_event(data)


def test_study_without_events_is_at_its_beginning() -> None:
    found = History()
    assert (found.base, found.next_round, found.epoch, found.release_asked, found.void_cohort) == (
        0,
        1,
        0,
        False,
        (),
    )


def test_committed_round_is_the_base_of_the_next() -> None:
    found = after(committed(1), committed(2))
    assert (found.base, found.next_round) == (2, 3)


@given(st.lists(st.sampled_from(["committed", "void"]), max_size=8))
def test_base_and_next_round_are_those_of_all_rounds_before(what: list[str]) -> None:
    rounds = dict(enumerate(what, 1))
    found = after(
        *(
            committed(each) if kind == "committed" else RoundVoid(round=each, sites=())
            for each, kind in rounds.items()
        )
    )
    assert found.base == max((each for each, kind in rounds.items() if kind == "committed"), default=0)
    assert found.next_round == len(rounds) + 1


def test_void_round_counts_and_is_no_base() -> None:
    found = after(committed(1), RoundVoid(round=2, sites=("ash",)))
    assert (found.base, found.next_round) == (1, 3)
    assert after(RoundVoid(round=1, sites=()), RoundVoid(round=2, sites=())).next_round == 3


def test_release_that_was_asked_for_is_remembered_until_the_round_is_over() -> None:
    asked_for = (asked(1, attempt=2), ReleaseAsked(round=1, attempt=2))
    assert after(asked(1)).release_asked is False
    assert after(*asked_for).release_asked is True
    assert after(*asked_for, committed(1)).release_asked is False


def test_cohort_of_a_void_round_is_bound_until_the_model_moves() -> None:
    void = (asked(1), ReleaseAsked(round=1, attempt=1), RoundVoid(round=1, sites=("ash",)))
    assert after(*void).void_cohort == COHORT
    assert after(*void, asked(2)).void_cohort == COHORT
    assert after(*void, committed(2)).void_cohort == ()


def test_totals_are_known_by_the_round_that_brought_them() -> None:
    first, second = (Evaluated(round=number, opened_in=number + 1, counts=(number,) * 4) for number in (1, 2))
    found = after(committed(1), committed(2), TotalsOpened(evaluated=first), TotalsOpened(evaluated=second))
    assert found.totals == {2: first, 3: second}


def test_site_is_out_until_it_is_readmitted() -> None:
    out = SiteOut(site="ash", why="it vanished")
    assert after(out).out == {"ash": "it vanished"}
    assert after(out, SiteReadmitted(site="ash")).out == {}
    assert after(SiteReadmitted(site="ash")).out == {}


def test_rounds_that_a_site_made_void_are_counted_until_it_is_readmitted() -> None:
    void = (
        RoundVoid(round=1, sites=("ash",)),
        RoundVoid(round=2, sites=("ash", "elm")),
        RoundVoid(round=3, sites=()),
    )
    assert after(*void).voids_by == {"ash": 2, "elm": 1}
    assert after(*void, SiteReadmitted(site="ash")).voids_by == {"elm": 1}


@pytest.mark.parametrize("end", [ReleaseAsked(round=1, attempt=1), Stopped(why="too long"), Finished()])
def test_study_waits_until_a_round_goes_on_or_it_stops(end: Event) -> None:
    waiting = (asked(1), WaitBegan(why="2 sites are here"))
    assert after(*waiting).waiting == "2 sites are here"
    assert after(*waiting, end).waiting is None


def test_study_stands_still_until_it_is_resumed() -> None:
    assert after(Stopped(why="too few sites")).stopped == "too few sites"
    assert after(Stopped(why="too few sites"), Resumed()).stopped is None
    assert after(Finished()).finished
