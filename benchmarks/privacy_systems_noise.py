"""Train with noise of other kinds than a study's, a part of ``benchmarks/privacy_systems_accuracy.py``.

=====================  ===============================================================================================
projection             a fifth of the steps sum a covariance, the others train a perceptron on its components, with the
                       noise of DP-SGD for all of them (Abadi et al. 2016)
individual filters     the noise of half as many steps; a patient leaves whose own clipped gradients have spent it
                       (Feldman and Zrnic 2021)
tree, banded           8 fixed lots a hospital in a fixed order, and noise that later steps cancel (DP-FTRL); a patient
                       is *replaced by zeros*, so its epsilon is another one
certified              noise on the inputs, of deviation 0.25, in training and in the vote of 100 predictions, without
                       privacy (PixelDP)
certified, patients    the same noise, trained as the default
=====================  ===============================================================================================
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

import numpy as np
import torch
from torch import nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional

from benchmarks.privacy_systems_studies import (
    DELTA,
    EPSILON,
    LOCAL_STEPS,
    PERCEPTRON_RATE,
    ROUNDS,
    Federation,
    Hospital,
    Vector,
    compute_losses,
    make_federation,
    make_perceptron,
    score,
    score_logits,
)
from benchmarks.shared_parameters import NORM, take_mean, train_by_patients, train_together
from models.layers.bounded_noise import AddedNoise, compute_deviation
from models.layers.private_projection import find_components, scale_to_unit_length
from models.parameters.flatten import set_shared_parameters
from privacy.accounting.analytic_gaussian import compute_analytic_noise
from privacy.accounting.correlated_noise import epsilon_of_banded, epsilon_of_tree
from privacy.accounting.epsilon import epsilon_of
from privacy.accounting.events import Gaussian, IndividualGaussian
from privacy.accounting.individual_filter import IndividualFilter
from privacy.mechanisms.correlated_noise import BandedNoise, TreeNoise
from privacy.randomness import KeyStream

_LOTS: Final = 8
_KEPT: Final = 20  # components, and at most half of the features
_DEVIATION: Final = compute_deviation(attack=0.1, epsilon=1.0, delta=0.05)
_VOTES: Final = 100

DrawStep = Callable[[int], Vector]
"""The noise of a step, from 1; (P,)."""


def measure(made: Federation, seed: int, rounds: int = ROUNDS) -> dict[str, float]:
    """Train in every way; return the accuracy by the name of the way."""
    stream = KeyStream(seed.to_bytes(32, "big"))  # a benchmark's noise, so that a run can be repeated
    first, steps = made.start, rounds * LOCAL_STEPS

    tree, banded = NORM * find_tree_noise(steps), NORM * find_banded_noise(steps)
    trees = [
        [TreeNoise(stream.draw_bytes(32), len(first), tree) for _ in range(count_epochs(steps))]
        for _ in made.hospitals
    ]
    bands = [BandedNoise(stream.draw_bytes(32), len(first), banded, _LOTS) for _ in made.hospitals]
    torch.manual_seed(seed)
    noisy = replace(made, network=nn.Sequential(AddedNoise(_DEVIATION), made.network))
    return {
        "projection": train_on_components(made, steps, stream),
        "individual filters": score(made, train_with_filters(made, first, steps, stream)),
        "tree": score(made, train_in_order(made, first, steps, [partial(_draw_in_trees, each) for each in trees])),
        "banded": score(made, train_in_order(made, first, steps, [partial(_draw_banded, each) for each in bands])),
        "certified": score_votes(noisy, train_together(noisy, first, rounds, take_mean)),
        "certified, patients": score_votes(noisy, train_by_patients(noisy, first, steps, stream)),
    }


def list_totals(rounds: int = ROUNDS) -> dict[str, float]:
    """Return the epsilon of all steps together; that of ``tree`` and ``banded`` is for replacing a patient by zeros."""
    steps = rounds * LOCAL_STEPS
    whole = epsilon_of(
        [Gaussian(noise_multiplier=compute_analytic_noise(EPSILON, DELTA, steps), count=steps)], DELTA
    )
    return {
        "projection": whole,
        "individual filters": epsilon_of([make_filtered_event(steps)], DELTA),
        "tree": epsilon_of_tree(find_tree_noise(steps), _LOTS, DELTA, count_epochs(steps)),
        "banded": epsilon_of_banded(find_banded_noise(steps), _LOTS, steps, DELTA),
        "certified, patients": whole,
    }


def train_on_components(made: Federation, steps: int, stream: KeyStream) -> float:
    """Find components privately, and train on them; return the accuracy."""
    noise, for_components = compute_analytic_noise(EPSILON, DELTA, steps), steps // 5
    rows = [_flatten(each) for each in made.hospitals]
    features = rows[0].inputs.shape[1]
    covariance = np.zeros((features, features))
    for each in rows:
        units = scale_to_unit_length(torch.from_numpy(each.inputs)).double().numpy()
        covariance += units.T @ units  # the same in every step
    for _ in range(for_components):
        for _ in rows:
            covariance += noise * stream.draw_normal(features**2).reshape(covariance.shape) / for_components
    kept = min(_KEPT, features // 2)
    components = find_components(torch.from_numpy(covariance), kept).float().numpy()

    def project(hospital: Hospital) -> Hospital:
        return replace(hospital, inputs=hospital.inputs @ components)

    projected = make_federation(
        [project(each) for each in rows], project(_flatten(made.test)), make_perceptron(kept), PERCEPTRON_RATE
    )
    start = projected.start
    return score(projected, train_by_patients(projected, start, steps - for_components, stream, paid_steps=steps))


def train_with_filters(made: Federation, start: Vector, steps: int, stream: KeyStream) -> Vector:
    """Take common steps with a filter for each patient at their own hospital; return the parameters (P,)."""
    event = make_filtered_event(steps)
    noise, filters = (
        event.noise_multiplier,
        [IndividualFilter(len(each.labels), event.paid_steps) for each in made.hospitals],
    )
    model = start
    for _ in range(steps):
        set_shared_parameters(made.network, model)
        total = np.zeros_like(model)
        for each, own in zip(made.hospitals, filters, strict=True):
            gradients = compute_gradients(made.network, each)
            lengths = np.linalg.norm(gradients, axis=1)
            admitted = own.admit(np.minimum(1.0, lengths / NORM))
            own.settle()
            gradients /= np.maximum(1.0, lengths / NORM)[:, None]
            total += gradients[admitted].sum(0) + noise * NORM * stream.draw_normal(len(model))
        model = model - made.rate * total / made.patients  # by a public number, not by those who are left
    return model


def make_filtered_event(steps: int) -> IndividualGaussian:
    """Make the event of ``steps`` steps of which a patient whose gradients are clipped takes part in half."""
    noise = compute_analytic_noise(EPSILON, DELTA, steps // 2)
    return IndividualGaussian(noise_multiplier=noise, paid_steps=steps // 2, steps=steps)


def train_in_order(made: Federation, start: Vector, steps: int, noises: list[DrawStep]) -> Vector:
    """Take common steps on fixed lots in a fixed order, with noise of each hospital's own; return the parameters."""
    lots = [[_take_lot(each, number) for number in range(_LOTS)] for each in made.hospitals]
    model = start
    for step in range(1, steps + 1):
        set_shared_parameters(made.network, model)
        total = np.zeros_like(model)
        for own, draw in zip(lots, noises, strict=True):
            gradients = compute_gradients(made.network, own[(step - 1) % _LOTS])
            gradients /= np.maximum(1.0, np.linalg.norm(gradients, axis=1) / NORM)[:, None]
            total += gradients.sum(0) + draw(step)
        model = model - made.rate * total * _LOTS / made.patients
    return model


