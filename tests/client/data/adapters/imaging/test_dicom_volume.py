"""DICOM slices become a volume in any order of files, or a reason; a segmentation lies on its voxels."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest

from client.data.adapters.imaging.dicom import read_frames
from client.data.adapters.imaging.dicom_volume import read_segmentation
from client.data.adapters.imaging.image import Image
from client.data.adapters.imaging.image_file import read_volume
from privacy.errors import DataError
from tests.client.data.adapters.imaging.dicom_files import draw, make_dicom, make_sequence, place, to_bytes

SHARED = Path(__file__).resolve().parents[6] / "shared" / "data"
STORED = draw((4, 3, 5), "int16", -1000, 1000)  # (slices, rows, columns)


def make_slices(step: float = 2.5, shift: float = 0.0) -> list[pydicom.Dataset]:
    return [
        place(
            make_dicom(stored, RescaleIntercept=-24, RescaleSlope=1),
            (-10, -20 + number * shift, 30 + number * step),
        )
        for number, stored in enumerate(STORED)
    ]


def test_slices_in_any_order_become_one_volume() -> None:
    data = [to_bytes(each) for each in make_slices()]
    for order in ([0, 1, 2, 3], [2, 0, 3, 1], [3, 2, 1, 0]):
        volume = read_volume([data[each] for each in order], None)
        assert volume.values[0].tolist() == (STORED.astype(int) - 24).tolist()
        assert volume.affine is not None
        # DICOM's left and back are NIfTI's minus right and minus front: by hand
        np.testing.assert_allclose(volume.affine @ [0, 0, 0, 1], [10, 20, 30, 1])
        np.testing.assert_allclose(volume.affine @ [3, 0, 0, 1], [10, 20, 37.5, 1])
        np.testing.assert_allclose(volume.affine @ [0, 2, 0, 1], [10, 20 - 2 * 0.5, 30, 1])
        np.testing.assert_allclose(volume.affine @ [0, 0, 4, 1], [10 - 4 * 0.8, 20, 30, 1])


def test_frames_of_one_file_become_the_same_volume() -> None:
    expected = read_volume([to_bytes(each) for each in make_slices()], None)
    whole = make_dicom(STORED)
    whole.SharedFunctionalGroupsSequence = make_sequence(
        PlaneOrientationSequence=make_sequence(ImageOrientationPatient=[1, 0, 0, 0, 1, 0]),
        PixelMeasuresSequence=make_sequence(PixelSpacing=[0.5, 0.8]),
        PixelValueTransformationSequence=make_sequence(RescaleSlope=1, RescaleIntercept=-24),
    )
    items = [
        make_sequence(PlanePositionSequence=make_sequence(ImagePositionPatient=[-10, -20, 30 + number * 2.5]))[0]
        for number in range(4)
    ]
    whole.PerFrameFunctionalGroupsSequence = pydicom.Sequence(items)
    volume = read_volume([to_bytes(whole)], None)
    np.testing.assert_array_equal(volume.values, expected.values)
    assert expected.affine is not None
    np.testing.assert_allclose(np.asarray(volume.affine, np.float64), np.asarray(expected.affine))


def remove_third(slices: list[pydicom.Dataset]) -> None:
    del slices[2]


def repeat_first(slices: list[pydicom.Dataset]) -> None:
    slices.append(slices[0])


def turn_last(slices: list[pydicom.Dataset]) -> None:
    slices[-1].ImageOrientationPatient = [0, 1, 0, 0, 0, 1]


def forget_position(slices: list[pydicom.Dataset]) -> None:
    del slices[1].ImagePositionPatient


def invert_second(slices: list[pydicom.Dataset]) -> None:
    slices[1].PhotometricInterpretation = "MONOCHROME1"


def keep_one(slices: list[pydicom.Dataset]) -> None:
    del slices[1:]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (remove_third, "some are missing"),
        (repeat_first, "two slices at one place"),
        (turn_last, "different sizes, spacings or directions"),
        (forget_position, "does not say where its slices lie"),
        (invert_second, "some are MONOCHROME1"),
        (keep_one, "has one slice"),
    ],
)
def test_series_that_is_no_grid_is_refused(spoil: Callable[[list[pydicom.Dataset]], None], reason: str) -> None:
    slices = make_slices()
    spoil(slices)
    with pytest.raises(DataError, match=reason):
        read_volume([to_bytes(each) for each in slices], None)


def test_tilted_gantry_is_refused() -> None:
    with pytest.raises(DataError, match="tilted gantry"):
        read_volume([to_bytes(each) for each in make_slices(shift=0.3)], None)


def make_segmentation(frames: list[tuple[int, np.ndarray, float]]) -> pydicom.Dataset:
    """Make a segmentation of (segment, mask of one slice, position along the head's axis)."""
    bits = np.packbits(np.stack([mask for _, mask, _ in frames]).astype(np.uint8).ravel(), bitorder="little")
    dataset = make_dicom(np.stack([mask for _, mask, _ in frames]).astype(np.uint8), Modality="SEG")
    dataset.SegmentationType = "BINARY"
    dataset.BitsAllocated = dataset.BitsStored = 1
    dataset.HighBit = 0
    dataset.PixelData = bits.tobytes() + b"\x00" * (len(bits) % 2)
    dataset.SharedFunctionalGroupsSequence = make_sequence(
        PlaneOrientationSequence=make_sequence(ImageOrientationPatient=[1, 0, 0, 0, 1, 0]),
        PixelMeasuresSequence=make_sequence(PixelSpacing=[0.5, 0.8]),
    )
    dataset.PerFrameFunctionalGroupsSequence = pydicom.Sequence(
        [
            make_sequence(
                PlanePositionSequence=make_sequence(ImagePositionPatient=[-10, -20, along]),
                SegmentIdentificationSequence=make_sequence(ReferencedSegmentNumber=segment),
            )[0]
            for segment, _, along in frames
        ]
    )
    return dataset


def test_segmentation_lies_on_the_voxels_of_its_image() -> None:
    volume = read_volume([to_bytes(each) for each in make_slices()], None)
    one, two = np.zeros((3, 5), bool), np.zeros((3, 5), bool)
    one[0, 1], two[2, 3] = True, True
    mask = read_segmentation(to_bytes(make_segmentation([(2, two, 35.0), (1, one, 32.5), (1, one, 35.0)])), volume)
    expected = np.zeros((4, 3, 5), int)
    expected[1, 0, 1] = 1
    expected[2, 0, 1], expected[2, 2, 3] = 1, 2
    assert mask.tolist() == expected.tolist()


def test_segmentation_that_fits_no_voxel_is_refused() -> None:
    volume = read_volume([to_bytes(each) for each in make_slices()], None)
    mask = np.ones((3, 5), bool)
    with pytest.raises(DataError, match="other pixels"):
        read_segmentation(to_bytes(make_segmentation([(1, mask, 33.9), (1, mask, 36.0)])), volume)
    with pytest.raises(DataError, match="overlap"):
        read_segmentation(to_bytes(make_segmentation([(1, mask, 35.0), (2, mask, 35.0)])), volume)
    with pytest.raises(DataError, match=r"no segmentation$"):
        read_segmentation(to_bytes(make_slices()[0]), volume)
    contours = make_slices()[0]
    contours.Modality = "RTSTRUCT"
    with pytest.raises(DataError, match="contours are not read"):
        read_segmentation(to_bytes(contours), volume)


def test_real_segmentation_of_a_liver_is_where_its_planes_say() -> None:
    path = SHARED / "dicom" / "liver.dcm"
    if not path.is_file():
        pytest.skip("shared/data/dicom is not here")
    stored = pydicom.dcmread(path).pixel_array  # (3, 512, 512)
    slices = [
        place(make_dicom(np.zeros((512, 512), np.int16)), (-235.2, -226.8, -129.69 + number)) for number in range(5)
    ]
    for each in slices:
        each.PixelSpacing = [0.810547, 0.810547]
    mask = read_segmentation(path.read_bytes(), read_volume([to_bytes(each) for each in slices], None))
    assert mask.shape == (5, 512, 512)
    assert [int(each.sum()) for each in mask] == [0, *(int(each.sum()) for each in stored), 0]
    np.testing.assert_array_equal(mask[1:4], stored)


def test_frame_without_a_place_has_no_plane() -> None:
    (frame,) = read_frames(to_bytes(make_dicom(STORED[0])))
    assert frame.plane is None
    assert isinstance(frame.image, Image)
