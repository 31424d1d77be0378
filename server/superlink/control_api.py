"""Flower's Control API: the state of runs, and its errors."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import httpx
from flwr.supercore.error import ApiErrorCode, FlowerError

from privacy.errors import SuperLinkError

RUNS_LOOKED_AT: Final = 100
RUN_FAILURE: Final = "ServerApp failed with exception: "


class RunState(StrEnum):
    """The state of a Flower run."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    STOPPED = "stopped"

    @property
    def finished(self) -> bool:
        """Whether the run has ended."""
        return self in (RunState.COMPLETED, RunState.FAILED, RunState.STOPPED)


@dataclass(frozen=True)
class RunStatus:
    """The state of a run; ``reason`` says why it failed, and is empty otherwise."""

    state: RunState
    reason: str = ""


class AlreadyFinishedError(SuperLinkError):
    """The run to be stopped has ended already."""


def translate_refusal(error: httpx.HTTPStatusError) -> SuperLinkError:
    """Translate a refusal of the SuperLink into one of our errors."""
    answer = FlowerError.from_json(error.response.text)
    if answer is None:
        return SuperLinkError(f"the SuperLink refuses with HTTP status {error.response.status_code}")
    kind = AlreadyFinishedError if answer.code == ApiErrorCode.RUN_ALREADY_FINISHED else SuperLinkError
    return kind(f"the SuperLink refuses: {answer.message}")
