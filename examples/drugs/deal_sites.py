"""Deal drugs, pairs or diseases to sites, for the scripts beside this one.

Number n is at site n modulo the sites, and of the numbers of a site every so-manieth is for tests, beginning with its
first one. All records of a number are in one file.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def deal(
    target: Path, numbers: NDArray[np.integer], sites: int, test_every: int
) -> Iterator[tuple[Path, NDArray[np.bool_]]]:
    """Yield the path of each site's ``train.npz`` and ``test.npz``, its folder made, and which records are in it.

    Args:
        target: the folder of all sites.
        numbers: of what each record belongs to; (records,).
        sites: how many.
        test_every: one number of so many is for tests.
    """
    held_out = numbers // sites % test_every == 0
    for site in range(sites):
        folder = target / f"site-{site + 1}"
        folder.mkdir(parents=True, exist_ok=True)
        here = numbers % sites == site
        yield folder / "train.npz", here & ~held_out
        yield folder / "test.npz", here & held_out
