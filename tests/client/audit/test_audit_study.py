"""An audit by the sites' own path: honest training is not refuted, and each of eight planted faults is.

All randomness comes from one stream, so that no run differs from another.
"""

from pathlib import Path
from typing import Any

import pytest

from benchmarks.small_study import CONTRACT, small_terms, without_privacy, write_csv
from client.audit.audit_study import MakeSession, StudyAudit, Verdict, audit_study, make_plain_session
from models.generated.study import write_generated_study
from privacy.errors import DataError, TermsError
from privacy.randomness import KeyStream
from privacy.study import Terms, parse_terms
from tests.client.audit.faults import (
    ClipAfterSum,
    CopiedEngine,
    HalfNoise,
    NoClip,
    SameNoise,
    SecondRelease,
    WrongRate,
    plant,
)


def terms(epsilon: float, *, rate: float = 1.0, rounds: int = 1, records: int = 1, **changes: Any) -> Terms:
    return small_terms(
        evaluation={"rounds": []},
        privacy={"epsilon": epsilon, "delta": 1e-5, "clipping_norm": 0.25, **changes},
        training={"sampling_rate": rate, "local_steps": 1, "rounds": rounds, "learning_rate": 0.1},
        data={**CONTRACT, "records_per_patient": records},
        secure_aggregation={"value_range": "auto"},
    )


def audit(
    study: Terms, make_session: MakeSession = make_plain_session, canaries: int = 200, **options: Any
) -> StudyAudit:
    stream = KeyStream(b"an audit that repeats its draws!")
    return audit_study(study, canaries=canaries, make_session=make_session, stream=stream, **options)


@pytest.fixture
def healthy(tmp_path: Path) -> list[Path]:
    """Ordinary patients of three sites, none of whom is ill."""
    return [
        write_csv(tmp_path / f"{site}.csv", [f"{site}-{row},{20 + row % 60},f,no" for row in range(100)])
        for site in ("ash", "birch", "cedar")
    ]


@pytest.mark.parametrize("study", [terms(4), terms(1, rate=0.5, rounds=2)], ids=["everybody", "sampled"])
def test_honest_training_is_not_refuted(study: Terms) -> None:
    found = audit(study)
    assert found.verdict is Verdict.NOT_REFUTED
    assert found.bounds.independent is not None
    assert 60 < found.present < 140  # of 200 fair coins; five standard deviations


def test_honest_noise_that_sites_add_together_is_not_refuted() -> None:
    found = audit(terms(4, placement="distributed"))
    assert found.verdict is Verdict.NOT_REFUTED
    assert found.bounds.largest > 0.5  # and yet the attacker sees something


def test_honest_copy_of_the_engine_is_not_refuted() -> None:
    assert audit(terms(2), plant()).verdict is Verdict.NOT_REFUTED


def test_half_of_the_noise_is_refuted() -> None:
    assert audit(terms(4), plant(HalfNoise), 400).verdict is Verdict.REFUTED


def test_training_without_clipping_is_refuted() -> None:
    found = audit(terms(2), plant(NoClip))
    assert found.bounds.presuming_nothing > 2


def test_clipping_after_the_sum_is_refuted() -> None:
    assert audit(terms(2), plant(ClipAfterSum)).bounds.presuming_nothing > 2


def test_noise_that_repeats_is_refuted() -> None:
    assert audit(terms(1, rate=0.5, rounds=3), plant(SameNoise)).bounds.presuming_nothing > 1


def test_wrong_sampling_rate_is_refuted() -> None:
    assert audit(terms(0.5, rate=0.02), plant(WrongRate), 400).bounds.presuming_nothing > 0.5


def test_batch_statistics_are_refuted(healthy: list[Path]) -> None:
    found = audit(terms(2), plant(batch_statistics=True), train=healthy)
    assert found.bounds.presuming_nothing > 2
    assert audit(terms(2), plant(), train=healthy).verdict is Verdict.NOT_REFUTED


def test_records_sold_as_patients_are_refuted() -> None:
    study = terms(1, records=8)
    assert audit(study, plant(records_as_patients=True)).bounds.presuming_nothing > 1


def test_second_release_of_one_draw_is_refuted() -> None:
    assert audit(terms(8), plant(SecondRelease), 1000, patients=30).verdict is Verdict.REFUTED


def test_records_that_are_charged_as_records_are_not_refuted() -> None:
    assert audit(terms(2, records=4, unit="record"), canaries=100).verdict is Verdict.NOT_REFUTED


def test_bound_beyond_the_claim_that_presumes_more_is_a_doubt() -> None:
    found = audit(terms(0.2, rate=0.2, rounds=2), plant(HalfNoise), 20)
    doubted = StudyAudit(**{**vars(found), "epsilon": 0.5, "bounds": found.bounds.__class__(0.1, 0.1, 0.9, None)})
    assert doubted.verdict is Verdict.DOUBTFUL


def test_images_have_canaries_of_extreme_values() -> None:
    written = write_generated_study("chest-xray-cnn", rounds=1)
    written["training"] |= {"local_steps": 1}
    written["evaluation"] = {"rounds": []}
    found = audit(parse_terms(written), canaries=10, patients=20)
    assert found.verdict is Verdict.NOT_REFUTED


@pytest.mark.parametrize(
    ("study", "words"),
    [
        (without_privacy(), "there is no claim to audit"),
        (
            small_terms(privacy={"unit": "site", "placement": "distributed"}, training={"weights": "uniform"}),
            "privacy.unit is site",
        ),
    ],
    ids=["no-privacy", "site"],
)
def test_study_that_makes_no_such_claim_is_refused(study: Terms, words: str) -> None:
    with pytest.raises(TermsError, match=words):
        audit(study)


def test_wrong_number_of_sites_is_refused(healthy: list[Path]) -> None:
    with pytest.raises(DataError, match="expected 3 to 8 sites"):
        audit(terms(2), train=healthy[:2])


@pytest.mark.parametrize("canaries", [1, 5001])
def test_too_few_or_many_canaries_are_refused(canaries: int) -> None:
    with pytest.raises(TermsError, match="canaries, got"):
        audit(terms(2), canaries=canaries)


def test_faults_are_in_no_product_code() -> None:
    assert CopiedEngine.__module__.startswith("tests.")
