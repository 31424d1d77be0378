"""Draw what attackers got as one PNG file: a row for each protection, the true image first, then one for each party."""

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.attacks.inversion import Image, Inverted

_SCALE: Final = 5  # pixels of a pixel
_GAP: Final = 4


def draw_table(true: Image, found: Sequence[Inverted]) -> Image:
    """Lay the images out as a table, (height, width), from 0 to 1."""
    rows = dict.fromkeys(each.protection for each in found)
    lines = [[true, *(each.image for each in found if each.protection == row)] for row in rows]
    return np.concatenate([np.concatenate([_frame(image) for image in line], axis=1) for line in lines])


def _frame(image: Image) -> Image:
    large = np.kron(np.clip(np.nan_to_num(image), 0, 1), np.ones((_SCALE, _SCALE)))
    return np.pad(large, _GAP // 2, constant_values=1.0)


def write_png(path: Path, image: Image) -> None:
    """Write a grey image, (height, width) from 0 to 1, as PNG (ISO/IEC 15948)."""
    height, width = image.shape
    rows = np.round(image * 255).astype(np.uint8)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(raw, 9)), (b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(_write_chunk(*chunk) for chunk in chunks))


def _write_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
