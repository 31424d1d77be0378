"""Calibrate a released model's probabilities on a site's own labelled patients; the result stays at the site.

::

    {"calibration": 1, "study": ..., "model_sha256": ..., "contract_sha256": ..., "data_sha256": ..., "method": "platt",
     "lines": [{"slope": 0.8, "intercept": -0.3}], "patients": 212, "loss": {"released": 0.61, "calibrated": 0.52}}

Rules:

* ``platt`` gives a line a + b z of each logit z, for a label, for several labels, and one line for all thresholds of
  ordered classes, which keeps them in order. Its targets are not 0 and 1 but (P + 1) / (P + 2) and 1 / (N + 2), of P
  patients with the label and N without (Platt 1999), so that few patients cannot ask for a certainty;
* ``temperature`` divides all logits of classes by one number (Guo et al. 2017), so the class that is predicted stays;
* both have one or two numbers for a label. Isotonic regression is not offered: it follows a few hundred patients too
  closely (Niculescu-Mizil and Caruana 2005 ask for about a thousand of them);
* a patient counts once, however many records they have;
* fewer than ``LEAST`` patients of either kind, or scores that run against the labels, are refused;
* whether it helps is judged on patients that were not fitted: ``loss`` is the mean log loss of ``FOLDS`` parts of the
  patients, each with the calibration of the others. In ``platt`` it is summed over the labels;
* the file names the model, its contract and the data that it was fitted on. It is refused for any other release. Its
  numbers were measured on this site's patients without noise: it is 0600, and is no part of a release.

Sources: Platt 1999, Probabilistic outputs for support vector machines; Guo et al. 2017, On calibration of modern neural
networks; Niculescu-Mizil and Caruana 2005, Predicting good probabilities with supervised learning.
"""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_softmax, softmax
from sklearn.linear_model import LogisticRegression

from client.prediction.figures import Estimate, Labelled, estimate_figures
from client.prediction.release_contract import ReleaseContract
from privacy.document import Document, read_document
from privacy.errors import DataError, ReleaseError
from privacy.files import replace_file
from privacy.study import Sha256
from privacy.study.tasks.binary import BinaryTerms
from privacy.study.tasks.multiclass import MulticlassTerms
from privacy.study.tasks.multilabel import MultilabelTerms
from privacy.study.tasks.ordinal import OrdinalTerms

LEAST: Final = 10
FOLDS: Final = 5
_SEED: Final = 15
_LOG_TEMPERATURES: Final = (-4.0, 4.0)
_TINY: Final = 1e-12
_OF_PROBABILITIES: Final = ("brier", "calibration")

Scores = NDArray[np.float64]


class Line(Document):
    """A calibrated logit is ``slope * logit + intercept``."""

    slope: Annotated[float, Field(gt=0)]
    intercept: float


class Losses(Document):
    """Mean log loss on patients that were not fitted."""

    released: float
    calibrated: float


class Calibration(Document):
    """The contents of a calibration file."""

    calibration: Literal[1] = 1
    study: str
    model_sha256: Sha256
    contract_sha256: Sha256
    data_sha256: Sha256
    method: Literal["platt", "temperature"]
    lines: tuple[Line, ...] = Field(min_length=1)
    patients: int
    loss: Losses


def require_calibrated_task(contract: ReleaseContract) -> None:
    """Refuse a model whose predictions are no probabilities of classes.

    Raises:
        ReleaseError: naming the task.
    """
    if not isinstance(contract.task, BinaryTerms | MulticlassTerms | MultilabelTerms | OrdinalTerms):
        raise ReleaseError(
            f"the model of '{contract.study}' cannot be calibrated: a calibration is of probabilities of classes or "
            f"labels, and its task is '{contract.task.kind}'; leave out --calibrate"
        )


def fit_calibration(contract: ReleaseContract, labelled: Labelled, data_sha256: str) -> Calibration:
    """Fit the calibration that suits the contract's task to a site's labelled patients.

    Raises:
        ReleaseError: the task has no probabilities.
        DataError: there are too few patients, or the scores run against the labels.
    """
    require_calibrated_task(contract)
    _require_patients(contract, labelled)
    lines = _fit_lines(contract, labelled)
    return Calibration(
        study=contract.study,
        model_sha256=contract.model.sha256,
        contract_sha256=contract.digest,
        data_sha256=data_sha256,
        method="temperature" if isinstance(contract.task, MulticlassTerms) else "platt",
        lines=lines,
        patients=labelled.patients,
        loss=_compare_losses(contract, labelled),
    )


