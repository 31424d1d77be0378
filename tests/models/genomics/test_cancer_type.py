import pytest
import torch
from torch.nn import functional

from models.errors import ModelError
from models.genomics.cancer_type import CancerType, CancerTypeOptions, build
from models.parameters.flatten import read_shared_parameters


def make(genes: int, **options: object) -> CancerType:
    torch.manual_seed(0)
    return build(CancerTypeOptions.model_validate({"hidden": 3, "filters": 2, **options}), {"genes": genes}, (4,))


def test_one_dimensional_form_is_one_linear_map_of_every_second_row() -> None:
    """Written as a loop: genes fill rows of 5, the last row is half empty, and rows 0, 2, 4 are kept."""
    module, values = make(28, form="1d", height=6, width=5), torch.rand(3, 28)
    layer = module.rows
    assert layer is not None
    weight, bias = layer.get_parameter("weight")[:, 0, 0], layer.get_parameter("bias")
    rows = functional.pad(values, (0, 2)).reshape(3, 6, 5)
    kept = [functional.relu(rows[:, row] @ weight.T + bias) for row in (0, 2, 4)]  # (records, filters) each
    found = torch.stack(kept, dim=2).flatten(1)
    torch.testing.assert_close(module({"features": values}), module.layers(found))


def test_hybrid_form_sees_rows_and_columns_side_by_side() -> None:
    module, values = make(30, form="hybrid", height=6, width=5), torch.rand(3, 30)
    layer = module.columns
    assert layer is not None
    both = module.layers
    seen: list[torch.Tensor] = []
    both.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    module({"features": values})
    columns = values.reshape(3, 6, 5)[:, :, ::2]  # every second of the five
    weight, bias = layer.get_parameter("weight")[:, 0, :, 0], layer.get_parameter("bias")
    found = functional.relu(torch.einsum("nhc,fh->nfc", columns, weight) + bias[:, None])
    assert seen[0].shape == (3, 2 * (3 + 3))
    torch.testing.assert_close(seen[0][:, 6:], found.flatten(1))


def test_places_without_a_gene_change_nothing() -> None:
    """Two genes fewer give what zeros in their places give, in every form."""
    for form in ("1d", "2d", "hybrid"):
        few = make(28, form=form, height=6, width=5, kernel=2)
        all_places = make(30, form=form, height=6, width=5, kernel=2)
        assert torch.equal(
            torch.as_tensor(read_shared_parameters(few)), torch.as_tensor(read_shared_parameters(all_places))
        )
        values = torch.rand(3, 28)
        torch.testing.assert_close(
            few({"features": values}), all_places({"features": functional.pad(values, (0, 2))})
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"height": 5, "width": 5}, "has 25 places, and the data have 28 genes"),
        ({"form": "2d", "height": 9, "width": 9, "kernel": 8}, "squares of 8 need an image of at least 10 by 10"),
    ],
)
def test_image_that_is_too_small_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        make(28, **options)
