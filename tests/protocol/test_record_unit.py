"""Studies that sample and clip records one by one: the patient is charged for all that they may have."""

import csv
from pathlib import Path

from benchmarks.small_study import CONTRACT, small_terms
from client.data.dataset import read_study
from client.site.register_data import register_files
from client.training.session import TrainingSession
from privacy.accounting.epsilon import epsilon_of
from privacy.accounting.renyi import STORED_ORDERS
from privacy.study.cost import compute_study_noise
from tests.protocol.conftest import Found
from tests.protocol.invariants import require_finished

SEVERAL = {"data": {**CONTRACT, "records_per_patient": 3}, "privacy": {"unit": "record"}}


def test_patient_with_three_records_costs_the_studys_epsilon_and_needs_more_noise() -> None:
    by_record, by_patient = small_terms(**SEVERAL), small_terms(data=SEVERAL["data"])
    assert compute_study_noise(by_record) > 1.5 * compute_study_noise(by_patient)


def test_whole_study_is_charged_at_patient_level(found: Found) -> None:
    terms = small_terms(**SEVERAL)
    simulator = found(terms)
    simulator.run()
    require_finished(simulator)
    events = [entry.body.event for entry in simulator.entries("ash", "reserve")]  # type: ignore[attr-defined]
    assert {(event.kind, event.records_per_patient) for event in events} == {("bounded-contribution", 3)}
    assert 2.9 < epsilon_of(events, 1e-3, [order for order in STORED_ORDERS if order <= 32]) <= 3.0001
    (population,) = simulator.entries("ash", "population")
    assert getattr(population.body, "unit", "") == "patient"


def test_records_are_drawn_one_by_one(found: Found, tmp_path: Path) -> None:
    simulator = found(small_terms(**SEVERAL), launch=False)
    home = simulator.homes["ash"]
    train = home.folder / "train.csv"
    rows = list(csv.reader(train.read_text().splitlines()))
    with (tmp_path / "several.csv").open("w", newline="") as file:
        csv.writer(file).writerows([rows[0], *(row for row in rows[1:] for _ in range(2))])
    registration = register_files(home, simulator.terms.data, tmp_path / "several.csv", home.folder / "test.csv")
    trainer = TrainingSession(simulator.terms, registration.to_study_files(), "cpu")
    table, _ = read_study(registration.to_study_files())
    assert trainer._training.patients == 2 * table.patients.patients == table.patients.records
    assert trainer._public_patients == 3 * registration.public_patients
