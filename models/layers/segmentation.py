"""Masks as outputs: what shape a segmentation model is asked for, and which images it can take.

A task asks for (height, width), one logit for each pixel, or for (classes, height, width).
"""

from collections.abc import Mapping

import torch

from models.errors import ModelError


def count_classes(name: str, sizes: Mapping[str, int], outputs: tuple[int, ...]) -> int:
    """Return how many numbers the model ``name`` must give for each pixel.

    Raises:
        ModelError: the outputs are no mask of the size of the image.
    """
    image = (sizes["height"], sizes["width"])
    if len(outputs) not in (2, 3) or outputs[-2:] != image:
        shape = "x".join(str(length) for length in outputs) or "one number"
        raise ModelError(
            f"the model '{name}' gives a mask as large as its image: expected height and width "
            f"{image[0]}x{image[1]}, after an axis of classes if there are some, got {shape}"
        )
    return outputs[0] if len(outputs) == 3 else 1


def require_multiple(name: str, sizes: Mapping[str, int], step: int) -> None:
    """Require that the model ``name`` can halve height and width until they are ``step`` times smaller.

    Raises:
        ModelError: naming the axis.
    """
    for axis in ("height", "width"):
        if sizes[axis] % step:
            nearest = max(step, round(sizes[axis] / step) * step)
            raise ModelError(
                f"the model '{name}' expects a {axis} that is a multiple of {step}, got {sizes[axis]}; resize or crop "
                f"the images, for example to {nearest}"
            )


def shape_mask(numbers: torch.Tensor, outputs: tuple[int, ...]) -> torch.Tensor:
    """Arrange ``numbers`` (records, classes, height, width) as (records, *outputs)."""
    return numbers.reshape(numbers.shape[0], *outputs)
