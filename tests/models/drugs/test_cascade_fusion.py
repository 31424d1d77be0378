from typing import Any

import pytest
import torch

from models.drugs.cascade_fusion import MODEL, CascadeFusionOptions, build
from models.entry import Count
from tests.models.counting import count_parameters

SIZES = {"drugs": 7, "diseases": 5}


def draw(records: int = 4) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    lengths = {"drug_drugs": 7, "drug_diseases": 5, "protein_diseases": 5}
    return {name: torch.rand(records, length, generator=random) < 0.4 for name, length in lengths.items()}


def make_module(objective: str = "task") -> Any:
    torch.manual_seed(0)
    module = build(CascadeFusionOptions(network=4, fused=3, hidden=6), SIZES, ())
    module.objective = objective
    return module


@pytest.mark.parametrize("count", MODEL.counts, ids=lambda count: count.preset)
def test_parameters_are_as_many_as_counted(count: Count) -> None:
    assert count_parameters(MODEL, count) == count.parameters


def test_parameters_are_those_of_the_parts() -> None:
    def autoencoder(features: int, units: int) -> int:
        return 2 * features * units + features + units

    drugs = autoencoder(732, 256) + autoencoder(440, 256) + autoencoder(512, 128)
    proteins = autoencoder(440, 256) + autoencoder(256, 128)
    assert (drugs, proteins) == (733_460, 291_896)
    assert drugs + proteins + (3 * 128 + 1) * 64 + 65 == MODEL.counts[0].parameters


def test_outputs_are_those_of_the_cascade_written_out() -> None:
    module, inputs = make_module(), draw()
    codes = [torch.tanh(module.networks[place].encoder(row.float())) for place, row in enumerate(inputs.values())]
    drug = torch.tanh(module.fusions[0].encoder(torch.cat(codes[:2], 1)))
    protein = torch.tanh(module.fusions[1].encoder(codes[2]))
    want = module.head(torch.nn.functional.elu(module.pair(torch.cat([drug, protein, drug * protein], 1))))[:, 0]
    torch.testing.assert_close(module(inputs), want)


def test_losses_of_the_stages_are_squared_errors_of_what_was_read() -> None:
    inputs = draw()
    module = make_module("networks")
    want = torch.zeros(4)
    for autoencoder, row in zip(module.networks, inputs.values(), strict=True):
        restored = autoencoder.decoder(torch.tanh(autoencoder.encoder(row.float())))
        want = want + (restored - row.float()).square().mean(1)
    torch.testing.assert_close(module(inputs)["own_loss"], want)


@pytest.mark.parametrize(
    ("objective", "trained"),
    [
        ("networks", {"networks"}),
        ("fusion", {"fusions"}),
        ("task", {"networks", "fusions", "pair", "head"}),
    ],
)
def test_stage_trains_its_own_layers_alone(objective: str, trained: set[str]) -> None:
    module = make_module(objective)
    found = module(draw())
    torch.autograd.backward((found if objective == "task" else found["own_loss"]).sum())
    moved = {name for name, value in module.named_parameters() if value.grad is not None}
    assert {name.split(".")[0] for name in moved} == trained
    assert any("decoder" in name for name in moved) == (objective != "task")
