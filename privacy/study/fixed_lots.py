"""Check and read the parts of a study whose lots are taken in a fixed order (``privacy.placement: correlated``).

Rules:

* a pass takes every lot once; there are one over ``training.sampling_rate`` of them;
* a round is whole passes. Then what a round costs depends on no other one, whichever rounds a site misses
  (``privacy/accounting/correlated_noise.py``), and no patient is used twice within a pass;
* noise of later steps cancels in sums of steps. What does not add steps up would be noisier than with independent
  noise, and is refused: Adam, control variates, stages that train other layers;
* the unit is the patient, whose lot is fixed with all records;
* personal layers are refused: noise is carried on for what is shared.
"""

from typing import TYPE_CHECKING, Final

from privacy.accounting.events import MOST_BANDS, MOST_LOTS
from privacy.study.guarantee import Matrix, Placement, Unit
from privacy.study.training import StepRule

if TYPE_CHECKING:
    from privacy.study.terms import Terms

MOST_KEPT_BYTES: Final = 1 << 30
"""The most bytes of noise that a site keeps between two rounds."""


def count_lots(terms: "Terms") -> int:
    """Return how many lots a pass has: one over the sampling rate."""
    return round(1 / terms.training.sampling_rate)


def count_bands(terms: "Terms") -> int:
    """Return over how many steps the noise of a study is correlated; 1 where none is carried from round to round."""
    correlation = terms.privacy.correlation
    if correlation is None or correlation.matrix is Matrix.TREE:
        return 1
    return min(count_lots(terms), MOST_BANDS) if correlation.bands is None else correlation.bands


def carries_noise(terms: "Terms") -> bool:
    """Return whether a round goes on with the noise of the round before."""
    return count_bands(terms) > 1


def describe_excess(terms: "Terms", parameters: int) -> str | None:
    """Describe noise of so many shared ``parameters`` that is too much to be kept; None if it is not."""
    kept = 8 * (count_bands(terms) - 1) * parameters
    if kept <= MOST_KEPT_BYTES:
        return None
    return (
        f"privacy.correlation.bands is {count_bands(terms)}: between two rounds a site would keep {kept:,} bytes of "
        f"noise, expected at most {MOST_KEPT_BYTES:,}; write fewer bands, or matrix: tree"
    )


def require_lots_in_turn(terms: "Terms") -> None:
    """Check the terms of a study whose noise is correlated; others are left alone.

    Raises:
        ValueError: a part is not as such a study needs it.
    """
    if terms.privacy.placement is not Placement.CORRELATED:
        return
    if terms.privacy.epsilon is None:
        raise ValueError("privacy.placement: correlated noise needs an epsilon; there is none to place")
    if terms.privacy.unit is not Unit.PATIENT:
        raise ValueError("privacy.unit: with correlated noise the unit is the patient, whose lot is fixed")
    _require_whole_passes(terms)
    training = terms.training
    if training.step.rule is not StepRule.PLAIN:
        raise ValueError(
            "training.step: correlated noise cancels in sums of steps, and adam sums none; leave it out"
        )
    if training.control_variates:
        raise ValueError(
            "training.control_variates: they carry noise from round to round themselves; leave them out"
        )
    if training.stages:
        raise ValueError("training.stages: correlated noise is carried on over the same layers; leave them out")
    if terms.model.personal:
        raise ValueError("model.personal: correlated noise is carried on for shared layers; leave it out")


def _require_whole_passes(terms: "Terms") -> None:
    training, lots, bands = terms.training, count_lots(terms), count_bands(terms)
    if not 2 <= lots <= MOST_LOTS or abs(training.sampling_rate * lots - 1) > 1e-6:
        raise ValueError(
            f"training.sampling_rate is {training.sampling_rate:g}: with correlated noise it is one over the number of "
            f"lots, 2 to {MOST_LOTS}, such as 0.125 for 8"
        )
    if training.lots % lots:
        raise ValueError(
            f"training.local_steps times accumulate is {training.lots}: with correlated noise a round is whole passes "
            f"over the {lots} lots, such as {lots * (training.lots // lots + 1)}; or write local_epochs: 1"
        )
    if bands > lots:
        raise ValueError(
            f"privacy.correlation.bands is {bands}: a patient is used every {lots} steps; write at most {lots}"
        )
