"""Write the draft of a study file from the columns of a table, or from a data contract.

Rules:

* from a table come names and kinds of columns, and which usual words for a missing value it has; no range, and no
  word of a patient. Ranges measured on patients would be results about them, without a budget spent;
* only if people say that the table is public, ranges and words are copied too, with the name of the file beside
  them;
* the contract of a released model, or of another study, is public and is copied whole, whatever its kind;
* what people must write is marked ``FILL``; ``study check`` refuses the file until it is filled in.
"""

import csv
import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final, Literal

import yaml

from privacy.canonical import from_canonical
from privacy.document import parse
from privacy.errors import TermsError, WireError
from privacy.study import AnyContract, TableContract, read_terms
from privacy.study.data.kinds import ContractFile

MAX_ROWS: Final = 100_000  # read at most
_MAX_WORDS: Final = 20  # of a category; a column with more is text
_MISSING: Final = ("NA", "N/A", "NaN", "nan", "NULL", "null", ".")
_FIELD: Final = 16 << 20


@dataclass(frozen=True)
class Column:
    """A column; ``low``, ``high`` and ``words`` are from its values, and are used for public tables only."""

    name: str
    kind: Literal["number", "category", "text"]
    low: float
    high: float
    words: tuple[str, ...]


@dataclass(frozen=True)
class TableColumns:
    """The columns of a table, and its words that usually mean a missing value."""

    columns: tuple[Column, ...]
    missing: tuple[str, ...]


def read_columns(path: Path) -> TableColumns:
    """Read the columns of the CSV file ``path``, from no more than ``MAX_ROWS`` rows.

    Raises:
        TermsError: it is no CSV file with a header row and commas, or cannot be read.
    """
    csv.field_size_limit(_FIELD)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, strict=True)
            header = [name.strip() for name in next(rows, [])]
            body = [row for row in islice(rows, MAX_ROWS) if len(row) == len(header)]
    except OSError as cause:
        raise TermsError(f"{path}: cannot be read: {cause.strerror}") from None
    except UnicodeDecodeError:
        raise TermsError(f"{path}: expected a CSV file in UTF-8, got other bytes") from None
    except csv.Error as cause:
        raise TermsError(f"{path}: is not CSV: {cause}") from None
    if len(header) < 2:
        raise TermsError(f"{path}: expected a first line that names columns, separated by commas; got one column")
    if not all(header) or len(set(header)) < len(header):
        raise TermsError(f"{path}: expected a first line that names every column, each once")
    columns = [[row[place].strip() for row in body] for place in range(len(header))]
    missing = tuple(word for word in _MISSING if any(word in column for column in columns))
    return TableColumns(
        tuple(_make_column(name, words, missing) for name, words in zip(header, columns, strict=True)), missing
    )


def read_contract(path: Path) -> AnyContract:
    """Read the data contract of a released model (``contract.json``) or of a study file.

    Raises:
        TermsError: the file has none, or cannot be read.
    """
    if path.suffix != ".json":
        return read_terms(path).data
    try:
        value = from_canonical(path.read_bytes().rstrip(b"\n"))
    except OSError as cause:
        raise TermsError(f"{path}: cannot be read: {cause.strerror}") from None
    except WireError as error:
        raise TermsError(f"{path}: not the contract of a released model: {error}") from None
    data = value.get("data") if isinstance(value, dict) else None
    return parse({"data": data}, ContractFile, TermsError, str(path)).data


def write_from_contract(name: str, contract: AnyContract, source: Path) -> str:
    """Write the text of a study file with the data contract ``contract``, which is from ``source``."""
    data = yaml.safe_dump(
        {"data": contract.model_dump(mode="json")}, sort_keys=False, allow_unicode=True, default_flow_style=None,
        width=110,
    )  # fmt: skip
    is_table = isinstance(contract, TableContract)
    return "\n".join(
        [
            *_format_head(name, is_table=is_table),
            f"# The data contract of {source.name}, as it is.",
            data.rstrip(),
            *_format_tail(),
        ]
    )


def write_from_table(
    name: str, table: TableColumns, source: Path, *, patient: str | None, label: str | None, public: bool
) -> str:
    """Write the text of a study file on a table with these columns.

    Args:
        name: the name of the study and of its data.
        table: the columns.
        source: the file of the table.
        patient: the column that names the patient, if it is known.
        label: the column to predict, if it is known.
        public: whether people say that the file is public, so that its ranges and words may be copied.

    Raises:
        TermsError: the table lacks a named column.
    """
    known = {column.name: column for column in table.columns}
    for word, role in ((patient, "--patient"), (label, "--label")):
        if word is not None and word not in known:
            raise TermsError(f"{role}: {source} has no column '{word}'; it has: {', '.join(known)}")
    features = [column for column in table.columns if column.name not in (patient, label) and column.kind != "text"]
    texts = [
        column.name for column in table.columns if column.kind == "text" and column.name not in (patient, label)
    ]
    lines = [
        *_format_head(name, is_table=True),
        "data:",
        "  kind: table",
        f"  name: {name}",
        f"  patient: {_quote(patient)}" if patient else "  patient:  # FILL: the column that names the patient",
        *_format_ranges_from(source, public=public),
        "  features:  # remove a column that is no input; the label's or the patient's must not be among them",
    ]
    for column in features:
        lines += _format_feature(column, source, public=public)
    if texts:
        lines += [f"    # not used, text or too many words: {', '.join(texts)}"]
    lines += [
        *_format_label(known.get(label or ""), public=public),
        f"  missing: [{', '.join(_quote(word) for word in ('', '?', *table.missing))}]  # words that mean: no value",
        "  records_per_patient: 1  # the first ones in the file are kept; more protect a patient at the same price",
        *_format_tail(),
    ]
    return "\n".join(lines)


