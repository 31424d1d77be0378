"""Keep one job of a queue in a folder that the site and its nodes share, and take its result out of it.

::

    FOLDER/SITE/STUDY/                0700; STUDY: this launch, so that another one of the same terms is apart
        data/train-*, data/test-*     copies of the registered files, read-only, and weights.safetensors, if any
        jobs/NAME/
            job                       a JobDocument and the job's arrays (client/training/job_format.py)
            draw                      32 secret bytes, 0600; of this one round
            log                       what the job prints
            result                    its answer (client/training/answer_format.py), written whole or not at all

Rules:

* this is all that a job gets: no key, no ledger, no register of patients, no address;
* NAME is made of the round and of the digest of all that the answer depends on, the draw too. So a site that was
  restarted finds the job that it had begun, and the result of another round, study or draw has another name;
* a result is opened as a plain file of this folder, never through a link, and is not longer than an answer can be;
* when a result is taken, or the job is given up, the folder is removed, the draw first.
"""

import contextlib
import errno
import hashlib
import os
import shutil
import stat
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Final, Literal

from client.data.dataset import StudyFiles
from client.training.array_format import Arrays
from client.training.job_format import Request, Setup, pack
from privacy.canonical import compute_sha256
from privacy.document import Document
from privacy.errors import DataError, DataUnavailableError, StorageError, TrainingError
from privacy.files import replace_file, require_private, sync_folder
from privacy.study import Sha256

JOB, DRAW, RESULT, LOG = "job", "draw", "result", "log"
_DIGITS: Final = 24
_BLOCK: Final = 1 << 20
_LOG_BYTES: Final = 64 << 10  # of a job's log that the site keeps
_NOT_TEXT: Final = bytes(sorted({*range(32), *range(127, 160)} - {9, 10}))


class JobDocument(Document):
    """A job of a queue: everything that its answer depends on, and nothing else.

    Attributes:
        setup: its paths are names of files in ``data/``.
        arrays_sha256: of the arrays beside this document.
        draw_sha256: of the draw; of nothing where the job has none.
    """

    format: Literal[1] = 1
    setup: Setup
    request: Request
    arrays_sha256: Sha256
    draw_sha256: Sha256

    @property
    def name(self) -> str:
        """The job's name: in the queue, and of its folder."""
        number = "" if self.request.number is None else str(self.request.number)
        return f"consilium-{self.request.job}{number}-{self.digest[:_DIGITS]}"


