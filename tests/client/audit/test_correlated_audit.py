"""An audit of lots in turn: honest noise is not refuted, over rounds that cancel it too, and planted faults are."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.small_study import small_terms
from client.audit.audit_study import StudyAudit, Verdict, audit_study
from client.data.dataset import StudyFiles
from client.training.interface import TrainingInterface
from client.training.jobs import TrainedRound, TrainRound
from client.training.lots_in_turn import LotsInTurn
from client.training.session import TrainingSession
from privacy.dpsgd import DpSgd, Mechanism, OrderedSteps, Records, StepNoise
from privacy.randomness import KeyStream
from privacy.study import Terms

PASSES = 6


def ordered(epsilon: float, matrix: str = "banded") -> Terms:
    """Six rounds of one pass over four lots."""
    return small_terms(
        evaluation={"rounds": []},
        privacy={
            "epsilon": epsilon,
            "delta": 1e-5,
            "clipping_norm": 0.25,
            "placement": "correlated",
            "correlation": {"matrix": matrix},
        },
        training={"sampling_rate": 0.25, "local_steps": 4, "rounds": PASSES, "learning_rate": 0.1},
        secure_aggregation={"value_range": "auto"},
    )


class OneUse(TrainingSession):
    """Noise for a patient who is used once, where they are used in every pass."""

    def _train_round(self, job: TrainRound) -> TrainedRound:
        assert job.noise_multiplier is not None
        return super()._train_round(replace(job, noise_multiplier=job.noise_multiplier / PASSES**0.5))


class TwiceAPass(TrainingSession):
    """Two lots are one, so that every patient is used twice within the distance that is charged."""

    def _order_lots(self, job: TrainRound) -> LotsInTurn | None:
        order = super()._order_lots(job)
        return order and replace(order, lots=order.lots % 2, count=2)


class EveryStep(OrderedSteps):
    """The same and worse, behind the check of the engine: everybody is in every lot."""

    def compute_gradient(self, records: Records) -> torch.Tensor:
        self._lots = np.full(len(self._lots), self._step % self._count)
        return super().compute_gradient(records)


class Everybody(LotsInTurn):
    def order(self, engine: DpSgd, mechanism: Mechanism, noise: StepNoise) -> OrderedSteps:
        return EveryStep(engine, mechanism, self.lots, self.count, noise)


class EveryLot(TrainingSession):
    def _order_lots(self, job: TrainRound) -> LotsInTurn | None:
        order = super()._order_lots(job)
        return order and Everybody(**vars(order))


def audit(study: Terms, session: type[TrainingSession] = TrainingSession, canaries: int = 200) -> StudyAudit:
    def make(terms: Terms, files: StudyFiles, audited: bool) -> TrainingInterface:
        return (session if audited else TrainingSession)(terms, files, "cpu")

    stream = KeyStream(b"an audit that repeats its draws!")
    return audit_study(study, canaries=canaries, make_session=make, stream=stream)


@pytest.mark.parametrize("matrix", ["banded", "tree"])
def test_honest_noise_that_later_rounds_cancel_is_not_refuted(matrix: str) -> None:
    found = audit(ordered(4, matrix))
    assert found.gaussian
    assert found.verdict is Verdict.NOT_REFUTED
    assert found.bounds.largest > 0.1  # and yet the attacker sees something


def test_charge_for_one_use_only_is_refuted() -> None:
    assert audit(ordered(2), OneUse).verdict is Verdict.REFUTED


def test_patient_who_comes_in_every_step_is_refuted() -> None:
    assert audit(ordered(1), EveryLot).verdict is Verdict.REFUTED


def test_order_in_which_a_patient_comes_twice_a_pass_is_refused_by_the_engine() -> None:
    with pytest.raises(ValueError, match=r"expected a sampling rate of 1 / 2, got 0\.25"):
        audit(ordered(4), TwiceAPass)
