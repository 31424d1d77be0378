"""Measure what each privacy system leaves of a model's accuracy, on two studies of real patients.

The studies are those of ``benchmarks/privacy_systems_studies.py``. Every way trains from the same start, three times:
with other patients in the hospitals, another start and other noise. Figures are the mean and the deviation of these.
"""

from collections.abc import Callable
from statistics import fmean, stdev
from typing import Any, Final, NamedTuple

from benchmarks import privacy_systems_noise, privacy_systems_sums, selective_sharing, shared_parameters
from benchmarks.privacy_systems_studies import ROUNDS, Federation, make_federations

_REPEATS: Final = 3
_NOBODY, _PATIENT, _HOSPITAL, _UPDATE = "nobody", "a patient", "a hospital", "what an update is of"


class Group(NamedTuple):
    """Ways that are measured together: by name the accuracies, and the epsilons of those that have one."""

    measure: Callable[[Federation, int, int], dict[str, float]]
    list_totals: Callable[[int], dict[str, float]]


class Row(NamedTuple):
    """A row of the table: a way of a group, and what it is called there."""

    group: Group
    way: str
    system: str
    label: str
    protects: str


_SHARED: Final = Group(shared_parameters.measure, shared_parameters.list_totals)
_SELECTIVE: Final = Group(selective_sharing.measure, selective_sharing.list_totals)
_SUMS: Final = Group(privacy_systems_sums.measure, lambda _: {})
_NOISE: Final = Group(privacy_systems_noise.measure, privacy_systems_noise.list_totals)

ROWS: Final = (
    Row(_SHARED, "alone", "", "each hospital alone", _NOBODY),
    Row(_SHARED, "together", "", "together, no noise, no encryption", _NOBODY),
    Row(_SUMS, "integers", "bfv", "sums of 16-bit integers: bfv, lwe, paillier, open, threshold, Li's", _NOBODY),
    Row(_SUMS, "ckks", "", "sums under CKKS, as usual", _NOBODY),
    Row(_SUMS, "phong", "phong", "steps in turn, in integers of 32 bits: Phong's", _NOBODY),
    Row(_SUMS, "batchcrypt", "batchcrypt", "BatchCrypt's batches, 8 bits", _NOBODY),
    Row(_SHARED, "patients", "dp-sgd", "noise for patients (the default)", _PATIENT),
    Row(_NOISE, "projection", "projection", "principal components first, noise for patients", _PATIENT),
    Row(_NOISE, "individual filters", "individual", "a filter for each patient, less noise", _PATIENT),
    Row(_NOISE, "tree", "correlated", "a fixed order, noise in a tree", "a patient, replaced by zeros"),
    Row(_NOISE, "banded", "correlated", "a fixed order, banded noise", "a patient, replaced by zeros"),
    Row(_SHARED, "each upload", "noised", "noise on shared parameters, epsilon 8 for each upload", _HOSPITAL),
    Row(_SHARED, "all uploads", "noised", "noise on shared parameters, epsilon 8 for all uploads", _HOSPITAL),
    Row(_SELECTIVE, "a tenth", "selective", "the largest tenth of an update", _NOBODY),
    Row(
        _SELECTIVE,
        "noised, each call",
        "selective",
        "a hundredth, sparse vectors, epsilon 8 for each call",
        _UPDATE,
    ),
    Row(
        _SELECTIVE,
        "noised, all calls",
        "selective",
        "a hundredth, sparse vectors, epsilon 8 for all calls",
        _UPDATE,
    ),
    Row(
        _NOISE,
        "certified",
        "certified",
        "certified predictions, no noise for patients",
        "who relies on a prediction",
    ),
    Row(_NOISE, "certified, patients", "certified", "certified predictions, noise for patients", "both"),
)


def measure_accuracy(quick: bool) -> list[dict[str, Any]]:
    """Train every way on both studies, twice with few rounds if ``quick``; return a row for each way.

    Raises:
        FileNotFoundError: the data are not on this machine.
    """
    repeats, rounds = (2, 4) if quick else (_REPEATS, ROUNDS)
    runs: dict[str, list[dict[Row, float]]] = {}
    for seed in range(1, repeats + 1):
        for study, made in make_federations(seed).items():
            runs.setdefault(study, []).append(measure_ways(made, seed, rounds))
    rows: list[dict[str, Any]] = []
    for row in ROWS:
        figures: dict[str, Any] = {"system": row.system, "way": row.label}
        for study, found in runs.items():
            figures[study] = fmean(each[row] for each in found)
            figures[f"{study}_deviation"] = stdev(each[row] for each in found)
        figures |= {"epsilon": row.group.list_totals(rounds).get(row.way), "protects": row.protects}
        rows.append(figures)
    return rows


def measure_ways(made: Federation, seed: int, rounds: int) -> dict[Row, float]:
    """Train ``made`` in every way; return the accuracy of each row."""
    found = {group: group.measure(made, seed, rounds) for group in dict.fromkeys(row.group for row in ROWS)}
    return {row: found[row.group][row.way] for row in ROWS}
