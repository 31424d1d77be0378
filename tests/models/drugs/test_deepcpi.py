import pytest
import torch

from models.drugs.deepcpi import MODEL, DeepCpiOptions, build
from models.entry import Count
from tests.models.counting import count_parameters


@pytest.mark.parametrize("count", MODEL.counts, ids=lambda count: count.preset)
def test_parameters_are_as_many_as_counted(count: Count) -> None:
    assert count_parameters(MODEL, count) == count.parameters


def test_parameters_of_the_paper_are_those_of_its_layers_by_hand() -> None:
    linear = [(200, 1024), (1024, 256), (100, 1024), (1024, 256), (512, 512), (512, 128), (128, 32), (32, 1)]
    normalised = 2 * (1024 + 256) + 512 + 128 + 32
    assert sum(before * after + after for before, after in linear) == 1_166_529
    assert MODEL.counts[0].parameters == 1_166_529 + 2 * normalised


def test_a_tower_reads_its_own_item_alone() -> None:
    torch.manual_seed(0)
    network = build(
        DeepCpiOptions(tower=(6, 5), joint=(4,), dropout=0.0), {"compound_numbers": 3, "protein_numbers": 2}, ()
    )
    compound, protein = torch.rand(4, 3, requires_grad=True), torch.rand(4, 2, requires_grad=True)
    features = network.encoders["compound"](compound)
    assert features.shape == (4, 5)
    assert network({"compound": compound, "protein": protein}).shape == (4,)
    (of_protein,) = torch.autograd.grad(features.sum(), protein, allow_unused=True)
    assert of_protein is None


def test_score_of_a_pair_does_not_depend_on_the_others_in_training() -> None:
    """Batch normalisation, as in the paper, would fail here."""
    network = MODEL.build(MODEL.presets["small"], MODEL.example, ()).train()
    inputs = {"compound": torch.rand(5, 12), "protein": torch.rand(5, 10)}
    alone = network({name: values[:1] for name, values in inputs.items()})
    torch.testing.assert_close(network(inputs)[:1], alone)


def test_which_protein_binds_may_depend_on_the_compound() -> None:
    """The towers learn a table that no sum of a compound's and a protein's score has."""
    torch.manual_seed(0)
    network = build(
        DeepCpiOptions(tower=(8, 8), joint=(8,), dropout=0.0), {"compound_numbers": 2, "protein_numbers": 2}, ()
    )
    items = torch.eye(2)
    inputs = {"compound": items[[0, 0, 1, 1]], "protein": items[[0, 1, 0, 1]]}
    labels = torch.tensor([1.0, 0.0, 0.0, 1.0])
    optimiser = torch.optim.Adam(network.parameters(), lr=0.05)
    for _ in range(60):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(network(inputs), labels)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    assert ((network(inputs) > 0) == (labels > 0)).all()
