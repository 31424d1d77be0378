"""Stains of tissue: more or less haematoxylin and eosin, as laboratories differ.

Light passes stained tissue as Beer and Lambert's law says: the optical density of a colour, minus the logarithm of the
light that is left, is the sum of what each stain takes of it. So densities of the three colours are divided into
amounts of the stains, the amounts are multiplied, and the light is computed from what they take then.

Rules:

* what haematoxylin and eosin take of red, green and blue are public vectors; a third vector, at right angles to both,
  keeps what neither explains;
* a colour without any light counts as 1/256 of full light, because it has no logarithm; light stays between none and
  full.

Sources: Ruifrok and Johnston 2001, Quantification of histochemical staining by color deconvolution, Analytical and
Quantitative Cytology and Histology 23:291-299, for the vectors; Rakhlin et al. 2018, arXiv 1802.00752, for varying
amounts in training.
"""

from typing import Final

import torch

from models.augment.draws import Vary, draw_chosen, draw_uniform, select
from privacy.study.augmentation import Stain

STAINS: Final = ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11))
"""What haematoxylin and eosin take of red, green and blue."""
_LEAST_LIGHT: Final = 1 / 256


def draw_stains(step: Stain, first: torch.Tensor, generator: torch.Generator) -> Vary:
    """Draw the factor of each stain for each record, uniform in 1 +- ``part``."""
    chosen = draw_chosen(len(first), step.chance, generator, first.device)
    low, high = 1 - step.part, 1 + step.part
    factors = [draw_uniform(len(first), low, high, generator, first.device) for _ in STAINS]
    amounts = torch.stack([*factors, torch.ones_like(factors[0])], dim=1)  # (records, stains)

    def vary(name: str, tensor: torch.Tensor) -> torch.Tensor:
        light = (tensor - step.dark) / (step.bright - step.dark)
        densities = -light.clamp(_LEAST_LIGHT, 1.0).log().movedim(-3, -1)  # (records, ..., height, width, colours)
        changes = _make_changes(amounts).to(tensor)
        varied = torch.einsum("r...c,rcd->r...d", densities, changes).movedim(-1, -3)
        left = (-varied).exp().clamp(0.0, 1.0)
        return select(chosen, step.dark + (step.bright - step.dark) * left, tensor)

    return vary


def _make_changes(amounts: torch.Tensor) -> torch.Tensor:
    """Make for each record the matrix that multiplies stains by ``amounts``, (records, 3); (records, 3, 3)."""
    stains = torch.tensor(STAINS, dtype=torch.float64, device=amounts.device)
    stains = stains / stains.norm(dim=1, keepdim=True)
    other = torch.linalg.cross(stains[0], stains[1])
    vectors = torch.stack([*stains, other / other.norm()])  # (stains, colours)
    changes: torch.Tensor = torch.linalg.inv(vectors) @ (amounts.double()[:, :, None] * vectors)
    return changes
