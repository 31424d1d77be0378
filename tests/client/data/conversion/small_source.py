"""A hospital's export of the small study's patients, and a mapping that leads from it to the contract."""

from pathlib import Path
from typing import Any

import yaml

from benchmarks.small_study import small_terms, write_patients, write_study


def write_mapping(folder: Path, **changes: Any) -> Path:
    """The mapping file; ``changes`` replace its keys."""
    value = {"mapping": 1, "contract": "small", "source": {"kind": "csv", "path": "export.csv"}, **changes}
    path = folder / "mapping.yaml"
    path.write_text(yaml.safe_dump(value), encoding="utf-8")
    return path


def write_source(folder: Path, patients: int = 300, **changes: Any) -> Path:
    """``study.yaml``, ``export.csv`` and ``mapping.yaml``; return the mapping file."""
    folder.mkdir(parents=True, exist_ok=True)
    write_study(folder / "study.yaml", small_terms())
    write_patients(folder / "export.csv", patients, "a", seed=1)
    return write_mapping(folder, **changes)


def add_rows(folder: Path, *rows: str) -> None:
    """Append rows to the export."""
    path = folder / "export.csv"
    path.write_text(path.read_text(encoding="utf-8") + "".join(f"{row}\n" for row in rows), encoding="utf-8")
