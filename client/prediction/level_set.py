"""Draw the outline of a mask into the edges of its image: a level set with a length, a region and a prior shape.

The outline is where a function phi of the voxels is zero; it is positive inside. It moves down the energy

    length * |outline| + region * (fit of two grey values) + prior * |phi - phi of the mask|^2 / 2

Rules:

* phi begins as the signed distance to the mask's edge, in voxels, and is held near it by the prior: where the image has
  no edge, the outline stays where the model drew it;
* the two grey values are the means inside and outside of the outline, within ``BAND`` voxels of the mask: what lies
  far away (lungs, another ventricle) is no background of this structure;
* grey values are scaled to 0..1 within that band, so that contrast, not brightness, moves the outline;
* nothing is trained, and no other record is looked at: this is post-processing of what a released model says of one
  image, at the hospital that has it. It costs no budget;
* an empty mask stays empty; a mask that fills its image stays too;
* whether it helps is the site's to measure (``predict --refine --figures``): on slices of cardiac MR of persons who had
  been set aside it raised the mean Dice of a weak network from 0.709 to 0.713, and changed that of a good one (0.84) by
  less than 0.001. With three times the weight on the region both fell, since experts draw through the dark muscles
  inside of the ventricle.

Sources: Chan and Vese 2001, Active contours without edges, IEEE Transactions on Image Processing 10(2):266-277; the
three energies together: Avendi, Kheradvar and Jafarkhani 2016, Medical Image Analysis 30:108-119.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

BAND: Final = 6.0  # voxels around the mask's edge
_WIDTH: Final = 1.5  # voxels from the outline at which phi moves half as fast: that of the smoothed delta function
_STEP: Final = 0.3
_LEAST_SLOPE: Final = 1e-8

Values = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Energies:
    """How much each of the three counts.

    Attributes:
        length: of the outline: smooth outlines are short.
        region: of the fit to the two grey values.
        prior: of the distance to the model's mask.
    """

    length: float = 0.2
    region: float = 0.3
    prior: float = 0.1


def refine_mask(image: Values, mask: Mask, energies: Energies | None = None, steps: int = 100) -> Mask:
    """Move the outline of ``mask`` to the edges of ``image``.

    Args:
        image: grey values of an image or volume, (*space).
        mask: what the model says is foreground, (*space).
        energies: how much length, region and prior count.
        steps: down the energy.

    Returns:
        The new mask, (*space).
    """
    if not mask.any() or mask.all():
        return mask.copy()
    weights = energies or Energies()
    prior = measure_signed_distance(mask)
    near = np.abs(prior) <= BAND
    grey = _scale(image, near)
    phi = prior.copy()
    for _ in range(steps):
        inside = phi > 0
        if not (inside & near).any() or not (~inside & near).any():
            break  # one of the two means is of nothing: the outline has left the band
        mean_inside, mean_outside = grey[inside & near].mean(), grey[~inside & near].mean()
        force = (
            weights.length * measure_curvature(phi)
            + weights.region * ((grey - mean_outside) ** 2 - (grey - mean_inside) ** 2)
            - weights.prior * (phi - prior)
        )
        phi += _STEP * _smooth_delta(phi) * force * near
    return np.asarray(phi > 0)


def measure_signed_distance(mask: Mask) -> Values:
    """Measure how far each voxel is from the mask's edge, in voxels: positive inside, negative outside; (*space)."""
    inside, outside = distance_transform_edt(mask), distance_transform_edt(~mask)
    # the edge lies half a voxel from the centres of the voxels on both of its sides
    found: Values = np.where(mask, inside - 0.5, 0.5 - outside)
    return found


def measure_curvature(phi: Values) -> Values:
    """Measure the divergence of the direction in which ``phi`` rises, (*space): where it is above 0, phi dips."""
    slopes = np.gradient(phi)
    size = np.sqrt(sum(each**2 for each in slopes)) + _LEAST_SLOPE
    found: Values = sum(np.gradient(each / size, axis=axis) for axis, each in enumerate(slopes))
    return found


def _smooth_delta(phi: Values) -> Values:
    """Return 1 on the outline, 1/2 at ``_WIDTH`` voxels from it, less beyond (Chan and Vese 2001)."""
    return _WIDTH**2 / (_WIDTH**2 + phi**2)


def _scale(image: Values, near: Mask) -> Values:
    """Scale grey values to 0..1 by the lowest and the highest one of the band; an even image becomes zeros."""
    low, high = image[near].min(), image[near].max()
    return np.clip((image - low) / (high - low), 0, 1) if high > low else np.zeros_like(image)
