"""Generate records of a data contract, with a signal that a model can learn.

Every patient has a hidden state: some standard normal numbers. Inputs and targets both depend on it:

=================  ===========================================================================================
tensor             how it depends on the hidden state z
=================  ===========================================================================================
number             a smooth public pattern over its axes for each z_k, times z_k, plus noise
id                 a word of a public part of the vocabulary, which z chooses; sequences end with zeros
flag               more frequent where a public pattern agrees with z
``present``        the first steps of a record, at least one
``observed``       one half of the values, at random; ``values`` is zero elsewhere
``visits``         codes of a group that moves on by one from visit to visit, from where z says
target             a threshold, a class, a value or a time that z_0 decides; a mask is a disc or a ball that is
                   brighter than the rest of the image
=================  ===========================================================================================

Rules:

* everything is drawn from a seed that is public; patterns come from the contract's digest, so that they are the same
  at every site;
* nothing is anybody's record: whoever shows figures of such records says that they are *generated*.
"""

from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from privacy.study.data.contract import DataContract
from privacy.study.data.tensors import Flags, Ids, Numbers

Arrays = dict[str, NDArray[Any]]
_WEIGHTS: Final = (1.5, 0.4, 0.4, 0.4)  # of the numbers in a patient's hidden state; targets depend on the first
_HIDDEN: Final = len(_WEIGHTS)
_NOISE: Final = 0.1  # of a number, in parts of its range
_SLIPS: Final = 0.05  # of labels and of words that do not follow the hidden state
_GROUPS: Final = 4  # of codes


class GeneratedRecords(NamedTuple):
    """Records of a contract: every tensor by its name, (records, *shape), and the patient of each record."""

    arrays: Arrays
    patient: NDArray[np.str_]


def generate_records(
    contract: DataContract, patients: int, seed: int, name: str = "generated", records: int = 1
) -> GeneratedRecords:
    """Generate ``patients`` patients with ``records`` records each.

    Args:
        contract: what a record is.
        patients: how many.
        seed: public; another one gives other patients of the same kind.
        name: the beginning of every patient's identifier.
        records: of each patient.
    """
    random = np.random.default_rng([seed, int(contract.digest[:8], 16)])
    patterns = np.random.default_rng(int(contract.digest[:8], 16))
    hidden = np.repeat(random.standard_normal((patients, _HIDDEN)), records, axis=0)  # (records, hidden)
    arrays: Arrays = {}
    for tensor in contract.list_inputs():
        arrays[tensor.name] = _generate_input(tensor, hidden, random, patterns)
    _mark_missing(arrays)
    for tensor in contract.list_targets():
        arrays[tensor.name] = _generate_target(tensor, hidden, random)
    _draw_objects(contract, arrays, hidden, random)
    ids = [f"{name}-{number:05d}" for number in range(patients) for _ in range(records)]
    return GeneratedRecords(arrays, np.array(ids))


def _generate_input(
    tensor: Numbers | Ids | Flags,
    hidden: NDArray[np.float64],
    random: np.random.Generator,
    patterns: np.random.Generator,
) -> NDArray[Any]:
    shape = (len(hidden), *tensor.shape)
    if isinstance(tensor, Flags):
        if tensor.name == "present":
            return _draw_present(shape, random)
        if tensor.name == "visits":
            return _draw_visits(shape, hidden, random)
        agreement = _project(hidden, tensor.shape, patterns)
        return random.random(shape) < 1 / (1 + np.exp(-2.0 * agreement))
    if isinstance(tensor, Ids):
        return _draw_words(tensor, hidden, random)
    spread = tensor.high - tensor.low
    signal = 0.5 + 0.3 * np.tanh(_project(hidden, tensor.shape, patterns))
    numbers = tensor.low + spread * (signal + _NOISE * random.standard_normal(shape))
    return np.clip(numbers, tensor.low, tensor.high).astype(np.float32)


def _project(
    hidden: NDArray[np.float64], shape: tuple[int, ...], patterns: np.random.Generator
) -> NDArray[np.float64]:
    """Return for each record the sum of z_k times a smooth pattern over ``shape``; (records, *shape)."""
    total = np.zeros((len(hidden), *shape))
    for weight, number in zip(_WEIGHTS, hidden.T, strict=True):
        pattern = np.ones(shape)
        for axis, length in enumerate(shape):
            phase, waves = patterns.uniform(0, 2 * np.pi), patterns.uniform(0.5, 2.0)
            wave = np.cos(2 * np.pi * waves * np.arange(length) / max(1, length) + phase)
            pattern = pattern * wave.reshape([length if place == axis else 1 for place in range(len(shape))])
        # half of it is the same everywhere, so that models see it which average over places or times
        total += number.reshape(-1, *[1] * len(shape)) * weight * (0.5 + 0.5 * pattern)
    return total


