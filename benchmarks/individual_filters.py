"""Measure what a filter for each patient admits beyond one filter for all (Feldman and Zrnic 2021).

``python -m benchmarks.individual_filters [--json] [--seeds N]``: logistic regression by full batches on scikit-learn's
breast cancer table, noise 4, clipping norm 1; every patient pays for 8 steps of full length: epsilon 3.1904 at delta
1e-5, either way. One filter for all must stop after 8 steps. Filters for each go on, with those who can still pay.
"""

from statistics import fmean
from typing import Final

import click
import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import roc_auc_score

from privacy.accounting.individual_filter import IndividualFilter
from privacy.command_line import print_json, print_table
from privacy.randomness import KeyStream

PAID_STEPS: Final = 8
NOISE: Final = 4.0
_RATE: Final = 8.0


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


@click.command()
@click.option("--seeds", default=10, show_default=True, type=click.IntRange(1, 1000), help="Repeats.")
@click.option(
    "--steps", default=40, show_default=True, type=click.IntRange(1, 10_000), help="With a filter for each."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def main(seeds: int, steps: int, as_json: bool) -> None:
    """Steps and AUROC with one filter for all patients, and with one for each."""
    runs = [measure(seed, steps) for seed in range(1, seeds + 1)]
    found = {name: fmean(run[name] for run in runs) for name in runs[0]}
    if as_json:
        print_json({"seeds": seeds, **found})
        return
    print_table(("figure", "mean"), [(name, f"{value:.3f}") for name, value in found.items()])


if __name__ == "__main__":
    main()
