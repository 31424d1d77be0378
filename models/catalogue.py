"""The models a study may name, and what each may be told.

Rules:

* only models of this list are ever built: a site runs installed code, terms choose among it;
* options are frozen, unknown ones are refused with the known ones named;
* every model is ready for differential privacy: no layer mixes records, activations are smooth;
* a model takes (records, inputs) float32 and gives one logit a record, (records,).

Options are checked without torch, so that a study file can be judged in milliseconds; torch is imported when a
model is built.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NamedTuple, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.errors import ModelError

if TYPE_CHECKING:
    from torch import nn


class Options(BaseModel):
    """What a study's author may choose about a model."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class LogisticOptions(Options):
    """A logistic regression has nothing to choose."""


class MlpOptions(Options):
    """Widths of the hidden layers, first to last, the smooth activation between them, and a norm before it.

    ``norm: layer`` normalises within each record, never over records.
    """

    hidden: tuple[Annotated[int, Field(ge=1, le=8192)], ...] = Field(min_length=1, max_length=8)
    activation: Literal["elu", "tanh"] = "elu"
    norm: Literal["none", "layer"] = "none"


def _logistic(options: LogisticOptions, inputs: int) -> nn.Module:
    from models.tabular import mlp

    return mlp.logistic(inputs)


def _mlp(options: MlpOptions, inputs: int) -> nn.Module:
    from models.tabular import mlp

    return mlp.mlp(inputs, options.hidden, options.activation, options.norm)


class _Entry(NamedTuple):
    options: type[Options]
    build: Callable[[Any, int], nn.Module]


_CATALOGUE: Final[Mapping[str, _Entry]] = {
    "logistic": _Entry(LogisticOptions, _logistic),
    "mlp": _Entry(MlpOptions, _mlp),
}

NAMES: Final = tuple(_CATALOGUE)


def check(name: str, options: Mapping[str, Any]) -> Options:
    """The options of the model ``name``, checked.

    Raises:
        ModelError: an unknown model, or options it does not take; the sentence lists every mistake.
    """
    if name not in _CATALOGUE:
        raise ModelError(f"model.name: there is no model '{name}'; known models: {', '.join(NAMES)}")
    kind = _CATALOGUE[name].options
    try:
        return kind.model_validate(dict(options))
    except ValidationError as cause:
        mistakes = cause.errors(include_url=False)
    raise ModelError("; ".join(_sentence(name, kind, mistake) for mistake in mistakes))


def build(name: str, options: Mapping[str, Any], inputs: int) -> nn.Module:
    """The model ``name`` for ``inputs`` numbers a record, on the CPU; its parameters are not yet meaningful.

    Raises:
        ModelError: as :func:`check`.
    """
    checked = check(name, options)
    return _CATALOGUE[name].build(checked, inputs)


def _sentence(name: str, kind: type[Options], mistake: Any) -> str:
    where = ".".join(str(part) for part in mistake["loc"])
    if mistake["type"] == "extra_forbidden":
        known = ", ".join(kind.model_fields) or "none"
        return f"model.options.{where}: '{name}' has no such option; its options: {known}"
    if mistake["type"] == "missing":
        return f"model.options.{where}: missing"
    message = cast(str, mistake["msg"])
    return f"model.options.{where}: {message[0].lower()}{message[1:]}"
