"""A study's terms: what is learned, from which columns, at what price, with whom.

The terms are written by a researcher as YAML, frozen, hashed (RFC 8785, SHA-256) and signed by the coordinator
at launch together with the roster; every site admits exactly that digest or nothing.

Rules, each refused with a sentence when broken:

* only what the author may know is in the terms: ranges, vocabularies, rates and scales are public choices, never
  read from patients;
* privacy is switched off in one way only, ``privacy.epsilon: none``, and then ``delta`` is absent;
* ``cohort.minimum`` is at least 3 and at least ``colluders + 2`` (a smaller sum could be a lone update);
* epsilon is promised to the patient, whichever unit is sampled; one neighbouring relation (add or remove one);
* distributed noise means one global step a round on the sum of all sites' gradients: ``local_steps`` is 1, sites
  weigh by their patients, and there is an epsilon.

What depends on a site's patients (delta against their number, too few of them) is judged by the site.
"""

import math
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue, PlainSerializer, model_validator

from privacy.contributions import MOST_RECORDS
from privacy.document import Document, parse, read_yaml
from privacy.errors import TermsError

MAX_SITES: Final = 64

COORDINATOR: Final = "coordinator"

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,39}$")]


def _not_the_coordinator(name: str) -> str:
    if name == COORDINATOR:
        raise ValueError(f"'{COORDINATOR}' is what messages call the coordinator; choose another name for the site")
    return name


SiteName = Annotated[Name, AfterValidator(_not_the_coordinator)]
Column = Annotated[str, Field(min_length=1, max_length=100)]
Positive = Annotated[float, Field(gt=0)]


def _none_from_text(value: Any) -> Any:
    if value is None:
        raise ValueError("expected a number, or the word none for no privacy; got nothing")
    return None if value == "none" else value


Epsilon = Annotated[
    Annotated[float, Field(gt=0, le=100)] | None,
    BeforeValidator(_none_from_text),
    PlainSerializer(lambda value: "none" if value is None else value),
]
"""A privacy loss bound; the word ``none`` (never an omission) says that there is none."""


class Unit(StrEnum):
    """What is sampled and clipped as one: a patient with all records, or each record for itself.

    Epsilon is the patient's either way: with records, a patient is charged for all that he may have.
    """

    PATIENT = "patient"
    RECORD = "record"


class Neighbouring(StrEnum):
    """Which two data sets the guarantee compares."""

    ADD_OR_REMOVE_ONE = "add-or-remove-one"


class Placement(StrEnum):
    """Where noise is added: in full at every site, or together, as shares whose sum is one mechanism's noise."""

    LOCAL = "local"
    DISTRIBUTED = "distributed"


class Scheme(StrEnum):
    """How updates are sealed; ``open`` is a plain sum, for comparison, which every site's policy must allow."""

    BFV = "bfv"
    OPEN = "open"


class Weights(StrEnum):
    """How sites count in the average: all alike, or by their public patient counts."""

    UNIFORM = "uniform"
    PATIENTS = "patients"


class Model(Document):
    """A model of the catalogue and its options, which the catalogue checks."""

    name: Name
    options: dict[str, JsonValue] = Field(default_factory=dict)


class Number(Document):
    """A numeric column, scaled from its public range to [-1, 1]; beyond the range it is clipped."""

    kind: Literal["number"]
    name: Column
    low: float
    high: float

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"expected low < high, got {self.low:g} and {self.high:g}")
        return self


class Category(Document):
    """A column with a public vocabulary, one-hot encoded; a word outside it breaks the contract."""

    kind: Literal["category"]
    name: Column
    values: tuple[str, ...] = Field(min_length=2, max_length=1000)

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len(set(self.values)) < len(self.values):
            raise ValueError("a value is listed twice")
        return self


