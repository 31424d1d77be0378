"""Files that are replaced whole or not at all."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from privacy.errors import FederationError, SealingError, SiteConfigError
from privacy.files import hold_lock, replace_file, take_lock


def test_replaced_file_is_whole_and_private(tmp_path: Path) -> None:
    replace_file(tmp_path / "a", b"one", SiteConfigError)
    replace_file(tmp_path / "a", b"two", SiteConfigError)
    assert (tmp_path / "a").read_bytes() == b"two"
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["a"]


def test_file_that_cannot_be_replaced_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(SiteConfigError, match="a: cannot be written: Is a directory"):
        replace_file(tmp_path / "a", b"one", SiteConfigError)
    with pytest.raises(FederationError, match="cannot be written: No such file"):
        replace_file(tmp_path / "none" / "a", b"one", FederationError)
    assert os.listdir(tmp_path) == ["a"]


def test_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        take_lock(tmp_path / "lock")
    with pytest.raises(OSError, match="symbolic links"), hold_lock(tmp_path / "lock"):
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_file_is_replaced_by_pieces_or_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a"
    replace_file(path, iter([b"on", b"", b"e"]), SiteConfigError)
    assert path.read_bytes() == b"one"

    def fail() -> Iterator[bytes]:
        yield b"two"
        raise SealingError("nothing to send")

    with pytest.raises(SealingError):
        replace_file(path, fail(), SiteConfigError)
    assert path.read_bytes() == b"one"
    assert os.listdir(tmp_path) == ["a"]
