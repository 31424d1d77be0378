"""Write small DICOM files with pydicom, and a name that must never get out of them."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEGLosslessSV1, generate_uid

SECRET = "Quagga^Zebra"
CT_IMAGE = UID("1.2.840.10008.5.1.4.1.1.2")


def make_dicom(pixels: NDArray[Any], photometric: str = "MONOCHROME2", **elements: Any) -> Dataset:
    """Make a file of ``pixels``, (height, width), (height, width, 3), or with frames before them."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = CT_IMAGE
    dataset.SOPClassUID = CT_IMAGE
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.SeriesInstanceUID = generate_uid()
    dataset.Modality = "CT"
    dataset.PatientName = SECRET
    dataset.PatientID = "P-1"
    colours = photometric in ("RGB", "YBR_FULL") or photometric.startswith("YBR")
    height, width = pixels.shape[-3:-1] if colours else pixels.shape[-2:]
    dataset.Rows, dataset.Columns = height, width
    dataset.SamplesPerPixel = 3 if colours else 1
    if colours:
        dataset.PlanarConfiguration = 0
    if pixels.ndim > (3 if colours else 2):
        dataset.NumberOfFrames = len(pixels)
    dataset.PhotometricInterpretation = photometric
    dataset.BitsAllocated = dataset.BitsStored = 8 * pixels.dtype.itemsize
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelData = pixels.tobytes() + b"\x00" * (pixels.nbytes % 2)
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def to_bytes(dataset: Dataset) -> bytes:
    """Return the bytes of the file of ``dataset``."""
    out = io.BytesIO()
    dataset.save_as(out, enforce_file_format=True)
    return out.getvalue()


def encapsulate_frames(dataset: Dataset, frames: list[bytes], syntax: str) -> Dataset:
    """Replace the pixels by compressed ``frames``."""
    dataset.PixelData = encapsulate(frames)
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    return dataset


def make_flat_lossless_jpeg() -> Dataset:
    """Make an image of 4 x 4 pixels of 128 in lossless JPEG, by hand: predictor 1, differences 0 (T.81, annex H)."""
    header = bytes.fromhex("ffd8 ffc3000b 08 0004 0004 01 01 11 00".replace(" ", ""))
    table = bytes.fromhex("ffc40014 00 01000000000000000000000000000000 00".replace(" ", ""))
    scan = bytes.fromhex("ffda0008 01 01 00 01 00 00".replace(" ", "")) + bytes(2) + bytes.fromhex("ffd9")
    return encapsulate_frames(make_dicom(np.zeros((4, 4), np.uint8)), [header + table + scan], JPEGLosslessSV1)


def make_sequence(**elements: Any) -> Sequence:
    """Make a sequence of one item."""
    item = Dataset()
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return Sequence([item])


def place(dataset: Dataset, position: tuple[float, float, float], series: str = "1.2.3") -> Dataset:
    """Place an axial slice: columns towards the left, rows towards the back, pixels of 0.5 mm by 0.8 mm."""
    dataset.ImagePositionPatient = list(position)
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.PixelSpacing = [0.5, 0.8]  # between rows, between columns
    dataset.SeriesInstanceUID = series
    return dataset


def write(path: Path, dataset: Dataset) -> Path:
    """Write the file of ``dataset``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(to_bytes(dataset))
    return path


def draw(shape: tuple[int, ...], dtype: str, low: int, high: int, seed: int = 1) -> NDArray[Any]:
    """Draw numbers from ``low`` to ``high``, both of which occur."""
    values = np.random.default_rng(seed).integers(low, high, shape, endpoint=True).astype(dtype)
    values.flat[0], values.flat[-1] = low, high
    return values
