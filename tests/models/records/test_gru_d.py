from typing import Any

import numpy as np
import pytest
import torch

from models.records.gru_d import carry_forward, compute_decay
from tests.models.records_over_time import build_model, draw_inputs

SIZES = {"time": 6, "variables": 4}


def test_decay_is_the_papers_but_smooth() -> None:
    rate = torch.linspace(-3, 3, 61)
    papers = torch.exp(-torch.clamp(rate, min=0))
    found = compute_decay(rate)
    assert ((found > 0) & (found < 1) | torch.isclose(found, torch.ones(()))).all()
    assert (found.diff() <= 0).all()
    assert float((found.log() - papers.log()).abs().max()) <= np.log(2) / 10 + 1e-6
    torch.testing.assert_close(found[rate >= 1], papers[rate >= 1], rtol=1e-4, atol=0)


def test_decay_of_one_can_still_be_learned() -> None:
    rate = torch.tensor(-1.0, requires_grad=True)
    (gradient,) = torch.autograd.grad(compute_decay(rate), rate)
    assert gradient < 0


def test_last_value_is_carried_forward_and_missing_ones_are_the_middle() -> None:
    values = torch.tensor([9.0, 0.5, 9.0, -0.7, 9.0])[None, :, None]
    observed = torch.tensor([False, True, False, True, False])[None, :, None]
    assert carry_forward(values, observed).flatten().tolist() == pytest.approx([0, 0.5, 0.5, -0.7, -0.7])


def test_output_is_that_of_the_papers_equations() -> None:
    """An independent loop over steps and variables; decays as in the module, where the paper's have no gradient."""
    module, inputs = build_model("gru-d", SIZES, ()), draw_inputs("gru-d", SIZES, [6, 3])
    weights = {key: value.detach().double().numpy() for key, value in module.named_parameters()}
    found = module(inputs).detach().numpy()
    for record, length in enumerate([6, 3]):
        state, last = np.zeros(8), np.zeros(4)
        for step in range(length):
            value, gap = (inputs[key][record, step].double().numpy() for key in ("values", "gaps"))
            seen = inputs["observed"][record, step].numpy()
            last = np.where(seen, value, last)
            fade = _decay(weights["value_decay.weight"] * gap + weights["value_decay.bias"])
            state = state * _decay(weights["state_decay.weight"] @ gap + weights["state_decay.bias"])
            both = np.concatenate([np.where(seen, value, fade * last), seen])
            parts = (weights["units.input.weight"] @ both + weights["units.input.bias"]).reshape(3, 8)
            gates = 1 / (1 + np.exp(-(parts[:2].flatten() + weights["units.gates.weight"] @ state)))
            candidate = np.tanh(parts[2] + weights["units.candidate.weight"] @ (gates[8:] * state))
            state = gates[:8] * state + (1 - gates[:8]) * candidate
        assert found[record] == pytest.approx((weights["head.weight"] @ state + weights["head.bias"])[0], abs=1e-5)


def _decay(rate: Any) -> Any:
    return np.exp(-np.log1p(np.exp(10 * rate)) / 10)


def test_what_stands_in_place_of_missing_values_does_not_matter() -> None:
    module, inputs = build_model("gru-d", SIZES, ()), draw_inputs("gru-d", SIZES, [6, 5])
    other = inputs | {"values": torch.where(inputs["observed"], inputs["values"], 77.0)}
    assert torch.equal(module(inputs), module(other))


def test_missingness_itself_matters() -> None:
    """A value of 0 that was measured is not the same as one that was not."""
    module, inputs = build_model("gru-d", SIZES, ()), draw_inputs("gru-d", SIZES, [6])
    inputs["values"] = torch.zeros_like(inputs["values"])
    other = inputs | {"observed": ~inputs["observed"]}
    assert not torch.allclose(module(inputs), module(other), atol=1e-5)
