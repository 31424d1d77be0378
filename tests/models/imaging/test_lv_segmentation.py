from typing import cast

import pytest
import torch
from torch.nn import functional

from models.errors import ModelError
from models.fit import set_objective
from models.imaging.lv_segmentation import MODEL, LvSegmentation, LvSegmentationOptions, build
from models.layers.sparsity import compute_sparse_losses

PAPER = cast(LvSegmentationOptions, MODEL.presets["paper"])
SMALL = cast(LvSegmentationOptions, MODEL.presets["small"])
SIZES = {"channels": 1, "height": 32, "width": 32}
REGION = 24


def small(**changes: object) -> LvSegmentation:
    return build(SMALL.model_copy(update=changes), SIZES, (32, 32)).eval()


def count(*modules: torch.nn.Module) -> int:
    return sum(each.numel() for module in modules for each in module.parameters())


def place_at(module: LvSegmentation, row: float, column: float) -> None:
    """Make the network find the ventricle at a pixel of the image, whatever the image."""
    grid = torch.full((8, 8), -20.0)
    grid[int(row // 4), int(column // 4)] = 20
    with torch.no_grad():
        module.localiser.place.weight.zero_()
        module.localiser.place.bias.copy_(grid.flatten())


def test_paper_form_has_the_counted_parameters() -> None:
    module = build(PAPER, {"channels": 1, "height": 256, "width": 256}, (256, 256))
    network = count(module.localiser.filters, module.localiser.place)
    assert network == 100 * (121 + 1) + 1024 * (8100 + 1) == 8_307_624
    assert count(module.shape.encoders, module.shape.output) == 100 * 4097 + 100 * 101 + 4096 * 101 == 833_496
    decoders = 121 * 101 + 4096 * 101 + 100 * 101
    assert count(module) == network + 833_496 + decoders == 9_577_137


@pytest.mark.parametrize(("row", "column"), [(14, 18), (10, 22), (2, 30)])
def test_mask_is_drawn_around_the_place_that_the_network_finds(row: int, column: int) -> None:
    """The square's corner is where the place lies in its middle, as far as the image reaches."""
    module = small(shape_side=REGION)
    place_at(module, row, column)
    with torch.no_grad():
        module.shape.output.weight.zero_()
        module.shape.output.bias.copy_(torch.arange(REGION**2))
    image = torch.rand(1, 1, 32, 32)
    mask = module({"image": image})[0]
    top, left = (min(max(4 * (each // 4) + 2 - REGION // 2, 0), 32 - REGION) for each in (row, column))
    wanted = torch.full((32, 32), -6.0)
    wanted[top : top + REGION, left : left + REGION] = torch.arange(REGION**2).view(REGION, REGION).float()
    torch.testing.assert_close(mask, wanted)


def test_autoencoder_sees_the_region_alone() -> None:
    module = small(shape_side=REGION)
    place_at(module, 14, 18)
    image = torch.rand(2, 1, 32, 32)
    image[1, :, 2:26, 6:30] = image[0, :, 2:26, 6:30]
    image[1, :, :2] += 1
    masks = module({"image": image})
    torch.testing.assert_close(masks[0], masks[1])
    image[1, :, 20, 20] += 1
    assert not torch.equal(*module({"image": image}))


def test_location_is_the_networks_own_outline_on_the_whole_image() -> None:
    module, images = small(), torch.rand(2, 1, 32, 32)
    set_objective(module, "location")
    coarse = module.localiser(functional.avg_pool2d(images, 2))
    wanted = functional.interpolate(coarse[:, None], (32, 32), mode="bilinear")[:, 0]
    torch.testing.assert_close(module({"image": images}), wanted)


def test_patches_in_training_are_drawn_anew_and_lie_within_the_image() -> None:
    module = small(patches=200)
    module.train()
    rows, columns = module.localiser._draw_corners(torch.rand(3, 1, 16, 16))
    assert rows.shape == columns.shape == (3, 200)
    for corners in (rows, columns):
        assert sorted(set(corners.flatten().tolist())) == list(range(16 - SMALL.kernel + 1))


def test_patch_losses_are_those_of_a_loop() -> None:
    module, coarse = small(), torch.rand(3, 1, 16, 16)
    localiser = module.localiser
    rows, columns = localiser._draw_corners(coarse)
    wanted = []
    for image, own_rows, own_columns in zip(coarse, rows.tolist(), columns.tolist(), strict=True):
        patches = torch.stack([image[0, r : r + 5, c : c + 5] for r, c in zip(own_rows, own_columns, strict=True)])
        weight, bias = localiser.filters.weight.flatten(1), localiser.filters.bias
        assert bias is not None
        codes = torch.sigmoid(patches.flatten(1) @ weight.T + bias)
        errors = (localiser.decoder(codes) - patches.flatten(1)).square().mean() / 2
        means = codes.mean(0)
        penalty = 0.1 * torch.log(0.1 / means) + 0.9 * torch.log(0.9 / (1 - means))
        wanted.append(errors + 3 * penalty.mean())
    torch.testing.assert_close(localiser.compute_patch_losses(coarse), torch.stack(wanted))


def test_sparse_loss_of_units_as_active_as_they_should_be_is_the_error_alone() -> None:
    values, means = torch.rand(4, 6), torch.full((4, 3), 0.1)
    found = compute_sparse_losses(values, values - 0.2, means, 0.1, 3.0)
    torch.testing.assert_close(found, torch.full((4,), 0.02))
    assert torch.isfinite(compute_sparse_losses(values, values, torch.tensor([[0.0, 1.0]] * 4), 0.1, 3.0)).all()


@pytest.mark.parametrize(
    ("sizes", "outputs", "message"),
    [
        (SIZES, (2, 32, 32), "outlines one structure: .* got 2 classes"),
        (SIZES | {"width": 64}, (32, 64), "square images of one channel, got 1x32x64"),
        (SIZES | {"channels": 3}, (32, 32), "got 3x32x32"),
        ({"channels": 1, "height": 40, "width": 40}, (40, 40), "a multiple of coarse_side, 16 pixels, .* got 40"),
        ({"channels": 1, "height": 16, "width": 16}, (16, 16), "no smaller than region, 24, got 16"),
    ],
)
def test_images_that_do_not_suit_are_refused(sizes: dict[str, int], outputs: tuple[int, ...], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        build(SMALL, sizes, outputs)
