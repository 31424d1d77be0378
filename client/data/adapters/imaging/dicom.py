"""Read the images of a DICOM file: real units, how they are meant to be seen, and where they lie.

Rules (PS3.3):

* stored numbers become real ones by the file's rescale or modality table (C.11.1), of the file or of each frame;
* the display window is kept beside the numbers, not applied (C.11.2);
* in MONOCHROME1 high numbers are dark; they are not turned round here, but said to be (``Image.is_inverted``);
* padding outside the field of view (C.7.5.1.1.2) counts as the lowest number;
* every frame is an image of its own; ``dicom_volume.py`` makes a volume of them.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.data.adapters.imaging.dicom_file import open_dataset, shield
from client.data.adapters.imaging.dicom_pixels import decode
from client.data.adapters.imaging.image import DisplayTable, DisplayWindow, Image
from privacy.errors import DataError


@dataclass(frozen=True, eq=False)
class Plane:
    """Where a frame lies, in millimetres towards left, back and head (C.7.6.2).

    Attributes:
        position: the centre of the first pixel; (3,).
        across: the direction in which columns follow each other; (3,). ``down``: that of rows.
        spacing: between rows, and between columns.
    """

    position: NDArray[np.float64] = field(repr=False)
    across: NDArray[np.float64] = field(repr=False)
    down: NDArray[np.float64] = field(repr=False)
    spacing: tuple[float, float] = field(repr=False)


@dataclass(frozen=True, eq=False)
class Frame:
    """An image, and where it lies, if the file says so."""

    image: Image
    plane: Plane | None


def read_frames(data: bytes) -> list[Frame]:
    """Read the frames of a file from its bytes.

    Raises:
        DataError: it holds no image, or none that can be read.
    """
    with shield():
        dataset = open_dataset(data)
        pixels, ends = decode(dataset)
        says_text = str(dataset.get("BurnedInAnnotation", "")) == "YES"
        is_grey = pixels.shape[1] == 1
        frames = list[Frame]()
        for number, stored in enumerate(pixels):
            groups = list_groups(dataset, number)
            image = _rescale(dataset, groups, stored, ends) if is_grey else Image(stored, ends)
            image = dataclasses.replace(image, says_text=says_text)
            frames.append(Frame(image, read_plane(dataset, groups)))
        return frames


def list_groups(dataset: Any, frame: int) -> list[Any]:
    """List what holds for one frame, the most special first: its own groups, the shared ones, the file."""
    found = list[Any]()
    per_frame, shared = (
        dataset.get("PerFrameFunctionalGroupsSequence"),
        dataset.get("SharedFunctionalGroupsSequence"),
    )
    if per_frame:
        if frame >= len(per_frame):
            raise DataError("does not describe all of its frames")
        found.append(per_frame[frame])
    if shared:
        found.append(shared[0])
    return found


def read_plane(dataset: Any, groups: list[Any]) -> Plane | None:
    """Read where a frame lies; None if the file does not say it."""
    position = _find(dataset, groups, "PlanePositionSequence", "ImagePositionPatient")
    orientation = _find(dataset, groups, "PlaneOrientationSequence", "ImageOrientationPatient")
    spacing = _find(dataset, groups, "PixelMeasuresSequence", "PixelSpacing")
    if position is None or orientation is None or spacing is None:
        return None
    numbers = [float(each) for part in (position, orientation, spacing) for each in part]
    if len(numbers) != 11 or not np.isfinite(numbers).all() or min(numbers[9:]) <= 0:
        raise DataError("does not say properly where it lies")
    across, down = np.array(numbers[3:6]), np.array(numbers[6:9])
    if not (abs(np.linalg.norm([across, down], axis=1) - 1) < 1e-3).all() or abs(across @ down) > 1e-3:
        raise DataError("has rows and columns that are not at right angles")
    return Plane(np.array(numbers[:3]), across, down, (numbers[9], numbers[10]))


def _find(dataset: Any, groups: list[Any], sequence: str, keyword: str) -> Any:
    """Find a value in a frame's groups, then in the file itself."""
    for group in groups:
        if (items := group.get(sequence)) and (value := items[0].get(keyword)) is not None:
            return value
    return dataset.get(keyword)


def _rescale(dataset: Any, groups: list[Any], stored: NDArray[Any], ends: tuple[float, float] | None) -> Image:
    """Turn stored numbers of one grey frame, (1, height, width), into real ones."""
    padding = dataset.get("PixelPaddingValue")
    is_padding = None
    if padding is not None and stored.dtype.kind in "iu":
        limit = dataset.get("PixelPaddingRangeLimit")
        first, last = sorted((int(padding), int(padding if limit is None else limit)))
        is_padding = (stored >= first) & (stored <= last)
    is_inverted = str(dataset.PhotometricInterpretation) == "MONOCHROME1"
    if dataset.get("ModalityLUTSequence"):
        from pydicom.pixels.processing import apply_modality_lut

        values = apply_modality_lut(stored, dataset).astype(np.float64)
        table = dataset.ModalityLUTSequence[0]
        ends = (0.0, float((1 << int(table.LUTDescriptor[2])) - 1))
    else:
        slope = _find(dataset, groups, "PixelValueTransformationSequence", "RescaleSlope")
        intercept = _find(dataset, groups, "PixelValueTransformationSequence", "RescaleIntercept")
        slope, intercept = (
            (1.0 if slope is None else float(slope)),
            (0.0 if intercept is None else float(intercept)),
        )
        if not np.isfinite([slope, intercept]).all() or slope == 0:
            raise DataError("has a rescale that is none")
        values = stored.astype(np.float64) * slope + intercept
        ends = None if ends is None else (ends[0] * slope + intercept, ends[1] * slope + intercept)
    if is_padding is not None and is_padding.any():
        lowest = values.min() if ends is None else min(ends)
        values[is_padding] = max(ends) if is_inverted and ends is not None else lowest
    return Image(values.astype(np.float32), ends, is_inverted, _read_display(dataset, groups))


def _read_display(dataset: Any, groups: list[Any]) -> DisplayWindow | DisplayTable | None:
    """Read the first way in which the file wants to be seen."""
    if tables := dataset.get("VOILUTSequence"):
        entries, first, bits = (int(each) for each in tables[0].LUTDescriptor)
        table = _read_table(tables[0].LUTData, entries or 1 << 16)
        return DisplayTable(first, table / float((1 << bits) - 1))
    centre = _take_first(_find(dataset, groups, "FrameVOILUTSequence", "WindowCenter"))
    width = _take_first(_find(dataset, groups, "FrameVOILUTSequence", "WindowWidth"))
    if centre is None or width is None:
        return None
    shape = str(_find(dataset, groups, "FrameVOILUTSequence", "VOILUTFunction") or "LINEAR")
    if shape not in ("LINEAR", "LINEAR_EXACT", "SIGMOID") or not np.isfinite([centre, width]).all() or width <= 0:
        raise DataError("has a display window that is none")
    return DisplayWindow(centre, width, shape)


def _read_table(data: Any, entries: int) -> NDArray[np.float64]:
    """Read a table of brightness: numbers of 16 bits, as pydicom gives them or as bytes."""
    table = np.frombuffer(data, "<u2") if isinstance(data, bytes) else np.array(data)
    if len(table) != entries:
        raise DataError("has a table of brightness that is cut")
    return table.astype(np.float64)


def _take_first(value: Any) -> float | None:
    if value is None or value == "":
        return None
    return float(value[0] if hasattr(value, "__len__") and not isinstance(value, str) else value)
