"""The size of the pieces in which sealed updates and aggregates travel."""

from typing import Final

CHUNK_BYTES: Final = 1 << 20
"""A fourth of the largest message of the control plane. Smaller ones cost more time each, larger ones more memory."""
