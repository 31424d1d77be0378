"""Watch a folder: predict every new file once, and leave the result beside it.

::

    FOLDER/2026-03-02.csv           a file that somebody put there
    FOLDER/2026-03-02.csv.scores.csv    what the model says of it, mode 0600
    FOLDER/.consilium-watch.json    which files are done, and by which release
    FOLDER/.consilium-watch.log     a sentence for every file that cannot be used

Rules:

* a file is complete when two looks, ``LOOK_EVERY_S`` apart, find the same size and time of change. Names that begin
  with a dot, or end otherwise than the release's kind of data, are nobody's business here. Who writes slowly writes
  under another name and renames;
* a file is known by its name, size and time of change. What is known is not predicted again, after a restart neither; a
  file that was replaced is a new one;
* that a file is begun is on disk before its result is. After a crash a file that was begun is predicted again, and its
  result replaced whole;
* a result of another hand is never replaced: that file is left, with a sentence;
* a file that cannot be used is left where it is, with a sentence in the log; it is tried again when it has changed;
* one program watches a folder, with one release and one calibration, which the folder remembers;
* the program ends between two files.
"""

import os
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

from pydantic import Field

from privacy.document import Document, read_document
from privacy.errors import Error, ReleaseError
from privacy.files import replace_file, take_lock
from privacy.study import Sha256

LOOK_EVERY_S: Final = 2.0
STATE_FILE: Final = ".consilium-watch.json"
LOG_FILE: Final = ".consilium-watch.log"
LOCK_FILE: Final = ".consilium-watch.lock"
RESULT: Final = ".scores"
SUFFIXES: Final = (".csv", ".npz")


class Seen(Document):
    """A file as it was when it was taken, and what became of it; ``changed_ns`` is text, beyond what JSON can count."""

    size: int
    changed_ns: str
    outcome: Literal["begun", "predicted", "refused"]


class WatchState(Document):
    """The contents of ``.consilium-watch.json``: the release, the calibration if there is one, and files by name."""

    watch: Literal[1] = 1
    model_sha256: Sha256
    calibration_sha256: Sha256 | None
    files: dict[str, Seen] = Field(default_factory=dict)


