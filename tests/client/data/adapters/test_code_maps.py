"""Public tables between code systems are read whole, or not at all."""

import csv
import gzip
import hashlib
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from client.data.adapters.code_maps import read_code_map
from privacy.errors import DataError, DataUnavailableError
from tests.client.data.conversion.converting import SHARED


def read(path: Path, form: Any, source: str = "icd9cm", target: str = "icd10cm") -> dict[str, tuple[str, ...]]:
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return read_code_map(path, form, source, target, hashlib.sha256(data).hexdigest())


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("gem", "25000 E119 10000\n4019  I10  10000\n4019 I159 10000\n36570 NoDx 11000\n"),
        (
            "gem-csv",
            '"icd9cm","icd10cm","flags"\n"25000","E119","10000"\n4019,I10,1\n4019,I159,1\n36570,NoDx,11000\n',
        ),
        ("pairs", "old,new\n250.00,E11.9\n401.9,I10\n401.9,I15.9\n401.9,I10\n"),
    ],
)
def test_map_is_read_in_each_form(tmp_path: Path, form: str, text: str) -> None:
    (tmp_path / "map").write_text(text)
    assert read(tmp_path / "map", form) == {"25000": ("E119",), "4019": ("I10", "I159")}


def test_groups_of_ccs_are_read(tmp_path: Path) -> None:
    text = "Appendix A\n\nRevised 03/24/2016\n\n1    Tuberculosis\n     01000 01001\n     V1201\n49 Diabetes\n  25000\n"
    (tmp_path / "ccs.txt").write_text(text)
    found = read(tmp_path / "ccs.txt", "ccs", target="ccs")
    assert found == {"01000": ("1",), "01001": ("1",), "V1201": ("1",), "25000": ("49",)}


@pytest.mark.parametrize(
    ("form", "text", "words"),
    [
        ("gem", "25000 E119\n", "expected two codes and the flags"),
        ("gem", "E119 25000 10000\n", "expected a code of icd9cm and one of icd10cm"),
        ("pairs", "a,b\n", "has no codes"),
        ("pairs", 'a,b\n250.00,"E11', "not CSV"),
    ],
)
def test_map_of_another_form_is_refused(tmp_path: Path, form: str, text: str, words: str) -> None:
    (tmp_path / "map").write_text(text)
    with pytest.raises(DataError, match=words):
        read(tmp_path / "map", form)


def test_map_with_another_digest_is_refused(tmp_path: Path) -> None:
    (tmp_path / "map").write_text("25000 E119 10000\n")
    with pytest.raises(DataError, match="the study asks for the file with the SHA-256"):
        read_code_map(tmp_path / "map", "gem", "icd9cm", "icd10cm", "0" * 64)
    with pytest.raises(DataUnavailableError):
        read_code_map(tmp_path / "absent", "gem", "icd9cm", "icd10cm", "0" * 64)


@pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared/data")
def test_published_map_is_that_of_a_plain_loop() -> None:
    path = SHARED / "icd" / "icd9toicd10cmgem.csv.gz"
    expected = defaultdict[str, set[str]](set)
    with gzip.open(path, "rt") as lines:
        for row in csv.DictReader(lines):
            if row["no_map"] == "0":
                expected[row["icd9cm"]].add(row["icd10cm"])
    assert {code: set(targets) for code, targets in read(path, "gem-csv").items()} == expected
    groups = read(SHARED / "icd" / "CCS-SingleDiagnosisGrouper.txt.gz", "ccs", target="ccs")
    assert (groups["25000"], groups["4019"], len(groups)) == (("49",), ("98",), 15072)


def test_map_that_is_damaged_within_its_compression_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "map.csv.gz"
    path.write_bytes(gzip.compress(b"")[:10] + b"\xff" * 40)  # a block of a type that there is none
    with pytest.raises(DataError, match="is no whole gzip file"):
        read_code_map(path, "gem", "icd9cm", "icd10cm", "0" * 64)
