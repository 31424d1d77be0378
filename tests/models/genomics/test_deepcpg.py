import pytest
import torch

from models.entry import Count
from models.errors import ModelError
from models.genomics.deepcpg import MODEL, DeepCpgOptions, build
from tests.models.counting import count_parameters

SIZES = {"bases": 1001, "cells": 18, "neighbours": 50}


@pytest.mark.parametrize("count", MODEL.counts, ids=lambda count: count.preset)
def test_parameters_are_as_many_as_counted(count: Count) -> None:
    assert count_parameters(MODEL, count) == count.parameters


def test_readers_have_the_parameters_of_the_paper() -> None:
    with torch.device("meta"):
        network = build(DeepCpgOptions(), SIZES, (18,))
    parts = {name: sum(each.numel() for each in part.parameters()) for name, part in network.named_children()}
    assert parts == {"dna": 4_102_144, "cpg": 813_824, "joint": 590_848, "head": 9_234}


def inputs() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {
        "sequence": torch.rand(2, 4, 40),
        "states": torch.rand(2, 3, 6),
        "distances": torch.rand(2, 3, 6),
    }


@pytest.mark.parametrize(
    ("form", "read"),
    [("dna", {"sequence"}), ("cpg", {"states", "distances"}), ("joint", {"sequence", "states", "distances"})],
)
def test_form_says_what_is_read(form: str, read: set[str]) -> None:
    options = MODEL.check_options("deepcpg", {"preset": "small", "form": form})
    network, given = build(options, MODEL.example, ()), inputs()  # type: ignore[arg-type]
    for name in given:
        changed = network({**given, name: given[name] + 0.3})
        assert torch.allclose(changed, network(given)) == (name not in read)


def test_cells_are_read_in_both_directions_as_gated_units_of_numpy() -> None:
    network, given = build(DeepCpgOptions(form="cpg", neighbour_units=4, cell_units=3), MODEL.example, ()), inputs()
    reader = network.cpg
    cells = torch.relu(reader.neighbours(torch.cat([given["states"], given["distances"]], dim=2))).detach()
    wanted = []
    for units, order in ((reader.onward, (0, 1, 2)), (reader.back, (2, 1, 0))):
        state = torch.zeros(2, 3)
        for cell in order:
            update, reset, new = units.input(cells[:, cell]).chunk(3, dim=1)
            from_state = units.gates(state).chunk(2, dim=1)
            update, reset = torch.sigmoid(update + from_state[0]), torch.sigmoid(reset + from_state[1])
            candidate = torch.tanh(new + units.candidate(reset * state))
            state = update * state + (1 - update) * candidate
        wanted.append(state)
    torch.testing.assert_close(reader(given["states"], given["distances"]), torch.cat(wanted, dim=1))


def test_letters_too_few_for_the_poolings_are_refused_where_they_are_read() -> None:
    build(DeepCpgOptions(form="cpg"), {**SIZES, "bases": 1}, ())
    with pytest.raises(ModelError, match="deepcpg needs at least 26 places"):
        build(DeepCpgOptions(form="dna"), {**SIZES, "bases": 25}, ())
