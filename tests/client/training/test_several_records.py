"""Several visits a patient, on real data: 312 patients with primary biliary cirrhosis, 1,945 visits."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.small_study import read_columns
from client.data.examples import Patients
from client.data.site_data import read_data
from client.training.device import CPU
from client.training.device_records import DeviceRecords
from client.training.local_steps import make_loss, train
from client.training.scoring import count_scores
from client.training.study_model import build_model, make_first_model
from models.parameters.flatten import set_shared_parameters
from models.tasks.binary import BinaryTask
from privacy.accounting.calibration import compute_noise_multiplier
from privacy.dpsgd import DpSgd, Mechanism, TensorRecords
from privacy.randomness import KeyStream
from privacy.study import Terms, parse_terms

HORIZON_YEARS = 2
VISITS = 6

NUMBERS = {
    "age": (25, 80), "serBilir": (0, 15), "albumin": (2, 5), "alkaline": (0, 4000), "SGOT": (0, 300),
    "platelets": (50, 450), "prothrombin": (9, 15), "serChol": (100, 700),
}  # fmt: skip
WORDS = {
    "ascites": ["No", "Yes"],
    "hepatomegaly": ["No", "Yes"],
    "spiders": ["No", "Yes"],
    "edema": ["No edema", "edema no diuretics", "edema despite diuretics"],
}


def cirrhosis_terms(records_per_patient: int) -> Terms:
    numbers = [{"kind": "number", "name": n, "low": low, "high": high} for n, (low, high) in NUMBERS.items()]
    words = [{"kind": "category", "name": name, "values": values} for name, values in WORDS.items()]
    return parse_terms(
        {
            "consilium": 1,
            "name": "cirrhosis",
            "purpose": "death within two years of a visit",
            "model": {"name": "logistic"},
            "data": {
                "name": "cirrhosis",
                "patient": "id",
                "ranges_from": "clinical knowledge",
                "features": [*numbers, *words],
                "label": {"name": "dies", "positive": ["yes"], "negative": ["no"]},
                "missing": ["", "NA"],
                "records_per_patient": records_per_patient,
            },
            "training": {"rounds": 1, "local_steps": 60, "sampling_rate": 0.3, "learning_rate": 0.5},
            "privacy": {"epsilon": 3, "delta": 1e-3, "clipping_norm": 1.0},
            "cohort": {"minimum": 3, "maximum": 8},
            "secure_aggregation": {"value_range": 8.0},
            "evaluation": {"bins": 100},
        }
    )


@pytest.fixture(scope="module")
def tables(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Patients, Patients]:
    """Training patients with up to six visits, and other patients to test on."""
    path = repository.parent / "shared" / "data" / "survival" / "pbc2.csv"
    if not path.is_file():
        pytest.skip("shared/data/survival/pbc2.csv is not here")
    visits = pd.read_csv(path, keep_default_na=False, dtype=str)
    left = visits["years"].astype(float) - visits["year"].astype(float)
    known = (visits["status"] == "dead") | (left > HORIZON_YEARS)  # others left before the horizon
    visits["dies"] = np.where((visits["status"] == "dead") & (left <= HORIZON_YEARS), "yes", "no")
    visits = visits[known]
    tested = visits["id"].astype(int) % 3 == 0
    folder = tmp_path_factory.mktemp("cirrhosis")
    read = []
    for name, rows in (("train", visits[~tested]), ("test", visits[tested])):
        rows.to_csv(folder / f"{name}.csv", index=False)
        read.append(read_data(cirrhosis_terms(VISITS).data, folder / f"{name}.csv").patients)
    return read[0], read[1]


def test_visits_are_grouped_under_their_patients(tables: tuple[Patients, Patients]) -> None:
    training, _ = tables
    visits = np.bincount(training.patient)
    assert len(visits) == training.patients > 190
    assert visits.max() == VISITS
    assert training.records > 4 * training.patients


def test_every_patient_with_all_visits_moves_the_sum_by_at_most_the_clipping_norm(
    tables: tuple[Patients, Patients],
) -> None:
    """Each patient in turn leaves the lot; a single visit alone would often have been clipped as well."""
    terms = cirrhosis_terms(VISITS)
    module = build_model(terms)
    set_shared_parameters(module, make_first_model(terms))
    clipping_norm = 0.25
    features, labels = read_columns(tables[0])
    records = TensorRecords({"features": features.astype(np.float64)}, {"label": labels}, tables[0].patient)
    step = DpSgd(module.double(), make_loss(terms), Mechanism(1.0, 200, clipping_norm, 1.0), KeyStream(bytes(32)))
    everybody = np.arange(records.patients)
    whole = step.sum_lot(records, everybody)
    moved = [
        float((whole - step.sum_lot(records, np.delete(everybody, leaving))).norm()) for leaving in everybody[:60]
    ]
    assert max(moved) <= clipping_norm
    assert np.median(moved) > 0.9 * clipping_norm  # the bound is used, so it was clipping that kept it


def test_private_training_on_visits_predicts_death(tables: tuple[Patients, Patients]) -> None:
    """Measured over 10 runs at epsilon 3: AUROC 0.905, least 0.901; 0.912 without privacy."""
    terms = cirrhosis_terms(VISITS)
    training, testing = tables
    start = make_first_model(terms)
    stream = KeyStream(b"a key of 32 bytes, for tests now")
    noise = compute_noise_multiplier(3, 1e-3, terms.training.sampling_rate, terms.training.local_steps)
    update = train(start, terms, DeviceRecords(training, terms, CPU.device), 200, noise, CPU, stream).update
    module = build_model(terms)
    set_shared_parameters(module, start + update)
    task, counts = BinaryTask(), count_scores(module, testing, terms).tolist()
    assert task.count_patients(counts, terms.evaluation.bins) == testing.patients
    auroc = task.compute_figures(counts, terms.evaluation.bins)["auroc"]
    assert auroc is not None
    assert auroc > 0.8
