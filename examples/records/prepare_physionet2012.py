"""Keep the intensive-care stays of the PhysioNet challenge 2012 at three hospitals, for ``gru_d.yaml``.

    python examples/records/prepare_physionet2012.py FOLDER OUT

``FOLDER`` holds ``set-a/`` with a text file for each stay and ``Outcomes-a.txt``, as PhysioNet publishes them; or
``set_a.npz``, with the arrays ptr, minute, variable, value, names, static, static_names, outcome and outcome_names of
the same measurements.
``OUT`` gets a folder for each hospital, with two tables, of stays and of measurements, and the mapping that leads from
them to the study:

========  =============================================================================================
hospital  its data
========  =============================================================================================
north     CSV files; times are minutes since the stay's beginning
south     the same in a SQLite database
west      CSV files with semicolons, decimal commas, and dates, which are made up
========  =============================================================================================

The mappings are in ``examples/records/hospitals/``. Stays are dealt to the hospitals in turn, and every fourth one of a
hospital is held out for testing. Nothing is computed: hours, scales and gaps are the contract's.

Source: Silva et al. 2012, Predicting in-hospital mortality of ICU patients, Computing in Cardiology 39:245-248.
"""

import argparse
import csv
import datetime
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

HOSPITALS: Final = ("north", "south", "west")
MAPPINGS: Final = Path(__file__).parent / "hospitals"
TEST: Final = 4  # of so many stays one is for testing
LEAST_MINUTES: Final = 49 * 60  # of a stay; deaths are predicted from its first 48 hours
FACTS: Final = ("Age", "Gender", "Height", "ICUType")
NOT_MEASURED: Final = ("RecordID", *FACTS)  # these stand among the measurements
_FIRST_DAY: Final = datetime.datetime(2012, 1, 1)


class Stay(NamedTuple):
    """A stay.

    Attributes:
        number: of the stay.
        measurements: (minute, variable, value) in the file's order.
        minutes: its length.
        died: whether the patient died in hospital.
        facts: by the names of ``FACTS``; -1 is unknown.
    """

    number: str
    measurements: list[tuple[int, str, float]]
    minutes: int
    died: bool
    facts: dict[str, float]


def read_stays(folder: Path) -> Iterator[Stay]:
    """Read the stays in the form that ``folder`` has."""
    return read_arrays(folder / "set_a.npz") if (folder / "set_a.npz").exists() else read_texts(folder)


def read_texts(folder: Path) -> Iterator[Stay]:
    """Read one file for each stay: lines of ``hh:mm,variable,value`` after a header."""
    with (folder / "Outcomes-a.txt").open(newline="") as lines:
        outcomes = {row["RecordID"]: row for row in csv.DictReader(lines)}
    for number, outcome in sorted(outcomes.items()):
        with (folder / "set-a" / f"{number}.txt").open(newline="") as lines:
            every = [
                (60 * int(row["Time"][:2]) + int(row["Time"][3:]), row["Parameter"], float(row["Value"]))
                for row in csv.DictReader(lines)
            ]
        rows = [row for row in every if row[1] not in NOT_MEASURED and row[2] >= 0]  # -1: an unknown weight
        facts = {name: value for _, name, value in every if name in FACTS}
        days, died = outcome["Length_of_stay"], outcome["In-hospital_death"] == "1"
        yield Stay(number, rows, count_minutes(days), died, facts)


def read_arrays(file: Path) -> Iterator[Stay]:
    """Read the measurements of all stays, one after the other; stay i has those from ptr[i] to ptr[i + 1]."""
    with np.load(file) as arrays:
        found = {name: arrays[name] for name in arrays}
    outcomes = dict(zip(found["outcome_names"].tolist(), found["outcome"].T, strict=True))
    names = found["names"][found["variable"]]
    for number, (start, end) in enumerate(zip(found["ptr"], found["ptr"][1:], strict=False)):
        columns = (found["minute"][start:end], names[start:end], found["value"][start:end])
        rows = [(int(minute), str(name), float(value)) for minute, name, value in zip(*columns, strict=True)]
        days, died = str(outcomes["Length_of_stay"][number]), bool(outcomes["In-hospital_death"][number])
        static = zip(found["static_names"].tolist(), found["static"][number].tolist(), strict=True)
        facts = {name: value for name, value in static if name in FACTS}
        yield Stay(str(number), rows, count_minutes(days), died, facts)


