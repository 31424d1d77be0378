from typing import Any

import numpy as np
import pytest
import torch

from models.catalogue import find_model
from models.records.deep_care import pool_codes, pool_windows
from tests.models.records_over_time import build_model, draw_inputs

SIZES = {
    "visits": 5, "diagnoses_each": 4, "interventions_each": 3, "diagnosis_codes": 20, "intervention_codes": 12,
}  # fmt: skip


def _sigmoid(numbers: Any) -> Any:
    return 1 / (1 + np.exp(-numbers))


def test_memory_is_that_of_the_papers_equations() -> None:
    """An independent loop over admissions, gate by gate."""
    module, inputs = build_model("deep-care", SIZES, ()), draw_inputs("deep-care", SIZES, [5, 3])
    weights = {key: value.detach().double().numpy() for key, value in module.memory.named_parameters()}
    random = np.random.default_rng(0)
    diagnoses, interventions = random.standard_normal((2, 2, 5, 8))
    days, method = random.uniform(0, 300, (2, 5)), random.integers(1, 3, (2, 5)).astype(float)
    tensors = (torch.tensor(each, dtype=torch.float32) for each in (diagnoses, interventions, days, method))
    found = module.memory(*tensors, inputs["present"]).detach().numpy()
    into, state_into = weights["input.weight"].reshape(4, 8, 8), weights["state.weight"].reshape(4, 8, 8)
    bias = weights["input.bias"].reshape(4, 8)
    for record, length in enumerate([5, 3]):
        state, memory, before = np.zeros(8), np.zeros(8), np.zeros(8)
        for step in range(length):
            gates = [into[k] @ diagnoses[record, step] + state_into[k] @ state + bias[k] for k in range(4)]
            day = days[record, step]
            passed = weights["elapsed.weight"] @ [day / 60, (day / 180) ** 2, (day / 365) ** 3]
            enter = _sigmoid(gates[0]) / method[record, step]
            keep = _sigmoid(gates[1] + weights["keep_after.weight"] @ before + passed)
            leave = _sigmoid(gates[2] + weights["leave_with.weight"] @ interventions[record, step])
            memory = keep * memory + enter * np.tanh(gates[3])
            state, before = leave * np.tanh(memory), interventions[record, step]
            assert found[record, step] == pytest.approx(state, abs=1e-5)
        assert (found[record, length:] == found[record, length - 1]).all()


def test_windows_are_weighted_means_of_the_last_one_and_two_years() -> None:
    states = torch.tensor([[[1.0], [2.0], [4.0], [99.0]]])
    days = torch.tensor([[0.0, 400.0, 300.0, 7.0]])  # 700, 300 and 0 days before the last one
    method = torch.tensor([[1.0, 2.0, 1.0, 1.0]])
    present = torch.tensor([[True, True, True, False]])
    weights = 1 / (np.array([1.0, 2.0, 1.0]) + np.log1p(np.array([700.0, 300.0, 0.0]) / 30))
    last, both, every = pool_windows(states, days, method, present)[0].tolist()
    assert last == pytest.approx((weights[1:] * [2, 4]).sum() / weights[1:].sum(), rel=1e-5)
    assert both == every == pytest.approx((weights * [1, 2, 4]).sum() / weights.sum(), rel=1e-5)


@pytest.mark.parametrize(
    ("pooling", "wanted"), [("mean", [2.0, 1.0]), ("sum", [2.828427, 1.414214]), ("max", [3, 5])]
)
def test_codes_of_an_admission_are_pooled_without_the_missing_ones(pooling: str, wanted: list[float]) -> None:
    vectors = torch.tensor([[1.0, 5.0], [3.0, -3.0], [70.0, 70.0]])
    found = pool_codes(vectors, torch.tensor([True, True, False]), pooling)  # type: ignore[arg-type]
    assert found.tolist() == pytest.approx(wanted)
    assert not pool_codes(vectors, torch.tensor([False] * 3), pooling).any()  # type: ignore[arg-type]


@pytest.mark.parametrize("changed", ["gaps", "planned", "interventions"])
def test_time_method_and_interventions_matter(changed: str) -> None:
    module, inputs = build_model("deep-care", SIZES, ()), draw_inputs("deep-care", SIZES, [5])
    other = {
        "gaps": 1 - inputs["gaps"],
        "planned": ~inputs["planned"],
        "interventions": 11 - inputs["interventions"],
    }
    assert not torch.allclose(module(inputs | {changed: other[changed]}), module(inputs), atol=1e-6)


@pytest.mark.parametrize(
    ("preset", "outputs", "width", "units", "head"),
    [
        ("paper", 2, 10, 20, 60 * 20 + 20 + 20 * 2 + 2),
        ("next-diagnoses", 243, 30, 40, 40 * 30 + 30 + 30 * 243 + 243),
    ],
)
def test_parameters_are_those_of_the_equations(
    preset: str, outputs: int, width: int, units: int, head: int
) -> None:
    (count,) = (each for each in find_model("deep-care").counts if each.preset == preset)
    gates = 4 * (units * width + units * units + units)
    moderated = 2 * units * width + 3 * units
    assert count.outputs == (outputs,)
    assert count.parameters == 1369 * width + gates + moderated + head
