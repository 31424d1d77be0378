"""Measure the conversion of a hospital's table: rows a second, and memory.

``python -m benchmarks.conversion [--json] [--rows N] [--folder FOLDER]``. A table of ten columns is written once in
each form: a German text file (semicolons, decimal commas, words for codes, dates instead of an age), SQLite, Parquet,
Excel, and a CSV file that keeps its contract. A process of its own for each form reads it, as ``data add`` does: by its
mapping to a snapshot, or, of the last one, into memory.

* ``rows_s``: rows a second of processor time, from opening the source to the snapshot's last byte.
* ``before_mb``: the process's resident size in MiB before; ``peak_mb``: its largest one.
* Excel takes a million rows at most, and is slow: it gets a tenth of the rows.
"""

import csv
import datetime
import json
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click
import yaml

from benchmarks.memory import read_status_mb
from privacy.command_line import print_json, print_table, say
from privacy.errors import SiteConfigError
from privacy.study import TableContract

_FORMS: Final = ("text", "sqlite", "parquet", "excel", "plain")
_NAMES: Final = ("patient", "sex", "age", "pressure", "weight", "crp", "glucose", "ward", "admitted", "died")
_CONTRACT: Final = TableContract.model_validate(
    {
        "name": "bench",
        "patient": "patient",
        "ranges_from": "made up",
        "features": [
            {"kind": "category", "name": "sex", "values": ["f", "m"]},
            {"kind": "number", "name": "age", "low": 0, "high": 110},
            {"kind": "number", "name": "pressure", "low": 60, "high": 240},
            {"kind": "number", "name": "weight", "low": 30, "high": 200},
            {"kind": "number", "name": "crp", "low": 0, "high": 300},
            {"kind": "number", "name": "glucose", "low": 0, "high": 40},
            {"kind": "category", "name": "ward", "values": [f"w{number}" for number in range(20)]},
            {"kind": "date", "name": "admitted", "earliest": "2010-01-01", "latest": "2026-12-31"},
        ],
        "label": {"name": "died", "positive": ["1"], "negative": ["0"]},
    }
)
_TEXT_COLUMNS: Final = {
    "sex": {"from": "sex", "values": {"weiblich": "f", "männlich": "m"}},
    "age": {
        "kind": "elapsed",
        "from": "born",
        "to": "admitted",
        "unit": "completed years",
        "format": "DD.MM.YYYY",
    },
    "glucose": {"from": "glucose", "unit": "mg/dL", "to_unit": "mmol/L", "molar_mass": 180.156},
    "admitted": {"kind": "date", "from": "admitted", "format": "DD.MM.YYYY"},
}


@click.command()
@click.option("--rows", default=2_000_000, show_default=True, type=click.IntRange(1000))
@click.option("--form", "forms", multiple=True, type=click.Choice(_FORMS), help="Only this one; repeat.")
@click.option("--folder", type=click.Path(path_type=Path, exists=True, file_okay=False), help="Of the files.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--use", hidden=True, type=click.Path(path_type=Path), help="A folder with a table, in this process.")
def main(rows: int, forms: tuple[str, ...], folder: Path | None, as_json: bool, use: Path | None) -> None:
    """Measure the conversion of a table in each form."""
    if use is not None:
        print_json(convert(use))
        return
    results = list[dict[str, Any]]()
    for form in forms or _FORMS:
        count = rows // 10 if form == "excel" else rows
        with tempfile.TemporaryDirectory(dir=folder) as made:
            size = write_table(Path(made), form, count)
            say(f"{form}: {count} rows, {size / (1 << 20):.0f} MiB")
            command = [sys.executable, "-m", "benchmarks.conversion", "--use", made]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
            results.append({"form": form, "rows": count, "file_mb": size / (1 << 20), **json.loads(done.stdout)})
    if as_json:
        print_json({"conversion": results})
    else:
        print_table(
            ("form", "rows", "file MiB", "rows/s", "before MiB", "peak MiB"),
            [
                (
                    each["form"],
                    str(each["rows"]),
                    f"{each['file_mb']:.0f}",
                    f"{each['rows_s']:.0f}",
                    f"{each['before_mb']:.0f}",
                    f"{each['peak_mb']:.0f}",
                )
                for each in results
            ],
        )


