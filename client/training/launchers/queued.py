"""Train in a queue of jobs: one job a round, found again after a restart, never two at a time.

======================  =======================================================================================
state                   what the site does
======================  =======================================================================================
no job of this name     writes the job's folder, submits it
waiting, running        looks again; a job that the queue puts back (requeued) is waiting once more
ended, a result         checks it, removes the folder
ended, no result        waits a little for a slow file system, then reports a failure
unknown to the queue    the same: it was lost, with its node or with the queue's memory
too long, being stopped cancels it
the queue is silent     keeps looking, as long as the site would wait for a job
======================  =======================================================================================

Rules:

* a job is named by all that its answer depends on, the draw too (``client/training/launchers/job_folder.py``). A site
  that was killed and asked again finds its job or its result by this name. A job that was put back, lost, or failed
  is repeated from the same draw, so a round is paid once;
* a site does one job at a time. Another job of this study that has a folder was left behind: it is cancelled;
* a job that reads no record (the first model, exports) does not wait in a queue: a confined process of this machine
  does it;
* what the queue says is for the log. Only a result that holds counts.
"""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Self, cast

from client.data.dataset import StudyFiles
from client.training.answer_format import compute_most_bytes, read_answer
from client.training.job_format import make_setup, reads_records, rekey_objections, split_job
from client.training.jobs import Job, R
from client.training.launchers.job_folder import JobFolder, SharedFolder, make_document
from client.training.launchers.queue import Phase, Queue, QueueError
from client.training.worker import Worker
from privacy.errors import RefusedError, TrainingError
from privacy.refusal_codes import RefusalCode
from privacy.study import Terms

_log = logging.getLogger(__name__)
_GRACE: Final = 6  # looks at a job that has ended without a result
_UNAVAILABLE: Final = "it can be asked again, and is not paid for a second time"


class QueuedTraining:
    """Training in a queue; a :class:`~client.training.interface.TrainingInterface`.

    Args:
        terms: the study.
        files: the site's registered data.
        device, precision: as :class:`~client.training.worker.Worker` has them.
        log_file: a job's log is appended here.
        folder: the shared folder of this site and study.
        queue: where jobs go.
        local: does what reads no record.
        poll_s: seconds between two looks.
        limit_s: how long a job may take, queue included.
        stop: set when the site is being stopped.
    """

    def __init__(
        self,
        terms: Terms,
        files: StudyFiles,
        device: str,
        precision: str,
        log_file: Path,
        *,
        folder: SharedFolder,
        queue: Queue,
        local: Worker,
        poll_s: float,
        limit_s: float,
        stop: threading.Event,
    ) -> None:
        self._terms, self._files, self._device, self._precision = terms, files, device, precision
        self._log_file, self._folder, self._queue, self._local = log_file, folder, queue, local
        self._poll_s, self._limit_s, self._stop = poll_s, limit_s, stop
        self._data: StudyFiles | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def run(self, job: Job[R]) -> R:
        """Do the work of ``job``; see :class:`~client.training.interface.TrainingInterface`.

        Raises:
            RefusedError: ``unavailable``: the queue is not there, or the site is being stopped.
            TrainingError: the job failed, was lost or took too long, or its result does not hold; asked again, it is
                repeated from the same draw.
        """
        if not reads_records(job):
            return self._local.run(job)
        request, arrays, draw = split_job(job)
        setup = make_setup(self._terms, self._prepare_data(), self._device, self._precision)
        document, body = make_document(setup, request, arrays, draw)
        folder = self._folder.find_job(document.name)
        most = compute_most_bytes(request, arrays, self._terms)
        try:
            self._cancel_others(folder.name)
            if not folder.exists:
                self._queue.cancel(folder.name)  # it would read a folder that is gone
                folder.create(document, body, draw)
            data = self._wait(folder, most)
            answer = read_answer(data, request, arrays, self._terms, with_records=True)
        except QueueError as error:
            _log.warning("%s: %s", folder.name, error)
            raise RefusedError(
                RefusalCode.UNAVAILABLE, f"the queue in which this site trains cannot be used now; {_UNAVAILABLE}"
            ) from None
        except BaseException:
            self._remove(folder, self._queue.cancel)
            raise
        folder.keep_log(self._log_file)
        self._remove(folder, self._queue.forget)
        return cast("R", answer)

    def close(self) -> None:
        """Cancel what is left, and remove everything of the study from the shared folder."""
        self._local.close()
        for folder in self._folder.list_jobs():
            self._remove(folder, self._queue.cancel)
        self._folder.remove()
        self._data = None

    def _prepare_data(self) -> StudyFiles:
        if self._data is None:
            self._folder.create()
            self._data = self._folder.copy_data(rekey_objections(self._files))
        return self._data

    def _cancel_others(self, name: str) -> None:
        for other in self._folder.list_jobs():
            if other.name != name:
                self._queue.cancel(other.name)
                other.remove()

    def _remove(self, folder: JobFolder, tell: Callable[[str], None]) -> None:
        """Tell the queue to cancel or to forget the job, and remove its folder, whatever the queue says."""
        try:
            tell(folder.name)
        except QueueError as error:
            _log.warning("%s: the queue still has it: %s", folder.name, error)
        folder.remove()

    def _wait(self, folder: JobFolder, most_bytes: int) -> bytes:
        """Submit the job unless it is there, and wait for the bytes of its result."""
        if (data := folder.read_result(most_bytes)) is not None:
            return data
        found = self._queue.find(folder.name)
        if found is None or found.phase is Phase.ENDED:
            self._queue.submit(self._folder, folder)
        else:
            _log.info("%s: found again, %s", folder.name, found.word)
        end, ended, word = time.monotonic() + self._limit_s, 0, ""
        while ended < _GRACE:
            if self._stop.wait(self._poll_s):
                raise RefusedError(RefusalCode.UNAVAILABLE, f"this site is being stopped; {_UNAVAILABLE}")
            if (data := folder.read_result(most_bytes)) is not None:
                return data
            if time.monotonic() > end:
                raise TrainingError(
                    f"the job {folder.name} has no result after {self._limit_s:g} s, and was cancelled"
                )
            silent = False
            try:
                found = self._queue.find(folder.name)
                now = "unknown to the queue" if found is None else found.word
            except QueueError as error:
                silent, now = True, str(error)
            if now != word:
                _log.info("%s: %s", folder.name, now)
            word = now
            if not silent:
                ended = ended + 1 if found is None or found.phase is Phase.ENDED else 0
        folder.keep_log(self._log_file)
        raise TrainingError(
            f"the job {folder.name} ended without a result ({word}); {self._log_file} has its last lines"
        )
