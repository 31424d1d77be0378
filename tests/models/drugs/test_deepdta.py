import pytest
import torch

from models.drugs.deepdta import MODEL, DeepDtaOptions, build
from models.entry import Count
from models.errors import ModelError
from models.parameters.flatten import set_shared_parameters
from models.parameters.initial import draw_initial_shared_parameters
from tests.models.counting import count_parameters

SIZES = {"compound_length": 100, "compound_letters": 65, "protein_length": 1000, "protein_letters": 26}


@pytest.mark.parametrize("count", MODEL.counts, ids=lambda count: count.preset)
def test_parameters_are_as_many_as_counted(count: Count) -> None:
    assert count_parameters(MODEL, count) == count.parameters


@pytest.mark.parametrize(
    ("compound", "protein", "parameters"),
    [(4, 8, 1_932_033), (8, 8, 1_981_185), (4, 12, 1_981_185), (6, 8, 1_956_609), (6, 12, 2_005_761)],
)
def test_parameters_for_the_other_kernels_of_the_paper(compound: int, protein: int, parameters: int) -> None:
    with torch.device("meta"):
        network = build(DeepDtaOptions(compound_kernel=compound, protein_kernel=protein), SIZES, ())
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters


def test_shapes_are_those_of_the_paper() -> None:
    with torch.device("meta"):
        network = build(DeepDtaOptions(), SIZES, ())
        shapes = []
        for tower, letters in ((network.compound, 100), (network.protein, 1000)):
            values = torch.zeros(2, 128, letters)
            for convolution in tower.convolutions:
                values = convolution(values)
                shapes.append(tuple(values.shape[1:]))
        both = {
            "compound": torch.zeros(2, 100, dtype=torch.int64),
            "protein": torch.zeros(2, 1000, dtype=torch.int64),
        }
        assert network(both).shape == (2,)
    assert shapes == [(32, 93), (64, 86), (96, 79), (32, 989), (64, 978), (96, 967)]


def test_place_of_a_motif_does_not_matter() -> None:
    torch.manual_seed(0)
    options = MODEL.presets["small"]
    tower = MODEL.build(options, MODEL.example, ()).get_submodule("protein")
    motif = torch.tensor([3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5])
    early, late = torch.zeros(1, 40, dtype=torch.int64), torch.zeros(1, 40, dtype=torch.int64)
    early[0, 12:23], late[0, 16:27] = motif, motif
    torch.testing.assert_close(tower(early), tower(late))
    late[0, 20] = 7
    assert not torch.allclose(tower(early), tower(late))


def test_sequences_too_short_for_three_convolutions_are_refused() -> None:
    build(DeepDtaOptions(), {**SIZES, "compound_length": 22}, ())
    with pytest.raises(ModelError, match="at least 22 letters of 'compound' for a kernel of 8; the data have 21"):
        build(DeepDtaOptions(), {**SIZES, "compound_length": 21}, ())


def test_first_values_of_a_study_tell_sequences_apart() -> None:
    """With the usual first values of convolutions the spread is 0.006, and nothing is learned in a hundred steps."""
    network = build(DeepDtaOptions(embedding=16, filters=8, protein_kernel=8), SIZES, ())
    set_shared_parameters(network, draw_initial_shared_parameters(network, "0c" * 32))
    letters = torch.randint(1, 26, (40, 1000), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert network.protein(letters).std(0).mean() > 0.03
