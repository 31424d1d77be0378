from typing import Any

import pytest
import torch

from models.drugs.seq2seq_fingerprint import MODEL, Seq2SeqFingerprintOptions, build
from models.entry import Count
from tests.models.counting import count_parameters

SIZES = {"compound_length": 6, "compound_letters": 10}
WORDS = torch.tensor([[1, 2, 3, 0, 0, 0], [4, 4, 0, 0, 0, 0], [5, 6, 7, 8, 9, 1], [9, 3, 9, 3, 0, 0]])


def make_module(**options: Any) -> Any:
    torch.manual_seed(0)
    made = Seq2SeqFingerprintOptions(width=16, layers=2, dropout=0.0).model_copy(update=options)
    return build(made, SIZES, (3,)).eval()


@pytest.mark.parametrize("count", MODEL.counts, ids=lambda count: count.preset)
def test_parameters_are_as_many_as_counted(count: Count) -> None:
    assert count_parameters(MODEL, count) == count.parameters


def test_parameters_of_the_paper_are_those_of_torchs_units_without_their_second_biases() -> None:
    letters, width, layers = 40, 256, 3
    units = sum(value.numel() for value in torch.nn.GRU(width, width, layers, device="meta").parameters())
    second = layers * 3 * width
    rest = 2 * letters * width + (width + 1) * letters + layers * width + 1
    assert 2 * (units - second) + rest == MODEL.counts[0].parameters


def test_padding_changes_nothing_and_every_letter_counts() -> None:
    module = make_module()
    short = module.encode({"compound": WORDS[:, :4]})
    long = module.encode({"compound": torch.nn.functional.pad(WORDS[:, :4], (0, 3))})
    torch.testing.assert_close(long, short)
    assert short.shape == (4, 32)
    changed = WORDS.clone()
    changed[2, 0] = 2
    assert not torch.allclose(module.encode({"compound": changed})[2], module.encode({"compound": WORDS})[2])


def test_recovery_is_the_cross_entropy_letter_by_letter_over_the_public_length() -> None:
    module = make_module(recovery=2.0)
    found = module({"compound": WORDS})["own_loss"]
    for row, word in enumerate(WORDS):
        letters = [letter for letter in word.tolist() if letter]
        states, losses = module._encode(word[None]), []
        for place, wanted in enumerate([*letters, 0][:7]):
            logits = module._decode(torch.tensor([letters[:place]], dtype=torch.int64), states)[0, -1]
            losses.append(-torch.log_softmax(logits, 0)[wanted])
        torch.testing.assert_close(found[row], 2.0 * torch.stack(losses).sum() / 7)


def test_molecules_are_written_again_from_their_fingerprints_once_learned() -> None:
    module = make_module(width=24)
    module.objective = "recovery"
    optimiser = torch.optim.Adam(module.parameters(), lr=0.02)
    for _ in range(80):
        optimiser.zero_grad()
        torch.autograd.backward(module({"compound": WORDS})["own_loss"].mean())
        optimiser.step()
    assert torch.equal(module.recover({"compound": WORDS}), WORDS)
    assert module.head.weight.grad is None


def test_decoder_sees_a_molecule_through_its_fingerprint_alone() -> None:
    module = make_module()
    states = module._encode(WORDS)
    first = module._decode(torch.zeros(4, 0, dtype=torch.int64), states)
    other = module._decode(torch.zeros(4, 0, dtype=torch.int64), [state.roll(1, 0) for state in states])
    torch.testing.assert_close(other, first.roll(1, 0))


def test_without_recovery_there_is_the_task_alone() -> None:
    assert set(make_module(recovery=0.0)({"compound": WORDS})) == {"outputs"}
