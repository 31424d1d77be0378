"""The two forms of a sum of ciphertexts, and their sizes.

The first polynomials are added. The second polynomial of a fresh ciphertext is what SEAL expands from a public seed,
so that of a sum is the sum of the expansions. It is sent whole, or as the seeds: then a sum has half the bytes, and
whoever opens it expands them all.
"""

from enum import StrEnum

from privacy.secure_aggregation.schemes.bfv_parameters import POLYNOMIAL_BYTES, SEED_BYTES


class SumForm(StrEnum):
    """How a sum says its second polynomial."""

    SEEDS = "seeds"
    POLYNOMIAL = "polynomial"


def compute_sum_bytes(form: SumForm, sites: int) -> int:
    """Compute the exact size of a sum of one ciphertext of each of ``sites`` sites."""
    return POLYNOMIAL_BYTES + (sites * SEED_BYTES if form is SumForm.SEEDS else POLYNOMIAL_BYTES)
