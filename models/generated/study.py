"""Write a small study for a model of the catalogue, on generated records.

The contract has the inputs that the model takes, in the sizes of its entry's ``example``, and the targets that the task
needs. The study is the same wherever it is written.
"""

from typing import Any, Final

from models.catalogue import find_model
from models.entry import Input, ModelEntry, Sizes
from models.errors import ModelError
from models.fit import build_module
from privacy.study import Terms, parse_terms

_CLASSES: Final = 3
_LABELS: Final = 3
_WORDS: Final = 12
_CAUSES: Final = 2

Written = dict[str, Any]


def write_generated_study(
    name: str,
    task: str | None = None,
    *,
    preset: str = "small",
    rounds: int = 4,
    distributed: bool = False,
    sizes: Sizes | None = None,
) -> Written:
    """Return the terms of a study of the model ``name`` on generated records, as a study file has them.

    Args:
        name: the model.
        task: a kind that the model suits; None means the first one.
        preset: of the model's options.
        rounds: of training, or of fine-tuning after a round of each objective that the preset has layers for.
        distributed: whether sites add noise together.
        sizes: lengths of the inputs' axes; None means those of the entry's ``example``.

    Raises:
        ModelError: there is no such model, or it does not suit the task.
    """
    entry = find_model(name)
    kind, lengths = task or entry.tasks[0], entry.example if sizes is None else sizes
    if kind not in entry.tasks:
        raise ModelError(f"the model '{name}' cannot learn the task '{kind}'; it suits {', '.join(entry.tasks)}")
    training: Written = {
        "rounds": rounds,
        "local_steps": 1 if distributed else 10,
        "sampling_rate": 0.5,
        "learning_rate": entry.rate,
    }
    study: Written = {
        "consilium": 1,
        "name": f"generated-{name}"[:40],
        "purpose": f"Show the model '{name}' on generated records: they are nobody's.",
        "model": {"name": name, "options": {"preset": preset}},
        "data": {
            "kind": "arrays",
            "name": f"generated-{name}"[:40],
            "ranges_from": "Generated records: the ranges are those of the generator.",
            "inputs": [_write_input(each, lengths) for each in entry.inputs],
            "targets": _write_targets(kind, entry, lengths),
        },
        "task": {"kind": kind},
        "training": training,
        "privacy": {
            "epsilon": 8,
            "delta": 0.001,
            "clipping_norm": 1.0,
            **({"placement": "distributed"} if distributed else {}),
        },
        "cohort": {"minimum": 3, "maximum": 4},
        "evaluation": {"rounds": [rounds], "epsilon": "none", "bins": 10},
    }
    if objectives := _list_objectives(entry, parse_terms(study)):
        del training["rounds"], training["learning_rate"]
        stages = [{"name": each, "objective": each, "rounds": 1, "learning_rate": 0.2} for each in objectives]
        training["stages"] = [*stages, {"name": "fine-tuning", "rounds": rounds, "learning_rate": entry.rate}]
        study["evaluation"]["rounds"] = [len(objectives) + rounds]
    return study


def _list_objectives(entry: ModelEntry, terms: Terms) -> list[str]:
    """List the objectives of pre-training whose layers the model of ``terms`` has."""
    if not entry.objectives:
        return []
    there = {name for name, _ in build_module(terms.model, terms.data, terms.task).named_modules()}
    return [name for name, layers in entry.objectives.items() if there.issuperset(layers)]


def _write_input(wanted: Input, sizes: Sizes) -> Written:
    shape = [axis if isinstance(axis, int) else sizes[axis] for axis in wanted.axes]
    written: Written = {"type": wanted.type, "name": wanted.name, "shape": shape}
    if wanted.type == "number":
        written |= {"low": 0, "high": 1}
    if wanted.type == "id":
        values = wanted.values if wanted.values is not None else _WORDS
        written["values"] = values if isinstance(values, int) else sizes[values]
    return written


def _write_targets(kind: str, entry: ModelEntry, sizes: Sizes) -> list[Written]:
    match kind:
        case "binary":
            return [{"type": "id", "name": "label", "values": 2}]
        case "multiclass" | "ordinal":
            return [{"type": "id", "name": "label", "values": _CLASSES}]
        case "multilabel":
            return [{"type": "flag", "name": "labels", "shape": [_LABELS]}]
        case "regression" | "pairs":
            return [{"type": "number", "name": "label", "low": 0, "high": 10}]
        case "survival":
            time = {"type": "number", "name": "time", "low": 0, "high": 10}
            return [time, {"type": "id", "name": "event", "values": 1 + _CAUSES}]
        case "segmentation":
            space = [sizes[str(axis)] for axis in entry.inputs[0].axes[1:]]
            return [{"type": "flag", "name": "mask", "shape": space}]
        case _:
            return []  # reconstruction, next-event, embedding: their targets are inputs
