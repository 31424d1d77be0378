import pytest
import torch

from models.drugs.gans_dta import MODEL
from models.entry import Count
from models.errors import ModelError
from models.layers.letter_tower import Tower
from models.layers.sequence_gan import Generator, pretrain_tower
from tests.models.counting import count_parameters


@pytest.mark.parametrize("count", MODEL.counts, ids=lambda count: count.preset)
def test_parameters_are_as_many_as_counted(count: Count) -> None:
    assert count_parameters(MODEL, count) == count.parameters


@pytest.mark.parametrize(
    ("letters", "length", "kernel", "parameters"), [(65, 85, 4, 87_872), (26, 1200, 8, 175_424)]
)
def test_generators_make_embedded_sequences_of_the_whole_length(
    letters: int, length: int, kernel: int, parameters: int
) -> None:
    generator = Generator(Tower("compound", letters, length, kernel, 128, 32), length)
    assert sum(value.numel() for value in generator.parameters()) == parameters
    with torch.no_grad():
        assert generator(1).shape == (1, 128, length)


def test_sequences_too_short_for_a_generator_are_refused() -> None:
    with pytest.raises(ModelError, match="kernels of 4 makes at least 13 letters; the sequences have 10"):
        Generator(Tower("compound", 9, 10, 4, 6, 2), 10)


def test_pretraining_moves_the_filters_and_leaves_the_embedding() -> None:
    torch.manual_seed(0)
    tower = Tower("compound", 9, 20, 4, 6, 2)
    before = {name: value.clone() for name, value in tower.state_dict().items()}
    losses = list(pretrain_tower(tower, torch.randint(1, 9, (30, 20)), 5, batch=8))
    assert len(losses) == 5
    moved = {name for name, value in tower.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == set(before) - {"embedding.weight"}


def test_discriminator_learns_to_tell_public_sequences_from_made_ones() -> None:
    torch.manual_seed(0)
    tower = Tower("compound", 5, 16, 3, 6, 4)
    letters = torch.tensor([1, 2, 3, 4] * 4).repeat(20, 1)
    losses = [judged for judged, _ in pretrain_tower(tower, letters, 120, batch=16)]
    assert min(losses) < losses[0] - 0.1
