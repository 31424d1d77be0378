"""Read the columns of a matrix that was written to a scratch file row by row, in bounded memory."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

_BLOCK: Final = 1 << 20  # values of a block


def read_across(scratch: Path, rows: int, columns: int) -> Iterator[NDArray[np.float64]]:
    """Yield the columns of a file of float64 (rows, columns) in C order, some at a time: (some columns, rows) each.

    The file is read by pieces and not mapped: pages of a map would count as memory of this process.
    """
    most = max(1, _BLOCK // max(1, rows))
    with scratch.open("rb", buffering=0) as file:
        for begin in range(0, columns, most):
            block = np.empty((rows, min(most, columns - begin)))
            for row in range(rows):
                file.seek((row * columns + begin) * block.itemsize)
                file.readinto(block[row].data)
            yield np.ascontiguousarray(block.T)
