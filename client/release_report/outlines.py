"""Draw what a segmentation model outlines, beside what the site's people outlined: pictures within the page.

Rules:

* of the records the ones that are drawn stand at even places of the order by their Dice, the lowest first: the page
  shows where the model fails, too;
* an outline is the edge of the foreground, white on the grey image. Three pictures stand side by side, so that nothing
  is told by colour alone: the image, the site's outline, the model's outline;
* grey values are those of the tensor's public range; of several channels the mean is drawn;
* of a volume the slice is drawn in which the truth and the prediction together are largest;
* a picture shows a patient: pictures are made only where a person asks for them, and stay at the site with the page.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from client.data.examples import Array
from client.data.showing.thumbnails import encode_picture
from client.prediction.figures import Labelled
from client.prediction.release_contract import ReleaseContract
from privacy.errors import ReleaseError
from privacy.study.data.tensors import Numbers
from privacy.study.tasks.segmentation import SegmentationTerms

SIDE: Final = 192  # pixels of a drawn picture, at least about that: an outline is one pixel wide

Mask = NDArray[np.bool_]


class Outlined(NamedTuple):
    """A record's pictures, as ``data:`` addresses, and its Dice; None where truth and prediction are empty."""

    dice: float | None
    image: str
    truth: str
    prediction: str


def draw_outlined(
    contract: ReleaseContract, inputs: Mapping[str, Array], rows: NDArray[np.int64], labelled: Labelled, count: int
) -> tuple[Outlined, ...]:
    """Draw ``count`` records of a release that segments images.

    Args:
        contract: of the release.
        inputs: of the file's records, by the tensor's name.
        rows: the places in them of the judged records, (records,).
        labelled: the judged records.
        count: how many to draw, at most.

    Raises:
        ReleaseError: the model segments no image.
    """
    terms = contract.task
    if not isinstance(terms, SegmentationTerms):
        raise ReleaseError(
            f"--pictures: the model's task is {terms.kind}, and draws no outlines; leave the option out"
        )
    truths = _find_foreground(labelled.targets[terms.target], terms.ignored)
    predictions = _find_foreground(labelled.said["class"], terms.ignored)
    predictions &= labelled.targets[terms.target] != (-1 if terms.ignored is None else terms.ignored)
    tensor = _find_image(contract, truths.shape[1:])
    dices = compute_dices(truths, predictions)
    drawn = []
    for place in choose_places(dices, count):
        image = np.asarray(inputs[tensor.name][rows[[place]]])[0]  # (channels, *space)
        low, high = tensor.range
        grey = np.clip((image.mean(axis=0) - low) / (high - low), 0, 1) * 255
        flat = _take_largest_slice(grey, truths[place], predictions[place])
        shown, *masks = (_enlarge(each) for each in flat)
        pictures = [
            encode_picture(each[None]) for each in (shown, *(_draw_edge(shown, mask > 0) for mask in masks))
        ]
        drawn.append(Outlined(None if np.isnan(dices[place]) else float(dices[place]), *pictures))
    return tuple(drawn)


def compute_dices(truths: Mask, predictions: Mask) -> NDArray[np.float64]:
    """Compute the Dice of each record's foreground, (records, *space) each; NaN where both are empty."""
    sizes = [part.reshape(len(part), -1).sum(axis=1) for part in (truths & predictions, truths, predictions)]
    either = sizes[1] + sizes[2]
    return np.where(either > 0, 2 * sizes[0] / np.maximum(either, 1), np.nan)


def choose_places(dices: NDArray[np.float64], count: int) -> list[int]:
    """Choose records at even places of the order by Dice, the lowest first; those without a Dice are last.

    >>> choose_places(np.array([0.9, 0.1, 0.5, 0.7, 0.3]), 3)
    [1, 2, 0]
    """
    order = np.argsort(dices, kind="stable")
    chosen = np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int)
    return [int(place) for place in order[chosen]]


def find_edge(mask: Mask) -> Mask:
    """Find the pixels of a mask (height, width) that have a neighbour outside of it, or beyond the image."""
    padded = np.pad(mask, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    edge: Mask = mask & ~inner
    return edge


def _find_foreground(mask: NDArray[Any], ignored: int | None) -> Mask:
    found: Mask = (mask != 0) & (mask != (0 if ignored is None else ignored))
    return found


def _find_image(contract: ReleaseContract, space: tuple[int, ...]) -> Numbers:
    """Find the first input that has a value for every voxel of the mask.

    Raises:
        ReleaseError: there is none.
    """
    for tensor in contract.data.list_inputs():
        if isinstance(tensor, Numbers) and tensor.shape[1:] == space:
            return tensor
    raise ReleaseError(
        "--pictures: no input of the contract is an image as large as the mask; leave the option out"
    )


def _take_largest_slice(grey: NDArray[Any], *masks: Mask) -> list[NDArray[Any]]:
    """Take of volumes the slice with most foreground; images stay."""
    if grey.ndim == 2:
        return [grey, *masks]
    place = int(np.logical_or(*masks).reshape(len(grey), -1).sum(axis=1).argmax())
    return [each[place] for each in (grey, *masks)]


def _enlarge(pixels: NDArray[Any]) -> NDArray[Any]:
    """Repeat pixels (height, width), so that the longer side is about ``SIDE``."""
    times = max(1, -(-SIDE // max(pixels.shape)))
    return pixels.repeat(times, axis=0).repeat(times, axis=1)


def _draw_edge(grey: NDArray[Any], mask: Mask) -> NDArray[Any]:
    """Draw the edge of a mask in white on a picture that is a little dimmed."""
    return np.where(find_edge(mask), 255, grey * 0.75)
