"""Records of several tensors against a loop: autograd on one record after the other, then the mean and the clipping."""

import numpy as np
import pytest
import torch
from torch import nn

from privacy.dpsgd import DpSgd, Loss, Mechanism, TensorRecords, run_self_test
from privacy.dpsgd.ghost_clipping import GhostClipping
from privacy.dpsgd.loss import BatchLoss
from privacy.dpsgd.trainable import Trainable
from privacy.errors import TermsError
from privacy.randomness import KeyStream
from tests.privacy.dpsgd.named_models import MODELS, Decaying, TwoInputs, built, logit_loss
from tests.privacy.dpsgd.oracle import KEY, MARGIN, assert_as_the_loop

SIZES = np.array([2, 1, 5, 0, 1, 3, 2])
EVERYBODY = np.arange(len(SIZES))


def records_of(name: str) -> TensorRecords:
    inputs, targets = MODELS[name].example.draw(int(SIZES.sum()), torch.device("cpu"))
    return TensorRecords(inputs, targets, np.repeat(EVERYBODY, SIZES), len(SIZES))


def loop_gradients(module: nn.Module, loss: Loss, records: TensorRecords) -> torch.Tensor:
    """The mean gradient of each patient, record by record; (patients, P) float64."""
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    found, row = [], 0
    for count in records.counts.tolist():
        total = torch.zeros(sum(parameter.numel() for parameter in trained), dtype=torch.float64)
        for one in range(row, row + count):
            inputs, targets = records.select(np.array([one]))
            each = torch.autograd.grad(
                loss(module(inputs), targets).sum(), trained, allow_unused=True, materialize_grads=True
            )
            total += torch.cat([part.flatten() for part in each]).double() / count
        row += count
        found.append(total)
    return torch.stack(found)


def clipped_sum(gradients: torch.Tensor, norm: float) -> torch.Tensor:
    factors = (MARGIN * norm / torch.linalg.vector_norm(gradients, dim=1)).clamp(max=1.0)
    total: torch.Tensor = (gradients * factors[:, None]).sum(0)
    return total


@pytest.mark.parametrize("batch_bytes", [1, 20_000, 1 << 30])
@pytest.mark.parametrize("name", MODELS)
def test_lot_sum_of_named_tensors_equals_the_loop(name: str, batch_bytes: int) -> None:
    module, records, loss = built(name), records_of(name), MODELS[name].loss
    gradients = loop_gradients(module, loss, records)
    norm = float(gradients.norm(dim=1).median())
    engine = DpSgd(module, loss, Mechanism(1.0, 7, norm, 1.0), KeyStream(KEY), "book-keeping", batch_bytes)
    assert_as_the_loop(module, engine.sum_lot(records, EVERYBODY), clipped_sum(gradients, norm))


@pytest.mark.parametrize("name", MODELS)
def test_lot_sum_of_named_tensors_by_chosen_patients_without_privacy_is_the_plain_sum(name: str) -> None:
    module, records, loss = built(name), records_of(name), MODELS[name].loss
    chosen = np.array([0, 2, 3, 6])
    engine = DpSgd(module, loss, Mechanism(1.0, 7, None, None), KeyStream(KEY))
    assert_as_the_loop(
        module, engine.sum_lot(records, chosen), loop_gradients(module, loss, records)[chosen].sum(0)
    )


@pytest.mark.parametrize("name", MODELS)
def test_self_test_of_named_tensors_passes(name: str) -> None:
    run_self_test(built(name), MODELS[name].loss, MODELS[name].example)


@pytest.mark.parametrize("name", ["lstm with a mask", "gru with a mask", "ids and numbers"])
def test_reference_of_named_tensors_equals_the_loop(name: str) -> None:
    module, records, loss = built(name), records_of(name), MODELS[name].loss
    engine = DpSgd(module, loss, Mechanism(1.0, 7, 0.1, 1.0), KeyStream(KEY), "opacus")
    got = engine.sum_lot(records, EVERYBODY)
    assert_as_the_loop(module, got, clipped_sum(loop_gradients(module, loss, records), 0.1))


