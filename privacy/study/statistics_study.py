"""Fill in, and check, the parts of a study that only counts (``task.kind: statistics``).

It has one exchange, in which sites seal totals and train nothing:

* the author writes ``data``, ``task``, ``privacy`` with an epsilon, and ``cohort``. ``model``, ``training`` and
  ``evaluation`` have the values below in every such study, and need not be written;
* there is always an epsilon, which is that of the totals, and the noise is always distributed;
* the privacy unit is the patient, and sums are always sealed: one site's share has a part of the noise only.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from privacy.study.aggregation import SchemeName
from privacy.study.evaluation import CountedRecords, ReleaseChoice
from privacy.study.guarantee import Placement, Unit
from privacy.study.model import Model
from privacy.study.tasks.statistics import LEAST_UNKNOWN_SITES, StatisticsTerms
from privacy.study.training import Training

if TYPE_CHECKING:
    from privacy.study.terms import Terms

NO_MODEL: Final = "none"
"""The name in ``model`` of a study that trains nothing."""
PARAMETERS: Final = 1
"""The shared vector of such a study: one zero, which sites compare at the end as they compare models."""

_MODEL: Final = {"name": NO_MODEL}
_TRAINING: Final = {"rounds": 0, "local_steps": 1, "sampling_rate": 1.0, "learning_rate": 1.0}


def is_of_statistics(fields: Any) -> bool:
    """Return whether the written terms ``fields`` are of a study that only counts."""
    task = fields.get("task") if isinstance(fields, Mapping) else None
    return isinstance(task, StatisticsTerms) or (isinstance(task, Mapping) and task.get("kind") == "statistics")


def fill_in_fixed_parts(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the written terms with the parts that every study of statistics has alike, unless they are written."""
    privacy = fields.get("privacy")
    if not isinstance(privacy, Mapping):
        return {**fields}
    private = {"placement": "distributed", **privacy}
    if private.get("epsilon") not in (None, "none"):
        private = {"clipping_norm": 1.0, **private}
    evaluation = {"rounds": [0], "epsilon": private.get("epsilon")}
    return {"model": _MODEL, "training": _TRAINING, "evaluation": evaluation, **fields, "privacy": private}


def require_statistics_alone(terms: "Terms") -> None:
    """Refuse a study of statistics that would also train, or would not be protected as one must be.

    Raises:
        ValueError: naming the key, what was expected and what to write.
    """
    task, privacy, evaluation = terms.task, terms.privacy, terms.evaluation
    assert isinstance(task, StatisticsTerms)
    fixed = {
        "model": terms.model == Model.model_validate(_MODEL),
        "training": terms.training == Training.model_validate(_TRAINING),
        "evaluation": (evaluation.rounds, evaluation.epsilon, evaluation.patience, evaluation.records)
        == ((0,), privacy.epsilon, None, CountedRecords.LAST),
        "release": terms.release == ReleaseChoice(),
    }
    for part in (name for name, kept in fixed.items() if not kept):
        raise ValueError(f"{part}: a study of statistics trains and releases no model; leave this part out")
    if privacy.epsilon is None:
        raise ValueError("privacy.epsilon is none: statistics are always counted with noise; write an epsilon")
    if privacy.placement is not Placement.DISTRIBUTED or privacy.unit is not Unit.PATIENT:
        raise ValueError(
            "privacy: statistics protect the patient, with noise that sites add together; leave out placement and unit"
        )
    if terms.secure_aggregation.scheme is SchemeName.OPEN:
        raise ValueError(
            "secure_aggregation.scheme is open: one site's share has only a part of the noise, and the coordinator "
            "could read it; leave it out"
        )
    unknown = terms.cohort.minimum - terms.cohort.colluders
    if task.differences and unknown < LEAST_UNKNOWN_SITES:
        raise ValueError(
            f"task.differences: cohort.minimum is {terms.cohort.minimum} with {terms.cohort.colluders} colluders, so "
            f"that {unknown} sites are unknown to insiders, expected at least {LEAST_UNKNOWN_SITES}: the means of two "
            "could be computed; raise cohort.minimum, or leave differences out"
        )
