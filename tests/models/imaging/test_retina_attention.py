from itertools import pairwise
from typing import cast

import pytest
import torch

from models.errors import ModelError
from models.imaging.retina_attention import MODEL, RetinaAttention, RetinaAttentionOptions, build

SMALL = cast(RetinaAttentionOptions, MODEL.presets["small"])
SIZES = {"channels": 3, "height": 17, "width": 22}


@pytest.fixture
def network() -> RetinaAttention:
    torch.manual_seed(0)
    return build(SMALL, SIZES, (2,)).eval()


@pytest.mark.parametrize("preset", ["paper", "wide"])
def test_blocks_scores_and_head_have_the_counted_parameters(preset: str) -> None:
    options = cast(RetinaAttentionOptions, MODEL.presets[preset])
    filters = (3, *options.filters)
    blocks = sum(9 * into * out + out + 2 * out for into, out in pairwise(filters))
    module = build(options, {"channels": 3, "height": 64, "width": 64}, (8,))
    counted = sum(each.numel() for each in module.parameters())
    assert counted == blocks + filters[-1] + 8 * filters[-1] + 8 == {"paper": 61_448, "wide": 391_688}[preset]


def test_output_is_read_from_the_mean_that_attention_weighs(network: RetinaAttention) -> None:
    image = torch.rand(2, 3, 17, 22)
    maps = network.blocks(image)  # (2, 8, 4, 5)
    vector = network.scores.weight.flatten()
    for record in range(2):
        places = [(y, x) for y in range(4) for x in range(5)]
        scores = torch.stack([maps[record, :, y, x] @ vector for y, x in places])
        weights = scores.exp() / scores.exp().sum()
        mean = sum(weight * maps[record, :, y, x] for weight, (y, x) in zip(weights, places, strict=True))
        torch.testing.assert_close(network({"image": image})[record], network.head(mean))


def test_attention_is_spread_over_the_pixels_of_a_place(network: RetinaAttention) -> None:
    image = torch.rand(2, 3, 17, 22)
    found = network.read_attention({"image": image})["image"]
    assert found.shape == image.shape
    torch.testing.assert_close(found.sum((2, 3)), torch.ones(2, 3))
    scores = network.scores(network.blocks(image))
    weights = scores.flatten(1).softmax(1).view_as(scores)
    torch.testing.assert_close(found[:, 1, 4:8, 8:12], (weights[:, 0, 1:2, 2:3] / 16).expand(2, 4, 4))
    assert not found[:, :, 16:].any()  # the edge that no place stands for
    assert not found[:, :, :, 20:].any()


def test_attention_follows_what_the_scores_ask_for(network: RetinaAttention) -> None:
    """Scores of one bright spot: the network looks there, wherever it is."""
    with torch.no_grad():
        network.scores.weight.mul_(50)
    spots = torch.zeros(2, 3, 17, 22)
    spots[0, :, 4:8, 4:8] = spots[1, :, 8:12, 12:16] = 1.0
    first, second = network.read_attention({"image": spots})["image"][:, 0]
    blocks = first[:16, :20].reshape(4, 4, 5, 4).sum((1, 3)), second[:16, :20].reshape(4, 4, 5, 4).sum((1, 3))
    assert blocks[0].argmax() != blocks[1].argmax()


def test_image_that_cannot_be_halved_is_refused() -> None:
    with pytest.raises(
        ModelError, match="with 2 blocks expects a height of at least 4, got 3; write fewer filters"
    ):
        build(SMALL, {**SIZES, "height": 3}, ())
