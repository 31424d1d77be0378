from typing import cast

import pytest
import torch
from torch import nn

from models.errors import ModelError
from models.imaging.ternausnet11 import MODEL, build
from models.layers.vgg_unet import VggUnetOptions
from tests.models.imaging.networks import list_shapes, mirror_kernels

PAPER = cast(VggUnetOptions, MODEL.presets["paper"])
SMALL = cast(VggUnetOptions, MODEL.presets["small"])

VGG11_CONVOLUTIONS = 9_220_480  # of the 132,863,336 parameters of VGG-11; the others are its three linear layers


def sizes(height: int, width: int, channels: int = 3) -> dict[str, int]:
    return {"channels": channels, "height": height, "width": width}


def count(module: nn.Module) -> int:
    return sum(each.numel() for each in module.parameters())


def test_paper_form_has_the_counted_parameters() -> None:
    module = build(PAPER, sizes(32, 32), (32, 32))
    # in, middle, out of every block of the decoder, as in the paper's figure
    blocks = [(512, 512, 256), (768, 512, 256), (768, 512, 128), (384, 256, 64), (192, 128, 32)]
    decoder = sum(9 * into * middle + middle + 16 * middle * out + out for into, middle, out in blocks)
    last = 9 * 96 * 32 + 32 + 32 + 1
    assert count(module.encoder) == VGG11_CONVOLUTIONS
    assert count(module) == VGG11_CONVOLUTIONS + decoder + last == 25_364_513


def test_centre_is_a_thirty_second_and_each_block_doubles_it() -> None:
    module = build(VggUnetOptions(filters=1), sizes(64, 96), (64, 96))
    image = {"image": torch.zeros(1, 3, 64, 96)}
    assert list_shapes(module, nn.MaxPool2d, image)[-1] == (16, 2, 3)
    doubled = [(8, 4, 6), (8, 8, 12), (4, 16, 24), (2, 32, 48), (1, 64, 96)]
    assert list_shapes(module, nn.ConvTranspose2d, image) == doubled


@pytest.mark.parametrize("outputs", [(32, 64), (4, 32, 64)])
def test_mask_has_the_shape_of_the_task_from_each_record_alone(outputs: tuple[int, ...]) -> None:
    module, images = build(SMALL, sizes(32, 64), outputs), torch.rand(3, 3, 32, 64)
    together = module({"image": images})
    assert together.shape == (3, *outputs)
    alone = torch.cat([module({"image": images[one : one + 1]}) for one in range(3)])
    torch.testing.assert_close(together, alone)


def test_mirrored_kernels_give_the_mirrored_mask() -> None:
    module, images = build(SMALL, sizes(32, 64), (32, 64)), torch.rand(2, 3, 32, 64)
    mask = module({"image": images})
    mirror_kernels(module)
    torch.testing.assert_close(module({"image": images.flip(-1)}), mask.flip(-1))


def test_activations_leave_their_input_as_it_was() -> None:
    module = build(VggUnetOptions(filters=1), sizes(32, 32), (32, 32))
    assert not any(getattr(layer, "inplace", False) for layer in module.modules())


@pytest.mark.parametrize(("image", "axis", "got"), [((48, 32), "height", 48), ((32, 31), "width", 31)])
def test_image_that_is_no_multiple_of_32_is_refused(image: tuple[int, int], axis: str, got: int) -> None:
    with pytest.raises(ModelError, match=f"'ternausnet11' expects a {axis} that is a multiple of 32, got {got}"):
        build(SMALL, sizes(*image), image)
