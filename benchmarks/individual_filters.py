"""Measure what a filter for each patient admits beyond one filter for all, and what paying for fewer steps does.

Feldman and Zrnic 2021.

``python -m benchmarks.individual_filters [--json] [--seeds N]``: logistic regression by full batches on scikit-learn's
breast cancer table, noise 4, clipping norm 1; every patient pays for 8 steps of full length: epsilon 3.1904 at delta
1e-5, either way. One filter for all must stop after 8 steps. Filters for each go on, with those who can still pay.

``--alone``: the UCI heart disease collection, its four hospitals' tables pooled as those of one site, which trains it
as ``consilium-site train-alone`` does: logistic regression, 100 full batches, epsilon 3 at delta 1e-5 however many
steps everybody pays for. The learning rate of a row is the best of four on five other divisions of the patients.
"""

import time
from statistics import fmean, stdev
from typing import Any, Final

import click
import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import roc_auc_score

from benchmarks.small_study import make_patients
from benchmarks.utility_data import DATA, federation, pooled, study
from client.study.train_alone import make_event
from client.training.simulate import score, train_in_one_place
from privacy.accounting.individual_filter import PARTS, IndividualFilter
from privacy.command_line import print_json, print_table
from privacy.randomness import KeyStream
from privacy.study import Terms, parse_terms

PAID_STEPS: Final = 8
NOISE: Final = 4.0
_RATE: Final = 8.0
_STEPS: Final = 100
_PAID: Final = (100, 50, 25, 12)
_RATES: Final = (0.0625, 0.125, 0.25, 0.5)
_TUNING_SEEDS: Final = tuple(range(1000, 1005))


def measure(seed: int, steps: int = 100) -> dict[str, float]:
    """Train with one filter for all, and with one for each patient; return figures by name."""
    features, labels = load_breast_cancer(return_X_y=True)
    features = (features - features.min(0)) / (features.max(0) - features.min(0)) * 2 - 1
    features = np.hstack([features, np.ones((len(features), 1))])
    rows = np.random.default_rng(seed).permutation(len(features))
    train, test = rows[:400], rows[400:]

    def run(most: int, individual: bool) -> tuple[NDArray[np.float64], int, float]:
        stream = KeyStream(seed.to_bytes(32, "big"))  # a benchmark's noise, so that a run can be repeated
        kept = IndividualFilter(len(train), PAID_STEPS)
        model, taken, active = np.zeros(features.shape[1]), 0, 1.0
        for _ in range(most):
            scores = 1 / (1 + np.exp(-features[train] @ model))
            gradients = (scores - labels[train])[:, None] * features[train]
            lengths = np.linalg.norm(gradients, axis=1)
            gradients /= np.maximum(1.0, lengths)[:, None]
            admitted = kept.admit(np.minimum(1.0, lengths) if individual else np.ones(len(train)))
            kept.settle()
            if not individual and not admitted.all():
                break
            taken, active = taken + 1, float(admitted.mean())
            total = gradients[admitted].sum(0) + NOISE * stream.draw_normal(features.shape[1])
            model = model - _RATE * total / len(train)  # by a public number, not by those who are left
        return model, taken, active

    def score(model: NDArray[np.float64]) -> float:
        return float(roc_auc_score(labels[test], features[test] @ model))

    one, stopped, _ = run(steps, individual=False)
    each, _, active = run(steps, individual=True)
    return {
        "steps, one filter for all": stopped,
        "AUROC, one filter for all": score(one),
        "AUROC, a filter for each": score(each),
        f"patients still in after {steps} steps": active,
    }


def make_terms(rate: float) -> Terms:
    """Make the heart study as one site trains it alone."""
    written = study("heart").model_dump(mode="json")
    written["training"] |= {"rounds": 10, "local_steps": _STEPS // 10, "sampling_rate": 1, "learning_rate": rate}
    written["privacy"] = {"epsilon": 3, "delta": 1e-5, "clipping_norm": 1.0}
    written["evaluation"], written["release"] = {"rounds": []}, {}
    return parse_terms(written)


def measure_alone(seeds: int) -> list[dict[str, Any]]:
    """Train alone, everybody paying for fewer and fewer steps; return a row for each.

    Raises:
        FileNotFoundError: the data are not on this machine.
    """
    if federation("heart", 4, 0) is None:
        raise FileNotFoundError(DATA / "heart")
    rows = []
    for paid in _PAID:
        tried = {rate: fmean(_train(rate, paid, seed)[0] for seed in _TUNING_SEEDS) for rate in _RATES}
        rate = max(tried, key=lambda rate: tried[rate])
        began = time.process_time()
        found = [_train(rate, paid, seed) for seed in range(seeds)]
        rows.append(
            {
                "paid steps": paid,
                "noise multiplier": make_event(make_terms(rate), paid).noise_multiplier,
                "learning rate": rate,
                "could still pay": fmean(left for _, left in found),
                "auroc": fmean(auroc for auroc, _ in found),
                "deviation": stdev(auroc for auroc, _ in found),
                "seconds": (time.process_time() - began) / seeds,
            }
        )
    return rows


def _train(rate: float, paid: int, seed: int) -> tuple[float, float]:
    """Train once on the patients of ``seed``; return the AUROC on those held out, and who could pay one step more."""
    sites, terms = federation("heart", 4, seed), make_terms(rate)
    assert sites is not None, "the data were there before"
    train, test = pooled([site.train for site in sites]), pooled([site.test for site in sites])
    patients, kept = make_patients(train.features, train.labels), IndividualFilter(len(train.labels), paid)
    module = train_in_one_place(terms, patients, make_event(terms, paid).noise_multiplier, patient_filter=kept)
    found = score(module, make_patients(test.features, test.labels), terms).figures["auroc"]
    assert isinstance(found, float), "both outcomes are among the patients held out"
    return found, float((kept.spent <= (paid - 1) * PARTS**2).mean())


@click.command()
@click.option("--seeds", default=10, show_default=True, type=click.IntRange(1, 1000), help="Repeats.")
@click.option(
    "--steps", default=40, show_default=True, type=click.IntRange(1, 10_000), help="With a filter for each."
)
@click.option("--alone", is_flag=True, help="The heart study, as one site trains it alone.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def main(seeds: int, steps: int, alone: bool, as_json: bool) -> None:
    """Steps and AUROC with one filter for all patients, and with one for each."""
    if alone:
        rows = measure_alone(max(2, seeds))
        if as_json:
            print_json({"seeds": seeds, "rows": rows})
        else:
            print_table(tuple(rows[0]), [tuple(f"{value:.3f}" for value in row.values()) for row in rows])
        return
    runs = [measure(seed, steps) for seed in range(1, seeds + 1)]
    found = {name: fmean(run[name] for run in runs) for name in runs[0]}
    if as_json:
        print_json({"seeds": seeds, **found})
        return
    print_table(("figure", "mean"), [(name, f"{value:.3f}") for name, value in found.items()])


if __name__ == "__main__":
    main()
