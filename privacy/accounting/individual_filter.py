"""Keep a Rényi filter for each patient: whoever has spent their own budget is left out of further steps.

*A study of its own, at one site*: no terms ask for it, no ledger charges it, and ``docs/privacy-systems/
individual-filters.md`` says why.

Rules:

* a step costs patient i the divergence of a sampled Gaussian whose noise is s C over the length of *their* clipped
  gradient, at one order that is fixed in advance. It is charged whether or not they were drawn, because they could have
  been;
* lengths are rounded up to 1/64 of C, charges up to a nano unit, and a gradient of length 0 costs nothing;
* a patient whose sum would pass the limit is left out of this step, and pays nothing for it. They may take part in a
  later step that costs less.

**Guarantee.** (a, B)-Rényi DP for every patient, for any number of steps that are chosen in view of earlier results,
with B the limit: so (B + ln-terms of the conversion, delta)-DP, the same epsilon for all
(Feldman and Zrnic 2021, arXiv 2008.11193, section 4).

**Privacy unit.** One patient, added or removed.

**What the proof needs.** (1) Who is left out depends on the patient's own record and on what was released, never on the
other patients. (2) What is released depends on the patients only through the noised sums. So nobody may learn who was
left out, or how many, or what anybody has spent; sums are divided by a public number. (3) The order is fixed.

*Edge cases*: without patients nothing is charged; a length that is not a number counts as C.
"""

import math
from fractions import Fraction
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from privacy.accounting.epsilon import compute_charge
from privacy.accounting.events import SampledGaussian

PARTS: Final = 64
"""Into which a clipping norm is divided: lengths are rounded up to one of them."""
_MOST_NOISE: Final = 1e6  # of an event; with more noise a step is charged as with this much


class IndividualFilter:
    """What each patient has spent, in nano units of divergence at one order; (patients,).

    It is as private as the records: it must not leave the site, nor anything that is computed from it.

    Args:
        patients: how many.
        order: the Rényi order.
        limit: of every patient, in nano units.
    """

    def __init__(self, patients: int, order: int, limit: int) -> None:
        self._order, self._limit = order, limit
        self.spent: NDArray[np.int64] = np.zeros(patients, dtype=np.int64)

    def admit(self, lengths: NDArray[np.float64], noise: float, rate: float) -> NDArray[np.bool_]:
        """Charge a step to every patient who can pay for it, and return who that is; (patients,).

        Args:
            lengths: of all patients' clipped gradients, in clipping norms; (patients,).
            noise: standard deviation of the noise, in clipping norms.
            rate: each patient's chance to be drawn.
        """
        known = np.nan_to_num(lengths, nan=1.0, posinf=1.0, neginf=1.0)
        parts = np.ceil(np.clip(known, 0.0, 1.0) * PARTS).astype(np.int64)
        charges = np.array([_compute_charge(part, noise, rate, self._order) for part in range(PARTS + 1)])[parts]
        admitted: NDArray[np.bool_] = self.spent + charges <= self._limit
        self.spent[admitted] += charges[admitted]
        return admitted


@lru_cache(maxsize=4096)
def _compute_charge(parts: int, noise: float, rate: float, order: int) -> int:
    """Return what a step costs whose gradient is ``parts`` / ``PARTS`` clipping norms long, in nano units."""
    if parts == 0:
        return 0
    relative = noise * PARTS / parts
    if Fraction(relative) > Fraction(noise) * PARTS / parts:  # rounded up: it would cost less than the truth
        relative = math.nextafter(relative, 0.0)
    relative = min(_MOST_NOISE, relative)
    return compute_charge(SampledGaussian(noise_multiplier=relative, sampling_rate=rate, steps=1), order)
