import pytest
import torch

from models.drugs.dti_cnn import MODEL, DtiCnnOptions, build
from models.entry import Count
from models.errors import ModelError
from tests.models.counting import count_parameters

SIZES = {"compound_descriptors": 9, "protein_descriptors": 7}


@pytest.mark.parametrize("count", MODEL.counts, ids=lambda count: count.preset)
def test_parameters_are_as_many_as_counted(count: Count) -> None:
    assert count_parameters(MODEL, count) == count.parameters


def test_parameters_of_1281_descriptors_by_hand() -> None:
    """Rows of 1281, 640, 320 and 160; convolutions keep the length."""
    convolutions = (7 * 1 + 1) * 16 + (7 * 16 + 1) * 32 + (7 * 32 + 1) * 64
    assert convolutions + (160 * 64 + 1) * 128 + 129 == MODEL.counts[0].parameters


def test_first_convolution_is_a_sum_over_neighbours_on_both_sides_of_the_border() -> None:
    torch.manual_seed(0)
    network = build(DtiCnnOptions(filters=(2,), kernel=3, hidden=4), SIZES, ())
    row = torch.rand(16)
    padded = [0.0, *row.tolist(), 0.0]
    (convolution,) = network.convolutions
    assert isinstance(convolution, torch.nn.Conv1d)
    assert convolution.bias is not None
    weight, bias = convolution.weight[:, 0].tolist(), convolution.bias.tolist()
    want = [
        [sum(weight[f][k] * padded[place + k] for k in range(3)) + bias[f] for place in range(16)] for f in range(2)
    ]
    pooled = torch.nn.functional.elu(
        torch.tensor([[max(each[place : place + 2]) for place in range(0, 16, 2)] for each in want])
    )
    found = network({"compound": row[None, :9], "protein": row[None, 9:]})
    torch.testing.assert_close(found, network.layers(pooled.reshape(1, -1))[:, 0])


def test_order_of_the_descriptors_matters_though_it_has_no_meaning() -> None:
    torch.manual_seed(0)
    network = MODEL.build(MODEL.presets["small"], MODEL.example, ())
    compound, protein = torch.rand(3, 14), torch.rand(3, 10)
    turned = network({"compound": compound.flip(1), "protein": protein})
    assert not torch.allclose(network({"compound": compound, "protein": protein}), turned)


def test_even_kernels_and_rows_that_are_too_short_are_refused() -> None:
    with pytest.raises(ModelError, match=r"model\.options\.kernel: expected an odd number, got 4"):
        build(DtiCnnOptions(kernel=4), SIZES, ())
    with pytest.raises(ModelError, match="at least 32 descriptors; the data have 16"):
        build(DtiCnnOptions(filters=(2,) * 5), SIZES, ())
