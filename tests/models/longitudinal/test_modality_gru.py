import pytest
import torch

from models.errors import ModelError
from models.longitudinal.modality_gru import ModalityGru, ModalityGruOptions, build
from tests.models.records_over_time import build_model, draw_inputs

SIZES = {"time": 6, "variables": 4}


@pytest.mark.parametrize(("width", "count"), [(8, 1_237), (4, 429)])
def test_parameters_are_those_of_the_papers_four_modalities(width: int, count: int) -> None:
    module = build(ModalityGruOptions(width=width), {"time": 3, "variables": 14}, ())
    # a unit has three gates with a weight for each number and each state, and one bias; the head has a flag for each
    gated = sum(3 * width * (variables + width + 1) for variables in (5, 2, 3, 4))
    assert sum(each.numel() for each in module.parameters()) == gated + 4 * width + 4 + 1 == count


def test_a_modality_has_a_series_of_its_own_length() -> None:
    """Its state is that of its units on the visits that measured it, cut out and put together by hand."""
    module, inputs = build_model("modality-gru", SIZES, ()), draw_inputs("modality-gru", SIZES, [6, 4])
    assert isinstance(module, ModalityGru)
    for record, length in enumerate([6, 4]):
        parts, flags = [], []
        for units, columns in zip(module.units, ([0, 1], [2], [3]), strict=True):
            observed = inputs["observed"][record, :length][:, columns]
            steps = observed.any(1)
            series = inputs["values"][record, :length][:, columns].masked_fill(~observed, 0.0)[steps][None]
            states = units(series, torch.ones(1, series.shape[1], dtype=torch.bool))
            parts.append(states[0, -1])
            flags.append(float(steps.any()))
        want = module.head(torch.cat([*parts, torch.tensor(flags)]))
        torch.testing.assert_close(module(inputs)[record], want[0])


def test_a_modality_that_is_missing_leaves_only_its_flag() -> None:
    module, inputs = build_model("modality-gru", SIZES, ()), draw_inputs("modality-gru", SIZES, [5])
    inputs["observed"][:, :, 2] = False
    before = module(inputs)
    with torch.no_grad():
        for parameter in module.units[1].parameters():
            parameter.add_(1.0)
    assert torch.equal(module(inputs), before)
    with torch.no_grad():
        module.head.weight[0, -2] += 1.0  # of its flag
    assert torch.equal(module(inputs), before)


def test_values_that_were_not_measured_do_not_matter() -> None:
    module, inputs = build_model("modality-gru", SIZES, ()), draw_inputs("modality-gru", SIZES, [6, 5])
    other = inputs | {"values": torch.where(inputs["observed"], inputs["values"], 77.0)}
    assert torch.equal(module(inputs), module(other))


def test_modalities_that_do_not_have_all_variables_are_refused() -> None:
    with pytest.raises(ModelError, match=r"model.options.modalities: they have 14 variables, the data 4"):
        build(ModalityGruOptions(), SIZES, ())
