"""A hospital's table: read once, checked against the study's contract, turned into numbers.

Rules:

* everything that is wrong is reported at once, by column and by count; never a value, never a patient;
* only public choices shape the numbers: ranges and vocabularies of the contract, nothing measured on patients;
* a number is scaled from its public range to [-1, 1] and clipped to it; a missing one is 0 (the middle) with its
  indicator at 1; a category is one-hot, a missing one all zeros with its indicator at 1;
* records are grouped by patient, who is known by one normal form (``client/identifiers.py``), patients and records in
  file order, the first ``records_per_patient`` of each;
* a patient is in the training file or in the test file, never in both;
* what is trained on is what was registered: the file's SHA-256 is checked at every read.

The public patient count (:func:`public_count`) is the only figure of these that others may see.
"""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from client.identifiers import is_usable, normalise
from client.objections import Objections
from privacy.canonical import sha256
from privacy.errors import DataError, DataUnavailableError
from privacy.study import Category, DataContract, Number

PUBLIC_COUNT_STEP: Final = 10


@dataclass(frozen=True, eq=False)
class Patients:
    """Records as numbers, grouped by patient; what training and evaluation see.

    Attributes:
        features: (records, inputs) float32.
        labels: (records,) float32, 1 for a positive label and 0 for a negative one.
        patient: (records,) int64, never falling: record i belongs to patient ``patient[i]`` in 0..patients-1.
        patients: how many patients there are.
    """

    features: NDArray[np.float32] = field(repr=False)
    labels: NDArray[np.float32] = field(repr=False)
    patient: NDArray[np.int64] = field(repr=False)
    patients: int


def one_by_one(patients: Patients) -> Patients:
    """Every record as a patient of its own: for studies that sample and clip records."""
    count = len(patients.labels)
    return Patients(patients.features, patients.labels, np.arange(count, dtype=np.int64), count)


@dataclass(frozen=True, eq=False)
class Table:
    """A file that keeps its contract.

    Attributes:
        patients: its records as numbers.
        ids: the patients' identifiers, in the order of ``patients``; they stay at the site.
        clipped: numbers beyond their public range, for the site's own log.
        sha256: of the file's bytes, hexadecimal.
    """

    patients: Patients
    ids: tuple[str, ...] = field(repr=False)
    clipped: int
    sha256: str


@dataclass(frozen=True)
class StudyFiles:
    """A site's data for one study, as registered: two files, their digests, the count others may see.

    Patients who object are left out; the files and the count stay as they were registered. ``weights`` are the
    public weights that the study begins with, if it does.
    """

    train: Path
    test: Path
    train_sha256: str
    test_sha256: str
    public_patients: int
    objections: Objections | None = None
    weights: Path | None = None


def public_count(patients: int) -> int:
    """Patients rounded down to a multiple of ten: what the site tells others, and what divides its gradients.

    It changes only where one patient more or less crosses a ten, and is published once, at registration; it is
    a registered fact, not covered by epsilon.

    Raises:
        DataError: fewer than ten patients.
    """
    if patients < PUBLIC_COUNT_STEP:
        raise DataError(f"expected at least {PUBLIC_COUNT_STEP} training patients, got {patients}")
    return patients // PUBLIC_COUNT_STEP * PUBLIC_COUNT_STEP


def register(contract: DataContract, train: Path, test: Path) -> tuple[StudyFiles, frozenset[str]]:
    """Check both files and fix what a study will be trained and tested on; with every patient's identifier.

    Raises:
        DataError: as :func:`read_table`, or the files share patients, or there are too few.
    """
    training, testing = read_table(contract, train), read_table(contract, test)
    _check_disjoint(training, testing)
    count = public_count(training.patients.patients)
    files = StudyFiles(train, test, training.sha256, testing.sha256, count)
    return files, frozenset(training.ids) | frozenset(testing.ids)


def read_study(contract: DataContract, files: StudyFiles) -> tuple[Table, Table]:
    """The training and the test table, which must be those registered.

    Raises:
        DataError: as :func:`register`, or a file changed since.
    """
    training = read_table(contract, files.train, files.objections)
    testing = read_table(contract, files.test, files.objections)
    for path, table, digest in (
        (files.train, training, files.train_sha256),
        (files.test, testing, files.test_sha256),
    ):
        if table.sha256 != digest:
            raise DataError(f"{path}: the file changed since it was registered; register the new data first")
    _check_disjoint(training, testing)
    return training, testing


def read_table(contract: DataContract, path: Path, objections: Objections | None = None) -> Table:
    """Read the CSV file ``path`` and check it against ``contract``; who objects is left out.

    Raises:
        DataUnavailableError: the file cannot be read now.
        DataError: it lacks columns or breaks the contract; every mistake is named by its column and the number of
            rows.
    """
    try:
        content = path.read_bytes()
        text = content.decode("utf-8-sig")
    except OSError as cause:
        raise DataUnavailableError(f"{path}: cannot be read: {cause.strerror}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: expected a CSV file in UTF-8, got other bytes") from None
    columns = _columns(contract, text, path)
    mistakes: list[str] = []
    ids = [normalise(word) for word in columns[contract.patient]]
    if lacking := sum(not name or name in contract.missing for name in ids):
        mistakes.append(f"column '{contract.patient}': {lacking} rows without a patient")
    if unusable := sum(bool(name) and not is_usable(name) for name in ids):
        mistakes.append(f"column '{contract.patient}': {unusable} rows have a control character in the patient")
    labels = _labels(contract, columns[contract.label.name], mistakes)
    features, clipped = _features(contract, columns, mistakes)
    if mistakes:
        listed = "; ".join(mistakes)
        raise DataError(f"{path}: breaks the contract '{contract.name}': {listed}")
    kept, patient, names = _grouped(ids, contract.records_per_patient, objections)
    if not names:
        raise DataError(f"{path}: every patient in it has objected")
    patients = Patients(features[kept], labels[kept], patient, len(names))
    return Table(patients, names, clipped, sha256(content))


