"""Reconstruct a patient's image from an update: DLG, iDLG, inverted gradients, and division at a dense layer.

=============  =========================================================================================================
attack         how
=============  =========================================================================================================
``dlg``        image and label are changed until their gradient is the one that was seen, in squares (Zhu, Liu and Han
               2019, "Deep leakage from gradients", arXiv 1906.08935)
``idlg``       the label first, which the last layer's gradient shows; then the image (Zhao, Mopuri and Bilen 2020,
               arXiv 2001.02610)
``inverting``  the angle between the gradients, and smooth images (Geiping et al. 2020, "Inverting gradients", arXiv
               2003.14053)
``division``   a dense first layer has the input in its gradient: that of a weight over that of its bias (Phong et al.
               2018, section 3)
=============  =========================================================================================================

The victim's lot has one patient, which is the worst case; Poisson sampling draws such lots. Other sites have eight
patients. What a party sees is :mod:`benchmarks.attacks.views`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.attacks.views import PROTECTIONS, VICTIM, Party, Protection, ShownRound, protect
from client.audit.canaries import SiteRecords
from client.audit.memory_rounds import read_total_of_update
from client.training.study_model import build_model
from models.generated.records import generate_records
from models.parameters.flatten import list_trained_parameters, set_shared_parameters
from privacy.randomness import KeyStream
from privacy.study import Terms

SIDE: Final = 12
_CLASSES: Final = 3
_PATIENTS: Final = 10  # public count of each site: the lot that is expected
_OTHERS: Final = {"birch": 8, "cedar": 8}

Image = NDArray[np.float64]
Gradients = Sequence[torch.Tensor]


@dataclass(frozen=True, eq=False)
class Inverted:
    """What one party got of the victim's image with one protection."""

    party: Party
    protection: Protection
    image: Image
    psnr: float


def write_study(model: str) -> dict[str, Any]:
    """Write a study of small generated images, of the catalogue's ``mlp`` or ``chest-xray-cnn``."""
    options: dict[str, Any] = {"filters": [32], "hidden": 0, "dropout": 0, "activation": "tanh", "padding": "same"}
    shape = [1, SIDE, SIDE]
    if model == "mlp":
        options, shape = {"hidden": [32], "activation": "tanh"}, [SIDE * SIDE]
    name = "image" if model != "mlp" else "features"
    return {
        "consilium": 1,
        "name": "attacked",
        "purpose": "Be attacked: its images are generated.",
        "model": {"name": model, "options": options},
        "data": {
            "kind": "arrays",
            "name": "attacked",
            "ranges_from": "Generated images.",
            "inputs": [{"type": "number", "name": name, "shape": shape, "low": 0, "high": 1}],
            "targets": [{"type": "id", "name": "label", "values": _CLASSES}],
        },
        "task": {"kind": "multiclass"},
        "training": {"rounds": 1, "local_steps": 1, "sampling_rate": 1.0, "learning_rate": 0.1},
        "privacy": {"epsilon": "none"},
        "cohort": {"minimum": 3, "maximum": 3},
        "secure_aggregation": {"bits": 24, "value_range": 2.0},
        "evaluation": {"rounds": []},
    }


def make_sites(terms: Terms, seed: int = 3) -> dict[str, SiteRecords]:
    """Make the victim, whose image is a generated disc on a slope, and the other sites."""
    sites = {}
    for number, (name, count) in enumerate({VICTIM: 1, **_OTHERS}.items()):
        arrays = dict(generate_records(terms.data, count, seed + number).arrays)
        tensor = terms.data.list_inputs()[0].name
        arrays[tensor] = draw_images(count, seed + number).reshape(arrays[tensor].shape)
        sites[name] = SiteRecords(arrays, np.arange(count, dtype=np.int64))
    return sites


