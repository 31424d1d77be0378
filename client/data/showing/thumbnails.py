"""Draw a few records of an image-like tensor as small PNG pictures, within a page.

Rules:

* grey values are those of the tensor's public range: nothing is stretched to a patient's own;
* of a volume the middle slice is drawn; a large picture is made smaller by the mean of neighbouring pixels;
* which records is chosen at random, and nothing tells whose they are.

Source of the format: PNG (W3C Recommendation, Third Edition), colour types 0 and 2, 8 bits.
"""

import base64
import random
import struct
import zlib
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from client.data.examples import Array
from privacy.study.data.tensors import Flags, Ids, Numbers

SIDE: Final = 96  # pixels, at most about that
_LEAST: Final = 8  # pixels: less is no picture
_CHANNELS: Final = (1, 3)
_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_GREY, _RGB = 0, 2


def is_image(tensor: Numbers | Ids | Flags) -> bool:
    """Return whether a tensor's records are pictures, (channels, height, width), or volumes with one axis more."""
    if not isinstance(tensor, Numbers) or len(tensor.shape) not in (3, 4):
        return False
    channels, *sides = tensor.shape
    return channels in _CHANNELS and min(sides) >= _LEAST


def draw_records(tensor: Numbers, values: Array, count: int) -> list[str]:
    """Draw ``count`` records at random; return them as ``data:`` addresses of PNG pictures."""
    chosen = sorted(random.SystemRandom().sample(range(len(values)), min(count, len(values))))
    low, high = tensor.range
    pictures = []
    for place in chosen:
        record = values[np.array([place])][0]
        flat = record[:, record.shape[1] // 2] if record.ndim == 4 else record  # (channels, height, width)
        grey = np.clip((flat - low) / (high - low), 0, 1) * 255
        pictures.append(encode_picture(_shrink(grey)))
    return pictures


def encode_picture(image: NDArray[Any]) -> str:
    """Return a picture, (1 or 3, height, width) of 0 to 255, as the ``data:`` address of a PNG."""
    return "data:image/png;base64," + base64.b64encode(write_png(np.rint(image))).decode("ascii")


def write_png(image: NDArray[Any]) -> bytes:
    """Write a picture, (1 or 3, height, width) of 0 to 255, as PNG."""
    channels, height, width = image.shape
    pixels = np.ascontiguousarray(image.astype(np.uint8).transpose(1, 2, 0)).reshape(height, width * channels)
    rows = np.concatenate([np.zeros((height, 1), np.uint8), pixels], axis=1)  # filter type 0 before each row
    colour = _GREY if channels == 1 else _RGB
    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes())), (b"IEND", b""))
    return _SIGNATURE + b"".join(_write_chunk(kind, data) for kind, data in chunks)


def _write_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _shrink(image: NDArray[Any]) -> NDArray[Any]:
    """Return the means of square blocks, so that no side is much longer than ``SIDE``."""
    channels, height, width = image.shape
    block = -(-max(height, width) // SIDE)
    if block <= 1:
        return image
    cut = image[:, : height // block * block or height, : width // block * block or width]
    if min(cut.shape[1:]) < block:
        return image
    shape = (channels, cut.shape[1] // block, block, cut.shape[2] // block, block)
    means: NDArray[Any] = cut.reshape(shape).mean(axis=(2, 4))
    return means
