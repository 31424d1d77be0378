import torch

from tests.models.augment.steps import apply

STEP = {"kind": "drop_words", "part": 0.3}


def test_dropped_words_are_zero_and_the_others_stay() -> None:
    codes = torch.randint(1, 50, (200, 10))
    inputs, _ = apply({**STEP, "tensors": ["codes"]}, {"codes": codes})
    kept = inputs["codes"] == codes
    assert set(inputs["codes"][~kept].tolist()) == {0}
    assert abs(float(kept.float().mean()) - 0.7) < 5 * (0.3 * 0.7 / 2000) ** 0.5


def test_values_and_flags_are_emptied_in_the_same_places() -> None:
    codes = torch.randint(1, 50, (30, 10))
    before = {"codes": codes, "doses": codes / 50, "known": codes > 0}
    after, _ = apply({**STEP, "tensors": [*before]}, before)
    kept = after["codes"] > 0
    assert 0 < int(kept.sum()) < kept.numel()
    assert torch.equal(after["known"], kept)
    assert torch.equal(after["doses"], torch.where(kept, before["doses"], 0))


def test_targets_keep_their_words() -> None:
    codes = torch.randint(1, 50, (30, 10))
    inputs, targets = apply({**STEP, "tensors": ["codes"]}, {"codes": codes}, {"codes": codes})
    assert torch.equal(targets["codes"], codes)
    assert not torch.equal(inputs["codes"], codes)
