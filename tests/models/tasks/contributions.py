"""Checks that every task must pass: what a record adds to the cells, and what its loss depends on."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.task import Task
from models.tasks.registry import make_task
from privacy.study.data.arrays import ArraysContract
from privacy.study.data.contract import DataContract
from privacy.study.tasks.task import TaskTerms

any_float = st.floats(width=32) | st.sampled_from([0.0, 1e30, -1e30])
"""Outputs of a model: not a number and infinities included."""

Targets = Mapping[str, NDArray[Any]]


def make_contract(inputs: list[dict[str, Any]], targets: list[dict[str, Any]]) -> ArraysContract:
    fields = {"kind": "arrays", "name": "ward", "ranges_from": "a textbook", "inputs": inputs, "targets": targets}
    return ArraysContract.model_validate(fields)


AN_INPUT = {"type": "number", "name": "features", "shape": (3,), "low": 0, "high": 1}


def to_tensors(targets: Targets) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in targets.items()}


def check_contribution(
    terms: TaskTerms, contract: DataContract, outputs: NDArray[Any], targets: Targets, bins: int
) -> None:
    """Check what the last record adds to the cells against what the terms promise of each group."""
    task, groups = make_task(terms, contract), terms.list_cell_groups(contract, bins)
    with_record = task.count_cells(torch.from_numpy(outputs), targets, bins)
    rest = {name: value[:-1] for name, value in targets.items()}
    added = with_record - task.count_cells(torch.from_numpy(outputs[:-1]), rest, bins)
    assert with_record.dtype == np.int64
    assert with_record.shape == (sum(group.cells for group in groups),)
    for group in groups:
        part, added = added[: group.cells], added[group.cells :]
        assert int((part.astype(object) ** 2).sum()) <= group.squared_sensitivity
        if group.histogram:
            assert group.squared_sensitivity == 1
            assert sorted(part.tolist()) == [0] * (group.cells - 1) + [1]


def check_losses_of_each_record_alone(task: Task, outputs: torch.Tensor, targets: Targets) -> None:
    together = task.compute_losses(outputs, to_tensors(targets))
    assert together.shape == (len(outputs),)
    for place in range(len(outputs)):
        one = {name: value[place : place + 1] for name, value in targets.items()}
        alone = task.compute_losses(outputs[place : place + 1], to_tensors(one))
        torch.testing.assert_close(together[place : place + 1], alone)


def check_losses_of_short_outputs_are_wide(task: Task, outputs: torch.Tensor, targets: Targets) -> None:
    short = outputs.to(torch.bfloat16)
    got = task.compute_losses(short, to_tensors(targets))
    torch.testing.assert_close(got, task.compute_losses(short.float(), to_tensors(targets)), rtol=0, atol=0)
    assert got.dtype == torch.float32


def check_gradient_is_finite(task: Task, outputs: torch.Tensor, targets: Targets) -> None:
    leaf = outputs.clone().requires_grad_()
    losses = task.compute_losses(leaf, to_tensors(targets))
    (gradient,) = torch.autograd.grad(losses.sum(), leaf)
    assert gradient.isfinite().all()
    assert not losses.isnan().any()
