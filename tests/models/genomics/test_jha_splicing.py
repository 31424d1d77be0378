import pytest
import torch

from models.entry import Count
from models.genomics.jha_splicing import MODEL, JhaSplicing, JhaSplicingOptions, build
from tests.models.counting import count_parameters

SIZES = {"features": 12, "contexts": 4}


def make_model(**options: object) -> JhaSplicing:
    torch.manual_seed(0)
    return build(JhaSplicingOptions.model_validate({"code": 5, "hidden": (6, 3), **options}), SIZES, (3,))


def draw_exons(records: int) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(1)
    tissues = torch.eye(2)[torch.randint(2, (records, 2), generator=random)].flatten(1)
    return {"features": torch.rand(records, 12, generator=random), "context": tissues}


@pytest.mark.parametrize("count", MODEL.counts, ids=str)
def test_parameters_are_as_many_as_counted(count: Count) -> None:
    assert count_parameters(MODEL, count) == count.parameters


def test_parameters_of_each_stage_are_those_of_the_layers() -> None:
    with torch.device("meta"):
        module = build(JhaSplicingOptions(), {"features": 1_357, "contexts": 10}, (3,))
    assert sum(each.numel() for part in (module.encoder, module.decoder) for each in part.parameters()) == 1_358_857
    assert sum(each.numel() for each in module.layers.parameters()) == 285_203


@torch.no_grad()
def test_loss_of_the_first_stage_is_the_mean_squared_error_of_each_record() -> None:
    module, inputs = make_model().eval(), draw_exons(3)
    module.objective = "features"
    returned = module(inputs)
    assert isinstance(returned, dict)
    for record, features in enumerate(inputs["features"]):
        code = torch.tanh(module.encoder.weight @ features + module.encoder.bias)
        restored = module.decoder.weight @ code + module.decoder.bias
        assert float(returned["own_loss"][record]) == pytest.approx(
            float((restored - features).square().mean()), rel=1e-5
        )


def test_corruption_is_of_the_first_stage_and_of_training_only() -> None:
    module, inputs = make_model(dropout=0.0, corruption=0.5), draw_exons(4)
    assert torch.equal(module(inputs), module(inputs))
    module.objective = "features"
    assert not torch.equal(module(inputs)["own_loss"], module(inputs)["own_loss"])
    module.eval()
    assert torch.equal(module(inputs)["own_loss"], module(inputs)["own_loss"])


@torch.no_grad()
def test_layers_read_the_code_and_the_context() -> None:
    module, inputs = make_model().eval(), draw_exons(2)
    code = torch.tanh(inputs["features"] @ module.encoder.weight.T + module.encoder.bias)
    torch.testing.assert_close(module(inputs), module.layers(torch.cat([code, inputs["context"]], dim=1)))
    turned = inputs | {"context": inputs["context"].flip(1)}
    assert not torch.equal(module(turned), module(inputs))
