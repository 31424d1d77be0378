"""An image as its file has it becomes what the contract asks for, number by number."""

import itertools
from typing import Any

import nibabel
import numpy as np
import pytest

from client.data.adapters.imaging.image import DisplayWindow, Image
from client.data.conversion.images.image_tensors import (
    ClippedPixels,
    find_real_slices,
    make_mask,
    make_tensor,
    orient,
    require_same_place,
)
from privacy.errors import DataError
from privacy.study.data.images import ImageInput


def ask(height: int = 2, width: int = 2, **more: Any) -> ImageInput:
    return ImageInput.model_validate(
        {"height": height, "width": width, "values": {"kind": "full-range"}, "resize": "none"} | more
    )


def make(image: Image, asked: ImageInput) -> list[Any]:
    return [each.tolist() for each in make_tensor(image, asked, ClippedPixels())]


def test_full_range_is_the_share_of_what_the_bits_hold() -> None:
    stored = np.array([[[0, 51], [102, 255]]], dtype=np.uint8)
    assert make(Image(stored, (0.0, 255.0)), ask()) == pytest.approx(np.array([[[0, 0.2], [0.4, 1]]]))
    deep = (stored.astype(np.uint16)) * 257
    assert make(Image(deep, (0.0, 65535.0)), ask()) == pytest.approx(np.array([[[0, 0.2], [0.4, 1]]]))
    inverted = Image(stored, (0.0, 255.0), is_inverted=True)
    assert make(inverted, ask()) == pytest.approx(np.array([[[1, 0.8], [0.6, 0]]]))
    signed = Image(np.array([[[-8, 7], [0, 0]]], dtype=np.int16), (-8.0, 7.0))
    assert make(signed, ask())[0][0] == [0.0, 1.0]
    with pytest.raises(DataError, match="without a full range"):
        make(Image(stored), ask())


def test_window_keeps_real_units_clips_and_counts() -> None:
    clipped = ClippedPixels()
    window = ask(values={"kind": "window", "low": -160, "high": 240})
    image = Image(np.array([[[-1000, -160], [40, 3000]]], dtype=np.float32))
    assert make_tensor(image, window, clipped).tolist() == [[[-160, -160], [40, 240]]]
    assert clipped == ClippedPixels(4, 1, 1)
    with pytest.raises(DataError, match="MONOCHROME1"):
        make(Image(image.values, is_inverted=True), window)


def test_own_range_is_between_percentiles_of_the_image_alone() -> None:
    values = np.random.default_rng(0).uniform(0, 900, (1, 20, 20)).astype(np.float32)
    asked = ask(20, 20, values={"kind": "own-range", "low": 5, "high": 90})
    ordered = np.sort(values.ravel().astype(np.float64))
    places = [0.05 * 399, 0.90 * 399]  # linear between the two nearest
    low, high = (
        ordered[int(place)] + (place % 1) * (ordered[int(place) + 1] - ordered[int(place)]) for place in places
    )
    expected = np.clip((values - low) / (high - low), 0, 1)
    assert np.array(make(Image(values), asked)) == pytest.approx(expected, abs=1e-6)
    with pytest.raises(DataError, match="one number nearly everywhere"):
        make(Image(np.full((1, 20, 20), 3.0)), asked)


def test_display_is_the_file_s_own_window() -> None:
    image = Image(np.array([[[0, 50], [75, 100]]]), display=DisplayWindow(50, 100, "LINEAR_EXACT"))
    assert make(image, ask(values={"kind": "display"})) == [[[0, 0.5], [0.75, 1]]]
    with pytest.raises(DataError, match="no display window"):
        make(Image(image.values), ask(values={"kind": "display"}))


def test_colours_become_grey_by_the_formula_and_grey_becomes_colours() -> None:
    colours = np.array([[[255, 0]], [[0, 255]], [[0, 0]]], dtype=np.uint8)
    found = make(Image(colours, (0.0, 255.0)), ask(1, 2))
    assert np.array(found) == pytest.approx(np.array([[[0.299, 0.587]]]))
    same = np.broadcast_to(np.array([[[51, 102]]], dtype=np.uint8), (3, 1, 2))
    assert make(Image(same, (0.0, 255.0)), ask(1, 2)) == make(Image(same[:1], (0.0, 255.0)), ask(1, 2))
    three = make(Image(same[:1], (0.0, 255.0)), ask(1, 2, colour="rgb"))
    assert three[0] == three[1] == three[2]


def test_number_that_is_none_is_refused() -> None:
    with pytest.raises(DataError, match="no number"):
        make(
            Image(np.array([[[np.nan, 1]]], dtype=np.float32)), ask(values={"kind": "window", "low": 0, "high": 1})
        )


