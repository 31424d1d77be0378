"""Read what a module returns: outputs, or a mapping with outputs, a loss of the model's own, or both."""

from collections.abc import Callable, Mapping

import torch

from models.task import Task

Returned = torch.Tensor | Mapping[str, torch.Tensor]
Targets = Mapping[str, torch.Tensor]

OUTPUTS = "outputs"
OWN_LOSS = "own_loss"


def read_outputs(returned: Returned) -> torch.Tensor:
    """Return the outputs, (records, *shape).

    Raises:
        KeyError: the module returned its own loss only, because it has another objective than the task.
    """
    return returned if isinstance(returned, torch.Tensor) else returned[OUTPUTS]


def make_record_loss(task: Task) -> Callable[[Returned, Targets], torch.Tensor]:
    """Make the loss of each record, (records,): the task's, the model's own, or their sum."""

    def compute(returned: Returned, targets: Targets) -> torch.Tensor:
        if isinstance(returned, torch.Tensor):
            return task.compute_losses(returned, targets)
        own = returned.get(OWN_LOSS)
        if OUTPUTS not in returned:
            assert own is not None, "a module returns outputs or a loss of its own"
            return own
        losses = task.compute_losses(returned[OUTPUTS], targets)
        return losses if own is None else losses + own

    return compute
