"""Draw a model's predictions with its noise layer, and certify each record's.

Rules:

* only a model with a noise layer (``models/layers/bounded_noise.py``) can be certified, and only where it says a class;
* the noise is seeded from the operating system's randomness: an attacker who knew the draws could choose an image for
  them;
* a certificate is about changes of the model's input, in its units: what the contract scales is scaled before.
"""

from __future__ import annotations

import math
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from client.data.site_data import read_contents
from client.prediction.certificate import Certificate, certify_counts
from client.prediction.predict import count_records_at_once, read_batch, select_inputs
from client.prediction.prediction_file import CERTIFIED
from client.prediction.release_contract import ReleaseContract
from models.layers.bounded_noise import AddedNoise, draw_noise, find_noise
from models.outputs import read_outputs
from privacy.dpsgd.torch_randomness import seed_torch
from privacy.errors import ReleaseError
from privacy.study.tasks.binary import BinaryTerms
from privacy.study.tasks.multiclass import MulticlassTerms

if TYPE_CHECKING:
    from torch import nn


def certify(contract: ReleaseContract, module: nn.Module, path: Path, draws: int) -> dict[str, NDArray[Any]]:
    """Certify what the model says of every record of the file ``path``; (records,) each, by :data:`CERTIFIED`.

    Args:
        contract: what the data must be.
        module: the released model.
        path: the file, which is known to keep the contract.
        draws: of the noise, for each record.

    Raises:
        ReleaseError: the model has no noise layer, or its task says no class.
    """
    noise = require_certifiable(contract, module)
    threshold = 0.5 if contract.threshold is None else contract.threshold.value
    inputs = select_inputs(contract, read_contents(contract.data, path))
    found = list[Certificate]()
    records, step = len(next(iter(inputs.values()))), count_records_at_once(inputs)
    with seed_torch(secrets.randbits(63), torch.device("cpu")):
        for start in range(0, records, step):
            batch = read_batch(inputs, slice(start, start + step))
            found += [
                certify_counts(counts, noise.deviation)
                for counts in count_classes(module, noise, batch, draws, threshold)
            ]
    places = np.array([each.place for each in found], dtype=np.float64)
    radii = np.array([[each.cohen, each.pixeldp] for each in found]).reshape(-1, 2)
    return dict(zip(CERTIFIED, (places, radii[:, 0], radii[:, 1]), strict=True))


def require_certifiable(contract: ReleaseContract, module: nn.Module) -> AddedNoise:
    """Return the model's noise layer.

    Raises:
        ReleaseError: it has none, or its task says no class.
    """
    noise = find_noise(module)
    if noise is None:
        raise ReleaseError(
            f"--certify: the model '{contract.model.name}' has no noise layer; certified are models such as "
            "'pixeldp-cnn', which train with one"
        )
    if not isinstance(contract.task, BinaryTerms | MulticlassTerms):
        raise ReleaseError("--certify: a certificate is about a class; the task of this model predicts none")
    return noise


def count_classes(
    module: nn.Module, noise: AddedNoise, inputs: dict[str, torch.Tensor], draws: int, threshold: float = 0.5
) -> NDArray[np.int64]:
    """Count how often the model says each class in ``draws`` draws of its noise; (records, classes).

    A positive label is said from the score ``threshold`` on.
    """
    total: NDArray[np.int64] | None = None
    with torch.no_grad(), draw_noise(noise):
        for _ in range(draws):
            said = _say_class(read_outputs(module(inputs)), threshold)
            total = said if total is None else total + said
    assert total is not None, "the command asks for one draw at least"
    return total


def _say_class(outputs: torch.Tensor, threshold: float) -> NDArray[np.int64]:
    """Return 1 for the class that is said, 0 for the others; (records, classes)."""
    if outputs.dim() == 1:  # a logit of the positive label
        limit = math.log(threshold / (1 - threshold))
        outputs = torch.stack([torch.full_like(outputs, limit), outputs], dim=1)
    places = torch.nan_to_num(outputs, nan=-torch.inf).argmax(1)
    one: NDArray[np.int64] = torch.nn.functional.one_hot(places, outputs.shape[1]).numpy()
    return one
