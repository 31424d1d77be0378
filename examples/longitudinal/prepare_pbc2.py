"""Keep the trial of primary biliary cirrhosis (PBC2) at three hospitals, for ``dynamic_deephit.yaml``.

    python examples/longitudinal/prepare_pbc2.py FOLDER OUT

``FOLDER`` holds ``pbc2.csv``, a row for each visit, as the R packages JM and JMbayes have it. ``OUT`` gets a folder for
each hospital, with its data and the mapping that leads from them to the study:

========  ===========================================================================================================
hospital  its data
========  ===========================================================================================================
north     three tables: visits, patients with the last day on which they were seen and that of their death, transplants
south     a SQLite database with the table as it is; its mapping asks by SQL
west      as north, with semicolons, decimal commas and NA for what is missing
========  ===========================================================================================================

The mappings are in ``examples/longitudinal/hospitals/``. Patients are dealt to the hospitals in turn, and every fourth
one of a hospital is held out for testing. Nothing is computed but days: years are of 365.25 days.

Source: Murtaugh et al. 1994, Primary biliary cirrhosis: prediction of short-term survival based on repeated patient
visits, Hepatology 20:126-134.
"""

import argparse
import contextlib
import csv
import shutil
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import pandas

HOSPITALS: Final = ("north", "south", "west")
MAPPINGS: Final = Path(__file__).parent / "hospitals"
TEST: Final = 4  # of so many patients one is for testing
YEAR_D: Final = 365.25
MEASURED: Final = (
    "drug", "age", "sex", "ascites", "hepatomegaly", "spiders", "edema", "serBilir", "serChol", "albumin", "alkaline",
    "SGOT", "platelets", "prothrombin", "histologic",
)  # fmt: skip
WORDS: Final = ("id", "status", "drug", "sex", "ascites", "hepatomegaly", "spiders", "edema")

Row = dict[str, str]


def read_patients(file: Path) -> list[list[Row]]:
    """Read the visits of each patient, in order of time."""
    patients = dict[str, list[Row]]()
    with file.open(newline="") as lines:
        for row in csv.DictReader(lines):
            patients.setdefault(row["id"], []).append(row)
    return [sorted(rows, key=lambda row: float(row["year"])) for rows in patients.values()]


def write_tables(patients: Sequence[Sequence[Row]], folder: Path) -> None:
    """Write three tables, with points and an empty word for what is missing."""
    write_three(patients, folder, ",", ".", "")


def write_tables_with_commas(patients: Sequence[Sequence[Row]], folder: Path) -> None:
    """Write three tables, with decimal commas and NA for what is missing."""
    write_three(patients, folder, ";", ",", "NA")


def write_three(patients: Sequence[Sequence[Row]], folder: Path, delimiter: str, mark: str, missing: str) -> None:
    """Write visits, patients and transplants."""

    def write(name: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
            writer.writerow(header)
            writer.writerows([each.replace(".", mark) for each in row] for row in rows)

    visits = [row for rows in patients for row in rows]
    write(
        "visits",
        ("patient", "visit", "day", *MEASURED),
        ((row["id"], row["sno."], count_days(row["year"]), *(
            missing if row[name] in ("", "NA") else row[name] for name in MEASURED
        )) for row in visits),
    )  # fmt: skip
    last = [rows[-1] for rows in patients]
    ends = [(row["id"], row["status"], count_days(row["years"])) for row in last]
    write(
        "patients",
        ("patient", "last_seen", "died"),
        ((name, day, day if status == "dead" else "") for name, status, day in ends),
    )
    gone = [(name, day, status) for name, status, day in ends if status == "transplanted"]
    write("transplants", ("patient", "day", "what"), gone)


def write_database(patients: Sequence[Sequence[Row]], folder: Path) -> None:
    """Write the table as it is."""
    (folder / "trial.sqlite").unlink(missing_ok=True)
    table = pandas.DataFrame([row for rows in patients for row in rows]).replace(["", "NA"], None)
    numbers = [name for name in table if name not in WORDS]
    table[numbers] = table[numbers].apply(pandas.to_numeric)
    with contextlib.closing(sqlite3.connect(folder / "trial.sqlite")) as database:
        table.to_sql("pbc2", database, index=False)


def count_days(years: str) -> str:
    """Write years as days."""
    return repr(YEAR_D * float(years))


WRITERS: Final = {"north": write_tables, "south": write_database, "west": write_tables_with_commas}


def write_hospitals(patients: Sequence[Sequence[Row]], target: Path) -> None:
    """Write every hospital's folder under ``target``."""
    for place, hospital in enumerate(HOSPITALS):
        folder, own = target / hospital, patients[place :: len(HOSPITALS)]
        folder.mkdir(parents=True, exist_ok=True)
        WRITERS[hospital](own, folder)
        (folder / "held-out.txt").write_text("".join(f"{rows[0]['id']}\n" for rows in own[TEST - 1 :: TEST]))
        shutil.copy(MAPPINGS / f"pbc2-{hospital}.yaml", folder / "mapping.yaml")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Keep the patients of pbc2.csv at three hospitals.")
    parser.add_argument("source", type=Path, metavar="FOLDER")
    parser.add_argument("target", type=Path, metavar="OUT")
    asked = parser.parse_args()
    write_hospitals(read_patients(asked.source / "pbc2.csv"), asked.target)
