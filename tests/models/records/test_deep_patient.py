import pytest
import torch

from models.entry import Count
from models.records.deep_patient import MODEL, DeepPatientOptions, build
from tests.models.counting import count_parameters


@pytest.mark.parametrize("count", MODEL.counts, ids=lambda count: count.preset)
def test_parameters_are_as_many_as_counted(count: Count) -> None:
    assert count_parameters(MODEL, count) == count.parameters


def test_encoders_of_the_paper_have_21_million_parameters() -> None:
    with torch.device("meta"):
        stack = build(DeepPatientOptions(), {"features": 41_072}, (78,))
    parts = {"encoder": 0, "decoder": 0}
    for name, parameter in stack.autoencoders.named_parameters():
        parts[name.split(".")[1]] += parameter.numel()
    assert parts == {"encoder": 21_037_500, "decoder": 21_078_072}
