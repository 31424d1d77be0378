"""Outputs of models that say something at every visit, for tasks of a record's visits."""

from models.entry import Sizes
from models.errors import ModelError


def require_outputs_each_visit(name: str, sizes: Sizes, outputs: tuple[int, ...]) -> int:
    """Return how many outputs the task asks for at each of the ``sizes["visits"]`` visits.

    Raises:
        ModelError: ``outputs`` is not (visits, labels); ``name`` is the model's in the message.
    """
    if len(outputs) != 2 or outputs[0] != sizes["visits"]:
        raise ModelError(
            f"the model '{name}' gives outputs of shape ({sizes['visits']}, labels), one row for each visit; the task "
            f"asks for shape {outputs}"
        )
    return outputs[1]
