from typing import Any

import pytest
import torch

from models.catalogue import find_model
from models.records.med2vec import CodeVectors
from tests.models.records_over_time import build_model, draw_inputs

SIZES = {"visits": 5, "codes": 12}


def _loss_pair_by_pair(weight: torch.Tensor, visits: torch.Tensor, kept: list[int]) -> torch.Tensor:
    """The mean of -log softmax over ordered pairs of codes in ``kept``, of one record; one pair after the other."""
    vectors = torch.relu(weight.double()).T
    losses = [
        -torch.log_softmax(vectors @ vectors[one], 0)[other]
        for visit in visits
        for one in visit.nonzero().flatten().tolist()
        for other in visit.nonzero().flatten().tolist()
        if one != other and one in kept and other in kept
    ]
    return torch.stack(losses).mean() if losses else torch.zeros(())


@pytest.mark.parametrize("codes_each", [2, 4, 64])
def test_own_loss_is_the_mean_over_pairs(codes_each: int) -> None:
    entry = find_model("med2vec")
    options = entry.presets["small"].model_copy(update={"codes_each": codes_each, "code_loss": 0.5})
    module: Any = entry.build(options, SIZES, (5, 12))
    inputs = draw_inputs("med2vec", SIZES, [5, 3, 1, 0])
    with torch.no_grad():
        for parameter in module.parameters():
            torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(1))
    found = module(inputs)["own_loss"]
    for record in range(4):
        visits = inputs["visits"][record] & inputs["present"][record][:, None]
        kept = visits.any(0).nonzero().flatten().tolist()[:codes_each]
        wanted = 0.5 * _loss_pair_by_pair(module.codes.weight, visits, kept)
        torch.testing.assert_close(found[record].double(), wanted.double(), rtol=1e-4, atol=1e-5)


def test_gradient_of_the_code_vectors_has_both_uses() -> None:
    """The gradient of each loss alone is not that of their sum, and the sum's is the sum."""
    inputs = draw_inputs("med2vec", SIZES, [5, 3])
    gradients = []
    for use in (("outputs",), ("own_loss",), ("outputs", "own_loss")):
        module = build_model("med2vec", SIZES, (5, 12))
        returned = module(inputs)
        sum(returned[key].square().sum() for key in use).backward()
        gradients.append(module.codes.weight.grad)
    torch.testing.assert_close(gradients[0] + gradients[1], gradients[2])
    assert gradients[0].any()
    assert gradients[1].any()


def test_codes_that_stand_together_come_nearer() -> None:
    """Codes 0 and 1 always stand together, 2 and 3 too: their vectors turn towards each other."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer = CodeVectors(6, 4, 6)
        torch.nn.init.uniform_(layer.weight, 0.1, 0.3)
        torch.nn.init.zeros_(layer.bias)
    visits = torch.zeros(2, 1, 6)
    visits[0, 0, :2] = visits[1, 0, 2:4] = 1.0
    optimiser = torch.optim.SGD(layer.parameters(), 0.5)
    for _ in range(200):
        optimiser.zero_grad()
        layer(visits)[..., -1].sum().backward()
        optimiser.step()
    vectors = torch.relu(layer.weight.detach()).T
    assert float(vectors[0] @ vectors[1]) > 2 * float(vectors[0] @ vectors[2])
    assert float(vectors[2] @ vectors[3]) > 2 * float(vectors[3] @ vectors[1])


def test_outputs_of_a_visit_depend_on_this_visit_alone() -> None:
    module, inputs = build_model("med2vec", SIZES, (5, 12)), draw_inputs("med2vec", SIZES, [5])
    other = inputs["visits"].clone()
    other[:, 2] = ~other[:, 2]
    same = (module(inputs)["outputs"] == module(inputs | {"visits": other})["outputs"])[0].all(1)
    assert same.tolist() == [True, True, False, True, True]
