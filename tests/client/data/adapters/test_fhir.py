"""Resources are read line by line; a line that is none is reported with its number."""

import gzip
import json
from pathlib import Path

import pytest

from client.data.adapters import fhir
from client.data.adapters.fhir import list_fhir_files, read_resources
from privacy.errors import DataError, DataUnavailableError

GOOD = json.dumps({"resourceType": "Patient", "id": "1"}).encode()


def read(path: Path) -> tuple[list[int], list[tuple[str, int]], str]:
    """The numbers of the lines that are resources, what was reported, and the file's SHA-256."""
    reported, lines = list[tuple[str, int]](), list[int]()
    resources = read_resources(path, lambda reason, line: reported.append((reason, line)))
    while True:
        try:
            lines.append(next(resources).number)
        except StopIteration as stop:
            return lines, reported, stop.value


def test_lines_are_read_plain_and_compressed(tmp_path: Path) -> None:
    text = b"\xef\xbb\xbf" + GOOD + b"\r\n\n" + GOOD
    (tmp_path / "a.ndjson").write_bytes(text)
    (tmp_path / "a.ndjson.gz").write_bytes(gzip.compress(text))
    for name in ("a.ndjson", "a.ndjson.gz"):
        lines, reported, sha256 = read(tmp_path / name)
        assert (lines, reported) == ([1, 3], [])
        assert len(sha256) == 64


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (GOOD[:-1], "is no JSON"),
        (b"\xff", "is no JSON"),
        (b'{"resourceType": "Patient", "id": "1", "id": "2"}', "is no JSON"),
        (b'{"resourceType": "Patient", "a": Infinity}', "is no JSON"),
        (b"[1]", "is no FHIR resource"),
        (b'{"id": "1"}', "is no FHIR resource"),
        (b'{"resourceType": 7}', "is no FHIR resource"),
    ],
)
def test_line_that_is_no_resource_is_reported(tmp_path: Path, line: bytes, reason: str) -> None:
    (tmp_path / "a.ndjson").write_bytes(GOOD + b"\n" + line + b"\n" + GOOD)
    lines, reported, _ = read(tmp_path / "a.ndjson")
    assert lines == [1, 3]
    assert [number for _, number in reported] == [2]
    assert reason in reported[0][0]


def test_line_without_an_end_is_left_out_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fhir, "MAX_LINE", 100)
    monkeypatch.setattr(fhir, "_PART", 64)
    (tmp_path / "a.ndjson").write_bytes(b'{"a": "' + b"x" * 10_000 + b'"}\n' + GOOD)
    assert read(tmp_path / "a.ndjson")[:2] == ([2], [("is longer than 100 bytes", 1)])


@pytest.mark.parametrize(
    "data", [gzip.compress(GOOD * 1000, mtime=0)[:-20], b"no gzip", b"\x1f\x8b\x08\x00" + bytes(20)]
)
def test_damaged_gzip_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.ndjson.gz").write_bytes(data)
    with pytest.raises(DataError, match="is no whole gzip file"):
        read(tmp_path / "a.ndjson.gz")


def test_folder_without_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no file"):
        list_fhir_files(tmp_path)
    with pytest.raises(DataUnavailableError, match="cannot be read"):
        list_fhir_files(tmp_path / "absent")
    (tmp_path / "b.ndjson").mkdir()
    with pytest.raises(DataError, match="expected a file"):
        read(tmp_path / "b.ndjson")