def count_minutes(days: str) -> int:
    """Count the minutes of a stay of so many days; -1 stands for an unknown length."""
    return max(1440 * int(days), LEAST_MINUTES)


def write_minutes(stays: Sequence[Stay], folder: Path) -> None:
    """Write CSV files with minutes since the beginning of the stay."""
    write_table(folder / "stays.csv", ",", ("stay", "begin", "end", "how"), list_ends(stays))
    rows = ((name_patient(stay), *row) for stay in stays for row in stay.measurements)
    write_table(folder / "measurements.csv", ",", ("stay", "minute", "name", "value"), rows)


def write_database(stays: Sequence[Stay], folder: Path) -> None:
    """Write the same tables into a database."""
    (folder / "icu.sqlite").unlink(missing_ok=True)
    database = sqlite3.connect(folder / "icu.sqlite")
    with database:
        database.execute('CREATE TABLE stays (stay TEXT, "begin" INTEGER, "end" INTEGER, how TEXT)')
        database.execute("CREATE TABLE measurements (stay TEXT, minute INTEGER, name TEXT, value REAL)")
        database.executemany("INSERT INTO stays VALUES (?, ?, ?, ?)", list_ends(stays))
        rows = ((name_patient(stay), *row) for stay in stays for row in stay.measurements)
        database.executemany("INSERT INTO measurements VALUES (?, ?, ?, ?)", rows)
    database.close()


def write_dates(stays: Sequence[Stay], folder: Path) -> None:
    """Write files as a German hospital might have them; a stay begins a day after the one before it."""
    began = {name_patient(stay): _FIRST_DAY + datetime.timedelta(days=place) for place, stay in enumerate(stays)}

    def write_time(stay: str, minute: int) -> str:
        return f"{began[stay] + datetime.timedelta(minutes=minute):%d.%m.%Y %H:%M}"

    ends = (
        (stay, write_time(stay, begin), write_time(stay, end), {"died": "verstorben", "left": "entlassen"}[how])
        for stay, begin, end, how in list_ends(stays)
    )
    write_table(folder / "aufenthalte.csv", ";", ("Fall", "Beginn", "Ende", "Ausgang"), ends)
    rows = (
        (name_patient(stay), write_time(name_patient(stay), minute), variable, repr(value).replace(".", ","))
        for stay in stays
        for minute, variable, value in stay.measurements
    )
    write_table(folder / "messwerte.csv", ";", ("Fall", "Zeit", "Name", "Wert"), rows)


def list_ends(stays: Sequence[Stay]) -> Iterator[tuple[str, int, int, str]]:
    """Yield name, beginning and end of each stay, and whether the patient died or left."""
    yield from ((name_patient(stay), 0, stay.minutes, "died" if stay.died else "left") for stay in stays)


def name_patient(stay: Stay) -> str:
    """Name the patient of a stay."""
    return f"stay-{stay.number}"


def write_table(path: Path, delimiter: str, header: Sequence[str], rows: Any) -> None:
    """Write a CSV file."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


WRITERS: Final = {"north": write_minutes, "south": write_database, "west": write_dates}


def write_hospitals(stays: Sequence[Stay], target: Path) -> None:
    """Write every hospital's folder under ``target``."""
    for place, hospital in enumerate(HOSPITALS):
        folder, own = target / hospital, stays[place :: len(HOSPITALS)]
        folder.mkdir(parents=True, exist_ok=True)
        WRITERS[hospital](own, folder)
        held_out = [f"{name_patient(stay)}\n" for stay in own[TEST - 1 :: TEST]]
        (folder / "held-out.txt").write_text("".join(held_out))
        shutil.copy(MAPPINGS / f"icu-{hospital}.yaml", folder / "mapping.yaml")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description="Keep the stays of the PhysioNet challenge 2012 at three hospitals."
    )
    parser.add_argument("source", type=Path, metavar="FOLDER")
    parser.add_argument("target", type=Path, metavar="OUT")
    asked = parser.parse_args()
    write_hospitals(list(read_stays(asked.source)), asked.target)
