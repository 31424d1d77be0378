"""List the schemes by their names in the terms."""

from typing import Final

from privacy.secure_aggregation.schemes.bfv import CiphertextSum, StudyKey, compute_sum_bytes, require_sealed
from privacy.secure_aggregation.schemes.bfv_parameters import SEALED_BYTES
from privacy.secure_aggregation.schemes.lwe_scheme import LweScheme
from privacy.secure_aggregation.schemes.paillier_scheme import PaillierScheme
from privacy.secure_aggregation.schemes.plain import PlainScheme
from privacy.secure_aggregation.schemes.scheme import PartSum, Scheme, Slots
from privacy.study import SchemeName


class BfvScheme:
    """BFV: one part is one ciphertext."""

    sealed_bytes = SEALED_BYTES
    masked = True
    most_parts = None

    def compute_sum_bytes(self, sites: int) -> int:
        """See :class:`Scheme`."""
        return compute_sum_bytes(sites)

    def encrypt(self, key: StudyKey, slots: Slots) -> bytes:
        """See :class:`Scheme`."""
        return key.encrypt(slots)

    def decrypt(self, key: StudyKey, data: bytes | memoryview, sites: int) -> Slots:
        """See :class:`Scheme`."""
        return key.decrypt(data, sites)

    def require_parts(self, data: bytes | memoryview) -> None:
        """See :class:`Scheme`."""
        require_sealed(data)

    def make_sum(self, parts: int = 1) -> PartSum:
        """See :class:`Scheme`."""
        return CiphertextSum(parts)


SCHEMES: Final[dict[SchemeName, Scheme]] = {
    SchemeName.BFV: BfvScheme(),
    SchemeName.OPEN: PlainScheme(),
    SchemeName.PAILLIER: PaillierScheme(),
    SchemeName.LWE: LweScheme(),
}