def make_study_name(path: Path) -> str:
    """Make a study's name from the name of a file."""
    name = re.sub(r"[^a-z0-9]+", "-", path.stem.lower()).strip("-")[:40].rstrip("-")
    return name if name[:1].isalpha() else f"study-{name}"[:40].rstrip("-")


def _make_column(name: str, words: Sequence[str], missing: Sequence[str]) -> Column:
    present = [word for word in words if word not in ("", "?", *missing)]
    numbers = [number for word in present if (number := _parse_number(word)) is not None]
    distinct = tuple(sorted(set(present)))
    if present and len(numbers) == len(present):
        return Column(name, "number", min(numbers), max(numbers), distinct)
    return Column(name, "category" if len(distinct) <= _MAX_WORDS else "text", 0.0, 0.0, distinct)


def _parse_number(word: str) -> float | None:
    try:
        number = float(word)
    except ValueError:
        return None
    return number if math.isfinite(number) and "_" not in word else None


def _format_head(name: str, *, is_table: bool) -> Iterator[str]:
    yield "# A study file. Fill in what is marked FILL, then: consilium study check FILE"
    yield "# Every key, its limits and how to choose it: docs/study-file.md"
    yield "consilium: 1"
    yield f"name: {name}"
    yield "purpose:  # FILL: why the study is done, in words; hospitals and auditors read it"
    yield ""
    yield "model:"
    if is_table:
        yield "  name: logistic  # or mlp, with options: {hidden: [32]}"
    else:
        yield "  name:  # FILL: a model that takes the tensors of the data"
        yield ""
        yield "task:"
        yield "  kind:  # FILL: what is predicted: binary, multiclass, ..."
    yield ""


def _format_ranges_from(source: Path, *, public: bool) -> Iterator[str]:
    if public:
        yield f"  ranges_from: {_quote(f'Lowest and highest value, and the words, of {source.name}, a public table.')}"
    else:
        yield "  ranges_from:  # FILL: where ranges and words come from; never from patients of a hospital"


def _format_feature(column: Column, source: Path, *, public: bool) -> Iterator[str]:
    yield f"    - kind: {column.kind}"
    yield f"      name: {_quote(column.name)}"
    if column.kind == "number":
        if public and column.low < column.high:
            yield f"      low: {column.low!r}  # the lowest of {source.name}; round it"
            yield f"      high: {column.high!r}"
        else:
            yield "      low:  # FILL: the lowest plausible value, in the unit that every hospital uses"
            yield "      high:  # FILL: the highest; what is beyond is clipped"
    elif public and len(column.words) >= 2:
        yield f"      values: [{', '.join(_quote(word) for word in column.words)}]"
    else:
        yield '      values:  # FILL: every word that may stand here, in quotes: ["f", "m"]'


def _format_label(column: Column | None, *, public: bool) -> Iterator[str]:
    words = f", of {', '.join(_quote(word) for word in column.words)}" if public and column is not None else ""
    yield "  label:"
    yield f"    name: {_quote(column.name)}" if column else "    name:  # FILL: the column to predict"
    yield f'    positive:  # FILL: the words that mean yes, in quotes: ["1"]{words if len(words) < 60 else ""}'
    yield '    negative:  # FILL: the words that mean no: ["0"]'


def _format_tail() -> Iterator[str]:
    yield ""
    yield "training:"
    yield "  rounds: 10"
    yield "  local_steps: 10"
    yield "  sampling_rate: 0.2  # each patient's chance to be in a step"
    yield "  learning_rate: 1.0"
    yield ""
    yield "privacy:"
    yield "  epsilon: 2  # what a training patient may lose; sites' policies bound it with that of the evaluation"
    yield "  delta: 0.0001  # at most one in the patients of the largest hospital"
    yield "  clipping_norm: 1.0"
    yield ""
    yield "cohort: {minimum: 3, maximum: 8}"
    yield ""
    yield "secure_aggregation: {value_range: auto}"
    yield ""
    yield "evaluation:"
    yield "  rounds: [10]"
    yield "  epsilon: 1  # what a test patient may lose"
    yield ""


def _quote(word: str) -> str:
    return json.dumps(word, ensure_ascii=False)
