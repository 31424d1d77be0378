"""What a launcher needs of a queue of jobs, whatever program it is."""

from enum import Enum, auto
from typing import NamedTuple, Protocol

from client.training.launchers.job_folder import JobFolder, SharedFolder


class Phase(Enum):
    """How far a job is."""

    WAITING = auto()
    """In the queue, for the first time or again."""
    RUNNING = auto()
    ENDED = auto()
    """It will not run any more, whether or not it has a result."""


class QueuedJob(NamedTuple):
    """A job as the queue knows it: its phase, and the queue's own word for its state."""

    phase: Phase
    word: str


class QueueError(Exception):
    """The queue cannot be reached, or refuses what was asked; the sentence is for the site's log."""


class Queue(Protocol):
    """A queue; each method raises :class:`QueueError`."""

    def submit(self, folder: SharedFolder, job: JobFolder) -> None:
        """Submit the job; what is left of an ended one of its name is removed first."""
        ...

    def find(self, name: str) -> QueuedJob | None:
        """Find the newest job of this name; None if the queue knows none."""
        ...

    def cancel(self, name: str) -> None:
        """End the job, if there is one, and remove what the queue keeps of it."""
        ...

    def forget(self, name: str) -> None:
        """Remove what the queue keeps of a job whose result is there, and which ends by itself."""
        ...
