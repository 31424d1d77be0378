"""A study's complete terms, and the rules between their parts.

Only what the author may know is in the terms: ranges, vocabularies, rates and scales are public choices, never read
from patients. Rules within a part are in its file.

Rules between parts; each error says which rule is broken:

* distributed noise over patients means one global step per round on the sum of all sites' gradients. There is one
  lot per round, sites are weighted by their patients, and there is an epsilon;
* distributed noise needs masks, because a single share has only a fraction of the noise and nobody may read it. A
  scheme without masks is refused;
* distributed noise needs at least one colluder (``colluders``), because every site that opens a sum knows its own
  share of the noise;
* with the site as unit, noise is always distributed, and all sites have the same weight;
* a study whose noise is correlated has lots in a fixed order (``fixed_lots.py``);
* totals that choose a model, or stop a study, are paid for;
* a study that only counts has parts of its own (``statistics_study.py``).

What depends on a site's patients (delta against their number, too few of them) is checked by the site.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, Self

from pydantic import Field, model_validator

from privacy.accounting.records_per_patient import MOST_RECORDS
from privacy.document import Document, parse, read_yaml
from privacy.errors import TermsError
from privacy.fields import Name
from privacy.study.aggregation import BITS_OF_SUMS, Cohort, SchemeName, SecureAggregation
from privacy.study.data.kinds import AnyContract
from privacy.study.evaluation import Choice, CountedRecords, Evaluation, ReleaseChoice
from privacy.study.fixed_lots import require_lots_in_turn
from privacy.study.guarantee import Placement, Privacy, Unit
from privacy.study.model import Model
from privacy.study.statistics_study import fill_in_fixed_parts, is_of_statistics, require_statistics_alone
from privacy.study.tasks.kinds import AnyTask
from privacy.study.tasks.statistics import StatisticsTerms
from privacy.study.tasks.task import CellGroup, count_cells
from privacy.study.training import StepRule, Training, Weights

MOST_CELLS: Final = 20_000
"""The most cells that sealed totals may have."""
_TASK_OF_LABEL: Final = {
    "binary": "binary",
    "class": "multiclass",
    "number": "regression",
    "several": "multilabel",
    "survival": "survival",
}


class Terms(Document):
    """All terms of one study. They are immutable, and sites admit their digest."""

    consilium: Literal[1]
    name: Name
    purpose: str = Field(min_length=1, max_length=2000)
    model: Model
    data: AnyContract
    task: AnyTask
    training: Training
    privacy: Privacy
    cohort: Cohort
    secure_aggregation: SecureAggregation = SecureAggregation()
    evaluation: Evaluation = Evaluation()
    release: ReleaseChoice = ReleaseChoice()

    @model_validator(mode="before")
    @classmethod
    def _rounds_of_every(cls, fields: Any) -> Any:
        evaluation = fields.get("evaluation") if isinstance(fields, Mapping) else None
        if not isinstance(evaluation, Mapping) or "every" not in evaluation:
            return fields
        rest = {name: value for name, value in evaluation.items() if name != "every"}
        if "rounds" in rest:
            raise ValueError("evaluation.every and evaluation.rounds say the same thing twice; keep one of them")
        training = fields.get("training")
        every, last = evaluation["every"], _read_rounds(training)
        if type(every) is not int or every < 1:
            raise ValueError(f"evaluation.every: expected a whole number of rounds, got {every!r}")
        if type(last) is not int or not 1 <= last <= 10_000:
            raise ValueError("evaluation.every needs training.rounds, a whole number up to 10000")
        return {**fields, "evaluation": {**rest, "rounds": sorted({*range(every, last + 1, every), last})}}

    @model_validator(mode="before")
    @classmethod
    def _task_of_label(cls, fields: Any) -> Any:
        """Without a task, it is the usual one for the kind of a table's label."""
        data = fields.get("data") if isinstance(fields, Mapping) else None
        label = data.get("label") if isinstance(data, Mapping) else None
        if "task" in fields or not isinstance(label, Mapping):
            return fields
        kind = _TASK_OF_LABEL.get(label.get("kind", "binary"))
        return fields if kind is None else {**fields, "task": {"kind": kind}}

    @model_validator(mode="before")
    @classmethod
    def _fine_grid_for_sums(cls, fields: Any) -> Any:
        privacy = fields.get("privacy") if isinstance(fields, Mapping) else None
        sealing = fields.get("secure_aggregation", {}) if isinstance(fields, Mapping) else None
        if not isinstance(privacy, Mapping) or not isinstance(sealing, Mapping) or "bits" in sealing:
            return fields
        distributed = privacy.get("placement") == Placement.DISTRIBUTED
        return {**fields, "secure_aggregation": {**sealing, "bits": BITS_OF_SUMS}} if distributed else fields

    @model_validator(mode="before")
    @classmethod
    def _fixed_parts_of_statistics(cls, fields: Any) -> Any:
        return fill_in_fixed_parts(fields) if is_of_statistics(fields) else fields

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.counts_only:
            require_statistics_alone(self)
        else:
            self._require_evaluation_in_order()
        misfit = self.task.find_misfit(self.data)
        if misfit is not None:
            raise ValueError(f"task: {misfit}")
        augmentation = self.training.augmentation
        misfit = None if augmentation is None else augmentation.find_misfit(self.data)
        if misfit is not None:
            raise ValueError(f"training.augmentation: {misfit}")
        if self.evaluation.rounds and (cells := count_cells(self.cell_groups)) > MOST_CELLS:
            raise ValueError(
                f"{'task' if self.counts_only else 'evaluation'}.bins: totals of {cells} cells, expected at most "
                f"{MOST_CELLS}; write fewer bins"
            )
        if self.privacy.unit is Unit.RECORD and self.data.records_per_patient > MOST_RECORDS:
            raise ValueError(
                f"data.records_per_patient is {self.data.records_per_patient}: with privacy.unit record a patient is "
                f"charged for all of them, and at most {MOST_RECORDS} have a known price"
            )
        require_lots_in_turn(self)
        if self.privacy.placement is Placement.DISTRIBUTED:
            self._require_hidden_shares()
        if self.privacy.unit is Unit.SITE:
            self._require_whole_updates()
        elif self.privacy.placement is Placement.DISTRIBUTED and not self.counts_only:
            self._require_one_global_step()
        if self.cohort.participation < 1 and self.privacy.unit is not Unit.SITE:
            raise ValueError(
                "cohort.participation: sites are drawn only where they are the unit (privacy.unit: site)"
            )
        if self.privacy.epsilon is None and self.evaluation.epsilon is not None:
            raise ValueError("evaluation.epsilon needs privacy.epsilon: protect training first")
        return self

    def _require_evaluation_in_order(self) -> None:
        rounds = self.evaluation.rounds
        if not self.training.rounds or 0 in rounds:
            key = "evaluation.rounds" if self.training.rounds else "training.rounds"
            raise ValueError(f"{key}: expected at least 1, got 0; only a study of statistics trains nothing")
        if any(number > self.training.rounds for number in rounds):
            raise ValueError(
                f"evaluation.rounds names round {max(rounds)}, training.rounds is {self.training.rounds}"
            )
        if list(rounds) != sorted(set(rounds)):
            raise ValueError("evaluation.rounds: expected rising round numbers, each once")
        if rounds and "epsilon" not in self.evaluation.model_fields_set:
            raise ValueError("evaluation.epsilon: missing; write none if test patients are not to be protected")
        choosing = {
            "evaluation.patience": self.evaluation.patience is not None,
            "release.model: best": self.release.model is Choice.BEST,
        }
        for what in (name for name, asked in choosing.items() if asked):
            if not rounds:
                raise ValueError(f"{what} chooses by evaluations, and evaluation.rounds names none")
            if self.privacy.epsilon is not None and self.evaluation.epsilon is None:
                raise ValueError(
                    f"{what} would choose by test patients who are not paid for; give evaluation.epsilon"
                )

    def _require_hidden_shares(self) -> None:
        if self.secure_aggregation.scheme is SchemeName.OPEN:
            raise ValueError(
                "secure_aggregation.scheme is open: with distributed noise one site's share has only a part of the "
                "noise, and the coordinator could read it; write bfv, or placement: local"
            )
        if self.cohort.colluders < 1:
            raise ValueError(
                "cohort.colluders is 0, expected at least 1: with distributed noise every site knows its own share of "
                "the noise and opens the sum, so each of them is an insider"
            )

    def _require_one_global_step(self) -> None:
        if self.privacy.epsilon is None:
            raise ValueError("privacy.placement: distributed noise needs an epsilon; there is none to place")
        if self.training.lots != 1:
            raise ValueError(
                f"training.local_steps is {self.training.local_steps} and accumulate {self.training.accumulate}, "
                "expected 1 and 1: with distributed noise a round is one global step; a larger sampling_rate gives "
                "larger lots"
            )
        if self.training.proximal:
            raise ValueError("training.proximal: with distributed noise there are no local steps to pull back")
        if self.training.step.rule is StepRule.ADAM:
            raise ValueError(
                "training.step: with distributed noise there are no local steps; write server: {rule: adam} instead"
            )
        if self.training.control_variates:
            raise ValueError(
                "training.control_variates: with distributed noise there are no local steps to correct"
            )
        if self.model.personal:
            raise ValueError(
                "model.personal: with distributed noise a site alone has too little noise to train layers of its own"
            )
        if self.privacy.unit is not Unit.PATIENT:
            raise ValueError("privacy.unit: with distributed noise the unit is the patient or the site")
        if self.training.weights is not Weights.PATIENTS:
            raise ValueError("training.weights: with distributed noise every patient counts alike; write patients")

    def _require_whole_updates(self) -> None:
        if self.privacy.epsilon is None or self.privacy.placement is not Placement.DISTRIBUTED:
            raise ValueError(
                "privacy.unit: updates of whole sites are noised together; expected an epsilon and placement: "
                "distributed"
            )
        if self.training.weights is not Weights.UNIFORM:
            raise ValueError("training.weights: with the site as unit every site counts alike; write uniform")
        if self.training.control_variates:
            raise ValueError(
                "training.control_variates: with the site as unit only the update is noised; leave it out"
            )
        if self.model.personal and self.evaluation.rounds:
            raise ValueError(
                "model.personal: with the site as unit a site's own layers are trained without noise, so totals that "
                "they score must not be opened; leave out evaluation.rounds"
            )

    @property
    def counts_only(self) -> bool:
        """Whether the study counts what patients are like, in one exchange, and trains nothing."""
        return isinstance(self.task, StatisticsTerms)

    @property
    def asked_epsilon(self) -> float | None:
        """What training and evaluation ask for together; None without privacy."""
        if self.privacy.epsilon is None:
            return None
        scored = (self.evaluation.epsilon or 0.0) if self.evaluation.rounds else 0.0
        return scored if self.counts_only else self.privacy.epsilon + scored

    @property
    def sums_patients(self) -> bool:
        """Whether sites add patients' gradients and noise; then a sum's range must have room for all patients."""
        shared = self.privacy.placement is Placement.DISTRIBUTED and not self.counts_only
        return shared and self.privacy.unit is not Unit.SITE

    @property
    def cell_groups(self) -> tuple[CellGroup, ...]:
        """The groups of cells of the sealed totals.

        Where every record of a patient counts, a patient changes each cell by up to so many times as much.
        """
        groups = self.task.list_cell_groups(self.data, self.evaluation.bins)
        if self.evaluation.records is CountedRecords.LAST:
            return groups
        each = self.data.records_per_patient
        return tuple(group._replace(squared_sensitivity=group.squared_sensitivity * each**2) for group in groups)

    @property
    def last_round(self) -> int:
        """The last exchange: one more than the training rounds if the final model is evaluated."""
        return self.training.rounds + self.evaluation.scores(self.training.rounds)

    def trains(self, number: int) -> bool:
        """Return whether sites train in round ``number``; in the last exchange they may only evaluate."""
        return number <= self.training.rounds

    def opens_without_noise(self, number: int, base: int) -> bool:
        """Return whether the sum of round ``number``, from the model after ``base``, has a part without noise."""
        if number > self.last_round:
            return False
        bare_updates = self.privacy.epsilon is None and self.trains(number)
        return bare_updates or (self.evaluation.epsilon is None and self.evaluates(number, base))

    def evaluates(self, number: int, base: int) -> bool:
        """Return whether round ``number``, from the model after round ``base``, carries totals of that model."""
        return self.evaluation.scores(base) or not self.trains(number)


def _read_rounds(training: Any) -> Any:
    """Read the number of rounds from the written part ``training``, which may leave it to its stages."""
    if not isinstance(training, Mapping):
        return None
    stages = training.get("stages")
    if "rounds" in training or not isinstance(stages, list | tuple):
        return training.get("rounds")
    rounds = [stage.get("rounds") if isinstance(stage, Mapping) else None for stage in stages]
    return sum(rounds) if all(type(each) is int for each in rounds) else None


def read_terms(path: Path) -> Terms:
    """Read a study file.

    Raises:
        TermsError: listing every mistake, with the nearest known key for an unknown one.
    """
    return read_yaml(path, Terms, TermsError)


def parse_terms(value: Any) -> Terms:
    """Parse a received value as terms.

    Raises:
        TermsError: as :func:`read_terms`.
    """
    return parse(value, Terms, TermsError, "terms")
