"""Scaling is what its table says: against a plain loop, and against Pillow's filters."""

import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.data.conversion.images.resampling import Rule, compute_weights, fit_centre, scale_axes

IMAGE = np.random.default_rng(3).uniform(-50, 200, (13, 17))


@pytest.mark.parametrize("size", [(13, 17), (5, 6), (26, 34), (1, 40), (7, 17)])
@pytest.mark.parametrize(
    ("rule", "theirs"), [("area", PIL.Image.Resampling.BOX), ("linear", PIL.Image.Resampling.BILINEAR)]
)
def test_image_is_scaled_as_pillow_scales_it(size: tuple[int, int], rule: Rule, theirs: int) -> None:
    """Pillow's box filter takes whole pixels by their centres: the same only where the scale is a whole number."""
    picture = PIL.Image.fromarray(IMAGE.astype(np.float32))
    expected = np.array(picture.resize(size[::-1], theirs))
    if rule == "linear" or all(
        before % after == 0 or after % before == 0 for before, after in zip(IMAGE.shape, size, strict=True)
    ):
        np.testing.assert_allclose(scale_axes(IMAGE, size, rule), expected, rtol=1e-4, atol=1e-3)


@given(st.integers(1, 40), st.integers(1, 40))
def test_area_is_the_mean_over_the_covered_pixels(before: int, after: int) -> None:
    """Fine steps: every pixel is divided into ``after`` equal parts, and each output takes ``before`` of them."""
    values = np.random.default_rng(before * 41 + after).uniform(0, 1, before)
    expected = np.repeat(values, after).reshape(after, before).mean(axis=1)
    np.testing.assert_allclose(scale_axes(values, [after], "area"), expected, rtol=1e-9)


@given(st.integers(1, 40), st.integers(1, 40))
def test_nearest_takes_the_pixel_at_the_centre(before: int, after: int) -> None:
    found = scale_axes(np.arange(before), [after], "nearest")
    assert found.tolist() == [min(before - 1, (2 * place + 1) * before // (2 * after)) for place in range(after)]


@given(st.integers(1, 60), st.integers(1, 60), st.sampled_from(["area", "linear", "nearest"]))
def test_weights_sum_to_one_and_keep_a_flat_image(before: int, after: int, rule: Rule) -> None:
    places, weights = compute_weights(before, after, rule)
    assert places.min() >= 0
    assert places.max() < before
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    np.testing.assert_allclose(scale_axes(np.full((2, before), 7.0), [2, after], rule), 7.0)


def test_volume_is_scaled_axis_by_axis() -> None:
    volume = np.random.default_rng(1).uniform(0, 1, (1, 4, 6, 8))
    expected = volume.reshape(1, 2, 2, 3, 2, 2, 4).mean(axis=(2, 4, 6))
    np.testing.assert_allclose(scale_axes(volume, [2, 3, 2], "area"), expected)


def test_centre_is_kept_when_an_axis_is_cut_and_another_padded() -> None:
    values = np.arange(10).reshape(1, 5, 2)
    assert fit_centre(values, [3, 5], -1).tolist() == [[[-1, 2, 3, -1, -1], [-1, 4, 5, -1, -1], [-1, 6, 7, -1, -1]]]
