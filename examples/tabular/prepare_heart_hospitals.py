"""Keep the four hospitals of the UCI heart disease collection each in a form of its own, for ``logistic.yaml``.

    python examples/tabular/prepare_heart_hospitals.py FOLDER OUT

FOLDER has the collection's four files (https://archive.ics.uci.edu/dataset/45), with a header row. OUT gets a folder
for each hospital, with its data as such a hospital might have them, and the mapping that leads from them to the study:

============  =======================================================================================================
hospital      its data
============  =======================================================================================================
cleveland     a text file from a German spreadsheet: Windows letters, semicolons, decimal commas, words for codes, dates
              of birth and of admission instead of an age
budapest      a SQLite database: patients in one table, examinations in another
zurich        a Parquet file
long-beach    an Excel workbook with two sheets
============  =======================================================================================================

The mappings are in ``examples/tabular/hospitals/``. Dates of birth and identifiers are made up, so that ages and order
are those of the collection.
"""

import argparse
import csv
import datetime
import shutil
import sqlite3
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

Row = dict[str, str]

HOSPITALS: Final = {
    "cleveland": "processed.cleveland.data",
    "budapest": "processed.hungarian.data",
    "zurich": "processed.switzerland.data",
    "long-beach": "processed.va.data",
}
MAPPINGS: Final = Path(__file__).parent / "hospitals"
PAIN: Final = {"1": "typische Angina", "2": "atypische Angina", "3": "nicht anginöser Schmerz", "4": "kein Schmerz"}
YES: Final = {"1": "ja", "0": "nein", "?": ""}
_FIRST_DAY: Final = datetime.date(1988, 1, 4)


def read_patients(path: Path, hospital: str) -> list[Row]:
    """Read a hospital's patients; each gets an identifier by its place in the file."""
    with path.open(encoding="utf-8", newline="") as file:
        return [
            {"patient": f"{hospital[0].upper()}{place:04}", **row}
            for place, row in enumerate(csv.DictReader(file), 1)
        ]


def choose_dates(place: int, age: int) -> tuple[datetime.date, datetime.date]:
    """Return a date of birth and one of admission between which ``age`` years were completed."""
    admission = _FIRST_DAY + datetime.timedelta(days=place * 3)
    birthday = admission - datetime.timedelta(days=place * 7 % 360)
    if (birthday.month, birthday.day) == (2, 29):
        birthday += datetime.timedelta(days=1)
    return birthday.replace(year=birthday.year - age), admission


def write_text_file(rows: Sequence[Row], folder: Path) -> None:
    """Write the rows as a German spreadsheet does."""
    with (folder / "Export 1988.csv").open("w", encoding="cp1252", newline="") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerow(
            ("PatNr", "Geschlecht", "geb.", "Aufnahme", "Schmerz", "RR (mmHg)", "Cholesterin", "NBZ > 120", "EKG",
             "Puls max.", "Angina bei Übung", "ST-Senkung", "ST-Verlauf", "Gefäße", "Thallium", "Verengung")
        )  # fmt: skip
        for place, row in enumerate(rows):
            birth, admission = choose_dates(place, int(row["age"]))
            writer.writerow(
                (
                    row["patient"], {"0": "weiblich", "1": "männlich"}[row["sex"]], f"{birth:%d.%m.%Y}",
                    f"{admission:%d.%m.%Y}", PAIN[row["cp"]], row["trestbps"], row["chol"], YES[row["fbs"]],
                    row["restecg"], row["thalach"], YES[row["exang"]], row["oldpeak"].replace(".", ","), row["slope"],
                    row["ca"].replace("?", "k. A."), row["thal"].replace("?", "k. A."), row["target"],
                )
            )  # fmt: skip


def write_database(rows: Sequence[Row], folder: Path) -> None:
    """Write the rows as two tables of a database."""
    path = folder / "clinic.sqlite"
    path.unlink(missing_ok=True)
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE person (number TEXT PRIMARY KEY, age INTEGER, gender TEXT)")
        database.execute(
            "CREATE TABLE examination (person TEXT REFERENCES person, pain INTEGER, pressure REAL, cholesterol REAL, "
            "sugar BOOLEAN, ecg INTEGER, rate REAL, angina BOOLEAN, depression REAL, slope INTEGER, vessels INTEGER, "
            "scan INTEGER, narrowed BOOLEAN)"
        )
        database.executemany(
            "INSERT INTO person VALUES (?, ?, ?)",
            [(row["patient"], int(row["age"]), {"0": "female", "1": "male"}[row["sex"]]) for row in rows],
        )
        names = (
            "cp",
            "trestbps",
            "chol",
            "fbs",
            "restecg",
            "thalach",
            "exang",
            "oldpeak",
            "slope",
            "ca",
            "thal",
            "target",
        )
        database.executemany(
            f"INSERT INTO examination VALUES (?{', ?' * len(names)})",  # noqa: S608 - question marks
            [(row["patient"], *(None if row[name] == "?" else float(row[name]) for name in names)) for row in rows],
        )
    database.close()


def write_parquet(rows: Sequence[Row], folder: Path) -> None:
    """Write the rows as a data frame does, with numbers as numbers."""
    import pandas as pd

    table = pd.DataFrame(rows).replace("?", None)
    numbers = [name for name in table.columns if name != "patient"]
    table[numbers] = table[numbers].astype(float)
    table.to_parquet(folder / "patients.parquet", index=False)


def write_workbook(rows: Sequence[Row], folder: Path) -> None:
    """Write the rows as a workbook with a title above the header and a sheet of explanations."""
    import openpyxl

    book = openpyxl.Workbook()
    about = book.active
    about.title = "Read me"
    about.append(["All patients of the cardiology clinic"])
    sheet = book.create_sheet("Patients")
    sheet.append(["Cardiology, Long Beach"])
    names = [name for name in rows[0] if name != "patient"]
    sheet.append(["MRN", *names])
    for row in rows:
        sheet.append([row["patient"], *(None if row[name] == "?" else float(row[name]) for name in names)])
    book.save(folder / "cardiology.xlsx")


WRITERS: Final[dict[str, Callable[[Sequence[Row], Path], None]]] = {
    "cleveland": write_text_file,
    "budapest": write_database,
    "zurich": write_parquet,
    "long-beach": write_workbook,
}


def prepare(source: Path, target: Path) -> None:
    """Read the collection in ``source`` and write every hospital's folder under ``target``."""
    for hospital, name in HOSPITALS.items():
        folder = target / hospital
        folder.mkdir(parents=True, exist_ok=True)
        WRITERS[hospital](read_patients(source / name, hospital), folder)
        shutil.copy(MAPPINGS / f"{hospital}.yaml", folder / "mapping.yaml")


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("source", type=Path, metavar="FOLDER")
    parser.add_argument("target", type=Path, metavar="OUT")
    chosen = parser.parse_args()
    prepare(chosen.source, chosen.target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
