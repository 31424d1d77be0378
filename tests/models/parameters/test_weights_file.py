"""Files of public weights: what is taken, what is refused and how, and a model with weights in it."""

import pickle
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch
from torch import nn

import models.parameters.weights_file
from models.errors import ModelError
from models.parameters.flatten import read_shared_parameters, set_shared_parameters
from models.parameters.initial import draw_initial_shared_parameters
from models.parameters.lora import compute_plain_tensors
from models.parameters.pretrained import load_public_weights
from models.parameters.weights_file import compute_weights_digest, read_weights_shapes
from privacy.canonical import compute_sha256
from tests.models.choices import arranged
from tests.models.tables import build_for_table

OPTIONS = {"hidden": [4, 3]}
Tensors = dict[str, np.ndarray[Any, np.dtype[np.float32]]]


def public() -> Tensors:
    """The weights of ``mlp`` on 5 inputs."""
    return compute_plain_tensors(arranged(build_for_table("mlp", OPTIONS, 5)))


def mlp(**choices: Any) -> nn.Module:
    return arranged(build_for_table("mlp", OPTIONS, 5), **choices)


def written(folder: Path, tensors: Tensors) -> tuple[Path, str]:
    file = folder / "public.safetensors"
    save_file(tensors, file)
    return file, compute_sha256(file.read_bytes())


def refusal(folder: Path, tensors: Tensors, **choices: Any) -> str:
    with pytest.raises(ModelError) as caught:
        load_public_weights(mlp(**choices), *written(folder, tensors))
    sentence = str(caught.value)
    assert str(folder) not in sentence, "a refusal goes to others"
    return sentence


@pytest.mark.parametrize(
    "choices",
    [{}, {"trained": ["head"]}, {"adapters": {"rank": 2}, "trained": ["head"]}, {"personal": ["layers.0"]}],
)
def test_model_with_weights_in_it_is_the_public_one(tmp_path: Path, choices: dict[str, Any]) -> None:
    module = mlp(**choices)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    given = load_public_weights(module, *written(tmp_path, public()))
    got = compute_plain_tensors(module)
    assert {name: part.tolist() for name, part in got.items()} == {
        name: part.tolist() for name, part in public().items()
    }
    assert len(given) == 6


def test_layers_that_the_file_lacks_are_left_to_be_drawn(tmp_path: Path) -> None:
    body = {name: part for name, part in public().items() if "layers.4" not in name}
    given = load_public_weights(mlp(trained=["head"]), *written(tmp_path, body))
    assert given == set(body)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_other_precision_are_rounded_once(tmp_path: Path, kind: torch.dtype) -> None:
    tensors = {name: torch.from_numpy(part).to(kind) for name, part in public().items()}
    file = tmp_path / "public.safetensors"
    save_torch(tensors, file)
    module = mlp()
    load_public_weights(module, file, compute_weights_digest(file))
    expected = torch.cat([part.float().flatten() for part in tensors.values()])
    assert sorted(read_shared_parameters(module).tolist()) == sorted(expected.double().tolist())


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_released_model_may_be_what_the_next_study_begins_with(seed: int) -> None:
    random = np.random.default_rng(seed)
    tensors = {
        name: np.array(random.standard_normal(part.shape), dtype=np.float32) for name, part in public().items()
    }
    module = mlp(adapters={"rank": 2}, personal=["head"])
    with tempfile.TemporaryDirectory() as folder:
        load_public_weights(module, *written(Path(folder), tensors))
        set_shared_parameters(module, draw_initial_shared_parameters(module, "ab" * 32))
        again = mlp()
        load_public_weights(again, *written(Path(folder), compute_plain_tensors(module)))
    assert {name: part.tobytes() for name, part in compute_plain_tensors(again).items()} == {
        name: part.tobytes() for name, part in tensors.items()
    }


# Errors: a table of what can be wrong, and what is said ------------------------------------------------------


def test_another_file_is_refused_with_both_hashes(tmp_path: Path) -> None:
    file, digest = written(tmp_path, public())
    with pytest.raises(
        ModelError, match=f"not the file that the terms name .*expected SHA-256 {'0' * 64}, got {digest}"
    ):
        load_public_weights(mlp(), file, "0" * 64)


def test_file_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read: No such file"):
        load_public_weights(mlp(), tmp_path / "gone.safetensors", "0" * 64)


def test_tensor_that_the_model_lacks_is_refused(tmp_path: Path) -> None:
    sentence = refusal(tmp_path, public() | {"layers.6.weight": np.zeros((1, 3), dtype=np.float32)})
    assert sentence.startswith(
        "has a tensor 'layers.6.weight', the model has none; the model's tensors: layers.0.bias"
    )


