import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from models.entry import Count
from models.errors import ModelError
from models.genomics.xpresso import MODEL, XpressoOptions, build, convert_keras_weights
from models.parameters.pretrained import load_public_weights
from models.parameters.weights_file import compute_weights_digest
from tests.models.counting import count_parameters


@pytest.mark.parametrize("count", MODEL.counts, ids=lambda count: count.preset)
def test_parameters_are_as_many_as_counted(count: Count) -> None:
    assert count_parameters(MODEL, count) == count.parameters


def test_parameters_of_the_configuration_that_the_authors_chose_by_hand() -> None:
    options = XpressoOptions(filters=(64, 64), kernels=(5, 5), pools=(10, 20), hidden=(100,), dropout=(0.5,))
    with torch.device("meta"):
        network = build(options, {"bases": 3000, "features": 8}, ())
    assert sum(each.numel() for each in network.parameters()) == 118_889


def draw_keras_weights(random: np.random.Generator, places: int) -> dict[str, np.ndarray]:
    """Weights with the axes that Keras has."""
    kernels = {
        "conv1d_1": (6, 4, 128),
        "conv1d_2": (9, 128, 32),
        "dense_1": (32 * places + 8, 64),
        "dense_2": (64, 2),
        "dense_3": (2, 1),
    }
    found = {
        f"{name}/kernel": random.standard_normal(shape) / np.prod(shape[:-1]) ** 0.5
        for name, shape in kernels.items()
    }
    return found | {f"{name}/bias": 0.1 + random.standard_normal(shape[-1]) / 9 for name, shape in kernels.items()}


def predict_as_keras(weights: dict[str, np.ndarray], promoter: np.ndarray, features: np.ndarray) -> float:
    """One record, (bases, 4) and (8,), by the definition of Keras's layers."""
    values = promoter
    for name, pool in (("conv1d_1", 30), ("conv1d_2", 10)):
        kernel, length = weights[f"{name}/kernel"], len(values)
        before = (len(kernel) - 1) // 2  # TensorFlow's `same`: the odd zero stands at the end
        padded = np.pad(values, ((before, len(kernel) - 1 - before), (0, 0)))
        found = [np.einsum("kc,kcf->f", padded[at : at + len(kernel)], kernel) for at in range(length)]
        values = np.maximum(np.stack(found) + weights[f"{name}/bias"], 0)
        values = np.stack([values[at : at + pool].max(0) for at in range(0, length - pool + 1, pool)])
    values = np.concatenate([values.reshape(-1), features])  # place by place, filters of a place together
    for name in ("dense_1", "dense_2"):
        values = np.maximum(values @ weights[f"{name}/kernel"] + weights[f"{name}/bias"], 0)
    return float((values @ weights["dense_3/kernel"] + weights["dense_3/bias"])[0])


def test_weights_of_keras_give_what_keras_layers_give(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    weights = draw_keras_weights(random, places=2)
    path = tmp_path / "published.safetensors"
    save_file(convert_keras_weights(weights), path)
    network = build(XpressoOptions(), {"bases": 600, "features": 8}, ()).eval()
    given = load_public_weights(network, path, compute_weights_digest(path))
    assert given == {name for name, _ in network.named_parameters()}
    promoter = np.eye(4)[random.integers(0, 4, (3, 600))]
    features = random.standard_normal((3, 8))
    wanted = [predict_as_keras(weights, *record) for record in zip(promoter, features, strict=True)]
    inputs = {
        "promoter": torch.tensor(promoter).movedim(1, 2).float(),
        "features": torch.tensor(features).float(),
    }
    np.testing.assert_allclose(network(inputs).detach().numpy(), wanted, rtol=1e-4)
    assert np.ptp(wanted) > 1e-3


def test_file_that_keras_saved_is_converted(repository: Path, tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py", reason="needs the extra genomics")
    weights = draw_keras_weights(np.random.default_rng(1), places=2)
    with h5py.File(tmp_path / "published.h5", "w") as file:
        for name, values in weights.items():
            layer, _, weight = name.partition("/")
            file[f"model_weights/{layer}/{layer}/{weight}:0"] = values
        file["optimizer_weights/Adam/iterations:0"] = 7
    script = runpy.run_path(str(repository / "examples" / "genomics" / "convert_xpresso.py"))
    path = tmp_path / "xpresso.safetensors"
    assert script["convert"](tmp_path / "published.h5", path) == compute_weights_digest(path)
    wanted = convert_keras_weights(weights)
    for name, values in load_file(path).items():
        np.testing.assert_array_equal(values, wanted[name])


def test_published_weights_that_lack_a_layer_are_refused() -> None:
    weights = draw_keras_weights(np.random.default_rng(0), places=2)
    del weights["dense_2/bias"]
    with pytest.raises(ModelError, match="have no 'dense_2/bias'"):
        convert_keras_weights(weights)


def test_promoter_too_short_for_the_poolings_is_refused() -> None:
    build(XpressoOptions(), {"bases": 300, "features": 1}, ())
    with pytest.raises(ModelError, match="needs more letters of 'promoter' for pools of 30, 10; the data have 299"):
        build(XpressoOptions(), {"bases": 299, "features": 1}, ())


def test_options_have_a_number_for_each_layer() -> None:
    for wrong in ({"kernels": [6]}, {"dropout": [0.1]}):
        with pytest.raises(ModelError, match="one number for each"):
            MODEL.check_options("xpresso", wrong)
