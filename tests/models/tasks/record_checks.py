"""What every task must keep for each record, checked on records that a test makes up."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.task import Task
from privacy.study.data.arrays import ArraysContract
from privacy.study.tasks.task import CellGroup, TaskTerms, count_cells

Arrays = Mapping[str, NDArray[Any]]

ANY_FLOAT = [0.0, -0.0, 1.0, -1.0, 0.5, 1e-30, 3e38, -3e38, float("inf"), float("-inf"), float("nan")]
"""Numbers that a model may give, however it was steered."""


def make_contract(inputs: list[dict[str, Any]], targets: list[dict[str, Any]]) -> ArraysContract:
    """A contract of these tensors."""
    return ArraysContract.model_validate(
        {"kind": "arrays", "name": "people", "ranges_from": "a test", "inputs": inputs, "targets": targets}
    )


def as_tensors(targets: Arrays) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(np.asarray(each)) for name, each in targets.items()}


def require_one_cell_per_group(
    task: Task, terms: TaskTerms, contract: ArraysContract, outputs: torch.Tensor, targets: Arrays, bins: int
) -> None:
    """Every record adds one to exactly one cell of each histogram, whatever the other records are."""
    groups = terms.list_cell_groups(contract, bins)
    alone = [
        task.count_cells(
            outputs[row : row + 1], {name: each[row : row + 1] for name, each in targets.items()}, bins
        )
        for row in range(len(outputs))
    ]
    for counts in alone:
        assert counts.shape == (count_cells(groups),)
        assert counts.dtype == np.int64
        for part in split(counts, groups):
            assert sorted(part)[-1] == part.sum() == 1
            assert part.min() >= 0
    together = task.count_cells(outputs, targets, bins)
    np.testing.assert_array_equal(together, np.sum(alone, axis=0))
    assert task.count_patients(together.tolist(), bins) == len(outputs)


def split(counts: NDArray[np.int64], groups: tuple[CellGroup, ...]) -> list[NDArray[np.int64]]:
    return np.split(counts, np.cumsum([group.cells for group in groups])[:-1])


def require_losses_of_records_alone(task: Task, outputs: torch.Tensor, targets: Arrays) -> None:
    """The loss of a record is what it is without the others, and only its own outputs move it."""
    tensors = as_tensors(targets)
    outputs = outputs.clone().requires_grad_()
    losses = task.compute_losses(outputs, tensors)
    assert losses.shape == (len(outputs),)
    for row in range(len(outputs)):
        own = {name: each[row : row + 1] for name, each in tensors.items()}
        torch.testing.assert_close(task.compute_losses(outputs[row : row + 1], own)[0], losses[row])
        (slope,) = torch.autograd.grad(losses[row], outputs, retain_graph=True)
        slope[row] = 0
        assert not slope.any()


def require_finite_gradients(task: Task, outputs: torch.Tensor, targets: Arrays) -> None:
    outputs = outputs.clone().requires_grad_()
    (slopes,) = torch.autograd.grad(task.compute_losses(outputs, as_tensors(targets)).sum(), outputs)
    assert slopes.isfinite().all()


def require_rank_is_first_figure(task: Task, counts: list[int], bins: int, sign: int = 1, unit: float = 1) -> None:
    """The exact rank is the first figure; ``sign`` -1 if lower is better, ``unit`` of the figure over the rank's."""
    rank, figure = task.compute_rank(counts, bins), task.compute_figures(counts, bins)[task.figures[0].name]
    assert (rank is None) == (figure is None)
    if rank is not None and figure is not None:
        np.testing.assert_allclose(float(rank) * sign * unit, figure, rtol=1e-12, atol=1e-12)
