"""A site opens an aggregate: decrypt, then believe it only if it is exactly the named cohort's sum.

Rules, in this order, each refused with its name:

* the size is the layout's, every coefficient is below its modulus;
* the count field is the number of sites in the cohort;
* the three check fields are those of the opened slots and of exactly these sites;
* every field holds what that many sites can have sealed, every unused slot is zero.

A refusal must end the key epoch: each one tells a tampering coordinator a bit about the key. (A change smaller than
the noise opens to the same sum; being accepted k times tells him b bits with probability at most 2^-b in all.)
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from privacy.errors import SealingError
from privacy.sealing.bfv import StudyKey
from privacy.sealing.checks import LinearForms, expected_checks
from privacy.sealing.layout import CHECKS, Layout
from privacy.sealing.parameters import AGGREGATE_BYTES, SLOTS
from privacy.sealing.seal import require_cohort


@dataclass(frozen=True)
class Opened:
    """The sum over the cohort, exactly."""

    values: NDArray[np.int64]  # (parameters,)
    counts: tuple[int, ...]


def open_aggregate(
    layout: Layout, aggregate: bytes, *, cohort: Sequence[str], context: bytes, study_key: StudyKey
) -> Opened:
    """Run by a site. The verified sum of the cohort's integers and totals.

    Raises:
        SealingError: naming the first rule that the aggregate breaks.
    """
    require_cohort(layout, cohort)
    if len(aggregate) != layout.aggregate_bytes:
        raise SealingError(
            f"the aggregate is refused: expected {layout.aggregate_bytes} bytes, got {len(aggregate)}"
        )
    slots = np.empty(layout.slots, dtype=np.uint64)
    for i in range(layout.ciphertexts):
        part = aggregate[i * AGGREGATE_BYTES : (i + 1) * AGGREGATE_BYTES]
        slots[i * SLOTS : (i + 1) * SLOTS] = study_key.decrypt(part)
    _require_count(int(slots[0]), len(cohort), layout.maximum_sites)
    forms = LinearForms(study_key.check_key, context)
    forms.feed(slots[:-CHECKS])
    if tuple(slots[-CHECKS:].tolist()) != expected_checks(forms, study_key.check_key, context, cohort):
        raise SealingError(
            "the aggregate is refused: its check fields do not hold, so it was altered or is not this cohort's sum "
            "of this round; the key epoch must end"
        )
    values, counts = layout.unpack(slots, len(cohort))
    return Opened(values, counts)


def _require_count(count: int, sites: int, maximum_sites: int) -> None:
    """Refuse a sum of another number of sealed vectors.

    Raises:
        SealingError: saying whether it is another number of sites, or no sum that opens at all.
    """
    if count == sites:
        return
    if count <= maximum_sites:
        raise SealingError(
            f"the aggregate is refused: its count field says {count}, expected the cohort's {sites}: "
            "a site was left out or added twice; the key epoch must end"
        )
    raise SealingError(
        f"the aggregate is refused: its count field is no count, expected {sites}: masks do not cancel (a site or "
        "a release is missing, or sites saw different rounds), the key is another, or it was altered"
    )
