"""The contents of ``site.yaml``: the site's name, its device, and its policy."""

from typing import Any, Final, Literal

from pydantic import Field, field_validator

from privacy.document import Document
from privacy.study import Name, SiteName

ALL: Final = "all"


class Policy(Document):
    """What this site's data protection officer allows a study to do, whatever its budget.

    Attributes:
        models: the models of the catalogue that a study may train here; ``all`` stands for every one, since each keeps
            the same promise.
        epsilon_per_study: the most that training and evaluation may promise together.
        minimum_sites: the fewest sites a round may have.
        minimum_colluders: the least number of sites that may conspire with the coordinator without breaking a
            promise.
    """

    models: tuple[Name, ...] = Field(default=(ALL,), min_length=1)
    epsilon_per_study: float = Field(default=3.0, gt=0)
    minimum_sites: int = Field(default=3, ge=3)
    minimum_colluders: int = Field(default=1, ge=0)
    minimum_patients: int = Field(default=50, ge=10)
    without_privacy: tuple[Name, ...] = ()
    """Populations that a study without privacy may use; their patients can never be in a private one again."""
    open_sealing: bool = False
    unprotected_test_patients: bool = False
    approval: Literal["automatic", "each-study"] = "automatic"

    @field_validator("without_privacy", mode="before")
    @classmethod
    def _names_populations(cls, value: Any) -> Any:
        if isinstance(value, bool | str):
            raise ValueError(
                "list the populations whose patients a study without privacy may use up, such as [ward]; [] for none"
            )
        return value


class SiteConfig(Document):
    """The contents of ``site.yaml``."""

    name: SiteName
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["float32", "bfloat16"] = "float32"
    policy: Policy = Policy()
