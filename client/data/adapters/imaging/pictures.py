"""Read PNG, JPEG, TIFF and BMP files through Pillow, with the numbers that are stored.

Rules:

* a file is one picture: several pages or frames are refused;
* a palette is looked up; a picture is turned as its EXIF orientation says; a TIFF whose zero is white is inverted;
* what Pillow would change silently is refused: more than 8 bits a colour, CMYK and other inks, pixels that are not
  fully opaque;
* the size is known and limited before anything is decoded.

A JPEG with damaged, but complete, data cannot be told from a good one: the format has no check sums.
"""

import io
import struct
import warnings
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from client.data.adapters.imaging.image import Image, require_size
from privacy.errors import DataError, SiteConfigError

_FORMATS: Final = ("PNG", "JPEG", "TIFF", "BMP")
_BYTE: Final = (0.0, 255.0)
_ENDS: Final = {"1": (0.0, 1.0), "L": _BYTE, "RGB": _BYTE, "I;16": (0.0, 65535.0), "I;16B": (0.0, 65535.0)}
_BITS_PER_SAMPLE: Final = 258  # TIFF 6.0, section 8
_PHOTOMETRIC: Final = 262
_SAMPLE_FORMAT: Final = 339
_UNSIGNED: Final = 1


def read_picture(data: bytes) -> Image:
    """Read a picture from the bytes of its file: (1, height, width), or (3, height, width) if it has colours.

    Raises:
        DataError: it cannot be read as it is meant.
        SiteConfigError: Pillow is not installed.
    """
    try:
        import PIL.Image
    except ImportError:
        raise SiteConfigError(
            "pictures are read with Pillow, which is not installed: pip install 'consilium[images]'"
        ) from None

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about sizes, which are limited here, and about metadata
        try:
            with PIL.Image.open(io.BytesIO(data), formats=_FORMATS) as picture:
                return _read(picture, data)
        except DataError:
            raise
        except PIL.UnidentifiedImageError:
            raise DataError("is no PNG, JPEG, TIFF or BMP picture that can be read") from None
        except PIL.Image.DecompressionBombError:
            raise DataError("has too many pixels") from None
        except (OSError, SyntaxError, ValueError, struct.error, EOFError, TypeError, KeyError, IndexError,
                AttributeError, OverflowError, ZeroDivisionError, NotImplementedError, AssertionError,
                RuntimeError, MemoryError) as cause:  # fmt: skip
            # Pillow raises all of these for damaged files; its words may hold values of them
            if "truncated" in str(cause) or isinstance(cause, EOFError):
                raise DataError("ends too early: the file was cut") from None
            raise DataError("is damaged") from None


def _read(picture: Any, data: bytes) -> Image:
    width, height = picture.size
    require_size((height, width))
    frames = getattr(picture, "n_frames", 1)
    if frames != 1:
        raise DataError(f"has {frames} pages or frames, expected one picture")
    _refuse_deep_colours(picture, data)
    is_inverted = _has_white_zero(picture)
    turned = _turn(picture)
    turned = _look_up_palette(turned)
    if turned.mode in ("LA", "RGBA", "La", "RGBa"):
        turned = _drop_opaque_alpha(turned)
    if turned.mode not in ("1", "L", "RGB", "I;16", "I;16B", "I", "F"):
        raise DataError(f"has colours of the kind {turned.mode}, expected grey or RGB")
    pixels = _copy_pixels(turned)
    values = pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, 2, 0)  # (channels, height, width)
    ends = _ENDS.get(turned.mode)
    if is_inverted and turned.mode.startswith("I;16"):  # Pillow inverts those of fewer bits itself
        values = np.uint16(65535) - values
    return Image(values, ends)


def _turn(picture: Any) -> Any:
    """Turn a picture as its EXIF orientation says."""
    from PIL import ImageOps

    if picture.getexif().get(0x0112, 1) == 1:
        picture.load()
        return picture
    return ImageOps.exif_transpose(picture)


def _look_up_palette(picture: Any) -> Any:
    if picture.mode not in ("P", "PA"):
        if "transparency" in picture.info:  # one grey value or colour that is transparent
            if picture.mode not in ("1", "L", "RGB"):
                raise DataError("has a transparent grey value; save it without transparency")
            return picture.convert("RGBA" if picture.mode == "RGB" else "LA")
        return picture
    has_alpha = picture.mode == "PA" or "transparency" in picture.info
    return picture.convert("RGBA" if has_alpha else "RGB")


def _drop_opaque_alpha(picture: Any) -> Any:
    if picture.getchannel("A").getextrema()[0] < 255:
        raise DataError("has transparent pixels; save it without transparency")
    return picture.convert(picture.mode[:-1].replace("La", "L"))


def _copy_pixels(picture: Any) -> NDArray[Any]:
    pixels = np.array(picture)
    return pixels.astype(np.uint8) if pixels.dtype == np.bool_ else pixels.astype(pixels.dtype.newbyteorder("="))


def _refuse_deep_colours(picture: Any, data: bytes) -> None:
    """Refuse what Pillow would reduce to 8 bits a colour, or read as other numbers, without saying so."""
    if picture.format == "PNG":
        bits, colour = data[24], data[25]  # IHDR: PNG specification, 11.2.2
        if bits == 16 and colour != 0:
            raise DataError(
                "has 16 bits a colour, or transparency with 16 bits; save it with 8, or in grey with 16"
            )
    if picture.format == "TIFF":
        bits_of = picture.tag_v2.get(_BITS_PER_SAMPLE, (1,))
        formats = picture.tag_v2.get(_SAMPLE_FORMAT, (_UNSIGNED,))
        if len(bits_of) > 1 and max(bits_of) > 8:
            raise DataError("has more than 8 bits a colour; save it with 8, or in grey with 16")
        if formats[0] not in (_UNSIGNED, 2, 3):
            raise DataError("has numbers of a kind that is not read, expected whole or floating-point ones")


def _has_white_zero(picture: Any) -> bool:
    return bool(picture.format == "TIFF" and picture.tag_v2.get(_PHOTOMETRIC) == 0)
