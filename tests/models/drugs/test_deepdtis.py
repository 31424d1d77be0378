import pytest
import torch

from models.drugs.deepdtis import MODEL, DeepDtisOptions, build
from models.entry import Count
from models.errors import ModelError
from tests.models.counting import count_parameters

SIZES = {"substructures": 5, "words": 4}


@pytest.mark.parametrize("count", MODEL.counts, ids=lambda count: count.preset)
def test_parameters_are_as_many_as_counted(count: Count) -> None:
    assert count_parameters(MODEL, count) == count.parameters


@pytest.mark.parametrize(
    ("hidden", "classifier"), [((2000,) * 4, 41_140_002), ((1500, 2000, 2000, 2000, 1500), 35_858_002)]
)
def test_classifiers_of_the_authors_have_their_parameters_and_the_machines_visible_biases_beside(
    hidden: tuple[int, ...], classifier: int
) -> None:
    with torch.device("meta"):
        network = build(DeepDtisOptions(hidden=hidden), {"substructures": 6144, "words": 8420}, (2,))
    visible = sum(value.numel() for name, value in network.named_parameters() if ".visible." in name)
    assert visible == 14_564 + sum(hidden[:-1])
    assert sum(value.numel() for value in network.parameters()) - visible == classifier


def test_drug_and_protein_stand_side_by_side_in_one_sigmoid_network() -> None:
    """A loop over the units, from the weights themselves."""
    torch.manual_seed(0)
    network = build(DeepDtisOptions(hidden=(3, 2)), SIZES, ()).double()
    drug, protein = torch.rand(1, 5, dtype=torch.float64), torch.rand(1, 4, dtype=torch.float64)
    values = [*drug[0].tolist(), *protein[0].tolist()]
    weights = dict(network.named_parameters())
    for place in range(2):
        weight, bias = (weights[f"machines.{place}.hidden.{part}"].tolist() for part in ("weight", "bias"))
        sums = [
            sum(w * v for w, v in zip(row, values, strict=True)) + b for row, b in zip(weight, bias, strict=True)
        ]
        values = [1 / (1 + 2.718281828459045**-each) for each in sums]
    want = sum(w * v for w, v in zip(weights["head.weight"][0].tolist(), values, strict=True))
    found = network({"fingerprint": drug, "composition": protein})
    assert isinstance(found, torch.Tensor)
    assert found.item() == pytest.approx(want + weights["head.bias"].item(), rel=1e-12)


def test_pretraining_sees_no_label_and_moves_one_machine() -> None:
    network = build(DeepDtisOptions(hidden=(6, 5, 4, 3)), SIZES, ())
    network.objective = "layer-4"
    returned = network({"fingerprint": torch.rand(7, 5), "composition": torch.rand(7, 4)})
    assert isinstance(returned, dict)
    assert list(returned) == ["own_loss"]
    torch.autograd.backward(returned["own_loss"].sum())
    moved = {name for name, parameter in network.named_parameters() if parameter.grad is not None}
    assert moved == {f"machines.3.{part}" for part in ("hidden.weight", "hidden.bias", "visible.weight")}


def test_pretraining_of_a_machine_that_is_not_there_is_refused() -> None:
    network = build(DeepDtisOptions(hidden=(6, 5)), SIZES, ())
    network.objective = "layer-5"
    with pytest.raises(ModelError, match="layer-5: the model has 2 layers"):
        network({"fingerprint": torch.rand(7, 5), "composition": torch.rand(7, 4)})