def _columns(contract: DataContract, text: str, path: Path) -> dict[str, list[str]]:
    """The contract's columns as stripped words; other columns of the file are ignored."""
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip() for name in next(rows, [])]
        body = [row for row in rows if row]
    except csv.Error as cause:
        raise DataError(f"{path}: line {rows.line_num} is not CSV: {cause}") from None
    needed = [contract.patient, contract.label.name, *(feature.name for feature in contract.features)]
    if missing := [name for name in needed if name not in header]:
        raise DataError(
            f"{path}: lacks {len(missing)} columns of the contract '{contract.name}': {', '.join(missing)}"
        )
    if twice := [name for name in needed if header.count(name) > 1]:
        raise DataError(f"{path}: the header names a column twice: {', '.join(twice)}")
    if not body:
        raise DataError(f"{path}: has no rows")
    if uneven := sum(len(row) != len(header) for row in body):
        raise DataError(f"{path}: {uneven} rows do not have the header's {len(header)} fields")
    places = {name: header.index(name) for name in needed}
    return {name: [row[place].strip() for row in body] for name, place in places.items()}


def _labels(contract: DataContract, words: Sequence[str], mistakes: list[str]) -> NDArray[np.float32]:
    """(rows,) 1 for a positive word, 0 for any other; a word that is neither is a mistake."""
    label = contract.label
    if unknown := sum(word not in label.positive and word not in label.negative for word in words):
        mistakes.append(f"column '{label.name}': {unknown} rows are neither a positive nor a negative word")
    return np.array([word in label.positive for word in words], dtype=np.float32)


def _features(
    contract: DataContract, columns: dict[str, list[str]], mistakes: list[str]
) -> tuple[NDArray[np.float32], int]:
    """(rows, inputs), and how many numbers were clipped."""
    parts: list[NDArray[np.float64]] = []
    clipped = 0
    for feature in contract.features:
        words = columns[feature.name]
        absent = np.array([word in contract.missing for word in words])
        if isinstance(feature, Number):
            scaled, beyond = _scaled(feature, words, absent, mistakes)
            parts += [scaled[:, None], absent[:, None].astype(np.float64)]
            clipped += beyond
        else:
            parts += [_one_hot(feature, words, absent, mistakes), absent[:, None].astype(np.float64)]
    return np.concatenate(parts, axis=1).astype(np.float32), clipped


def _scaled(
    feature: Number, words: Sequence[str], absent: NDArray[np.bool_], mistakes: list[str]
) -> tuple[NDArray[np.float64], int]:
    """(rows,) in [-1, 1] with 0 where absent, and how many were clipped."""
    middle = (feature.low + feature.high) / 2
    numbers = [middle if gone else _number(word) for word, gone in zip(words, absent, strict=True)]
    values = np.array([math.nan if number is None else number for number in numbers])
    if unreadable := int(np.isnan(values).sum()):
        mistakes.append(f"column '{feature.name}': {unreadable} rows are not a number (decimal point, no units)")
    beyond = int(((values < feature.low) | (values > feature.high)).sum())
    scaled = 2.0 * (values - feature.low) / (feature.high - feature.low) - 1.0
    return np.where(absent, 0.0, np.clip(scaled, -1.0, 1.0)), beyond


def _number(word: str) -> float | None:
    """A finite decimal number, or None; Python's own extras (1_000, nan, inf) are none."""
    try:
        number = float(word)
    except ValueError:
        return None
    return number if math.isfinite(number) and "_" not in word else None


def _one_hot(
    feature: Category, words: Sequence[str], absent: NDArray[np.bool_], mistakes: list[str]
) -> NDArray[np.float64]:
    """(rows, vocabulary), all zeros where absent."""
    place = {word: index for index, word in enumerate(feature.values)}
    indices = np.array([place.get(word, -1) for word in words])
    if unknown := int(((indices < 0) & ~absent).sum()):
        mistakes.append(f"column '{feature.name}': {unknown} rows have a word outside the vocabulary")
    hot = (indices[:, None] == np.arange(len(feature.values))) & ~absent[:, None]
    return np.asarray(hot, dtype=np.float64)


def _grouped(
    ids: Sequence[str], limit: int, objections: Objections | None
) -> tuple[NDArray[np.int64], NDArray[np.int64], tuple[str, ...]]:
    """Rows to keep, grouped by patient; the patient of each; the patients' names by first appearance."""
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(ids):
        rows.setdefault(name, []).append(row)
    if objections is not None:
        rows = {name: own for name, own in rows.items() if not objections.hold(name)}
        if not rows:
            return np.empty(0, np.int64), np.empty(0, np.int64), ()
    kept = [own[:limit] for own in rows.values()]
    patient = np.repeat(np.arange(len(kept), dtype=np.int64), [len(own) for own in kept])
    return np.concatenate([np.array(own, dtype=np.int64) for own in kept]), patient, tuple(rows)


def _check_disjoint(training: Table, testing: Table) -> None:
    if both := len(set(training.ids) & set(testing.ids)):
        raise DataError(f"{both} patients are in the training file and in the test file; keep each in one of them")
