"""Project records on the principal components of a covariance that patients' steps have summed with noise.

The covariance is the weight A of a layer that is trained like any other. The loss of a record x, scaled to length 1,
is -x'Ax, and the gradient of that is -xx'. So one step of DP-SGD adds, to A, the sum of xx' over the lot, with the
noise of the study, at the price of one step. Then A is not trained any more, and the first layers of the task see the
projection of a record on A's leading eigenvectors.

Rules:

* **Sensitivity.** |xx'| = |x|^2 = 1 in the Frobenius norm, and the mean over a patient's records is no longer. So a
  clipping norm of 1 clips nothing, and no patient moves the sum by more than it, whatever their record holds: the
  engine clips all the same. A record of zeros adds nothing;
* **Noise.** It falls on all entries of A alike, with the standard deviation s. A is made symmetric afterwards, as (A +
  A')/2, which is post-processing: off the diagonal the deviation is s / sqrt(2);
* eigenvectors are known up to a sign, which every site must choose alike: the entry of largest size is positive.
  The study's noise keeps eigenvalues apart, so that sites agree up to rounding;
* the projection is computed anew when A has changed, and never while a model is exported.

Sources: Abadi et al. 2016 (arXiv 1607.00133, section 4); Dwork, Talwar, Thakurta and Zhang 2014, Analyze Gauss:
optimal bounds for privacy-preserving principal component analysis (STOC 2014), for noise on the covariance.
"""

from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional

OBJECTIVE = "projection"
"""The objective that sums the covariance."""


class Covariance(nn.Linear):
    """The layer whose weight is the covariance; it begins near zero, so that what is summed outweighs it."""

    initial_gain: ClassVar[float] = 1e-3

    def __init__(self, features: int) -> None:
        super().__init__(features, features, bias=False)


class PrivateProjection(nn.Module):
    """The leading eigenvectors of a covariance that is learned from patients, with noise.

    Args:
        features: numbers of a record.
        kept: how many eigenvectors.
    """

    def __init__(self, features: int, kept: int) -> None:
        super().__init__()
        self.covariance = Covariance(features)
        self._kept = kept
        # neither parameters nor buffers: they follow from the covariance, and are not in a model's file
        self._seen: torch.Tensor | None = None
        self._components = torch.empty(0)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Project ``values`` (records, features) on the components; (records, kept)."""
        if not torch.compiler.is_exporting():
            self._update()
        return values @ self._components

    def compute_losses(self, values: torch.Tensor) -> torch.Tensor:
        """Compute -x'Ax of each record of ``values`` (records, features), scaled to length 1; (records,)."""
        rows = scale_to_unit_length(values)
        losses: torch.Tensor = -(rows * self.covariance(rows)).sum(1)
        return losses

    def _update(self) -> None:
        """Compute the components if the covariance is another one than before."""
        weight = self.covariance.weight.detach()
        seen = self._seen
        if seen is not None and seen.device == weight.device and torch.equal(seen, weight):
            return
        self._components = find_components(weight, self._kept).to(weight).contiguous()
        self._seen = weight.clone()


def scale_to_unit_length(values: torch.Tensor) -> torch.Tensor:
    """Scale each row of ``values`` (records, features) to length 1; a row of zeros stays one."""
    return functional.normalize(values, dim=1, eps=1e-12)


def find_components(covariance: torch.Tensor, kept: int) -> torch.Tensor:
    """Find the ``kept`` leading eigenvectors of the symmetric part of ``covariance`` (features, features).

    Returns:
        (features, kept) float64, the eigenvector of the largest eigenvalue first.
    """
    # a covariance that diverged still gives components: no failure may depend on a record
    exact = torch.nan_to_num(covariance.double().cpu(), nan=0.0, posinf=0.0, neginf=0.0)
    vectors = torch.linalg.eigh((exact + exact.T) / 2).eigenvectors.flip(1)[:, :kept]
    largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))  # (1, kept)
    components: torch.Tensor = vectors * torch.sign(largest)
    return components
