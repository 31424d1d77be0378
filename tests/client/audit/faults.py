"""Eight defects of private training, each planted in a copy of a site's training: what an audit must find.

None is in the product. Every fault is a subclass of the engine, of the session, or of a module, that does one step
wrongly.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from client.data.dataset import StudyFiles, read_study
from client.data.examples import treat_records_as_patients
from client.training.device import CPU
from client.training.device_records import DeviceRecords
from client.training.interface import TrainingInterface
from client.training.jobs import TrainedRound, TrainRound
from client.training.local_steps import make_loss
from client.training.session import TrainingSession
from client.training.study_model import make_model_to_train
from models.parameters.flatten import list_trained_parameters, read_shared_parameters, set_shared_parameters
from privacy.dpsgd import DpSgd, Loss, Mechanism, Records, add_noise, sample_patients
from privacy.randomness import KeyStream
from privacy.study import Terms

HUGE = 1e6


class CopiedEngine(DpSgd):
    """A step like the engine's, in parts that a fault can replace."""

    def __init__(self, module: nn.Module, loss: Loss, mechanism: Mechanism, stream: KeyStream) -> None:
        super().__init__(module, loss, mechanism, stream)
        self.public, self.secret = mechanism, stream

    @property
    def deviation(self) -> float:
        assert self.public.noise_multiplier is not None
        assert self.public.clipping_norm is not None
        return self.public.noise_multiplier * self.public.clipping_norm

    @property
    def rate(self) -> float:
        return self.public.sampling_rate

    def sum_drawn(self, records: Records) -> torch.Tensor:
        return self.sum_lot(records, sample_patients(records.patients, self.rate, self.secret))

    def noise(self, total: torch.Tensor) -> None:
        add_noise(total, self.deviation, self.secret)

    def compute_gradient(self, records: Records) -> torch.Tensor:
        total = self.sum_drawn(records)
        self.noise(total)
        return total.div_(self.public.expected_lot)


class HalfNoise(CopiedEngine):
    @property
    def deviation(self) -> float:
        return super().deviation / 2


class NoClip(CopiedEngine):
    def __init__(self, module: nn.Module, loss: Loss, mechanism: Mechanism, stream: KeyStream) -> None:
        super().__init__(module, loss, mechanism, stream)
        self._mechanism = Mechanism(mechanism.sampling_rate, mechanism.public_patients, HUGE, 0.0)


class ClipAfterSum(NoClip):
    """The mean over the lot is clipped, instead of every patient's gradient."""

    def sum_drawn(self, records: Records) -> torch.Tensor:
        total = super().sum_drawn(records)
        assert self.public.clipping_norm is not None
        allowed = self.public.clipping_norm * self.public.expected_lot
        return total.mul_(min(1.0, allowed / float(total.norm())))


class SameNoise(CopiedEngine):
    def noise(self, total: torch.Tensor) -> None:
        add_noise(total, self.deviation, KeyStream(bytes(32)))


class WrongRate(CopiedEngine):
    """Everybody is drawn, whatever the terms say."""

    @property
    def rate(self) -> float:
        return 1.0


class SecondRelease(CopiedEngine):
    """The same lot leaves twice, each time with fresh noise; one release is charged."""

    def compute_gradient(self, records: Records) -> torch.Tensor:
        first = self.sum_drawn(records)
        second = first.clone()
        self.noise(first)
        self.noise(second)
        return first.add_(second).div_(2 * self.public.expected_lot)


class BatchNormalised(nn.Module):
    """Divides every feature by its spread over the batch, so that a patient changes the others' gradients."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        features = inputs["features"]
        mean, spread = features.mean(0), features.std(0, unbiased=False)
        output: torch.Tensor = self.inner({**inputs, "features": (features - mean) / (spread + 1e-5)})
        return output


Engine = Callable[[nn.Module, Loss, Mechanism, KeyStream], CopiedEngine]


class CopiedSession(TrainingSession):
    """Local training like a site's, with an engine of the test's choice."""

    def __init__(
        self,
        terms: Terms,
        files: StudyFiles,
        engine: Engine = CopiedEngine,
        *,
        batch_statistics: bool = False,
        records_as_patients: bool = False,
    ) -> None:
        super().__init__(terms, files, "cpu")
        self._engine, self._batch_statistics = engine, batch_statistics
        self._records_as_patients = records_as_patients

    def _train_round(self, job: TrainRound) -> TrainedRound:
        terms = self._terms
        module = make_model_to_train(terms, self._module)
        set_shared_parameters(module, job.model)
        begin = read_shared_parameters(module)
        mechanism = Mechanism(
            terms.training.sampling_rate,
            self._public_patients,
            terms.privacy.clipping_norm,
            job.noise_multiplier,
        )
        seen = BatchNormalised(module) if self._batch_statistics else module
        engine = self._engine(seen, make_loss(terms), mechanism, KeyStream(job.key))
        records = self._training
        if self._records_as_patients:
            patients = treat_records_as_patients(read_study(self._files)[0].patients)
            records = DeviceRecords(patients, terms, CPU.device)
        for _ in range(terms.training.local_steps):
            gradient, start = engine.compute_gradient(records), 0
            for parameter in list_trained_parameters(module).values():
                part = gradient[start : start + parameter.numel()].view_as(parameter)
                with torch.no_grad():
                    parameter.sub_(part, alpha=terms.training.compute_learning_rate(job.number))
                start += parameter.numel()
        return TrainedRound(read_shared_parameters(module) - begin, np.empty(0))


def plant(engine: Engine = CopiedEngine, **faults: bool) -> Callable[[Terms, StudyFiles, bool], TrainingInterface]:
    """Sessions with a fault at every site."""
    return lambda terms, files, audited: CopiedSession(terms, files, engine, **faults)
