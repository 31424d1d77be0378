"""Do one job of a queue on its node: read the folder, train in a confined process, write the result whole.

::

    python -m client.training.launchers.batch_job JOB DATA DRAW --confinement required --limit 86400

Rules:

* JOB and DATA are folders as ``client/training/launchers/job_folder.py`` lays them out, DRAW is a file. Nothing else
  of the site is here;
* a job that the queue begins a second time does nothing if its result is there, and else repeats the same draw;
* an expected failure is a result too, which says why; without a result the exit code is 1.
"""

import argparse
import contextlib
import logging
import sys
from dataclasses import replace
from pathlib import Path

from client.site.launcher import Confinement
from client.training.answer_format import pack_answer, pack_failure
from client.training.job_format import join_job, unpack
from client.training.launchers.job_folder import JOB, LOG, RESULT, JobDocument
from client.training.worker import Worker
from privacy.canonical import compute_sha256
from privacy.errors import Error, StorageError, TrainingError
from privacy.files import replace_file

_log = logging.getLogger(__name__)


def do_job(job: Path, data: Path, draw_file: Path, confinement: Confinement, limit_s: float) -> None:
    """Do the job of the folder ``job``, unless its result is there.

    Raises:
        TrainingError, StorageError: the folder cannot be used; there is no result.
    """
    if (job / RESULT).exists():
        return
    try:
        content, draw = (job / JOB).read_bytes(), draw_file.read_bytes()
    except OSError as error:
        raise StorageError(f"{error.filename}: cannot be read: {error.strerror}") from None
    document, arrays = unpack(content, JobDocument, str(job / JOB))
    if compute_sha256(draw) != document.draw_sha256:
        raise TrainingError(f"{draw_file}: is not the draw of this job")
    setup, request = document.setup, document.request
    files = setup.to_study_files()
    files = replace(
        files,
        train=data / files.train,
        test=data / files.test,
        weights=None if files.weights is None else data / files.weights,
    )
    with Worker(
        setup.terms, files, setup.device, job / LOG, setup.precision, confinement=confinement, limit_s=limit_s
    ) as worker:
        try:
            result = pack_answer(request, worker.run(join_job(request, arrays, draw)))
        except Error as error:
            result = pack_failure(request, error)
    replace_file(job / RESULT, b"".join(result), StorageError)


def main() -> int:
    """Run the program; return its exit code."""
    parser = argparse.ArgumentParser(description="Do one training job of a queue.")
    parser.add_argument("job", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("draw", type=Path)
    parser.add_argument("--confinement", type=Confinement, default=Confinement.REQUIRED)
    parser.add_argument("--limit", type=float, default=86400.0, help="seconds")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    with contextlib.suppress(KeyboardInterrupt):
        try:
            do_job(given.job, given.data, given.draw, given.confinement, given.limit)
        except Error as error:
            _log.error("%s", error)
        else:
            return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
