"""Pictures of a segmentation in the page: which records, their outlines, and that nothing else is drawn."""

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from client.cli import cli
from client.release_report.make_report import make_report, read_labelled
from client.release_report.outlines import choose_places, compute_dices, find_edge
from privacy.errors import ReleaseError
from tests.client.prediction.released import release_of_catalogue, release_table


def test_edge_is_what_touches_the_outside() -> None:
    mask = np.zeros((6, 7), bool)
    mask[0:4, 2:6] = True
    wanted = mask.copy()
    wanted[1:3, 3:5] = False
    assert np.array_equal(find_edge(mask), wanted)


def test_dice_of_each_record_is_that_of_a_loop() -> None:
    random = np.random.default_rng(1)
    truths, predictions = random.random((2, 5, 4, 4)) < 0.4
    truths[4] = predictions[4] = False
    found = compute_dices(truths, predictions)
    for one, other, dice in zip(truths[:4], predictions[:4], found[:4], strict=True):
        assert dice == 2 * (one & other).sum() / (one.sum() + other.sum())
    assert np.isnan(found[4])


def test_records_are_chosen_from_the_lowest_dice_to_the_highest() -> None:
    dices = np.array([0.9, np.nan, 0.1, 0.5, 0.7, 0.3])
    assert choose_places(dices, 3) == [2, 3, 1]
    assert choose_places(dices, 99) == [2, 5, 3, 4, 0, 1]
    assert choose_places(dices[:1], 1) == [0]


@pytest.mark.parametrize("name", ["unet", "unet-3d"])
def test_page_shows_the_image_and_both_outlines(name: str, tmp_path: Path) -> None:
    release, data, contract = release_of_catalogue(tmp_path, name, patients=4)
    page = make_report(release, read_labelled(release, data), None, (), pictures=2).decode()
    pictures = re.findall(r'<img src="data:image/png;base64,([^"]*)"', page)
    assert len(pictures) == 6
    assert "img-src data:" in page
    with np.load(data) as arrays:
        images, masks = arrays[contract.data.list_inputs()[0].name][:, 0], arrays["mask"]
    for image, truth in (pictures[:2], pictures[3:5]):
        drawn, outlined = (np.array(Image.open(io.BytesIO(base64.b64decode(each)))) for each in (image, truth))
        times = len(drawn) // images.shape[-1]
        small = drawn[::times, ::times]
        slices, of_masks = (each.reshape(-1, *small.shape) for each in (images, masks))
        place = int(np.abs(np.rint(np.clip(slices, 0, 1) * 255) - small).sum(axis=(1, 2)).argmin())
        np.testing.assert_allclose(small, slices[place] * 255, atol=1)
        edge = find_edge(of_masks[place].repeat(times, 0).repeat(times, 1))
        assert (outlined[edge] == 255).all()
        np.testing.assert_allclose(outlined[~edge], drawn[~edge] * 0.75, atol=1)


def test_page_without_pictures_has_none(tmp_path: Path) -> None:
    release, data, _ = release_of_catalogue(tmp_path, "unet", patients=4)
    page = make_report(release, read_labelled(release, data), None, ()).decode()
    assert "<img" not in page
    assert "img-src" not in page


def test_pictures_of_a_model_that_segments_nothing_are_refused(tmp_path: Path) -> None:
    release, table = release_table(tmp_path)
    with pytest.raises(ReleaseError, match="--pictures: the model's task is binary"):
        make_report(release, read_labelled(release, table), None, (), pictures=1)


def test_command_draws_as_many_as_asked(tmp_path: Path) -> None:
    release, data, _ = release_of_catalogue(tmp_path, "unet", patients=3)
    out = tmp_path / "page.html"
    arguments = ["report", str(release), str(data), "--pictures", "1", "--out", str(out)]
    assert CliRunner().invoke(cli, arguments).exit_code == 0
    assert out.read_text().count("<img") == 3
