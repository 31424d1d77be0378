import pytest
import torch
from torch.nn import functional

from models.errors import ModelError
from models.genomics.cnnc import CnncOptions, build


def count_by_hand(height: int, width: int, outputs: int) -> int:
    """Three blocks of 32, 64 and 128 filters, 512 units."""
    total, below = 0, 1
    for filters in (32, 64, 128):
        total += 9 * below * filters + filters + 9 * filters * filters + filters
        below, height, width = filters, (height - 2) // 2, (width - 2) // 2
    return total + 128 * height * width * 512 + 512 + 512 * outputs + outputs


@pytest.mark.parametrize(
    ("height", "outputs", "parameters"),
    [(32, 1, 549_601), (32, 3, 550_627), (64, 1, 1_073_889), (64, 3, 1_074_915)],
)
def test_parameters_are_those_of_the_authors(height: int, outputs: int, parameters: int) -> None:
    with torch.device("meta"):
        module = build(CnncOptions(), {"height": height, "width": 32}, (outputs,))
    assert sum(each.numel() for each in module.parameters()) == parameters == count_by_hand(height, 32, outputs)


def test_block_keeps_the_sides_first_and_takes_two_then() -> None:
    """One block, written with the functions of torch."""
    torch.manual_seed(0)
    module = build(CnncOptions(filters=(3,), hidden=4), {"height": 8, "width": 6}, ()).eval()
    values = torch.rand(2, 1, 8, 6)
    weights = dict(module.named_parameters())
    maps = functional.relu(
        functional.conv2d(values, weights["blocks.0.0.weight"], weights["blocks.0.0.bias"], padding=1)
    )
    maps = functional.relu(functional.conv2d(maps, weights["blocks.1.0.weight"], weights["blocks.1.0.bias"]))
    assert maps.shape == (2, 3, 6, 4)
    summary = functional.max_pool2d(maps, 2).flatten(1)
    torch.testing.assert_close(module({"histogram": values}), module.layers(summary)[:, 0])


def test_order_of_the_two_genes_matters() -> None:
    torch.manual_seed(0)
    module = build(CnncOptions(filters=(4,), hidden=4), {"height": 8, "width": 8}, ()).eval()
    values = torch.rand(2, 1, 8, 8)
    assert not torch.allclose(module({"histogram": values}), module({"histogram": values.transpose(2, 3)}))


def test_histogram_that_is_too_small_is_refused() -> None:
    with pytest.raises(ModelError, match="'cnnc' with 3 blocks expects a width of at least 22, got 21"):
        build(CnncOptions(), {"height": 22, "width": 21}, ())
    build(CnncOptions(filters=(1, 1, 1), hidden=1), {"height": 22, "width": 22}, ())
