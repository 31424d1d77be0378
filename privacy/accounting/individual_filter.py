"""Keep a filter for each patient: whoever has spent their own budget is left out of further steps.

For a site that trains alone (``client/study/train_alone.py``). Rules:

* a step adds the clipped gradients of all patients who can pay for it, and Gaussian noise of deviation s C, where C is
  the clipping norm. It costs patient i the square of l, the length of *their own* clipped gradient in clipping norms;
* everybody may spend the same: the price of n steps of full length;
* lengths are rounded up to 1/64 of C, so that sums are whole numbers and never less than the truth. A gradient of
  length 0 costs nothing;
* a patient whose sum would pass the limit is left out of this step, and pays nothing for it. They may take part in a
  later step that costs less.

**Guarantee.** At every order a, what is released has at most the divergence n a / 2 s^2 of n Gaussian steps of full
length, for every patient, however many steps are taken and however they are chosen in view of earlier results. So it is
charged as :class:`privacy.accounting.events.IndividualGaussian`, once and before the first step.

**Privacy unit.** One patient, added or removed.

**Proof** (Feldman and Zrnic 2021, arXiv 2008.11193, section 4, for noise that is the same in all steps). Let P be the
law of the noised sums v_1, ..., v_T with patient i, and Q without. Given v_1, ..., v_{t-1}, everybody else adds the
same under both, because whether they take part depends on their own record and these sums alone. So v_t is Gaussian
under both, and the means differ by i's part, which is at most l_t C long; l_t = 0 where i is left out. The conditional
E_Q[(dP/dQ)^a] of a step is at most exp(a (a-1) l_t^2 / 2 s^2), so the product of likelihood ratios to the power a,
divided by exp(a (a-1) / 2 s^2 times the sum of l_t^2 so far), is a supermartingale with mean at most 1. The filter
keeps the sum of l_t^2 at most n **whatever** v_1, ..., v_T are, so E_Q[(dP/dQ)^a] is at most exp(a (a-1) n / 2 s^2). P
and Q may change places. The limit is the same at all orders, so nobody chooses one. What the module draws (dropout) is
independent of i, so the bound holds given those draws, and without them. What is computed from the sums costs nothing
more.

**As one part of many.** Given everything that was released before, the whole study is one mechanism with this curve. So
it composes with whatever the site's filter pays for before and after, as any event does (the same paper, section 3), at
whichever order a grant is kept.

**What the proof needs.** (1) Who is left out depends on the patient's own record and on what was released, never on the
other patients. (2) What is released depends on the patients only through the noised sums. So nobody may learn who was
left out, or how many, or what anybody has spent; sums are divided by a public number, and the number of steps is fixed.
(3) Everybody is in every step: with lots by chance whoever is not drawn would have to pay all the same.

*Edge cases*: without patients nothing is charged; a length that is not a number counts as C.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

PARTS: Final = 64
"""Into which a clipping norm is divided: lengths are rounded up to one of them."""


class IndividualFilter:
    """What each patient has spent, in squared parts of the clipping norm; (patients,).

    It is as private as the records: it must not leave the site, nor anything that is computed from it.

    A step may be computed more than once, as when memory runs out: it is the last answer that counts, from the moment
    the step is settled.

    Args:
        patients: how many.
        paid_steps: n, how many steps of full length everybody may spend.
    """

    def __init__(self, patients: int, paid_steps: int) -> None:
        self._limit = paid_steps * PARTS**2
        self.spent: NDArray[np.int64] = np.zeros(patients, dtype=np.int64)
        self._charged: NDArray[np.int64] = np.zeros(patients, dtype=np.int64)

    def admit(
        self, lengths: NDArray[np.float64], patients: NDArray[np.int64] | slice = slice(None)
    ) -> NDArray[np.bool_]:
        """Charge the present step to each of ``patients`` who can pay for it, and return who that is; (some,).

        Args:
            lengths: of these patients' clipped gradients, in clipping norms; (some,).
            patients: their places; everybody if not given.
        """
        known = np.nan_to_num(lengths, nan=1.0, posinf=1.0, neginf=1.0)
        charges = np.ceil(np.clip(known, 0.0, 1.0) * PARTS).astype(np.int64) ** 2
        admitted: NDArray[np.bool_] = self.spent[patients] + charges <= self._limit
        self._charged[patients] = np.where(admitted, charges, 0)
        return admitted

    def settle(self) -> None:
        """End the step: what it was charged is spent."""
        self.spent += self._charged
        self._charged[:] = 0
