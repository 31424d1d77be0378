"""Match a model with a task and a data contract, and build the module that the terms describe.

Rules:

* every input of the model is found in the contract by its name; ``model.inputs`` of the terms may name another tensor.
  A model of one input takes the contract's only one, whatever its name;
* types must be equal; every axis of a name has one length; a length that the model decides must be the contract's;
* a version that the study names must be the one of this program;
* the task must be one that the model suits, and its targets must be in the contract.

A misfit names what is missing or differs, what the model expects and what the contract gives.
"""

from typing import TYPE_CHECKING

from models.catalogue import find_model
from models.entry import Input, ModelEntry
from models.errors import ModelError
from privacy.study import Terms
from privacy.study.data.contract import DataContract
from privacy.study.data.tensors import Flags, Ids, Numbers, describe_tensor
from privacy.study.model import Model
from privacy.study.stage import TASK_OBJECTIVE
from privacy.study.tasks.task import TaskTerms

if TYPE_CHECKING:
    from torch import nn

AnyTensor = Numbers | Ids | Flags


def build_study_module(terms: Terms) -> "nn.Module":
    """Build the module of a study with arbitrary parameters: its layers frozen, adapted and set apart as asked.

    Raises:
        ModelError: the model is unknown, does not take these options, does not fit data or task, or lacks a layer or an
            objective that the terms name.
    """
    from models.parameters.trainable import apply_layer_choice  # torch is loaded with the first model

    module = build_module(terms.model, terms.data, terms.task)
    apply_layer_choice(module, terms.model)
    if terms.training.control_variates and find_model(terms.model.name).task_layers:
        raise ModelError(
            f"training.control_variates: '{terms.model.name}' has layers that only some objectives train; leave it out"
        )
    first = 1
    for stage in terms.training.stages:
        find_layers_of_round(module, terms, first)
        first += stage.rounds
    return module


def build_module(model: Model, contract: DataContract, task: TaskTerms) -> "nn.Module":
    """Build the plain model on the CPU; its parameters are not set yet.

    Raises:
        ModelError: the model is unknown, does not take these options, or does not fit the data or the task.
    """
    entry = find_model(model.name)
    options = entry.check_options(model.name, model.options)
    sizes = check_fit(model, contract, task)
    return entry.build(options, sizes, task.compute_output_shape(contract))


def check_fit(model: Model, contract: DataContract, task: TaskTerms) -> dict[str, int]:
    """Match model, task and data without building anything; return the sizes of the model's inputs.

    Raises:
        ModelError: naming what is missing or differs, what was expected and what the data give.
    """
    entry = find_model(model.name)
    _require_version(model, entry)
    _require_suitable_task(model, entry, contract, task)
    return measure_sizes(entry, model, contract)


def find_layers_of_round(module: "nn.Module", terms: Terms, number: int) -> frozenset[str] | None:
    """Find the layers that are trained in round ``number``; None: all that the terms train.

    Raises:
        ModelError: the model does not have the objective of the round's stage, or not its layers.
    """
    from models.parameters.trainable import find_stage_layers

    stage, entry = terms.training.find_stage(number), find_model(terms.model.name)
    objective = TASK_OBJECTIVE if stage is None else stage.objective
    if objective == TASK_OBJECTIVE:
        # a model with fewer layers has fewer of these
        there = {name for name, _ in module.named_modules()}
        asked = tuple(name for name in entry.task_layers if name in there)
    elif objective in entry.objectives:
        asked = entry.objectives[objective]
    else:
        known = ", ".join([*entry.objectives, TASK_OBJECTIVE])
        raise ModelError(
            f"training.stages: the model '{terms.model.name}' has no objective '{objective}'; it has {known}"
        )
    layers = find_stage_layers(module, "objectives", asked) if asked else None
    if stage is not None and stage.trained:
        named = find_stage_layers(module, "stages.trained", stage.trained)
        layers = named if layers is None else layers & named
        if not layers:
            raise ModelError(
                f"training.stages: stage '{stage.name}' trains no layer of its objective '{objective}'"
            )
    return layers


def set_objective(module: "nn.Module", objective: str) -> None:
    """Set what the module computes its losses for; nothing for a model that has the task only."""
    if hasattr(module, "objective"):
        module.objective = objective  # type: ignore[assignment]


