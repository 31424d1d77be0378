"""Add sealed vectors at the coordinator as they arrive, without any key.

* The memory needed is one aggregate and the vector that is added, whatever the number of sites.
* A vector that is refused leaves the aggregate as it was.
* The aggregate is in memory only: after a crash the stored vectors are added again.
"""

from collections.abc import Iterator, Mapping

import numpy as np

from privacy.errors import SealingError
from privacy.secure_aggregation.layout import Layout
from privacy.secure_aggregation.masks import make_own_masks


class Aggregate:
    """The sum of a cohort's sealed vectors."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._sums = [layout.cipher.make_sum(len(parts)) for parts in layout.blocks]
        self._added = 0

    def add(self, sealed: bytes | memoryview) -> None:
        """Add one site's sealed vector in place.

        Run by the coordinator.

        Raises:
            SealingError: another length, a malformed coefficient, or more sites than the layout carries.
        """
        if len(sealed) != self._layout.sealed_bytes:
            raise SealingError(
                f"a sealed update is refused: expected {self._layout.sealed_bytes} bytes, got {len(sealed)}"
            )
        if self._added == self._layout.maximum_sites:
            raise SealingError(f"the aggregate is full: it carries at most {self._layout.maximum_sites} sites")
        size, view = self._layout.cipher.sealed_bytes, memoryview(sealed)
        blocks = [view[parts.start * size : parts.stop * size] for parts in self._layout.blocks]
        # every part is checked before the first is added: a refused vector changes nothing
        for block in blocks:
            self._layout.cipher.require_parts(block)
        for total, block in zip(self._sums, blocks, strict=True):
            total.require(block)
        for total, block in zip(self._sums, blocks, strict=True):
            total.add(block)
        self._added += 1

    def subtract_masks(self, seeds: Mapping[str, bytes], context: bytes) -> None:
        """Subtract the sites' own masks from the sum.

        Run by the coordinator, once, when every site has released.

        Args:
            seeds: the released seeds, 32 bytes each, by site.
            context: the context with which the sites sealed.

        Raises:
            SealingError: a seed is missing or has another length.
        """
        if len(seeds) != self._added:
            raise SealingError(f"expected the mask seeds of {self._added} sites, got {len(seeds)}")
        if not self._layout.cipher.masked:
            return
        for number, (parts, total) in enumerate(zip(self._layout.blocks, self._sums, strict=True)):
            masks = make_own_masks(seeds, context, number)
            total.subtract(np.concatenate([masks.draw() for _ in parts]))

    def write(self) -> Iterator[bytes]:
        """Return the aggregate in pieces, together as long as :meth:`Layout.compute_aggregate_bytes` says.

        Raises:
            SealingError: nothing has been added.
        """
        if not self._added:
            raise SealingError("nothing has been added: there is no aggregate to send")
        return (total.to_bytes() for total in self._sums)

    def to_bytes(self) -> bytes:
        """Return what :meth:`write` writes, in memory.

        Raises:
            SealingError: nothing has been added.
        """
        return b"".join(self.write())
