"""The kinds of task that terms may name."""

from typing import Annotated

from pydantic import Field

from privacy.study.tasks.binary import BinaryTerms
from privacy.study.tasks.embedding import EmbeddingTerms
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

AnyTask = Annotated[
    BinaryTerms
    | MulticlassTerms
    | OrdinalTerms
    | MultilabelTerms
    | SegmentationTerms
    | ReconstructionTerms
    | EmbeddingTerms
    | NextEventTerms
    | PairsTerms
    | RegressionTerms
    | SurvivalTerms
    | StatisticsTerms,
    Field(discriminator="kind"),
]
