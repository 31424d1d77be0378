from typing import cast

import pytest
import torch
from torch import nn

from models.errors import ModelError
from models.imaging.ternausnet16 import MODEL, build
from models.layers.vgg_unet import VggUnetOptions
from tests.models.imaging.networks import list_shapes, mirror_kernels

PAPER = cast(VggUnetOptions, MODEL.presets["paper"])
SMALL = cast(VggUnetOptions, MODEL.presets["small"])

VGG16_CONVOLUTIONS = 14_714_688  # of the 138,357,544 parameters of VGG-16; the others are its three linear layers


def sizes(height: int, width: int, channels: int = 3) -> dict[str, int]:
    return {"channels": channels, "height": height, "width": width}


def count(module: nn.Module) -> int:
    return sum(each.numel() for each in module.parameters())


@pytest.mark.parametrize(("outputs", "classes"), [((32, 32), 1), ((4, 32, 32), 4), ((8, 32, 32), 8)])
def test_paper_form_has_the_counted_parameters(outputs: tuple[int, ...], classes: int) -> None:
    """Instruments against background, their parts, their kinds."""
    module = build(PAPER, sizes(32, 32), outputs)
    blocks = [(512, 512, 256), (768, 512, 256), (768, 512, 256), (512, 256, 64), (192, 128, 32)]
    decoder = sum(9 * into * middle + middle + 16 * middle * out + out for into, middle, out in blocks)
    last = 9 * 96 * 32 + 32 + classes * (32 + 1)
    assert count(module.encoder) == VGG16_CONVOLUTIONS
    assert count(module) == VGG16_CONVOLUTIONS + decoder + last == 32_202_337 + 33 * (classes - 1)


def test_centre_is_a_thirty_second_and_each_block_doubles_it() -> None:
    module = build(VggUnetOptions(filters=1), sizes(64, 96), (64, 96))
    image = {"image": torch.zeros(1, 3, 64, 96)}
    assert list_shapes(module, nn.MaxPool2d, image)[-1] == (16, 2, 3)
    doubled = [(8, 4, 6), (8, 8, 12), (8, 16, 24), (2, 32, 48), (1, 64, 96)]
    assert list_shapes(module, nn.ConvTranspose2d, image) == doubled


def test_mirrored_kernels_give_the_mirrored_mask() -> None:
    module, images = build(SMALL, sizes(32, 64), (4, 32, 64)), torch.rand(2, 3, 32, 64)
    mask = module({"image": images})
    assert mask.shape == (2, 4, 32, 64)
    mirror_kernels(module)
    torch.testing.assert_close(module({"image": images.flip(-1)}), mask.flip(-1))


def test_image_that_is_no_multiple_of_32_is_refused() -> None:
    with pytest.raises(ModelError, match="'ternausnet16' expects a height that is a multiple of 32, got 48"):
        build(SMALL, sizes(48, 32), (48, 32))
