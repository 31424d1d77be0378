"""Decode the stored numbers of a DICOM file's frames: every transfer syntax by one decoder, named here.

=======================  =======================  ================================================
compression              decoder                  licence
=======================  =======================  ================================================
none, RLE                pydicom                  MIT
JPEG, 8 bits             Pillow                   MIT-CMU
JPEG, 12 bits; lossless  GDCM                     BSD
JPEG-LS                  pyjpegls                 MIT
JPEG 2000, HTJ2K         pylibjpeg-openjpeg       MIT
=======================  =======================  ================================================

Rules:

* one decoder for each syntax, so that every site gets the same numbers from the same file;
* decoders that are written in C run in a process of their own (``decoder_process.py``);
* the size within each compressed frame is compared with the header's before anything is decoded;
* colours are RGB: palettes are looked up, YBR is converted.
"""

import struct
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from client.data.adapters.imaging.decoder_process import decode_elsewhere
from client.data.adapters.imaging.image import require_size
from privacy.errors import DataError, SiteConfigError

_PLUGINS: Final = {
    "1.2.840.10008.1.2": "",
    "1.2.840.10008.1.2.1": "",
    "1.2.840.10008.1.2.2": "",
    "1.2.840.10008.1.2.5": "pydicom",
    "1.2.840.10008.1.2.4.50": "pillow",
    "1.2.840.10008.1.2.4.51": "gdcm",
    "1.2.840.10008.1.2.4.57": "gdcm",
    "1.2.840.10008.1.2.4.70": "gdcm",
    "1.2.840.10008.1.2.4.80": "pyjpegls",
    "1.2.840.10008.1.2.4.81": "pyjpegls",
    "1.2.840.10008.1.2.4.90": "pylibjpeg",
    "1.2.840.10008.1.2.4.91": "pylibjpeg",
    "1.2.840.10008.1.2.4.201": "pylibjpeg",
    "1.2.840.10008.1.2.4.202": "pylibjpeg",
    "1.2.840.10008.1.2.4.203": "pylibjpeg",
}
_OURS: Final = ("", "pydicom")  # without a decoder written in C
_NEEDED: Final = ("Rows", "Columns", "BitsAllocated", "PhotometricInterpretation")
_GREY: Final = ("MONOCHROME1", "MONOCHROME2")
_NO_IMAGES: Final = {
    "RTDOSE": "is a map of doses, not an image",
    "SEG": "is a segmentation, not an image; name it as a mask",
}
_START_OF_FRAME: Final = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})  # JPEG, JPEG-LS: table B.1


def decode(dataset: Any) -> tuple[NDArray[Any], tuple[float, float] | None]:
    """Decode all frames: (frames, channels, height, width), and the ends of what their bits can hold.

    Raises:
        DataError: it holds no image, or none that is read.
        SiteConfigError: a decoder is not installed.
    """
    if "PixelData" not in dataset and "FloatPixelData" not in dataset and "DoubleFloatPixelData" not in dataset:
        raise DataError("holds no image: it is a report, a plan or another document")
    if any(dataset.get(keyword) is None for keyword in _NEEDED):
        raise DataError("does not describe its pixels")
    if (modality := str(dataset.get("Modality", ""))) in _NO_IMAGES:
        raise DataError(_NO_IMAGES[modality])
    stored = decode_stored(dataset)
    photometric = str(dataset.PhotometricInterpretation)
    if photometric == "PALETTE COLOR":
        from pydicom.pixels.processing import apply_color_lut

        colours = apply_color_lut(stored[..., 0], dataset)  # (frames, height, width, 3)
        if colours.shape[-1] != 3:
            raise DataError("has a palette with transparency, which is not read")
        return np.moveaxis(colours, -1, 1), (0.0, float(np.iinfo(colours.dtype).max))
    if photometric not in _GREY and not (stored.shape[-1] == 3 and photometric.startswith(("RGB", "YBR_"))):
        raise DataError("has colours of a kind that is not read")
    if stored.dtype.kind == "f":
        return np.moveaxis(stored, -1, 1), None
    return np.moveaxis(stored, -1, 1), _find_ends(dataset)


