"""Turn an image as its file has it into the tensor that the contract asks for.

Steps, in this order: turn a volume to the contract's axes; make it grey or RGB; turn numbers into the contract's
values and clip them; scale; pad or cut around the centre. A mask goes the same way: a pixel gets the class that covers
most of it, the lower one of two that cover the same.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from client.data.adapters.imaging.image import Image
from client.data.conversion.images.resampling import Rule, fit_centre, scale_axes
from privacy.errors import DataError
from privacy.study.data.images import FullRangeValues, ImageInput, OwnRangeValues, WindowValues

_LUMA: Final = (0.299, 0.587, 0.114)  # ITU-R BT.601-7, 2.5.1
_SAME_PLACE: Final = 0.05  # by which voxels of an image and its mask may differ, in parts of a voxel
_AXES: Final = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}
Brighten = Callable[[NDArray[np.float64]], NDArray[np.float64]]


@dataclass
class ClippedPixels:
    """Count what lies beyond a window, over many images."""

    pixels: int = 0
    below: int = 0
    above: int = 0


def orient(image: Image, code: str) -> Image:
    """Turn a volume so that its axes grow towards the three letters of ``code``; nothing is interpolated.

    Raises:
        DataError: it does not say where it lies, or two of its axes lie nearest to one of the patient's.
    """
    if image.affine is None:
        raise DataError("does not say how it lies in the patient")
    matrix = image.affine[:3, :3]
    directions = matrix / np.linalg.norm(matrix, axis=0)  # (patient's axes, array's axes)
    nearest = np.abs(directions).argmax(axis=0)  # for each axis of the array
    if sorted(nearest.tolist()) != [0, 1, 2]:
        raise DataError("lies so obliquely that its axes cannot be told")
    order, signs = list[int](), list[int]()
    for letter in code:
        axis, sign = _AXES[letter]
        order.append(int(np.flatnonzero(nearest == axis)[0]))
        signs.append(sign * int(np.sign(directions[axis, order[-1]])))
    values = np.transpose(image.values, (0, *(each + 1 for each in order)))
    turned = np.zeros((4, 4))
    turned[3, 3] = 1.0
    turned[:3, 3] = image.affine[:3, 3]
    for new, (old, sign) in enumerate(zip(order, signs, strict=True)):
        turned[:3, new] = image.affine[:3, old] * sign
        if sign < 0:
            turned[:3, 3] += image.affine[:3, old] * (image.space[old] - 1)
            values = np.flip(values, axis=new + 1)
    return dataclasses.replace(image, values=values, affine=turned)


def make_tensor(image: Image, asked: ImageInput, clipped: ClippedPixels) -> NDArray[np.float32]:
    """Return ``image``, in its orientation, as (channels, *space) in the contract's values and size.

    Raises:
        DataError: its numbers cannot be what the contract asks for.
    """
    values = _take_channels(image, asked)
    values = _scale_values(values, image, asked, clipped)
    lengths = choose_lengths(image, asked)
    scaled = scale_axes(values, lengths, asked.interpolation)
    return np.ascontiguousarray(fit_centre(scaled, asked.space, asked.range[0]), dtype=np.float32)


def make_mask(mask: NDArray[Any], image: Image, asked: ImageInput, classes: Mapping[int, int]) -> NDArray[np.uint8]:
    """Return a mask of the pixels of ``image`` as (*space), 0 to the number of classes less one.

    Args:
        mask: (*space of the image) as stored.
        image: the image, in its orientation.
        asked: what becomes of the image.
        classes: the class of each stored number.

    Raises:
        DataError: it has a number without a class, or another size than the image.
    """
    if mask.shape != image.space:
        raise DataError("has another size than its image")
    stored = np.unique(mask)
    if any(float(each) not in classes for each in stored.tolist()):
        raise DataError("has a number that the mapping's values give no class")
    lengths = choose_lengths(image, asked)
    chosen = sorted({classes[int(each)] for each in stored.tolist()})
    best = np.full(lengths, -1.0)
    found = np.zeros(lengths, dtype=np.uint8)
    for each in chosen:
        of_class = np.isin(mask, [number for number, given in classes.items() if given == each])
        rule: Rule = "nearest" if asked.interpolation == "nearest" else "area"
        share = scale_axes(of_class.astype(np.float32), lengths, rule)
        better = share > best + 1e-9
        found[better], best[better] = each, share[better]
    return fit_centre(found, asked.space, 0)


def require_same_place(mask: Image, image: Image) -> None:
    """Require that a mask that says where it lies has the voxels of its image; both in one orientation.

    Raises:
        DataError: it lies elsewhere.
    """
    if mask.space != image.space:
        raise DataError("has another size than its image")
    if mask.affine is None or image.affine is None:
        return
    ends = np.array(image.space) - 1
    corners = np.array([[*(np.array(each) * ends), 1] for each in np.ndindex(2, 2, 2)])  # (corners, 4)
    voxel = np.linalg.norm(image.affine[:3, :3], axis=0).min()
    apart = np.abs(corners @ (mask.affine - image.affine).T).max()
    if apart > _SAME_PLACE * voxel:
        raise DataError("lies elsewhere than its image")


def choose_lengths(image: Image, asked: ImageInput) -> list[int]:
    """Return to how many pixels each axis is scaled, before the image is padded or cut."""
    if asked.spacing_mm is not None and image.affine is not None:
        sizes = np.linalg.norm(image.affine[:3, :3], axis=0)
        return [
            max(1, round(length * float(size) / wanted))
            for length, size, wanted in zip(image.space, sizes, asked.spacing_mm, strict=True)
        ]
    ratios = [wanted / length for wanted, length in zip(asked.space, image.space, strict=True)]
    match asked.resize:
        case "none":
            return list(image.space)
        case "stretch":
            return list(asked.space)
        case "pad":
            ratio = min(ratios)
        case "crop":
            ratio = max(ratios)
    return [max(1, round(length * ratio)) for length in image.space]


def _take_channels(image: Image, asked: ImageInput) -> NDArray[Any]:
    """Return one channel or three."""
    values = image.values
    if len(values) == asked.channels:
        return values
    if asked.colour == "rgb":
        return np.broadcast_to(values, (3, *image.space))
    if all(np.array_equal(values[0], each) for each in values[1:]):
        return values[:1]  # grey that is stored as three colours
    red, green, blue = (channel.astype(np.float64) * weight for channel, weight in zip(values, _LUMA, strict=True))
    return np.asarray((red + green + blue)[None])


def _scale_values(
    values: NDArray[Any], image: Image, asked: ImageInput, clipped: ClippedPixels
) -> NDArray[np.float32]:
    """Return the contract's values, clipped to their range, float32."""
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise DataError("has pixels that are no number")
    if isinstance(asked.values, WindowValues):
        return _cut_to_window(values, image, asked.values, clipped)
    brighten = _choose_brightness(values, image, asked)
    shares = np.empty(values.shape, dtype=np.float32)
    for place in range(values.shape[1]):  # a row or a slice at a time: 64-bit numbers take room
        share = np.clip(brighten(values[:, place].astype(np.float64)), 0.0, 1.0)
        shares[:, place] = 1 - share if image.is_inverted else share
    return shares


