"""Read a Parquet file, some rows at a time, through pyarrow.

Rules:

* only the columns that are asked for are read, and memory does not grow with the file's rows;
* a column of lists, structures or bytes gives no words: the whole column is refused;
* a column of identifiers that holds numbers with a point is refused as a whole: a data frame made them of whole numbers
  when one was missing, and what they were is lost.
"""

import hashlib
from collections.abc import Generator
from pathlib import Path
from typing import Any

from client.data.adapters.hashed_file import require_regular_file
from client.data.adapters.rows import CHUNK_ROWS, ReportRow, RowChunk, Wanted, write_rows
from privacy.errors import DataError, DataUnavailableError


def read_parquet(
    path: Path, name: str, wanted: Wanted, decimal: str, report: ReportRow
) -> Generator[RowChunk, None, str]:
    """Yield the rows of the file ``path``, and return the SHA-256 of its bytes.

    Args:
        path: the file.
        name: what chunks call it.
        wanted: the columns that are wanted.
        decimal: the decimal mark with which numbers are written.
        report: told of every row that is left out; its place is its number in the file, from 1.

    Raises:
        DataUnavailableError: the file cannot be read now.
        DataError: it is no such file, or lacks a column.
    """
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise DataError("Parquet is read with pyarrow; install it: pip install 'consilium[tables]'") from None
    try:
        require_regular_file(path)
        with path.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
        with parquet.ParquetFile(path) as file:
            schema = file.schema_arrow
            present = wanted.list_present(schema.names)
            _require_words(schema, present, wanted)
            first = 1
            for batch in file.iter_batches(batch_size=CHUNK_ROWS, columns=present):
                values = [_list_values(batch.column(place)) for place in range(batch.num_columns)]
                by_name = dict(zip(batch.schema.names, values, strict=True))
                rows = list(zip(*(by_name[each] for each in present), strict=True))
                words, kept = write_rows(rows, range(first, first + len(rows)), present, wanted, decimal, report)
                first += len(rows)
                yield RowChunk(name, words, kept)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    except pa.ArrowException:
        raise DataError(f"{path}: is no Parquet file that can be read; export it again") from None
    except OSError as cause:
        if cause.strerror is None:  # pyarrow's own, about the bytes
            raise DataError(f"{path}: is no Parquet file that can be read; export it again") from None
        raise DataUnavailableError(f"{path}: cannot be read: {cause.strerror}") from None
    return digest


def _require_words(schema: Any, present: list[str], wanted: Wanted) -> None:
    """Refuse columns that give no words.

    Raises:
        DataError: every such column.
    """
    from pyarrow import types

    wrong = list[str]()
    for name in present:
        kind = schema.field(name).type
        if types.is_dictionary(kind):
            kind = kind.value_type
        if types.is_nested(kind) or types.is_binary(kind) or types.is_large_binary(kind) or types.is_duration(kind):
            wrong.append(f"column '{name}' holds {kind}, expected text, numbers, dates, or yes and no")
        elif name in wanted.ids and types.is_floating(kind):
            wrong.append(
                f"column '{name}' holds identifiers as numbers with a point ({kind}); export them as text or as whole "
                "numbers"
            )
    if wrong:
        raise DataError("; ".join(wrong))


def _list_values(column: Any) -> list[Any]:
    """List the values of a column; numbers of 32 bits keep their type, in which 0.1 is the shortest form of itself."""
    from pyarrow import types

    if types.is_float32(column.type) or types.is_float16(column.type):
        return list(column.to_numpy(zero_copy_only=False))
    return list(column.to_pylist())
