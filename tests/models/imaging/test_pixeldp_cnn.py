"""The convolution of bounded sensitivity, and where noise is drawn."""

from typing import Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import ModelError
from models.imaging.pixeldp_cnn import PixelDpOptions, build
from models.layers.bounded_noise import AddedNoise, BoundedConvolution, bound_spectral_norm, draw_noise, find_noise


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 3), st.integers(1, 6), st.sampled_from([(4, 2), (3, 1), (5, 2), (2, 2)]), st.integers(0, 99))
def test_convolution_never_lengthens_a_difference(
    channels: int, filters: int, shape: tuple[int, int], seed: int
) -> None:
    """The spectral norm of the whole linear map, by its matrix, is at most 1."""
    torch.manual_seed(seed)
    layer = BoundedConvolution(channels, filters, *shape)
    if seed % 3 == 0:
        with torch.no_grad():
            layer.weight.mul_(1e6)
    images = torch.eye(channels * 36).reshape(-1, channels, 6, 6)
    matrix = layer(images).flatten(1).detach().double()
    norm = float(torch.linalg.matrix_norm(matrix, 2))
    assert 0.2 < norm <= 1


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.floats(1e-3, 1e3), st.integers(0, 99))
def test_bound_of_the_norm_is_above_it_and_near(rows: int, columns: int, scale: float, seed: int) -> None:
    torch.manual_seed(seed)
    matrix = scale * torch.randn(rows, columns)
    exact, bound = float(torch.linalg.matrix_norm(matrix.double(), 2)), float(bound_spectral_norm(matrix))
    assert exact * (1 - 1e-6) <= bound <= exact * rows ** (1 / 16) * (1 + 1e-5)


def test_kernel_of_zeros_gives_zeros() -> None:
    layer = BoundedConvolution(1, 2, 4, 2)
    torch.nn.init.zeros_(layer.weight)
    assert not layer(torch.ones(1, 1, 6, 6)).any()


@pytest.mark.parametrize("place", ["input", "convolution"])
def test_noise_is_drawn_in_training_and_for_certificates_only(place: Literal["input", "convolution"]) -> None:
    module = build(PixelDpOptions(noise=place), {"channels": 1, "height": 8, "width": 8}, ())
    noise, image = find_noise(module), {"image": torch.rand(2, 1, 8, 8)}
    assert isinstance(noise, AddedNoise)
    module.eval()
    assert torch.equal(module(image), module(image))
    with draw_noise(noise):
        assert not torch.equal(module(image), module(image))
    assert torch.equal(module(image), module(image))
    module.train()
    assert not torch.equal(module(image), module(image))


def test_noise_has_its_deviation() -> None:
    noise = AddedNoise(0.25).train()
    torch.manual_seed(1)
    assert float(noise(torch.zeros(40_000)).std()) == pytest.approx(0.25, rel=0.02)


def test_images_that_are_too_small_are_refused() -> None:
    with pytest.raises(ModelError, match="expects a height of at least 8, got 4"):
        build(PixelDpOptions(filters=(2, 2, 2)), {"channels": 1, "height": 4, "width": 8}, ())
