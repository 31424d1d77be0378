"""NIfTI volumes become the numbers that nibabel gives, and nothing that is damaged becomes a volume."""

import gzip
import itertools
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from client.data.adapters.imaging.nifti import read_nifti
from privacy.errors import DataError
from tests.client.data.adapters.imaging.dicom_files import draw

SHARED = Path(__file__).resolve().parents[6] / "shared" / "data"
AFFINE = np.array([[-2.0, 0, 0, 90], [0, 0, 3, -120], [0, 4, 0, -70], [0, 0, 0, 1]])


def shared(name: str) -> bytes:
    path = SHARED / name
    if not path.is_file():
        pytest.skip(f"shared/data/{name} is not here")
    return path.read_bytes()


def make(values: Any, affine: Any = AFFINE, kind: Any = nibabel.Nifti1Image) -> Any:
    return kind(values, affine)


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("dtype", ["uint8", "int16", ">i2", "uint16", "float32", ">f8"])
@pytest.mark.parametrize("compress", [False, True])
def test_volume_of_any_type_and_order_is_exact(kind: Any, dtype: str, compress: bool) -> None:
    values = draw((3, 4, 5), "uint8", 0, 200).astype(dtype)
    made = kind(values, AFFINE)
    if dtype.startswith(">"):
        made = kind(values, AFFINE, made.header.as_byteswapped(">"))
    data = made.to_bytes()
    volume = read_nifti(gzip.compress(data) if compress else data, None)
    assert volume.values.tolist() == [values.tolist()]
    np.testing.assert_allclose(np.asarray(volume.affine, np.float64), AFFINE)


def test_slope_and_intercept_are_applied_to_numbers_and_ends() -> None:
    made = make(np.array([[[1, 2, 18]]], dtype=np.int16))
    made.header.set_slope_inter(0.5, 1.0)  # nibabel writes the stored numbers as they are
    volume = read_nifti(made.to_bytes(), None)
    assert volume.values.tolist() == [[[[1.5, 2.0, 10.0]]]]
    assert volume.ends == (-32768 * 0.5 + 1, 32767 * 0.5 + 1)


def test_volume_of_four_axes_needs_its_number() -> None:
    values = draw((2, 3, 4, 5), "int16", -9, 9)
    data = make(values).to_bytes()
    with pytest.raises(DataError, match="has 5 volumes"):
        read_nifti(data, None)
    assert read_nifti(data, 3).values[0].tolist() == values[..., 3].tolist()
    with pytest.raises(DataError, match="fewer volumes"):
        read_nifti(data, 5)
    one = make(values[..., :1]).to_bytes()
    assert read_nifti(one, None).values[0].tolist() == values[..., 0].tolist()


def test_place_is_taken_only_if_the_file_says_it() -> None:
    made = make(np.zeros((2, 2, 2), np.uint8))
    made.header.set_xyzt_units("micron")
    np.testing.assert_allclose(np.asarray(read_nifti(made.to_bytes(), None).affine)[:3], AFFINE[:3] / 1000)
    made.set_sform(None, code=0)
    made.set_qform(None, code=0)
    assert read_nifti(made.to_bytes(), None).affine is None


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.zeros((2, 2, 2), np.complex64), "complex numbers"),
        (np.zeros((2, 2, 2, 2, 2), np.uint8), "has 5 axes"),
        (np.zeros((2, 2, 2), [("R", "u1"), ("G", "u1"), ("B", "u1")]), "colours"),
    ],
)
def test_volume_that_is_no_grid_of_real_numbers_is_refused(values: Any, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        read_nifti(make(values).to_bytes(), None)


def test_damaged_file_is_refused() -> None:
    data = make(draw((9, 9, 9), "int16", 0, 900)).to_bytes()
    packed = gzip.compress(data)
    for broken, reason in (
        (data[:-1], "was cut"),
        (data[:200], "no NIfTI file"),
        (packed[:-1], "was cut"),
        (packed[:300], "was cut"),
        (packed[:-8] + b"\x00\x00\x00\x00" + packed[-4:], "check sum"),
        (gzip.compress(b"patient,label\n" * 40, mtime=0), "no NIfTI file"),
    ):
        with pytest.raises(DataError, match=reason):
            read_nifti(broken, None)


def test_compressed_file_that_grows_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("client.data.adapters.imaging.nifti.MAX_FILE_BYTES", 1 << 22)
    with pytest.raises(DataError, match="more than 4 MiB"):
        read_nifti(gzip.compress(bytes(1 << 24)), None)


@pytest.mark.parametrize(
    ("name", "volume"),
    [("anatomical.nii", None), ("example4d.nii.gz", 1), ("example_nifti2.nii.gz", 0), ("functional.nii", 19)],
)
def test_real_file_is_what_nibabel_reads(name: str, volume: int | None) -> None:
    data = shared(f"adapters/nifti/{name}")
    loaded = nibabel.load(SHARED / "adapters" / "nifti" / name)
    expected = loaded.get_fdata() if volume is None else loaded.get_fdata()[..., volume]
    found = read_nifti(data, volume)
    np.testing.assert_array_equal(found.values[0], expected.astype(np.float32))
    np.testing.assert_allclose(np.asarray(found.affine, np.float64), loaded.affine)


def test_real_broken_files_are_refused() -> None:
    with pytest.raises(DataError, match="check sum"):
        read_nifti(shared("adapters/nifti/bad_crc.nii.gz"), 0)
    with pytest.raises(DataError, match="was cut"):
        read_nifti(shared("adapters/nifti/truncated.nii.gz"), 0)


def test_members_and_padding_of_a_gzip_file_are_read_in_one_pass() -> None:
    """The format allows both; parts of any length are joined as gzip itself joins them."""
    values = np.random.default_rng(4).integers(0, 255, (130, 130, 130)).astype(np.uint8)  # more than one part
    data = make(values).to_bytes()
    ends = [0, 1, 2, 1000, 1 << 20, len(data)]
    packed = b"".join(gzip.compress(data[a:b], 1) for a, b in itertools.pairwise(ends)) + bytes(3 << 20)
    assert gzip.decompress(packed) == data
    np.testing.assert_array_equal(read_nifti(packed, None).values[0], values)


def test_file_of_too_many_short_members_is_refused() -> None:
    with pytest.raises(DataError, match="more than 131072 compressed parts"):
        read_nifti(gzip.compress(b"", 1) * (1 << 18), None)
