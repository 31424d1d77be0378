"""A model that is moved to a device computes there: none of its tensors stays on the CPU, in no objective or task."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from client.training.device_records import DeviceRecords
from client.training.local_steps import begin_stage, make_loss
from models.catalogue import NAMES, find_model
from models.layers import private_projection
from privacy.dpsgd import DpSgd, Mechanism
from privacy.randomness import KeyStream
from tests.models.generated_studies import generated_site, generated_terms
from tests.models.one_device import DEVICE, MixedDevicesError, one_device

KEY = b"a key of 32 bytes, for tests now"
CPU = torch.device("cpu")


@pytest.mark.parametrize("name", NAMES)
def test_private_steps_of_every_stage_and_task_are_on_one_device(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # its components are computed on the CPU on purpose, which has no numbers to begin with here
    monkeypatch.setattr(private_projection, "find_components", lambda covariance, kept: covariance[:, :kept])
    for place, task in enumerate(find_model(name).tasks):
        terms = generated_terms(name, task)
        (tmp_path / task).mkdir()
        site = generated_site(tmp_path / task, terms, patients=4, records=2, device=CPU)
        module, rounds = site.module.to(DEVICE), range(1, terms.training.rounds + 1)
        with one_device():
            records = DeviceRecords(site.patients, terms, DEVICE)
            for number in rounds if place == 0 else rounds[-1:]:
                with begin_stage(module, terms, number):
                    engine = DpSgd(module, make_loss(terms), Mechanism(1.0, 4, 1.0, 1.0), KeyStream(KEY))
                    assert engine.compute_gradient(records).device == DEVICE


@pytest.mark.parametrize(
    "mix",
    [
        lambda there, here: there + here,
        lambda there, here: there @ here,
        torch.nn.functional.linear,
        lambda there, here: torch.nn.functional.embedding(here.long(), there),
        lambda there, here: there.gather(1, here.long()),
        lambda there, here: torch.bmm(there[None], here[None]),
        lambda there, here: torch.conv1d(there[None], here[None]),
        lambda there, here: here[there.long()],
    ],
)
def test_tensors_of_two_devices_in_one_operation_are_refused(
    mix: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
) -> None:
    with one_device(), pytest.raises(MixedDevicesError):
        mix(torch.zeros(3, 3, device=DEVICE), torch.zeros(3, 3))


def test_what_a_graphics_processor_takes_is_taken() -> None:
    there, here = torch.zeros(3, 3, device=DEVICE), torch.zeros(3, 3)
    with one_device():
        for taken in (
            there + 1,
            there * torch.tensor(2.0),
            there[here[0].long()],
            here.to(DEVICE),
            there.copy_(here),
        ):
            assert taken.device == DEVICE
        assert float(there[0, 0]) == 0.25
