"""Share a site's parameters with noise of its own (Yuan et al. 2019), and say what that protects.

A site clips the change of its parameters to a norm C and adds Gaussian noise to it, before anything leaves. The noise
is the analytic Gaussian mechanism's (:mod:`privacy.accounting.analytic_gaussian`).

**Privacy unit.** The site's whole update: one client. Replacing a client, or changing any of its patients, moves what
it shares by at most 2 C; adding or removing the client, by at most C. So a patient is protected as a member of a client
that may change altogether, and not by a bound of their own. The paper does not say which; both are computed here from
the same noise.

**Composition.** Each upload is a release. The paper's guarantee is that of one; :func:`make_event` is that of all, for
a ledger's accountant.

*Edge cases*: an update that is not finite counts as zero; zeros are noised like any update.

Sources: Yuan et al. 2019, IEEE GLOBECOM, chest X-rays shared between hospitals; Balle and Wang 2018 (arXiv 1805.06530).
"""

import numpy as np
from numpy.typing import NDArray

from privacy.accounting.analytic_gaussian import compute_analytic_noise
from privacy.accounting.events import Gaussian
from privacy.mechanisms.site_clipping import make_contribution
from privacy.randomness import KeyStream

Vector = NDArray[np.float64]

SENSITIVITY = 2.0
"""The most that a patient changes an upload, in clipping norms: their site's update may become any other."""


def compute_upload_noise(epsilon: float, delta: float, uploads: int) -> float:
    """Return the noise, in clipping norms, with which ``uploads`` uploads together are (epsilon, delta)-DP.

    *Privacy unit*: any change of a client's update.
    """
    return SENSITIVITY * compute_analytic_noise(epsilon, delta, uploads)


def make_event(noise: float, uploads: int) -> Gaussian:
    """Return what ``uploads`` uploads with ``noise`` clipping norms of noise are charged as."""
    return Gaussian(noise_multiplier=noise / SENSITIVITY, count=uploads)


def make_upload(update: Vector, norm: float, noise: float, stream: KeyStream) -> Vector:
    """Clip a site's ``update`` (P,) to ``norm`` and add noise of ``noise`` times this norm to every value; (P,).

    Run by a site, after its budget is reserved, with a fresh stream of secret randomness.
    """
    clipped = make_contribution(update, norm, None, counts=True)
    upload: Vector = clipped + noise * norm * stream.draw_normal(len(clipped))
    return upload
