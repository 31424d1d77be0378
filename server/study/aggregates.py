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
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from privacy.errors import FederationError

LEAST: Final = 3
MOST_BYTES: Final = 20 * 10**9
"""20 GB: 470 rounds of 12.5 million parameters."""


@dataclass(frozen=True)
class Aggregates:
    """The aggregates in the folder of one study. Only the process that runs the study removes any before its end.

    Args:
        study_folder: the study's folder.
        most_bytes: the room for those of the study.
    """

    study_folder: Path
    most_bytes: int = MOST_BYTES

    def find_path(self, number: int) -> Path:
        """Return the path of the aggregate of round ``number``."""
        return self._folder / f"{number:05d}.bin"

    def find_excess(self) -> int:
        """Return the last of the oldest rounds whose aggregates have no room; 0 if all have.

        Raises:
            FederationError: the folder cannot be read.
        """
        total = 0
        with _explain(self._folder):
            for place, (number, path) in enumerate(sorted(self._find_files().items(), reverse=True)):
                total += path.stat().st_size
                if place >= LEAST and total > self.most_bytes:
                    return number
        return 0

    def remove(self, upto: int) -> None:
        """Remove the aggregates of the rounds up to ``upto``, and what a process left that was killed in writing one.

        Raises:
            FederationError: they cannot be removed.
        """
        with _explain(self._folder):
            for path in self._folder.glob(".*"):
                path.unlink(missing_ok=True)
            for number, path in self._find_files().items():
                if number <= upto:
                    path.unlink(missing_ok=True)

    def remove_all(self) -> None:
        """Remove all of a study that is over.

        Raises:
            FederationError: they cannot be removed.
        """
        self.remove(max(self._find_files(), default=0))

    @property
    def _folder(self) -> Path:
        return self.study_folder / "aggregates"

    def _find_files(self) -> dict[int, Path]:
        """Find the aggregates that are there, by their round."""
        return {int(path.stem): path for path in self._folder.glob("[0-9]*.bin")}


@contextlib.contextmanager
def _explain(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FederationError(f"{folder}: aggregates cannot be removed: {error.strerror}") from None