def draw_images(count: int, seed: int) -> NDArray[np.float32]:
    """Draw images of a ring and a bar at random places, (count, SIDE, SIDE), from 0 to 1."""
    random, (rows, columns) = np.random.default_rng(seed), np.mgrid[:SIDE, :SIDE]
    images = np.zeros((count, SIDE, SIDE))
    for image in images:
        row, column, radius = *random.uniform(3, SIDE - 4, 2), random.uniform(2, 4)
        distance = np.hypot(rows - row, columns - column)
        image[:] = 0.15 + 0.2 * columns / SIDE + 0.6 * np.exp(-((distance - radius) ** 2))
        image[int(random.integers(1, SIDE - 1))] *= 0.4
    return np.clip(images, 0, 1).astype(np.float32)


def compute_psnr(found: Image, true: Image) -> float:
    """Return the peak signal-to-noise ratio of images from 0 to 1, in dB; 10 is no likeness, 40 is a copy."""
    error = float(np.mean((np.clip(np.nan_to_num(found), 0, 1) - true) ** 2))
    return 100.0 if error <= 1e-10 else -10 * math.log10(error)


class Inversion:
    """A model at the beginning of a round, and the gradients that are to be explained.

    Args:
        module: gives logits for a dictionary with one tensor.
        name: of that tensor.
        shape: of that tensor, without the axis of records.
        gradient: (parameters,) of the loss of one record.
    """

    def __init__(self, module: nn.Module, name: str, shape: tuple[int, ...], gradient: torch.Tensor) -> None:
        self.module, self.name, self.shape = module.double(), name, shape
        self._parameters = list(list_trained_parameters(module).values())
        parts = torch.split(gradient.double(), [each.numel() for each in self._parameters])
        self.seen = [part.view_as(each) for part, each in zip(parts, self._parameters, strict=True)]
        self.classes = self.seen[-1].numel()  # one bias each in the last layer

    @classmethod
    def of_study(cls, terms: Terms, start: NDArray[np.float64], gradient: NDArray[np.float64]) -> "Inversion":
        """Return the inversion of a ``gradient`` at the parameters ``start`` of a study's model, (parameters,) each."""
        module, tensor = build_model(terms).double(), terms.data.list_inputs()[0]
        set_shared_parameters(module, start)
        return cls(module, tensor.name, tensor.shape, torch.from_numpy(gradient))

    def differentiate(self, image: torch.Tensor, weights: torch.Tensor) -> Gradients:
        """Return the gradients of the loss at ``image`` with soft class ``weights``, both differentiable."""
        logits = self.module({self.name: image})
        loss = -(weights * logits.log_softmax(-1)).sum()
        return torch.autograd.grad(loss, self._parameters, create_graph=True)

    def begin(self, seed: int) -> torch.Tensor:
        """Return a random image to begin with."""
        generator = torch.Generator().manual_seed(seed)
        return torch.rand((1, *self.shape), generator=generator, dtype=torch.float64).requires_grad_()

    def find_label(self) -> torch.Tensor:
        """Return the class whose bias in the last layer has the only negative gradient, one-hot."""
        return nn.functional.one_hot(self.seen[-1].argmin(), self.classes).double()[None]


def _match(seen: Gradients, found: Gradients) -> torch.Tensor:
    scale = sum(float(each.square().sum()) for each in seen)  # so that tolerances mean the same for every gradient
    return torch.stack([(a - b).square().sum() for a, b in zip(found, seen, strict=True)]).sum() / scale


def run_dlg(inversion: Inversion, iterations: int, starts: int) -> Image:
    """Match squares by L-BFGS, with the label unknown."""
    return _run_lbfgs(inversion, iterations, starts, None)


def run_idlg(inversion: Inversion, iterations: int, starts: int) -> Image:
    """Match squares by L-BFGS, with the label from the last layer."""
    return _run_lbfgs(inversion, iterations, starts, inversion.find_label())


def _run_lbfgs(inversion: Inversion, iterations: int, starts: int, label: torch.Tensor | None) -> Image:
    best, found = math.inf, inversion.begin(0)
    for seed in range(starts):
        image = inversion.begin(seed)
        if (error := _descend(inversion, image, iterations, label)) < best:
            best, found = error, image.detach()
    return _take_image(found)