@pytest.mark.parametrize(
    ("resize", "expected"),
    [
        ("stretch", [[0.5, 0.5], [0.5, 0.5]]),
        ("pad", [[0.0, 0.0], [0.5, 0.5]]),  # 2 x 4 becomes 1 x 2
        ("crop", [[0.25, 0.75], [0.75, 0.25]]),  # the middle of 2 x 4
        ("none", [[0.25, 0.75], [0.75, 0.25]]),
    ],
)
def test_resize_rules_on_a_wide_image(resize: str, expected: list[list[float]]) -> None:
    values = np.array([[[0.75, 0.25, 0.75, 0.25], [0.25, 0.75, 0.25, 0.75]]])
    found = np.array(make(Image(values, (0.0, 1.0)), ask(resize=resize)))[0]
    if resize == "pad":
        assert sorted(found.ravel().tolist()) == [0.0, 0.0, 0.5, 0.5]
        assert found[0].tolist() in ([0.0, 0.0], [0.5, 0.5])
    else:
        assert found.tolist() == expected


def test_padding_has_the_lowest_value_of_the_window() -> None:
    window = ask(3, 3, values={"kind": "window", "low": -5, "high": 5})
    assert make(Image(np.array([[[4.0]]])), window) == [[[-5, -5, -5], [-5, 4, -5], [-5, -5, -5]]]


def orientations() -> list[str]:
    return [
        "".join(each) for axes in itertools.permutations(["RL", "AP", "SI"]) for each in itertools.product(*axes)
    ]


@pytest.mark.parametrize("code", orientations()[::5])
def test_volume_of_every_orientation_is_turned_as_nibabel_turns_it(code: str) -> None:
    random = np.random.default_rng(0)
    for stored in orientations():
        values = random.integers(0, 99, (2, 3, 4)).astype(np.int16)
        axes = nibabel.orientations.axcodes2ornt(tuple(stored))
        affine = np.zeros((4, 4))
        affine[3, 3] = 1
        affine[:3, 3] = (5, -6, 7)
        for place, (axis, sign) in enumerate(np.asarray(axes).tolist()):
            affine[int(axis), place] = sign * (1.5 + place)
        affine[:3, :3] += 0.05  # a little oblique
        image = nibabel.Nifti1Image(values, affine)
        wanted = nibabel.orientations.axcodes2ornt(tuple(code))
        turn = nibabel.orientations.ornt_transform(nibabel.io_orientation(affine), wanted)
        expected = image.as_reoriented(turn)
        found = orient(Image(values[None], affine=affine), code)
        np.testing.assert_array_equal(found.values[0], np.asarray(expected.dataobj))
        np.testing.assert_allclose(np.asarray(found.affine, np.float64), expected.affine)


def test_volume_without_a_place_is_not_turned() -> None:
    with pytest.raises(DataError, match="does not say how it lies"):
        orient(Image(np.zeros((1, 2, 2, 2))), "RAS")
    turned = np.eye(4)
    turned[:3, :3] = np.array([[1, 1, 0], [0, 0.1, 0], [0, 0, 1]])
    with pytest.raises(DataError, match="obliquely"):
        orient(Image(np.zeros((1, 2, 2, 2)), affine=turned), "RAS")


def volume(shape: tuple[int, ...], spacing: tuple[float, ...] = (1, 1, 1)) -> Image:
    values = np.random.default_rng(2).uniform(0, 1, (1, *shape))
    return Image(values, (0.0, 1.0), affine=np.diag([*spacing, 1.0]))


def test_voxels_are_scaled_to_the_contract_s_size() -> None:
    asked = ask(4, 4, depth=2, orientation="RAS", spacing_mm=[2.0, 1.0, 1.0])
    image = volume((4, 4, 4))
    expected = image.values.reshape(1, 2, 2, 4, 4).mean(axis=2)
    np.testing.assert_allclose(np.array(make(image, asked)), expected, rtol=1e-6)
    assert find_real_slices(image, asked) == range(2)
    assert find_real_slices(volume((3, 4, 4)), ask(4, 4, depth=8, orientation="RAS")) == range(2, 5)


def test_mask_takes_the_class_that_covers_most() -> None:
    mask = np.array([[1, 1, 7, 0], [1, 0, 7, 7]])
    image = Image(np.zeros((1, 2, 4)))
    classes = {0: 0, 1: 1, 7: 2}
    found = make_mask(mask, image, ask(1, 2, resize="stretch"), classes)
    assert found.tolist() == [[1, 2]]
    tie = make_mask(np.array([[1, 1, 7, 7]]), Image(np.zeros((1, 1, 4))), ask(1, 1, resize="stretch"), classes)
    assert tie.tolist() == [[1]]
    assert make_mask(mask, image, ask(2, 4), classes).tolist() == [[1, 1, 2, 0], [1, 0, 2, 2]]


def test_mask_that_does_not_fit_is_refused() -> None:
    image = Image(np.zeros((1, 2, 2)))
    with pytest.raises(DataError, match="another size"):
        make_mask(np.zeros((2, 3)), image, ask(), {0: 0})
    with pytest.raises(DataError, match="no class"):
        make_mask(np.array([[0, 1], [2, 0]]), image, ask(), {0: 0, 1: 1})
    moved = volume((2, 2, 2))
    assert moved.affine is not None
    shifted = np.array(moved.affine)
    shifted[0, 3] = 0.5
    with pytest.raises(DataError, match="lies elsewhere"):
        require_same_place(Image(moved.values, affine=shifted), moved)
    require_same_place(Image(moved.values, affine=moved.affine + 1e-4), moved)
