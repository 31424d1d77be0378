"""Read an image file of any kind, which its first bytes tell, not its name."""

from collections.abc import Sequence
from typing import Final

from client.data.adapters.imaging.dicom_file import looks_like_dicom
from client.data.adapters.imaging.image import Image
from client.data.adapters.imaging.nifti import looks_like_nifti
from privacy.errors import DataError

_PICTURES: Final = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\x00", b"MM\x00*", b"BM")


def is_dicom(data: bytes) -> bool:
    """Return whether a file is read as DICOM."""
    return looks_like_dicom(data[:132])


def read_images(data: bytes) -> list[Image]:
    """Read the images of two axes in a file: one of a picture, all frames of a DICOM file.

    Raises:
        DataError: there is none that can be read.
    """
    if is_dicom(data):  # first: a DICOM file may look like a TIFF picture too
        from client.data.adapters.imaging.dicom import read_frames

        return [frame.image for frame in read_frames(data)]
    if data.startswith(_PICTURES):
        from client.data.adapters.imaging.pictures import read_picture

        return [read_picture(data)]
    if looks_like_nifti(data[:352]):
        raise DataError(
            "is a volume, and the contract asks for images; it needs an image with depth and orientation"
        )
    raise DataError("is no image of a known kind: PNG, JPEG, TIFF, BMP, DICOM or NIfTI")


def read_volume(files: Sequence[bytes], volume: int | None) -> Image:
    """Read one volume: of a NIfTI file, of a DICOM file with several frames, or of the DICOM files of a series.

    Raises:
        DataError: they are no volume that can be read.
    """
    if all(is_dicom(data) for data in files):
        from client.data.adapters.imaging.dicom import read_frames
        from client.data.adapters.imaging.dicom_volume import stack_frames

        return stack_frames([frame for data in files for frame in read_frames(data)])
    if len(files) > 1:
        raise DataError("has several files that are no DICOM series")
    if looks_like_nifti(files[0][:352]):
        from client.data.adapters.imaging.nifti import read_nifti

        return read_nifti(files[0], volume)
    if files[0].startswith(_PICTURES):
        raise DataError("is a picture, and the contract asks for a volume")
    raise DataError("is no volume of a known kind: NIfTI or DICOM")
