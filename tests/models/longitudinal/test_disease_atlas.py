import math
from statistics import NormalDist

import pytest
import torch
from torch.nn import functional

from models.catalogue import find_model
from models.errors import ModelError
from models.longitudinal.disease_atlas import (
    DiseaseAtlasOptions,
    build,
    compute_log_probabilities,
    compute_normal_loss,
)
from tests.models.records_over_time import build_model, draw_inputs

SIZES = {"time": 6, "variables": 4}


def test_probabilities_are_those_of_the_piecewise_exponential_model() -> None:
    """Against the integral of rate times survival, in small steps of time."""
    rates = torch.rand(3, 2, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 0.01
    found = compute_log_probabilities(rates).exp()
    torch.testing.assert_close(found.sum(1), torch.ones(3, dtype=torch.float64))
    steps = 20_000
    fine = rates.repeat_interleave(steps, dim=2) / steps  # (records, causes, 4 * steps)
    before = torch.exp(-(fine.sum(1).cumsum(1) - fine.sum(1) / 2))  # in the middle of a small step
    want = (fine * before.unsqueeze(1)).view(3, 2, 4, steps).sum(3)
    torch.testing.assert_close(found[:, :-1].view(3, 2, 4), want, rtol=1e-6, atol=0)
    torch.testing.assert_close(found[:, -1], torch.exp(-rates.sum((1, 2))))


@pytest.mark.parametrize("rate", [1e-4, 50.0])
def test_probabilities_of_the_least_and_of_a_great_rate_are_finite(rate: float) -> None:
    rates = torch.full((1, 2, 5), rate, requires_grad=True)
    found = compute_log_probabilities(rates)
    torch.autograd.backward(found.sum())
    assert torch.isfinite(found).all()
    assert rates.grad is not None
    assert torch.isfinite(rates.grad).all()


def test_normal_loss_is_minus_the_log_density_without_its_constant() -> None:
    mean, values = torch.tensor([0.3, -1.0]), torch.tensor([0.1, 1.0])
    deviation = torch.tensor([-0.7, 1.2])
    found = compute_normal_loss(mean, deviation, values)
    for place in range(2):
        spread = math.exp(3 * math.tanh(float(deviation[place]) / 3))
        density = NormalDist(float(mean[place]), spread).pdf(float(values[place]))
        assert float(found[place]) == pytest.approx(-math.log(density) - 0.5 * math.log(2 * math.pi), rel=1e-5)


@torch.no_grad()
def test_own_loss_is_the_mean_over_pairs_of_visits() -> None:
    """A loop over every pair of a visit and a later one, and what was measured at the later one."""
    module, inputs = build_model("disease-atlas", SIZES, (9,)), draw_inputs("disease-atlas", SIZES, [5, 3])
    read = module._read(inputs)
    found = module(inputs)["own_loss"]
    for record in range(2):
        losses = []
        for start in range(6):
            for end in range(start + 1, 6):
                ahead = read.times[record, end] - read.times[record, start]
                at = torch.cat([read.states[record, start], ahead[None]])
                numbers, answer = module.numbers(at), module.answers(at)
                for variable in range(4):
                    if not read.observed[record, end, variable]:
                        continue
                    value = inputs["values"][record, end, variable]
                    if variable < 3:
                        losses.append(compute_normal_loss(numbers[variable], numbers[3 + variable], value))
                    else:
                        yes = (value > 0).float()
                        losses.append(functional.binary_cross_entropy_with_logits(answer[0], yes))
        assert float(found[record]) == pytest.approx(float(torch.stack(losses).mean()), rel=1e-5)


def test_time_of_a_visit_is_the_sum_of_what_was_waited() -> None:
    module, inputs = build_model("disease-atlas", SIZES, (9,)), draw_inputs("disease-atlas", SIZES, [6])
    waited = inputs["gaps"][0].min(1).values
    torch.testing.assert_close(module._read(inputs).times[0], waited.cumsum(0))


@torch.no_grad()
def test_first_rates_expect_about_one_event_in_the_whole_range() -> None:
    module = build(DiseaseAtlasOptions(), {"time": 6, "variables": 4}, (21,))
    for parameter in module.events[-1].parameters():
        parameter.zero_()
    module.eval()
    outputs = module(draw_inputs("disease-atlas", SIZES, [4]))["outputs"][0]
    assert float(outputs[-1]) == pytest.approx(-1.0, abs=0.01)


def test_one_dropout_mask_serves_all_visits_of_a_record() -> None:
    module = build(DiseaseAtlasOptions(dropout=0.5), SIZES, (21,)).train()
    torch.manual_seed(0)
    dropped = module._drop(torch.ones(3, 6, 20))
    assert torch.equal(dropped, dropped[:, :1].expand_as(dropped))
    assert not torch.equal(dropped[0], dropped[1])


def test_outputs_and_variables_that_do_not_fit_are_refused() -> None:
    entry = find_model("disease-atlas")
    for outputs in [(8,), (1,), (), (2, 9)]:
        with pytest.raises(ModelError, match=r"model.options.causes: 'disease-atlas' has 2 causes"):
            entry.build(entry.presets["small"], SIZES, outputs)
    with pytest.raises(ModelError, match="5 variables are yes or no, but the data have 4 in all"):
        build(DiseaseAtlasOptions(yes_or_no=5), SIZES, (9,))


def test_all_variables_may_be_of_one_kind() -> None:
    for answers in (0, 4):
        module = build(DiseaseAtlasOptions(yes_or_no=answers), SIZES, (9,)).eval()
        assert torch.isfinite(module(draw_inputs("disease-atlas", SIZES, [4, 1]))["own_loss"]).all()
