"""Release folders for tests: a model of the catalogue with its first values, and generated records."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as save_tensors

from benchmarks.small_study import small_terms, write_csv
from client.prediction.release_contract import ReleaseContract, make_contract, read_contract
from models.catalogue import find_model
from models.fit import build_module
from models.generated.study import write_generated_study
from models.parameters.flatten import set_shared_parameters
from models.parameters.initial import draw_initial_shared_parameters
from privacy.canonical import compute_sha256
from privacy.study import Terms, parse_terms
from tests.models.generated_studies import write_generated_files

SHORT = {"time": 3, "visits": 3}
SHORT_OF = {"attentive-chrome": {"marks": 2, "bins": 3}, "md-gru": {"depth": 2, "height": 2, "width": 2}}


def release_module(folder: Path, terms: Terms, module: torch.nn.Module) -> Path:
    """A release folder of ``module``, a model of ``terms``."""
    release = folder / "release"
    release.mkdir(parents=True)
    model = save_tensors({name: value.contiguous() for name, value in module.state_dict().items()})
    (release / "model.safetensors").write_bytes(model)
    (release / "contract.json").write_bytes(make_contract("wood-1234", terms, compute_sha256(model)).to_bytes())
    return release


def release_first_values(folder: Path, terms: Terms) -> Path:
    """A release folder of a model of ``terms`` with the first values of a study."""
    module = build_module(terms.model, terms.data, terms.task)
    set_shared_parameters(module, draw_initial_shared_parameters(module, terms.digest))
    return release_module(folder, terms, module)


def release_of_catalogue(
    folder: Path, name: str, task: str | None = None, patients: int = 20, short: bool = False
) -> tuple[Path, Path, ReleaseContract]:
    """A release folder of the model ``name``, a file of generated records, and the contract.

    With ``short`` series have few steps, and what is read like a series few places: an exported program has every step
    one by one.
    """
    folder.mkdir(exist_ok=True)
    known = find_model(name).example
    sizes = {**known, **{axis: size for axis, size in SHORT.items() if axis in known}, **SHORT_OF.get(name, {})}
    terms = parse_terms(write_generated_study(name, task, sizes=sizes if short else None))
    release = release_first_values(folder, terms)
    data, _ = write_generated_files(folder, terms, seed=3, patients=patients, tests=1)
    return release, data, read_contract(release)


ROWS = ("p1,50,f,yes", "p2,20,m,no", "p3,?,m,no", "p4,65,f,yes")


def release_table(folder: Path, **changes: Any) -> tuple[Path, Path]:
    """A release folder of a logistic regression on a table with known weights, and a labelled table of four rows.

    ``changes`` are sections of the terms. The numbers are: age, age is missing, sex is f, sex is m, sex is missing.
    """
    folder.mkdir(exist_ok=True)
    terms = parse_terms({**small_terms().model_dump(mode="json"), **changes})
    module = build_module(terms.model, terms.data, terms.task)
    weights = {
        "layers.0.weight": torch.tensor([[2.0, 0.5, -1.0, 1.0, 0.25]]),
        "layers.0.bias": torch.tensor([0.125]),
    }
    module.load_state_dict(weights)
    return release_module(folder, terms, module), write_csv(folder / "new.csv", list(ROWS), header="id,age,sex,ill")
