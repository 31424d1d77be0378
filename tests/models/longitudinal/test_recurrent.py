from typing import Literal

import pytest
import torch

from models.longitudinal.recurrent import Recurrent, RecurrentLayer, RecurrentOptions, build
from tests.models.records_over_time import draw_inputs

SIZES = {"time": 6, "variables": 4}
Cell = Literal["rnn", "gru", "lstm"]


@pytest.mark.parametrize(("cell", "gates"), [("rnn", 1), ("gru", 3), ("lstm", 4)])
@pytest.mark.parametrize("directions", [1, 2])
def test_parameters_are_those_of_the_gates(cell: Cell, gates: int, directions: Literal[1, 2]) -> None:
    module = build(RecurrentOptions(cell=cell, widths=(5, 3), directions=directions), SIZES, (2,))
    first = directions * gates * 5 * (2 * 4 + 5 + 1)
    second = directions * gates * 3 * (directions * 5 + 3 + 1)
    assert sum(each.numel() for each in module.parameters()) == first + second + 2 * (directions * 3 + 1)


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_backwards_is_forwards_on_the_series_turned_round(cell: Cell) -> None:
    torch.manual_seed(0)
    module = build(RecurrentOptions(cell=cell, widths=(5,), directions=2), SIZES, ()).eval()
    inputs = draw_inputs("recurrent", SIZES, [6, 4])
    (layer,) = module.layers
    assert isinstance(layer, RecurrentLayer)
    assert layer.backwards is not None
    layer.backwards.load_state_dict(layer.forwards.state_dict())
    with torch.no_grad():
        module.head.weight[:, 5:] = module.head.weight[:, :5]
    turned = {key: value.clone() for key, value in inputs.items()}
    for record, length in enumerate([6, 4]):
        for key in ("values", "observed"):
            turned[key][record, :length] = inputs[key][record, :length].flip(0)
    torch.testing.assert_close(module(turned), module(inputs))


def test_two_layers_read_the_whole_series() -> None:
    """The first step reaches the outputs through both layers and directions."""
    torch.manual_seed(0)
    module = build(RecurrentOptions(cell="gru", widths=(5, 4), directions=2), SIZES, ()).eval()
    assert isinstance(module, Recurrent)
    inputs = draw_inputs("recurrent", SIZES, [6])
    inputs["observed"][:] = True
    for step in range(6):
        other = {key: value.clone() for key, value in inputs.items()}
        other["values"][:, step] += 1.0
        assert not torch.allclose(module(inputs), module(other), atol=1e-5)


def test_values_that_were_not_measured_do_not_matter_but_that_they_were_does() -> None:
    torch.manual_seed(0)
    module = build(RecurrentOptions(), SIZES, ()).eval()
    inputs = draw_inputs("recurrent", SIZES, [6, 5])
    other = inputs | {"values": torch.where(inputs["observed"], inputs["values"], 77.0)}
    assert torch.equal(module(inputs), module(other))
    nothing = inputs | {"values": torch.zeros_like(inputs["values"])}
    assert not torch.allclose(module(nothing), module(nothing | {"observed": ~inputs["observed"]}), atol=1e-5)


def test_dropout_is_of_training_only() -> None:
    torch.manual_seed(0)
    module = build(RecurrentOptions(dropout=0.5), SIZES, ())
    inputs = draw_inputs("recurrent", SIZES, [6])
    assert not torch.equal(module(inputs), module(inputs))
    module.eval()
    assert torch.equal(module(inputs), module(inputs))
