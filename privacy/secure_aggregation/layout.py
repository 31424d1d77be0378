"""The layout of a sealed vector: which slot holds which field, with room for a sum.

::

    slot 0      count field: each site seals 1
    next        totals, one a slot, each with its own width and an offset (a noised total may be negative)
    next        values, as many a slot as fit, the first in the lowest bits
    next        zeros, up to a whole number of ciphertexts
    last three  check fields

* Every field has ceil(log2 maximum_sites) bits of head-room. A sum over at most that many sites therefore never
  carries into the next field and never reaches the plaintext modulus.
* The layout follows from public terms alone, so all sites and the coordinator compute the same one.
* The check fields come last so that a vector can be sealed and opened in one pass.
* A vector is sealed and opened in blocks of ``BLOCK`` parts, each with keystreams of its own. This needs little
  memory and can use several cores.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import IntFlag
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from privacy.canonical import compute_digest
from privacy.errors import SealingError
from privacy.secure_aggregation.schemes.bfv_parameters import SLOT_BITS, SLOTS, require_noise_room
from privacy.secure_aggregation.schemes.registry import SCHEMES
from privacy.secure_aggregation.schemes.scheme import Scheme
from privacy.study import SchemeName

CHECKS: Final = 3
BLOCK: Final = 16
"""Parts in a block."""


class Fault(IntFlag):
    """What no sum of a cohort holds."""

    UNUSED = 1
    TOTAL = 2
    VALUE = 4


class Unpacked(NamedTuple):
    """The content of opened slots; nothing of it counts before :func:`require_possible` has accepted its faults."""

    values: NDArray[np.uint32] | NDArray[np.uint64]
    """In 32 bits where they fit: they travel between processes."""
    totals: tuple[int, ...]
    faults: Fault


def require_possible(faults: Fault, sites: int) -> None:
    """Refuse an opened sum in which a field holds what no sum of ``sites`` sites can hold.

    Run by a site.

    Raises:
        SealingError: it says which kind of field.
    """
    if Fault.UNUSED in faults:
        raise SealingError("the aggregate is refused: an unused slot is not zero")
    if Fault.TOTAL in faults:
        raise SealingError(f"the aggregate is refused: a total is more than {sites} sites can have sealed")
    if Fault.VALUE in faults:
        raise SealingError(f"the aggregate is refused: a value is more than {sites} sites can have sealed")


@dataclass(frozen=True)
class Layout:
    """The shape of one sealed vector.

    Args:
        parameters: number of values of an update.
        counts: number of totals (of an evaluation) in the same vector.
        bits: bits of one value.
        maximum_sites: most sites whose sealed vectors are ever added.
        count_bits: bits of one site's total; it lies in [-2^(count_bits - 1), 2^(count_bits - 1)).
        scheme: the scheme that seals the vector.
    """

    parameters: int
    counts: int
    bits: int
    maximum_sites: int
    count_bits: int = 32
    scheme: SchemeName = SchemeName.BFV

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
    def cipher(self) -> Scheme:
        """The scheme that seals the vector."""
        return SCHEMES[self.scheme]

    @property
    def excess(self) -> str | None:
        """Describe that the vector is too large for its scheme; None if it is not."""
        most = self.cipher.most_parts
        if most is None or self.parts <= most:
            return None
        return (
            f"secure_aggregation.scheme '{self.scheme}' seals at most {most * SLOTS * self.per_slot:,} values of "
            f"{self.bits} bits with {self.maximum_sites} sites, the largest round has {self.parameters:,}; train fewer "
            "parameters, or take bfv"
        )

    @property
    def parts(self) -> int:
        """Parts (ciphertexts) of one vector."""
        return -(-(1 + self.counts + self._value_slots + CHECKS) // SLOTS)

    @property
    def slots(self) -> int:
        """Slots of one vector."""
        return self.parts * SLOTS

    @property
    def blocks(self) -> list[range]:
        """The parts of each block."""
        return [range(first, min(first + BLOCK, self.parts)) for first in range(0, self.parts, BLOCK)]

    @property
    def sealed_bytes(self) -> int:
        """Exact size of a site's sealed vector."""
        return self.parts * self.cipher.sealed_bytes

    def compute_aggregate_bytes(self, sites: int) -> int:
        """Compute the exact size of an aggregate of ``sites`` sites."""
        return self.parts * self.cipher.compute_sum_bytes(sites)

    @property
    def digest(self) -> str:
        """SHA-256 of the layout, which headers carry for comparison."""
        return compute_digest(asdict(self))

    def require_fitting(self, integers: NDArray[np.uint32], counts: Sequence[int]) -> None:
        """Refuse values or totals that this layout cannot hold.

        Run by a site.

        Raises:
            ValueError: another number of values or totals, or a value or total with too many bits.
        """
        if len(integers) != self.parameters or len(counts) != self.counts:
            raise ValueError(
                f"expected {self.parameters} values and {self.counts} totals, got {len(integers)} and {len(counts)}"
            )
        if integers.size and int(integers.max()) >> self.bits:
            raise ValueError(f"a value has more than {self.bits} bits")
        if any(not -self._offset <= total < self._offset for total in counts):
            raise ValueError(f"a total is beyond {self.count_bits} signed bits")

    def find_values_in(self, parts: range) -> slice:
        """Return which of the vector's values lie in ``parts``."""
        first, last = (
            min(max(part * SLOTS - self._first_value, 0) * self.per_slot, self.parameters)
            for part in (parts.start, parts.stop)
        )
        return slice(first, last)

    def pack(self, values: NDArray[np.uint32], counts: Sequence[int], parts: range) -> NDArray[np.uint64]:
        """Pack values and totals into the slots of ``parts``, (len(parts) * SLOTS,); check fields are still zero.

        Run by a site.

        Args:
            values: those that lie in these parts (:meth:`find_values_in`).
            counts: all totals of the vector.
            parts: consecutive parts.
        """
        first = parts.start * SLOTS
        slots = np.zeros(len(parts) * SLOTS, dtype=np.uint64)
        # the count field, then the totals; the offset makes a negative total a field without a sign
        head = [1, *(total + self._offset for total in counts)][first : first + len(slots)]
        slots[: len(head)] = head
        lanes = np.zeros((-(-len(values) // self.per_slot), self.per_slot), dtype=np.uint64)  # (slots, per_slot)
        lanes.reshape(-1)[: len(values)] = values
        target = slots[len(head) : len(head) + len(lanes)]  # (slots,)
        for lane in range(self.per_slot):
            target |= lanes[:, lane] << np.uint64(lane * self.width)
        return slots

    def unpack(self, slots: NDArray[np.uint64], sites: int, parts: range) -> Unpacked:
        """Read the summed values and totals of ``sites`` sites in the opened ``slots`` of ``parts``.

        Run by a site. No step depends on what the slots hold: an impossible sum is refused by
        :func:`require_possible`, when what was opened may be looked at.
        """
        first = parts.start * SLOTS
        # where the values begin and end, counted from the first slot of these parts
        start, end = (min(max(place - first, 0), len(slots)) for place in (self._first_value, self._end))
        unused = slots[end : max(end, min(self.slots - CHECKS - first, len(slots)))]
        totals = slots[min(max(1 - first, 0), start) : start]
        packed = slots[start:end]
        kind = np.uint32 if self.width <= 32 else np.uint64
        lanes = np.empty((len(packed), self.per_slot), dtype=kind)  # (slots, per_slot)
        for lane in range(self.per_slot):
            lanes[:, lane] = (packed >> np.uint64(lane * self.width)) & np.uint64((1 << self.width) - 1)
        inside = self.find_values_in(parts)
        values = lanes.reshape(-1)
        count = inside.stop - inside.start
        # bits above the last lane, and lanes after the last value, must be zero
        beyond = np.bitwise_or.reduce(packed >> np.uint64(self.per_slot * self.width))
        beyond |= np.bitwise_or.reduce(values[count:])
        limit = np.uint64(sites * ((1 << self.bits) - 1))
        faults = (
            Fault.UNUSED * (np.bitwise_or.reduce(unused) > 0)
            + Fault.TOTAL * (totals.max(initial=0) > np.uint64(sites * ((1 << self.count_bits) - 1)))
            + Fault.VALUE * ((beyond > 0) | (values.max(initial=0) > limit))
        )
        return Unpacked(
            values[:count], tuple(int(total) - sites * self._offset for total in totals), Fault(int(faults))
        )

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
