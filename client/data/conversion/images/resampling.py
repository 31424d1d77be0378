"""Scale images to another size, axis by axis, with weights that this file defines.

Pixel i of an axis of n covers [i, i + 1). An axis of n becomes one of m, with scale s = m / n:

=============  ==============================================================================================
``area``       output o is the mean over [o / s, (o + 1) / s)
``linear``     output o is at c = (o + 0.5) / s; pixels weigh max(0, 1 - d / r), d their distance from c and
               r = max(1, 1 / s); weights are divided by their sum
``nearest``    output o is the pixel at c, rounded down
=============  ==============================================================================================

Sums run in one order, in 64 bits, without a library that may reorder them: the same image gives the same bits on
every machine.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Rule = Literal["area", "linear", "nearest"]


def scale_axes(values: NDArray[Any], lengths: Sequence[int], rule: Rule) -> NDArray[Any]:
    """Scale the last axes of ``values`` to ``lengths``; an axis that has its length already is not touched.

    >>> scale_axes(np.array([[1.0, 3.0, 5.0, 7.0]]), [1, 2], "area").tolist()
    [[2.0, 6.0]]
    """
    first = values.ndim - len(lengths)
    # those that shrink most first, since fewer numbers are left for the next
    for axis in sorted(range(first, values.ndim), key=lambda each: lengths[each - first] / values.shape[each]):
        if values.shape[axis] != lengths[axis - first]:
            values = _scale_axis(values, axis, lengths[axis - first], rule)
    return values


def fit_centre(values: NDArray[Any], lengths: Sequence[int], padding: float) -> NDArray[Any]:
    """Cut the last axes around their centre, or pad them, to ``lengths``.

    >>> fit_centre(np.array([1, 2, 3, 4]), [2], 0).tolist(), fit_centre(np.array([1]), [4], 0).tolist()
    ([2, 3], [0, 1, 0, 0])
    """
    first = values.ndim - len(lengths)
    fitted = np.full((*values.shape[:first], *lengths), padding, dtype=values.dtype)
    inside, outside = [slice(None)] * first, [slice(None)] * first
    for length, wanted in zip(values.shape[first:], lengths, strict=True):
        kept = min(length, wanted)
        cut, border = (length - kept) // 2, (wanted - kept) // 2
        inside.append(slice(cut, cut + kept))
        outside.append(slice(border, border + kept))
    fitted[tuple(outside)] = values[tuple(inside)]
    return fitted


def _scale_axis(values: NDArray[Any], axis: int, length: int, rule: Rule) -> NDArray[Any]:
    places, weights = compute_weights(values.shape[axis], length, rule)
    if rule == "nearest":
        return np.asarray(np.take(values, places[:, 0], axis=axis))
    shape = [length if each == axis else 1 for each in range(values.ndim)]
    total = np.zeros([length if each == axis else size for each, size in enumerate(values.shape)])
    for place, weight in zip(places.T, weights.T, strict=True):
        total += np.take(values, place, axis=axis) * weight.reshape(shape)
    return total


def compute_weights(before: int, after: int, rule: Rule) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return for every output which pixels it takes, (after, taps), and their weights, which sum to 1."""
    ratio = before / after
    centres = (np.arange(after) + 0.5) * ratio
    if rule == "nearest":
        return ((2 * np.arange(after) + 1) * before // (2 * after))[:, None], np.ones((after, 1))
    reach = ratio / 2 if rule == "area" else max(1.0, ratio)
    taps = math.ceil(2 * reach) + 2
    places = np.floor(centres - reach).astype(np.int64)[:, None] + np.arange(taps)  # (after, taps)
    if rule == "area":
        ends = np.arange(after)[:, None] * ratio
        weights = np.minimum(places + 1, ends + ratio) - np.maximum(places, ends)
    else:
        weights = 1 - np.abs(places + 0.5 - centres[:, None]) / reach
    weights = np.where((places >= 0) & (places < before), np.maximum(weights, 0.0), 0.0)
    return np.clip(places, 0, before - 1), weights / weights.sum(axis=1, keepdims=True)
