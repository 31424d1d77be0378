"""Take the lots of a site in turn, each patient always in the same one, with noise that is correlated over steps.

For sites that cannot draw lots in secret. Rules:

* a patient's lot is a hash of the study and of the patient's own identifier (:func:`assign_lots`). It depends on nobody
  else, so that leaving a patient out is the same as replacing them by zeros: everybody else stays where they are. It
  is no secret;
* lots are taken in the order of their numbers, pass after pass: two uses of a patient are exactly a pass apart;
* a sum is divided by the *expected* lot, the public patient count over the number of lots, never by the real one.

*Guarantee*: that of :class:`privacy.accounting.events.BandedGaussian` or ``TreeGaussian``, by the noise that is given.

*Privacy unit*: the patient, added or removed.
"""

import hashlib
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from privacy import labels
from privacy.dpsgd.engine import DpSgd
from privacy.dpsgd.mechanism import Mechanism
from privacy.dpsgd.records import Records


class StepNoise(Protocol):
    """Noise of steps that are drawn in their order."""

    def draw_step(self) -> NDArray[np.float64]:
        """Draw the noise of the next step; (P,)."""
        ...


def assign_lots(identifiers: Sequence[str], study: str, lots: int) -> NDArray[np.int64]:
    """Assign each patient to one of ``lots`` lots, from 0; (patients,).

    Args:
        identifiers: of the patients, in their order.
        study: what the study's terms are called by, so that other terms have other lots.
        lots: how many there are.
    """
    prefix = labels.make_prefix(labels.FIXED_LOT) + study.encode() + b"\0"
    digests = (hashlib.sha256(prefix + name.encode()).digest() for name in identifiers)
    # 16 bytes: no lot is likelier than another by more than 2^-100
    return np.array([int.from_bytes(each[:16], "big") % lots for each in digests], dtype=np.int64)


class OrderedSteps:
    """The noised gradients of whole passes over a site's lots.

    Args:
        engine: sums the clipped gradients of a lot.
        mechanism: the public numbers; its sampling rate is one over the number of lots.
        lots: (patients,) the lot of each patient.
        count: how many lots there are.
        noise: of the sums; already multiplied by the clipping norm.

    Raises:
        ValueError: the sampling rate is not one over ``count``.
    """

    def __init__(
        self, engine: DpSgd, mechanism: Mechanism, lots: NDArray[np.int64], count: int, noise: StepNoise
    ) -> None:
        if abs(mechanism.sampling_rate * count - 1) > 1e-6:
            raise ValueError(f"expected a sampling rate of 1 / {count}, got {mechanism.sampling_rate:g}")
        self._engine, self._mechanism, self._noise = engine, mechanism, noise
        self._lots, self._count, self._step = lots, count, 0

    def compute_gradient(self, records: Records) -> torch.Tensor:
        """Return the noised gradient of the next lot over the expected one; (P,) on the records' device.

        Raises:
            TermsError, TrainingError: as :meth:`privacy.dpsgd.DpSgd.sum_lot`.
        """
        chosen = np.flatnonzero(self._lots == self._step % self._count).astype(np.int64)
        self._step += 1
        total = self._engine.sum_lot(records, chosen)
        noise = torch.from_numpy(self._noise.draw_step()).to(total.device)
        total.copy_(noise + total)  # in float64, so it is rounded once; the noise itself is needed again
        return total.div_(self._mechanism.expected_lot)