def apply_calibration(calibration: Calibration, contract: ReleaseContract, raw: Any) -> Scores:
    """Return calibrated probabilities of the model's outputs: (records,), or (records, classes, labels or thresholds).

    Raises:
        ReleaseError: the calibration is of another release.
    """
    for what, expected, found in (
        ("model", contract.model.sha256, calibration.model_sha256),
        ("contract", contract.digest, calibration.contract_sha256),
    ):
        if expected != found:
            raise ReleaseError(
                f"the calibration is of another release: expected the {what} of SHA-256 {expected}, got {found}; make "
                "one for this release with --calibrate"
            )
    return _move(contract, calibration.lines, _to_logits(raw))


def estimate_calibrated_figures(
    contract: ReleaseContract, labelled: Labelled, calibration: Calibration
) -> tuple[Estimate, ...]:
    """Estimate the figures that judge probabilities, of calibrated ones; none where the task has no such figure.

    Raises:
        ReleaseError: as :func:`apply_calibration`.
    """
    if not isinstance(contract.task, BinaryTerms):
        return ()
    moved = replace(labelled, said={"probability": apply_calibration(calibration, contract, labelled.raw)})
    return tuple(each for each in estimate_figures(contract, moved) if each.name in _OF_PROBABILITIES)


def write_calibration(path: Path, calibration: Calibration) -> None:
    """Write a calibration to a new file, mode 0600.

    Raises:
        ReleaseError: the file exists, or cannot be written.
    """
    if path.exists():
        raise ReleaseError(f"{path}: exists already; name a new file with --calibration")
    replace_file(path, calibration.to_bytes(), ReleaseError)


def read_calibration(path: Path) -> Calibration:
    """Read a calibration file.

    Raises:
        ReleaseError: it is missing, or is none.
    """
    return read_document(path, Calibration, ReleaseError, "make one with: consilium-site predict --calibrate")


def _to_logits(raw: Any) -> Scores:
    logits: Scores = raw.double().cpu().numpy()
    return logits


def _require_patients(contract: ReleaseContract, labelled: Labelled) -> None:
    positive = _list_labels(contract, labelled)
    for place in range(positive.shape[1]):
        yes = len(np.unique(labelled.patient[positive[:, place]]))
        no = len(np.unique(labelled.patient[~positive[:, place]]))
        if min(yes, no) < LEAST:
            raise DataError(
                f"a calibration needs at least {LEAST} patients with and {LEAST} without what is predicted; of "
                f"{_name_label(contract, place)} there are {yes} and {no}; use the model's own scores, or more patients"
            )


def _name_label(contract: ReleaseContract, place: int) -> str:
    match contract.task:
        case BinaryTerms():
            return "the label"
        case OrdinalTerms():
            return f"classes above {place}"
        case MulticlassTerms():
            return f"class {place}"
        case _:
            return f"label {place}"


def _list_labels(contract: ReleaseContract, labelled: Labelled) -> NDArray[np.bool_]:
    """List what is yes or no of each record: (records, labels), of classes each one, of ordered ones each threshold."""
    (target,) = contract.task.list_targets()
    truth = labelled.targets[target]
    match contract.task:
        case BinaryTerms():
            return np.asarray(truth != 0)[:, None]
        case MulticlassTerms():
            return np.asarray(truth.astype(np.int64)[:, None] == np.arange(labelled.raw.shape[1]))
        case OrdinalTerms():
            return np.asarray(truth.astype(np.int64)[:, None] > np.arange(labelled.raw.shape[1]))
        case _:
            return np.asarray(truth != 0)


