"""Keep synthetic patients (Synthea) at three hospitals, two with OMOP and one with FHIR, for ``omop_and_fhir.yaml``.

    python examples/records/prepare_synthea_hospitals.py OMOP.sqlite.gz FHIR OUT

OMOP.sqlite.gz is a SQLite database of the common data model 5.4, such as ``Synthea27Nj`` of OHDSI's EunomiaDatasets.
FHIR is a folder with a bulk export, such as SMART's ``sample-bulk-fhir-datasets``. OUT gets ``omop-east`` and
``omop-west``, each with every second person of the database, and ``fhir``; and in each the mapping that leads to the
study, from ``examples/records/hospitals/``.
"""

import argparse
import gzip
import shutil
import sqlite3
from pathlib import Path
from typing import Final

MAPPINGS: Final = Path(__file__).parent / "hospitals"


def write_omop(packed: Path, folder: Path, place: int) -> None:
    """Write the database without the persons of the other hospital."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "omop.sqlite"
    path.write_bytes(gzip.decompress(packed.read_bytes()))
    database = sqlite3.connect(path)
    tables = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    with database:
        for table in tables:
            columns = [row[1] for row in database.execute(f'PRAGMA table_info("{table}")')]
            if "person_id" in columns:
                database.execute(f'DELETE FROM "{table}" WHERE person_id % 2 <> ?', (place,))  # noqa: S608 - its names
    database.close()
    shutil.copy(MAPPINGS / "synthea-omop.yaml", folder / "mapping.yaml")


def write_fhir(export: Path, folder: Path) -> None:
    """Copy the export."""
    (folder / "export").mkdir(parents=True, exist_ok=True)
    for file in export.glob("*.ndjson*"):
        shutil.copy(file, folder / "export")
    shutil.copy(MAPPINGS / "synthea-fhir.yaml", folder / "mapping.yaml")


def main() -> None:
    """Read the sources and write the hospitals' folders."""
    parser = argparse.ArgumentParser(description="Keep synthetic patients at hospitals with OMOP and with FHIR.")
    parser.add_argument("omop", type=Path, metavar="OMOP.sqlite.gz")
    parser.add_argument("fhir", type=Path, metavar="FHIR")
    parser.add_argument("target", type=Path, metavar="OUT")
    asked = parser.parse_args()
    for place, name in enumerate(("omop-east", "omop-west")):
        write_omop(asked.omop, asked.target / name, place)
    write_fhir(asked.fhir, asked.target / "fhir")


if __name__ == "__main__":
    main()
