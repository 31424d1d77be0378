"""Describe a model of the catalogue as a document: for ``consilium model show`` and ``docs/models.md``."""

from typing import Any

from models.catalogue import NAMES, find_model
from models.entry import ModelEntry
from models.fit import describe_input
from models.parameters.trainable import list_layers
from privacy.document import Shown


class InputDescription(Shown):
    """An input of a model."""

    name: str
    form: str
    """Type and symbolic shape of one record."""
    meaning: str


class OptionDescription(Shown):
    """An option of a model, with its value in each preset."""

    name: str
    presets: dict[str, Any]


class CountDescription(Shown):
    """The exact number of parameters of a preset, for inputs of these sizes and so many outputs."""

    preset: str
    sizes: dict[str, int]
    outputs: tuple[int, ...]
    parameters: int


class ReplacementDescription(Shown):
    """What the paper used that per-patient privacy forbids, what is here instead, and why."""

    paper: str
    here: str
    why: str


class ModelDescription(Shown):
    """Everything a researcher needs to know of a model before writing a study."""

    name: str
    version: int
    """Rises when the model computes something else; ``name@version`` in a site's policy allows one alone."""
    title: str
    domain: str
    tasks: tuple[str, ...]
    inputs: tuple[InputDescription, ...]
    options: tuple[OptionDescription, ...]
    parameters: tuple[CountDescription, ...]
    objectives: dict[str, tuple[str, ...]]
    """Of pre-training: which layers each trains; stages of a study name them."""
    task_layers: tuple[str, ...]
    """The layers that the task trains; empty means all."""
    layers: tuple[str, ...]
    """Of the preset ``small``: names for ``model.frozen``, ``trained``, ``personal`` and ``adapters``; the last is
    ``head``."""
    replaced: tuple[ReplacementDescription, ...]
    citation: str
    repository: str
    figures: str


def describe_model(name: str) -> ModelDescription:
    """Describe the model ``name``.

    Raises:
        ModelError: there is no such model.
    """
    entry = find_model(name)
    return ModelDescription(
        name=name,
        version=entry.version,
        title=entry.title,
        domain=entry.domain,
        tasks=entry.tasks,
        inputs=tuple(
            InputDescription(name=each.name, form=describe_input(each), meaning=each.meaning)
            for each in entry.inputs
        ),
        options=_describe_options(entry),
        parameters=tuple(
            CountDescription(
                preset=each.preset, sizes=dict(each.sizes), outputs=each.outputs, parameters=each.parameters
            )
            for each in entry.counts
        ),
        objectives=dict(entry.objectives),
        task_layers=entry.task_layers,
        layers=_list_small_layers(entry),
        replaced=tuple(ReplacementDescription(**each._asdict()) for each in entry.replaced),
        citation=entry.citation,
        repository=entry.repository,
        figures=entry.figures,
    )


def describe_catalogue() -> tuple[ModelDescription, ...]:
    """Describe every model, in the catalogue's order."""
    return tuple(describe_model(name) for name in NAMES)


def _describe_options(entry: ModelEntry) -> tuple[OptionDescription, ...]:
    dumped = {preset: options.model_dump(mode="json") for preset, options in entry.presets.items()}
    return tuple(
        OptionDescription(name=name, presets={preset: values[name] for preset, values in dumped.items()})
        for name in entry.options.model_fields
    )


def _list_small_layers(entry: ModelEntry) -> tuple[str, ...]:
    count = next(each for each in entry.counts if each.preset == "small")
    return tuple(list_layers(entry.build(entry.presets["small"], count.sizes, count.outputs)))
