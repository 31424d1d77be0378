"""Compute a site's steps in closed form: the same as the product from the same randomness, many times as fast.

The model is a logistic regression, or a perceptron with one hidden layer of ELU. A patient's gradient in a layer is
the outer product of the slopes at the layer's output and of its input. Its norm is the product of both norms, so
that clipping needs no per-patient gradient (Goodfellow 2015, "Efficient per-example gradient computations").

:func:`check_against_the_product` runs before every measurement: local steps must equal those of
:func:`client.training.local_steps.train`, global steps those of
:func:`client.training.global_step.compute_global_step`.
"""

from dataclasses import dataclass
from typing import Any, Final, cast

import numpy as np

from benchmarks.small_study import read_columns
from client.data.examples import Patients
from client.training.device import CPU
from client.training.device_records import DeviceRecords
from client.training.global_step import compute_global_step
from client.training.local_steps import train
from client.training.study_model import make_first_model
from models.parameters.vector import Vector
from privacy.dpsgd import CLIP_MARGIN, sample_patients
from privacy.randomness import KeyStream
from privacy.study import Terms

_CLOSE: Final = 1e-5


@dataclass(frozen=True, eq=False)
class Site:
    """One site's patients, one record each, and its public count.

    Attributes:
        features: (patients, inputs) float64.
        labels: (patients,) 0 or 1.
        public_patients: rounded down to tens.
    """

    features: Vector
    labels: Vector
    public_patients: int

    @classmethod
    def of(cls, patients: Patients, public_patients: int) -> "Site":
        """Make a site of ``patients``."""
        features, labels = read_columns(patients)
        return cls(features.astype(np.float64), labels.astype(np.float64), public_patients)


def local_update(
    terms: Terms,
    start: Vector,
    site: Site,
    noise: float | None,
    stream: KeyStream,
    number: int,
    correction: Vector | None,
) -> Vector:
    """Compute one round's update from ``start``, as :func:`~client.training.local_steps.train` does; (P,)."""
    training, model = terms.training, start
    rate, pulled = training.compute_learning_rate(number), 0.0 if correction is None else correction
    expected = training.sampling_rate * site.public_patients
    for _ in range(training.local_steps):
        total = lot_sum(terms, model, site, stream)
        if noise is not None:
            total += noise * cast(float, terms.privacy.clipping_norm) * stream.draw_normal(len(total))
        model = model - rate * (total / expected + pulled + training.proximal * (model - start))
    return model - start


def lot_sum(terms: Terms, model: Vector, site: Site, stream: KeyStream) -> Vector:
    """Sum the (clipped) gradients of a newly drawn sample of patients; (P,)."""
    chosen = sample_patients(len(site.labels), terms.training.sampling_rate, stream)
    features, labels = site.features[chosen], site.labels[chosen]
    norm = terms.privacy.clipping_norm
    hidden = _hidden(terms)
    if not hidden:
        slopes = _slopes(features @ model[:-1] + model[-1], labels)
        slopes *= _factors(np.abs(slopes) * np.sqrt(_squares(features)), norm)
        return np.append(slopes @ features, slopes.sum())
    weights = model[: hidden * features.shape[1]].reshape(hidden, -1)  # (hidden, inputs)
    biases, out, bias = np.split(model[weights.size :], [hidden, 2 * hidden])
    inner = features @ weights.T + biases  # (lot, hidden)
    risen = np.exp(np.minimum(inner, 0.0))
    active = np.where(inner > 0, inner, risen - 1.0)
    slopes = _slopes(active @ out + bias, labels)  # (lot,)
    back = slopes[:, None] * out * risen  # (lot, hidden), ELU's derivative being ``risen``
    # (lot,): squared norms; in each layer the product of the squared norms of slopes and input (Goodfellow 2015).
    norms = slopes**2 * _squares(active) + np.einsum("ph,ph->p", back, back) * _squares(features)
    factors = _factors(np.sqrt(norms), norm)
    slopes, back = slopes * factors, back * factors[:, None]
    return np.concatenate([(back.T @ features).ravel(), back.sum(axis=0), slopes @ active, [slopes.sum()]])


def _hidden(terms: Terms) -> int:
    """Return the number of units of the hidden layer; 0 for a logistic regression."""
    widths = cast(list[int], terms.model.options.get("hidden", [0]))
    assert len(widths) == 1, "one hidden layer at most"
    return widths[0]


def _slopes(logits: Vector, labels: Vector) -> Vector:
    """Compute the derivative of the cross-entropy in each logit, sigmoid(z) - y."""
    # sigmoid(z) = (1 + tanh(z / 2)) / 2, which cannot overflow.
    slopes: Vector = 0.5 * (1.0 + np.tanh(0.5 * logits)) - labels
    return slopes


def _squares(inputs: Vector) -> Vector:
    """Compute the squared norm of each row, with a further input of 1 for the bias."""
    squares: Vector = 1.0 + np.einsum("pi,pi->p", inputs, inputs)
    return squares


def _factors(norms: Vector, norm: float | None) -> Vector:
    if norm is None:
        return np.ones_like(norms)
    return np.minimum(1.0, CLIP_MARGIN * norm / np.maximum(norms, 1e-300))


def check_against_the_product(terms: Terms, patients: Patients, public_patients: int, noise: float | None) -> None:
    """Compare one round of local steps and one global step with the product's own.

    Raises:
        AssertionError: they differ.
    """
    site, start = Site.of(patients, public_patients), make_first_model(terms)
    correction = np.full(len(start), 1e-3)

    def fresh() -> KeyStream:
        return KeyStream(bytes(32))

    theirs = train(
        start,
        terms,
        DeviceRecords(patients, terms, CPU.device),
        public_patients,
        noise,
        CPU,
        fresh(),
        correction=correction,
    ).update
    _assert_close(local_update(terms, start, site, noise, fresh(), 1, correction), theirs, "local steps")
    if noise is not None:
        theirs = compute_global_step(
            start, terms, DeviceRecords(patients, terms, CPU.device), public_patients, CPU, fresh()
        )
        _assert_close(lot_sum(terms, start, site, fresh()), theirs, "global steps")


def _assert_close(ours: Vector, theirs: Any, what: str) -> None:
    away = float(np.abs(ours - theirs).max() / np.abs(theirs).max())
    assert away < _CLOSE, f"{what} differ from the product's by a relative {away:.1e}"
