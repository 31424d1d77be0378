import pytest
import torch
from scipy import ndimage

from tests.models.augment.steps import apply, apply_to_image, repeat_draws


@pytest.mark.parametrize(("outside", "mode"), [("zero", "constant"), ("edge", "nearest")])
def test_translation_is_that_of_scipy(outside: str, mode: str) -> None:
    images = torch.rand(12, 2, 10, 20)
    moved = apply_to_image({"kind": "translate", "part": 0.3, "outside": outside}, images, seed=7)
    down = [round(10 * share) for share in repeat_draws(12, 7, -0.3, 0.3, place=1)]
    right = [round(20 * share) for share in repeat_draws(12, 7, -0.3, 0.3, place=2)]
    assert len({*down}) > 3
    assert len({*right}) > 3
    for one in range(12):
        wanted = ndimage.shift(images[one].numpy(), (0, down[one], right[one]), order=0, mode=mode)
        assert torch.equal(moved[one], torch.from_numpy(wanted))


def test_translation_moves_ids_flags_and_numbers_alike() -> None:
    images = torch.randint(1, 9, (20, 8, 8))
    inputs, targets = apply(
        {"kind": "translate", "part": 0.5, "outside": "zero", "tensors": ["image", "kinds", "mask"]},
        {"image": images.float()},
        {"kinds": images, "mask": images > 4},
    )
    assert targets["kinds"].dtype == torch.int64
    assert torch.equal(targets["kinds"], inputs["image"].long())
    assert torch.equal(targets["mask"], inputs["image"] > 4)


def test_record_that_is_not_chosen_stays() -> None:
    images = torch.rand(50, 1, 9, 9)
    moved = apply_to_image({"kind": "translate", "part": 0.5, "chance": 0.2}, images)
    same = (moved == images).flatten(1).all(1)
    assert 30 <= int(same.sum()) < 50
