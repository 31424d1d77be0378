"""Count what a public map saves when one hospital codes in ICD-10 and the study's vocabulary is ICD-9.

One hospital's diagnoses (``codes/north``, made by ``prepare_diabetes130_hospitals.py``) are written a second time as
they would be in ICD-10, by CMS's map from ICD-9. Both tables become records of the same study, the second one without a
map back and with it, by the site's own conversion. What counts is which categories a visit has.
"""

import csv
import gzip
import hashlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import yaml
from numpy.typing import NDArray

from benchmarks.challenges_ways import read_example
from client.data.conversion.convert import convert_to
from privacy.study import parse_terms

_FORWARD, _BACK = "icd9toicd10cmgem.csv.gz", "icd10cmtoicd9gem.csv.gz"
_FULL_LENGTHS: Final = ("", "0", "00")
"""What the source has cut off: the table's codes were numbers once, so 428.0 is 428."""


class Back(NamedTuple):
    """The map from ICD-10 to ICD-9, and what becomes of a code that it leads to several."""

    path: Path
    several: str


def measure_codes(data: Path, temporary: Path) -> list[dict[str, Any]]:
    """Compare the categories that a hospital's visits have, coded in ICD-9, in ICD-10, and in ICD-10 with a map."""
    forward = read_forward_map(data / "codes" / _FORWARD)
    rows = list(recode(data / "codes" / "north" / "events.csv.gz", forward))
    meant = convert_visits(temporary / "nine", [(*row[:3], "icd9cm", row[3]) for row in rows], None)
    coded = [(*row[:3], "icd10cm", row[4]) for row in rows]
    found = []
    for words, several in (
        ("ICD-10, no map", None),
        ("ICD-10, CMS's map, all that a code leads to", "all"),
        ("ICD-10, CMS's map, only what is certain", "unknown"),
    ):
        back = None if several is None else Back(data / "codes" / _BACK, several)
        visits = convert_visits(temporary / str(several), coded, back)
        if visits.shape != meant.shape:  # a patient none of whose visits has a code of the study has no record
            visits = np.zeros_like(meant)
        found.append(
            {
                "codes": words,
                "events": len(rows),
                "categories found": f"{(visits & meant).sum() / meant.sum():.3f}",
                "of those found, right": f"{(visits & meant).sum() / max(1, visits.sum()):.3f}",
            }
        )
    return found


def read_forward_map(path: Path) -> dict[str, str]:
    """Read the first ICD-10 code that each ICD-9 code leads to; those that lead nowhere are left out."""
    first = dict[str, str]()
    with gzip.open(path, "rt", newline="") as lines:
        for row in csv.DictReader(lines):
            if row["no_map"] == "0":
                first.setdefault(row["icd9cm"], row["icd10cm"])
    return first


def recode(path: Path, forward: dict[str, str]) -> Iterator[tuple[str, str, str, str, str]]:
    """Yield patient, visit, order, the code in ICD-9 and in ICD-10 of every diagnosis that the map knows."""
    with gzip.open(path, "rt", newline="", encoding="utf-8") as lines:
        for row in csv.DictReader(lines, delimiter=";"):
            code = row["code"].replace(".", "")
            if row["list"] != "ICD" or not code[:1].isdigit():
                continue
            whole, _, part = row["code"].partition(".")
            code = whole.zfill(3) + part
            known = next((code + zeros for zeros in _FULL_LENGTHS if code + zeros in forward), None)
            if known is not None:
                yield row["pat"], row["case"], row["order"], known, forward[known]


def convert_visits(folder: Path, rows: Sequence[tuple[str, ...]], back: Back | None) -> NDArray[np.bool_]:
    """Convert events to the records of ``next_diagnoses.yaml``; (patients, visits, categories), patients in order."""
    folder.mkdir()
    with (folder / "events.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("patient", "visit", "order", "system", "code"))
        writer.writerows(rows)
    study = read_example("records/next_diagnoses.yaml")
    origin = {
        "kind": "tables",
        "events": [
            {
                "source": {"kind": "csv", "path": "events.csv"},
                "patient": "patient", "visit": "visit", "time": "order", "format": "days",
                "codes": [{"column": "code", "system_column": "system",
                           "systems": {"icd9cm": "icd9cm", "icd10cm": "icd10cm"}}],
            }
        ],
    }  # fmt: skip
    mapping: dict[str, Any] = {
        "mapping": 1, "contract": study["data"]["name"], "split": {"by": "fraction", "test": 0.25}, "origin": origin
    }  # fmt: skip
    if back is not None:
        systems = {"source": "icd10cm", "target": "icd9cm"}
        plain = folder / "map.csv"
        with gzip.open(back.path) as packed, plain.open("wb") as unpacked:
            shutil.copyfileobj(packed, unpacked)
        sha256 = hashlib.sha256(plain.read_bytes()).hexdigest()
        study["data"]["maps"] = [{**systems, "form": "gem-csv", "sha256": sha256, "several": back.several}]
        mapping["maps"] = [{**systems, "path": "map.csv"}]
    (folder / "mapping.yaml").write_text(yaml.safe_dump(mapping), encoding="utf-8")
    (out := folder / "out").mkdir(mode=0o700)
    convert_to(parse_terms(study).data, folder / "mapping.yaml", out, 1.0, divided=False)
    with np.load(out / "train.npz") as arrays:
        visits: NDArray[np.bool_] = arrays["visits"][np.argsort(arrays["patient"])]
    return visits
