"""Decide which step of a study follows another.

====================================================  =========================  =====================================
when                                                  transition                 what begins
====================================================  =========================  =====================================
a key epoch has its keys; a round is committed or     :meth:`~.begin_next_step`  see below
void; the totals that decide on another round are
known
a round, or the opening of totals, has too few        :meth:`~.begin_epoch`      ``KEY_EPOCH``
members left, or lacks a member that it needs
====================================================  =========================  =====================================

The next step is the first of these whose condition holds:

====================================================  ==============================================================
condition                                             step
====================================================  ==============================================================
an absent site has offered a session key              ``KEY_EPOCH``: it gets the keys before the next step
no round follows                                      ``CLOSING``
the last round carried totals that decide whether     ``TOTALS``: every member opens them
another round follows
otherwise                                             ``ROUND``
====================================================  ==============================================================

The parts of the machine (``key_epochs``, ``rounds``, ``evaluation``, ``closing``) do not import each other. They
import only this file.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum

from server.study.actions import Action
from server.study.state import StudyState

Begin = Callable[[float], list[Action]]
"""Function that begins a step; its argument is the time in seconds on the caller's clock."""


class Step(StrEnum):
    """The next step of a study."""

    KEY_EPOCH = "key epoch"
    ROUND = "round"
    TOTALS = "totals"
    CLOSING = "closing"


def choose_next_step(state: StudyState) -> Step:
    """Return the step that follows when the present one is done."""
    if state.list_returned_sites():
        return Step.KEY_EPOCH
    if state.is_complete:
        return Step.CLOSING
    return Step.TOTALS if state.unopened else Step.ROUND


class Transitions:
    """The transitions of one study; the machine calls :meth:`connect` once."""

    def __init__(self, state: StudyState) -> None:
        self._state = state
        self._begin: Mapping[Step, Begin] = {}

    def connect(self, begin: Mapping[Step, Begin]) -> None:
        """Set the function that begins each step."""
        self._begin = begin

    def begin_next_step(self, now: float) -> list[Action]:
        """Begin the step that follows the finished one."""
        return self._begin[choose_next_step(self._state)](now)

    def begin_epoch(self, now: float) -> list[Action]:
        """Begin a new key epoch, because too few members are left for the present step."""
        return self._begin[Step.KEY_EPOCH](now)
