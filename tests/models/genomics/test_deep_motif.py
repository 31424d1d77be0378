import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torch.nn import functional

from models.entry import Count
from models.errors import ModelError
from models.genomics.deep_motif import MODEL, DeepMotif, DeepMotifOptions, build
from tests.models.counting import count_parameters

FORMS: dict[str, dict[str, object]] = {
    "cnn": {"filters": (5, 6), "kernels": (3, 2)},
    "rnn": {"filters": (), "kernels": ()},
    "cnn-rnn": {"filters": (5,), "kernels": (3,)},
}


def make_model(form: str, bases: int = 10) -> DeepMotif:
    torch.manual_seed(0)
    options = DeepMotifOptions.model_validate({"form": form, "memory": 3, **FORMS[form]})
    return build(options, {"bases": bases}, ()).eval()


def draw_letters(records: int, bases: int = 10) -> dict[str, torch.Tensor]:
    letters = torch.randint(4, (records, bases), generator=torch.Generator().manual_seed(1))
    return {"sequence": functional.one_hot(letters, 4).movedim(1, 2).float()}


@pytest.mark.parametrize("count", MODEL.counts, ids=str)
def test_parameters_are_as_many_as_counted(count: Count) -> None:
    assert count_parameters(MODEL, count) == count.parameters


@torch.no_grad()
def test_memory_is_that_of_torch_from_both_ends_averaged_over_the_letters() -> None:
    module, sequence = make_model("rnn"), draw_letters(3)["sequence"]
    means = []
    for memory, series in ((module.onward, sequence), (module.backward, sequence.flip(2))):
        reference = nn.LSTM(4, 3, batch_first=True)
        bias = memory.input.bias + torch.tensor([0.0, 1, 0, 0]).repeat_interleave(
            3
        )  # ours adds 1 to the forget gate
        order = torch.cat([torch.arange(6), torch.arange(9, 12), torch.arange(6, 9)])  # torch: the output gate last
        values = (memory.input.weight[order], memory.state.weight[order], bias[order], torch.zeros(12))
        for parameter, value in zip(reference.parameters(), values, strict=True):
            parameter.copy_(value)
        means.append(reference(series.movedim(1, 2))[0].mean(1))
    expected = module.head(torch.cat(means, dim=1))[:, 0]
    torch.testing.assert_close(module({"sequence": sequence}), expected)


@torch.no_grad()
def test_convolutions_end_in_the_largest_value_of_each_filter() -> None:
    module, inputs = make_model("cnn"), draw_letters(3)
    first, second = module.convolutions
    values = first(inputs["sequence"]).relu()
    values = torch.maximum(values[:, :, 0::2], values[:, :, 1::2])
    values = second(values).relu().amax(2)
    torch.testing.assert_close(module(inputs), module.head(values)[:, 0])


@torch.no_grad()
def test_sum_pooling_adds_up_each_filter_of_the_last_convolution() -> None:
    options = DeepMotifOptions(form="cnn", filters=(5,), kernels=(3,), pooling="sum")
    module, inputs = build(options, {"bases": 10}, ()).eval(), draw_letters(3)
    values = module.convolutions[0](inputs["sequence"]).relu().sum(2)
    torch.testing.assert_close(module(inputs), module.head(values)[:, 0])


@pytest.mark.parametrize("form", ["rnn", "cnn-rnn"])
def test_sum_pooling_is_of_convolutions_alone(form: str) -> None:
    with pytest.raises(ValidationError, match="pooling is of the form cnn"):
        DeepMotifOptions.model_validate({"form": form, "pooling": "sum", **FORMS[form]})


@pytest.mark.parametrize("form", ["rnn", "cnn-rnn"])
@torch.no_grad()
def test_temporal_outputs_are_those_of_shorter_sequences(form: str) -> None:
    """The whole one is the ordinary output; a part of an rnn is the output of the letters that are left."""
    module, inputs = make_model(form), draw_letters(2)
    parts = module.read_temporal_outputs(inputs)
    assert parts["prefix"].shape == parts["suffix"].shape == (2, 11)
    for whole in (parts["prefix"][:, 10], parts["suffix"][:, 0]):
        torch.testing.assert_close(whole, module(inputs))
    for empty in (parts["prefix"][:, 0], parts["suffix"][:, 10]):
        torch.testing.assert_close(empty, module.head.bias.expand(2))
    if form == "rnn":
        for cut in range(1, 10):
            left, right = (
                {"sequence": inputs["sequence"][:, :, :cut]},
                {"sequence": inputs["sequence"][:, :, cut:]},
            )
            torch.testing.assert_close(parts["prefix"][:, cut], module(left))
            torch.testing.assert_close(parts["suffix"][:, cut], module(right))


def test_convolutions_alone_have_no_temporal_outputs() -> None:
    assert make_model("cnn").read_temporal_outputs(draw_letters(1)) == {}


@pytest.mark.parametrize(
    "options",
    [{"form": "rnn"}, {"form": "cnn", "filters": (), "kernels": ()}, {"kernels": (8,)}, {"kernels": (9, 5)}],
    ids=str,
)
def test_options_that_make_no_sense_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        DeepMotifOptions.model_validate(options)


def test_fewer_letters_than_the_convolutions_need_are_refused() -> None:
    make_model("cnn", bases=6)(draw_letters(1, 6))
    with pytest.raises(ModelError, match="at least 6 letters for kernels of 3, 2; the data have 5"):
        make_model("cnn", bases=5)
