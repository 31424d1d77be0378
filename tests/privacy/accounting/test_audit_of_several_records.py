"""A patient with several equal records, audited: more is lost than a record's epsilon says, less than the patient's."""

import math

import numpy as np
from scipy.stats import beta

from privacy.accounting.events import BoundedContribution, SampledGaussian
from privacy.accounting.pld import compute_pld_epsilon

DRAWS, RECORDS, NOISE, STEPS, DELTA = 200_000, 8, 10.0, 4, 1e-5


def test_audit_of_equal_records_lies_between_both_epsilons() -> None:
    """The sum of the steps' outputs is compared with a threshold, which was chosen on other draws."""
    random = np.random.default_rng(1)

    def run(records: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        # of all steps: only their sum matters
        return np.asarray(records * STEPS + NOISE * math.sqrt(STEPS) * random.standard_normal(DRAWS))

    present, absent = run(RECORDS), run(0)

    def bound(threshold: float, rows: slice) -> float:
        ones, others = (int((each[rows] > threshold).sum()) for each in (present, absent))
        count = DRAWS // 2
        below = float(beta.ppf(0.0005, ones, count - ones + 1)) if ones else 0.0
        above = float(beta.ppf(0.9995, others + 1, count - others))
        return math.log((below - DELTA) / above) if below > DELTA else 0.0

    first, second = slice(0, DRAWS // 2), slice(DRAWS // 2, None)
    chosen = max(np.linspace(0, 100, 101), key=lambda threshold: bound(float(threshold), first))
    found = bound(float(chosen), second)
    record = compute_pld_epsilon([SampledGaussian(noise_multiplier=NOISE, sampling_rate=1, steps=STEPS)], DELTA)
    patient = compute_pld_epsilon(
        [BoundedContribution(noise_multiplier=NOISE, sampling_rate=1, records_per_patient=RECORDS, steps=STEPS)],
        DELTA,
    )
    assert record < found < patient
