"""The contents of ``policy.yaml``: what this site's data protection officer allows a study, and who must agree to it.

Rules:

* **Bounds come first.** A study outside any bound is refused at once, whoever launched it.
* **Then a person decides.** A study within all bounds waits until as many people have agreed as ``persons`` says. The
  only exceptions are the rules under ``automatic``; none is there unless somebody writes one.
* **No key opens more than it says.** An unknown or repeated key is refused, a list is never taken from a single word,
  a rule without an epsilon is refused, and so is an empty list where a list narrows a rule.
* A study without privacy is never admitted by a rule that does not say so (``without_privacy: true``).

``client/site/policy_text.py`` explains every key for people; ``client/admission/decisions.py`` applies the rules.
"""

from datetime import time
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from privacy.document import Document, make_text_field
from privacy.errors import WireError
from privacy.fields import Contact, Name
from privacy.keys import PublicKey
from privacy.study import Placement, SchemeName, Unit

POLICY_FILE: Final = "policy.yaml"
ALL: Final = "all"


def _normalise_key(text: str) -> str:
    try:
        return PublicKey.from_typed(text).typed
    except WireError as error:
        raise ValueError(str(error)) from None


TypedKey = Annotated[str, AfterValidator(_normalise_key)]
"""A public key as people type it: twelve groups of five characters."""


def _require_a_span(hours: str) -> str:
    first, last = hours.split("-")
    if first == last:
        raise ValueError(f"'{hours}' begins and ends at one time; leave hours out for the whole day")
    return hours


Hours = Annotated[
    str,
    make_text_field(r"^([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d$", "hours such as '20:00-06:00', in quotes"),
    AfterValidator(_require_a_span),
]
"""From one time of the day to another by the machine's clock; over midnight where the first is the later one."""


ModelName = Annotated[
    str,
    Field(max_length=80),
    make_text_field(
        r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?(@[1-9][0-9]{0,5})?$", "a model, 'mlp', or one version of it, 'mlp@1'"
    ),
]
"""A model of the catalogue in any version, or in one: ``mlp@1``."""


class AutomaticRule(Document):
    """Studies that are admitted without a person: those within every bound that this rule names.

    Attributes:
        name: what the ledger calls the rule.
        epsilon_at_most: the most that training and evaluation may ask for together.
        studies: names of studies; every study without it.
        models: models of the catalogue, as under the policy's ``models``; every model that the policy allows without
            it.
        operators: names under the policy's ``operators``, who alone may launch it; anybody without it.
        without_privacy: whether a study without privacy is meant too.
        statistics: whether a study that only counts is meant too.
    """

    name: Name
    epsilon_at_most: float = Field(gt=0, le=100)
    studies: tuple[Name, ...] | None = Field(default=None, min_length=1)
    models: tuple[ModelName, ...] | None = Field(default=None, min_length=1)
    operators: tuple[Name, ...] | None = Field(default=None, min_length=1)
    without_privacy: bool = False
    statistics: bool = False