def _descend(inversion: Inversion, image: torch.Tensor, iterations: int, label: torch.Tensor | None) -> float:
    """Change ``image``, and an unknown label, until the gradients match; return the error that is left."""
    dummy = torch.zeros(1, inversion.classes, dtype=torch.float64, requires_grad=True)
    variables = [image] if label is not None else [image, dummy]
    optimiser = torch.optim.LBFGS(
        variables, lr=1.0, max_iter=iterations, history_size=50, line_search_fn="strong_wolfe"
    )

    def measure() -> torch.Tensor:
        optimiser.zero_grad()
        weights = dummy.softmax(-1) if label is None else label
        error = _match(inversion.seen, inversion.differentiate(image, weights))
        error.backward()  # type: ignore[no-untyped-call]
        return error

    optimiser.step(measure)  # type: ignore[no-untyped-call]
    return float(measure().detach())


def _take_image(found: torch.Tensor) -> Image:
    side = math.isqrt(found.numel())
    image: Image = found.detach().double().numpy().reshape(side, side)
    return image


def run_inverting(inversion: Inversion, iterations: int, starts: int) -> Image:
    """Turn the gradient by signed Adam steps on the cosine, with total variation."""
    best, found, label = math.inf, inversion.begin(0), inversion.find_label()
    for seed in range(starts):
        image = inversion.begin(seed)
        optimiser = torch.optim.Adam([image], lr=0.1)
        schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, [iterations // 2, iterations * 3 // 4], 0.1)
        for _ in range(iterations):
            optimiser.zero_grad()
            error = _measure_angle(inversion.seen, inversion.differentiate(image, label))
            flat = image.view(SIDE, SIDE)
            variation = flat.diff(dim=0).abs().mean() + flat.diff(dim=1).abs().mean()
            (error + 1e-4 * variation).backward()  # type: ignore[no-untyped-call]
            assert image.grad is not None
            image.grad.sign_()
            optimiser.step()
            schedule.step()
            with torch.no_grad():
                image.clamp_(0, 1)
        if float(error.detach()) < best:
            best, found = float(error.detach()), image.detach()
    return _take_image(found)


def _measure_angle(seen: Gradients, found: Gradients) -> torch.Tensor:
    one, other = (torch.cat([each.flatten() for each in every]) for every in (seen, found))
    return 1 - nn.functional.cosine_similarity(one, other, dim=0)


def run_division(inversion: Inversion, iterations: int, starts: int) -> Image:
    """Divide the gradient of a unit's weights by that of its bias, at the unit whose bias moved most."""
    weights, biases = inversion.seen[0], inversion.seen[1]
    unit = int(biases.abs().argmax())
    return _take_image(weights[unit] / biases[unit])


ATTACKS: Final[dict[str, tuple[str, Callable[[Inversion, int, int], Image], int]]] = {
    "dlg": ("chest-xray-cnn", run_dlg, 150),
    "idlg": ("chest-xray-cnn", run_idlg, 150),
    "inverting": ("chest-xray-cnn", run_inverting, 400),
    "division": ("mlp", run_division, 1),
}
"""Model, attack, and iterations of each."""


def invert(
    name: str,
    parties: Sequence[Party] = tuple(Party),
    protections: Sequence[Protection] = PROTECTIONS,
    starts: int = 2,
    iterations: int | None = None,
    stream: KeyStream | None = None,
) -> tuple[Image, list[Inverted]]:
    """Run one attack for every party and protection; return the victim's image and what each got of it."""
    model, attack, usual = ATTACKS[name]
    study, found = write_study(model), list[Inverted]()
    true = make_sites(protect(study, PROTECTIONS[0]))[VICTIM]
    image = next(iter(true.arrays.values())).astype(np.float64).reshape(SIDE, SIDE)
    for protection in protections:
        terms = protect(study, protection)
        shown = ShownRound(terms, make_sites(terms), _PATIENTS, stream)
        for party in parties:
            gradient = read_total_of_update(terms, 1, shown.look(party), _PATIENTS)
            inversion = Inversion.of_study(terms, shown.seen.model, gradient)
            got = attack(inversion, iterations or usual, starts)
            found.append(Inverted(party, protection, got, compute_psnr(got, image)))
    return image, found
