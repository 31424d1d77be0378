"""List the schemes by their names in the terms."""

from typing import Final

from privacy.secure_aggregation.schemes.bfv import CiphertextSum, StudyKey, require_sealed
from privacy.secure_aggregation.schemes.bfv_parameters import AGGREGATE_BYTES, SEALED_BYTES
from privacy.secure_aggregation.schemes.plain import PlainScheme
from privacy.secure_aggregation.schemes.scheme import PartSum, Scheme, Slots
from privacy.study import SchemeName


class BfvScheme:
    """BFV: one part is one ciphertext."""

    sealed_bytes = SEALED_BYTES
    aggregate_bytes = AGGREGATE_BYTES
    masked = True

    def encrypt(self, key: StudyKey, slots: Slots) -> bytes:
        """See :class:`Scheme`."""
        return key.encrypt(slots)

    def decrypt(self, key: StudyKey, data: bytes) -> Slots:
        """See :class:`Scheme`."""
        return key.decrypt(data)

    def require_part(self, data: bytes) -> None:
        """See :class:`Scheme`."""
        require_sealed(data)

    def make_sum(self) -> PartSum:
        """See :class:`Scheme`."""
        return CiphertextSum()


SCHEMES: Final[dict[SchemeName, Scheme]] = {SchemeName.BFV: BfvScheme(), SchemeName.OPEN: PlainScheme()}
