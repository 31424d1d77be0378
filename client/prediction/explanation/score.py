"""Choose the one number of a record that is explained: a logit, a value, a probability.

=================  ================================================================================================
task               what is explained
=================  ================================================================================================
binary             the logit of a positive label
multiclass         the logit of a class: the one that is predicted, or ``place``
multilabel         the logit of a label: the likeliest one, or ``place``
ordinal            the sum of the logits of "above k": how far up the record stands
regression, pairs  the value, in the scale that models see; of several numbers, their mean or number ``place``
survival           the probability that the first cause, or ``place`` counted from 0, comes before the last horizon
segmentation       the mean logit of foreground over the image; of classes, of the first one after the background or
                   ``place``, minus that of the background
next-event         the logit of a code after the last visit that is present: the likeliest one, or ``place``
=================  ================================================================================================

Of other tasks there is no such number. A class that the record itself chooses stays the same while its inputs are
changed.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch

from client.prediction.prediction_file import name_places
from client.prediction.release_contract import ReleaseContract
from models.tasks.binary import BinaryTask
from models.tasks.multiclass import MulticlassTask
from models.tasks.multilabel import MultilabelTask
from models.tasks.next_event import NextEventTask
from models.tasks.ordinal import OrdinalTask
from models.tasks.pairs import PairsTask
from models.tasks.registry import make_task
from models.tasks.regression import RegressionTask
from models.tasks.segmentation import SegmentationTask
from models.tasks.survival import SurvivalTask
from privacy.errors import ReleaseError

Inputs = Mapping[str, torch.Tensor]


class Score(NamedTuple):
    """What is explained of a record.

    Attributes:
        name: in words.
        compute: from the model's outputs of some records, (records, ...), to the number, (records,).
        place: the class, label or code among the outputs; None if there is only one number.
    """

    name: str
    compute: Callable[[torch.Tensor], torch.Tensor]
    place: int | None


def choose_score(contract: ReleaseContract, inputs: Inputs, outputs: torch.Tensor, place: int | None) -> Score:
    """Choose what is explained of one record.

    Args:
        contract: the released model's.
        inputs: of the record; (1, ...) each.
        outputs: what the model gives for it; (1, ...).
        place: which class, label, cause or code; None for the one that is predicted, or the first one.

    Raises:
        ReleaseError: the task has no such number, or not so many places.
    """
    task: Any = make_task(contract.task, contract.data)
    match task:
        case BinaryTask():
            return _require_one(Score("logit of a positive label", lambda found: found, None), place)
        case OrdinalTask():
            return _require_one(Score("sum of the logits of 'above'", lambda found: found.sum(1), None), place)
        case MulticlassTask() | MultilabelTask():
            what = "class" if isinstance(task, MulticlassTask) else "label"
            chosen = _choose(outputs[0], place)
            word = name_places(contract, outputs.shape[1])[chosen]
            return Score(f"logit of {what} {word}", lambda found: found[:, chosen], chosen)
        case RegressionTask() | PairsTask():
            return _score_numbers(outputs, place)
        case SurvivalTask():
            return _score_survival(task, place)
        case SegmentationTask():
            return _score_segmentation(task, outputs, place)
        case NextEventTask():
            bound = {tensor: inputs[name] for name, tensor in contract.model.inputs.items()}
            return _score_next_event(task, bound, outputs, place)
    raise ReleaseError(
        f"the model of '{contract.study}' cannot be explained: its task '{contract.task.kind}' gives no single number "
        "of a record to explain"
    )


def _score_numbers(outputs: torch.Tensor, place: int | None) -> Score:
    if outputs.ndim == 1:
        return _require_one(Score("predicted value", lambda found: found, None), place)
    if place is None:
        return Score("mean of the predicted values", lambda found: found.flatten(1).mean(1), None)
    chosen = _choose(outputs[0].flatten(), place)
    return Score(f"predicted value {chosen}", lambda found: found.flatten(1)[:, chosen], chosen)


def _score_survival(task: SurvivalTask, place: int | None) -> Score:
    causes, intervals = task.terms.count_causes(task.contract), task.terms.intervals
    cause = _require_place(0 if place is None else place, causes)
    edge = task.terms.list_horizon_edges(task.contract)[-1]

    def compute(found: torch.Tensor) -> torch.Tensor:
        shares = found.softmax(1)[:, :-1].reshape(found.shape[0], causes, intervals)
        return shares[:, cause, :edge].sum(1)

    return Score(f"probability of cause {cause + 1} before the last horizon", compute, cause)


def _score_segmentation(task: SegmentationTask, outputs: torch.Tensor, place: int | None) -> Score:
    if task.flags:
        return _require_one(Score("mean logit of foreground", lambda found: found.flatten(1).mean(1), None), place)
    chosen = _require_place(1 if place is None else place, outputs.shape[1])
    return Score(
        f"mean logit of class {chosen} over that of the background",
        lambda found: (found[:, chosen] - found[:, 0]).flatten(1).mean(1),
        chosen,
    )


def _score_next_event(task: NextEventTask, inputs: Inputs, outputs: torch.Tensor, place: int | None) -> Score:
    present = inputs[task.terms.present][0] if task.terms.present in inputs else None
    visits = int(present.sum()) if present is not None else outputs.shape[1]
    last = max(0, visits - 1)
    chosen = _choose(outputs[0, last], place)
    return Score(f"logit of code {chosen} after visit {visits}", lambda found: found[:, last, chosen], chosen)


def _choose(values: torch.Tensor, place: int | None) -> int:
    return int(values.argmax()) if place is None else _require_place(place, len(values))


def _require_place(place: int, count: int) -> int:
    if not 0 <= place < count:
        raise ReleaseError(f"--of {place}: the model gives {count} numbers here; name one from 0 to {count - 1}")
    return place


def _require_one(score: Score, place: int | None) -> Score:
    if place not in (None, 0):
        raise ReleaseError(f"--of {place}: the model gives one number of a record; leave out --of")
    return score
