from pathlib import Path

import numpy as np
import pytest
import torch

from client.training.local_steps import make_loss
from models.genomics.late import Late, LateOptions, build, fill_in
from privacy.study import parse_terms
from tests.models.generated_studies import generated_site, generated_terms


def make(genes: int = 6, **options: object) -> Late:
    torch.manual_seed(0)
    return build(LateOptions.model_validate({"hidden": (5, 3, 4), **options}), {"features": genes}, (genes,))


@pytest.mark.parametrize(("genes", "parameters"), [(949, 2_161_349), (10_000, 16_652_000), (821, 1_956_421)])
def test_parameters_of_the_paper_are_those_of_four_layers(genes: int, parameters: int) -> None:
    assert genes * 800 + 800 + 800 * 400 + 400 + 400 * 800 + 800 + 800 * genes + genes == parameters
    with torch.device("meta"):
        module = build(LateOptions(), {"features": genes}, (genes,))
    assert sum(each.numel() for each in module.parameters()) == parameters


def test_outputs_are_those_of_rectified_layers_and_never_below_zero() -> None:
    module, values = make().eval(), 5 * torch.rand(3, 6)
    states = values
    for layer in module.hidden:
        states = (states @ layer.get_parameter("weight").T + layer.get_parameter("bias")).clamp(min=0)
    wanted = torch.log1p(torch.exp(states @ module.genes.weight.T + module.genes.bias))
    torch.testing.assert_close(module({"features": values}), wanted)
    with torch.no_grad():
        module.genes.bias.fill_(-3.0)
    assert (module({"features": values}) > 0).all()


def test_every_gene_has_a_gradient_from_where_a_study_begins() -> None:
    """A rectified output would be below zero, and stay there, for about one half of the genes."""
    module = make(200, hidden=(32, 16, 32)).eval()
    values = 5 * torch.rand(8, 200)
    torch.autograd.backward((module({"features": values}) - values).square().mean())
    assert module.genes.bias.grad is not None
    assert (module.genes.bias.grad != 0).all()


def test_features_and_hidden_values_are_dropped_in_training_alone() -> None:
    module = make(4000, input_dropout=0.2, dropout=0.5, hidden=(4000,))
    with torch.no_grad():
        module.hidden[0].get_parameter("weight").zero_()
        module.hidden[0].get_parameter("bias").fill_(1.0)
    seen: list[torch.Tensor] = []
    for layer in (module.hidden[0], module.genes):
        layer.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    values = torch.rand(1, 4000) + 0.1
    module({"features": values})
    module.eval()
    module({"features": values})
    for found, whole, part in ((seen[0], values, 0.8), (seen[1], torch.ones(1, 4000), 0.5)):
        kept = found != 0
        assert float(kept.double().mean()) == pytest.approx(part, abs=0.04)  # 4,000 draws: five deviations
        torch.testing.assert_close(found[kept], whole[kept] / part)
    assert torch.equal(seen[2], values)
    assert (seen[3] == 1).all()


def test_loss_counts_the_values_that_the_mask_names(tmp_path: Path) -> None:
    written = generated_terms("late").model_dump(mode="json")
    written["data"]["targets"] = [{"type": "flag", "name": "counted", "shape": [20]}]
    written["task"] = {"kind": "reconstruction", "mask": "counted"}
    terms = parse_terms(written)
    site = generated_site(tmp_path, terms, patients=4, records=1)
    inputs, targets = site.records.select(np.arange(4))
    site.module.eval()
    outputs = site.module(inputs)
    losses = make_loss(terms)(outputs, targets)
    for row in range(4):
        counted = targets["counted"][row]
        if counted.any():
            error = (outputs[row] - inputs["features"][row])[counted].square().mean()
            torch.testing.assert_close(losses[row], error)


def test_what_was_seen_stays() -> None:
    seen = torch.tensor([[0.0, 2.0, 0.0]])
    assert fill_in(seen, torch.tensor([[1.0, 9.0, 3.0]])).tolist() == [[1.0, 2.0, 3.0]]
