"""Options of the models for tables."""

from typing import Annotated, Literal

from pydantic import Field

from models.model import Options


class LogisticOptions(Options):
    """The options of ``logistic``: none."""


class MlpOptions(Options):
    """The options of ``mlp``: widths of the hidden layers, first to last, their activation, and a norm before it.

    ``norm: layer`` normalises within each record, never across records.
    """

    hidden: tuple[Annotated[int, Field(ge=1, le=8192)], ...] = Field(min_length=1, max_length=8)
    activation: Literal["elu", "tanh"] = "elu"
    norm: Literal["none", "layer"] = "none"
