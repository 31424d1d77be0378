import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.small_study import make_patients, read_columns, small_terms, without_privacy, write_patients
from client.admission.rules import compute_price
from client.data.examples import Patients
from client.data.site_data import read_data
from client.training.device import CPU
from client.training.device_records import DeviceRecords
from client.training.global_step import compute_global_step
from client.training.local_steps import DivergedError, make_loss, train
from client.training.study_model import build_model, make_first_model
from models.parameters.flatten import read_shared_parameters, set_shared_parameters
from models.tabular import logistic
from models.tasks.binary import compute_record_losses
from privacy.dpsgd import DpSgd, Mechanism
from privacy.errors import TermsError
from privacy.randomness import KeyStream
from privacy.study.cost import make_training_event
from server.study.check import check_study

KEY = b"a key of 32 bytes, for tests now"


@pytest.fixture
def patients(tmp_path: Path) -> Patients:
    return read_data(small_terms().data, write_patients(tmp_path / "t.csv", 40, "p")).patients


def as_tensors(patients: Patients) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """What a model takes of all records, and their labels as float32."""
    features, labels = read_columns(patients)
    return {"features": torch.from_numpy(features)}, torch.from_numpy(labels).float()


def label_loss(weight: float, logits: torch.Tensor, targets: Mapping[str, torch.Tensor]) -> torch.Tensor:
    return compute_record_losses(logits, targets["label"], weight)


def test_train_without_privacy_on_everybody_equals_plain_gradient_descent(patients: Patients) -> None:
    terms = without_privacy(training={"rounds": 2, "local_steps": 3, "sampling_rate": 1.0, "learning_rate": 0.5})
    start = make_first_model(terms)
    got = train(start, terms, DeviceRecords(patients, terms, CPU.device), 40, None, CPU).update

    module = build_model(terms)
    set_shared_parameters(module, start)
    begin = read_shared_parameters(module)
    inputs, labels = as_tensors(patients)
    descent = torch.optim.SGD(module.parameters(), lr=0.5)
    for _ in range(3):
        descent.zero_grad()
        torch.autograd.backward(torch.nn.functional.binary_cross_entropy_with_logits(module(inputs), labels))
        descent.step()
    np.testing.assert_allclose(got, read_shared_parameters(module) - begin, atol=1e-6)


def test_train_noise_has_the_size_of_the_terms(patients: Patients) -> None:
    """Nobody is drawn, so each step is noise of sigma * C / (q * n): the update has sd lr * that * sqrt(steps)."""
    terms = small_terms(
        model={"name": "mlp", "options": {"hidden": [500]}},
        training={"rounds": 2, "local_steps": 4, "sampling_rate": 1e-9, "learning_rate": 0.5},
        privacy={"epsilon": 3, "delta": 1e-3, "clipping_norm": 2.0},
    )
    update = train(
        make_first_model(terms), terms, DeviceRecords(patients, terms, CPU.device), 10, 1e-8, CPU, KeyStream(KEY)
    ).update
    expected = 0.5 * (1e-8 * 2.0) / (1e-9 * 10) * 2
    assert update.std() == pytest.approx(expected, rel=0.05)


def test_train_under_the_same_stream_is_the_same(patients: Patients) -> None:
    terms = small_terms()
    first, second = (
        train(
            make_first_model(terms), terms, DeviceRecords(patients, terms, CPU.device), 40, 1.0, CPU, KeyStream(KEY)
        )
        for _ in range(2)
    )
    assert first.update.tobytes() == second.update.tobytes()


def test_train_draws_fresh_randomness_each_time(patients: Patients) -> None:
    terms = small_terms()
    first, second = (
        train(make_first_model(terms), terms, DeviceRecords(patients, terms, CPU.device), 40, 1.0, CPU)
        for _ in range(2)
    )
    assert first.update.tobytes() != second.update.tobytes()


def test_train_with_the_least_step_size_hardly_moves(patients: Patients) -> None:
    terms = small_terms(training={"rounds": 2, "local_steps": 3, "sampling_rate": 0.5, "learning_rate": 1e-9})
    update = train(make_first_model(terms), terms, DeviceRecords(patients, terms, CPU.device), 40, 1.0, CPU).update
    assert update.dtype == np.float64
    assert np.abs(update).max() < 1e-8


