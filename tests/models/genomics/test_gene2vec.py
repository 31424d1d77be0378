import itertools

import pytest
import torch
from torch.nn import functional

from models.entry import Count
from models.errors import ModelError
from models.fit import set_objective
from models.genomics.gene2vec import MODEL, SKIP_GRAM, Gene2vecOptions, SkipGram, build, number_words
from tests.models.counting import count_parameters

SMALL = Gene2vecOptions.model_validate(MODEL.presets["small"].model_dump())
SIZES = {"bases": 1001, "letters": 5}


@pytest.mark.parametrize("count", MODEL.counts, ids=lambda count: count.preset)
def test_parameters_are_as_many_as_counted(count: Count) -> None:
    assert count_parameters(MODEL, count) == count.parameters


@pytest.mark.parametrize(
    ("network", "parameters"),
    [("one-hot", 377_217), ("words", 333_349), ("gene2vec", 371_649 + 19_500 + 19_565)],
)
def test_each_network_has_its_own_parameters(network: str, parameters: int) -> None:
    with torch.device("meta"):
        module = build(Gene2vecOptions(networks=(network,)), SIZES, ())  # type: ignore[arg-type]
    assert sum(each.numel() for each in module.parameters()) == parameters


def test_words_have_numbers_of_their_own_and_none_with_padding() -> None:
    every = torch.tensor(list(itertools.product([1, 2, 3, 4], repeat=3)))
    assert number_words(every).squeeze(1).tolist() == list(range(1, 65))
    letters = torch.tensor([[1, 1, 2, 4, 0, 3, 3, 3]])  # AACT-GGG
    assert number_words(letters).tolist() == [[2, 8, 0, 0, 0, 43]]


def test_skip_gram_loss_is_that_of_a_loop_over_pairs() -> None:
    torch.manual_seed(0)
    layer = SkipGram(6, window=2)
    words = torch.tensor([[5, 9, 0, 9, 64, 1], [3, 0, 0, 0, 7, 0], [0, 0, 0, 0, 0, 0]])
    wanted = []
    for record in words:
        losses = [
            functional.cross_entropy(layer.contexts(layer.vectors(record[here])), record[there])
            for here in range(6)
            for there in range(6)
            if here != there and abs(here - there) <= 2 and record[here] and record[there]
        ]
        wanted.append(torch.stack(losses).mean() if losses else torch.tensor(0.0))
    torch.testing.assert_close(layer.compute_losses(words), torch.stack(wanted))


def test_outputs_are_the_mean_of_the_networks() -> None:
    torch.manual_seed(0)
    module = build(SMALL, MODEL.example, (2,))
    letters = torch.randint(1, 5, (3, 24))
    words = number_words(letters)
    one_hot = torch.stack([letters == base for base in (1, 2, 3, 4)], dim=1).float()
    each = [
        module.letters(one_hot),
        module.words_reader(module.words(words).movedim(1, 2)),
        module.vectors_reader(module.skip_gram.vectors(words).movedim(1, 2)),
    ]
    torch.testing.assert_close(module({"sequence": letters}), sum(each) / 3)


def test_misfits_are_refused() -> None:
    with pytest.raises(ModelError, match="expected ids of 5 values, got 26"):
        build(Gene2vecOptions(), {"bases": 1001, "letters": 26}, ())
    with pytest.raises(ModelError, match="at least 18 letters for 2 poolings of 4; the data have 17"):
        build(Gene2vecOptions(networks=("words",)), {"bases": 17, "letters": 5}, ())
    module = build(Gene2vecOptions(networks=("words",)), {"bases": 18, "letters": 5}, ())
    set_objective(module, SKIP_GRAM)
    with pytest.raises(ModelError, match="has no 'gene2vec'"):
        module({"sequence": torch.ones(1, 18, dtype=torch.int64)})