def _fit_lines(contract: ReleaseContract, labelled: Labelled) -> tuple[Line, ...]:
    logits, positive, weights = _to_logits(labelled.raw), _list_labels(contract, labelled), _weigh(labelled)
    match contract.task:
        case MulticlassTerms():
            return (_fit_temperature(logits, positive, weights),)
        case OrdinalTerms():
            thresholds = logits.shape[1]
            each = np.repeat(weights / thresholds, thresholds)
            return (_fit_platt(logits.ravel(), positive.ravel(), each),)
        case _:
            columns = logits.reshape(len(logits), -1)
            return tuple(
                _fit_platt(columns[:, place], positive[:, place], weights) for place in range(columns.shape[1])
            )


def _weigh(labelled: Labelled) -> Scores:
    """Return the weight of each record, so that every patient's sum to one; (records,)."""
    weights: Scores = 1.0 / np.bincount(labelled.patient, minlength=labelled.patients)[labelled.patient]
    return weights


def _fit_platt(logits: Scores, positive: NDArray[np.bool_], weights: Scores) -> Line:
    """Fit a line to logits, all (records,): a logistic regression on targets between 0 and 1.

    A record with the target t is one with the label that weighs t, and one without that weighs 1 - t.
    """
    with_label, without = float(weights[positive].sum()), float(weights[~positive].sum())
    targets = np.where(positive, (with_label + 1) / (with_label + 2), 1 / (without + 2))
    model = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000)
    model.fit(
        np.concatenate([logits, logits])[:, None],
        np.repeat([1, 0], len(logits)),
        sample_weight=np.concatenate([weights * targets, weights * (1 - targets)]),
    )
    slope, intercept = float(model.coef_[0, 0]), float(model.intercept_[0])
    if not slope > 0:
        raise DataError(
            "the model's scores run against the labels of these patients, so that a calibration would turn their order "
            "round; compare the label's meaning with the study's, and do not use the model on these patients"
        )
    return Line(slope=slope, intercept=intercept)


def _fit_temperature(logits: Scores, own: NDArray[np.bool_], weights: Scores) -> Line:
    """Fit the number by which all logits, (records, classes), are divided."""

    def compute_loss(log_temperature: float) -> float:
        return -float((weights[:, None] * own * log_softmax(logits / np.exp(log_temperature), axis=1)).sum())

    found = minimize_scalar(compute_loss, bounds=_LOG_TEMPERATURES, method="bounded", options={"xatol": 1e-8})
    return Line(slope=float(np.exp(-found.x)), intercept=0.0)


def _move(contract: ReleaseContract, lines: tuple[Line, ...], logits: Scores) -> Scores:
    """Return the probabilities of logits that are moved along their lines."""
    slopes, intercepts = (np.array([getattr(line, name) for line in lines]) for name in ("slope", "intercept"))
    moved = logits * (slopes if logits.ndim > 1 else slopes[0]) + (intercepts if logits.ndim > 1 else intercepts[0])
    probabilities: Scores = softmax(moved, axis=1) if isinstance(contract.task, MulticlassTerms) else expit(moved)
    return probabilities


def _compare_losses(contract: ReleaseContract, labelled: Labelled) -> Losses:
    """Compare the log loss with and without calibration, on patients that were not fitted."""
    part = np.random.default_rng(_SEED).permutation(labelled.patients) % FOLDS
    same = (Line(slope=1.0, intercept=0.0),)
    released = calibrated = 0.0
    for each in range(FOLDS):
        held = part[labelled.patient] == each
        rest, own = labelled.select(np.flatnonzero(~held)), labelled.select(np.flatnonzero(held))
        lines = _fit_lines(contract, rest)
        released += _sum_losses(contract, own, same * len(lines))
        calibrated += _sum_losses(contract, own, lines)
    return Losses(released=released / labelled.patients, calibrated=calibrated / labelled.patients)


def _sum_losses(contract: ReleaseContract, labelled: Labelled, lines: tuple[Line, ...]) -> float:
    """Sum the log loss over patients, of whose records it is the mean."""
    probabilities = _move(contract, lines, _to_logits(labelled.raw)).reshape(len(labelled.raw), -1)
    positive = _list_labels(contract, labelled)
    losses = -np.log(np.maximum(np.where(positive, probabilities, 1 - probabilities), _TINY))
    if isinstance(contract.task, MulticlassTerms):
        losses = np.where(positive, losses, 0.0)
    return float((_weigh(labelled)[:, None] * losses).sum())
