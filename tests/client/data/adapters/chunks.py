"""What tests of readers of tables share."""

from collections.abc import Generator

from client.data.adapters.rows import RowChunk


def drain(reader: Generator[RowChunk, None, str]) -> tuple[list[RowChunk], str]:
    """Return all chunks of a reader, and the digest that it returns."""
    chunks = list[RowChunk]()
    while True:
        try:
            chunks.append(next(reader))
        except StopIteration as stop:
            return chunks, stop.value
