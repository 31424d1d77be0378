from typing import Any

import pytest
import torch

from models.augment.augmentation import make_augmentation
from models.errors import ModelError
from privacy.study.augmentation import Augmentation
from tests.models.augment.steps import apply, seeded

ALL: list[dict[str, Any]] = [
    {"kind": "flip", "tensors": ["image", "mask"]},
    {"kind": "quarter_turn", "tensors": ["image", "mask"]},
    {"kind": "rotate", "tensors": ["image", "mask"]},
    {"kind": "translate", "tensors": ["image", "mask"]},
    {"kind": "crop", "tensors": ["image", "mask"]},
    {"kind": "scale", "tensors": ["image", "mask"], "chance": 0.5},
    {"kind": "contrast", "tensors": ["image"]},
    {"kind": "noise", "tensors": ["image"]},
    {"kind": "stain", "tensors": ["section"]},
    {"kind": "reverse_complement", "tensors": ["bases"]},
    {"kind": "drop_words", "tensors": ["codes"]},
]


def draw_batch() -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    random = seeded(1)
    inputs = {
        "image": torch.rand(6, 2, 9, 9, generator=random),
        "section": torch.rand(6, 3, 5, 5, generator=random),
        "bases": torch.rand(6, 4, 7, generator=random),
        "codes": torch.randint(1, 9, (6, 20), generator=random),
        "age": torch.rand(6, generator=random),
    }
    return inputs, {"mask": inputs["image"][:, 0] > 0.5, "label": torch.arange(6)}


@pytest.mark.parametrize("steps", [*([step] for step in ALL), ALL], ids=lambda steps: str(steps[-1]["kind"]))
def test_augmentation_keeps_shapes_and_types_and_repeats_with_the_generator(steps: list[dict[str, Any]]) -> None:
    augment = make_augmentation(Augmentation.model_validate({"steps": steps}))
    batch = draw_batch()
    first, again = augment(*batch, seeded(3)), augment(*batch, seeded(3))
    other = augment(*batch, seeded(4))
    for part, before in enumerate(batch):
        assert list(first[part]) == list(before)
        for name, tensor in before.items():
            assert (first[part][name].shape, first[part][name].dtype) == (tensor.shape, tensor.dtype)
            assert torch.equal(first[part][name], again[part][name])
            assert torch.equal(tensor, draw_batch()[part][name])  # what was given is not changed
    name = steps[-1]["tensors"][0]
    assert not torch.equal(first[0][name], other[0][name])
    assert torch.equal(first[0]["age"], batch[0]["age"])
    assert torch.equal(first[1]["label"], batch[1]["label"])


@pytest.mark.parametrize("step", ALL, ids=lambda step: str(step["kind"]))
def test_no_record_meets_another_one(step: dict[str, Any]) -> None:
    inputs, targets = draw_batch()
    before = apply(step, inputs, targets)
    for each in (inputs, targets):
        for name in each:
            each[name] = torch.cat([each[name][:1], each[name].roll(1, 0)[1:]])  # all but the first are others
    after = apply(step, inputs, targets)
    for one, two in zip(before, after, strict=True):
        for name in one:
            torch.testing.assert_close(one[name][0], two[name][0])


def test_equal_records_get_draws_of_their_own() -> None:
    image = torch.rand(1, 1, 9, 9).expand(64, 1, 9, 9)
    varied, _ = apply({"kind": "rotate"}, {"image": image})
    assert len({tuple(each.flatten().tolist()) for each in varied["image"]}) == 64


def test_steps_run_in_their_order() -> None:
    zeros = {"image": torch.zeros(4, 8, 8)}
    noise = {"kind": "noise", "tensors": ["image"]}
    emptied = {"kind": "drop_words", "tensors": ["image"], "part": 0.9}
    first = make_augmentation(Augmentation.model_validate({"steps": [noise, emptied]}))(zeros, {}, seeded(1))[0]
    last = make_augmentation(Augmentation.model_validate({"steps": [emptied, noise]}))(zeros, {}, seeded(1))[0]
    assert float((first["image"] == 0).float().mean()) > 0.7
    assert not (last["image"] == 0).any()


def test_missing_tensor_is_named() -> None:
    with pytest.raises(ModelError, match="augmentation, flip: there is no tensor 'image' to vary, only scan, mask"):
        apply({"kind": "flip"}, {"scan": torch.rand(2, 4, 4)}, {"mask": torch.rand(2, 4, 4)})
    with pytest.raises(ModelError, match="augmentation, noise: there is no tensor 'mask' to vary, only scan"):
        apply({"kind": "noise", "tensors": ["mask"]}, {"scan": torch.rand(2, 4, 4)}, {"mask": torch.rand(2, 4, 4)})
