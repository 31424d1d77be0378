import subprocess
import sys
from typing import Any

import pytest
import torch

from models.catalogue import check_options
from models.errors import ModelError
from tests.models.tables import build_for_table

OPTIONS: dict[str, dict[str, Any]] = {"logistic": {}, "mlp": {"hidden": [8, 4]}}


@pytest.mark.parametrize("name", OPTIONS)
def test_model_of_a_table_gives_one_logit_a_record(name: str) -> None:
    module = build_for_table(name, OPTIONS[name], 5)
    assert module({"features": torch.zeros(3, 5)}).shape == (3,)


@pytest.mark.parametrize("name", OPTIONS)
def test_model_of_a_table_treats_each_record_alone(name: str) -> None:
    module = build_for_table(name, OPTIONS[name], 5)
    records = torch.randn(6, 5)
    together = module({"features": records})
    alone = torch.cat([module({"features": records[i : i + 1]}) for i in range(6)])
    torch.testing.assert_close(together, alone)


def test_mlp_layers_follow_the_options() -> None:
    module = build_for_table("mlp", {"hidden": [8, 4], "activation": "tanh"}, 5)
    shapes = [tuple(parameter.shape) for parameter in module.parameters()]
    assert shapes == [(8, 5), (8,), (4, 8), (4,), (1, 4), (1,)]
    assert sum(isinstance(layer, torch.nn.Tanh) for layer in module.modules()) == 2


def test_check_unknown_model_names_the_known_ones() -> None:
    with pytest.raises(ModelError, match="there is no model 'resnet'; known models: logistic, mlp"):
        check_options("resnet", {})


def test_check_unknown_option_names_the_known_ones() -> None:
    with pytest.raises(ModelError, match=r"model\.options\.hiden: 'mlp' has no such option; its options: hidden"):
        check_options("mlp", {"hidden": [3], "hiden": [3]})


def test_check_several_mistakes_are_listed_together() -> None:
    with pytest.raises(ModelError, match=r"options\.hidden: missing; .*options\.activation: input should be"):
        check_options("mlp", {"activation": "relu"})


@pytest.mark.parametrize("hidden", [[], [0], [3.5], "8"])
def test_check_hidden_that_are_no_widths_is_refused(hidden: object) -> None:
    with pytest.raises(ModelError, match="hidden"):
        check_options("mlp", {"hidden": hidden})


def test_catalogue_needs_no_torch_until_a_model_of_it_is_named() -> None:
    program = (
        "import sys, models.fit, models.catalogue as c\n"
        "try: c.check_options('resnet', {})\n"
        "except c.ModelError: assert 'torch' not in sys.modules and len(c.NAMES) > 1\n"
        "else: raise AssertionError"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
