import pytest
import torch

from models.catalogue import find_model
from models.errors import ModelError
from models.longitudinal.dynamic_deephit import compute_next_value_loss, find_last_visit, take_visit
from tests.models.records_over_time import build_model, draw_inputs

SIZES = {"time": 6, "variables": 4}


def test_last_visit_is_the_last_present_one() -> None:
    present = torch.arange(4) < torch.tensor([0, 1, 3, 4])[:, None]
    last = find_last_visit(present)
    assert [row.nonzero().flatten().tolist() for row in last] == [[], [0], [2], [3]]
    visits = torch.arange(16.0).reshape(4, 4, 1)
    assert take_visit(visits, last).flatten().tolist() == [0, 4, 10, 15]


def test_next_value_loss_is_the_mean_over_what_the_next_visits_measured() -> None:
    predicted, visits = (torch.randn(3, 6, 4, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    measured = torch.rand(3, 6, 4, generator=torch.Generator().manual_seed(2)) < 0.5
    measured[1, 1:] = False
    found = compute_next_value_loss(predicted, visits, measured)
    for record in range(3):
        errors = [
            float(predicted[record, step, number] - visits[record, step + 1, number]) ** 2
            for step in range(5)
            for number in range(4)
            if measured[record, step + 1, number]
        ]
        assert float(found[record]) == pytest.approx(sum(errors) / max(1, len(errors)), rel=1e-5)


def test_record_of_one_visit_has_no_history_and_no_own_loss() -> None:
    """Its outputs come from its one visit: parameters of memory and attention do not matter."""
    inputs = draw_inputs("dynamic-deephit", SIZES, [1])
    module, other = (build_model("dynamic-deephit", SIZES, (9,)) for _ in range(2))
    with torch.no_grad():
        for part in (other.lower, other.upper, other.attention):
            for parameter in part.parameters():
                parameter.add_(1.0)
    assert torch.equal(module(inputs)["outputs"], other(inputs)["outputs"])
    assert module(inputs)["own_loss"].tolist() == [0.0]


def test_own_loss_does_not_see_what_was_not_measured() -> None:
    module, inputs = build_model("dynamic-deephit", SIZES, (9,)), draw_inputs("dynamic-deephit", SIZES, [6, 4])
    other = inputs | {"values": torch.where(inputs["observed"], inputs["values"], 55.0)}
    for key, value in module(inputs).items():
        assert torch.equal(value, module(other)[key])


def test_weight_of_the_own_loss_is_an_option() -> None:
    entry, inputs = find_model("dynamic-deephit"), draw_inputs("dynamic-deephit", SIZES, [6, 4])
    losses = []
    for weight in (1.0, 0.25):
        options = entry.presets["small"].model_copy(update={"next_value_loss": weight})
        module = entry.build(options, SIZES, (9,)).eval()
        module.load_state_dict(build_model("dynamic-deephit", SIZES, (9,)).state_dict())
        losses.append(module(inputs)["own_loss"])
    torch.testing.assert_close(losses[0] * 0.25, losses[1])


def test_outputs_that_the_causes_do_not_share_alike_are_refused() -> None:
    entry = find_model("dynamic-deephit")
    for outputs in [(8,), (1,), (), (2, 9)]:
        with pytest.raises(ModelError, match=r"model.options.causes: 'dynamic-deephit' has 2 causes"):
            entry.build(entry.presets["small"], SIZES, outputs)
