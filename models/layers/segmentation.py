"""Masks as outputs: what shape a segmentation model is asked for, and which images or volumes it can take.

A task asks for (height, width), one logit for each pixel, or for (classes, height, width); of a volume for (depth,
height, width), or (classes, depth, height, width).
"""

from collections.abc import Mapping

import torch

from models.errors import ModelError


def count_classes(name: str, sizes: Mapping[str, int], outputs: tuple[int, ...]) -> int:
    """Return how many numbers the model ``name`` must give for each pixel or voxel.

    Raises:
        ModelError: the outputs are no mask of the size of the image.
    """
    axes = _list_axes(sizes)
    image = tuple(sizes[axis] for axis in axes)
    classes = outputs[: max(0, len(outputs) - len(image))]
    if len(classes) > 1 or outputs[len(classes) :] != image:
        shape = "x".join(str(length) for length in outputs) or "one number"
        raise ModelError(
            f"the model '{name}' gives a mask as large as its image: expected {', '.join(axes[:-1])} and {axes[-1]} "
            f"{'x'.join(map(str, image))}, after an axis of classes if there are some, got {shape}"
        )
    return classes[0] if classes else 1


def require_multiple(name: str, sizes: Mapping[str, int], step: int) -> None:
    """Require that the model ``name`` can halve every axis of the image until it is ``step`` times smaller.

    Raises:
        ModelError: naming the axis.
    """
    for axis in _list_axes(sizes):
        if sizes[axis] % step:
            nearest = max(step, round(sizes[axis] / step) * step)
            raise ModelError(
                f"the model '{name}' expects a {axis} that is a multiple of {step}, got {sizes[axis]}; resize or crop "
                f"the images, for example to {nearest}"
            )


def shape_mask(numbers: torch.Tensor, outputs: tuple[int, ...]) -> torch.Tensor:
    """Arrange ``numbers`` (records, classes, *space) as (records, *outputs)."""
    return numbers.reshape(numbers.shape[0], *outputs)


def _list_axes(sizes: Mapping[str, int]) -> tuple[str, ...]:
    """List the axes of an image, or of a volume."""
    return ("depth", "height", "width") if "depth" in sizes else ("height", "width")
