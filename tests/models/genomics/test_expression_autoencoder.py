import math

import pytest
import torch

from models.errors import ModelError
from models.fit import set_objective
from models.genomics.expression_autoencoder import (
    ExpressionAutoencoder,
    ExpressionAutoencoderOptions,
    SparseLayer,
    build,
)
from models.layers.sparsity import compute_penalties

GENES = 6


def make(**options: object) -> ExpressionAutoencoder:
    torch.manual_seed(0)
    chosen = ExpressionAutoencoderOptions.model_validate({"hidden": (5, 4, 3, 2), "sparsity": 0.5, **options})
    return build(chosen, {"features": GENES}, (GENES,))


def list_layers(module: ExpressionAutoencoder) -> list[SparseLayer]:
    return [each for each in module.autoencoders if isinstance(each, SparseLayer)]


def encode(layer: SparseLayer, values: torch.Tensor) -> torch.Tensor:
    return 1 / (1 + torch.exp(-(values @ layer.encoder.weight.T + layer.encoder.bias)))


def decode(layer: SparseLayer, values: torch.Tensor) -> torch.Tensor:
    return values @ layer.decoder.weight.T + layer.decoder.bias


def divergence(rate: float, mean: float) -> float:
    return rate * math.log(rate / mean) + (1 - rate) * math.log((1 - rate) / (1 - mean))


@pytest.mark.parametrize(("genes", "hidden"), [(2000, (200, 100, 50, 25)), (400, (64, 32, 16, 8))])
def test_parameters_are_those_of_encoders_and_decoders_of_the_same_widths(
    genes: int, hidden: tuple[int, ...]
) -> None:
    wanted, below = 0, genes
    for units in hidden:
        wanted += 2 * below * units + units + below
        below = units
    module = build(ExpressionAutoencoderOptions(hidden=hidden), {"features": genes}, (genes,))
    assert sum(each.numel() for each in module.parameters()) == wanted


def test_task_goes_up_all_layers_and_down_again_with_a_penalty_for_each() -> None:
    module, values = make(), torch.rand(3, GENES)
    states, penalty = values, torch.zeros(3)
    for layer in list_layers(module):
        states = encode(layer, states)
        penalty += torch.tensor([divergence(0.1, float(row.mean())) for row in states.detach()])
    torch.testing.assert_close(module.encode({"features": values}), states)
    for layer in list_layers(module)[:0:-1]:
        states = torch.sigmoid(decode(layer, states))
    found = module({"features": values})
    torch.testing.assert_close(found["outputs"], decode(list_layers(module)[0], states))
    torch.testing.assert_close(found["own_loss"], 0.5 * penalty)


@pytest.mark.parametrize("place", [0, 2])
def test_layer_learns_to_restore_what_is_below_it_and_moves_nothing_else(place: int) -> None:
    module, values = make(), torch.rand(3, GENES)
    set_objective(module, f"layer-{place + 1}")
    losses = module({"features": values})["own_loss"]
    below = values
    for layer in list_layers(module)[:place]:
        below = encode(layer, below)
    own = list_layers(module)[place]
    states = encode(own, below)
    errors = (torch.sigmoid(decode(own, states)) - below).square().mean(1) / 2
    wanted = errors + 0.5 * compute_penalties(states.mean(1, keepdim=True), 0.1)
    torch.testing.assert_close(losses, wanted)
    torch.autograd.backward(losses.sum())
    moved = {name.split(".")[1] for name, value in module.named_parameters() if value.grad is not None}
    assert moved == {str(place)}


def test_gradients_of_samples_add_up_to_that_of_all_which_the_textbook_penalty_does_not() -> None:
    """The textbook compares a unit's mean over the samples; its gradient is no sum over them."""
    activations = torch.rand(4, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def compute_gradient(values: torch.Tensor, *, textbook: bool) -> torch.Tensor:
        leaf = values.clone().requires_grad_()
        means = leaf.mean(0, keepdim=True) if textbook else leaf.mean(1, keepdim=True)
        (found,) = torch.autograd.grad(compute_penalties(means, 0.1).sum(), leaf)
        return found

    for textbook in (False, True):
        whole = compute_gradient(activations, textbook=textbook)
        parts = torch.cat([compute_gradient(row[None], textbook=textbook) for row in activations])
        assert torch.allclose(whole, parts, atol=1e-12) is not textbook


def test_genes_of_a_unit_are_those_with_the_largest_weights() -> None:
    module = make()
    with torch.no_grad():
        list_layers(module)[0].encoder.weight.copy_(
            torch.arange(30.0).reshape(5, 6) * torch.tensor([[1.0], [-1], [1], [1], [1]])
        )
    assert module.list_genes(2).tolist() == [[5, 4], [0, 1], [5, 4], [5, 4], [5, 4]]


def test_objective_of_a_layer_that_is_not_there_is_refused() -> None:
    module = make(hidden=(3, 2))
    set_objective(module, "layer-3")
    with pytest.raises(ModelError, match="objective layer-3: the model has 2 layers"):
        module({"features": torch.rand(2, GENES)})
