"""Flower's Control API: runs that are started, looked at and stopped."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import httpx
from flwr.supercore.error import ApiErrorCode, FlowerError

from privacy.errors import SuperLinkError

RUNS_LOOKED_AT: Final = 100
RUN_FAILURE: Final = "ServerApp failed with exception: "


class RunState(StrEnum):
    """Where a Flower run is."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    STOPPED = "stopped"

    @property
    def finished(self) -> bool:
        """Nothing more will happen."""
        return self in (RunState.COMPLETED, RunState.FAILED, RunState.STOPPED)


@dataclass(frozen=True)
class RunStatus:
    """A run's state; ``reason`` says why it failed, else it is empty."""

    state: RunState
    reason: str = ""


class AlreadyFinishedError(SuperLinkError):
    """The run to be stopped had ended by itself."""


def translate_refusal(error: httpx.HTTPStatusError) -> SuperLinkError:
    """Turn a refusal of Flower's into an error that says what to do."""
    answer = FlowerError.from_json(error.response.text)
    if answer is None:
        return SuperLinkError(f"the SuperLink refuses with HTTP status {error.response.status_code}")
    kind = AlreadyFinishedError if answer.code == ApiErrorCode.RUN_ALREADY_FINISHED else SuperLinkError
    return kind(f"the SuperLink refuses: {answer.message}")
