"""The interface through which the rest of a site runs training, in whatever process."""

from typing import Protocol

from client.training.jobs import Job, R


class TrainingInterface(Protocol):
    """A runner of jobs (:mod:`client.training.jobs`), one at a time."""

    def run(self, job: Job[R]) -> R:
        """Do the work and return its answer.

        Raises:
            TermsError: the model cannot be built.
            RefusedError: ``weights``: the study's public weights cannot be used; ``unavailable``: the queue in which
                this site trains cannot be used now.
            DataUnavailableError: the files cannot be read now.
            DataError: the files changed since they were registered.
            TrainingError: the device is not available, or training failed.
        """
        ...

    def close(self) -> None:
        """Release data and device."""
        ...
