import pytest
import torch

from models.entry import Count
from models.errors import ModelError
from models.genomics.adage import MODEL, Adage, AdageOptions, TiedAutoencoder, build
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
