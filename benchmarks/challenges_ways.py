"""List the ways to learn from few patients that ``benchmarks/challenges.py`` compares: each a change of one study."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import torch
import yaml
from safetensors.torch import save_file
from torch.nn.functional import binary_cross_entropy_with_logits

from client.data.examples import Array, Patients
from client.data.site_data import read_data
from client.training.simulate import pool_patients
from client.training.study_model import begin_model
from models.parameters.weights_file import compute_weights_digest
from privacy.study import Terms, parse_terms

EXAMPLES: Final = Path(__file__).parents[1] / "examples"
FEW: Final = 150
"""Patients of a small hospital; an image is a patient here."""
_VARIED: Final = [
    {"kind": "rotate", "tensors": ["image"], "degrees": 10},
    {"kind": "translate", "tensors": ["image"], "part": 0.07},
    {"kind": "contrast", "tensors": ["image"], "part": 0.2},
]
_PRE_TRAINING: Final = {"steps": 600, "lot": 64, "rate": 2e-3}


class Way(NamedTuple):
    """One way to train: a study, its patients, and the public weights that it begins with."""

    name: str
    terms: Terms
    training: Patients
    testing: Patients
    weights: Path | None = None


class Comparison(NamedTuple):
    """Ways that are told apart by one change each.

    ``plain_rate`` is the learning rate of all of them without privacy, where no gradient is clipped.
    """

    name: str
    plain_rate: float
    ways: tuple[Way, ...]


def list_comparisons(data: Path, temporary: Path) -> tuple[Comparison, ...]:
    """List all comparisons on the files of ``data``; public weights are written to ``temporary``."""
    return (compare_regularisation(data), compare_transfer(data, temporary), compare_inputs(data))


def compare_regularisation(data: Path) -> Comparison:
    """Compare augmentation, views and dropout, on few radiographs and a network that can learn them by heart."""
    study = read_example("imaging/chest_xray_cnn.yaml")
    options = {"filters": [16, 32], "summary": "flatten", "hidden": 64, "norm": "group", "activation": "tanh"}
    training = {"rounds": 30, "local_steps": 10, "sampling_rate": 0.25, "learning_rate": 0.5}
    base = {"model": {"name": "chest-xray-cnn", "options": {**options, "dropout": 0.0}}, "training": training}
    dropped = {"model": {"name": "chest-xray-cnn", "options": {**options, "dropout": 0.5}}, "training": training}
    varied = {**base, "training": {**training, "augmentation": {"steps": _VARIED}}}
    views = {**base, "training": {**training, "augmentation": {"steps": _VARIED}, "views": 4}}
    changes = {
        "nothing": base,
        "dropout of a half": dropped,
        "augmentation": varied,
        "augmentation, 4 views": views,
    }
    terms = {name: parse_terms({**study, **change}) for name, change in changes.items()}
    first = terms["nothing"]
    few = take(read_patients(first, data / "chest", "train"), 0, FEW)
    tests = read_patients(first, data / "chest", "test")
    return Comparison("few radiographs", 0.1, tuple(Way(name, each, few, tests) for name, each in terms.items()))


def compare_transfer(data: Path, temporary: Path) -> Comparison:
    """Compare ways to begin from a network that has learned public radiographs, on one hospital's ultrasound images."""
    study = read_example("imaging/image_table.yaml")
    options = {
        "filters": [8, 16, 16], "summary": "average", "hidden": 0, "norm": "group", "activation": "tanh",
        "padding": "same", "dropout": 0.0,
    }  # fmt: skip
    study["data"]["inputs"] = [each for each in study["data"]["inputs"] if each["name"] == "image"]
    study["training"] |= {"rounds": 30, "learning_rate": 0.5}
    plain = {"name": "chest-xray-cnn", "options": options}
    source = parse_terms({**read_example("imaging/chest_xray_cnn.yaml"), "model": plain})
    weights = temporary / "radiographs.safetensors"
    pre_train(source, read_patients(source, data / "chest", "train"), weights)
    start = {**plain, "start": compute_weights_digest(weights)}
    models = {
        "from nothing": plain,
        "all layers, from radiographs": start,
        "the head alone, from radiographs": {**start, "trained": ["layers"]},
        "adapters of rank 4, from radiographs": {**start, "trained": ["layers"], "adapters": {"rank": 4}},
    }
    terms = {name: parse_terms({**study, "model": model}) for name, model in models.items()}
    first = terms["from nothing"]
    one = read_patients(first, data / "busi", "train", sites=("site-1",))
    tests = read_patients(first, data / "busi", "test")
    return Comparison(
        "few ultrasound images",
        0.1,
        tuple(Way(name, each, one, tests, weights if each.model.start else None) for name, each in terms.items()),
    )


