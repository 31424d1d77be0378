"""Do the jobs of a study of statistics in this process: it reads records and counts, without a model and without torch.

The child process runs it, and so does an in-memory federation.
"""

from typing import cast

import numpy as np

from client.data.dataset import StudyFiles, read_study
from client.training.jobs import FirstModel, Job, R, ScoreModel
from client.training.statistics import count_statistics
from privacy.errors import TrainingError
from privacy.mechanisms.shared_totals import LARGEST_TOTAL, add_noise_to_totals, compute_share_variances
from privacy.randomness import KeyStream, from_os
from privacy.study import Terms
from privacy.study.statistics_study import PARAMETERS
from privacy.study.tasks.task import compute_squared_scales


class StatisticsSession:
    """Counting in this process (:class:`~client.training.interface.TrainingInterface`).

    Records are read when they are counted, and not kept: there is one exchange.
    """

    def __init__(self, terms: Terms, files: StudyFiles) -> None:
        self._terms, self._files = terms, files

    def run(self, job: Job[R]) -> R:
        """Do the work of ``job``.

        Raises:
            DataUnavailableError: the files cannot be read now.
            DataError: the files changed since they were registered.
            TrainingError: the job is none of a study that trains nothing.
        """
        answer: object
        match job:
            case FirstModel():
                answer = np.zeros(PARAMETERS)
            case ScoreModel():
                answer = self._count(job)
            case _:
                raise TrainingError(f"{type(job).__name__} is no job of a study that trains nothing")
        return cast("R", answer)

    def close(self) -> None:
        """Do nothing: there is nothing to end."""

    def _count(self, job: ScoreModel) -> tuple[int, ...]:
        """Count, and add this site's share of the noise.

        Values beyond a sealed total's 32 bits are cut, so that counting never fails. A site whose shares would be cut,
        but with negligible probability, has not admitted the study (``client/admission/rules.py``).
        """
        training, testing = read_study(self._files)
        counts = count_statistics((training.patients, testing.patients), self._terms)
        if job.noise_multiplier is not None:
            scales = compute_squared_scales(self._terms.cell_groups)
            variances = compute_share_variances(scales, job.noise_multiplier, job.honest or 1)
            stream = from_os() if job.key is None else KeyStream(job.key)
            counts = add_noise_to_totals(counts, variances, stream)
        return tuple(max(-LARGEST_TOTAL - 1, min(LARGEST_TOTAL, each)) for each in counts)
