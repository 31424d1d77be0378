"""Infer a property of a site's patients from its update: do most of them have a trait that nobody asked about?

The label does not depend on the trait. The attacker simulates sites of both kinds with patients of their own, takes the
difference of the mean updates as a direction, and looks on which side the seen update lies.

Differential privacy promises nothing here: it hides one patient, and a trait of most patients is not one patient's.
What noise does to it depends on the number of patients. Sealing hides which of the sites it is.

Source: Melis et al. 2019, "Exploiting unintended feature leakage in collaborative learning" (arXiv 1805.04049);
Ateniese et al. 2015 (arXiv 1306.4447).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.attacks.views import PROTECTIONS, VICTIM, Party, Protection, ShownRound, protect
from client.audit.canaries import SiteRecords
from privacy.randomness import KeyStream

_FEATURES: Final = 12
_PATIENTS: Final = 40
_MOST: Final = 0.85  # share of the trait at a site where most patients have it; elsewhere the rest
_ILL: Final = 0.25
_SHADOWS: Final = 200
Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Inferred:
    """How often a party was right about the trait, in how many rounds."""

    party: Party
    protection: Protection
    right: float
    rounds: int


def _write_study() -> dict[str, Any]:
    return {
        "consilium": 1,
        "name": "attacked",
        "purpose": "Be attacked: its patients are generated.",
        "model": {"name": "logistic"},
        "data": {
            "kind": "arrays",
            "name": "attacked",
            "ranges_from": "Generated numbers.",
            "inputs": [
                {
                    "type": "number",
                    "name": "features",
                    "shape": [_FEATURES],
                    "low": -1,
                    "high": 1,
                    "scaled": "signed",
                }
            ],
            "targets": [{"type": "id", "name": "label", "values": 2}],
        },
        "task": {"kind": "binary"},
        "training": {"rounds": 1, "local_steps": 1, "sampling_rate": 1.0, "learning_rate": 0.1},
        "privacy": {"epsilon": "none"},
        "cohort": {"minimum": 3, "maximum": 3},
        "secure_aggregation": {"bits": 24, "value_range": 2.0},
        "evaluation": {"rounds": []},
    }


def infer_property(
    rounds: int,
    parties: Sequence[Party] = tuple(Party),
    protections: Sequence[Protection] = PROTECTIONS,
    stream: KeyStream | None = None,
) -> list[Inferred]:
    """Attack ``rounds`` rounds, half of them with the trait, for every party and protection."""
    study, found = _write_study(), list[Inferred]()
    for protection in protections:
        terms = protect(study, protection)
        right = dict.fromkeys(parties, 0)
        for number in range(rounds):
            random = np.random.default_rng(1000 + number)
            most = number % 2 == 0
            sites = {VICTIM: _make_records(random, most)}
            sites |= {name: _make_records(random, bool(random.integers(2))) for name in ("birch", "cedar")}
            shown = ShownRound(terms, sites, _PATIENTS, stream)
            direction, middle = _learn_direction(shown.seen.model)
            for party in parties:
                right[party] += int((shown.look(party) @ direction > middle) == most)
        found += [Inferred(party, protection, right[party] / rounds, rounds) for party in parties]
    return found


def _draw(random: np.random.Generator, most: bool) -> tuple[Vector, NDArray[np.int64]]:
    numbers = random.uniform(-1, 1, (_PATIENTS, _FEATURES))
    numbers[:, 0] = np.where(random.random(_PATIENTS) < (_MOST if most else 1 - _MOST), 1.0, -1.0)
    return numbers, (random.random(_PATIENTS) < _ILL).astype(np.int64)


def _make_records(random: np.random.Generator, most: bool) -> SiteRecords:
    numbers, labels = _draw(random, most)
    return SiteRecords(
        {"features": numbers.astype(np.float32), "label": labels}, np.arange(_PATIENTS, dtype=np.int64)
    )


def _learn_direction(model: Vector) -> tuple[Vector, float]:
    """Return a direction of updates and the middle along it, from simulated sites of both kinds; (P,)."""
    random = np.random.default_rng(5)
    means = []
    for most in (False, True):
        updates = []
        for _ in range(_SHADOWS):
            numbers, labels = _draw(random, most)
            chances = 1 / (1 + np.exp(-(numbers @ model[:-1] + model[-1])))
            slopes = chances - labels
            updates.append(-0.1 * np.append(slopes @ numbers, slopes.sum()) / _PATIENTS)
        means.append(np.mean(updates, axis=0))
    direction = means[1] - means[0]
    return direction, float(direction @ (means[0] + means[1]) / 2)
