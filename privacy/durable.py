"""A file that is replaced whole or not at all, and that a power cut does not take back."""

import os
import tempfile
from pathlib import Path

from privacy.errors import Error


def replace(path: Path, data: bytes, error: type[Error]) -> None:
    """Put ``data`` in ``path`` whole or not at all, durable when this returns; its owner's alone.

    Raises:
        error: it cannot be written, or not be made durable; what is there is whole, the old or the new.
    """
    temporary = None
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        os.replace(temporary, path)
        temporary = None
        sync_folder(path.parent)
    except OSError as cause:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise error(f"{path}: cannot be written: {cause.strerror}") from None


def sync_folder(folder: Path) -> None:
    """Make what the folder lists durable: a power cut takes no name back."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
