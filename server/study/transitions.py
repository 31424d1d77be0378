"""Which step of a study follows another.

====================================================  =======================  =====================================
when                                                  transition               what begins
====================================================  =======================  =====================================
a key epoch has its keys; a round is committed, or    :meth:`~.next_step`      see below
void; the totals that decide on another round are
known
a round, or the opening of totals, has too few        :meth:`~.begin_epoch`    ``KEY_EPOCH``
members left, or not those it needs
====================================================  =======================  =====================================

The next step is the first of these whose condition holds:

====================================================  ==============================================================
condition                                             step
====================================================  ==============================================================
a site that was away has offered a session key        ``KEY_EPOCH``: it gets the keys before anything else is asked
no round follows                                      ``CLOSING``
the last round brought totals on which it depends     ``TOTALS``: every member opens them
whether another follows
otherwise                                             ``ROUND``
====================================================  ==============================================================

The parts of the machine (``key_epochs``, ``rounds``, ``evaluation``, ``closing``) do not know each other, only
this file.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum

from server.study.actions import Action
from server.study.state import StudyState

Begin = Callable[[float], list[Action]]
"""Begins a step; the argument is the time in seconds on the caller's clock."""


class Step(StrEnum):
    """What a study does next."""

    KEY_EPOCH = "key epoch"
    ROUND = "round"
    TOTALS = "totals"
    CLOSING = "closing"


def choose_next_step(state: StudyState) -> Step:
    """Return what follows when the present step is done."""
    if state.list_returned_sites():
        return Step.KEY_EPOCH
    if state.is_complete:
        return Step.CLOSING
    return Step.TOTALS if state.unopened else Step.ROUND


class Transitions:
    """The transitions of one study. Its machine says once how each step begins (:meth:`connect`)."""

    def __init__(self, state: StudyState) -> None:
        self._state = state
        self._begin: Mapping[Step, Begin] = {}

    def connect(self, begin: Mapping[Step, Begin]) -> None:
        """Set how each step begins."""
        self._begin = begin

    def next_step(self, now: float) -> list[Action]:
        """Begin the step that follows the one that is done."""
        return self._begin[choose_next_step(self._state)](now)

    def begin_epoch(self, now: float) -> list[Action]:
        """Begin a new key epoch: too few members are left for the present step."""
        return self._begin[Step.KEY_EPOCH](now)
