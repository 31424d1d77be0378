import torch

from models.layers.masked_max import masked_max

VALUES = torch.tensor([[[1.0, -5.0], [3.0, -4.0], [9.0, 9.0]]])


def test_largest_value_is_of_present_steps() -> None:
    assert masked_max(VALUES, torch.tensor([[True, True, False]])).tolist() == [[3.0, -4.0]]


def test_record_without_a_step_has_zeros_and_no_gradient() -> None:
    values = VALUES.clone().requires_grad_()
    found = masked_max(values, torch.zeros(1, 3, dtype=torch.bool))
    torch.autograd.backward(found.sum())
    assert found.tolist() == [[0.0, 0.0]]
    assert values.grad is not None
    assert not values.grad.any()