class Policy(Document):
    """The rules of a site. The defaults are the strict ones: nothing is admitted before a person has agreed.

    Attributes:
        models: the models of the catalogue that a study may train here, in any version or, as ``mlp@1``, in one;
            ``all`` stands for every one, since each keeps the same promise.
        units: what the privacy of a study may protect: a patient, a record, a whole site.
        placements: where the noise may be added.
        epsilon_per_study: the most that training and evaluation may promise together.
        epsilon_per_operator: the most that the studies of one operator may ask for in all; null for no bound. It needs
            ``operators``.
        epsilon_per_year: the most that the studies of any 365 days may ask for in all; null for no bound.
        minimum_sites: the fewest sites a round may have.
        minimum_colluders: the least number of sites that may conspire with the coordinator without breaking a
            promise.
        minimum_patients: the fewest patients of this site.
        most_quarantined: the largest share of a source's items that a conversion may leave out.
        without_privacy: populations that a study without privacy may use; their patients can never be in a private one
            again.
        sealing_schemes: the schemes under which a study's updates may be sealed.
        open_sealing: whether a study may leave its updates unsealed.
        unprotected_test_patients: whether the totals of test patients may leave without noise.
        individual_filters: whether this site may train alone with a filter for each of its patients.
        statistics: who may ask for statistics of this site's patients, together with those of other sites.
        operators: the people who may launch studies for this site, with their keys; anybody if there is none.
        devices: what training may run on.
        hours: when training may run; at any time if there is none.
        megabytes_per_round: the most that one sealed update may have, in 10^6 bytes; null for no bound.
        minutes_per_round: the most that the training of one round may take; null for no bound.
        persons: how many people must agree to a study.
        automatic: rules under which a study needs no person.
        release: whether a finished model is released at once, or waits for a person.
        contact: whom the coordinator's operator calls about a study that waits.
    """

    models: tuple[ModelName, ...] = Field(default=(ALL,), min_length=1)
    units: tuple[Unit, ...] = Field(default=(Unit.PATIENT, Unit.RECORD, Unit.SITE), min_length=1)
    placements: tuple[Placement, ...] = Field(default=(Placement.LOCAL, Placement.DISTRIBUTED), min_length=1)
    epsilon_per_study: float = Field(default=3.0, gt=0)
    epsilon_per_operator: float | None = Field(default=None, gt=0)
    epsilon_per_year: float | None = Field(default=None, gt=0)
    minimum_sites: int = Field(default=3, ge=3)
    minimum_colluders: int = Field(default=1, ge=0)
    minimum_patients: int = Field(default=50, ge=10)
    most_quarantined: float = Field(default=0.01, ge=0, le=1)
    without_privacy: tuple[Name, ...] = ()
    sealing_schemes: tuple[Literal[SchemeName.BFV, SchemeName.PAILLIER, SchemeName.LWE], ...] = Field(
        default=(SchemeName.BFV,), min_length=1
    )
    open_sealing: bool = False
    unprotected_test_patients: bool = False
    individual_filters: bool = False
    statistics: Literal["nobody", "operators", "anybody"] = "nobody"
    operators: dict[Name, TypedKey] = Field(default_factory=dict)
    devices: tuple[Literal["cpu", "cuda"], ...] = Field(default=("cpu", "cuda"), min_length=1)
    hours: tuple[Hours, ...] = ()
    megabytes_per_round: float | None = Field(default=None, gt=0)
    minutes_per_round: float | None = Field(default=None, gt=0)
    persons: int = Field(default=1, ge=1, le=2)
    automatic: tuple[AutomaticRule, ...] = ()
    release: Literal["automatic", "person"] = "automatic"
    contact: Contact = ""

    @field_validator("without_privacy", mode="before")
    @classmethod
    def _names_populations(cls, value: Any) -> Any:
        if isinstance(value, bool | str):
            raise ValueError(
                "list the populations whose patients a study without privacy may use up, such as [ward]; [] for none"
            )
        return value

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        keys = list(self.operators.values())
        if len(set(keys)) < len(keys):
            raise ValueError("operators: two of them have the same key")
        if self.epsilon_per_operator is not None and not self.operators:
            # anybody makes a key in a second, and each key would have the whole bound
            raise ValueError(
                "epsilon_per_operator: it bounds nobody while 'operators' is empty; name those who may launch, with "
                "their keys, or bound all studies together: epsilon_per_year"
            )
        names = [rule.name for rule in self.automatic]
        if len(set(names)) < len(names):
            raise ValueError("automatic: two rules have the same name")
        for rule in self.automatic:
            if unknown := sorted(set(rule.operators or ()) - set(self.operators)):
                raise ValueError(
                    f"automatic: the rule '{rule.name}' names {', '.join(unknown)}, whose key is not under 'operators'"
                )
        return self

    def find_operator(self, key: PublicKey) -> str | None:
        """Return the name under which this policy lists an operator's key; None if it does not."""
        return next((name for name, typed in self.operators.items() if typed == key.typed), None)

    def allows_hour(self, now: time) -> bool:
        """Return whether training may run at this time of the day."""
        return not self.hours or any(_is_between(now, hours) for hours in self.hours)


def _is_between(now: time, hours: str) -> bool:
    first, last = (time.fromisoformat(each) for each in hours.split("-"))
    plain = now.replace(second=0, microsecond=0)
    return first <= plain < last if first < last else plain >= first or plain < last
