"""Measure lots in a fixed order against lots drawn in secret: one study, as ``consilium-site simulate`` trains it.

The study is a logistic regression on the UCI heart disease collection, as ``benchmarks/utility_data.py`` prepares it,
the four hospitals' tables pooled: 20 rounds of one pass over 16 lots. Every way has a grid of learning rates, chosen
on other seeds; a seed divides the patients anew, and noise is fresh. Noise is what ``consilium study check`` prints.
"""

import math
import time
from statistics import fmean, stdev
from typing import Any, Final

from benchmarks.small_study import make_patients
from benchmarks.utility_data import DATA, federation, pooled, study
from client.training.simulate import score, train_in_one_place
from privacy.study import Terms, parse_terms
from privacy.study.cost import compute_study_noise
from server.study.check import check_study
from server.study.check_result import PrivacyCheck

EPSILONS: Final = (3.0, 8.0)
WAYS: Final[dict[str, dict[str, Any]]] = {
    "drawn in secret, independent noise": {"placement": "local"},
    "in turn, banded noise": {"placement": "correlated", "correlation": {"matrix": "banded"}},
    "in turn, a tree for each pass": {"placement": "correlated", "correlation": {"matrix": "tree"}},
}
ROUNDS: Final = 20
LOTS: Final = 16
_DELTA: Final = 1e-5
_RATES: Final = (0.0625, 0.125, 0.25, 0.5)
_TUNING_SEEDS: Final = tuple(range(1000, 1005))
_SEEDS: Final = tuple(range(20))


def make_terms(way: str, epsilon: float, rate: float = 1.0) -> Terms:
    """Make the study with one way to take lots."""
    written = study("heart").model_dump(mode="json")
    written["training"] |= {
        "rounds": ROUNDS,
        "local_steps": LOTS,
        "sampling_rate": 1 / LOTS,
        "learning_rate": rate,
    }
    written["privacy"] = {"epsilon": epsilon, "delta": _DELTA, "clipping_norm": 1.0, **WAYS[way]}
    written["evaluation"], written["release"] = {"rounds": []}, {}
    written["secure_aggregation"] |= {"value_range": "auto"}
    return parse_terms(written)


def measure_order(quick: bool) -> list[dict[str, Any]]:
    """Train every way at every epsilon, a few times if ``quick``; return a row for each.

    Raises:
        FileNotFoundError: the data are not on this machine.
    """
    if federation("heart", 4, 0) is None:
        raise FileNotFoundError(DATA / "heart")
    few = (_TUNING_SEEDS[:1], _SEEDS[:2], _RATES[2:])
    tuning, seeds, rates = few if quick else (_TUNING_SEEDS, _SEEDS, _RATES)
    rows = []
    for epsilon in EPSILONS:
        for way in WAYS:
            tried = {rate: fmean(_train(make_terms(way, epsilon, rate), seed) for seed in tuning) for rate in rates}
            terms = make_terms(way, epsilon, max(tried, key=lambda rate: tried[rate]))
            began = time.process_time()
            found = [_train(terms, seed) for seed in seeds]
            seconds = (time.process_time() - began) / len(seeds)
            rows.append(
                {**describe(terms, way), "auroc": fmean(found), "deviation": stdev(found), "seconds": seconds}
            )
    return rows


def describe(terms: Terms, way: str) -> dict[str, Any]:
    """Describe what follows from the terms alone."""
    privacy = check_study(terms).privacy
    assert isinstance(privacy, PrivacyCheck)
    independent = privacy.noise_multiplier * math.sqrt(privacy.steps)
    return {
        "way": way,
        "epsilon": privacy.epsilon,
        "noise_multiplier": privacy.noise_multiplier,
        "noise_left": independent if privacy.correlation is None else privacy.correlation.noise_left,
        "learning_rate": terms.training.learning_rate,
    }


def _train(terms: Terms, seed: int) -> float:
    """Train once on the patients of ``seed``; return the AUROC on those held out."""
    sites = federation("heart", 4, seed)
    assert sites is not None, "the data were there before"
    train, test = pooled([site.train for site in sites]), pooled([site.test for site in sites])
    module = train_in_one_place(terms, make_patients(train.features, train.labels), compute_study_noise(terms))
    figures = score(module, make_patients(test.features, test.labels), terms).figures
    found = figures["auroc"]
    assert isinstance(found, float), "both outcomes are among the patients held out"
    return found
