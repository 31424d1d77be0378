"""Public pre-trained weights: one safetensors file, identified by its SHA-256.

Rules:

* only safetensors (names, shapes, numbers): a format that could run code is never opened;
* a file with another SHA-256 than the terms name is not used;
* tensors are floating point; a file has at most ``MOST_BYTES``;
* no error message names the folder of a file, because messages may be sent to others;
* this module imports no torch, so that a file can be checked before a model is built.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError, safe_open

from models.errors import ModelError

MOST_BYTES: Final = 4 << 30
"""2 * 2^30 numbers of 16 bits; the catalogue has no larger model."""

_FLOATS: Final = {"F16", "BF16", "F32", "F64"}


def compute_weights_digest(path: Path) -> str:
    """Compute the SHA-256 of a weights file, in lower-case hexadecimal.

    Raises:
        ModelError: the file cannot be read, or is too large.
    """
    try:
        if (size := path.stat().st_size) > MOST_BYTES:
            raise ModelError(f"{size} bytes are too many for public weights, expected at most {MOST_BYTES}")
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as cause:
        raise ModelError(f"cannot be read: {cause.strerror}") from None


def read_weights_shapes(path: Path) -> Mapping[str, tuple[int, ...]]:
    """Read name and shape of each tensor of a weights file.

    Raises:
        ModelError: it is no safetensors file, has no tensor, or has one that is not floating point.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    with open_weights(path, "np") as file:
        for name in file.keys():  # noqa: SIM118 - it is no mapping
            part = file.get_slice(name)
            if part.get_dtype() not in _FLOATS:
                raise ModelError(
                    f"tensor '{name}' is of type {part.get_dtype()}, expected floating point of 16 to 64 bits"
                )
            shapes[name] = tuple(part.get_shape())
    if not shapes:
        raise ModelError("holds no tensor, expected the weights of a model")
    return shapes


def require_digest(path: Path, expected: str) -> None:
    """Refuse a file whose SHA-256 is not ``expected``.

    Raises:
        ModelError: it is another file, or cannot be read.
    """
    if (found := compute_weights_digest(path)) != expected:
        raise ModelError(
            f"this is not the file that the terms name (model.start): expected SHA-256 {expected}, got {found}"
        )


def open_weights(path: Path, framework: str) -> Any:
    """Open a weights file for ``framework`` (``np`` or ``pt``), as a context manager.

    Raises:
        ModelError: it is no safetensors file.
    """
    try:
        return safe_open(path, framework=framework)
    except (SafetensorError, OSError) as cause:
        raise ModelError(
            f"no safetensors file ({cause}); convert the weights, other formats are never opened"
        ) from None
