"""Pictures become the numbers that are stored, or a reason; nothing is changed without saying so."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import PIL.Image
import pytest

from client.data.adapters.imaging.image_file import read_images
from client.data.adapters.imaging.pictures import read_picture
from privacy.errors import DataError
from tests.client.data.adapters.imaging.dicom_files import draw

GREY = draw((5, 7), "uint8", 0, 255)
DEEP = draw((5, 7), "uint16", 0, 65535)
COLOURS = draw((5, 7, 3), "uint8", 0, 255)


def save(pixels: Any, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    picture = pixels if isinstance(pixels, PIL.Image.Image) else PIL.Image.fromarray(pixels)
    picture.save(out, kind, **options)
    return out.getvalue()


def make_png(width: int, height: int, bits: int, colour: int, rows: bytes, transparent: bytes = b"") -> bytes:
    """Write a PNG by hand."""
    parts = [
        (b"IHDR", struct.pack(">2I5B", width, height, bits, colour, 0, 0, 0)),
        *([(b"tRNS", transparent)] if transparent else []),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in parts
    )


def make_tiff(pixels: Any, photometric: int, samples: int = 1) -> bytes:
    """Write a TIFF of one strip by hand, without compression, little-endian."""
    bits = pixels.dtype.itemsize * 8
    height, width = pixels.shape[:2]
    data: bytes = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    entries = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, samples, bits if samples == 1 else 8 + len(data)),
        (259, 3, 1, 1), (262, 3, 1, photometric), (273, 4, 1, 8), (277, 3, 1, samples), (278, 4, 1, height),
        (279, 4, 1, len(data)),
    ]  # fmt: skip
    extra = struct.pack(f"<{samples}H", *[bits] * samples) if samples > 1 else b""
    table = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *each) for each in entries) + bytes(4)
    return b"II*\x00" + struct.pack("<I", 8 + len(data) + len(extra)) + data + extra + table


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_grey_picture_is_exact(kind: str) -> None:
    picture = read_picture(save(GREY, kind))
    assert picture.values.tolist() == [GREY.tolist()]
    assert picture.ends == (0.0, 255.0)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_colours_are_exact(kind: str) -> None:
    picture = read_picture(save(COLOURS, kind))
    assert picture.values.tolist() == np.moveaxis(COLOURS, 2, 0).tolist()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_picture_of_16_bits_keeps_them(kind: str) -> None:
    picture = read_picture(save(DEEP, kind))
    assert picture.values.tolist() == [DEEP.tolist()]
    assert picture.ends == (0.0, 65535.0)


def test_floating_point_tiff_has_no_full_range() -> None:
    values = GREY.astype(np.float32) / 7
    picture = read_picture(save(values, "TIFF"))
    assert picture.values.tolist() == [values.tolist()]
    assert picture.ends is None


def test_bits_are_zero_and_one() -> None:
    picture = read_picture(save(PIL.Image.fromarray(GREY).convert("1"), "PNG"))
    assert set(np.unique(picture.values)) == {0, 1}
    assert picture.ends == (0.0, 1.0)


def test_palette_is_looked_up_and_alpha_dropped_if_opaque() -> None:
    places = PIL.Image.fromarray(draw((5, 7), "uint8", 0, 2)).convert("P")
    places.putpalette([1, 2, 3, 40, 50, 60, 255, 0, 9] + [0] * 759)
    found = read_picture(save(places, "PNG"))
    colours = [(1, 2, 3), (40, 50, 60), (255, 0, 9)]
    assert found.values.transpose(1, 2, 0).tolist() == [
        [list(colours[each]) for each in row] for row in np.array(places).tolist()
    ]
    opaque = np.dstack([COLOURS, np.full((5, 7), 255, np.uint8)])
    assert read_picture(save(opaque, "PNG")).values.shape == (3, 5, 7)
    opaque[2, 2, 3] = 254
    with pytest.raises(DataError, match="transparent"):
        read_picture(save(opaque, "PNG"))


def test_transparent_palette_colour_or_grey_is_refused() -> None:
    with pytest.raises(DataError, match="transparent"):
        read_picture(save(PIL.Image.fromarray(GREY), "PNG", transparency=int(GREY[1, 1])))
    with pytest.raises(DataError, match="transparent grey value"):  # which Pillow would reduce to 8 bits
        read_picture(make_png(1, 1, 16, 0, b"\x00\x12\x34", transparent=b"\x99\x99"))


@pytest.mark.parametrize(
    ("code", "turn"), [(3, lambda x: x[::-1, ::-1]), (6, lambda x: np.rot90(x, -1)), (8, np.rot90)]
)
def test_picture_is_turned_as_exif_says(code: int, turn: Any) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = code
    found = read_picture(save(GREY, "PNG", exif=exif))
    assert found.values[0].tolist() == turn(GREY).tolist()


@pytest.mark.parametrize("pixels", [GREY, DEEP])
def test_tiff_whose_zero_is_white_is_inverted(pixels: Any) -> None:
    """TIFF 6.0, section 8: PhotometricInterpretation 0."""
    most = np.iinfo(pixels.dtype).max
    assert read_picture(make_tiff(pixels, 1)).values[0].tolist() == pixels.tolist()
    assert read_picture(make_tiff(pixels, 0)).values[0].tolist() == (most - pixels).tolist()


def test_what_would_lose_bits_is_refused() -> None:
    deep_colours = make_png(1, 1, 16, 2, b"\x00" + bytes([1, 2, 3, 4, 5, 6]))
    with pytest.raises(DataError, match="16 bits a colour"):
        read_picture(deep_colours)
    with pytest.raises(DataError, match=r"more than 8 bits a colour|is no PNG"):
        read_picture(make_tiff(draw((2, 2, 3), "uint16", 0, 65535), 2, samples=3))
    with pytest.raises(DataError, match="CMYK"):
        read_picture(save(PIL.Image.fromarray(COLOURS).convert("CMYK"), "JPEG"))


def test_several_pages_are_refused() -> None:
    pages = [PIL.Image.fromarray(GREY)] * 3
    out = io.BytesIO()
    pages[0].save(out, "TIFF", save_all=True, append_images=pages[1:])
    with pytest.raises(DataError, match="has 3 pages"):
        read_picture(out.getvalue())
    out = io.BytesIO()
    pages[0].save(out, "PNG", save_all=True, append_images=[PIL.Image.fromarray(255 - GREY)])
    with pytest.raises(DataError, match="has 2 pages"):
        read_picture(out.getvalue())


def test_cut_or_damaged_picture_is_refused() -> None:
    noise = draw((64, 64), "uint8", 0, 255)
    for kind in ("PNG", "JPEG", "TIFF"):
        data = save(noise, kind)
        with pytest.raises(DataError):
            read_picture(data[: len(data) // 2])
    flipped = bytearray(save(noise, "PNG"))
    flipped[len(flipped) // 2] ^= 0xFF
    with pytest.raises(DataError):  # PNG has check sums
        read_picture(bytes(flipped))


def test_picture_of_too_many_pixels_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(DataError, match=r"more than|too many"):
        read_picture(make_png(60_000, 60_000, 8, 0, b"\x00"))


def test_file_of_another_kind_is_refused() -> None:
    out = io.BytesIO()
    PIL.Image.fromarray(GREY).save(out, "GIF")
    for data in (out.getvalue(), b"patient,label\n", b"%PDF-1.7"):
        with pytest.raises(DataError, match="no image of a known kind"):
            read_images(data)
