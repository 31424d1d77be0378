"""A common step falls on the parameters that the round's stage trains, wherever they are in the shared vector."""

from pathlib import Path

import numpy as np
import pytest
import torch

from client.training.device import Device
from client.training.global_step import compute_global_step
from client.training.local_steps import begin_stage, make_loss
from models.parameters.flatten import list_shared_parameters, read_shared_parameters
from privacy.randomness import KeyStream
from tests.models.generated_studies import all_rows, generated_site, generated_terms


@pytest.mark.parametrize("number", [1, 2])
def test_step_of_a_stage_has_the_direction_of_its_gradient(number: int, tmp_path: Path) -> None:
    terms = generated_terms(
        "projected-mlp",
        distributed=True,
        training={"sampling_rate": 1.0},
        privacy={"epsilon": 100, "clipping_norm": 50},
    )
    site = generated_site(tmp_path, terms, patients=30, records=1, device=torch.device("cpu"))
    got = compute_global_step(
        read_shared_parameters(site.module),
        terms,
        site.records,
        30,
        Device.choose("cpu"),
        KeyStream(bytes(32)),
        number,
    )
    everything = list_shared_parameters(site.module)
    with begin_stage(site.module, terms, number):
        inputs, targets = site.records.select(all_rows(site))
        torch.autograd.backward(make_loss(terms)(site.module(inputs), targets).sum())
    wanted = np.concatenate(
        [
            (torch.zeros_like(value) if value.grad is None else value.grad).reshape(-1).numpy()
            for value in everything.values()
        ]
    )
    assert np.linalg.norm(wanted) > 1
    np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-4)
