"""Keep the encrypted sums of a study's rounds as long as a site may ask for them, in no more room than they have.

Rules:

* while a study runs, a site may ask for any round: it opens what it has missed, and one that was put back to a backup
  has missed what it had opened since;
* the aggregates of one study have ``aggregates_gb`` of ``coordinator.yaml`` together. When they are more, the oldest
  are removed; those of the last :data:`LEAST` rounds stay in any case. What is removed is durable in the journal first;
* a site that lacks a removed aggregate cannot catch up, and is out (``server/study/machine.py``);
* once a study is finished or given up, nobody may ask for any, and all are removed.
"""

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from privacy.errors import FederationError

LEAST: Final = 3
MOST_BYTES: Final = 20 * 10**9
"""20 GB: 470 rounds of 12.5 million parameters."""


class Aggregates:
    """The aggregates in the folder of one study. Only the process that runs the study removes any before its end.

    It looks through the folder once and counts what it adds: a round costs the same however many are kept.
    """

    def __init__(self, study_folder: Path, most_bytes: int = MOST_BYTES) -> None:
        """Open those of a study.

        Args:
            study_folder: the study's folder.
            most_bytes: the room for those of the study.
        """
        self._folder = study_folder / "aggregates"
        self._most_bytes = most_bytes
        self._sizes: dict[int, int] | None = None
        """Bytes of each aggregate by its round, the oldest first; None until they are needed."""
        self._total = 0

    def find_path(self, number: int) -> Path:
        """Return the path of the aggregate of round ``number``."""
        return self._folder / f"{number:05d}.bin"

    def add(self, number: int) -> None:
        """Count the aggregate of round ``number``, the newest, which has just been written.

        Raises:
            FederationError: the folder cannot be read.
        """
        with _explain(self._folder):
            sizes = self._read_sizes()
            self._total -= sizes.pop(number, 0)  # of an attempt whose commit a crash cut off
            sizes[number] = self.find_path(number).stat().st_size
            self._total += sizes[number]

    def find_excess(self) -> int:
        """Return the last of the oldest rounds whose aggregates have no room; 0 if all have.

        Raises:
            FederationError: the folder cannot be read.
        """
        with _explain(self._folder):
            sizes = self._read_sizes()
        excess, left = 0, self._total
        for number, size in itertools.islice(sizes.items(), max(0, len(sizes) - LEAST)):
            if left <= self._most_bytes:
                break
            excess, left = number, left - size
        return excess

    def remove(self, upto: int) -> None:
        """Remove the aggregates of the rounds up to ``upto``.

        Raises:
            FederationError: they cannot be removed.
        """
        with _explain(self._folder):
            sizes = self._read_sizes()
            for number in list(itertools.takewhile(lambda number: number <= upto, sizes)):
                self.find_path(number).unlink(missing_ok=True)
                self._total -= sizes.pop(number)

    def clean_up(self, upto: int) -> None:
        """Remove the aggregates up to ``upto``, and what a process left that was killed in writing one.

        Raises:
            FederationError: they cannot be removed.
        """
        with _explain(self._folder):
            for path in self._folder.glob(".*"):
                path.unlink(missing_ok=True)
        self.remove(upto)

    def remove_all(self) -> None:
        """Remove all of a study that is over.

        Raises:
            FederationError: they cannot be removed.
        """
        with _explain(self._folder):
            last = max(self._read_sizes(), default=0)
        self.clean_up(last)

    def _read_sizes(self) -> dict[int, int]:
        if self._sizes is None:
            found = {int(path.stem): path.stat().st_size for path in self._folder.glob("[0-9]*.bin")}
            self._sizes, self._total = dict(sorted(found.items())), sum(found.values())
        return self._sizes


@contextlib.contextmanager
def _explain(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FederationError(f"{folder}: aggregates cannot be removed: {error.strerror}") from None
