from typing import cast

import pytest
import torch

from models.errors import ModelError
from models.imaging.md_gru import MODEL, MdGruOptions, build

PAPER = cast(MdGruOptions, MODEL.presets["paper"])
SMALL = cast(MdGruOptions, MODEL.presets["small"])


def sizes(depth: int, height: int, width: int, channels: int = 1) -> dict[str, int]:
    return {"channels": channels, "depth": depth, "height": height, "width": width}


@pytest.mark.parametrize(("channels", "classes"), [(1, 3), (3, 4)])
def test_paper_form_has_the_counted_parameters(channels: int, classes: int) -> None:
    module = build(PAPER, sizes(2, 2, 2, channels), (classes, 2, 2, 2))
    blocks = [(channels, 16, 25), (25, 32, 45), (45, 64, classes)]  # into, states and out of each
    walks = sum(6 * (3 * width * (49 * into + 1) + 3 * width * width * 49) for into, width, _ in blocks)
    linear = sum((width + 1) * out for _, width, out in blocks)
    assert sum(each.numel() for each in module.parameters()) == walks + linear


@pytest.mark.parametrize("outputs", [(3, 4, 5), (1, 3, 4, 5), (4, 3, 4, 5)])
def test_mask_has_the_shape_of_the_task_from_each_record_alone(outputs: tuple[int, ...]) -> None:
    module, volumes = build(SMALL, sizes(3, 4, 5, 2), outputs), torch.rand(3, 2, 3, 4, 5)
    together = module({"image": volumes})
    assert together.shape == (3, *outputs)
    alone = torch.cat([module({"image": volumes[one : one + 1]}) for one in range(3)])
    torch.testing.assert_close(together, alone)


def test_every_voxel_sees_the_whole_volume() -> None:
    module = build(SMALL, sizes(3, 4, 4), (3, 4, 4))
    volume = torch.rand(1, 1, 3, 4, 4, requires_grad=True)
    torch.autograd.backward(module({"image": volume})[0, 0, 0, 0])
    assert volume.grad is not None
    assert (volume.grad != 0).all()


def test_an_image_is_a_volume_of_depth_one() -> None:
    module, image = build(SMALL, sizes(1, 8, 8), (1, 8, 8)), torch.rand(2, 1, 1, 8, 8)
    assert module({"image": image}).shape == (2, 1, 8, 8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"states": (4, 4), "features": (4, 4)}, "expected 1, got 2"),
        ({"kernel": 4}, "kernel must be odd, got 4"),
    ],
)
def test_options_that_do_not_fit_together_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        MODEL.check_options("md-gru", options)