class BinaryLabel(Document):
    """What is predicted: the words that mean yes and the words that mean no."""

    name: Column
    positive: tuple[str, ...] = Field(min_length=1)
    negative: tuple[str, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _disjoint(self) -> Self:
        if set(self.positive) & set(self.negative):
            raise ValueError("a word is both positive and negative")
        return self


class DataContract(Document):
    """The table every site must have: columns, public ranges and vocabularies.

    A missing number counts as the middle of its range, a missing category as no value; both raise the column's
    missing-indicator. A patient with more than ``records_per_patient`` records keeps the first ones in file
    order.
    """

    name: Name
    patient: Column
    ranges_from: str = Field(min_length=1, max_length=400)
    features: tuple[Annotated[Number | Category, Field(discriminator="kind")], ...] = Field(min_length=1)
    label: BinaryLabel
    missing: tuple[str, ...] = ("", "?")
    records_per_patient: int = Field(default=1, ge=1, le=10_000)

    @model_validator(mode="after")
    def _distinct_columns(self) -> Self:
        columns = [self.patient, self.label.name, *(feature.name for feature in self.features)]
        twice = sorted({column for column in columns if columns.count(column) > 1})
        if twice:
            raise ValueError(f"a column has one role; used twice: {', '.join(twice)}")
        return self

    @property
    def inputs(self) -> int:
        """Numbers a record becomes: one a numeric column, one a vocabulary word, one indicator a column."""
        return sum(2 if feature.kind == "number" else 1 + len(feature.values) for feature in self.features)


class ServerRule(StrEnum):
    """How every site moves the shared model by the opened mean update."""

    AVERAGE = "average"
    MOMENTUM = "momentum"
    ADAM = "adam"
    YOGI = "yogi"


class Server(Document):
    """The server-side optimiser, which every site runs alike; its rate is ``server_learning_rate``."""

    rule: ServerRule = ServerRule.AVERAGE
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.99, ge=0, lt=1)
    tau: Positive = 1e-3


class Schedule(StrEnum):
    """How the learning rate falls over the rounds: operations that every machine rounds alike."""

    CONSTANT = "constant"
    LINEAR = "linear"
    INVERSE_SQRT = "inverse-sqrt"


class Training(Document):
    """Local DP-SGD steps between two aggregations, and the schedule of rounds.

    ``proximal`` pulls local steps back to the round's start (FedProx, Li et al. 2020): mu of mu/2 |w - w0|^2.
    """

    rounds: int = Field(ge=1, le=10_000)
    local_steps: int = Field(ge=1, le=100_000)
    sampling_rate: float = Field(gt=0, le=1)
    learning_rate: Positive
    schedule: Schedule = Schedule.CONSTANT
    proximal: float = Field(default=0.0, ge=0, le=1000)
    server_learning_rate: Positive = 1.0
    server: Server = Server()
    weights: Weights = Weights.PATIENTS

    @property
    def steps(self) -> int:
        """DP-SGD steps of the whole study at one site."""
        return self.rounds * self.local_steps

    def learning_rate_in(self, number: int) -> float:
        """The learning rate of round ``number``; the first has all of it."""
        match self.schedule:
            case Schedule.CONSTANT:
                return self.learning_rate
            case Schedule.LINEAR:
                return self.learning_rate * (self.rounds - number + 1) / self.rounds
            case Schedule.INVERSE_SQRT:
                return self.learning_rate / math.sqrt(number)


class Privacy(Document):
    """The promise to a patient of any site, for the whole study."""

    unit: Unit = Unit.PATIENT
    neighbouring: Neighbouring = Neighbouring.ADD_OR_REMOVE_ONE
    placement: Placement = Placement.LOCAL
    epsilon: Epsilon
    delta: Annotated[float, Field(gt=0, lt=1)] | None = None
    clipping_norm: Positive | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        given = {"delta": self.delta, "clipping_norm": self.clipping_norm}
        if self.epsilon is None:
            extra = [name for name, value in given.items() if value is not None]
            if extra:
                raise ValueError(f"without privacy (epsilon: none) there is no {' and no '.join(extra)}")
        else:
            lacking = [name for name, value in given.items() if value is None]
            if lacking:
                raise ValueError(f"epsilon {self.epsilon:g} needs {' and '.join(lacking)} as well")
        return self


class Cohort(Document):
    """How many sites a round needs, and how many of them may conspire with the coordinator."""

    minimum: int = Field(ge=1, le=MAX_SITES)
    maximum: int = Field(ge=1, le=MAX_SITES)
    colluders: int = Field(default=1, ge=0, le=MAX_SITES)

    @model_validator(mode="after")
    def _protects_lone_updates(self) -> Self:
        least = max(3, self.colluders + 2)
        if self.minimum < least:
            raise ValueError(
                f"minimum is {self.minimum}, expected at least {least} (3, and colluders + 2): "
                "in a smaller cohort the sum could be read as one site's update"
            )
        if self.maximum < self.minimum:
            raise ValueError(f"maximum is {self.maximum}, expected at least the minimum of {self.minimum}")
        return self


