"""Measure what quantising costs a study: AUROC at 8, 12 and 16 bits and without quantising.

``python -m benchmarks.bits [--json] [--seeds N] [--heart FOLDER]``, with and without privacy.

* The hospitals and terms are those of the demonstration. The sites' own code trains, in one process and unsealed.
* Rounding, error feedback, saturation, the common range and the model's step are those of a federation. Only
  sealing, which is exact, is left out.
* A seed fixes the division of patients into hospitals, sampling and noise, the same at every number of bits. The
  differences of one seed are therefore the effect of rounding.
* Means and standard deviations are over the seeds.
"""

import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Final

import click
import numpy as np
import yaml

from client.data.dataset import make_study_files
from client.study.noise_modes import PublicRound, read_mean_update, round_update
from client.training.jobs import FirstModel, ScoreModel, TrainRound
from client.training.session import TrainingSession
from models.parameters.vector import Vector, add_scaled
from models.tasks.registry import make_task
from privacy.command_line import print_json, print_table, say
from privacy.randomness import KeyStream
from privacy.secure_aggregation.round_layout import compute_weight, make_grid
from privacy.study import Terms, parse_terms
from privacy.study.cost import compute_study_noise
from server.demo.hospitals import Hospital, make_breast_cancer_hospitals, read_heart_hospitals

_EXAMPLES: Final = Path(__file__).resolve().parent.parent / "examples"
_STUDIES: Final = {"breast_cancer": "breast_cancer.yaml", "heart": "tabular/logistic.yaml"}
_BITS: Final = (8, 12, 16)
_EPSILONS: Final = (3.0, None)


@click.command()
@click.option("--seeds", default=10, show_default=True, type=click.IntRange(2, 1000), help="Repeats of each study.")
@click.option(
    "--heart",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The four files of the UCI heart disease collection.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def main(seeds: int, heart: Path | None, as_json: bool) -> None:
    """AUROC of the example studies at several bits a value."""
    found = []
    for name in ("breast_cancer", *(("heart",) if heart else ())):
        for epsilon in _EPSILONS:
            say(f"{name}, epsilon {epsilon or 'none'} ...")
            found += _compared(name, epsilon, heart, seeds)
    if as_json:
        print_json({"seeds": seeds, "studies": found})
        return
    columns = ("study", "epsilon", "bits", "auroc", "sd", "difference", "sd_of_difference", "saturated")
    print_table(columns, [[_word(row[column]) for column in columns] for row in found])


def _word(value: Any) -> str:
    if value is None:
        return "none"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _compared(name: str, epsilon: float | None, heart: Path | None, seeds: int) -> list[dict[str, Any]]:
    """Compute one row for each number of bits; ``difference`` is to the unquantised study of the same seed."""
    terms = _terms(name, epsilon)
    outcomes: dict[int | None, list[Outcome]] = {bits: [] for bits in (None, *_BITS)}
    for seed in range(seeds):
        with tempfile.TemporaryDirectory(prefix="bits-") as folder:
            sites = _sites(terms, _hospitals(name, heart, seed), Path(folder))
            for bits, each in outcomes.items():
                each.append(federated(terms, sites, bits, seed))
    rows = []
    for bits, each in outcomes.items():
        aurocs = [outcome.auroc for outcome in each]
        apart = [outcome.auroc - plain.auroc for outcome, plain in zip(each, outcomes[None], strict=True)]
        rows.append(
            {
                "study": terms.name,
                "epsilon": epsilon,
                "bits": bits,
                "auroc": fmean(aurocs),
                "sd": stdev(aurocs),
                "difference": fmean(apart),
                "sd_of_difference": stdev(apart),
                "saturated": sum(outcome.saturated for outcome in each),
            }
        )
    return rows


@dataclass(frozen=True)
class Site:
    """A hospital's trainer and its public number of patients."""

    name: str
    patients: int
    trainer: TrainingSession


@dataclass(frozen=True)
class Outcome:
    """The result of a study: the final model's AUROC over all test patients, and how many values saturated."""

    auroc: float
    saturated: int


def federated(terms: Terms, sites: Sequence[Site], bits: int | None, seed: int) -> Outcome:
    """Run all rounds of ``terms``; with ``bits`` None the updates are summed without quantising."""
    noise = None if terms.privacy.epsilon is None else compute_study_noise(terms)
    if bits is not None:
        terms = terms.model_copy(
            update={"secure_aggregation": terms.secure_aggregation.model_copy(update={"bits": bits})}
        )
    reference = max(site.patients for site in sites)
    patients = {site.name: site.patients for site in sites}
    weights = {name: compute_weight(terms, count, reference) for name, count in patients.items()}
    model = sites[0].trainer.run(FirstModel())
    residuals = {site.name: np.zeros_like(model) for site in sites}
    halvings, saturated = 0, 0
    for number in range(1, terms.training.rounds + 1):
        updates = {
            site.name: site.trainer.run(TrainRound(model, number, noise, _key(seed, site.name, number))).update
            for site in sites
        }
        if bits is None:
            weighted = [weights[name] * update for name, update in updates.items()]
            mean: Vector = np.sum(weighted, axis=0) / sum(weights.values())
        else:
            grid, total = make_grid(terms, halvings, noise), np.zeros(len(model), dtype=np.int64)
            for name, update in updates.items():
                stream = KeyStream(_key(seed, name, number, "rounding"))
                rounded = round_update(update, weights[name], residuals[name], grid, stream)
                residuals[name] = rounded.residual.astype("<f4").astype(np.float64)  # stored as a site stores it
                total += rounded.quantised.integers
                saturated += rounded.quantised.saturated
            opened = read_mean_update(
                terms, len(model), total, PublicRound(number, patients, reference, noise, halvings)
            )
            mean, halvings = opened.update, opened.halvings
        model = add_scaled(model, mean, terms.training.server_learning_rate)
    counts = np.sum([site.trainer.run(ScoreModel(model, None)) for site in sites], axis=0)
    auroc = make_task(terms.task, terms.data).compute_figures(counts.tolist(), terms.evaluation.bins)["auroc"]
    assert auroc is not None
    return Outcome(auroc, saturated)


def _key(*parts: object) -> bytes:
    return hashlib.sha256(repr(parts).encode()).digest()


def _sites(terms: Terms, hospitals: Sequence[Hospital], folder: Path) -> list[Site]:
    sites = []
    for hospital in hospitals:
        files, _ = make_study_files(terms.data, *hospital.write(folder / hospital.name))
        sites.append(Site(hospital.name, files.public_patients, TrainingSession(terms, files, "cpu")))
    return sites


def _hospitals(name: str, heart: Path | None, seed: int) -> tuple[Hospital, ...]:
    if name == "heart":
        assert heart is not None
        return read_heart_hospitals(heart, seed)
    return make_breast_cancer_hospitals(seed)


def _terms(name: str, epsilon: float | None) -> Terms:
    value = yaml.safe_load((_EXAMPLES / _STUDIES[name]).read_text(encoding="utf-8"))
    if epsilon is None:
        value["privacy"] = {"epsilon": "none"}
    else:
        value["privacy"]["epsilon"] = epsilon
    return parse_terms(value)


if __name__ == "__main__":
    main()
