import numpy as np
import pytest
import torch
from torch import nn

from models.entry import Count
from models.errors import ModelError
from models.genomics.basset import MODEL, BassetOptions, build
from models.layers.sequence_blocks import Pooling
from tests.models.counting import count_parameters

SMALL = BassetOptions.model_validate(MODEL.presets["small"].model_dump())


@pytest.mark.parametrize("count", MODEL.counts, ids=lambda count: f"{count.preset}{count.outputs}")
def test_parameters_are_as_many_as_counted(count: Count) -> None:
    assert count_parameters(MODEL, count) == count.parameters


def test_shapes_are_those_of_the_paper() -> None:
    with torch.device("meta"):
        network = build(BassetOptions(), {"bases": 600}, (164,))
        values, shapes = torch.zeros(2, 4, 600), []
        for layer in (*network.convolutions, *network.hidden, network.head):
            values = layer(values)
            if isinstance(layer, nn.Conv1d | nn.MaxPool1d | nn.Flatten | nn.Linear):
                shapes.append(tuple(values.shape[1:]))
    convolutions = [(300, 582), (300, 194), (200, 184), (200, 46), (200, 40), (200, 10), (2000,)]
    assert shapes == [*convolutions, (1000,), (1000,), (164,)]


def test_sequences_shorter_than_the_convolutions_need_are_refused() -> None:
    options = BassetOptions(filters=(2, 2), kernels=(5, 3), pools=(2, 4), hidden=())
    assert build(options, {"bases": 16}, ())({"sequence": torch.zeros(3, 4, 16)}).shape == (3,)
    with pytest.raises(
        ModelError, match=r"basset needs at least 16 places for kernels of 5, 3 and pools of 2, 4; .*15"
    ):
        build(options, {"bases": 15}, ())


def test_every_convolution_has_a_kernel_and_a_pool() -> None:
    with pytest.raises(ModelError, match="one number for each convolution"):
        MODEL.check_options("basset", {"filters": [8, 8]})


@pytest.mark.parametrize(("pooling", "expected"), [("sum", [2.0, 1.0, 0.0]), ("max", [1.0, 1.0, 0.0])])
def test_sum_pooling_counts_a_word_and_max_pooling_finds_it(pooling: Pooling, expected: list[float]) -> None:
    network = build(
        BassetOptions(filters=(1,), kernels=(4,), pools=(9,), pooling=pooling, hidden=(), norm="none"),
        {"bases": 12},
        (),
    )
    first = network.convolutions[0]
    assert isinstance(first, nn.Conv1d)
    assert first.bias is not None
    with torch.no_grad():
        first.weight[0] = one_hot(["GATA"])[0]
        first.bias.fill_(-3)  # a word with one other letter gives 0
    sequences = one_hot(["GATACCGATACC", "GATACCCCCCCC", "CCCCCCCCCCCC"])
    assert network.convolutions(sequences).squeeze(1).tolist() == expected


def one_hot(words: list[str]) -> torch.Tensor:
    return torch.tensor([[[letter == base for letter in word] for base in "ACGT"] for word in words]).float()


def test_motif_of_a_filter_is_the_word_it_was_made_for() -> None:
    network = build(BassetOptions(filters=(2,), kernels=(4,), pools=(2,), hidden=()), {"bases": 12}, ())
    first = network.convolutions[0]
    assert isinstance(first, nn.Conv1d)
    with torch.no_grad():
        first.weight[0] = 2 * one_hot(["GATA"])[0] - 1
        first.weight[1] = -1.0  # never above 0
        assert first.bias is not None
        first.bias.zero_()
    counts = network.count_motifs(one_hot(["CCGATACCCCCC", "TTTTTTTGATAT", "GGGGGGGGGGGG"]))
    torch.testing.assert_close(counts[0], 2 * one_hot(["GATA"])[0])
    assert not counts[1].any()


def test_motifs_are_those_of_a_loop_over_windows() -> None:
    torch.manual_seed(0)
    network = build(SMALL, MODEL.example, ())
    random = np.random.default_rng(0)
    words = ["".join(random.choice(list("ACGT"), 60)) for _ in range(5)]
    first, sequences = network.convolutions[0], one_hot(words)
    assert isinstance(first, nn.Conv1d)
    assert first.bias is not None
    for number, (weight, bias) in enumerate(zip(first.weight.detach(), first.bias.detach(), strict=True)):
        windows = [sequence[:, at : at + 5] for sequence in sequences for at in range(56)]
        answers = [float((weight * window).sum() + bias) for window in windows]
        chosen = [window for window, answer in zip(windows, answers, strict=True) if answer > max(answers) / 2 > 0]
        counted = torch.stack(chosen).sum(0) if chosen else torch.zeros(4, 5)
        torch.testing.assert_close(network.count_motifs(sequences)[number], counted)
