from typing import Any

import pytest
import torch
from torch.nn import functional

from models.entry import Count
from models.errors import ModelError
from models.genomics.expression_contrast import MODEL, ExpressionContrast, ExpressionContrastOptions, build
from models.tasks.binary import BinaryTask
from tests.models.counting import count_parameters


def make_model(bases: int = 40, **options: object) -> ExpressionContrast:
    torch.manual_seed(0)
    small = {"blocks": ((5, 6), (7,)), "kernel": 4, "pool": 4, "hidden": (6, 3), "dropout": 0.0}
    return build(ExpressionContrastOptions.model_validate({**small, **options}), {"bases": bases}, ())


def draw_pairs(bases: int = 40) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(1)
    letters = torch.randint(4, (2, 6, bases), generator=random)
    first, second = functional.one_hot(letters, 4).movedim(2, 3).float()
    return {"first": first, "second": second}


@pytest.mark.parametrize("count", MODEL.counts, ids=str)
def test_parameters_are_as_many_as_counted(count: Count) -> None:
    assert count_parameters(MODEL, count) == count.parameters


@pytest.mark.parametrize(("bases", "parameters"), [(3_000, 387_906), (1_500, 363_330)])
def test_tower_with_two_outputs_and_biases_is_that_of_the_known_implementation(bases: int, parameters: int) -> None:
    with torch.device("meta"):
        module = build(ExpressionContrastOptions(), {"bases": bases}, ())
    tower = sum(parameter.numel() for parameter in module.parameters()) - module.score.weight.numel()
    assert tower + 2 * (64 + 1) == parameters


@pytest.mark.parametrize("last", ["pooled", "largest", "mean"])
def test_exchanging_the_genes_turns_the_sign_and_keeps_the_loss(last: str) -> None:
    module, inputs = make_model(last=last), draw_pairs()
    turned = {"first": inputs["second"], "second": inputs["first"]}
    labels, task = torch.tensor([0, 1, 0, 1, 1, 0]), BinaryTask("higher", 1.0)
    torch.testing.assert_close(module(turned), -module(inputs))
    losses = task.compute_losses(module(inputs), {"higher": labels})
    torch.testing.assert_close(task.compute_losses(module(turned), {"higher": 1 - labels}), losses)
    same = {"first": inputs["first"], "second": inputs["first"]}
    torch.testing.assert_close(module(same), torch.zeros(6), rtol=0, atol=1e-6)


@torch.no_grad()
def test_difference_is_that_of_an_ordinary_network_on_each_gene() -> None:
    """Convolutions of letters in one axis, padded as Keras does for even kernels, and pools that keep a rest."""
    module: Any = make_model(bases=30)
    inputs = draw_pairs(30)
    scores = []
    for sequence in inputs.values():
        values = sequence
        for place, block in enumerate(module.blocks):
            for number, layer in enumerate(block.convolutions):
                padded = functional.pad(values, (1, 2)) if place or number else values
                values = functional.conv1d(padded, layer.weight[:, :, 0], layer.bias).relu()
            values = functional.max_pool1d(values, 4, ceil_mode=True)
        values = values.flatten(1)
        for layer in module.hidden:
            values = functional.linear(values, layer.weight, layer.bias).relu()
        scores.append(functional.linear(values, module.score.weight)[:, 0])
    torch.testing.assert_close(module(inputs), scores[0] - scores[1])


def test_fewer_letters_than_a_filter_sees_are_refused() -> None:
    make_model(bases=4)(draw_pairs(4))
    with pytest.raises(ModelError, match="at least 4 letters, as its kernel; the data have 3"):
        make_model(bases=3)
