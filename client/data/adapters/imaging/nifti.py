"""Read NIfTI-1 and NIfTI-2 files through nibabel: numbers after ``scl_slope`` and ``scl_inter``, and where they lie.

Rules (NIfTI-1 specification, nifti1.h):

* a compressed file is decompressed to its end, so that its check sum is checked, and no further than a limit;
* a file of four axes needs the number of the volume that is meant; further axes are refused;
* where voxels lie is taken from the sform, else from the qform. A file with neither does not say it;
* numbers are real ones; complex numbers and colours are refused. Millimetres if the file names no unit of length.
"""

import io
import logging
import warnings
import zlib
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from client.data.adapters.imaging.image import MAX_FILE_BYTES, Image, require_size
from privacy.errors import DataError, SiteConfigError

_GZIP: Final = b"\x1f\x8b"
_HEADERS: Final = {348: 1, 540: 2}  # bytes of the header, which it begins with
_PART: Final = 1 << 20
_FIRST_PART: Final = 1 << 12  # of a member, which may be short
_MOST_MEMBERS: Final = 1 << 17  # bgzip makes one of 64 KiB: a file of 1 GiB has 16384
_MILLIMETRES: Final = {1: 1000.0, 3: 0.001}  # codes of metres and micrometres


def looks_like_nifti(first: bytes) -> bool:
    """Return whether a file with these ``first`` bytes may be NIfTI, or be one that is compressed."""
    return first[:2] == _GZIP or _read_version(first) is not None


def read_nifti(data: bytes, volume: int | None) -> Image:
    """Read the volume of a file from its bytes: (1, three axes). Of four axes, the ``volume``, from 0.

    Raises:
        DataError: it is none that can be read.
        SiteConfigError: nibabel is not installed.
    """
    plain = _decompress(data) if data[:2] == _GZIP else data
    version = _read_version(plain[:352])
    if version is None:
        raise DataError("is no NIfTI file")
    try:
        import nibabel
    except ImportError:
        raise SiteConfigError(
            "NIfTI is read with nibabel, which is not installed: pip install 'consilium[images]'"
        ) from None
    logging.getLogger("nibabel.global").setLevel(logging.CRITICAL + 1)  # it quotes headers
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            kind = nibabel.Nifti1Image if version == 1 else nibabel.Nifti2Image
            return _read(kind.from_stream(io.BytesIO(plain)), len(plain), volume)
        except DataError:
            raise
        except Exception as cause:  # nibabel and numpy raise nearly everything for a damaged file
            words = str(cause)
            cut = "bytes" in words and ("Expected" in words or "expected" in words)
            raise DataError("ends too early: the file was cut" if cut else "is damaged") from None


def _read(image: Any, size: int, volume: int | None) -> Image:
    shape = tuple(int(length) for length in image.shape)
    dtype = image.get_data_dtype()
    if dtype.kind not in "iuf":
        raise DataError("holds complex numbers or colours, expected real numbers")
    require_size(shape)
    if int(np.prod(shape)) * dtype.itemsize > size:
        raise DataError("ends too early: the file was cut")
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) < 3:
        shape = (*shape, 1, 1)[:3]
    if len(shape) > 4:
        raise DataError(f"has {len(shape)} axes, expected 3, or 4 and the number of a volume")
    if len(shape) == 4:
        if volume is None:
            raise DataError(f"has {shape[3]} volumes; write in the mapping which one is meant: volume: 0")
        if volume >= shape[3]:
            raise DataError("has fewer volumes than the mapping's volume asks for")
        numbers = np.asanyarray(image.dataobj.reshape(shape)[..., volume])
    else:
        numbers = np.asanyarray(image.dataobj).reshape(shape)
    return Image(_store_small(numbers)[None], _find_ends(image.dataobj, dtype), affine=_read_affine(image))


def _store_small(numbers: NDArray[Any]) -> NDArray[Any]:
    """Return real numbers as float32; whole numbers as they are."""
    native = numbers.astype(numbers.dtype.newbyteorder("="))
    return native if native.dtype.kind in "iu" else native.astype(np.float32)


def _find_ends(stored: Any, dtype: np.dtype[Any]) -> tuple[float, float] | None:
    """Return what the file's bits can hold, after its slope and intercept."""
    if dtype.kind not in "iu":
        return None
    slope, intercept, kept = float(stored.slope), float(stored.inter), np.iinfo(dtype)
    return (float(kept.min) * slope + intercept, float(kept.max) * slope + intercept)


def _read_affine(image: Any) -> NDArray[np.float64] | None:
    header = image.header
    if not int(header["sform_code"]) and not int(header["qform_code"]):
        return None
    affine = np.array(image.affine, dtype=np.float64)
    affine[:3] *= _MILLIMETRES.get(int(header["xyzt_units"]) & 7, 1.0)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine)) < 1e-9:
        raise DataError("does not say properly where it lies")
    return affine


def _decompress(data: bytes) -> bytes:
    """Decompress a gzip file, all of its members, and check their sums.

    Raises:
        DataError: it is damaged, cut, or too large.
    """
    out, place, members = io.BytesIO(), 0, 0
    while place < len(data):
        member, size = zlib.decompressobj(wbits=31), _FIRST_PART
        members += 1
        if members > _MOST_MEMBERS:
            raise DataError(f"is made of more than {_MOST_MEMBERS} compressed parts")
        try:
            while not member.eof:
                feed = data[place : place + size]  # never all that is left: it would be copied for every part
                size = min(_PART, 2 * size)
                if not feed:
                    raise DataError("ends too early: the file was cut")
                out.write(member.decompress(feed, _PART))
                place += len(feed) - len(member.unconsumed_tail) - len(member.unused_data)
                if out.tell() > MAX_FILE_BYTES:
                    raise DataError(f"has more than {MAX_FILE_BYTES >> 20} MiB")
        except zlib.error:
            raise DataError("is damaged: its compressed bytes or their check sum are wrong") from None
        place = _skip_zeros(data, place)
    return out.getvalue()


def _skip_zeros(data: bytes, place: int) -> int:
    """Return the place of the first byte from ``place`` on that is not zero: gzip files may be padded."""
    while place < len(data):
        part = data[place : place + _PART]
        if rest := part.lstrip(b"\x00"):
            return place + len(part) - len(rest)
        place += len(part)
    return place


def _read_version(first: bytes) -> int | None:
    """Return 1 or 2 if these bytes begin a NIfTI file of that version, in one file; else None."""
    if len(first) < 348:
        return None
    for order in ("little", "big"):
        version = _HEADERS.get(int.from_bytes(first[:4], order))
        if version == 1 and first[344:348] == b"n+1\x00":
            return 1
        if version == 2 and first[4:8] == b"n+2\x00":
            return 2
    return None
