"""Replace files atomically and durably, create private folders, and take lock files.

A file is written under another name, synced, and then renamed, and the folder is synced. After a crash or a power
cut the old or the new file is complete.
"""

import contextlib
import fcntl
import io
import mmap
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from privacy.errors import Error
from privacy.step_times import measure_step

# a link in a folder into which others may write must not lead to a file of this user
_LOCK_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


def replace_file(
    path: Path, data: bytes | memoryview | Iterator[bytes], error: type[Error], mode: int = 0o600
) -> None:
    """Replace ``path`` by ``data``, completely or not at all; durable when this returns, and of this mode.

    Args:
        path: the file.
        data: its bytes; or pieces, of which one at a time is in memory. What an iterator raises leaves the old file.
        error: what to raise.
        mode: the file's mode.

    Raises:
        error: it cannot be written, or not be made durable; the old or the new file is complete.
    """
    temporary = None
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "wb") as file:
            file.writelines(data if isinstance(data, Iterator) else (data,))
            file.flush()
            os.fchmod(descriptor, mode)
            with measure_step("fsync"):
                os.fsync(descriptor)
        # after the sync: a power cut never leaves the name on an incomplete file
        os.replace(temporary, path)
        temporary = None
        with measure_step("fsync"):
            sync_folder(path.parent)
    except OSError as cause:
        raise error(f"{path}: cannot be written: {cause.strerror}") from None
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def map_file(path: Path) -> memoryview:
    """Return the bytes of a file without reading them into memory; valid after it is removed.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        if not os.fstat(file.fileno()).st_size:  # mmap(2) maps nothing of an empty file
            return memoryview(b"")
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def write_whole(file: io.FileIO, data: bytes | bytearray | memoryview) -> None:
    """Write all of ``data``: an unbuffered file may take less at a time, where a disk is nearly full.

    Raises:
        OSError: it cannot be written.
    """
    left = memoryview(data)
    while left:
        left = left[file.write(left) :]


def create_private_file(path: Path) -> IO[bytes]:
    """Create the new file ``path``, mode 0600 whatever the umask, for writing.

    Raises:
        OSError: it exists, or cannot be created.
    """
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")


@contextlib.contextmanager
def create_folder(folder: Path, error: type[Error]) -> Iterator[Path]:
    """Create ``folder``, mode 0700, and let the block fill it; on an error it is as it was before.

    Raises:
        error: it is not empty, or it cannot be created or filled.
    """
    made = not folder.exists()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise error(f"{folder}: the folder is not empty; choose another, nothing was changed")
        folder.chmod(0o700)
        try:
            yield folder
        except BaseException:
            for path in folder.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            if made:
                folder.rmdir()
            raise
    except OSError as cause:
        raise error(f"{folder}: cannot be used: {cause.strerror}; nothing was made") from None


def require_private(folder: Path, error: type[Error]) -> None:
    """Refuse a folder in which others could replace files.

    Raises:
        error: its group or others may write in it.
    """
    try:
        mode = folder.stat().st_mode & 0o777
    except OSError as cause:
        raise error(f"{folder}: cannot be used: {cause.strerror}") from None
    if mode & 0o022:
        raise error(
            f"{folder}: others may change what is in this folder (mode {mode:04o}, expected 0700); if nobody has, run: "
            f"chmod 700 {folder}"
        )


def move_file(source: Path, target: Path) -> None:
    """Rename ``source`` to ``target``, replacing it; durable when this returns."""
    os.replace(source, target)
    sync_folder(target.parent)


def take_lock(path: Path) -> int | None:
    """Take the lock file ``path`` without waiting; return its descriptor, or None if another process holds it.

    The lock ends when the descriptor is closed, or with the process, however that ends (flock(2)).
    """
    descriptor = os.open(path, _LOCK_FLAGS, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


@contextlib.contextmanager
def hold_lock(path: Path) -> Iterator[None]:
    """Hold the lock file ``path`` while the block runs; wait for whoever holds it now."""
    descriptor = os.open(path, _LOCK_FLAGS, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Make the names in the folder durable, so that a power cut does not undo a new name or a rename."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