class JobFolder:
    """The folder of one job. It may not exist."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def name(self) -> str:
        """The job's name."""
        return self.path.name

    @property
    def exists(self) -> bool:
        """Whether the job has its folder."""
        return self.path.is_dir()

    def create(self, document: JobDocument, body: bytes, draw: bytes) -> None:
        """Create the folder with all that the job reads; it appears whole.

        Raises:
            StorageError: it cannot be written.
        """
        new = self.path.with_name(f".{self.path.name}.new")
        shutil.rmtree(new, ignore_errors=True)
        try:
            new.mkdir(mode=0o700, parents=True)
            head = pack(document, {})[0]
            replace_file(new / JOB, head + body, StorageError)
            replace_file(new / DRAW, draw, StorageError)
            os.rename(new, self.path)
            sync_folder(self.path.parent)
        except OSError as error:
            raise StorageError(f"{self.path}: the job's folder cannot be written: {error.strerror}") from None

    def read_result(self, most_bytes: int) -> bytes | None:
        """Return the bytes of the result; None while there is none.

        Raises:
            TrainingError: what lies there is no plain file, or longer than ``most_bytes``.
        """
        try:
            with _open_plain_file(self.path, RESULT) as file:
                size = os.fstat(file.fileno()).st_size
                data = file.read(most_bytes + 1) if size <= most_bytes else b""
        except FileNotFoundError:
            return None
        except OSError as error:
            raise TrainingError(f"{self.path / RESULT}: is not a plain file: {error.strerror}") from None
        longest = max(size, len(data))
        if longest > most_bytes:
            raise TrainingError(
                f"{self.path / RESULT}: has {longest} bytes, expected at most {most_bytes}; it is not used"
            )
        return data

    def keep_log(self, log_file: Path) -> None:
        """Append the end of the job's log to the site's; control characters are left out."""
        with contextlib.suppress(OSError):
            with _open_plain_file(self.path, LOG) as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - _LOG_BYTES))
                lines = file.read(_LOG_BYTES).translate(None, _NOT_TEXT)
            log_file.parent.mkdir(parents=True, exist_ok=True)
            with os.fdopen(os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as log:
                log.write(f"{self.name}:\n".encode() + lines)

    def remove(self) -> None:
        """Remove the folder, the draw first."""
        (self.path / DRAW).unlink(missing_ok=True)
        shutil.rmtree(self.path, ignore_errors=True)


class SharedFolder:
    """The shared folder of one site and one study.

    Args:
        root: the folder of ``site.yaml``.
        site: the site's name.
        study: its launch.
    """

    def __init__(self, root: Path, site: str, study: str) -> None:
        self._root = root
        self.path = root / site / study
        self.data = self.path / "data"
        self._jobs = self.path / "jobs"

    def create(self) -> None:
        """Create the folder.

        Raises:
            StorageError: it cannot be made, or others may change what is in it.
        """
        try:
            for folder in (self.path.parent, self.path, self.data, self._jobs):
                folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise StorageError(f"{self._root}: the shared folder cannot be used: {error.strerror}") from None
        for folder in (self._root, self.path.parent):
            require_private(folder, StorageError)

    def find_job(self, name: str) -> JobFolder:
        """Return the folder of the job ``name``, whether it exists or not."""
        return JobFolder(self._jobs / name)

    def list_jobs(self) -> list[JobFolder]:
        """List the jobs that have a folder here."""
        return [JobFolder(path) for path in sorted(self._jobs.glob("consilium-*"))]

    def copy_data(self, files: StudyFiles) -> StudyFiles:
        """Copy the registered files here, once, and return them under the names that a job knows them by.

        Raises:
            DataUnavailableError: a file cannot be read now.
            DataError: a file changed since it was registered.
            StorageError: a copy cannot be written.
        """
        train, test = (
            f"{part}-{digest[:_DIGITS]}{path.suffix}"  # by the digest: files that are registered anew are others
            for part, digest, path in (
                ("train", files.train_sha256, files.train),
                ("test", files.test_sha256, files.test),
            )
        )
        self._copy(files.train, train, files.train_sha256)
        self._copy(files.test, test, files.test_sha256)
        if files.weights is not None:
            self._copy(files.weights, "weights.safetensors", None)
        weights = None if files.weights is None else Path("weights.safetensors")
        return replace(files, train=Path(train), test=Path(test), weights=weights)

    def remove(self) -> None:
        """Remove everything of the study from the shared folder."""
        for job in self.list_jobs():
            job.remove()
        shutil.rmtree(self.path, ignore_errors=True)

    def _copy(self, source: Path, name: str, registered: str | None) -> None:
        target = self.data / name
        if target.exists():  # a job compares the digest itself, each time
            return
        try:
            opened = source.open("rb")
        except OSError as error:
            raise DataUnavailableError(f"{source}: cannot be read: {error.strerror}") from None
        temporary = self.data / f".{name}.new"
        try:
            with opened, temporary.open("wb") as copy:
                os.fchmod(copy.fileno(), 0o400)
                digest = _copy_blocks(opened, copy)
            if registered is not None and digest != registered:
                temporary.unlink()
                raise DataError(f"{source}: the file changed since it was registered; register the new data first")
            os.rename(temporary, target)
        except OSError as error:
            raise StorageError(f"{target}: cannot be written: {error.strerror}") from None


def make_document(setup: Setup, request: Request, arrays: Arrays, draw: bytes) -> tuple[JobDocument, bytes]:
    """Make the document of a job, and the bytes of its arrays."""
    body = b"".join(pack(request, arrays)[1:])
    document = JobDocument(
        setup=setup, request=request, arrays_sha256=compute_sha256(body), draw_sha256=compute_sha256(draw)
    )
    return document, body


def _open_plain_file(folder: Path, name: str) -> BinaryIO:
    """Open a file of a folder to read it, if neither of them is a link and the file is a plain one.

    Raises:
        FileNotFoundError: it is not there, or the folder is not.
        OSError: it is something else.
    """
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=opened)
    finally:
        os.close(opened)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "something else than a file")
    return os.fdopen(descriptor, "rb")


def _copy_blocks(source: BinaryIO, target: BinaryIO) -> str:
    """Copy, durably, and return the SHA-256 of what was copied."""
    digest = hashlib.sha256()
    while block := source.read(_BLOCK):
        digest.update(block)
        target.write(block)
    target.flush()
    os.fsync(target.fileno())
    return digest.hexdigest()
