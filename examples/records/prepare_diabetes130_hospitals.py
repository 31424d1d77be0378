"""Keep the hospital encounters of diabetics at three hospitals, each in a form of its own, for ``next_diagnoses.yaml``.

    python examples/records/prepare_diabetes130_hospitals.py FOLDER OUT

FOLDER has ``diabetic_data.csv`` or ``encounters.csv.gz``, as for ``prepare_diabetes130_visits.py``. OUT gets a folder
for each hospital, with its data as such a hospital might have them, and the mapping that leads from them to the study:

========  ===========================================================================================================
hospital  its data
========  ===========================================================================================================
north     one long table, compressed: a row for each diagnosis and each fact, with semicolons; codes as numbers
south     the encounters as they are: a row for each, with three columns of diagnoses
west      a SQLite database with a table of visits, with dates, and a table of diagnoses
========  ===========================================================================================================

The mappings are in ``examples/records/hospitals/``. The source names no hospital and no date: patients are dealt to the
hospitals in turn, and dates are made up, one visit a month.
"""

import argparse
import csv
import datetime
import gzip
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

Row = dict[str, str]

HOSPITALS: Final = ("north", "south", "west")
MAPPINGS: Final = Path(__file__).parent / "hospitals"
DIAGNOSES: Final = ("diag_1", "diag_2", "diag_3")
_FIRST_DAY: Final = datetime.date(1999, 1, 15)


def read_encounters(folder: Path) -> Iterator[Row]:
    """Read the rows of the table, whichever of the two files there is."""
    plain, packed = folder / "diabetic_data.csv", folder / "encounters.csv.gz"
    with plain.open(newline="") if plain.exists() else gzip.open(packed, "rt", newline="") as lines:
        for row in csv.DictReader(lines):
            patient, visit = row.get("patient") or row["patient_nbr"], row.get("visit") or row["encounter_id"]
            yield {
                "patient": f"patient-{patient}",
                "visit": visit,
                **{name: row[name] for name in (*DIAGNOSES, "readmitted")},
            }


def write_long_table(rows: Sequence[Row], folder: Path) -> None:
    """Write a row for each diagnosis, and one for what the hospital calls readmission."""
    with gzip.open(folder / "events.csv.gz", "wt", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerow(("pat", "case", "order", "list", "code"))
        for row in rows:
            begin = (row["patient"], row["visit"], row["visit"])
            writer.writerows((*begin, "ICD", row[name]) for name in DIAGNOSES if row[name] != "?")
            writer.writerow((*begin, "own", f"readmitted {row['readmitted']}"))


def write_encounters(rows: Sequence[Row], folder: Path) -> None:
    """Write the encounters as the source has them."""
    with (folder / "encounters.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_database(rows: Sequence[Row], folder: Path) -> None:
    """Write two tables; codes have their leading zeros, and a patient's visits are a month apart."""
    (folder / "clinic.sqlite").unlink(missing_ok=True)
    database = sqlite3.connect(folder / "clinic.sqlite")
    with database:
        database.execute("CREATE TABLE visit (number TEXT, patient TEXT, admitted TEXT, discharged TEXT)")
        database.execute("CREATE TABLE diagnosis (visit TEXT, icd9 TEXT)")
        visits = dict[str, int]()
        for row in sorted(rows, key=lambda row: int(row["visit"])):
            number = visits[row["patient"]] = visits.get(row["patient"], -1) + 1
            day = _FIRST_DAY + datetime.timedelta(days=30 * number)
            written = (day.strftime("%d.%m.%Y"), (day + datetime.timedelta(days=3)).strftime("%d.%m.%Y"))
            name = f"{row['patient']}/{row['visit']}"
            database.execute("INSERT INTO visit VALUES (?, ?, ?, ?)", (name, row["patient"], *written))
            codes = [(name, restore_zeros(row[each])) for each in DIAGNOSES if row[each] != "?"]
            database.executemany("INSERT INTO diagnosis VALUES (?, ?)", codes)
    database.close()


def restore_zeros(code: str) -> str:
    """Write a code of ICD-9 with its leading zeros: 8 is 008."""
    whole, dot, part = code.partition(".")
    return (whole if whole[0] in "VE" else whole.zfill(3)) + dot + part


WRITERS: Final = {"north": write_long_table, "south": write_encounters, "west": write_database}


def prepare(source: Path, target: Path) -> None:
    """Read the encounters in ``source`` and write every hospital's folder under ``target``."""
    rows = list(read_encounters(source))
    for place, hospital in enumerate(HOSPITALS):
        folder = target / hospital
        folder.mkdir(parents=True, exist_ok=True)
        own = [row for row in rows if int(row["patient"].removeprefix("patient-")) % len(HOSPITALS) == place]
        WRITERS[hospital](own, folder)
        shutil.copy(MAPPINGS / f"visits-{hospital}.yaml", folder / "mapping.yaml")


def main() -> None:
    """Read the folder and write those of the hospitals."""
    parser = argparse.ArgumentParser(description="Keep the encounters of diabetics at three hospitals.")
    parser.add_argument("source", type=Path, metavar="FOLDER")
    parser.add_argument("target", type=Path, metavar="OUT")
    asked = parser.parse_args()
    prepare(asked.source, asked.target)


if __name__ == "__main__":
    main()