def _cut_to_window(
    values: NDArray[Any], image: Image, window: WindowValues, clipped: ClippedPixels
) -> NDArray[np.float32]:
    if image.is_inverted:
        raise DataError("is MONOCHROME1, whose numbers have no unit; the study needs values of kind full-range")
    clipped.pixels += values.size
    clipped.below += int((values < window.low).sum())
    clipped.above += int((values > window.high).sum())
    return np.asarray(np.clip(values.astype(np.float32), window.low, window.high))


def _choose_brightness(values: NDArray[Any], image: Image, asked: ImageInput) -> Brighten:
    """Return what turns numbers into shares of a range."""
    match asked.values:
        case FullRangeValues():
            if image.ends is None:
                raise DataError(
                    "has numbers without a full range; the study needs values of kind window or own-range"
                )
            first, last = image.ends
        case OwnRangeValues():
            first, last = (float(each) for each in np.percentile(values, [asked.values.low, asked.values.high]))
            if last <= first:
                raise DataError("has one number nearly everywhere, which has no range")
        case _:
            if image.display is None:
                raise DataError("has no display window of its own")
            return image.display.brighten
    return lambda numbers: (numbers - first) / (last - first)


def find_real_slices(image: Image, asked: ImageInput) -> range:
    """Return which slices of the tensor show the image, without those that are padding only."""
    kept = min(choose_lengths(image, asked)[0], asked.space[0])
    first = (asked.space[0] - kept) // 2
    return range(first, first + kept)
