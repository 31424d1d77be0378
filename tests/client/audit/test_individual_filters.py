"""An audit of a training alone: with filters as they are the claim stands; a filter that forgets is found out."""

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.small_study import small_terms
from client.audit.attack import score_rounds
from client.audit.canaries import (
    generate_ordinary,
    make_audited_terms,
    make_canaries,
    read_as_trained,
)
from client.audit.memory_rounds import SeenRound, read_total_of_update
from client.study.train_alone import make_event
from client.training.device import CPU
from client.training.device_records import DeviceRecords
from client.training.local_steps import train
from client.training.simulate import pool_patients
from client.training.study_model import make_first_model
from models.federated.server_optimiser import make_optimiser
from privacy.accounting.individual_filter import IndividualFilter
from privacy.audit.empirical.guesses import Bounds, compute_bounds
from privacy.randomness import KEY_BYTES, KeyStream

STEPS, PAID, CANARIES, PATIENTS = 9, 1, 80, 40
TERMS = small_terms(
    training={"rounds": STEPS, "local_steps": 1, "sampling_rate": 1.0, "learning_rate": 0.05},
    privacy={"epsilon": 3, "delta": 1e-3, "clipping_norm": 0.25},
    evaluation={"rounds": []},
)


class ForgetsTheLong(IndividualFilter):
    """Charges nothing for gradients that were clipped."""

    def admit(
        self, lengths: NDArray[np.float64], patients: NDArray[np.int64] | slice = slice(None)
    ) -> NDArray[np.bool_]:
        return super().admit(np.where(lengths >= 1, 0.0, lengths), patients)


class ForgetsTheStep(IndividualFilter):
    """Never adds what a step was charged."""

    def settle(self) -> None:
        self._charged[:] = 0


def audit(kind: type[IndividualFilter], looked_at: int = STEPS) -> Bounds:
    """Bounds of epsilon by an attacker who sees the first noised sums of a training alone with such filters."""
    stream, noise = KeyStream(b"an audit that repeats its draws!"), make_event(TERMS, PAID).noise_multiplier
    audited = make_audited_terms(TERMS, CANARIES)
    canaries = make_canaries(TERMS, audited, CANARIES, stream)
    ordinary = read_as_trained(audited, generate_ordinary(audited, PATIENTS, seed=1))
    present = read_as_trained(audited, canaries.records.select(canaries.present))
    records = DeviceRecords(pool_patients([ordinary, present]), audited, CPU.device)
    kept, optimiser = kind(records.patients, PAID), make_optimiser(audited)
    shared, seen = optimiser.make_initial_state(make_first_model(audited)), list[SeenRound]()
    for number in range(1, STEPS + 1):
        model = optimiser.model_of(shared)
        trained = train(
            model,
            audited,
            records,
            PATIENTS,
            noise,
            CPU,
            KeyStream(stream.draw_bytes(KEY_BYTES)),
            number=number,
            patient_filter=kept,
        )
        seen.append(SeenRound(number, model, read_total_of_update(audited, number, trained.update, PATIENTS)))
        shared = optimiser.advance(shared, trained.update)
    attack = score_rounds(audited, canaries, DeviceRecords(ordinary, audited, CPU.device), noise, seen[:looked_at])
    return compute_bounds(attack.scores, canaries.present, 1e-3, independent=attack.independent)


@pytest.mark.parametrize("looked_at", [PAID, STEPS])
def test_claim_of_a_training_with_filters_is_not_refuted(looked_at: int) -> None:
    bounds = audit(IndividualFilter, looked_at)
    assert bounds.largest <= 3


@pytest.mark.parametrize("kind", [ForgetsTheLong, ForgetsTheStep])
def test_filter_that_forgets_to_charge_is_found_by_the_audit(kind: type[IndividualFilter]) -> None:
    bounds = audit(kind)
    assert bounds.largest > 3
