"""A site seals: pack, check, mask, encrypt, one ciphertext after another.

Rules:

* a cohort has at least three different sites, names this one, and fits the layout;
* the own seed is fresh for every sealing and leaves the site only by release;
* the ``context`` names everything that the cohort must agree on: study, launch, key epoch, round, attempt, cohort,
  model, scale. Sites with different contexts have masks that do not cancel.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from privacy.errors import SealingError
from privacy.sealing.bfv import StudyKey
from privacy.sealing.checks import LinearForms, expected_checks
from privacy.sealing.layout import CHECKS, Layout
from privacy.sealing.masks import site_masks
from privacy.sealing.parameters import PLAIN_MODULUS, SLOTS

MINIMUM_COHORT: Final = 3


def seal(
    layout: Layout,
    integers: NDArray[np.uint32],
    counts: Sequence[int],
    *,
    site: str,
    cohort: Sequence[str],
    context: bytes,
    study_key: StudyKey,
    pair_secrets: Mapping[str, bytes],
    own_seed: bytes,
) -> bytes:
    """Run by a site. Its sealed vector, ``layout.sealed_bytes`` long.

    Args:
        layout: from the terms.
        integers: the quantised update, (layout.parameters,).
        counts: the totals that ride along, layout.counts of them.
        site: this site's name.
        cohort: the names of the round's sites, in any order.
        context: the view of the round that all of them must share.
        study_key: the key epoch's key.
        pair_secrets: 32 bytes shared with each other site, by its name; more peers than the cohort's do no harm.
        own_seed: 32 fresh random bytes.

    Raises:
        SealingError: the cohort is too small or too large, names a site twice or not this one, or a secret is
            missing.
        ValueError: integers or counts do not fit the layout.
    """
    require_cohort(layout, cohort)
    if site not in cohort:
        raise SealingError(f"{site} seals only in a cohort that names it, got {', '.join(sorted(cohort))}")
    masks = site_masks(site, cohort, pair_secrets, own_seed, context)
    slots = layout.pack(integers, counts)
    forms = LinearForms(study_key.check_key, context)
    forms.feed(slots[:-CHECKS])
    slots[-CHECKS:] = expected_checks(forms, study_key.check_key, context, [site])
    return b"".join(
        study_key.encrypt((slots[start : start + SLOTS] + masks.draw()) % PLAIN_MODULUS)
        for start in range(0, layout.slots, SLOTS)
    )


def require_cohort(layout: Layout, cohort: Sequence[str]) -> None:
    """Refuse a cohort whose sum could be a lone update, or could overflow.

    Raises:
        SealingError: too few sites, too many, or one named twice.
    """
    if len(set(cohort)) != len(cohort):
        raise SealingError("a cohort names every site once; a site is named twice")
    if not MINIMUM_COHORT <= len(cohort) <= layout.maximum_sites:
        raise SealingError(
            f"expected a cohort of {MINIMUM_COHORT} to {layout.maximum_sites} sites, got {len(cohort)}"
        )
