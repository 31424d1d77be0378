"""Make the task of a study's terms: a list, one kind a line.

The terms name a kind and its options (``privacy/study/tasks/``); the loss, the counting and the figures are in a file
of ``models/tasks/`` for each kind.
"""

from models.task import Task
from models.tasks.binary import THRESHOLD, BinaryTask
from models.tasks.embedding import EmbeddingTask
from models.tasks.multiclass import MulticlassTask
from models.tasks.multilabel import MultilabelTask
from models.tasks.next_event import NextEventTask
from models.tasks.ordinal import OrdinalTask
from models.tasks.pairs import PairsTask
from models.tasks.reconstruction import ReconstructionTask
from models.tasks.regression import RegressionTask
from models.tasks.segmentation import SegmentationTask
from models.tasks.statistics import StatisticsTask
from models.tasks.survival import SurvivalTask
from privacy.study.data.contract import DataContract
from privacy.study.tasks.binary import BinaryTerms
from privacy.study.tasks.embedding import EmbeddingTerms
from privacy.study.tasks.figures import FigureFacts
from privacy.study.tasks.multiclass import MulticlassTerms
from privacy.study.tasks.multilabel import MultilabelTerms
from privacy.study.tasks.next_event import NextEventTerms
from privacy.study.tasks.ordinal import OrdinalTerms
from privacy.study.tasks.pairs import PairsTerms
from privacy.study.tasks.reconstruction import ReconstructionTerms
from privacy.study.tasks.regression import RegressionTerms
from privacy.study.tasks.segmentation import SegmentationTerms
from privacy.study.tasks.statistics import StatisticsTerms
from privacy.study.tasks.survival import SurvivalTerms
from privacy.study.tasks.task import TaskTerms


def make_task(terms: TaskTerms, contract: DataContract) -> Task:
    """Make the task that ``terms``, the part ``task`` of a study's terms, describe for the data of ``contract``.

    Raises:
        ValueError: the kind has no task here.
    """
    match terms:
        case BinaryTerms():
            return BinaryTask(terms.target, terms.positive_weight)
        case MulticlassTerms():
            return MulticlassTask.from_terms(terms, contract)
        case OrdinalTerms():
            return OrdinalTask.from_terms(terms, contract)
        case MultilabelTerms():
            return MultilabelTask.from_terms(terms, contract)
        case SegmentationTerms():
            return SegmentationTask.from_terms(terms, contract)
        case ReconstructionTerms():
            return ReconstructionTask.from_terms(terms)
        case RegressionTerms():
            return RegressionTask(terms, contract)
        case PairsTerms():
            return PairsTask(terms, contract)
        case SurvivalTerms():
            return SurvivalTask(terms, contract)
        case NextEventTerms():
            return NextEventTask(terms, contract)
        case EmbeddingTerms():
            return EmbeddingTask(terms, contract)
        case StatisticsTerms():
            return StatisticsTask(terms, contract)
        case _:
            raise ValueError(f"no task is known for {type(terms).__name__}")


def list_figures(terms: TaskTerms, contract: DataContract) -> tuple[FigureFacts, ...]:
    """List how documents call the task's figures, the one that chooses the best model first.

    Raises:
        ValueError: as :func:`make_task`.
    """
    return tuple(
        FigureFacts(name=each.name, title=each.title, lower_is_better=each.lower_is_better)
        for each in make_task(terms, contract).figures
    )


def find_threshold(terms: TaskTerms) -> float | None:
    """Return the score from which on a prediction is positive; None for a task without such predictions."""
    return THRESHOLD if isinstance(terms, BinaryTerms) else None
