"""The size of a physical batch follows the free memory, and changes no result."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

from benchmarks.small_study import small_terms, write_patients
from client.data.site_data import read_data
from client.training.device import CPU
from client.training.device_records import DeviceRecords
from client.training.free_memory import GROUP_LIMIT
from client.training.local_steps import train
from client.training.physical_batch import choose_batch_bytes, compute_batch_bytes
from client.training.study_model import make_first_model
from privacy.dpsgd.engine import BATCH_BYTES
from privacy.randomness import KeyStream

KEY = b"a key of 32 bytes, for tests now"
PATIENTS = 40


@contextmanager
def watching_batches() -> Iterator[list[int]]:
    """The numbers of records that linear layers are given while training."""
    seen: list[int] = []

    def look(layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if isinstance(layer, nn.Linear) and layer.training and torch.is_grad_enabled():
            seen.append(len(inputs[0]))

    handle = register_module_forward_pre_hook(look)
    try:
        yield seen
    finally:
        handle.remove()


@given(st.integers(0, 1 << 50))
def test_physical_batch_takes_half_of_what_is_free(free: int) -> None:
    assert 0 <= free - 2 * compute_batch_bytes(free) <= 1


def test_physical_batch_is_the_engines_own_where_nobody_knows_what_is_free() -> None:
    assert compute_batch_bytes(None) == BATCH_BYTES


@pytest.mark.parametrize(("limit", "expected"), [(1, 0), (1 << 60, None)])
def test_physical_batch_on_the_cpu_is_bounded(
    limit: int, expected: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(GROUP_LIMIT, str(limit))
    chosen = choose_batch_bytes(torch.device("cpu"))
    assert 0 < chosen <= BATCH_BYTES if expected is None else chosen == expected


def test_round_with_no_memory_left_takes_one_record_at_a_time_and_gives_the_same_update(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terms = small_terms(
        training={"rounds": 1, "local_steps": 1, "sampling_rate": 1.0, "learning_rate": 0.1},
        evaluation={"rounds": []},
    )
    patients = read_data(terms.data, write_patients(tmp_path / "t.csv", PATIENTS, "p")).patients
    start, updates = make_first_model(terms), []
    for limit, most in ((1 << 60, PATIENTS), (1, 1)):
        monkeypatch.setenv(GROUP_LIMIT, str(limit))
        records = DeviceRecords(patients, terms, CPU.device)
        train(start, terms, records, PATIENTS, 1.0, CPU, KeyStream(KEY))  # the self-test is over
        with watching_batches() as seen:
            updates.append(train(start, terms, records, PATIENTS, 1.0, CPU, KeyStream(KEY)).update)
        assert max(seen) == most
    np.testing.assert_allclose(updates[1], updates[0], rtol=1e-5, atol=1e-7)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no graphics processor here")
def test_physical_batch_on_a_graphics_processor_counts_what_torch_keeps() -> None:
    device = torch.device("cuda")
    before = choose_batch_bytes(device)
    kept = torch.zeros(1 << 28, device=device)
    used = choose_batch_bytes(device)
    del kept
    after = choose_batch_bytes(device)
    assert used <= before - (1 << 28)
    assert after >= used + (1 << 28), "torch has the block reserved, and it is free for the next step"
