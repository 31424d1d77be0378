"""Options of the models for tables."""

from typing import Annotated, Literal

from pydantic import Field

from models.model import Options


class LogisticOptions(Options):
    """A logistic regression has nothing to choose."""


class MlpOptions(Options):
    """Widths of the hidden layers, first to last, the smooth activation between them, and a norm before it.

    ``norm: layer`` normalises within each record, never over records.
    """

    hidden: tuple[Annotated[int, Field(ge=1, le=8192)], ...] = Field(min_length=1, max_length=8)
    activation: Literal["elu", "tanh"] = "elu"
    norm: Literal["none", "layer"] = "none"
