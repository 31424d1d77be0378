import pytest
import torch

from models.errors import ModelError
from models.tabular.autoencoder import Autoencoder, AutoencoderOptions, build


def make_model(**options: object) -> Autoencoder:
    torch.manual_seed(0)
    chosen = AutoencoderOptions.model_validate({"hidden": (20, 6), "activation": "tanh", **options})
    return build(chosen, {"features": 2000}, (2000,))


def test_widths_go_down_to_the_code_and_back() -> None:
    model = make_model()
    shapes = [tuple(value.shape) for key, value in model.named_parameters() if key.endswith("weight")]
    assert shapes == [(20, 2000), (6, 20), (20, 6), (2000, 20)]
    assert model.encode({"features": torch.rand(3, 2000)}).shape == (3, 6)


@pytest.mark.parametrize(("code", "bounded"), [("linear", False), ("activated", True)])
def test_code_is_linear_unless_asked(code: str, bounded: bool) -> None:
    model = make_model(code=code)
    with torch.no_grad():
        for parameter in model.encoder.parameters():
            parameter.mul_(100.0)
    codes = model.encode({"features": torch.rand(50, 2000)})
    assert bool((codes.abs() <= 1).all()) == bounded


def test_masking_noise_sets_the_asked_part_to_zero_in_training_only() -> None:
    model, features = make_model(noise="mask", level=0.4), torch.rand(5, 2000) + 0.1
    noised = model._add_noise(features)
    # 10,000 draws: five standard deviations of their mean are 0.025
    assert float((noised == 0).double().mean()) == pytest.approx(0.4, abs=0.025)
    assert torch.equal(noised[noised != 0], features[noised != 0])
    assert torch.equal(model.eval()._add_noise(features), features)


def test_normal_noise_has_the_asked_deviation() -> None:
    model, features = make_model(noise="gauss", level=0.3), torch.rand(5, 2000)
    moved = model._add_noise(features) - features
    # 10,000 draws: five standard deviations of the mean are 0.015, of the deviation 0.011
    assert float(moved.mean()) == pytest.approx(0.0, abs=0.015)
    assert float(moved.std()) == pytest.approx(0.3, abs=0.011)


def test_without_noise_two_passes_are_the_same() -> None:
    model, inputs = make_model(), {"features": torch.rand(2, 2000)}
    assert torch.equal(model(inputs), model(inputs))


def test_other_outputs_than_the_features_are_refused() -> None:
    with pytest.raises(ModelError, match="'autoencoder' gives one number for each of the 5 features"):
        build(AutoencoderOptions(), {"features": 5}, (4,))
