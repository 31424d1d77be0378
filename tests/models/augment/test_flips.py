import numpy as np
import pytest
import torch

from tests.models.augment.steps import apply, apply_to_image

IMAGES = torch.arange(2 * 3 * 4 * 5, dtype=torch.float32).reshape(2, 3, 4, 5)


@pytest.mark.parametrize(("axis", "place"), [("width", 3), ("height", 2), ("depth", 1)])
def test_flip_mirrors_one_axis(axis: str, place: int) -> None:
    flipped = apply_to_image({"kind": "flip", "axis": axis, "chance": 1}, IMAGES)
    assert np.array_equal(flipped.numpy(), np.flip(IMAGES.numpy(), place))


@pytest.mark.parametrize("axis", ["width", "height"])
def test_flip_twice_changes_nothing(axis: str) -> None:
    step = {"kind": "flip", "axis": axis}
    images = torch.rand(40, 1, 4, 4)
    once = apply_to_image(step, images)
    assert not torch.equal(once, images)
    assert torch.equal(apply_to_image(step, once), images)  # the same seed draws the same records


def test_flip_varies_about_half_of_the_records_and_leaves_the_others() -> None:
    images = torch.rand(400, 1, 3, 3)
    flipped = apply_to_image({"kind": "flip"}, images)
    changed = (flipped != images).flatten(1).any(1)
    assert 160 < int(changed.sum()) < 240
    assert torch.equal(flipped[changed], images[changed].flip(-1))


def test_quarter_turns_are_those_of_numpy_and_each_as_likely() -> None:
    images = torch.rand(400, 2, 5, 5)
    turned = apply_to_image({"kind": "quarter_turn"}, images).numpy()
    found = [0, 0, 0, 0]
    for before, after in zip(images.numpy(), turned, strict=True):
        equal = [np.array_equal(np.rot90(before, number, (1, 2)), after) for number in range(4)]
        assert sum(equal) == 1
        found[equal.index(True)] += 1
    assert all(70 < number < 130 for number in found)


@pytest.mark.parametrize("step", [{"kind": "flip"}, {"kind": "quarter_turn"}])
def test_mask_follows_its_image(step: dict[str, str]) -> None:
    images = torch.rand(30, 3, 6, 6)
    mask = images[:, 0] > 0.5
    inputs, targets = apply({**step, "tensors": ["image", "mask"]}, {"image": images}, {"mask": mask})
    assert targets["mask"].dtype == torch.bool
    assert torch.equal(targets["mask"], inputs["image"][:, 0] > 0.5)
    assert not torch.equal(targets["mask"], mask)
