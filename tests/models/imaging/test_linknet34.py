from typing import cast

import pytest
import torch
from torch import nn
from torch.nn import functional

from models.errors import ModelError
from models.imaging.linknet34 import MODEL, LinkNetOptions, ResidualBlock, build
from tests.models.imaging.networks import list_shapes

PAPER = cast(LinkNetOptions, MODEL.presets["paper"])
SMALL = cast(LinkNetOptions, MODEL.presets["small"])

RESNET34_WITHOUT_HEAD = 21_284_672  # of its 21,797,672 parameters; 512 x 1000 + 1000 are its last layer


def sizes(height: int, width: int, channels: int = 3) -> dict[str, int]:
    return {"channels": channels, "height": height, "width": width}


def count(module: nn.Module) -> int:
    return sum(each.numel() for each in module.parameters())


@pytest.mark.parametrize(("outputs", "classes"), [((32, 32), 1), ((4, 32, 32), 4), ((8, 32, 32), 8)])
def test_paper_form_has_the_counted_parameters(outputs: tuple[int, ...], classes: int) -> None:
    """Instruments against background, their parts, their kinds."""
    module = build(PAPER, sizes(32, 32), outputs)

    def block(into: int, out: int) -> int:
        quarter = into // 4
        squeeze, expand = (into + 1) * quarter, (quarter + 1) * out
        return squeeze + (16 * quarter + 1) * quarter + expand + 2 * (quarter + quarter + out)

    decoder = sum(block(*pair) for pair in [(512, 256), (256, 128), (128, 64), (64, 64)])
    last = (9 * 64 + 1) * 32 + (9 * 32 + 1) * 32 + (4 * 32 + 1) * classes
    assert count(module.stem) + count(module.stages) == RESNET34_WITHOUT_HEAD
    assert count(module) == RESNET34_WITHOUT_HEAD + decoder + last == 21_794_721 + 129 * (classes - 1)


def test_paper_form_has_34_layers_with_weights_and_no_batch_normalisation() -> None:
    module = build(PAPER, sizes(32, 32), (32, 32))
    convolutions = [
        each for each in (*module.stem.modules(), *module.stages.modules()) if isinstance(each, nn.Conv2d)
    ]
    # 33 and ResNet's last layer; the three 1x1 convolutions beside widening blocks do not count
    assert len([each for each in convolutions if each.kernel_size != (1, 1)]) == 33
    assert not any(isinstance(each, nn.modules.batchnorm._BatchNorm) for each in module.modules())


def test_stages_halve_and_blocks_double_until_the_mask_is_as_large_as_the_image() -> None:
    module = build(SMALL, sizes(64, 96), (64, 96))
    image = {"image": torch.zeros(1, 3, 64, 96)}
    blocks = [(4, 16, 24), (8, 8, 12), (16, 4, 6), (32, 2, 3)]
    assert list_shapes(module, ResidualBlock, image) == blocks
    doubled = [(8, 4, 6), (4, 8, 12), (2, 16, 24), (1, 32, 48), (2, 65, 97)]
    assert list_shapes(module, nn.ConvTranspose2d, image) == doubled


def test_residual_block_adds_its_input_by_hand() -> None:
    block = ResidualBlock(LinkNetOptions(filters=4, norm="none"), 4, 4, 1)
    first, second = (each.weight for each in block.convolutions if isinstance(each, nn.Conv2d))
    maps = torch.rand(2, 4, 6, 6)
    found = functional.conv2d(functional.conv2d(maps, first, padding=1).relu(), second, padding=1)
    torch.testing.assert_close(block(maps), (found + maps).relu())


@pytest.mark.parametrize("outputs", [(32, 64), (4, 32, 64)])
def test_mask_has_the_shape_of_the_task_from_each_record_alone(outputs: tuple[int, ...]) -> None:
    module, images = build(SMALL, sizes(32, 64), outputs), torch.rand(3, 3, 32, 64)
    together = module({"image": images})
    assert together.shape == (3, *outputs)
    alone = torch.cat([module({"image": images[one : one + 1]}) for one in range(3)])
    torch.testing.assert_close(together, alone)


def test_sizes_and_filters_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ModelError, match="'linknet34' expects a width that is a multiple of 32, got 48"):
        build(SMALL, sizes(32, 48), (32, 48))
    with pytest.raises(ModelError, match=r"model.options.filters: .* multiple of 4"):
        MODEL.check_options("linknet34", {"filters": 6})