class Watcher:
    """One program that watches one folder.

    Attributes:
        done: how many files have been predicted.
        refused: how many could not be used.
    """

    def __init__(
        self,
        folder: Path,
        suffix: str,
        model_sha256: str,
        calibration_sha256: str | None,
        predict: Callable[[Path], tuple[str, bytes]],
    ) -> None:
        """Take the folder.

        Args:
            folder: to be watched.
            suffix: of the files that the release takes, ``.csv`` or ``.npz``.
            model_sha256: of the released model.
            calibration_sha256: of the calibration that is applied.
            predict: makes of a file the suffix of its result, and its bytes; raises Error for a file that is no use.

        Raises:
            ReleaseError: there is no such folder, another program watches it, or it is of another release.
        """
        if not folder.is_dir():
            raise ReleaseError(f"{folder}: there is no such folder; make it, and put files there")
        self.done = self.refused = 0
        self._folder, self._suffix, self._predict = folder, suffix, predict
        self._lock = _take_folder(folder)
        self._waiting: dict[str, tuple[int, str]] = {}
        new = WatchState(model_sha256=model_sha256, calibration_sha256=calibration_sha256)
        self._state = self._read_state(new)

    def close(self) -> None:
        """Let another program watch the folder."""
        os.close(self._lock)

    def run(self, stop: threading.Event, say: Callable[[str], None]) -> None:
        """Look at the folder again and again until ``stop`` is set; ``say`` gets a sentence for each file.

        Raises:
            ReleaseError: the folder cannot be read or written any more.
        """
        while not stop.is_set():
            for path in self.find_complete():
                if stop.is_set():
                    return
                say(self.take(path))
            stop.wait(LOOK_EVERY_S)

    def find_complete(self) -> list[Path]:
        """Find the files that are new and did not change since the last look; by name.

        Raises:
            ReleaseError: the folder cannot be read.
        """
        found, complete = {}, []
        for path, mark in self._list_files():
            known = self._state.files.get(path.name)
            if known and (known.size, known.changed_ns) == mark and known.outcome != "begun":
                continue
            if self._waiting.get(path.name) == mark:
                complete.append(path)
            found[path.name] = mark
        self._waiting = found
        return complete

    def take(self, path: Path) -> str:
        """Predict a file and write its result; return a sentence on what became of it.

        Raises:
            ReleaseError: the folder cannot be written.
        """
        size, changed_ns = self._waiting.pop(path.name)
        try:
            self._require_own_result(path)
            self._remember(path, Seen(size=size, changed_ns=changed_ns, outcome="begun"))
            suffix, data = self._predict(path)
        except Error as error:
            # one line, without control characters: what a file's name or header holds must not look like a sentence
            # of this program, nor steer a terminal
            words = " ".join(f"{path.name} cannot be used: {error}".split())
            sentence = "".join(each if each.isprintable() else "?" for each in words)
            self._remember(path, Seen(size=size, changed_ns=changed_ns, outcome="refused"))
            self._write_log(sentence)
            self.refused += 1
            return sentence
        result = path.with_name(f"{path.name}{RESULT}{suffix}")
        replace_file(result, data, ReleaseError)
        self._remember(path, Seen(size=size, changed_ns=changed_ns, outcome="predicted"))
        self.done += 1
        return f"{path.name} is predicted: {result.name}"

    def _require_own_result(self, path: Path) -> None:
        """Refuse a file beside which there is a result that this program has not written."""
        known = self._state.files.get(path.name)
        if known is not None and known.outcome != "refused":
            return
        for suffix in SUFFIXES:
            result = path.with_name(f"{path.name}{RESULT}{suffix}")
            if result.exists():
                raise ReleaseError(f"{result} exists already and is not of this program; move it away")

    def _list_files(self) -> Iterator[tuple[Path, tuple[int, str]]]:
        """Yield the files that could be data, and the size and time of change of each."""
        try:
            names = sorted(os.listdir(self._folder))
        except OSError as cause:
            raise ReleaseError(f"{self._folder}: cannot be read: {cause.strerror}") from None
        for name in names:
            path = self._folder / name
            if name.startswith(".") or path.suffix != self._suffix or f"{RESULT}." in name or not path.is_file():
                continue
            try:
                facts = path.stat()
            except OSError:  # taken away since it was listed
                continue
            yield path, (facts.st_size, str(facts.st_mtime_ns))

    def _read_state(self, new: WatchState) -> WatchState:
        path = self._folder / STATE_FILE
        if not path.exists():
            return new
        kept = read_document(
            path, WatchState, ReleaseError, "remove it, and every file of the folder is predicted again"
        )
        if (kept.model_sha256, kept.calibration_sha256) != (new.model_sha256, new.calibration_sha256):
            raise ReleaseError(
                f"{self._folder}: was watched with another model or calibration; watch another folder, or remove "
                f"{STATE_FILE} to have every file of it predicted again"
            )
        return kept

    def _remember(self, path: Path, seen: Seen) -> None:
        self._state = self._state.model_copy(update={"files": {**self._state.files, path.name: seen}})
        replace_file(self._folder / STATE_FILE, self._state.to_bytes(), ReleaseError)

    def _write_log(self, sentence: str) -> None:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        try:
            # others may write into the folder: a link there must not lead to a file of this user
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
            descriptor = os.open(self._folder / LOG_FILE, flags, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as log:
                log.write(f"{now} {sentence}\n")
        except OSError as cause:
            raise ReleaseError(f"{self._folder / LOG_FILE}: cannot be written: {cause.strerror}") from None


def _take_folder(folder: Path) -> int:
    try:
        lock = take_lock(folder / LOCK_FILE)
    except OSError as cause:
        raise ReleaseError(f"{folder}: cannot be written: {cause.strerror}") from None
    if lock is None:
        raise ReleaseError(f"{folder}: another program watches this folder; stop it first, or watch another folder")
    return lock
