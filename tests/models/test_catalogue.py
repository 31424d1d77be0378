import subprocess
import sys

import pytest
import torch

from models.catalogue import NAMES, build, check
from models.errors import ModelError

OPTIONS = {"logistic": {}, "mlp": {"hidden": [8, 4]}}


@pytest.mark.parametrize("name", NAMES)
def test_model_of_the_catalogue_gives_one_logit_a_record(name: str) -> None:
    module = build(name, OPTIONS[name], inputs=5)
    assert module(torch.zeros(3, 5)).shape == (3,)


@pytest.mark.parametrize("name", NAMES)
def test_model_of_the_catalogue_treats_each_record_alone(name: str) -> None:
    module = build(name, OPTIONS[name], inputs=5)
    records = torch.randn(6, 5)
    together = module(records)
    alone = torch.cat([module(records[i : i + 1]) for i in range(6)])
    torch.testing.assert_close(together, alone)


def test_mlp_layers_follow_the_options() -> None:
    module = build("mlp", {"hidden": [8, 4], "activation": "tanh"}, inputs=5)
    shapes = [tuple(parameter.shape) for parameter in module.parameters()]
    assert shapes == [(8, 5), (8,), (4, 8), (4,), (1, 4), (1,)]
    assert sum(isinstance(layer, torch.nn.Tanh) for layer in module.modules()) == 2


def test_check_unknown_model_names_the_known_ones() -> None:
    with pytest.raises(ModelError, match="there is no model 'resnet'; known models: logistic, mlp"):
        check("resnet", {})


def test_check_unknown_option_names_the_known_ones() -> None:
    with pytest.raises(ModelError, match=r"model\.options\.hiden: 'mlp' has no such option; its options: hidden"):
        check("mlp", {"hidden": [3], "hiden": [3]})


def test_check_several_mistakes_are_listed_together() -> None:
    with pytest.raises(ModelError, match=r"options\.hidden: missing; .*options\.activation: input should be"):
        check("mlp", {"activation": "relu"})


@pytest.mark.parametrize("hidden", [[], [0], [3.5], "8"])
def test_check_hidden_that_are_no_widths_is_refused(hidden: object) -> None:
    with pytest.raises(ModelError, match="hidden"):
        check("mlp", {"hidden": hidden})


def test_check_needs_no_torch() -> None:
    program = (
        "import sys, models.catalogue as c; c.check('mlp', {'hidden': [3]}); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
