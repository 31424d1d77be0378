"""Whatever happens to the bytes of an image file: it becomes an image, or a reason; no other error, and no hang."""

import gzip
import io
from collections.abc import Callable
from typing import Any

import nibabel
import numpy as np
import PIL.Image
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, JPEGLSLossless, RLELossless

from client.data.adapters.imaging.image import Image
from client.data.adapters.imaging.image_file import read_images, read_volume
from privacy.errors import DataError
from tests.client.data.adapters.imaging.dicom_files import (
    SECRET,
    draw,
    encapsulate_frames,
    make_dicom,
    make_flat_lossless_jpeg,
    make_sequence,
    place,
    to_bytes,
)

NOISE = draw((64, 65), "uint8", 0, 255)


def make_picture(kind: str) -> bytes:
    out = io.BytesIO()
    PIL.Image.fromarray(NOISE).save(out, kind)
    return out.getvalue()


def make_compressed(syntax: Any) -> bytes:
    dataset = make_dicom(
        draw((64, 65), "uint16", 0, 4095), BitsStored=12, HighBit=11, WindowCenter=9, WindowWidth=9
    )
    dataset.compress(syntax)
    return to_bytes(dataset)


def make_with_groups() -> bytes:
    dataset = place(make_dicom(draw((3, 8, 9), "int16", -9, 9), PixelPaddingValue=-9), (0, 0, 0))
    dataset.SharedFunctionalGroupsSequence = make_sequence(
        PixelValueTransformationSequence=make_sequence(RescaleSlope=2, RescaleIntercept=1),
        PlaneOrientationSequence=make_sequence(ImageOrientationPatient=[1, 0, 0, 0, 1, 0]),
    )
    return to_bytes(dataset)


FILES: dict[str, Callable[[], bytes]] = {
    "png": lambda: make_picture("PNG"),
    "jpeg": lambda: make_picture("JPEG"),
    "tiff": lambda: make_picture("TIFF"),
    "bmp": lambda: make_picture("BMP"),
    "dicom": lambda: to_bytes(make_dicom(draw((16, 17), "int16", -99, 99), RescaleSlope=2, RescaleIntercept=0)),
    "dicom of frames": make_with_groups,
    "dicom in RLE": lambda: make_compressed(RLELossless),
    "dicom in JPEG-LS": lambda: make_compressed(JPEGLSLossless),
    "dicom in JPEG 2000": lambda: make_compressed(JPEG2000Lossless),
    "dicom in JPEG": lambda: to_bytes(
        encapsulate_frames(make_dicom(NOISE), [make_picture("JPEG")], JPEGBaseline8Bit)
    ),
    "dicom in lossless JPEG": lambda: to_bytes(make_flat_lossless_jpeg()),
    "nifti": lambda: nibabel.Nifti1Image(draw((4, 5, 6), "int16", 0, 99), np.eye(4)).to_bytes(),
    "nifti.gz": lambda: gzip.compress(nibabel.Nifti2Image(draw((4, 5, 6), "int16", 0, 99), np.eye(4)).to_bytes()),
}
GOOD = dict[str, bytes]()

Damage = st.tuples(
    st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), max_size=12),
    st.one_of(st.none(), st.integers(0, 1 << 16)),
)


@pytest.mark.parametrize("name", FILES)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(damage=Damage)
def test_damaged_file_becomes_an_image_or_a_reason(
    name: str, damage: tuple[list[tuple[int, int]], int | None]
) -> None:
    good = GOOD.setdefault(name, FILES[name]())
    changes, cut = damage
    data = bytearray(good)
    for place_, value in changes:
        data[place_ % len(data)] = value
    damaged = bytes(data) if cut is None else bytes(data[: cut % len(data)])
    for read in (read_images, lambda each: [read_volume([each], 0)]):
        images, reason = list[Image](), ""
        try:
            images = read(damaged)
        except DataError as error:
            reason = str(error)
        assert bool(images) != bool(reason)
        assert SECRET not in reason
        assert all(each.values.ndim >= 3 for each in images)
