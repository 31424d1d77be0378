"""Name the place of a part: what every site of a cohort knows about it, and the same at each."""

from typing import NamedTuple


class Place(NamedTuple):
    """The place of one part in one sealing.

    Args:
        context: the view that all sites of the cohort share, another one for each sealing.
        sites: how many sites the cohort has.
        block: the block's number.
        part: the part's number within its block.
    """

    context: bytes
    sites: int
    block: int
    part: int
