import torch

from models.layers.masked_softmax import masked_softmax


def test_weights_sum_to_one_over_present_entries() -> None:
    scores = torch.tensor([[1.0, 2.0, 500.0], [3.0, -500.0, 4.0]])
    present = torch.tensor([[True, True, False], [False, True, False]])
    found = masked_softmax(scores, present)
    torch.testing.assert_close(found[0, :2], torch.tensor([1.0, 2.0]).softmax(0))
    torch.testing.assert_close(found[1], torch.tensor([0.0, 1.0, 0.0]))
    assert found[0, 2] == 0


def test_without_a_present_entry_weights_and_gradients_are_zero() -> None:
    scores = torch.randn(2, 3, requires_grad=True)
    found = masked_softmax(scores, torch.tensor([[False] * 3, [True] * 3]))
    (gradient,) = torch.autograd.grad((found * torch.arange(3.0)).sum(), scores)
    assert not found[0].any()
    assert not gradient[0].any()
    assert gradient[1].all()


def test_other_axis() -> None:
    scores = torch.randn(2, 3, 4)
    found = masked_softmax(scores, torch.ones(2, 1, 4, dtype=torch.bool), axis=2)
    torch.testing.assert_close(found, scores.softmax(2))
