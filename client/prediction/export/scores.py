"""Say in tensors what a task says of a model's outputs, so that an exported model gives scores and not logits.

Names and meanings are those of ``describe_outputs`` of the tasks (``models/tasks/``), in float32; a class is int64.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch

from client.prediction.release_contract import ReleaseContract
from models.tasks.binary import BinaryTask
from models.tasks.embedding import EmbeddingTask
from models.tasks.multiclass import MulticlassTask
from models.tasks.multilabel import MultilabelTask
from models.tasks.next_event import NextEventTask
from models.tasks.ordinal import THRESHOLD, OrdinalTask
from models.tasks.pairs import PairsTask
from models.tasks.reconstruction import ReconstructionTask
from models.tasks.registry import make_task
from models.tasks.regression import RegressionTask
from models.tasks.segmentation import SegmentationTask
from models.tasks.survival import SurvivalTask
from privacy.errors import ReleaseError

Scores = Mapping[str, torch.Tensor]
Scorer = Callable[[torch.Tensor], Scores]


def make_scorer(contract: ReleaseContract) -> Scorer:
    """Make the function from a model's outputs, (records, ...), to its scores, (records, ...) each, by name.

    Raises:
        ReleaseError: the task's scores are not known here.
    """
    task: Any = make_task(contract.task, contract.data)
    match task:
        case BinaryTask():
            return lambda outputs: {"probability": outputs.sigmoid()}
        case MulticlassTask():
            return lambda outputs: {"class": outputs.argmax(1), "probabilities": outputs.softmax(1)}
        case MultilabelTask():
            return lambda outputs: {"probabilities": outputs.sigmoid()}
        case OrdinalTask():
            return _score_ordinal
        case RegressionTask() | PairsTask():
            return _make_number_scorer(task)
        case ReconstructionTask(loss="squared"):
            return lambda outputs: {"values": outputs}
        case ReconstructionTask():
            return lambda outputs: {"values": outputs.sigmoid()}
        case SegmentationTask():
            return _make_segmentation_scorer(task)
        case SurvivalTask():
            return _make_survival_scorer(task)
        case NextEventTask(terms=terms) if terms.loss == "sigmoid":
            return lambda outputs: {"probability": outputs.sigmoid()}
        case NextEventTask() | EmbeddingTask():
            return lambda outputs: {"probability": outputs.softmax(2)}
    raise ReleaseError(
        f"the model of '{contract.study}' cannot be exported: what its task '{contract.task.kind}' says of outputs is "
        "known to this program alone; use --format safetensors"
    )


def _score_ordinal(outputs: torch.Tensor) -> Scores:
    above = outputs.sigmoid()
    return {"class": (above >= THRESHOLD).long().sum(1), "above": above}


def _make_number_scorer(task: RegressionTask | PairsTask) -> Scorer:
    numbers = task.terms.find_numbers(task.contract)
    low, high = numbers.range
    unit = (numbers.high - numbers.low) / (high - low)
    return lambda outputs: {"value": numbers.low + (outputs - low) * unit}


def _make_segmentation_scorer(task: SegmentationTask) -> Scorer:
    if task.flags:
        return lambda outputs: {
            "class": (outputs.sigmoid() >= task.threshold).long(),
            "probability": outputs.sigmoid(),
        }
    kept = [each for each in range(task.classes) if each != task.ignored]
    place = {each: number for number, each in enumerate(kept)}

    def score(outputs: torch.Tensor) -> Scores:
        shares = outputs[:, kept].softmax(1)
        nothing = torch.zeros_like(shares[:, 0])
        probabilities = [shares[:, place[each]] if each in place else nothing for each in range(task.classes)]
        return {
            "class": torch.tensor(kept)[outputs[:, kept].argmax(1)],
            "probabilities": torch.stack(probabilities, dim=1),
        }

    return score


def _make_survival_scorer(task: SurvivalTask) -> Scorer:
    causes, intervals = task.terms.count_causes(task.contract), task.terms.intervals
    edges = [edge - 1 for edge in task.terms.list_horizon_edges(task.contract)]

    def score(outputs: torch.Tensor) -> Scores:
        shares = outputs.softmax(1)[:, :-1].reshape(outputs.shape[0], causes, intervals)
        incidences = shares.cumsum(2)[:, :, edges]
        return {f"incidence_{cause + 1}": incidences[:, cause] for cause in range(causes)}

    return score
