"""Define what every reader of images gives: numbers, where they lie, and how bright they are meant to be seen.

Nothing else of a file passes: no name, no date, no identifier, no text. What is wrong with a file is an
:class:`~privacy.errors.DataError` whose message is a clause without any value of the file: "has no image".
"""

import hashlib
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from privacy.errors import DataError

MAX_FILE_BYTES: Final = 1 << 30
MAX_VALUES: Final = 1 << 28  # numbers of one image or volume


@dataclass(frozen=True, eq=False)
class DisplayWindow:
    """How a DICOM file wants to be seen: PS3.3, C.11.2.1.2.

    Attributes:
        centre: of the window, in real units; ``width`` likewise.
        shape: ``LINEAR``, ``LINEAR_EXACT`` or ``SIGMOID``.
    """

    centre: float
    width: float
    shape: str

    def brighten(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the brightness of real ``values``, in [0, 1]."""
        if self.shape == "SIGMOID":
            with np.errstate(over="ignore"):  # far below the window: exp is infinite, the brightness 0
                return np.asarray(1 / (1 + np.exp(-4 * (values - self.centre) / self.width)))
        if self.shape == "LINEAR_EXACT":
            return np.clip((values - self.centre) / self.width + 0.5, 0.0, 1.0)
        if self.width <= 1:  # LINEAR of width 1: a threshold
            return np.where(values > self.centre - 0.5, 1.0, 0.0)
        return np.clip((values - (self.centre - 0.5)) / (self.width - 1) + 0.5, 0.0, 1.0)


@dataclass(frozen=True, eq=False)
class DisplayTable:
    """A table of brightness: real values from ``first`` on; PS3.3, C.11.2.1.1."""

    first: int
    table: NDArray[np.float64] = field(repr=False)  # (entries,), in [0, 1]

    def brighten(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the brightness of real ``values``, in [0, 1]."""
        places = np.clip(np.rint(values).astype(np.int64) - self.first, 0, len(self.table) - 1)
        return np.asarray(self.table[places])


@dataclass(frozen=True, eq=False)
class Image:
    """An image or a volume.

    Attributes:
        values: (channels, height, width) or (channels, *three axes); one channel, or red, green and blue. Real units,
            if the file says what a stored number means.
        ends: the real value of the darkest and of the brightest number that the file's bits can hold; None where a
            number has no such ends.
        is_inverted: whether high values are dark.
        display: how the file wants to be seen, if it says so.
        affine: (4, 4) from the indices of the three axes to millimetres towards right, front and head; None of an image
            that does not say where it lies.
        says_text: whether the file says that text is burnt into its pixels.
    """

    values: NDArray[Any] = field(repr=False)
    ends: tuple[float, float] | None = None
    is_inverted: bool = False
    display: DisplayWindow | DisplayTable | None = None
    affine: NDArray[np.float64] | None = field(default=None, repr=False)
    says_text: bool = False

    @property
    def space(self) -> tuple[int, ...]:
        """The lengths of the axes without the channels."""
        return self.values.shape[1:]


def read_bytes(path: Path) -> bytes:
    """Read a whole regular file of at most ``MAX_FILE_BYTES``.

    Raises:
        DataError: it is none, is too large, or cannot be read.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise DataError("is no file")
        if status.st_size > MAX_FILE_BYTES:
            raise DataError(f"has more than {MAX_FILE_BYTES >> 20} MiB")
        if not status.st_size:
            raise DataError("is empty")
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError("is not there") from None
    except OSError as cause:
        raise DataError(f"cannot be read: {cause.strerror}") from None


def compute_sha256(data: bytes) -> bytes:
    """Return the SHA-256 of a file, 32 bytes."""
    return hashlib.sha256(data).digest()


def require_size(lengths: Sequence[int]) -> None:
    """Refuse an image of no pixels, or of too many, before it is decoded.

    Raises:
        DataError: it has.
    """
    count = 1
    for length in lengths:
        count *= int(length)
    if count < 1 or any(length < 1 for length in lengths):
        raise DataError("has no pixels")
    if count > MAX_VALUES:
        raise DataError(f"has more than {MAX_VALUES} values")