@pytest.mark.parametrize("rate", [1e12, 1e38])
def test_train_that_diverges_is_a_sentence(patients: Patients, rate: float) -> None:
    """At 1e38 the parameters stay finite: sums of their losses do not."""
    terms = small_terms(training={"rounds": 2, "local_steps": 3, "sampling_rate": 0.5, "learning_rate": rate})
    with pytest.raises(
        DivergedError, match=rf"beyond 1e\+09.* learning_rate \({re.escape(f'{rate:g}')}\) is too large"
    ):
        train(make_first_model(terms), terms, DeviceRecords(patients, terms, CPU.device), 40, 1.0, CPU)


@pytest.mark.parametrize("value", [2e9, np.inf, np.nan])
def test_shared_model_that_diverged_is_not_trained_from(patients: Patients, value: float) -> None:
    """Where noise is added together the sites move the model by what they open, and find out here."""
    together = small_terms(training={"local_steps": 1}, privacy={"placement": "distributed"})
    with pytest.raises(DivergedError, match="training diverged"):
        compute_global_step(
            np.full_like(make_first_model(together), value),
            together,
            DeviceRecords(patients, together, CPU.device),
            40,
            CPU,
            KeyStream(KEY),
        )


def test_loss_that_is_not_finite_is_told_in_the_log_and_decides_nothing(
    patients: Patients, caplog: pytest.LogCaptureFixture
) -> None:
    """It is computed from records without noise: the same bytes leave whether one record's loss is infinite or not."""
    terms = small_terms()
    features, labels = read_columns(patients)
    features[patients.patient == 3] = np.inf
    strange = make_patients(features, labels, patients.patient)
    key = bytes(32)
    whole = train(
        make_first_model(terms), terms, DeviceRecords(strange, terms, CPU.device), 40, 1.0, CPU, KeyStream(key)
    )
    assert np.isfinite(whole.update).all()
    assert not np.isfinite(whole.log["loss"])
    (warning,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "the loss over this site's records is not a finite number" in warning.getMessage()


class Borrowing(torch.nn.Module):
    """Uses a weight outside its layer, so that a patient's gradient is not the one that is clipped."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.first, self.second = torch.nn.Linear(inputs, inputs), torch.nn.Linear(inputs, inputs)

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        found: torch.Tensor = self.second(torch.tanh(self.first(inputs["features"])))
        return torch.nn.functional.linear(found, self.first.weight).sum(1)


@pytest.mark.parametrize("placement", ["local", "distributed"])
def test_model_whose_gradient_is_not_what_is_clipped_is_refused_before_it_trains(
    patients: Patients, placement: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    borrowing = replace(logistic.MODEL, build=lambda options, sizes, outputs: Borrowing(sizes["features"]))
    monkeypatch.setattr(logistic, "MODEL", borrowing)
    terms = small_terms(training={"local_steps": 1}, privacy={"placement": placement})
    start = make_first_model(terms)
    step: dict[str, Callable[[], object]] = {
        "local": lambda: train(start, terms, DeviceRecords(patients, terms, CPU.device), 40, 1.0, CPU),
        "distributed": lambda: compute_global_step(
            start, terms, DeviceRecords(patients, terms, CPU.device), 40, CPU, KeyStream(KEY)
        ),
    }
    with pytest.raises(TermsError, match="another gradient than the one that is clipped"):
        step[placement]()


def test_train_log_has_the_loss_which_the_update_has_not(patients: Patients) -> None:
    trained = train(
        make_first_model(small_terms()),
        small_terms(),
        DeviceRecords(patients, small_terms(), CPU.device),
        40,
        1.0,
        CPU,
    )
    assert set(trained.log) == {"loss", "seconds"}


@pytest.mark.parametrize(("local_steps", "lossy"), [(1, 256), (10, 300), (40, 1200), (100, 1500)])
def test_loss_in_the_log_costs_no_more_than_the_steps(tmp_path: Path, local_steps: int, lossy: int) -> None:
    """It is that of as many records as the steps draw, of some hundred at least; some of each part of the file."""
    terms = without_privacy(
        training={"rounds": 2, "local_steps": local_steps, "sampling_rate": 0.02, "learning_rate": 0.1}
    )
    path = write_patients(tmp_path / "many.csv", 1500, "p")
    records = DeviceRecords(read_data(terms.data, path).patients, terms, CPU.device)
    module, seen = build_model(terms), []

    def look(trained: torch.nn.Module, inputs: tuple[Mapping[str, torch.Tensor]]) -> None:
        if not trained.training:
            seen.append(inputs[0]["features"])

    module.register_forward_pre_hook(look)
    trained = train(make_first_model(terms), terms, records, 1500, None, CPU, model=module)
    spread = np.arange(lossy) * 1500 // lossy
    assert len(set(spread)) == lossy
    inputs, targets = records.select(spread)
    assert torch.equal(torch.cat(seen), inputs["features"])
    set_shared_parameters(module, make_first_model(terms) + trained.update)
    with torch.no_grad():
        expected = float(make_loss(terms)(module(inputs), targets).mean())
    assert trained.log["loss"] == pytest.approx(expected, rel=1e-5)


def test_train_gradients_are_divided_by_the_public_count(patients: Patients) -> None:
    terms = without_privacy(training={"rounds": 2, "local_steps": 1, "sampling_rate": 1.0, "learning_rate": 0.5})
    whole = train(make_first_model(terms), terms, DeviceRecords(patients, terms, CPU.device), 40, None, CPU).update
    half = train(make_first_model(terms), terms, DeviceRecords(patients, terms, CPU.device), 80, None, CPU).update
    np.testing.assert_allclose(whole, 2 * half, rtol=1e-4, atol=1e-7)


def test_first_model_depends_on_the_terms_only() -> None:
    assert make_first_model(small_terms()).tobytes() == make_first_model(small_terms()).tobytes()
    other = small_terms(secure_aggregation={"value_range": 5.0})
    assert make_first_model(small_terms()).tobytes() != make_first_model(other).tobytes()


def test_build_model_unknown_is_a_terms_error() -> None:
    with pytest.raises(TermsError, match="there is no model 'oracle'"):
        build_model(small_terms(model={"name": "oracle"}))


def test_proximal_term_keeps_the_update_small_and_costs_nothing_else(patients: Patients) -> None:
    """FedProx: with a strong pull ten steps stay near where one step leads."""
    free = small_terms(training={"local_steps": 30})
    held = small_terms(training={"local_steps": 30, "proximal": 50.0, "learning_rate": 0.01})
    start = make_first_model(free)
    far, near = (
        np.linalg.norm(
            train(
                start, terms, DeviceRecords(patients, terms, CPU.device), 60, 1e-2, CPU, KeyStream(bytes(32))
            ).update
        )
        for terms in (free, held)
    )
    assert near < 0.1 * far


def test_rate_follows_the_schedule(patients: Patients) -> None:
    terms = small_terms(training={"rounds": 4, "local_steps": 1, "schedule": "linear"})
    start = make_first_model(terms)
    first, last = (
        train(
            start,
            terms,
            DeviceRecords(patients, terms, CPU.device),
            60,
            1.0,
            CPU,
            KeyStream(bytes(32)),
            number=number,
        ).update
        for number in (1, 4)
    )
    np.testing.assert_allclose(last, first / 4, rtol=1e-4, atol=1e-6)


def test_accumulated_step_is_the_mean_of_the_gradients_of_its_lots(patients: Patients) -> None:
    """A loop over lots in float64, on the same stream: each lot has a sample and noise of its own."""
    terms = small_terms(training={"local_steps": 2, "accumulate": 3, "learning_rate": 0.5})
    start = make_first_model(terms)
    got = train(start, terms, DeviceRecords(patients, terms, CPU.device), 40, 1.0, CPU, KeyStream(KEY)).update

    module, model = build_model(terms), start
    private = DpSgd(module, partial(label_loss, 1.0), Mechanism(0.5, 40, 1.0, 1.0), KeyStream(KEY))
    records = DeviceRecords(patients, terms, CPU.device)
    for _ in range(2):
        set_shared_parameters(module, model)
        model = model - 0.5 * np.mean(
            [private.compute_gradient(records).double().numpy() for _ in range(3)], axis=0
        )
    np.testing.assert_allclose(got, model - start, atol=1e-6)


def test_accumulated_lots_average_their_noise(patients: Patients) -> None:
    """Nobody is drawn: sixteen lots a step leave a quarter of the noise of one."""
    model = {"name": "mlp", "options": {"hidden": [500]}}
    spread = {}
    for lots in (1, 16):
        training = {"local_steps": 1, "accumulate": lots, "sampling_rate": 1e-9, "learning_rate": 0.5}
        terms = small_terms(model=model, training=training)
        spread[lots] = train(
            make_first_model(terms),
            terms,
            DeviceRecords(patients, terms, CPU.device),
            10,
            1e-8,
            CPU,
            KeyStream(KEY),
        ).update.std()
    assert spread[1] / spread[16] == pytest.approx(4, rel=0.1)


def test_every_accumulated_lot_is_paid() -> None:
    """As many invocations as steps of one lot each: the same noise, the same charge."""
    lots = small_terms(training={"local_steps": 2, "accumulate": 6})
    steps = small_terms(training={"local_steps": 12})
    assert compute_price(lots) == compute_price(steps)
    assert make_training_event(lots, 1.0).steps == 12  # type: ignore[union-attr]
    assert check_study(lots).model_dump()["privacy"]["steps"] == 2 * 12


def test_positive_weight_is_that_of_torch(patients: Patients) -> None:
    logits, labels = torch.linspace(-3, 3, 40), as_tensors(patients)[1]
    weighted = torch.nn.BCEWithLogitsLoss(reduction="none", pos_weight=torch.tensor(3.5))(logits, labels)
    assert torch.equal(compute_record_losses(logits, labels, 3.5), weighted)
    plain = torch.nn.BCEWithLogitsLoss(reduction="none")(logits, labels)
    assert torch.equal(compute_record_losses(logits, labels), plain)
    torch.testing.assert_close(weighted, plain * torch.where(labels == 1, 3.5, 1.0))


def test_training_with_a_positive_weight_equals_plain_gradient_descent(patients: Patients) -> None:
    training = {"rounds": 2, "local_steps": 3, "sampling_rate": 1.0, "learning_rate": 0.5}
    terms = without_privacy(training=training, task={"kind": "binary", "positive_weight": 3.5})
    start = make_first_model(terms)
    trained = train(start, terms, DeviceRecords(patients, terms, CPU.device), 40, None, CPU)

    module = build_model(terms)
    set_shared_parameters(module, start)
    inputs, labels = as_tensors(patients)
    weighted = torch.nn.BCEWithLogitsLoss(pos_weight=torch.tensor(3.5))
    descent = torch.optim.SGD(module.parameters(), lr=0.5)
    for _ in range(3):
        descent.zero_grad()
        torch.autograd.backward(weighted(module(inputs), labels))
        descent.step()
    np.testing.assert_allclose(trained.update, read_shared_parameters(module) - start.astype(np.float32), atol=1e-6)
    assert trained.log["loss"] == pytest.approx(float(weighted(module(inputs), labels).detach()), rel=1e-5)


@pytest.mark.parametrize("weight", [0.2, 1.0, 50.0])
def test_weighted_gradient_of_a_patient_is_clipped_alike(patients: Patients, weight: float) -> None:
    """The weight is inside the loss, so what one patient adds to the sum stays within C, and is that of autograd."""
    terms = small_terms(task={"kind": "binary", "positive_weight": weight}, privacy={"clipping_norm": 0.3})
    module, records = build_model(terms), DeviceRecords(patients, terms, CPU.device)
    set_shared_parameters(module, make_first_model(terms))
    private = DpSgd(module, make_loss(terms), Mechanism(1.0, 40, 0.3, 0.0), KeyStream(KEY))
    everybody = np.arange(patients.patients)
    for one in (0, 7, 23):
        alone = private.sum_lot(records, everybody[one : one + 1])
        inputs, targets = records.select(everybody[one : one + 1])
        loss = compute_record_losses(module(inputs), targets["label"], weight).sum()
        plain = torch.autograd.grad(loss, list(module.parameters()))
        whole = torch.cat([part.reshape(-1) for part in plain])
        bound = 0.3 * (1 - 1e-4)
        torch.testing.assert_close(alone, whole * min(1.0, bound / float(whole.norm())), rtol=1e-4, atol=1e-6)
        assert float(alone.norm()) <= 0.3


def test_global_step_weighs_positive_labels_too(patients: Patients) -> None:
    """The distributed placement's clipped sum, beside the engine's under the weighted loss."""
    distributed = {"placement": "distributed"}
    training = {"local_steps": 1, "sampling_rate": 1.0}
    terms = small_terms(training=training, privacy=distributed, task={"kind": "binary", "positive_weight": 4.0})
    start = make_first_model(terms)
    got = compute_global_step(start, terms, DeviceRecords(patients, terms, CPU.device), 40, CPU, KeyStream(KEY))
    module = build_model(terms)
    set_shared_parameters(module, start)
    mechanism = Mechanism(1.0, 40, 1.0, 0.0)
    for weight, same in ((4.0, True), (1.0, False)):
        total = DpSgd(module, partial(label_loss, weight), mechanism, KeyStream(KEY)).sum_lot(
            DeviceRecords(patients, terms, CPU.device), np.arange(patients.patients)
        )
        assert np.allclose(got, total.double().numpy(), atol=1e-6) == same
