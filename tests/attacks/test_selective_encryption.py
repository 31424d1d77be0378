"""Encrypting only the most sensitive part of an update (FedML-HE) does not keep a record from who sees the rest."""

from functools import partial

import numpy as np
import pytest
import torch

from benchmarks.selective_encryption import (
    attack_by_algebra,
    attack_by_matching,
    choose_clear,
    compute_gradient,
    compute_sensitivity,
    make_network,
    measure_attack,
    read_records,
)


def test_record_is_read_exactly_with_nine_tenths_encrypted() -> None:
    """Nothing of the record is read only when nearly everything is encrypted: then encrypt everything."""
    found = {row["encrypted"]: row["values"] for row in measure_attack(attack_by_algebra, (0.0, 0.5, 0.9, 1.0), 6)}
    assert found[0.0] == found[0.5] == found[0.9] == 1.0
    assert found[1.0] < 0.2


def test_success_never_rises_with_the_share_that_is_encrypted() -> None:
    rows = measure_attack(attack_by_algebra, (0.0, 0.3, 0.9, 0.95, 0.99, 1.0), 6)
    values = [row["values"] for row in rows]
    assert values == sorted(values, reverse=True)
    assert [row["records"] for row in rows] == sorted((row["records"] for row in rows), reverse=True)


def test_matching_gradients_reads_what_is_in_the_clear_too() -> None:
    found = {
        row["encrypted"]: row["values"]
        for row in measure_attack(partial(attack_by_matching, starts=1), (0.5, 1.0), 1)
    }
    assert found[0.5] > 0.9
    assert found[1.0] < 0.3


def test_share_of_all_is_full_encryption_and_of_none_is_none() -> None:
    sensitivity = np.arange(10.0)
    assert choose_clear(sensitivity, 0.0).all()
    assert not choose_clear(sensitivity, 1.0).any()
    assert choose_clear(sensitivity, 0.3).tolist() == [True] * 7 + [False] * 3


def test_map_is_the_change_of_the_gradients_with_the_label() -> None:
    """The oracle: the derivative by the label as a quotient of differences."""
    records, network = read_records(), make_network(30)
    record, target, step = torch.from_numpy(records.values[0]), torch.tensor([0.3, 0.7]), 0.5
    before, columns = compute_gradient(network, record, target), []
    for entry in torch.eye(2):
        columns.append((compute_gradient(network, record, target + step * entry) - before) / step)
    assert compute_sensitivity(network, records, most=1) == pytest.approx(
        torch.stack(columns).norm(dim=0).numpy(), rel=1e-3, abs=1e-6
    )