class Sealing(Document):
    """How an update becomes integers, and under which scheme they are sealed.

    With local noise a value in [-value_range, value_range] becomes a ``bits``-bit integer by stochastic rounding;
    beyond the range it saturates. With distributed noise ``value_range`` is the largest sum of all sites' clipped
    gradients in one coordinate, in clipping norms; beyond it sums wrap around.
    """

    scheme: Scheme = Scheme.BFV
    bits: int = Field(default=16, ge=8, le=24)
    value_range: Positive


class Evaluation(Document):
    """After which rounds the shared model is scored on held-out patients, as sealed totals.

    Each test patient adds one to one cell of a histogram (class x score bin). With ``epsilon`` the totals are
    noised and charged; ``none`` says that test patients are not protected, which a site's policy must allow.
    """

    rounds: tuple[Annotated[int, Field(ge=1)], ...] = ()
    bins: int = Field(default=100, ge=2, le=10_000, multiple_of=2)
    epsilon: Epsilon = None


class Release(Document):
    """Who gets the final model."""

    to: Literal["sites"] = "sites"


class Terms(Document):
    """One study, complete. Immutable; its digest is what sites admit."""

    consilium: Literal[1]
    name: Name
    purpose: str = Field(min_length=1, max_length=2000)
    model: Model
    data: DataContract
    training: Training
    privacy: Privacy
    cohort: Cohort
    sealing: Sealing
    evaluation: Evaluation = Evaluation()
    release: Release = Release()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        rounds = self.evaluation.rounds
        if any(number > self.training.rounds for number in rounds):
            raise ValueError(
                f"evaluation.rounds names round {max(rounds)}, training.rounds is {self.training.rounds}"
            )
        if list(rounds) != sorted(set(rounds)):
            raise ValueError("evaluation.rounds: expected rising round numbers, each once")
        if rounds and "epsilon" not in self.evaluation.model_fields_set:
            raise ValueError("evaluation.epsilon: missing; write none if test patients are not to be protected")
        if self.privacy.unit is Unit.RECORD and self.data.records_per_patient > MOST_RECORDS:
            raise ValueError(
                f"data.records_per_patient is {self.data.records_per_patient}: with privacy.unit record a patient is "
                f"charged for all of them, and at most {MOST_RECORDS} have a known price"
            )
        if self.privacy.placement is Placement.DISTRIBUTED:
            self._require_one_global_step()
        if self.privacy.epsilon is None and self.evaluation.epsilon is not None:
            raise ValueError("evaluation.epsilon needs privacy.epsilon: protect training first")
        return self

    def _require_one_global_step(self) -> None:
        if self.privacy.epsilon is None:
            raise ValueError("privacy.placement: distributed noise needs an epsilon; there is none to place")
        if self.training.local_steps != 1:
            raise ValueError(
                f"training.local_steps is {self.training.local_steps}, expected 1: with distributed noise a round is "
                "one global step"
            )
        if self.training.proximal:
            raise ValueError("training.proximal: with distributed noise there are no local steps to pull back")
        if self.privacy.unit is not Unit.PATIENT:
            raise ValueError("privacy.unit: with distributed noise the unit is the patient")
        if self.training.weights is not Weights.PATIENTS:
            raise ValueError("training.weights: with distributed noise every patient counts alike; write patients")

    @property
    def last_round(self) -> int:
        """The last exchange: one more than the training rounds if the final model is evaluated."""
        return self.training.rounds + (self.training.rounds in self.evaluation.rounds)

    def trains(self, number: int) -> bool:
        """Whether sites train in round ``number`` (the closing evaluation only counts)."""
        return number <= self.training.rounds

    def evaluates(self, number: int, base: int) -> bool:
        """Whether round ``number``, from the model after round ``base``, carries totals of that model."""
        return base in self.evaluation.rounds or not self.trains(number)


def read_terms(path: Path) -> Terms:
    """Read a study file.

    Raises:
        TermsError: listing every mistake, with the nearest known key for an unknown one.
    """
    return read_yaml(path, Terms, TermsError)


def parse_terms(value: Any) -> Terms:
    """Turn a received value into terms.

    Raises:
        TermsError: as :func:`read_terms`.
    """
    return parse(value, Terms, TermsError, "terms")
