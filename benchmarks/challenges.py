"""Measure what the answers to four challenges of deep learning in medicine are worth here, on public data.

``python -m benchmarks.challenges DIR [--json] [--repeats N]`` writes the figures of ``docs/challenges.md``. ``DIR`` has
the folders ``chest``, ``busi``, ``heart-failure`` and ``codes``, as these scripts of ``examples/`` make them:
``prepare_pneumoniamnist.py``, ``prepare_busi.py``, ``prepare_diabetes130_visits.py --heart-failure`` and
``prepare_diabetes130_hospitals.py``; in ``codes`` also CMS's maps between ICD-9 and ICD-10, as CSV files.

* Ways to make more of few patients are trained as a hospital alone would, by the sites' own steps and noise
  (``client/training/simulate.py``), and scored on the test patients of all hospitals.
* What an explanation says is compared with what the model does when the things that it names are taken away.
* What a hospital's codes become in a study that uses others is compared with what they mean.
* Whether a model gives its patients away is asked by comparing its loss on them and on others (Yeom et al. 2018).
"""

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from tempfile import TemporaryDirectory
from typing import Any, Final

import click
import torch

from benchmarks.challenges_codes import measure_codes
from benchmarks.challenges_trust import measure_explanations, measure_membership
from benchmarks.challenges_ways import Comparison, list_comparisons, set_rate
from client.training.simulate import remove_privacy, score, train_in_one_place
from models.tasks.registry import list_figures
from privacy.command_line import print_json, print_table, say
from privacy.study.cost import compute_study_noise

OUT: Final = Path("docs/challenges.json")


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document, and write no file.")
@click.option("--repeats", default=5, show_default=True, type=click.IntRange(2, 100), help="Trainings each.")
def main(folder: Path, as_json: bool, repeats: int) -> None:
    """Measure the answers to the challenges."""
    torch.set_num_threads(1)
    with TemporaryDirectory(prefix="challenges-") as temporary:
        ways = [row for each in list_comparisons(folder, Path(temporary)) for row in compare_ways(each, repeats)]
        codes = measure_codes(folder, Path(temporary))
    found = {
        "ways": ways,
        "codes": codes,
        "membership": measure_membership(folder, repeats),
        "explanations": measure_explanations(folder, repeats),
    }
    if as_json:
        print_json(found)
        return
    OUT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    for name, rows in found.items():
        say(name)
        print_table(list(rows[0]), [[str(value) for value in row.values()] for row in rows])


def compare_ways(comparison: Comparison, repeats: int) -> list[dict[str, Any]]:
    """Train every way without privacy and with the study's epsilon; return a row for each."""
    rows = []
    for way in comparison.ways:
        figure = list_figures(way.terms.task, way.terms.data)[0]
        values: dict[str, list[float]] = {}
        for column, terms, noise in (
            ("none", set_rate(remove_privacy(way.terms), comparison.plain_rate), None),
            (f"epsilon {way.terms.privacy.epsilon:g}", way.terms, compute_study_noise(way.terms)),
        ):
            trained = [train_in_one_place(terms, way.training, noise, way.weights) for _ in range(repeats)]
            scored = [score(module, way.testing, terms).figures[figure.name] for module in trained]
            values[column] = [each for each in scored if each is not None]
        say(f"{comparison.name}, {way.name}: {values}")
        rows.append(
            {
                "comparison": comparison.name,
                "way": way.name,
                "patients": way.training.patients,
                "figure": figure.title,
                **{column: summarise(each) for column, each in values.items()},
            }
        )
    return rows


def summarise(values: Sequence[float]) -> str:
    """Write mean and standard deviation."""
    return f"{fmean(values):.3f} ± {stdev(values):.3f}"


if __name__ == "__main__":
    main()
