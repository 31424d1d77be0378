import pytest
import torch

from models.drugs.dti_sae import MODEL, DtiSaeOptions, build
from models.entry import Count
from tests.models.counting import count_parameters

SIZES = {"substructures": 3, "profile_numbers": 6}


def draw_inputs(records: int) -> dict[str, torch.Tensor]:
    return {"fingerprint": torch.rand(records, 3), "profile": torch.rand(records, 6)}


@pytest.mark.parametrize("count", MODEL.counts, ids=lambda count: count.preset)
def test_parameters_are_as_many_as_counted(count: Count) -> None:
    assert count_parameters(MODEL, count) == count.parameters


def test_parameters_are_those_of_encoders_decoders_and_the_head() -> None:
    with torch.device("meta"):
        network = build(DtiSaeOptions(), {"substructures": 881, "profile_numbers": 400}, (2,))
    amounts = dict.fromkeys(("encoder", "decoder", "head"), 0)
    for name, value in network.named_parameters():
        amounts[name.split(".")[-2]] += value.numel()
    assert amounts == {"encoder": 143_808, "decoder": 144_144, "head": (64 + 881 + 1) * 2}


def test_head_reads_the_fingerprint_beside_the_highest_features() -> None:
    torch.manual_seed(0)
    network = build(DtiSaeOptions(hidden=(5, 4)), SIZES, ())
    inputs = draw_inputs(7)
    weight, bias = network.head.weight[0], network.head.bias
    features = network.encode(inputs["profile"], 2)
    want = features @ weight[:4] + inputs["fingerprint"] @ weight[4:] + bias
    torch.testing.assert_close(network(inputs), want)


@pytest.mark.parametrize("layer", [1, 2])
def test_pretraining_reads_the_protein_alone_and_moves_one_layer(layer: int) -> None:
    torch.manual_seed(0)
    network = build(DtiSaeOptions(hidden=(5, 4)), SIZES, ())
    network.objective = f"layer-{layer}"
    inputs = draw_inputs(7)
    returned = network(inputs)
    other = network({**inputs, "fingerprint": 1 - inputs["fingerprint"]})
    assert isinstance(returned, dict)
    assert isinstance(other, dict)
    torch.testing.assert_close(returned["own_loss"], other["own_loss"])
    torch.autograd.backward(returned["own_loss"].sum())
    moved = {name for name, parameter in network.named_parameters() if parameter.grad is not None}
    assert {name.rsplit(".", 2)[0] for name in moved} == {f"autoencoders.{layer - 1}"}
    assert len(moved) == 4


def test_nothing_is_corrupted_by_default() -> None:
    network = build(DtiSaeOptions(hidden=(5,)), SIZES, ()).train()
    network.objective = "layer-1"
    inputs = draw_inputs(7)
    losses = [network(inputs) for _ in range(2)]
    assert isinstance(losses[0], dict)
    assert isinstance(losses[1], dict)
    assert torch.equal(losses[0]["own_loss"], losses[1]["own_loss"])
