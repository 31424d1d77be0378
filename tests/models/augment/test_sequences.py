from typing import Any

import pytest
import torch
from torch.nn.functional import one_hot

from tests.models.augment.steps import apply

OPPOSITE = {"A": "T", "C": "G", "G": "C", "T": "A", "N": "N"}
FORWARD = ["ACGTTN", "GGCATA", "TTTACG"]
BACKWARD = ["".join(OPPOSITE[base] for base in reversed(word)) for word in FORWARD]
SURE: dict[str, Any] = {"kind": "reverse_complement", "tensors": ["bases"], "chance": 1}


def encode(words: list[str], alphabet: str) -> torch.Tensor:
    return torch.tensor([[alphabet.index(base) for base in word] for word in words])


def encode_one_hot(words: list[str]) -> torch.Tensor:
    """(records, 4, positions); N has no letter."""
    return one_hot(encode(words, "ACGTN"), 5)[..., :4].movedim(-1, -2).float()


def test_letters_first_are_read_on_the_other_strand() -> None:
    inputs, _ = apply(SURE, {"bases": encode_one_hot(FORWARD)})
    assert BACKWARD[0] == "NAACGT"
    assert torch.equal(inputs["bases"], encode_one_hot(BACKWARD))


def test_letters_last_are_read_on_the_other_strand() -> None:
    inputs, _ = apply({**SURE, "letters": "last"}, {"bases": encode_one_hot(FORWARD).mT.contiguous()})
    assert torch.equal(inputs["bases"], encode_one_hot(BACKWARD).mT)


def test_ids_are_read_on_the_other_strand_and_zero_stays_no_base() -> None:
    step = {**SURE, "complement": [0, 4, 3, 2, 1]}
    inputs, _ = apply(step, {"bases": encode(FORWARD, "NACGT")})
    assert torch.equal(inputs["bases"], encode(BACKWARD, "NACGT"))


@pytest.mark.parametrize("seed", [1, 2])
def test_reverse_complement_twice_changes_nothing(seed: int) -> None:
    step = {**SURE, "chance": 0.5}
    bases = torch.rand(30, 4, 9)
    once, _ = apply(step, {"bases": bases}, seed=seed)
    twice, _ = apply(step, once, seed=seed)
    assert not torch.equal(once["bases"], bases)
    assert torch.equal(twice["bases"], bases)


def test_marks_of_positions_are_reversed_with_their_sequence() -> None:
    bases = encode_one_hot([*FORWARD] * 10)
    marks = bases[:, 0] > 0  # where there is an A; after the exchange where there was a T
    inputs, targets = apply({**SURE, "chance": 0.5, "positions": ["marks"]}, {"bases": bases}, {"marks": marks})
    turned = (inputs["bases"] != bases).flatten(1).any(1)
    assert 0 < int(turned.sum()) < 30
    assert torch.equal(targets["marks"][~turned], marks[~turned])
    assert torch.equal(targets["marks"][turned], inputs["bases"][turned, 3] > 0)
