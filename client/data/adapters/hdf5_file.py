"""Open HDF5 files of unknown origin, by h5py (extra ``genomics``), and read columns of them as words.

Rules:

* nothing outside the file is read: a link, a virtual data set and external storage are refused;
* a damaged file is an error, not a traceback; no column is larger than ``MAX_COLUMN``, whatever a file says;
* a column becomes the words that any typed source gives (``client/data/adapters/rows.py``).
"""

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from client.data.adapters.hashed_file import require_regular_file
from client.data.adapters.rows import UnusableValueError, write_word
from privacy.errors import DataError, DataUnavailableError

MAX_COLUMN: Final = 2 << 30  # bytes of a column as the file declares them; a small file may declare any number
_MAGIC: Final = b"\x89HDF\r\n\x1a\n"


def read_attribute(found: Any, name: str) -> str | None:
    """Return an attribute that is text; None for any other."""
    value = found.attrs.get(name)
    return (
        value.decode("utf-8", "replace") if isinstance(value, bytes) else value if isinstance(value, str) else None
    )


def find_part(file: Any, place: str) -> Any:
    """Find a group or data set by its path.

    Raises:
        DataError: it is not there, or behind a link.
    """
    import h5py

    here = file
    for name in place.split("/"):
        link = here.get(name, getlink=True) if isinstance(here, h5py.Group) else None
        if link is None:
            raise DataError(f"has no '{place}'; is it the format and the layer that the mapping names?")
        if not isinstance(link, h5py.HardLink):
            raise DataError(f"'{place}' is a link; copy the data into the file")
        here = here[name]
    return here


def list_group(file: Any, place: str) -> list[str]:
    """List the names of what is in a group.

    Raises:
        DataError: there is no such group.
    """
    import h5py

    found = find_part(file, place)
    if not isinstance(found, h5py.Group):
        raise DataError(f"'{place}' is no group")
    return [str(name) for name in found]


def find_dataset(file: Any, place: str) -> Any:
    """Find a data set by its path.

    Raises:
        DataError: there is none, or its values are in another file.
    """
    import h5py

    found = find_part(file, place)
    if not isinstance(found, h5py.Dataset):
        raise DataError(f"'{place}' is no data set")
    if found.is_virtual or found.external:
        raise DataError(f"'{place}' has its values in another file; copy them into this one")
    return found


def read_names(file: Any, place: str) -> list[str]:
    """Read names: a data set of text.

    Raises:
        DataError: it is none.
    """
    return read_column(file, place, text_only=True)


def read_column(file: Any, place: str, *, text_only: bool = False, is_id: bool = False) -> list[str]:
    """Read a column as words: text, numbers, yes and no, or categories in either encoding of anndata.

    Raises:
        DataError: it holds anything else, or an identifier that is a number with a point.
    """
    import h5py

    found = find_part(file, place)
    if isinstance(found, h5py.Group):
        if read_attribute(found, "encoding-type") == "categorical":
            return _read_categories(file, f"{place}/codes", f"{place}/categories")
        values, mask = find_dataset(file, f"{place}/values"), find_dataset(file, f"{place}/mask")
        words = _write_words(_load(values, place), place, is_id=is_id)
        return ["" if gone else word for word, gone in zip(words, _load(mask, place).tolist(), strict=True)]
    dataset = find_dataset(file, place)
    group, _, name = place.rpartition("/")
    if not text_only and "categories" in dataset.attrs:
        return _read_categories(file, place, f"{group}/__categories/{name}")
    if dataset.dtype.kind not in ("OSU" if text_only else "OSUiufb") or dataset.ndim != 1:
        raise DataError(f"'{place}' is no column of {'text' if text_only else 'text, numbers, or yes and no'}")
    return _write_words(_load(dataset, place), place, is_id=is_id)


def _read_categories(file: Any, codes: str, categories: str) -> list[str]:
    words = _write_words(_load(find_dataset(file, categories), categories), categories)
    numbers = _load(find_dataset(file, codes), codes)
    if numbers.dtype.kind not in "iu" or (len(numbers) and (numbers.min() < -1 or numbers.max() >= len(words))):
        raise DataError(f"'{codes}' is damaged: a category that is not listed")
    return ["" if number < 0 else words[number] for number in numbers.tolist()]


def _load(dataset: Any, place: str) -> NDArray[Any]:
    """Load a data set, unless it says that it is larger than any column.

    Raises:
        DataError: it does.
    """
    if dataset.size * dataset.dtype.itemsize > MAX_COLUMN:
        raise DataError(f"'{place}' has more than {MAX_COLUMN} bytes")
    return np.asarray(dataset[()])


def _write_words(values: NDArray[Any], place: str, *, is_id: bool = False) -> list[str]:
    listed = list(values) if values.dtype.kind == "f" else values.tolist()
    try:
        return [
            write_word(value.decode("utf-8") if isinstance(value, bytes) else value, is_id=is_id)
            for value in listed
        ]
    except UnicodeDecodeError:
        raise DataError(f"'{place}' has text that is no UTF-8") from None
    except UnusableValueError as error:
        raise DataError(f"'{place}' {error}") from None


def compute_hdf5_digest(path: Path) -> str:
    """Compute the SHA-256 of an HDF5 file.

    Raises:
        DataUnavailableError: it cannot be read now.
        DataError: it is no such file.
    """
    try:
        require_regular_file(path)
        with path.open("rb") as file:
            if file.read(len(_MAGIC)) != _MAGIC:
                raise DataError("is no HDF5 file")
            file.seek(0)
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as cause:
        raise DataUnavailableError(f"{path}: cannot be read: {cause.strerror}") from None
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


@contextlib.contextmanager
def open_hdf5(path: Path) -> Iterator[Any]:
    """Open an HDF5 file; h5py's errors become ours, whatever it meets in a damaged file.

    Raises:
        DataError: the file is damaged, or h5py is not installed.
    """
    try:
        import h5py
    except ImportError:
        raise DataError(
            f"{path}: to read HDF5 files, install the extra genomics: pip install 'consilium[genomics]'"
        ) from None
    try:
        with h5py.File(path, "r", locking=False) as file:
            yield file
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    except (OSError, KeyError, RuntimeError, ValueError, TypeError, MemoryError, AttributeError) as cause:
        raise DataError(f"{path}: is a damaged HDF5 file ({type(cause).__name__}); copy it again") from None
