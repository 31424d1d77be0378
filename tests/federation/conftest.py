"""Folders for federations."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """An empty folder whose path leaves room for a socket's name."""
    with tempfile.TemporaryDirectory(prefix="wood-") as name:
        yield Path(name)
