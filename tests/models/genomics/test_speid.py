import pytest
import torch
from torch import nn

from models.entry import Count
from models.errors import ModelError
from models.genomics.speid import MODEL, SpeidOptions, build
from tests.models.counting import count_parameters

SMALL = SpeidOptions.model_validate(MODEL.presets["small"].model_dump())


@pytest.mark.parametrize("count", MODEL.counts, ids=lambda count: count.preset)
def test_parameters_are_as_many_as_counted(count: Count) -> None:
    assert count_parameters(MODEL, count) == count.parameters


def test_hidden_layer_reads_the_steps_of_the_paper() -> None:
    """(3000 - 39) // 20 = 148 steps of the enhancer and 98 of the promoter, of 100 units each."""
    with torch.device("meta"):
        network = build(SpeidOptions(), {"enhancer_bases": 3000, "promoter_bases": 2000}, ())
        summed = build(SpeidOptions(summary="largest"), {"enhancer_bases": 3000, "promoter_bases": 2000}, ())
    assert isinstance(network.hidden[0], nn.Linear)
    assert isinstance(summed.hidden[0], nn.Linear)
    assert network.hidden[0].in_features == (148 + 98) * 100 == 24_600
    assert summed.hidden[0].in_features == 100


@pytest.mark.parametrize("summary", ["steps", "largest"])
def test_both_sequences_matter_and_each_has_its_own_filters(summary: str) -> None:
    torch.manual_seed(0)
    options = SMALL.model_copy(update={"summary": summary})
    network = build(options, {"enhancer_bases": 30, "promoter_bases": 30}, ())
    one, other = torch.rand(2, 2, 4, 30)
    found = network({"enhancer": one, "promoter": other})
    assert found.shape == (2,)
    assert not torch.allclose(found, network({"enhancer": other, "promoter": one}))
    assert not torch.allclose(found, network({"enhancer": one, "promoter": one}))


def test_sequences_too_short_for_a_filter_and_a_pooling_are_refused() -> None:
    build(SpeidOptions(), {"enhancer_bases": 59, "promoter_bases": 59}, ())
    with pytest.raises(ModelError, match=r"speid needs at least 59 places .* the data have 58"):
        build(SpeidOptions(), {"enhancer_bases": 59, "promoter_bases": 58}, ())
