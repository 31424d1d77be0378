from typing import Any

import pytest
import torch
from torch.nn import functional

from models.entry import Count
from models.errors import ModelError
from models.genomics.tfimpute import MODEL, Tfimpute, TfimputeOptions, build, join_strands
from tests.models.counting import count_parameters

MOTIFS = ("TGACTC", "CACGTA")  # two factors bind each
SILENT = ((), (0,), (1,))  # of each cell
HELD_OUT = {(0, 1), (3, 2), (1, 0), (2, 0), (0, 2), (3, 1)}  # pairs of factor and cell


def make_model(**options: object) -> Tfimpute:
    torch.manual_seed(0)
    small = {"embedding": 4, "motifs": 8, "kernel": 6, "pool": 19, "units": 4}
    sizes = {"bases": 24, "factors": 4, "cells": 3}
    return build(TfimputeOptions.model_validate({**small, **options}), sizes, ())


def draw_sequences(records: int, seed: int) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Invented windows, in half of which the factor's motif is planted, and whether it is not silenced there."""
    random = torch.Generator().manual_seed(seed)
    letters = torch.randint(4, (records, 24), generator=random)
    factor, cell = (torch.randint(size, (records,), generator=random) for size in (4, 3))
    words = torch.tensor([["ACGT".index(letter) for letter in word] for word in MOTIFS])
    planted = torch.rand(records, generator=random) < 0.5
    for row in range(records):
        word = words[factor[row] // 2] if planted[row] else words[1 - factor[row] // 2]
        start = int(torch.randint(19, (), generator=random))
        letters[row, start : start + 6] = word if torch.rand((), generator=random) < 0.5 else 3 - word.flip(0)
    silenced = torch.tensor([[motif in each for each in SILENT] for motif in (0, 0, 1, 1)])
    sequence = functional.one_hot(letters, 4).movedim(1, 2).float()
    return {"sequence": sequence, "factor": factor, "cell": cell}, planted & ~silenced[factor, cell]


@pytest.mark.parametrize("count", MODEL.counts, ids=lambda count: count.preset)
def test_parameters_are_as_many_as_counted(count: Count) -> None:
    assert count_parameters(MODEL, count) == count.parameters


def test_parameters_are_those_of_the_authors_description_with_half_the_units() -> None:
    count = Count("paper", {"bases": 300, "factors": 172, "cells": 91}, (), 4_378_150)
    with torch.device("meta"):
        module = build(TfimputeOptions(units=1000), count.sizes, count.outputs)
    assert sum(parameter.numel() for parameter in module.parameters()) == count.parameters


@torch.no_grad()
def test_score_is_that_of_a_loop() -> None:
    module: Any = make_model(pool=6)
    inputs, _ = draw_sequences(2, 1)
    for row in range(2):
        pair = torch.cat([module.factor.weight[inputs["factor"][row]], module.cell.weight[inputs["cell"][row]]])
        gate = torch.sigmoid(module.gate.weight @ pair + module.gate.bias)
        scores = []
        for strand in (inputs["sequence"][row], inputs["sequence"][row].flip(0, 1)):
            windows = []  # 19 places: three windows of 6, the last place is left out
            for window in range(3):
                found = [
                    (module.motifs.weight[:, :, 0] * strand[:, at : at + 6]).sum((1, 2)) + module.motifs.bias
                    for at in range(6 * window, 6 * window + 6)
                ]
                windows.append(gate * torch.stack(found).relu().amax(0))
            scores.append(module.units.weight @ torch.stack(windows, dim=1).flatten() + module.units.bias)
        assert float(module(inputs)[row]) == pytest.approx(float(torch.stack(scores).max()), abs=1e-5)


@torch.no_grad()
def test_both_strands_have_the_same_score() -> None:
    module, (inputs, _) = make_model(), draw_sequences(5, 2)
    turned = inputs | {"sequence": inputs["sequence"].flip(1, 2)}
    torch.testing.assert_close(module(turned), module(inputs))
    letters = "".join("ACGT"[place] for place in inputs["sequence"][0].argmax(0))
    other = "".join("ACGT"[place] for place in join_strands(inputs["sequence"])[0, :, 1].argmax(0))
    assert other == letters[::-1].translate(str.maketrans("ACGT", "TGCA"))


def test_pairs_that_were_never_measured_are_told_by_their_parts() -> None:
    """Better than the rate of the factor times that of the cell, and not with the cells of other records."""
    torch.manual_seed(2)
    module, (inputs, bound) = make_model(), draw_sequences(2000, 3)
    pairs = zip(inputs["factor"].tolist(), inputs["cell"].tolist(), strict=True)
    held = torch.tensor([pair in HELD_OUT for pair in pairs])
    rows = (~held).nonzero()[:, 0]
    squares = [torch.zeros_like(each) for each in module.parameters()]
    for step in range(250):
        chosen = rows[torch.randint(len(rows), (100,))]
        outputs = module({name: values[chosen] for name, values in inputs.items()})
        loss = functional.binary_cross_entropy_with_logits(outputs, bound[chosen].float())
        gradients = torch.autograd.grad(loss, list(module.parameters()))
        with torch.no_grad():
            for parameter, gradient, square in zip(module.parameters(), gradients, squares, strict=True):
                square.mul_(0.95).addcmul_(gradient, gradient, value=0.05)
                parameter.sub_(0.02 * (1 - step / 250) * gradient / (square.sqrt() + 1e-6))
    tested = {name: values[held] for name, values in inputs.items()}
    with torch.no_grad():
        found = measure_auroc(module(tested), bound[held])
        shuffled = measure_auroc(module(tested | {"cell": tested["cell"].roll(1)}), bound[held])
    of_factor, of_cell = (
        torch.stack([bound[~held & (inputs[name] == each)].float().mean() for each in range(size)])
        for name, size in (("factor", 4), ("cell", 3))
    )
    rates = measure_auroc(of_factor[tested["factor"]] * of_cell[tested["cell"]], bound[held])
    assert found > 0.9
    assert found > rates + 0.1
    assert found > shuffled + 0.05


def measure_auroc(scores: torch.Tensor, positive: torch.Tensor) -> float:
    """The share of pairs of a positive and a negative record that stand in this order."""
    higher, lower = scores[positive][:, None], scores[~positive][None]
    return float(((higher > lower).float() + 0.5 * (higher == lower).float()).mean())


def test_fewer_letters_than_a_motif_and_a_pool_need_are_refused() -> None:
    sizes = {"bases": 24, "factors": 4, "cells": 3}
    with pytest.raises(
        ModelError, match="at least 25 letters for a kernel of 6 and a pool of 20; the data have 24"
    ):
        build(TfimputeOptions(kernel=6, pool=20), sizes, ())
