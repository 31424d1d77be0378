"""What a site adds to a round whose unit is the site: real training, whatever comes of it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.small_study import make_patients, read_columns, small_terms, without_privacy, write_patients
from client.data.examples import Patients
from client.data.site_data import read_data
from client.training.device import CPU
from client.training.device_records import DeviceRecords
from client.training.local_steps import train
from client.training.simulate import simulate
from client.training.site_update import compute_site_update
from client.training.study_model import begin_model, make_first_model
from models.parameters.flatten import read_personal_parameters
from privacy.errors import TermsError
from privacy.mechanisms.site_clipping import compute_joint_norm, is_drawn
from privacy.randomness import KeyStream
from privacy.study import Terms

Vector = NDArray[np.float64]
UNIT = {"unit": "site", "placement": "distributed"}
TRAINING = {"rounds": 2, "local_steps": 5, "sampling_rate": 0.5, "learning_rate": 0.5, "weights": "uniform"}


def site_terms(training: dict[str, Any] | None = None, **privacy: Any) -> Terms:
    participation = privacy.pop("participation", 1.0)
    return small_terms(
        training=TRAINING | (training or {}), privacy=UNIT | privacy, cohort={"participation": participation}
    )


def contribution_of(terms: Terms, patients: Patients, key: bytes) -> tuple[Vector, bytes]:
    """What a site adds, and the randomness that comes next."""
    stream, (module, _) = KeyStream(key), begin_model(terms)
    norm = terms.privacy.clipping_norm
    assert norm is not None
    joint = compute_joint_norm(norm, terms.privacy.adaptive_clipping)
    added, _ = compute_site_update(
        make_first_model(terms),
        terms,
        DeviceRecords(patients, terms, CPU.device),
        40,
        CPU,
        stream,
        1,
        joint,
        module,
        read_personal_parameters(module),
    )
    return added, stream.draw_bytes(16)


@pytest.fixture
def patients(tmp_path: Path) -> Patients:
    return read_data(small_terms().data, write_patients(tmp_path / "t.csv", 40, "p")).patients


def test_update_is_that_of_training_without_noise_scaled_to_the_norm(patients: Patients) -> None:
    """The same draws, in a study without privacy: nobody is clipped and nothing is added."""
    terms, bare, key = site_terms(clipping_norm=0.01), without_privacy(training=TRAINING), bytes(32)
    stream = KeyStream(key)
    is_drawn(1.0, stream)
    plain = train(
        make_first_model(terms), bare, DeviceRecords(patients, terms, CPU.device), 40, None, CPU, stream
    ).update
    added, _ = contribution_of(terms, patients, key)
    assert np.linalg.norm(plain) > 0.01
    np.testing.assert_allclose(added, plain / np.linalg.norm(plain) * 0.01, rtol=1e-9)


@pytest.mark.parametrize("adaptive", [None, {"share": 1.0}])
def test_patient_who_leaves_moves_the_sum_by_at_most_twice_the_norm(
    patients: Patients, adaptive: dict[str, Any] | None
) -> None:
    terms = site_terms({"learning_rate": 50.0, "local_steps": 20}, adaptive_clipping=adaptive)
    joint = compute_joint_norm(1.0, terms.privacy.adaptive_clipping)
    keep = patients.patient > 0
    features, labels = read_columns(patients)
    fewer = make_patients(features[keep], labels[keep], patients.patient[keep] - 1)
    assert fewer.patients == patients.patients - 1
    for number in range(10):
        key = bytes([number]) * 32
        one, other = (contribution_of(terms, each, key)[0] for each in (patients, fewer))
        assert max(np.linalg.norm(one), np.linalg.norm(other)) <= joint
        assert 0 < np.linalg.norm(one - other) <= 2 * joint


def test_training_that_diverges_adds_zeros_and_no_failure(patients: Patients) -> None:
    terms = site_terms({"learning_rate": 1e38, "local_steps": 30})
    added, _ = contribution_of(terms, patients, bytes(32))
    assert not added.any()


def test_site_that_was_not_drawn_does_the_same_work_and_adds_zeros(patients: Patients) -> None:
    everybody, seldom = site_terms(), site_terms(participation=0.001, adaptive_clipping={})
    key = next(key for key in (bytes([n]) * 32 for n in range(256)) if not is_drawn(0.001, KeyStream(key)))
    there, after = contribution_of(everybody, patients, key)
    absent, after_absent = contribution_of(seldom, patients, key)
    assert there.any()
    assert not absent.any()
    assert absent.size == there.size + 1
    assert after == after_absent


def test_same_key_adds_the_same(patients: Patients) -> None:
    terms = site_terms(participation=0.5, adaptive_clipping={})
    one, other = (contribution_of(terms, patients, b"k" * 32)[0] for _ in range(2))
    assert one.tobytes() == other.tobytes()


def test_accumulation_and_proximal_steps_are_those_of_a_study_without_privacy(patients: Patients) -> None:
    more = {"accumulate": 2, "proximal": 0.3}
    terms, key = site_terms(more, clipping_norm=100.0), bytes(32)
    stream = KeyStream(key)
    is_drawn(1.0, stream)
    plain = train(
        make_first_model(terms),
        without_privacy(training=TRAINING | more),
        DeviceRecords(patients, terms, CPU.device),
        40,
        None,
        CPU,
        stream,
    ).update
    np.testing.assert_allclose(contribution_of(terms, patients, key)[0], plain, rtol=1e-12)


def test_simulation_in_one_place_is_refused_with_the_reason(tmp_path: Path) -> None:
    files = [write_patients(tmp_path / f"{number}.csv", 60, f"h{number}-", seed=number) for number in range(2)]
    with pytest.raises(TermsError, match="one table is none of them"):
        simulate(site_terms(), files[:1], files[1:], 4.0)
    assert simulate(site_terms(), files[:1], files[1:], None)[0].patients == 60