def convert(folder: Path) -> dict[str, float]:
    """Convert the table in ``folder``, in this process."""
    from client.data.conversion.convert import convert_to
    from client.data.site_data import read_contents

    before, begin = read_status_mb("VmRSS"), time.process_time()
    plain = folder / "plain.csv"
    if plain.exists():
        records = len(read_contents(_CONTRACT, plain).ids)
    else:
        made = folder / "made"
        made.mkdir()
        report = convert_to(_CONTRACT, folder / "mapping.yaml", made, 0.0)
        if report.mistakes:
            raise SiteConfigError("; ".join(report.mistakes))
        records = report.training + report.test
    seconds = time.process_time() - begin
    return {"rows_s": records / seconds, "before_mb": before, "peak_mb": read_status_mb("VmHWM")}


def write_table(folder: Path, form: str, rows: int) -> int:
    """Write the table and its mapping; return the bytes of the table."""
    columns: dict[str, Any] = {}
    match form:
        case "text":
            path, source = folder / "export.csv", {"encoding": "cp1252", "delimiter": ";", "decimal": ","}
            columns = _TEXT_COLUMNS
            _write_text(path, rows)
            source = {"kind": "csv", "path": path.name, **source}
        case "sqlite":
            path, source = (
                folder / "clinic.sqlite",
                {"kind": "sql", "url": "sqlite:///clinic.sqlite", "table": "stay"},
            )
            _write_sqlite(path, rows)
        case "parquet":
            path, source = folder / "stays.parquet", {"kind": "parquet", "path": "stays.parquet"}
            _write_parquet(path, rows)
        case "excel":
            path, source = folder / "stays.xlsx", {"kind": "excel", "path": "stays.xlsx"}
            _write_excel(path, rows)
        case _:
            path, source = folder / "plain.csv", {}
            with path.open("w", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(_NAMES)
                writer.writerows(_draw_rows(rows))
    mapping = {"mapping": 1, "contract": _CONTRACT.name, "source": source, "columns": columns}
    (folder / "mapping.yaml").write_text(yaml.safe_dump(mapping, allow_unicode=True), encoding="utf-8")
    return path.stat().st_size


def _draw_rows(rows: int) -> Iterator[tuple[Any, ...]]:
    """Draw the rows of the table, each a stay of a patient of their own."""
    drawn, first = random.Random(0), datetime.date(2010, 1, 1)  # noqa: S311 - nothing secret
    for row in range(rows):
        yield (
            f"P{row:08}",
            drawn.choice("fm"),
            drawn.randrange(110),
            drawn.randrange(60, 240),
            round(drawn.uniform(30, 200), 1),
            round(drawn.expovariate(0.05), 1) if row % 10 else None,
            round(drawn.uniform(3, 30), 2),
            f"w{drawn.randrange(20)}",
            first + datetime.timedelta(days=drawn.randrange(6000)),
            drawn.randrange(2),
        )


def _write_text(path: Path, rows: int) -> None:
    with path.open("w", encoding="cp1252", newline="") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerow((*_NAMES[:2], "born", *_NAMES[3:]))
        for patient, sex, age, pressure, weight, crp, glucose, ward, admitted, died in _draw_rows(rows):
            born = datetime.date(admitted.year - age, admitted.month, min(admitted.day, 28))
            numbers = ("" if each is None else str(each).replace(".", ",") for each in (weight, crp))
            word = {"f": "weiblich", "m": "männlich"}[sex]
            writer.writerow(
                (
                    patient, word, f"{born:%d.%m.%Y}", pressure, *numbers, round(glucose * 18), ward,
                    f"{admitted:%d.%m.%Y}", died,
                )
            )  # fmt: skip


def _write_sqlite(path: Path, rows: int) -> None:
    database = sqlite3.connect(path)
    database.execute(f"CREATE TABLE stay ({', '.join(_NAMES)})")
    lines = ((*row[:8], row[8].isoformat(), row[9]) for row in _draw_rows(rows))
    database.executemany("INSERT INTO stay VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", lines)
    database.commit()
    database.close()


def _write_parquet(path: Path, rows: int) -> None:
    import pandas as pd

    pd.DataFrame(_draw_rows(rows), columns=_NAMES).to_parquet(path, index=False)


def _write_excel(path: Path, rows: int) -> None:
    import openpyxl

    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet("stays")
    sheet.append(_NAMES)
    for row in _draw_rows(rows):
        sheet.append(row)
    book.save(path)


if __name__ == "__main__":
    main()
