"""Outlines that move to the edges of an image: geometry against closed forms, masks against known truths."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray

from client.cli import cli
from client.prediction.level_set import BAND, Energies, measure_curvature, measure_signed_distance, refine_mask
from privacy.errors import ReleaseError
from tests.client.prediction.released import release_of_catalogue, release_table

Mask = NDArray[np.bool_]
SIDE = 40
ROWS, COLUMNS = np.mgrid[:SIDE, :SIDE]


def make_disc(row: float, column: float, radius: float) -> Mask:
    return np.asarray(np.hypot(ROWS - row, COLUMNS - column) <= radius)


def compute_dice(one: Mask, other: Mask) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def compute_fit(image: NDArray[np.float64], mask: Mask, near: Mask) -> float:
    """The squared error of one grey value inside and one outside, by its definition."""
    return float(sum(np.var(image[part & near]) * (part & near).sum() for part in (mask, ~mask)))


def test_signed_distance_to_a_straight_edge_is_the_distance_to_its_line() -> None:
    half = np.broadcast_to(COLUMNS < 15, (SIDE, SIDE))
    np.testing.assert_allclose(measure_signed_distance(half), 14.5 - COLUMNS)


@pytest.mark.parametrize("radius", [8.0, 12.0])
def test_curvature_of_a_circle_is_one_over_its_radius(radius: float) -> None:
    distance = np.hypot(ROWS - 20, COLUMNS - 20)
    found = measure_curvature(radius - distance)
    on_the_circle = np.abs(distance - radius) < 0.5
    np.testing.assert_allclose(found[on_the_circle].mean(), -1 / radius, rtol=0.05)


@pytest.mark.parametrize("drawn", [(22, 19, 7), (20, 20, 12), (20, 23, 9)], ids=["small", "large", "beside"])
def test_outline_moves_to_the_edges_of_a_disc(drawn: tuple[float, float, float]) -> None:
    truth, mask = make_disc(20, 20, 9), make_disc(*drawn)
    image = truth + 0.1 * np.random.default_rng(1).standard_normal(truth.shape)
    found = refine_mask(image, mask, Energies(length=0.1, region=2.0, prior=0.02))
    assert compute_dice(found, truth) > compute_dice(mask, truth) + 0.1


def test_region_alone_lowers_the_error_of_two_grey_values() -> None:
    truth, mask = make_disc(20, 20, 9), make_disc(21, 21, 7)
    near = np.abs(measure_signed_distance(mask)) <= BAND
    image = truth.astype(float)
    found = refine_mask(image, mask, Energies(length=0, region=2.0, prior=0), steps=400)
    assert compute_dice(found, truth) > 0.97
    assert compute_fit(image, found, near) < 0.2 * compute_fit(image, mask, near)


@pytest.mark.parametrize("mask", [make_disc(20, 18, 8), (ROWS > 10) & (ROWS < 30) & (COLUMNS < 25)])
def test_outline_stays_where_the_image_is_even(mask: Mask) -> None:
    assert compute_dice(refine_mask(np.zeros((SIDE, SIDE)), mask), mask) > 0.97


def test_structure_far_away_moves_nothing() -> None:
    image, mask = make_disc(12, 12, 7).astype(float), make_disc(13, 12, 6)
    other = image + 5 * make_disc(34, 34, 4)
    np.testing.assert_array_equal(refine_mask(other, mask), refine_mask(image, mask))


@pytest.mark.parametrize("whole", [False, True], ids=["empty", "full"])
def test_mask_without_an_edge_stays(whole: bool) -> None:
    mask = np.full((SIDE, SIDE), whole)
    np.testing.assert_array_equal(refine_mask(np.random.default_rng(1).random(mask.shape), mask), mask)


def test_brightness_and_contrast_of_the_whole_image_change_nothing() -> None:
    image = np.random.default_rng(1).random((SIDE, SIDE)) + make_disc(20, 20, 9)
    mask = make_disc(21, 19, 8)
    np.testing.assert_array_equal(refine_mask(40 * image - 7, mask), refine_mask(image, mask))


def test_outline_of_a_volume_moves_to_its_edges() -> None:
    planes, rows, columns = np.mgrid[:16, :16, :16]
    truth = (planes - 8) ** 2 + (rows - 8) ** 2 + (columns - 8) ** 2 <= 25
    mask = np.roll(truth, 2, axis=0)
    found = refine_mask(truth.astype(float), mask, Energies(region=2.0))
    assert compute_dice(found, truth) > compute_dice(mask, truth) + 0.1


def predict(*words: str | Path) -> Result:
    """The command in this process; expected failures are raised."""
    return CliRunner().invoke(cli, ["predict", *map(str, words)], catch_exceptions=False, standalone_mode=False)


@pytest.mark.parametrize("name", ["unet", "unet-3d"])
def test_refined_masks_stand_beside_those_of_the_model_and_are_judged(name: str, tmp_path: Path) -> None:
    release, data, contract = release_of_catalogue(tmp_path, name, patients=12)
    result = predict(release, data, "--refine", "--out", tmp_path / "masks.npz", "--figures")
    with np.load(tmp_path / "masks.npz") as found, np.load(data) as records:
        images = records[contract.data.list_inputs()[0].name].mean(axis=1, dtype=float)
        wanted = [refine_mask(image, said > 0) for image, said in zip(images, found["class"], strict=True)]
        np.testing.assert_array_equal(found["refined"], np.array(wanted))
        truths = records["mask"].astype(bool)
    dices = [
        compute_dice(one, other) if (one | other).any() else np.nan
        for one, other in zip(wanted, truths, strict=True)
    ]
    row = next(line for line in result.output.splitlines() if line.startswith("mean Dice, refined"))
    assert float(row.split()[3]) == pytest.approx(np.mean(dices), abs=0.002)


def test_model_that_outlines_nothing_is_refused_by_its_task(tmp_path: Path) -> None:
    release, data = release_table(tmp_path)
    with pytest.raises(ReleaseError, match="--refine: the model's task is binary; expected a segmentation of one"):
        predict(release, data, "--refine", "--out", tmp_path / "masks.npz")


def test_refined_masks_need_a_file() -> None:
    result = CliRunner().invoke(cli, ["predict", "release", "data.npz", "--refine"])
    assert result.exit_code == 2