def bind_inputs(entry: ModelEntry, model: Model, contract: DataContract) -> dict[str, AnyTensor]:
    """Find the contract's tensor for every input of the model, by the input's name.

    Raises:
        ModelError: naming the input that is missing or of another type.
    """
    known = {each.name: each for each in contract.list_inputs()}
    names = {each.name for each in entry.inputs}
    if strange := sorted(set(model.inputs) - names):
        raise ModelError(
            f"model.inputs: '{model.name}' takes no input '{strange[0]}'; its inputs: {', '.join(sorted(names))}"
        )
    found: dict[str, AnyTensor] = {}
    for wanted in entry.inputs:
        name = model.inputs.get(wanted.name, wanted.name)
        if name not in known and len(names) == len(known) == 1 and not model.inputs:
            name = next(iter(known))
        if name not in known:
            raise ModelError(
                f"the model '{model.name}' needs an input '{name}' ({describe_input(wanted)}); the data "
                f"'{contract.name}' have {', '.join(f'{each} ({describe_tensor(known[each])})' for each in known)}; "
                "name the tensor in model.inputs, or choose another model"
            )
        found[wanted.name] = known[name]
    return found


def name_inputs(model: Model, contract: DataContract) -> dict[str, str]:
    """Return the name of the contract's tensor for every input of the model.

    Raises:
        ModelError: as :func:`bind_inputs`.
    """
    return {name: tensor.name for name, tensor in bind_inputs(find_model(model.name), model, contract).items()}


def measure_sizes(entry: ModelEntry, model: Model, contract: DataContract) -> dict[str, int]:
    """Return the length of every named axis, and the size of every vocabulary.

    Raises:
        ModelError: an input has another type or shape than the model takes.
    """
    sizes, bound = dict[str, int](), bind_inputs(entry, model, contract)
    for wanted in entry.inputs:
        tensor = bound[wanted.name]
        if tensor.type != wanted.type or len(tensor.shape) != len(wanted.axes):
            raise _describe_difference(model, wanted, tensor)
        lengths: list[tuple[str | int, int]] = list(zip(wanted.axes, tensor.shape, strict=True))
        if isinstance(tensor, Ids) and wanted.values is not None:
            lengths.append((wanted.values, tensor.values))
        for axis, length in lengths:
            expected = axis if isinstance(axis, int) else sizes.setdefault(axis, length)
            if length != expected:
                raise _describe_difference(model, wanted, tensor, f"; {axis} is {expected}, not {length}")
    return sizes


def describe_inputs(model: Model, contract: DataContract) -> dict[str, str]:
    """Describe type and shape of the tensor that every input of the model takes.

    Raises:
        ModelError: as :func:`bind_inputs`.
    """
    bound = bind_inputs(find_model(model.name), model, contract)
    return {name: describe_tensor(tensor) for name, tensor in bound.items()}


def describe_input(wanted: Input) -> str:
    """Describe type and shape of an input: ``number (variables, hours)``."""
    shape = "x".join(str(axis) for axis in wanted.axes) or "one value"
    words = f" of {wanted.values} words" if wanted.values is not None else ""
    return f"{wanted.type}{words}, {shape}"


def _require_version(model: Model, entry: ModelEntry) -> None:
    if model.version not in (None, entry.version):
        raise ModelError(
            f"model.version: '{model.name}' is version {entry.version} in this program, the study asks for version "
            f"{model.version}; install the program that has it, or write a study for version {entry.version}"
        )


def _require_suitable_task(model: Model, entry: ModelEntry, contract: DataContract, task: TaskTerms) -> None:
    kind: str = task.kind  # type: ignore[attr-defined]
    if kind not in entry.tasks:
        raise ModelError(
            f"task.kind: the model '{model.name}' cannot learn the task '{kind}'; it suits {', '.join(entry.tasks)}"
        )
    misfit = task.find_misfit(contract)
    if misfit is not None:
        raise ModelError(f"task: {misfit}")


def _describe_difference(model: Model, wanted: Input, tensor: AnyTensor, more: str = "") -> ModelError:
    return ModelError(
        f"the model '{model.name}' takes '{wanted.name}' as {describe_input(wanted)}; the data give '{tensor.name}' as "
        f"{describe_tensor(tensor)}{more}"
    )
