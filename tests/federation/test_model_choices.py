"""A study that begins with public weights, trains adapters and leaves a head at each site: real processes."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file, save_file

from benchmarks.running_federation import Running, running, wait_for
from benchmarks.small_study import small_terms
from client.study.store import StudyStore
from models.parameters.lora import compute_plain_tensors
from privacy.canonical import compute_sha256
from tests.models.choices import arranged
from tests.models.tables import build_for_table

pytestmark = pytest.mark.federation

THREE = ("ash", "birch", "cedar")
MODEL: dict[str, Any] = {"name": "mlp", "options": {"hidden": [6, 4], "norm": "layer"}}
TIMEOUTS_S = 240.0
TRAINING = {"rounds": 3, "local_steps": 150}


@pytest.fixture(scope="module")
def wood(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("wood"), (*THREE, "elm"), small_terms()) as federation:
        yield federation


@pytest.fixture
def public(tmp_path: Path) -> Path:
    """A body that somebody has published; its head was for something else and is not in it."""
    tensors = compute_plain_tensors(arranged(build_for_table("mlp", MODEL["options"], 5)))
    file = tmp_path / "public.safetensors"
    save_file({name: part for name, part in tensors.items() if not name.startswith("layers.6")}, file)
    return file


def test_adapters_on_public_weights_with_a_head_at_each_site(wood: Running, public: Path) -> None:
    start = compute_sha256(public.read_bytes())
    terms = small_terms(
        model={**MODEL, "start": start, "adapters": {"rank": 2}, "personal": ["head"]},
        training=TRAINING,
        privacy={"epsilon": 1},
    ).model_copy(update={"name": "warm"})
    study_file = wood.folder / "warm.yaml"
    study_file.write_text(yaml.safe_dump(terms.model_dump(mode="json")))
    checked = wood.consilium("study", "check", study_file, "--weights", public, "--json")
    assert checked.code == 0, checked.err
    assert (checked.json["parameters"], checked.json["personal"]) == (2 * (5 + 6) + 2 * (6 + 4), 5)
    for name in THREE:
        said = wood.site(name, "weights", "add", public, "--study", study_file)
        assert (said.code, said.out.strip()) == (0, start), said.err

    study = wood.launch(terms)
    folders = {name: wood.folder / name / "studies" / study for name in THREE}
    wait_for("ash to train", (folders["ash"] / "draw-00002.key").exists, TIMEOUTS_S)
    os.kill(wood.trainer("ash"), signal.SIGKILL)
    wait_for("the repeated round's own layers", (folders["ash"] / "personal-00002.npz").exists, TIMEOUTS_S)
    history = wood.finish(study, TIMEOUTS_S)
    assert sorted(history.committed) == [1, 2, 3]
    wood.released(study, *THREE)
    assert all(wood.paid(name, study) == ([1, 2, 3], [1, 2, 3]) for name in THREE)

    (refused,) = wood.ledger("elm", "refuse")
    assert (refused["code"], start in refused["sentence"]) == ("weights", True)

    model, body = load_file(folders["ash"] / "release" / "model.safetensors"), load_file(public)
    moved = {name for name in body if not np.array_equal(body[name], model[name])}
    assert moved == {"layers.0.weight", "layers.3.weight"}
    heads = {name: load_file(folders[name] / "own-layers.safetensors") for name in THREE}
    assert len({head["layers.6.weight"].tobytes() for head in heads.values()}) == 3
    for name, folder in folders.items():
        assert not np.array_equal(heads[name]["layers.6.weight"], model["layers.6.weight"])
        assert StudyStore(folder).launch.parameters == checked.json["parameters"]
        figures = json.loads((folder / "own-figures.json").read_bytes())
        assert set(figures) == {"global", "local"}
        card = json.loads((folder / "release" / "card.json").read_bytes())
        assert (card["model"]["start"], card["model"]["personal"]) == (start, ["head"])
