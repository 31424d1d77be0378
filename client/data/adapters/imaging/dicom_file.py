"""Open DICOM files through pydicom, so that nothing of a header gets out but what is asked for by name.

Rules:

* a file begins with 128 bytes and ``DICM`` (PS3.10, 7.1). One without is taken only if it begins with an element of
  group 0002 or 0008, and names the class of its object: some archives leave out the first part;
* what pydicom warns of, logs or raises holds values of the file: it is replaced by a clause of ours;
* a deflated file is refused: its size is not known before it is read.
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

from privacy.errors import DataError, SiteConfigError

_PREAMBLE: Final = 128
_MAGIC: Final = b"DICM"
_DEFLATED: Final = "1.2.840.10008.1.2.1.99"
_FILE_META: Final = 2  # the group
_FIRST_GROUPS: Final = (b"\x02\x00", b"\x08\x00", b"\x00\x02", b"\x00\x08")  # in either byte order
_NAMES: Final = ("PatientName", "OtherPatientNames", "PatientBirthName", "PatientMotherBirthName")


def looks_like_dicom(first: bytes) -> bool:
    """Return whether a file with these ``first`` bytes may be DICOM.

    >>> looks_like_dicom(bytes(128) + b"DICM"), looks_like_dicom(b"patient,label")
    (True, False)
    """
    return first[_PREAMBLE : _PREAMBLE + 4] == _MAGIC or first[:2] in _FIRST_GROUPS


def open_dataset(data: bytes) -> Any:
    """Open the bytes of a file as a pydicom data set, with a transfer syntax; call it within :func:`shield`.

    Raises:
        DataError: it is no DICOM file.
    """
    pydicom = load_pydicom()
    if not looks_like_dicom(data[: _PREAMBLE + 4]):
        raise DataError("is no DICOM file")
    has_preamble = data[_PREAMBLE : _PREAMBLE + 4] == _MAGIC
    _refuse_deflated(io.BytesIO(data))
    dataset = pydicom.dcmread(io.BytesIO(data), force=not has_preamble)
    if not has_preamble and "SOPClassUID" not in dataset:
        raise DataError("is no DICOM file")
    if "TransferSyntaxUID" not in dataset.file_meta:
        _set_transfer_syntax(dataset)
    return dataset


def read_tags(path: Path, keywords: Sequence[str]) -> dict[str, str] | None:
    """Read the values of these tags of a file as text, empty where absent; None if it is no DICOM file.

    Raises:
        DataError: it cannot be read.
    """
    pydicom = load_pydicom()
    with shield():
        try:
            with path.open("rb") as file:
                if not looks_like_dicom(file.read(_PREAMBLE + 4)):
                    return None
                _refuse_deflated(file)
                file.seek(0)
                dataset = pydicom.dcmread(
                    file, force=True, stop_before_pixels=True, specific_tags=["SpecificCharacterSet", *keywords]
                )
        except OSError as cause:
            raise DataError(f"cannot be read: {cause.strerror}") from None
        return {keyword: _write_value(dataset.get(keyword)) for keyword in keywords}


def check_keyword(keyword: str) -> None:
    """Check that ``keyword`` is a tag by which images may be found.

    Raises:
        SiteConfigError: it is none, or is a person's name.
    """
    load_pydicom()
    from pydicom.datadict import tag_for_keyword

    if keyword in _NAMES:
        raise SiteConfigError(f"{keyword}: two people may have one name; take PatientID or AccessionNumber")
    if tag_for_keyword(keyword) is None:
        raise SiteConfigError(f"'{keyword}' is no tag of DICOM; write its keyword, such as PatientID")


@contextlib.contextmanager
def shield() -> Iterator[None]:
    """Turn everything that pydicom or a decoder raises into a DataError without values of the file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except (DataError, SiteConfigError):
            raise
        except Exception as cause:  # decoders raise nearly everything for a damaged file
            raise DataError(_describe(str(cause))) from None


def load_pydicom() -> Any:
    """Import pydicom, and silence its log and those of decoders: they quote values of files.

    Raises:
        SiteConfigError: it is not installed.
    """
    try:
        import pydicom
    except ImportError:
        raise SiteConfigError(
            "DICOM is read with pydicom, which is not installed: pip install 'consilium[images]'"
        ) from None
    for name in ("pydicom", "pylibjpeg", "openjpeg"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    return pydicom


def _refuse_deflated(file: BinaryIO) -> None:
    """Refuse a file whose first part says that the rest is deflated; pydicom would inflate it to any size.

    Raises:
        DataError: it does.
    """
    from pydicom.filereader import read_dataset

    for is_implicit in (False, True):  # pydicom tries both too
        file.seek(0)
        if file.read(_PREAMBLE + 4)[_PREAMBLE:] != _MAGIC:
            file.seek(0)
        first = read_dataset(file, is_implicit, True, stop_when=lambda tag, _vr, _length: tag >> 16 != _FILE_META)
        with contextlib.suppress(NotImplementedError):  # the other one of the two
            if str(first.get("TransferSyntaxUID", "")) == _DEFLATED:
                raise DataError("is deflated, which is not read; store it as Explicit VR Little Endian")


def _describe(words: str) -> str:
    """Describe an error of pydicom in words of ours."""
    if "less than expected" in words or "fewer than" in words:
        return "has fewer pixels than it says: the file was cut"
    if "missing required element" in words.lower() or "no pixel data" in words.lower():
        return "holds no image, or does not describe it"
    return "is damaged, or of a kind of DICOM that is not read"


def _set_transfer_syntax(dataset: Any) -> None:
    """Name how a file without that element is written: as pydicom found when it read it."""
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    if "PixelData" in dataset and dataset["PixelData"].is_undefined_length:
        raise DataError("is compressed, and does not say how")
    is_implicit, is_little = dataset.original_encoding
    if is_implicit:
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    else:
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian if is_little else ExplicitVRBigEndian


def _write_value(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str | bytes):
        return value.decode("latin-1") if isinstance(value, bytes) else value.strip()
    return "\\".join(str(each) for each in value) if isinstance(value, Sequence) else str(value).strip()
