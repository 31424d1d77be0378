"""An entry of the catalogue: the options that a study's author may choose, and the module that builds the model.

Options are read without torch: a site's agent checks a launch, and only the process that trains loads torch.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from pydantic import BaseModel, ConfigDict, ValidationError

from models.errors import ModelError

if TYPE_CHECKING:
    from torch import nn


class Options(BaseModel):
    """The options of a model, which a study's author may choose."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class CatalogueEntry(NamedTuple):
    """A model of the catalogue: its options, and the module whose ``build(options, inputs)`` makes it."""

    options: type[Options]
    module: str

    def check(self, name: str, options: Mapping[str, Any]) -> Options:
        """Check the options of this model, which the catalogue calls ``name``.

        Raises:
            ModelError: the model does not take these options; the message lists every mistake.
        """
        try:
            return self.options.model_validate(dict(options))
        except ValidationError as cause:
            mistakes = cause.errors(include_url=False)
        raise ModelError("; ".join(_describe_mistake(name, self.options, mistake) for mistake in mistakes))

    def build(self, options: Options, inputs: int) -> "nn.Module":
        """Build the model for records of ``inputs`` numbers, on the CPU; its parameters are not set yet."""
        return cast("nn.Module", import_module(self.module).build(options, inputs))


def _describe_mistake(name: str, kind: type[Options], mistake: Any) -> str:
    where = ".".join(str(part) for part in mistake["loc"])
    if mistake["type"] == "extra_forbidden":
        known = ", ".join(kind.model_fields) or "none"
        return f"model.options.{where}: '{name}' has no such option; its options: {known}"
    if mistake["type"] == "missing":
        return f"model.options.{where}: missing"
    message = cast(str, mistake["msg"])
    return f"model.options.{where}: {message[0].lower()}{message[1:]}"
