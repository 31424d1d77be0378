import pytest
import torch
from torch.distributions import Normal, kl_divergence

from models.layers.gaussian_code import compute_divergence
from models.tabular.variational_autoencoder import VariationalAutoencoder, VariationalAutoencoderOptions, build


@pytest.fixture
def model() -> VariationalAutoencoder:
    torch.manual_seed(0)
    return build(VariationalAutoencoderOptions(hidden=(9, 7), code=3), {"features": 12}, (12,))


def test_divergence_is_that_of_torch_from_the_standard_normal() -> None:
    random = torch.Generator().manual_seed(0)
    mean, log_variance = (torch.randn(6, 4, generator=random, dtype=torch.float64) for _ in range(2))
    standard = Normal(torch.zeros(4, dtype=torch.float64), torch.ones(4, dtype=torch.float64))
    want = kl_divergence(Normal(mean, torch.exp(0.5 * log_variance)), standard).sum(1)
    torch.testing.assert_close(compute_divergence(mean, log_variance), want)


def test_own_loss_is_the_divergence_over_the_features(model: VariationalAutoencoder) -> None:
    inputs = {"features": torch.rand(5, 12)}
    layer = model.encoder(inputs["features"])
    log_variance = 8 * torch.tanh(model.log_variance(layer) / 8)
    want = compute_divergence(model.mean(layer), log_variance) / 12
    torch.testing.assert_close(model(inputs)["own_loss"], want)
    assert bool((want > 0).all())


@torch.no_grad()
def test_code_is_drawn_in_training_with_its_own_mean_and_deviation(model: VariationalAutoencoder) -> None:
    codes: list[torch.Tensor] = []
    model.decoder.register_forward_pre_hook(lambda _, given: codes.append(given[0]))
    features = torch.rand(1, 12).expand(20_000, 12)
    torch.manual_seed(1)
    model({"features": features})
    layer = model.encoder(features[:1])
    mean, deviation = model.mean(layer)[0], torch.exp(4 * torch.tanh(model.log_variance(layer) / 8))[0]
    # 20,000 draws: five standard deviations of the mean are 0.035 deviations, of the deviation 0.025
    torch.testing.assert_close(codes[0].mean(0), mean, rtol=0, atol=0.035 * float(deviation.max()))
    torch.testing.assert_close(codes[0].std(0), deviation, rtol=0.025, atol=0)


@torch.no_grad()
def test_evaluation_restores_from_the_mean(model: VariationalAutoencoder) -> None:
    model.eval()
    inputs = {"features": torch.rand(5, 12)}
    torch.testing.assert_close(model(inputs)["outputs"], model.decoder(model.encode(inputs)))


@torch.no_grad()
def test_weights_that_noise_has_moved_far_leave_finite_losses(model: VariationalAutoencoder) -> None:
    for parameter in model.log_variance.parameters():
        parameter.mul_(1e6)
    returned = model({"features": torch.rand(5, 12)})
    assert all(torch.isfinite(value).all() for value in returned.values())
