"""The size of the pieces in which sealed updates and aggregates travel."""

from typing import Final

CHUNK_BYTES: Final = 1 << 16
"""With pieces of 1 MiB a coordinator held up to 20 MiB for each site that sends, with these one, for 5 % more time."""
