"""Where everything lies in a sealed vector: fields in slots, with room for a sum.

::

    slot 0      count field: each site seals 1
    next        totals, one a slot, each with its own width and an offset (a noised total may be negative)
    next        values, as many a slot as fit, the first in the lowest bits
    next        zeros, up to a whole number of ciphertexts
    last three  check fields

* Every field has ceil(log2 maximum_sites) bits of head-room: a sum of at most that many sites never carries into
  its neighbour and never reaches the plaintext modulus.
* The layout follows from public terms alone, so all sites and the coordinator compute the same.
* The check fields come last so that a vector can be sealed and opened in one pass.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from privacy.canonical import digest
from privacy.errors import SealingError
from privacy.sealing.parameters import (
    AGGREGATE_BYTES,
    SEALED_BYTES,
    SLOT_BITS,
    SLOTS,
    require_noise_room,
)

CHECKS: Final = 3


@dataclass(frozen=True)
class Layout:
    """The shape of one sealed vector.

    Args:
        parameters: values of an update.
        counts: totals that ride along (evaluation).
        bits: bits of one value.
        maximum_sites: most sites whose sealed vectors are ever added.
        count_bits: bits of one site's total; it lies in [-2^(count_bits - 1), 2^(count_bits - 1)).
    """

    parameters: int
    counts: int
    bits: int
    maximum_sites: int
    count_bits: int = 32

    def __post_init__(self) -> None:
        if min(self.parameters, self.counts) < 0 or min(self.bits, self.maximum_sites, self.count_bits) < 1:
            raise ValueError(f"a layout has no negative sizes and no empty fields, got {self}")
        if max(self.bits, self.count_bits) + self.head_room > SLOT_BITS or self.bits > 32:
            raise ValueError(f"a field and its head-room must fit {SLOT_BITS} bits, a value 32; got {self}")
        require_noise_room(self.maximum_sites)

    @property
    def head_room(self) -> int:
        """Bits by which a field may grow while sites are added."""
        return (self.maximum_sites - 1).bit_length()

    @property
    def width(self) -> int:
        """Bits of one value with its head-room."""
        return self.bits + self.head_room

    @property
    def per_slot(self) -> int:
        """Values in one slot."""
        return SLOT_BITS // self.width

    @property
    def ciphertexts(self) -> int:
        """Ciphertexts of one vector."""
        return -(-(1 + self.counts + self._value_slots + CHECKS) // SLOTS)

    @property
    def slots(self) -> int:
        """Slots of one vector."""
        return self.ciphertexts * SLOTS

    @property
    def sealed_bytes(self) -> int:
        """Exact size of a site's sealed vector."""
        return self.ciphertexts * SEALED_BYTES

    @property
    def aggregate_bytes(self) -> int:
        """Exact size of an aggregate."""
        return self.ciphertexts * AGGREGATE_BYTES

    @property
    def digest(self) -> str:
        """SHA-256 of the layout, for headers to compare."""
        return digest(asdict(self))

    def pack(self, integers: NDArray[np.uint32], counts: Sequence[int]) -> NDArray[np.uint64]:
        """Run by a site. One site's slots, check fields still zero; (slots,).

        Raises:
            ValueError: a number of values or totals, or a value's or total's size, that the layout does not have.
        """
        if len(integers) != self.parameters or len(counts) != self.counts:
            raise ValueError(
                f"expected {self.parameters} values and {self.counts} totals, got {len(integers)} and {len(counts)}"
            )
        if integers.size and int(integers.max()) >> self.bits:
            raise ValueError(f"a value has more than {self.bits} bits")
        if any(not -self._offset <= total < self._offset for total in counts):
            raise ValueError(f"a total is beyond {self.count_bits} signed bits")
        lanes = np.zeros((self._value_slots, self.per_slot), dtype=np.uint64)
        lanes.reshape(-1)[: self.parameters] = integers
        slots = np.zeros(self.slots, dtype=np.uint64)
        slots[0] = 1
        slots[1 : self._first_value] = [total + self._offset for total in counts]
        for lane in range(self.per_slot):
            slots[self._first_value : self._end] |= lanes[:, lane] << np.uint64(lane * self.width)
        return slots

    def unpack(self, slots: NDArray[np.uint64], sites: int) -> tuple[NDArray[np.int64], tuple[int, ...]]:
        """Run by a site. Summed values, (parameters,), and summed totals of the opened ``slots`` of ``sites``.

        Raises:
            SealingError: a field holds what no sum of that many sites can hold.
        """
        if np.any(slots[self._end : -CHECKS]):
            raise SealingError("the aggregate is refused: an unused slot is not zero")
        totals = slots[1 : self._first_value]
        if np.any(totals > sites * ((1 << self.count_bits) - 1)):
            raise SealingError(f"the aggregate is refused: a total is more than {sites} sites can have sealed")
        packed = slots[self._first_value : self._end]
        lanes = np.empty((self._value_slots, self.per_slot), dtype=np.int64)
        for lane in range(self.per_slot):
            lanes[:, lane] = (packed >> np.uint64(lane * self.width)) & np.uint64((1 << self.width) - 1)
        values = lanes.reshape(-1)
        beyond = np.any(packed >> np.uint64(self.per_slot * self.width)) or np.any(values[self.parameters :])
        if beyond or np.any(values > sites * ((1 << self.bits) - 1)):
            raise SealingError(f"the aggregate is refused: a value is more than {sites} sites can have sealed")
        return values[: self.parameters], tuple(int(total) - sites * self._offset for total in totals)

    @property
    def _value_slots(self) -> int:
        return -(-self.parameters // self.per_slot)

    @property
    def _first_value(self) -> int:
        return 1 + self.counts

    @property
    def _end(self) -> int:
        return self._first_value + self._value_slots

    @property
    def _offset(self) -> int:
        return 1 << (self.count_bits - 1)