def _draw_present(shape: tuple[int, ...], random: np.random.Generator) -> NDArray[np.bool_]:
    lengths = random.integers(1, shape[1] + 1, shape[0])
    return np.arange(shape[1]) < lengths[:, None]


def _draw_visits(
    shape: tuple[int, ...], hidden: NDArray[np.float64], random: np.random.Generator
) -> NDArray[np.bool_]:
    _, visits, codes = shape
    first = (hidden[:, 0] > 0) * 2 + (hidden[:, 1] > 0)  # (records,)
    group = (first[:, None] + np.arange(visits)) % _GROUPS  # (records, visits)
    of_code = np.arange(codes) * _GROUPS // codes  # (codes,)
    often = of_code == group[:, :, None]  # (records, visits, codes)
    return random.random(shape) < np.where(often, 0.6, _SLIPS)


def _draw_words(tensor: Ids, hidden: NDArray[np.float64], random: np.random.Generator) -> NDArray[np.int64]:
    records, words = len(hidden), tensor.values - 1  # word 0 stands for none
    part = max(1, words // 2)
    upper = (hidden[:, 0] > 0).reshape(-1, *[1] * len(tensor.shape))
    shape = (records, *tensor.shape)
    follows = random.random(shape) >= _SLIPS
    drawn = 1 + random.integers(0, part, shape) + np.where(upper & follows, words - part, 0)
    if not tensor.shape:
        return drawn
    lengths = random.integers(1, tensor.shape[-1] + 1, shape[:-1])
    return np.where(np.arange(tensor.shape[-1]) < lengths[..., None], drawn, 0)


def _mark_missing(arrays: Arrays) -> None:
    """Make ``values`` zero where they are not ``observed``, and where a step is not ``present``."""
    observed, values, present = (arrays.get(name) for name in ("observed", "values", "present"))
    if present is not None:
        for name in ("observed", "visits"):
            if name in arrays:
                arrays[name] = arrays[name] & present[:, :, None]
        observed = arrays.get("observed")
    if observed is not None and values is not None and observed.shape == values.shape:
        arrays["values"] = np.where(observed, values, 0).astype(np.float32)


def _generate_target(
    tensor: Numbers | Ids | Flags, hidden: NDArray[np.float64], random: np.random.Generator
) -> NDArray[Any]:
    shape = (len(hidden), *tensor.shape)
    if isinstance(tensor, Flags):
        columns = np.resize(np.arange(_HIDDEN), int(np.prod(tensor.shape)) if tensor.shape else 1)
        return (hidden[:, columns] > 0).reshape(shape)
    if isinstance(tensor, Ids):
        places = np.argsort(np.argsort(hidden[:, 0])) * tensor.values // len(hidden)  # equally many of each
        slipped = random.random(len(hidden)) < _SLIPS
        drawn = np.where(slipped, random.integers(0, tensor.values, len(hidden)), places)
        return np.broadcast_to(drawn.reshape(-1, *[1] * len(tensor.shape)), shape).astype(np.int64)
    middle = 1 / (1 + np.exp(-hidden[:, 0])) + 0.05 * random.standard_normal(len(hidden))
    values = tensor.low + (tensor.high - tensor.low) * np.clip(middle, 0, 1)
    return np.broadcast_to(values.reshape(-1, *[1] * len(tensor.shape)), shape).astype(np.float32)


def _draw_objects(
    contract: DataContract, arrays: Arrays, hidden: NDArray[np.float64], random: np.random.Generator
) -> None:
    """Replace a target mask by a disc, or a ball, and make the image brighter there."""
    images = [each for each in contract.list_inputs() if isinstance(each, Numbers) and len(each.shape) in (3, 4)]
    for target in contract.list_targets():
        if not images or target.shape != images[0].shape[1:]:
            continue
        image = images[0]
        axes = [np.arange(length) for length in target.shape]
        grid = np.meshgrid(*axes, indexing="ij")
        centres = random.uniform(0.3, 0.7, (len(hidden), len(axes))) * target.shape
        radii = random.uniform(0.15, 0.3, len(hidden)) * min(target.shape)
        inside = np.stack(
            [
                sum((axis - centre) ** 2 for axis, centre in zip(grid, own, strict=True)) <= radius**2
                for own, radius in zip(centres, radii, strict=True)
            ]
        )  # (records, *space)
        spread = image.high - image.low
        dim = arrays[image.name] * np.float32(0.5) + np.float32(image.low * 0.5)
        arrays[image.name] = np.clip(dim + (0.4 * spread) * inside[:, None], image.low, image.high).astype(
            np.float32
        )
        arrays[target.name] = inside.astype(np.int64) if isinstance(target, Ids) else inside


def write_records(path: Path, records: GeneratedRecords, patient: str) -> Path:
    """Write records as a file of the contract, with the patient of each under ``patient``; return its path."""
    arrays: dict[str, Any] = {patient: records.patient, **records.arrays}
    np.savez(path, **arrays)
    return path
