from pathlib import Path

import pytest
import torch
from torch.nn import functional

from models.entry import Count
from models.errors import ModelError
from models.genomics.adage import MODEL, Adage, AdageOptions, TiedAutoencoder, build
from tests.client.data.conversion.converting import SHARED, convert, make_contract
from tests.models.counting import count_parameters


@pytest.mark.parametrize("count", MODEL.counts, ids=lambda count: count.preset)
def test_parameters_are_as_many_as_counted(count: Count) -> None:
    assert count_parameters(MODEL, count) == count.parameters


def test_gradient_of_the_weights_is_the_sum_of_both_uses() -> None:
    torch.manual_seed(0)
    layer = TiedAutoencoder(6, 3).double()
    values = torch.rand(4, 6, dtype=torch.float64)
    torch.autograd.backward(layer(values).square().sum())
    encoder, decoder = (layer.weight.detach().clone().requires_grad_() for _ in range(2))
    hidden = torch.sigmoid(values @ encoder.T + layer.signature_bias.detach())
    torch.autograd.backward((hidden @ decoder + layer.gene_bias.detach()).square().sum())
    assert layer.weight.grad is not None
    assert encoder.grad is not None
    assert decoder.grad is not None
    torch.testing.assert_close(layer.weight.grad, encoder.grad + decoder.grad)
    assert float(encoder.grad.norm()) > 1e-3
    assert float(decoder.grad.norm()) > 1e-3


@pytest.fixture
def model() -> Adage:
    torch.manual_seed(1)
    return build(AdageOptions(signatures=5, corruption=0.4), {"genes": 2000}, (2000,))


@pytest.fixture
def records() -> dict[str, torch.Tensor]:
    return {"features": torch.rand(5, 2000) + 0.1}


def test_corruption_sets_the_asked_part_to_zero_in_training_only(
    model: Adage, records: dict[str, torch.Tensor]
) -> None:
    seen: list[torch.Tensor] = []
    model.autoencoder.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    torch.manual_seed(2)
    model(records)
    model.eval()
    model(records)
    zero = seen[0] == 0
    # 10,000 draws: three standard deviations of their mean are 0.015
    assert float(zero.double().mean()) == pytest.approx(0.4, abs=0.015)
    assert torch.equal(seen[0][~zero], records["features"][~zero])
    assert torch.equal(seen[1], records["features"])


def test_corruption_is_the_same_from_the_same_seed(model: Adage, records: dict[str, torch.Tensor]) -> None:
    found = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        found.append(model(records))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_encode_gives_the_activity_of_the_signatures_without_noise(
    model: Adage, records: dict[str, torch.Tensor]
) -> None:
    layer = model.autoencoder
    found = model.encode(records)
    want = 1 / (1 + torch.exp(-(records["features"] @ layer.weight.T + layer.signature_bias)))
    torch.testing.assert_close(found, want)
    torch.testing.assert_close(model.eval()(records), found @ layer.weight + layer.gene_bias)


def test_task_with_another_output_is_refused() -> None:
    with pytest.raises(ModelError, match="one number for each of the 30 genes"):
        build(AdageOptions(), {"genes": 30}, ())


@pytest.mark.skipif(not (SHARED / "adage").exists(), reason="shared/data/adage is not here")
def test_signature_of_the_authors_pcl_files_tells_the_mutants_without_anr(tmp_path: Path) -> None:
    """Four files of P. aeruginosa, arrays and sequencing: genes that Anr turns on, in cultures with and without it."""
    genes = ["PA0519", "PA1544", "PA1555", "PA1556", "PA1557", "PA3309", "PA3392", "PA5170", "PA5171", "PA5172"]
    contract = make_contract(kind="expression", genes=genes, low=2, high=16)  # log2 intensities
    sources = [{"kind": "pcl", "path": str(path)} for path in sorted((SHARED / "adage").glob("*.pcl.gz"))]
    found = convert(contract, {"sources": sources, "columns": {"patient": "sample"}}, tmp_path)
    values = torch.from_numpy((found.arrays["features"] - 2) / 14)
    held_out = torch.tensor([name.endswith(("2", "3_(Pae_G1a).CEL", "PA14.CEL")) for name in found.patients])
    torch.manual_seed(0)
    model = build(AdageOptions(signatures=2, corruption=0.1), {"genes": len(genes)}, (len(genes),))
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(1500):
        optimiser.zero_grad()
        restored = model({"features": values[~held_out]})
        torch.autograd.backward(functional.binary_cross_entropy_with_logits(restored, values[~held_out]))
        optimiser.step()
    model.eval()
    error = (torch.sigmoid(model({"features": values[held_out]})) - values[held_out]).square().mean()
    assert error < (values[~held_out].mean(0) - values[held_out]).square().mean() / 2
    activity = model.encode({"features": values}).detach()
    mutants = torch.tensor(["anr" in name for name in found.patients])
    experiments = ("_(Pae_G1a)", "J215_", "PAO1_")  # each measured its mutants and its wild cultures alike
    apart = [  # whether a signature's activity in every mutant of an experiment lies beyond that in every wild culture
        all(
            _lies_apart(activity[own & mutants, place], activity[own & ~mutants, place])
            for own in (torch.tensor([each in name for name in found.patients]) for each in experiments)
        )
        for place in range(2)
    ]
    assert any(apart)


def _lies_apart(one: torch.Tensor, other: torch.Tensor) -> bool:
    return bool(one.max() < other.min() or one.min() > other.max())
