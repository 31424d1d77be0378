"""Make a volume of the DICOM frames of one series, and a mask of a DICOM segmentation.

Rules (PS3.3, C.7.6.2.1.1):

* slices are sorted along the normal of their planes, by their positions; names and numbers of files do not count;
* slices must be parallel, of one size and spacing, and equally far apart: a gap, two slices at one place, or a tilted
  gantry is refused, since every model takes voxels for a grid with right angles;
* millimetres are turned from DICOM's axes (left, back, head) to those of NIfTI (right, front, head).
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from client.data.adapters.imaging.dicom import Frame, Plane, list_groups, read_plane
from client.data.adapters.imaging.dicom_file import open_dataset, shield
from client.data.adapters.imaging.dicom_pixels import decode_stored
from client.data.adapters.imaging.image import Image, require_size
from privacy.errors import DataError

_TO_RAS: Final = np.diag([-1.0, -1.0, 1.0])
_PARALLEL: Final = 1e-3  # of direction cosines
_EVEN: Final = 0.02  # by which a distance between slices may differ, in parts of the distance
_TILT: Final = 0.01  # by which slices may be shifted against each other, in parts of their distance


def stack_frames(frames: Sequence[Frame]) -> Image:
    """Make a volume, (channels, slices, height, width), of the frames of one series, in any order.

    Raises:
        DataError: they are no volume.
    """
    planes = [frame.plane for frame in frames if frame.plane is not None]
    if len(planes) < len(frames):
        raise DataError("does not say where its slices lie")
    if len(planes) < 2:
        raise DataError("has one slice, expected a volume")
    shapes = {frame.image.values.shape for frame in frames}
    if len(shapes) > 1 or any(_differ(planes[0], plane) for plane in planes):
        raise DataError("has slices of different sizes, spacings or directions")
    require_size((len(frames), *frames[0].image.values.shape))
    if len({frame.image.is_inverted for frame in frames}) > 1:
        raise DataError("has slices of which some are MONOCHROME1")
    order = _sort_along_normal(planes)
    first, last = planes[order[0]], planes[order[-1]]
    values = np.stack([frames[place].image.values for place in order], axis=1)
    ends = frames[0].image.ends if len({frame.image.ends for frame in frames}) == 1 else None
    step = (last.position - first.position) / (len(frames) - 1)
    return Image(
        values,
        ends,
        frames[0].image.is_inverted,
        affine=_make_affine(first, step),
        says_text=any(frame.image.says_text for frame in frames),
    )


def read_segmentation(data: bytes, image: Image) -> NDArray[np.int64]:
    """Read a DICOM segmentation on the voxels of the volume ``image``: (slices, height, width), 0 for no segment.

    Raises:
        DataError: it is no segmentation of these voxels, or two segments overlap.
    """
    if image.affine is None or len(image.space) != 3:
        raise DataError("is a segmentation of a volume, and its image is none")
    with shield():
        dataset = open_dataset(data)
        if (modality := str(dataset.get("Modality", ""))) != "SEG":
            contours = ": contours are not read; convert them to a segmentation or NIfTI"
            raise DataError("is no segmentation" + (contours if modality == "RTSTRUCT" else ""))
        kind = str(dataset.get("SegmentationType", ""))
        if kind not in ("BINARY", "LABELMAP"):
            raise DataError("is a segmentation by shares, expected one of kind BINARY or LABELMAP")
        stored = decode_stored(dataset)[..., 0]  # (frames, height, width)
        mask = np.zeros(image.space, dtype=np.int64)
        for number, pixels in enumerate(stored):
            groups = list_groups(dataset, number)
            place = _find_slice(read_plane(dataset, groups), image)
            numbers = pixels.astype(np.int64)
            if kind == "BINARY":
                numbers *= _read_segment(groups)
            if pixels.shape != image.space[1:]:
                raise DataError("lies on other pixels than its image")
            if ((mask[place] != 0) & (numbers != 0) & (mask[place] != numbers)).any():
                raise DataError("has segments that overlap")
            mask[place] = np.maximum(mask[place], numbers)
        return mask


def _differ(one: Plane, other: Plane) -> bool:
    return bool(
        np.abs(one.across - other.across).max() > _PARALLEL
        or np.abs(one.down - other.down).max() > _PARALLEL
        or not np.allclose(one.spacing, other.spacing, rtol=1e-3)
    )


def _sort_along_normal(planes: Sequence[Plane]) -> list[int]:
    """Return the order of the slices along their normal, if they are equally far apart."""
    normal = np.cross(planes[0].across, planes[0].down)
    positions = np.array([plane.position for plane in planes])  # (slices, 3)
    along = positions @ normal
    order = np.argsort(along, kind="stable")
    steps = np.diff(along[order])
    step = float(np.median(steps))
    if steps.min() < 1e-3:
        raise DataError("has two slices at one place")
    if (np.abs(steps - step) > _EVEN * step).any():
        raise DataError("has slices that are not equally far apart: some are missing")
    shifts = np.diff(positions[order], axis=0) - steps[:, None] * normal
    if (np.linalg.norm(shifts, axis=1) > _TILT * step).any():
        raise DataError("was taken with a tilted gantry; resample it first")
    return [int(place) for place in order]


def _make_affine(first: Plane, step: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the matrix from (slice, row, column) to millimetres towards right, front and head."""
    affine = np.eye(4)
    affine[:3, 0] = _TO_RAS @ step
    affine[:3, 1] = _TO_RAS @ first.down * first.spacing[0]
    affine[:3, 2] = _TO_RAS @ first.across * first.spacing[1]
    affine[:3, 3] = _TO_RAS @ first.position
    return affine


def _find_slice(plane: Plane | None, image: Image) -> int:
    """Find the slice of the volume on which a frame lies."""
    if plane is None or image.affine is None:
        raise DataError("does not say where its slices lie")
    expected = np.column_stack([_TO_RAS @ plane.down * plane.spacing[0], _TO_RAS @ plane.across * plane.spacing[1]])
    spacing = np.linalg.norm(image.affine[:3, 1:3], axis=0)
    if (np.abs(expected - image.affine[:3, 1:3]) > 1e-2 * spacing).any():
        raise DataError("lies on other pixels than its image")
    corner = np.linalg.solve(image.affine, np.append(_TO_RAS @ plane.position, 1.0))[:3]
    place = int(np.rint(corner[0]))
    if (np.abs(corner - [place, 0, 0]) > 0.05).any() or not 0 <= place < image.space[0]:
        raise DataError("lies on other pixels than its image")
    return place


def _read_segment(groups: Sequence[Any]) -> int:
    """Read the number of the segment that a frame shows."""
    for group in groups:
        if items := group.get("SegmentIdentificationSequence"):
            return int(items[0].ReferencedSegmentNumber)
    raise DataError("does not say which segment a frame shows")