def decode_stored(dataset: Any) -> NDArray[Any]:
    """Decode the stored numbers of all frames; (frames, height, width, channels).

    Raises:
        DataError: they are damaged, or compressed in a way that is not read.
        SiteConfigError: a decoder is not installed.
    """
    from pydicom.pixels.decoders.base import get_decoder

    syntax = str(dataset.file_meta.TransferSyntaxUID)
    if syntax not in _PLUGINS:
        raise DataError("is compressed in a way that is not read")
    frames, samples = int(dataset.get("NumberOfFrames") or 1), int(dataset.get("SamplesPerPixel", 1))
    shape = (frames, int(dataset.Rows), int(dataset.Columns), samples)
    require_size(shape)
    plugin = _PLUGINS[syntax]
    decoder = get_decoder(dataset.file_meta.TransferSyntaxUID)
    if plugin not in _OURS:
        _require_decoder(plugin, decoder)
        _compare_sizes(dataset, frames)
    if plugin in _OURS:
        options: dict[str, Any] = {"correct_unused_bits": samples > 1}  # pydicom takes the lowest bits, see below
        pixels, _ = decoder.as_array(dataset, decoding_plugin=plugin, **options)
        pixels = _keep_stored_bits(pixels, dataset) if samples == 1 else pixels
    else:
        pixels = decode_elsewhere(dataset, frames, plugin)
    return np.asarray(pixels.reshape(shape))


def _require_decoder(plugin: str, decoder: Any) -> None:
    if plugin not in decoder.available_plugins:
        raise SiteConfigError(
            f"this compression of DICOM is decoded with {plugin}, which is not installed: pip install "
            "'consilium[images]'"
        )


def _keep_stored_bits(pixels: NDArray[Any], dataset: Any) -> NDArray[Any]:
    """Drop the bits beside the stored ones, in which old devices keep overlays; extend the sign.

    The stored bits end at HighBit (PS3.5, 8.1.1); pydicom takes the lowest ones whatever it says.
    """
    allocated, bits = int(dataset.BitsAllocated), int(dataset.get("BitsStored") or dataset.BitsAllocated)
    if pixels.dtype.kind == "f" or bits >= allocated or allocated not in (8, 16, 32):
        return pixels
    top = allocated - 1 - int(dataset.get("HighBit", bits - 1))
    if not 0 <= top <= allocated - bits:
        raise DataError("says that its bits lie where there are none")
    unsigned = pixels.astype(pixels.dtype.newbyteorder("=")).view(f"u{allocated // 8}") << top
    return np.asarray(unsigned.view(pixels.dtype.newbyteorder("=")) >> (allocated - bits))


def _find_ends(dataset: Any) -> tuple[float, float]:
    bits = int(dataset.get("BitsStored") or dataset.BitsAllocated)
    if int(dataset.get("PixelRepresentation", 0)):
        return (-float(1 << (bits - 1)), float((1 << (bits - 1)) - 1))
    return (0.0, float((1 << bits) - 1))


def _compare_sizes(dataset: Any, frames: int) -> None:
    """Refuse compressed frames of another size than the header's: decoders allocate what the frame asks for."""
    from pydicom.encaps import generate_frames

    expected = (int(dataset.Rows), int(dataset.Columns))
    found = 0
    for frame in generate_frames(dataset.PixelData, number_of_frames=frames):
        if _read_size(bytes(frame[: 1 << 16])) != expected:
            raise DataError("has compressed pixels of another size than its header says, or damaged ones")
        found += 1
    if found != frames:
        raise DataError("has fewer frames than it says")


def _read_size(frame: bytes) -> tuple[int, int] | None:
    """Read the height and width within a JPEG, JPEG-LS or JPEG 2000 frame."""
    if frame[:4] == b"\xff\x4f\xff\x51" and len(frame) >= 24:  # JPEG 2000: SOC, then SIZ (T.800, A.5.1)
        x, y, x0, y0 = struct.unpack(">4I", frame[8:24])
        return (y - y0, x - x0)
    place = 2
    while frame[:2] == b"\xff\xd8" and place + 9 <= len(frame):
        if frame[place] != 0xFF:
            return None
        marker, length = frame[place + 1], struct.unpack(">H", frame[place + 2 : place + 4])[0]
        if marker in _START_OF_FRAME:
            height, width = struct.unpack(">2H", frame[place + 5 : place + 9])
            return (height, width)
        place += 1 if marker == 0xFF else 2 + length
    return None