def test_adapters_tensor_in_the_file_is_refused(tmp_path: Path) -> None:
    """A file is of the plain model: what adapters are called here is nobody's business."""
    extra = {"layers.0.down.weight": np.zeros((2, 5), dtype=np.float32)}
    sentence = refusal(tmp_path, public() | extra, adapters={"rank": 2}, trained=["head"])
    assert "has a tensor 'layers.0.down.weight', the model has none" in sentence


def test_tensor_of_another_shape_is_refused(tmp_path: Path) -> None:
    sentence = refusal(tmp_path, public() | {"layers.2.weight": np.zeros((4, 3), dtype=np.float32)})
    assert sentence == "tensor 'layers.2.weight' has shape (4, 3), the model's has (3, 4)"


def test_frozen_tensor_that_the_file_lacks_is_refused(tmp_path: Path) -> None:
    tensors = public()
    del tensors["layers.2.bias"]
    sentence = refusal(tmp_path, tensors, trained=["head"])
    assert sentence.startswith(
        "has no tensor 'layers.2.bias', which is frozen; what the file does not have must be"
    )


def test_tensor_beside_an_adapter_that_the_file_lacks_is_refused(tmp_path: Path) -> None:
    tensors = public()
    del tensors["layers.0.weight"]
    sentence = refusal(tmp_path, tensors, adapters={"rank": 1})
    assert "has no tensor 'layers.0.weight', which is frozen" in sentence


def test_number_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    tensors = public()
    tensors["layers.0.bias"][2] = np.nan
    assert refusal(tmp_path, tensors) == "tensor 'layers.0.bias' has entries that are not finite numbers"


def test_whole_numbers_are_refused(tmp_path: Path) -> None:
    tensors: Any = public() | {"layers.0.bias": np.zeros(4, dtype=np.int64)}
    assert "tensor 'layers.0.bias' is of type I64, expected floating point" in refusal(tmp_path, tensors)


def test_file_without_tensors_is_refused(tmp_path: Path) -> None:
    assert "holds no tensor" in refusal(tmp_path, {})


class Harmful:
    """Runs when it is read."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (eval, ("1 / 0",))


@pytest.mark.parametrize("data", [b"", b"\x00" * 7, b"{}", pickle.dumps(Harmful()), b"\xff" * 4096])
def test_other_formats_are_refused_and_never_run(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "weights.pt"
    file.write_bytes(data)
    with pytest.raises(ModelError, match=r"no safetensors file .*other formats are never opened"):
        read_weights_shapes(file)


def test_file_cut_short_is_refused(tmp_path: Path) -> None:
    file, _ = written(tmp_path, public())
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(ModelError, match="no safetensors file"):
        load_public_weights(mlp(), file, compute_weights_digest(file))


def test_file_that_is_too_large_is_refused_unread(tmp_path: Path) -> None:
    file = tmp_path / "large.safetensors"
    with file.open("wb") as large:
        large.truncate(models.parameters.weights_file.MOST_BYTES + 1)  # sparse: it takes no space
    with pytest.raises(
        ModelError, match="4294967297 bytes are too many for public weights, expected at most 4294967296"
    ):
        compute_weights_digest(file)


# Weights of another library ----------------------------------------------------------------------------------


def foreign() -> Tensors:
    """The same weights as another library names them, with a tensor that the model has no use for."""
    renamed = {
        name.replace("layers.0.", "features.0.").replace("layers.2.", "features.3."): value
        for name, value in public().items()
    }
    return {
        **{name: value for name, value in renamed.items() if name.startswith("features")},
        "classifier.weight": np.ones((2, 2), np.float32),
    }


NAMES = {"layers.0": "features.0", "layers.2": "features.3"}


def test_named_layers_begin_with_the_layers_of_another_library(tmp_path: Path) -> None:
    module = mlp(trained=["head"])
    given = load_public_weights(module, *written(tmp_path, foreign()), NAMES)
    assert given == {"layers.0.weight", "layers.0.bias", "layers.2.weight", "layers.2.bias"}
    for name, value in compute_plain_tensors(module).items():
        if name in given:
            assert np.array_equal(value, public()[name])


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        ({"layers.9": "features.0"}, "model.weight_names: the model has no layer 'layers.9' with tensors"),
        ({"layers.0": "stem"}, "has no tensor 'stem.weight', which model.weight_names takes for 'layers.0.weight'"),
        ({"layers.0": "features.3"}, "tensor 'features.3.weight' has shape (3, 4), the model's has (4, 5)"),
        ({"layers.0": "features.0"}, "has no tensor 'layers.2.bias', which is frozen"),
    ],
)
def test_names_that_do_not_fit_are_refused(tmp_path: Path, names: dict[str, str], sentence: str) -> None:
    with pytest.raises(ModelError) as caught:
        load_public_weights(mlp(trained=["head"]), *written(tmp_path, foreign()), names)
    assert sentence in str(caught.value)
