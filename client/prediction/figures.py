"""Judge a released model on a site's own labelled patients: the task's figures, each with an interval.

Rules:

* figures are exact where the task's totals are of scores (``models/tasks/exact_figures.py``); those of other tasks are
  computed from totals with ``FINE_BINS`` bins, which are off by at most half a bin;
* a figure is of all records of the file. An interval is the middle 95 % of ``RESAMPLES`` samples of as many patients,
  drawn with replacement: the records of a patient come and go together, since they are alike (Efron and Tibshirani
  1993, An introduction to the bootstrap, chapter 13);
* fewer than ``LEAST_PATIENTS`` patients have no interval, nor has a figure that one of twenty samples does not define;
* the calibration error of few patients is never near 0, and that of samples is greater still: its interval is too high;
* the samples are the same in every run, so that the same file has the same figures. They protect nobody: these figures
  are for the site's own people and leave the site only by their hand.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.task import Task, Values
from models.tasks.exact_figures import compute_exact_figures, has_exact_figures
from models.tasks.registry import make_task

if TYPE_CHECKING:
    import torch

    from client.prediction.predict import Predictions
    from client.prediction.release_contract import ReleaseContract

RESAMPLES: Final = 500
FINE_BINS: Final = 1000
LEAST_PATIENTS: Final = 10
_SEED: Final = 15
_LEAST_DEFINED: Final = 0.95  # of the samples
_INTERVAL: Final = (2.5, 97.5)  # percentiles


class Estimate(NamedTuple):
    """A figure, and its interval; None where it is not defined."""

    name: str
    title: str
    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, eq=False)
class Labelled:
    """Predictions of records whose label is known.

    Attributes:
        said: what the task says of the records; (records, ...) each.
        raw: the model's outputs, (records, ...).
        targets: the labels as models see them; (records, ...) each.
        patient: (records,) the number of each record's patient.
        patients: how many there are.
    """

    said: Mapping[str, NDArray[Any]]
    raw: "torch.Tensor"
    targets: Mapping[str, NDArray[Any]]
    patient: NDArray[np.int64]
    patients: int

    def select(self, rows: NDArray[np.int64]) -> "Labelled":
        """Return some of the records."""
        names, patient = np.unique(self.patient[rows], return_inverse=True)
        return Labelled(
            {name: values[rows] for name, values in self.said.items()},
            self.raw[rows],
            {name: values[rows] for name, values in self.targets.items()},
            patient.astype(np.int64),
            len(names),
        )


def group_labelled(found: "Predictions") -> Labelled:
    """Group predictions that were made with their labels by patient."""
    names, patient = np.unique(np.array(found.patients), return_inverse=True)
    return Labelled(found.outputs, found.raw, found.targets, patient.astype(np.int64), len(names))


def estimate_figures(
    contract: "ReleaseContract", labelled: Labelled, resamples: int = RESAMPLES, seed: int = _SEED
) -> tuple[Estimate, ...]:
    """Estimate the figures of the contract's task, each with an interval over patients."""
    task = make_task(contract.task, contract.data)
    compute = _make_exact(task, labelled) if has_exact_figures(task) else _make_counted(task, labelled)
    whole, samples = compute(np.ones(labelled.patients, dtype=np.int64)), list[Values]()
    if labelled.patients >= LEAST_PATIENTS:
        draw, even = np.random.default_rng(seed), np.full(labelled.patients, 1 / labelled.patients)
        samples = [compute(draw.multinomial(labelled.patients, even)) for _ in range(resamples)]
    return tuple(
        Estimate(kind.name, kind.title, whole[kind.name], *_find_interval([each[kind.name] for each in samples]))
        for kind in task.figures
    )


def _make_exact(task: Task, labelled: Labelled) -> Callable[[NDArray[np.int64]], Values]:
    """Make the figures of patients that count so often each, (patients,), from scores."""
    order = np.argsort(labelled.patient, kind="stable")
    records_each = np.bincount(labelled.patient, minlength=labelled.patients)

    def compute(times: NDArray[np.int64]) -> Values:
        rows = np.repeat(order, np.repeat(times, records_each))
        return compute_exact_figures(
            task,
            {name: values[rows] for name, values in labelled.said.items()},
            {name: values[rows] for name, values in labelled.targets.items()},
        )

    return compute


def _make_counted(task: Task, labelled: Labelled) -> Callable[[NDArray[np.int64]], Values]:
    """Make the same from the totals that each patient adds; (patients, cells)."""
    cells = np.stack(
        [
            task.count_cells(
                labelled.raw[rows], {name: values[rows] for name, values in labelled.targets.items()}, FINE_BINS
            )
            for rows in (np.flatnonzero(labelled.patient == each) for each in range(labelled.patients))
        ]
    ).astype(np.float64)  # whole numbers far below 2^53: sums are exact, and fast

    def compute(times: NDArray[np.int64]) -> Values:
        counts: Sequence[int] = (times.astype(np.float64) @ cells).astype(np.int64).tolist()
        return task.compute_figures(counts, FINE_BINS)

    return compute


def _find_interval(samples: Sequence[float | None]) -> tuple[float | None, float | None]:
    defined = [each for each in samples if each is not None]
    if not samples or len(defined) < _LEAST_DEFINED * len(samples):
        return None, None
    low, high = np.percentile(defined, _INTERVAL)
    return float(low), float(high)
