"""An insider learns what another site's patients look like, with a generator against the shared model.

The insider has no image of the victim's class. In every round it takes the shared model as discriminator, trains a
generator until the model calls its images the victim's class, and trains the model on these images as a class of their
own. So the victim has to tell the model more of how its class differs.

What is learned is the *class*, not a patient: the images come near the mean of the class, and no nearer to its members
than to patients of the class who were not there. Clipping and noise of single patients do not stop it in principle, and
sealing does not at all, since the insider uses the shared model. Its figures are the likeness to the mean of the class,
and how much nearer the images are to members than to others.

Source: Hitaj, Ateniese and Perez-Cruz 2017, "Deep models under the GAN" (arXiv 1702.07464).
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from benchmarks.attacks.inversion import SIDE, Image, write_study
from benchmarks.attacks.views import Protection, protect, write_site
from client.audit.canaries import SiteRecords
from client.audit.memory_rounds import MemoryRounds
from client.data.dataset import StudyFiles
from client.data.examples import Patients
from client.training.device import CPU
from client.training.device_records import DeviceRecords
from client.training.interface import TrainingInterface
from client.training.jobs import TrainedRound, TrainRound
from client.training.session import TrainingSession
from models.parameters.flatten import set_shared_parameters
from privacy.randomness import KeyStream, from_os
from privacy.study import Terms
from privacy.study.cost import compute_study_noise

_OWN, _VICTIMS, _FAKE = 0, 1, 2  # classes
_PATIENTS: Final = 60
_STEPS: Final = 30  # of the generator in a round
_WAYS: Final = 8  # of the generator's noise


@dataclass(frozen=True, eq=False)
class Generated:
    """What the insider's generator made.

    Attributes:
        protection: what was on.
        image: (SIDE, SIDE) the mean of its images, over the later two thirds of the rounds.
        likeness: correlation of that image with the mean of the victim's class.
        likeness_of_members: by how much the images correlate better with members than with others of the class.
    """

    protection: Protection
    image: Image
    likeness: float
    likeness_of_members: float


class _Generator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(_WAYS, 64), nn.Tanh(), nn.Linear(64, SIDE * SIDE), nn.Sigmoid())

    def forward(self, ways: torch.Tensor) -> torch.Tensor:
        images: torch.Tensor = self.layers(ways)
        return images


class _Insider(TrainingSession):
    """A site that trains on images of its generator, besides its own."""

    def __init__(self, terms: Terms, files: StudyFiles) -> None:
        super().__init__(terms, files, "cpu")
        torch.manual_seed(0)
        self.generator = _Generator()
        self._optimiser = torch.optim.Adam(self.generator.parameters(), lr=0.01)
        self._own = super()._training
        self.made: list[Image] = []

    def _train_round(self, job: TrainRound) -> TrainedRound:
        set_shared_parameters(self._module, job.model)
        wanted = torch.full((_PATIENTS,), _VICTIMS)
        for _ in range(_STEPS):
            self._optimiser.zero_grad()
            images = self.generator(torch.randn(_PATIENTS, _WAYS))
            loss = nn.functional.cross_entropy(self._module({"features": images}), wanted)
            loss.backward()  # type: ignore[no-untyped-call]
            self._optimiser.step()
        rows = np.arange(self._own.records)
        inputs, targets = self._own.select(rows)
        with torch.no_grad():
            fakes = self.generator(torch.randn(_PATIENTS, _WAYS))
        self.made.append(fakes.double().numpy().mean(axis=0))
        features = torch.cat([inputs["features"], fakes]).numpy()
        labels = torch.cat([targets["label"], torch.full((_PATIENTS,), _FAKE)]).numpy()
        count = len(labels)
        mixed = Patients({"features": features}, {"label": labels}, np.arange(count), count)
        self.__dict__["_tables"] = (DeviceRecords(mixed, self._terms, CPU.device), mixed)
        return super()._train_round(job)

    @property
    def _training(self) -> DeviceRecords:
        return self._tables[0]


def draw_class(label: int, count: int, seed: int) -> Image:
    """Draw images of one class, (count, SIDE * SIDE): a cross, a ring, or noise, each with its own distortion."""
    random, (rows, columns) = np.random.default_rng([seed, label]), np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    distance = np.hypot(rows, columns)
    shapes = {
        _OWN: np.exp(-(np.minimum(np.abs(rows), np.abs(columns)) ** 2)),
        _VICTIMS: np.exp(-((distance - 3.5) ** 2)),
        _FAKE: np.full((SIDE, SIDE), 0.5),
    }
    images = shapes[label] * random.uniform(0.6, 1.0, (count, 1, 1))
    distorted: Image = images + 0.25 * random.standard_normal((count, SIDE, SIDE))
    return distorted.clip(0, 1).reshape(count, -1)


def write_gan_study(rounds: int) -> dict[str, Any]:
    """Write the attacked study: three classes, of which the third is nobody's."""
    study = write_study("mlp")
    study["training"] |= {"rounds": rounds, "local_steps": 5, "sampling_rate": 0.5, "learning_rate": 0.3}
    study["secure_aggregation"] = {"bits": 16}
    return study


def run_gan(protection: Protection, rounds: int = 30, stream: KeyStream | None = None) -> Generated:
    """Run a study with the insider in it, and compare what its generator makes with the victim's class."""
    terms = protect(write_gan_study(rounds), protection)
    noise = None if protection.epsilon is None else compute_study_noise(terms)
    classes = {"victim": _VICTIMS, "insider": _OWN, "other": _OWN}
    with tempfile.TemporaryDirectory(prefix="attack-") as folder:
        sessions = dict[str, TrainingInterface]()
        for seed, (name, label) in enumerate(classes.items()):
            records = _make_records(draw_class(label, _PATIENTS, seed), label)
            files = write_site(Path(folder) / name, terms, records, _PATIENTS)
            sessions[name] = _Insider(terms, files) if name == "insider" else TrainingSession(terms, files, "cpu")
        for _ in MemoryRounds(terms, sessions, dict.fromkeys(classes, _PATIENTS), noise, stream or from_os()).run():
            pass
    insider = sessions["insider"]
    assert isinstance(insider, _Insider), "the insider is the one with the generator"
    members, others = draw_class(_VICTIMS, _PATIENTS, 0), draw_class(_VICTIMS, _PATIENTS, 99)
    mean = np.mean(insider.made[rounds // 3 :], axis=0)  # the two play against each other, so single rounds vary
    return Generated(
        protection,
        mean.reshape(SIDE, SIDE),
        _correlate(mean, draw_class(_VICTIMS, 500, 7).mean(axis=0)),
        _correlate_each(mean, members) - _correlate_each(mean, others),
    )


def _correlate_each(one: Image, others: Image) -> float:
    return fmean(_correlate(one, each) for each in others)


def _correlate(one: Image, other: Image) -> float:
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def _make_records(images: Image, label: int) -> SiteRecords:
    count = len(images)
    return SiteRecords(
        {"features": images.astype(np.float32), "label": np.full(count, label)}, np.arange(count, dtype=np.int64)
    )