def find_banded_noise(steps: int) -> float:
    """Find the noise, in clipping norms, of banded noise over ``steps`` steps that costs ``EPSILON``."""
    return _find_noise(lambda noise: epsilon_of_banded(noise, _LOTS, steps, DELTA))


def find_tree_noise(steps: int) -> float:
    """Find the noise, in clipping norms, of a tree an epoch over ``steps`` steps in all that costs ``EPSILON``."""
    return _find_noise(lambda noise: epsilon_of_tree(noise, _LOTS, DELTA, count_epochs(steps)))


def compute_gradients(network: nn.Module, hospital: Hospital) -> Vector:
    """Compute the gradient of each patient; (patients, P), in the order of the network's parameters."""
    parameters = {name: value.detach() for name, value in network.named_parameters()}

    def compute_loss(values: dict[str, torch.Tensor], row: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        return compute_losses(functional_call(network, values, (row[None],)), label[None]).sum()

    found = vmap(grad(compute_loss), in_dims=(None, 0, 0))(
        parameters, torch.from_numpy(hospital.inputs), torch.from_numpy(hospital.labels)
    )
    return torch.cat([each.flatten(1) for each in found.values()], dim=1).double().numpy()


def score_votes(made: Federation, model: Vector) -> float:
    """Return the mean of both classes' accuracies of the majority of predictions under the network's noise."""
    set_shared_parameters(made.network, model)
    inputs = torch.from_numpy(made.test.inputs)
    with torch.no_grad():  # the network is in training, so each pass draws
        votes = sum((made.network(inputs) > 0).float() for _ in range(_VOTES))
    assert isinstance(votes, torch.Tensor)
    return score_logits((votes - _VOTES / 2).numpy(), made.test.labels)


def count_epochs(steps: int) -> int:
    """Return how often ``steps`` steps begin with the first lot."""
    return -(-steps // _LOTS)


def _draw_in_trees(trees: Sequence[TreeNoise], step: int) -> Vector:
    """Draw the noise of ``step``, from 1, of the tree of its epoch; (P,)."""
    return trees[(step - 1) // _LOTS].draw_step((step - 1) % _LOTS + 1)


def _draw_banded(noise: BandedNoise, _: int) -> Vector:
    return noise.draw_step()


def _find_noise(cost: Callable[[float], float]) -> float:
    low, high = 1e-3, 1e6
    for _ in range(100):
        middle = (low * high) ** 0.5
        low, high = (low, middle) if cost(middle) <= EPSILON else (middle, high)
    return high


def _take_lot(hospital: Hospital, number: int) -> Hospital:
    return Hospital(hospital.inputs[number::_LOTS], hospital.labels[number::_LOTS])


def _flatten(hospital: Hospital) -> Hospital:
    """Make a row of each patient; of an image, with a quarter of its pixels."""
    inputs = torch.from_numpy(hospital.inputs)
    smaller = functional.avg_pool2d(inputs, 2) if inputs.dim() == 4 else inputs
    return replace(hospital, inputs=smaller.flatten(1).numpy())