@pytest.mark.parametrize("frozen", ["table", "numbers"])
def test_lot_sum_of_named_tensors_with_a_frozen_layer_is_of_the_others_only(frozen: str) -> None:
    module, records = built("ids and numbers"), records_of("ids and numbers")
    module.get_submodule(frozen).requires_grad_(False)
    engine = DpSgd(module, logit_loss, Mechanism(1.0, 7, 0.1, 1.0), KeyStream(KEY))
    got = engine.sum_lot(records, EVERYBODY)
    assert len(got) == sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
    assert_as_the_loop(module, got, clipped_sum(loop_gradients(module, logit_loss, records), 0.1))


def test_lot_sum_of_named_tensors_of_patient_who_is_not_finite_touches_nobody() -> None:
    module, records = built("ids and numbers"), records_of("ids and numbers")
    engine = DpSgd(module, logit_loss, Mechanism(1.0, 7, 0.1, 1.0), KeyStream(KEY))
    expected = engine.sum_lot(records, np.delete(EVERYBODY, 2))
    inputs, targets = MODELS["ids and numbers"].example.draw(int(SIZES.sum()), torch.device("cpu"))
    assert not isinstance(inputs, torch.Tensor)
    inputs["numbers"][4, 1] = torch.inf  # a record of patient 2
    strange = TensorRecords(inputs, targets, np.repeat(EVERYBODY, SIZES), len(SIZES))
    torch.testing.assert_close(engine.sum_lot(strange, EVERYBODY), expected)


def test_layer_that_is_given_the_mapping_itself_is_refused_by_name() -> None:
    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(4))

        def forward(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
            return (inputs["numbers"] * self.scale).sum(1)

    engine = DpSgd(Whole(), logit_loss, Mechanism(1.0, 7, 0.1, 1.0), KeyStream(KEY))
    with pytest.raises(TermsError, match=r"layer '' \(Whole\) is called on something that is not one tensor"):
        engine.sum_lot(records_of("ids and numbers"), EVERYBODY)


def test_survey_is_made_once_for_shapes_and_types() -> None:
    module = TwoInputs()
    clipping = GhostClipping(BatchLoss(module, logit_loss), Trainable(module))
    inputs, _ = records_of("ids and numbers").select(np.arange(3))
    assert not isinstance(inputs, torch.Tensor)
    longer = {**inputs, "unused": torch.zeros(3, 50)}
    first, again, other = (
        clipping.estimate_record_bytes(each) for each in (inputs, {k: v[:1] for k, v in inputs.items()}, longer)
    )
    assert first == again
    assert other - first == 4 * 48 * 4  # numbers more, bytes, and copies that both passes hold
    assert len(clipping._surveys) == 2


def test_estimated_bytes_hold_the_gradients_that_are_built_for_a_patient() -> None:
    module = Decaying()
    clipping = GhostClipping(BatchLoss(module, logit_loss), Trainable(module))
    inputs, _ = records_of("decay").select(np.arange(1))
    whole = clipping.estimate_record_bytes(inputs)
    module.decay.requires_grad_(False)
    frozen = GhostClipping(BatchLoss(module, logit_loss), Trainable(module)).estimate_record_bytes(inputs)
    assert whole - frozen == 3 * 6 * 4


def test_layer_called_where_no_gradient_flows_adds_nothing() -> None:
    class Peeking(nn.Module):
        """Uses its own prediction, without a gradient, as one more number."""

        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
            with torch.no_grad():
                before = torch.sigmoid(self.layer(inputs["numbers"]))
            found: torch.Tensor = self.layer(inputs["numbers"] * before)
            return found.sum(1)

    torch.manual_seed(0)
    module, records = Peeking(), records_of("ids and numbers")
    got = DpSgd(module, logit_loss, Mechanism(1.0, 7, 0.1, 1.0), KeyStream(KEY)).sum_lot(records, EVERYBODY)
    assert_as_the_loop(module, got, clipped_sum(loop_gradients(module, logit_loss, records), 0.1))
