"""Keep the sealed updates of a running study until they are added: one a site, and none that nobody asked for.

::

    studies/STUDY/uploads/SITE/expected    how many bytes the site's update must have, once it is asked for
    studies/STUDY/uploads/SITE/MASK        what has come of it; MASK is ``own_mask`` of its header, another one for
                                           each sealing

The run of the study says what it expects, and takes it; the control plane writes what comes
(``server/control/transfers.py``). An update may come whole, or in part, and its header never: it stays one file of the
expected length, until the site sends another or the next attempt begins. Nothing here outlives a run: a site that is
asked again sends again.
"""

import contextlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from privacy.errors import FederationError
from privacy.files import map_file

_EXPECTED: Final = "expected"


@dataclass(frozen=True)
class Uploads:
    """The uploads of one study, in ``folder``. For two processes at a time."""

    folder: Path

    @classmethod
    def of_study(cls, study_folder: Path) -> "Uploads":
        """Return the uploads of the study in ``study_folder``."""
        return cls(study_folder / "uploads")

    def clear(self) -> None:
        """Expect nothing, and remove what has come.

        Raises:
            FederationError: the folder cannot be emptied.
        """
        aside = self.folder.with_name(f".{self.folder.name}")
        try:
            shutil.rmtree(aside, ignore_errors=True)  # of a process that was killed here
            self.folder.rename(aside)  # first: a site may be sending into it
        except FileNotFoundError:
            return
        except OSError as error:
            raise FederationError(f"{self.folder}: cannot be emptied: {error.strerror}") from None
        shutil.rmtree(aside, ignore_errors=True)

    def expect(self, site: str, length: int) -> None:
        """Expect an update of ``length`` bytes; what has come of one stays.

        Raises:
            FederationError: the folder cannot be written.
        """
        path = self.folder / site / _EXPECTED
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            written = path.with_name(f".{_EXPECTED}")
            written.write_bytes(b"%d" % length)
            os.replace(written, path)
        except OSError as error:
            raise FederationError(f"{path}: cannot be written: {error.strerror}") from None

    def expect_no_more(self, site: str) -> None:
        """Expect nothing of ``site`` until :meth:`expect`."""
        (self.folder / site / _EXPECTED).unlink(missing_ok=True)

    def read_expected(self, site: str) -> int | None:
        """Return how many bytes the update of ``site`` must have; None if none is expected."""
        try:
            return int((self.folder / site / _EXPECTED).read_bytes())
        except (OSError, ValueError):
            return None

    def find_path(self, site: str, mask: str) -> Path:
        """Return the path of the update of ``site`` whose header has this mask, 64 hexadecimal digits."""
        return self.folder / site / mask

    def keep_only(self, site: str, mask: str) -> None:
        """Remove what has come of other sealings of ``site``."""
        for path in (self.folder / site).iterdir():
            if path.name not in (_EXPECTED, f".{_EXPECTED}", mask):
                path.unlink(missing_ok=True)

    def map(self, site: str, mask: str) -> memoryview | None:
        """Return an update's bytes without reading them into memory; None if nothing has come."""
        with contextlib.suppress(OSError):
            return map_file(self.find_path(site, mask))
        return None

    def discard(self, site: str, mask: str) -> None:
        """Remove an update; where it is mapped it stays readable."""
        self.find_path(site, mask).unlink(missing_ok=True)
