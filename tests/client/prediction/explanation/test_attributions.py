"""Explanations: planted features are found, integrated gradients are complete, occlusion finds a planted patch."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from client.data.site_data import read_contents
from client.prediction.explanation.attributions import (
    Explanation,
    explain_record,
    is_image,
    is_letters,
    make_baseline,
)
from client.prediction.explanation.score import choose_score
from client.prediction.predict import load_model, predict, read_batch, select_inputs
from client.prediction.release_contract import ReleaseContract, read_contract
from models.catalogue import NAMES, find_model
from models.outputs import read_outputs
from privacy.errors import ReleaseError
from tests.client.prediction.released import release_of_catalogue, release_table


def read_first(contract: ReleaseContract, data: Path, row: int = 0) -> dict[str, torch.Tensor]:
    contents = read_contents(contract.data, data, with_targets=False)
    return read_batch(select_inputs(contract, contents), np.array([row]))


def released(
    folder: Path, name: str, task: str | None = None
) -> tuple[ReleaseContract, nn.Module, dict[str, torch.Tensor]]:
    release, data, contract = release_of_catalogue(folder, name, task, patients=2)
    return contract, load_model(release, contract), read_first(contract, data)


def set_weights(module: nn.Module, weights: torch.Tensor, bias: float = 0.0) -> None:
    """Make a logistic regression of these weights."""
    (layer,) = module.layers  # type: ignore[misc]
    with torch.no_grad():
        layer.weight.copy_(weights.reshape(layer.weight.shape))
        layer.bias.fill_(bias)


@pytest.mark.parametrize("name", NAMES)
def test_every_model_and_task_is_explained_or_refused_by_a_sentence(name: str, tmp_path: Path) -> None:
    for task in find_model(name).tasks:
        folder = tmp_path / task
        folder.mkdir()
        contract, module, inputs = released(folder, name, task)
        if task in ("reconstruction", "embedding"):
            with pytest.raises(ReleaseError, match="gives no single number of a record to explain"):
                explain_record(contract, module, inputs)
            continue
        found = explain_record(contract, module, inputs)
        assert found.attributions
        for key, values in found.attributions.items():
            assert values.shape == inputs[key].shape[1:]
            assert np.isfinite(values).all()


@pytest.mark.parametrize("name", ["logistic", "mlp", "deepchrome", "dbn", "adage", "gru-d", "dynamic-deephit"])
def test_integrated_gradients_add_up_to_the_score_minus_that_of_the_baseline(name: str, tmp_path: Path) -> None:
    """The axiom of completeness (Sundararajan, Taly and Yan 2017, proposition 1)."""
    tasks = [each for each in find_model(name).tasks if each != "reconstruction"]
    if not tasks:
        pytest.skip(f"{name} has no score to explain")
    contract, module, inputs = released(tmp_path, name, tasks[0])
    found = explain_record(contract, module, inputs)
    numbers = [each for each, method in found.methods.items() if method == "integrated gradients"]
    assert found.baseline is not None
    with torch.no_grad():
        outputs = read_outputs(module(inputs))
        score = choose_score(contract, inputs, outputs, None)
        start = {each: make_baseline(contract, each, inputs[each]) for each in numbers}
        fall = float(score.compute(outputs)[0] - score.compute(read_outputs(module({**inputs, **start})))[0])
    assert sum(float(found.attributions[each].sum()) for each in numbers) == pytest.approx(fall, abs=2e-3)
    assert found.value - found.baseline == pytest.approx(fall, abs=1e-6)


def test_integrated_gradients_of_a_linear_model_are_weight_times_distance(tmp_path: Path) -> None:
    contract, module, inputs = released(tmp_path, "logistic", "binary")
    weights = torch.linspace(-2, 2, inputs["features"].shape[1])
    set_weights(module, weights, bias=0.3)
    found = explain_record(contract, module, inputs)
    expected = (weights * (inputs["features"] - make_baseline(contract, "features", inputs["features"])))[0]
    np.testing.assert_allclose(found.attributions["features"], expected.numpy(), atol=1e-6)


def test_integrated_gradients_are_those_of_a_plain_riemann_sum(tmp_path: Path) -> None:
    contract, module, inputs = released(tmp_path, "mlp", "binary")
    found = explain_record(contract, module, inputs).attributions["features"]
    start = make_baseline(contract, "features", inputs["features"])
    total = torch.zeros_like(start)
    steps = 2000
    for step in range(steps):
        at = (start + (step + 0.5) / steps * (inputs["features"] - start)).requires_grad_()
        (gradient,) = torch.autograd.grad(read_outputs(module({"features": at})).sum(), at)
        total += gradient / steps
    np.testing.assert_allclose(found, ((inputs["features"] - start) * total)[0].numpy(), atol=1e-5)


@pytest.mark.parametrize("planted", [0, 5, 11])
def test_model_that_uses_one_feature_only_is_explained_by_it(planted: int, tmp_path: Path) -> None:
    contract, module, inputs = released(tmp_path, "logistic", "binary")
    weights = torch.zeros(inputs["features"].shape[1])
    weights[planted] = 3.0
    set_weights(module, weights)
    found = explain_record(contract, module, inputs).attributions["features"]
    assert np.flatnonzero(np.abs(found) > 1e-9).tolist() == [planted]


def test_column_of_a_table_is_explained_from_a_record_of_which_nothing_is_known(tmp_path: Path) -> None:
    release, table = release_table(tmp_path)
    contract = read_contract(release)
    module = load_model(release, contract)
    # p4: age 65 is 0.5 in [-1, 1], times 2; f has the weight -1
    found = explain_record(contract, module, read_first(contract, table, 3))
    np.testing.assert_allclose(found.attributions["features"], [1.0, 0, -1.0, 0, 0], atol=1e-6)
    assert found.baseline == pytest.approx(0.125)
    # p3: age is missing, which has the weight 0.5
    found = explain_record(contract, module, read_first(contract, table, 2))
    np.testing.assert_allclose(found.attributions["features"], [0, 0.5, 0, 1.0, 0], atol=1e-6)


class BrightPatch(nn.Module):
    """An image model that looks at one place only."""

    def __init__(self, rows: slice, columns: slice) -> None:
        super().__init__()
        self.place = (slice(None), slice(None), rows, columns)

    def forward(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        return inputs["image"][self.place].flatten(1).mean(1)


def test_occlusion_finds_the_planted_patch(tmp_path: Path) -> None:
    contract, _, inputs = released(tmp_path, "chest-xray-cnn", "binary")
    side = inputs["image"].shape[-1]
    image = torch.full_like(inputs["image"], 0.1)
    image[:, :, 2:6, side - 6 : side - 2] = 1.0
    found = explain_record(contract, BrightPatch(slice(2, 6), slice(side - 6, side - 2)), {"image": image})
    values = found.attributions["image"][0]
    assert found.methods == {"image": "occlusion"}
    row, column = np.unravel_index(values.argmax(), values.shape)
    assert 2 <= row < 6
    assert side - 6 <= column < side - 2
    inside = values[2:6, side - 6 : side - 2].mean()
    assert inside > 5 * np.abs(values[side // 2 :, : side // 2]).mean()


def test_occlusion_of_the_whole_image_by_its_mean_is_nothing(tmp_path: Path) -> None:
    contract, module, inputs = released(tmp_path, "chest-xray-cnn", "binary")
    found = explain_record(contract, module, {"image": torch.full_like(inputs["image"], 0.4)})
    np.testing.assert_allclose(found.attributions["image"], 0, atol=1e-5)


def test_left_out_codes_are_what_the_score_loses(tmp_path: Path) -> None:
    contract, module, inputs = released(tmp_path, "doctor-ai", "next-event")
    found = explain_record(contract, module, inputs)
    assert set(found.attributions) == {"visits"}  # which visits there are is not touched
    with torch.no_grad():
        outputs = read_outputs(module(inputs))
        score = choose_score(contract, inputs, outputs, None)
        for place in inputs["visits"][0].nonzero().tolist()[:5]:
            without = inputs["visits"].clone()
            without[(0, *place)] = False
            changed = read_outputs(module({**inputs, "visits": without}))
            lost = float(score.compute(outputs)[0] - score.compute(changed)[0])
            assert found.attributions["visits"][tuple(place)] == pytest.approx(lost, abs=1e-6)
    assert not found.attributions["visits"][~inputs["visits"][0].numpy()].any()


def test_left_out_letters_are_what_the_score_loses(tmp_path: Path) -> None:
    contract, module, inputs = released(tmp_path, "deepdta", "pairs")
    found = explain_record(contract, module, inputs)
    without = inputs["compound"].clone()
    place = int(without[0].nonzero()[0])
    without[0, place] = 0
    with torch.no_grad():
        lost = float(read_outputs(module(inputs))[0] - read_outputs(module({**inputs, "compound": without}))[0])
    assert found.attributions["compound"][place] == pytest.approx(lost, abs=1e-6)


def test_every_other_letter_is_worth_what_the_score_gains_with_it(tmp_path: Path) -> None:
    contract, module, inputs = released(tmp_path, "basset", "binary")
    letters = torch.randint(0, 4, (inputs["sequence"].shape[2],), generator=torch.Generator().manual_seed(0))
    sequence = torch.nn.functional.one_hot(letters, 4).T[None].float()
    sequence[:, :, 7] = 0  # no letter
    sequence[:, :, 8] = 0.25  # any letter
    found = explain_record(contract, module, {"sequence": sequence})
    assert found.methods == {"sequence": "every other letter"}
    gains = found.attributions["sequence"]
    with torch.no_grad():
        for place in (0, 7, 8, 9, 41):
            for letter in range(4):
                changed = sequence.clone()
                if place not in (7, 8):
                    changed[0, :, place] = torch.eye(4)[letter]
                gain = float(module({"sequence": changed})[0] - module({"sequence": sequence})[0])
                assert gains[letter, place] == pytest.approx(gain, abs=1e-6)
    assert np.abs(gains).max() > 1e-4


def test_single_id_that_is_left_out_is_what_the_score_loses(tmp_path: Path) -> None:
    contract, module, inputs = released(tmp_path, "tfimpute", "binary")
    found = explain_record(contract, module, inputs)
    with torch.no_grad():
        lost = float(
            read_outputs(module(inputs))[0] - read_outputs(module({**inputs, "cell": inputs["cell"] * 0}))[0]
        )
    assert float(found.attributions["cell"]) == pytest.approx(lost, abs=1e-6)


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_contributions_of_retain_are_those_of_the_paper(task: str, tmp_path: Path) -> None:
    """Choi et al. 2016, equation 6: alpha_i W (beta_i * W_emb[:, k]) x_ik."""
    contract, module, inputs = released(tmp_path, "retain", task)
    net: Any = module
    found = explain_record(contract, module, inputs)
    assert found.methods == {"visits": "exact"}
    with torch.no_grad():
        visits = inputs["visits"].float()
        attention = net.attend(net.embedding(visits), inputs["present"])
        outputs = read_outputs(module(inputs))
        row = int(outputs[0].argmax()) if task == "multiclass" else 0
        for visit, code in inputs["visits"][0].nonzero().tolist():
            beta, column = attention.codes[0, visit], net.embedding.weight[:, code]
            expected = attention.visits[0, visit] * (net.head.weight[row] @ (beta * column))
            assert found.attributions["visits"][visit, code] == pytest.approx(float(expected), abs=1e-6)
    whole = float(net.head.bias[row].detach()) + found.attributions["visits"].sum()
    assert whole == pytest.approx(found.value, abs=1e-5)
    assert found.attention["visits"].sum() == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize(("name", "axes"), [("attentive-chrome", {"marks", "bins"}), ("dynamic-deephit", {"time"})])
def test_attention_is_read_where_the_model_has_it(name: str, axes: set[str], tmp_path: Path) -> None:
    contract, module, inputs = released(tmp_path, name)
    found = explain_record(contract, module, inputs)
    assert set(found.attention) == axes
    for weights in found.attention.values():
        assert ((weights >= 0) & (weights <= 1 + 1e-6)).all()


def test_class_that_is_asked_for_is_explained(tmp_path: Path) -> None:
    contract, module, inputs = released(tmp_path, "logistic", "multiclass")
    found = [explain_record(contract, module, inputs, place) for place in range(3)]
    assert [each.score for each in found] == [f"logit of class {place}" for place in range(3)]
    with torch.no_grad():
        logits = read_outputs(module(inputs))[0]
    assert [each.value for each in found] == pytest.approx(logits.tolist())
    with pytest.raises(ReleaseError, match="--of 3: the model gives 3 numbers here; name one from 0 to 2"):
        explain_record(contract, module, inputs, 3)


def test_survival_score_is_the_incidence_that_predict_says(tmp_path: Path) -> None:
    release, data, contract = release_of_catalogue(tmp_path, "dynamic-deephit", patients=2)
    module = load_model(release, contract)
    said = predict(contract, module, data).outputs
    for cause in (0, 1):
        found: Explanation = explain_record(contract, module, read_first(contract, data), cause)
        assert found.value == pytest.approx(float(said[f"incidence_{cause + 1}"][0, -1]), abs=1e-6)


def test_images_are_known_by_the_names_of_their_axes() -> None:
    images = {name for name in NAMES for each in find_model(name).inputs if is_image(each)}
    assert {"unet", "ternausnet11", "chest-xray-cnn", "image-table"} <= images
    assert not images & {"logistic", "gru-d", "deepchrome"}


def test_letters_are_known_by_their_axes() -> None:
    letters = {name for name in NAMES for each in find_model(name).inputs if is_letters(each)}
    assert "basset" in letters
    assert not letters & {"deepchrome", "deepdta", "unet"}
