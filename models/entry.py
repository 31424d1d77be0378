"""What a model's file says of the model: options, inputs, where it is from, and what privacy replaced in it.

A model is one file, ``models/<domain>/<model>.py``. It holds, in this order:

1. its options (:class:`Options`), frozen, with the paper's values as defaults;
2. its modules;
3. ``build(options, sizes, outputs)``, which makes the module;
4. ``MODEL``, a :class:`ModelEntry`.

Rules for a module:

* ``forward(inputs)`` takes the named tensors of some records, each with the records on its first axis, and returns
  either the outputs, ``(records, *outputs)``, or a mapping with ``outputs`` and ``own_loss``, (records,): a loss of the
  model's own that is added to the task's (a sparsity penalty, the next value of a series);
* no layer mixes records, and no record looks at another one. Layers, activations and losses are smooth where the paper
  leaves a choice;
* every parameter belongs to the layer that uses it: weights that are used twice (tied decoders, RBMs) are parameters
  of one layer that does both uses in its own ``forward`` of one tensor, records first;
* what is random in training (corruption, dropout, Gibbs steps) is drawn from torch's generator, outside layers that own
  parameters other than those of torch; the engine seeds it from the round's secret stream;
* a module that attends to parts of its inputs may show it: ``read_attention(inputs)`` returns weights by a name, each
  (records, *axes), where the axes are the first ones of an input's; ``read_contributions(inputs)`` returns by the name
  of an input what its every value adds to every output, (records, *axes, *outputs), so that all of them and a constant
  are the outputs;
* a module that reads letters one after the other may show what it says of parts of them:
  ``read_temporal_outputs(inputs)`` returns ``prefix`` and ``suffix``, (records, length + 1, *outputs) each: what the
  first t letters give, and what the others do;
* the number of records is ``tensor.shape[0]``, not ``len(tensor)``, which an exported model would keep for good;
* a module with ``objective``, one of ``MODEL.objectives`` or ``task``, computes what it returns for that objective
  alone: its ``own_loss`` where no label is needed, or ``outputs`` of the task's shape, of which the task's loss is
  computed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.errors import ModelError

if TYPE_CHECKING:
    from torch import nn

Domain = Literal["tabular", "imaging", "records", "longitudinal", "genomics", "drugs"]
Sizes = Mapping[str, int]
"""The length of every named axis of a model's inputs, and the size of every vocabulary."""

Units = Annotated[int, Field(ge=1, le=8192)]
"""How many units a layer has, as an option."""


class Options(BaseModel):
    """The options of a model, which a study's author may choose."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Input(NamedTuple):
    """A tensor that a model takes.

    Attributes:
        name: how the model calls it.
        type: ``number``, ``id`` or ``flag``.
        axes: of one record: a name for a length that the data decide, a number for one that the model decides. Axes of
            the same name have the same length.
        values: for ids, the name of the size of the vocabulary, or the size.
        meaning: in a few words.
    """

    name: str
    type: Literal["number", "id", "flag"]
    axes: tuple[str | int, ...]
    meaning: str
    values: str | int | None = None


class Replacement(NamedTuple):
    """Something of the paper that per-patient privacy forbids, what is here instead, and why."""

    paper: str
    here: str
    why: str


class Count(NamedTuple):
    """The exact number of trained parameters of a preset for these sizes and outputs."""

    preset: str
    sizes: Sizes
    outputs: tuple[int, ...]
    parameters: int


class Build(Protocol):
    """A function that builds a module on the CPU.

    Its parameters are not a study's first values yet, but finite and not all zero: the self-test computes with them.

    Raises:
        ModelError: the sizes do not suit the model.
    """

    def __call__(self, options: Any, sizes: Sizes, outputs: tuple[int, ...]) -> "nn.Module":
        """Build a module for inputs of ``sizes`` that gives ``outputs`` numbers for each record."""
        ...


@dataclass(frozen=True)
class ModelEntry:
    """A model of the catalogue.

    Attributes:
        title: in a few words.
        version: rises when the model computes something else from the same options, parameters and inputs, or has
            other parameters. ``tests/models/test_versions.py`` finds a change that was not declared.
        domain: the part of medicine.
        options: their type; the defaults are the paper's values.
        build: makes the module.
        tasks: the kinds of task that it suits.
        inputs: what it takes.
        citation: the paper.
        repository: of the authors' code, or empty.
        presets: options by name: ``paper``, and ``small`` for tests and for few patients.
        counts: exact parameter counts; at least one for each preset.
        replaced: what per-patient privacy replaced.
        objectives: of pre-training, each with the layers that it trains; stages of the terms name them.
        task_layers: those that the task trains, where some layers serve pre-training alone; empty means all.
        rate: a learning rate that suits generated records.
        example: sizes with which the suite and the demonstration generate data, smaller than in practice.
        figures: of this model in the literature, in one sentence, or empty.
    """

    title: str
    domain: Domain
    options: type[Options]
    build: Build
    tasks: tuple[str, ...]
    inputs: tuple[Input, ...]
    citation: str
    presets: Mapping[str, Options]
    counts: tuple[Count, ...]
    example: Sizes
    version: int = 1
    repository: str = ""
    rate: float = 1.0
    replaced: tuple[Replacement, ...] = ()
    objectives: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    task_layers: tuple[str, ...] = ()
    figures: str = ""

    def check_options(self, name: str, options: Mapping[str, Any]) -> Options:
        """Check the options of this model, which the catalogue calls ``name``; ``preset`` names a preset.

        Other keys change the preset's values; without ``preset`` they change the defaults.

        Raises:
            ModelError: the model does not take these options; the message lists every mistake.
        """
        rest, preset = dict(options), options.get("preset")
        rest.pop("preset", None)
        if preset is not None:
            if preset not in self.presets:
                raise ModelError(
                    f"model.options.preset: '{name}' has no preset {preset!r}; its presets: {', '.join(self.presets)}"
                )
            rest = {**self.presets[preset].model_dump(), **rest}
        try:
            return self.options.model_validate(rest)
        except ValidationError as cause:
            mistakes = cause.errors(include_url=False)
        raise ModelError("; ".join(_describe_mistake(name, self.options, mistake) for mistake in mistakes))


def _describe_mistake(name: str, kind: type[Options], mistake: Any) -> str:
    where = ".".join(str(part) for part in mistake["loc"])
    if mistake["type"] == "extra_forbidden":
        known = ", ".join(kind.model_fields) or "none"
        return f"model.options.{where}: '{name}' has no such option; its options: {known}"
    if mistake["type"] == "missing":
        return f"model.options.{where}: missing"
    message: str = mistake["msg"]
    place = f"model.options.{where}" if where else "model.options"
    return f"{place}: {message[0].lower()}{message[1:]}"
