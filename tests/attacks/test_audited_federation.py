"""An audit over a whole federation in memory: journal, signed messages, ledgers, masks and ciphertexts.

What the audited site has sealed in each round is read from its own folder, as if all others conspired; the attack and
the bounds are those of ``consilium audit-run``.
"""

from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.small_study import small_terms
from client.audit.attack import score_rounds
from client.audit.canaries import (
    Canaries,
    generate_ordinary,
    make_audited_terms,
    make_canaries,
    read_as_trained,
    write_records,
)
from client.audit.memory_rounds import SeenRound, read_total_of_update
from client.training.device import CPU
from client.training.device_records import DeviceRecords
from privacy.audit.empirical.guesses import compute_bounds
from privacy.randomness import KeyStream
from privacy.secure_aggregation.quantise import dequantise
from privacy.secure_aggregation.round_layout import compute_weight, make_grid
from privacy.study import Terms
from privacy.study.cost import compute_study_noise
from tests.simulator import Simulator

TERMS = small_terms(
    training={"rounds": 2, "local_steps": 1, "sampling_rate": 1.0, "learning_rate": 0.1},
    privacy={"epsilon": 8, "delta": 1e-3, "clipping_norm": 0.25},
    evaluation={"rounds": []},
    secure_aggregation={"value_range": "auto"},
)
AUDITED, CANARIES, ORDINARY = "ash", 80, 60


def found_federation(folder: Path, audited: Terms, canaries: Canaries) -> Simulator:
    def write_files(home: Path, name: str, number: int) -> tuple[Path, Path]:
        parts = {name: generate_ordinary(audited, ORDINARY, seed=number)}
        if name == AUDITED:
            parts["canary"] = canaries.records.select(canaries.present)
        tested = {f"{name}-test": generate_ordinary(audited, 20, seed=100 + number)}
        return write_records(home / "train.npz", audited, parts), write_records(home / "test.npz", audited, tested)

    return Simulator(folder, audited, ("ash", "birch", "cedar"), write_files)


def has_worked(federation: Simulator, number: int) -> bool:
    return federation.store(AUDITED).read_integers(number) is not None


def test_audit_of_a_whole_federation_does_not_refute_its_epsilon(tmp_path: Path) -> None:
    audited = make_audited_terms(TERMS, CANARIES)
    canaries = make_canaries(TERMS, audited, CANARIES, KeyStream(b"a" * 32))
    federation = found_federation(tmp_path / "federation", audited, canaries)
    federation.launch()
    registered = federation.homes[AUDITED].load_registry().find_exact(audited.data)
    assert registered is not None
    patients, noise, seen = registered.public_patients, compute_study_noise(audited), []
    for number in range(1, audited.training.rounds + 1):
        federation.run(until=partial(federation.all_have, number - 1))
        store, model = federation.store(AUDITED), federation.store(AUDITED).read_model()
        halvings = federation.state(AUDITED).halvings
        federation.run(until=partial(has_worked, federation, number))
        integers = store.read_integers(number)
        assert integers is not None
        assert len(federation.entries(AUDITED, "reserve")) == number  # it was paid before its integers were there
        reference = federation.state(AUDITED).reference
        assert reference is not None
        weight = compute_weight(audited, patients, reference)
        update = dequantise(integers.astype(np.int64), 1, make_grid(audited, halvings, noise)) / weight
        seen.append(SeenRound(number, model, read_total_of_update(audited, number, update, patients)))
    federation.run()
    federation.close()
    ordinary = DeviceRecords(
        read_as_trained(audited, generate_ordinary(audited, ORDINARY, seed=0)), audited, CPU.device
    )
    attack = score_rounds(audited, canaries, ordinary, noise, seen)
    bounds = compute_bounds(attack.scores, canaries.present, 1e-3, independent=attack.independent)
    assert bounds.presuming_nothing < 8
    # the scores do tell who is there, as they would not if the audit looked at something else
    present, absent = attack.scores[0][canaries.present], attack.scores[0][~canaries.present]
    assert present.mean() - absent.mean() > 0.5
