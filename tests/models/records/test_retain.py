import pytest
import torch

from tests.models.records_over_time import build_model, draw_inputs

SIZES = {"visits": 5, "codes": 12}


@pytest.mark.parametrize("outputs", [(), (3,)])
def test_contributions_of_codes_and_the_bias_add_up_to_the_output(outputs: tuple[int, ...]) -> None:
    module, inputs = build_model("retain", SIZES, outputs), draw_inputs("retain", SIZES, [5, 3, 1, 0])
    contributions = module.read_contributions(inputs)["visits"]
    assert contributions.shape == (4, 5, 12, *outputs)
    bias = module.head.bias.detach().reshape(outputs)
    torch.testing.assert_close(contributions.sum((1, 2)) + bias, module(inputs).detach(), rtol=1e-5, atol=1e-5)


def test_codes_that_are_not_there_contribute_nothing() -> None:
    module, inputs = build_model("retain", SIZES, ()), draw_inputs("retain", SIZES, [5, 3])
    there = inputs["visits"] & inputs["present"].unsqueeze(2)
    contributions = module.read_contributions(inputs)["visits"]
    assert not contributions[~there].any()
    assert contributions[there].all()


def test_attention_sums_to_one_over_present_visits() -> None:
    module, inputs = build_model("retain", SIZES, ()), draw_inputs("retain", SIZES, [5, 3, 1, 0])
    weights = module.attend(module.embedding(inputs["visits"].float()), inputs["present"]).visits
    torch.testing.assert_close(weights.sum(1), torch.tensor([1.0, 1.0, 1.0, 0.0]))
    assert not weights[~inputs["present"]].any()


def test_attention_reads_backwards_in_time() -> None:
    """The code weights of a visit depend on it and on later visits, not on earlier ones."""
    module = build_model("retain", SIZES, ())
    present = torch.tensor([[True, True, True, True, False]])
    embedded = torch.randn(1, 5, 16, generator=torch.Generator().manual_seed(0))
    changed = embedded.clone()
    changed[:, 1] += 1.0
    first, second = (module.attend(each, present).codes[0] for each in (embedded, changed))
    assert (first != second).any(1).tolist() == [True, True, False, False, False]
