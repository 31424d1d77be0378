"""Add sealed vectors at the coordinator as they arrive, without any key.

* The memory needed is one aggregate and the vector that is added, whatever the number of sites.
* A vector that is refused leaves the aggregate as it was.
* The aggregate is in memory only: after a crash the stored vectors are added again.
"""

from collections.abc import Iterator, Mapping

from privacy.errors import SealingError
from privacy.secure_aggregation.layout import Layout
from privacy.secure_aggregation.masks import make_own_masks


class Aggregate:
    """The sum of a cohort's sealed vectors."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._sums = [layout.cipher.make_sum() for _ in range(layout.parts)]
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
        places = range(0, len(sealed), size)
        # every part is checked before the first is added: a refused vector changes nothing
        for start in places:
            self._layout.cipher.require_part(bytes(view[start : start + size]))
        for total, start in zip(self._sums, places, strict=True):
            total.require(bytes(view[start : start + size]))
        for total, start in zip(self._sums, places, strict=True):
            total.add(bytes(view[start : start + size]))
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
        for number, parts in enumerate(self._layout.blocks):
            masks = make_own_masks(seeds, context, number)
            for total in self._sums[parts.start : parts.stop]:
                total.subtract(masks.draw())

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