def compare_inputs(data: Path) -> Comparison:
    """Compare an image, the numbers beside it, and both together."""
    study = read_example("imaging/image_table.yaml")
    both = parse_terms(study)
    alone = {
        "image": {
            "name": "chest-xray-cnn",
            "options": {
                "filters": [4, 8], "summary": "average", "hidden": 0, "norm": "group", "activation": "tanh",
                "padding": "same", "dropout": 0.0,
            },
        },
        "features": {"name": "mlp", "options": {"hidden": [8], "activation": "tanh"}},
    }  # fmt: skip
    ways = []
    for name, words in (("image", "the image alone"), ("features", "the numbers alone")):
        inputs = [each for each in study["data"]["inputs"] if each["name"] == name]
        terms = parse_terms({**study, "model": alone[name], "data": {**study["data"], "inputs": inputs}})
        ways.append((words, terms))
    ways.append(("both", both))
    return Comparison(
        "image and numbers",
        1.0,
        tuple(
            Way(
                words,
                terms,
                read_patients(terms, data / "busi", "train", sites=("site-1",)),
                read_patients(terms, data / "busi", "test"),
            )
            for words, terms in ways
        ),
    )


def pre_train(terms: Terms, patients: Patients, out: Path) -> None:
    """Train the network of ``terms`` on public records, plainly, and write its weights."""
    module, _ = begin_model(terms)
    module.train()
    images = torch.from_numpy(np.ascontiguousarray(patients.inputs["image"][np.arange(patients.records)]))
    labels = torch.from_numpy(patients.targets["label"][np.arange(patients.records)]).float()
    for parameter in module.parameters():
        torch.nn.init.kaiming_uniform_(parameter) if parameter.dim() > 1 else None
    steps = torch.optim.Adam(module.parameters(), lr=_PRE_TRAINING["rate"])
    for _ in range(int(_PRE_TRAINING["steps"])):
        rows = torch.randint(len(labels), (int(_PRE_TRAINING["lot"]),))
        loss = binary_cross_entropy_with_logits(module({"image": images[rows]}), labels[rows])
        steps.zero_grad()
        torch.autograd.backward(loss)
        steps.step()
    save_file({name: value.contiguous() for name, value in module.state_dict().items()}, out)


def set_rate(terms: Terms, rate: float) -> Terms:
    """Return the study with another learning rate."""
    return terms.model_copy(update={"training": terms.training.model_copy(update={"learning_rate": rate})})


def read_example(path: str) -> dict[str, Any]:
    """Read a study of ``examples/``."""
    study: dict[str, Any] = yaml.safe_load((EXAMPLES / path).read_text(encoding="utf-8"))
    return study


def read_patients(terms: Terms, folder: Path, part: str, sites: Sequence[str] | None = None) -> Patients:
    """Read the training or test patients of some hospitals, or of all of them."""
    names = sites or sorted(each.name for each in folder.iterdir())
    return pool_patients([read_data(terms.data, folder / name / f"{part}.npz").patients for name in names])


def take(patients: Patients, first: int, count: int) -> Patients:
    """Keep ``count`` patients from number ``first`` on."""
    rows = np.flatnonzero((patients.patient >= first) & (patients.patient < first + count))

    def cut(arrays: Mapping[str, Array]) -> dict[str, Array]:
        return {name: each[rows] for name, each in arrays.items()}

    return Patients(cut(patients.inputs), cut(patients.targets), patients.patient[rows] - first, count)
