"""Measure from how many patients on a model's example study works: without privacy, and with epsilon.

``python -m benchmarks.learning_curves MODEL=DIR ... [--out docs/models.json] [--repeats 2]`` adds two curves to the
row that the document has of the model on these data (``docs/models.md`` shows them). ``DIR`` has a folder for each
hospital, as the script beside the study makes it; all are pooled.

* *Without privacy*, on a quarter, a half and all of the training patients, drawn once: does more data help?
* *With epsilon 8*, on all of them, with the noise of as many patients, of four times and of sixteen times as many. The
  noise of a step does not depend on how many patients there are, so of k times as many each counts against a k-th of
  it. What more patients would also teach is not in it.

A study that begins with public weights needs their file (``--weights``); ``--study`` names another file than the
example of the model. Both are for one MODEL.
"""

import json
import tempfile
from pathlib import Path
from statistics import fmean
from typing import Any, Final

import click
import numpy as np

from benchmarks.model_studies import OUT, add_figures, write_files
from client.training.simulate import simulate
from models.tasks.registry import list_figures
from privacy.command_line import say
from privacy.study import Terms
from privacy.study.cost import compute_study_noise
from server.demo.sources import DemoChoice, choose_study

SHARES: Final = (0.25, 0.5, 1.0)
TIMES: Final = (1, 4, 16)
_SEED: Final = 1


@click.command()
@click.argument("pairs", metavar="MODEL=DIR...", nargs=-1, required=True)
@click.option("--out", type=click.Path(path_type=Path), default=OUT, show_default=True)
@click.option("--repeats", default=2, show_default=True, type=click.IntRange(1, 100), help="Trainings each.")
@click.option(
    "--only-shares", is_flag=True, help="Only the curve without privacy, which takes a third of the time."
)
@click.option("--study", type=click.Path(path_type=Path), help="Instead of the example of the one MODEL.")
@click.option("--weights", type=click.Path(path_type=Path), help="The public weights that it begins with.")
def main(
    pairs: tuple[str, ...], out: Path, repeats: int, only_shares: bool, study: Path | None, weights: Path | None
) -> None:
    """Measure the learning curves of models on real data."""
    if len(pairs) > 1 and (study or weights):
        raise click.UsageError("--study and --weights are for one MODEL=DIR")
    for pair in pairs:
        name, _, data = pair.partition("=")
        choice = DemoChoice(None if study else name, None, study, Path(data), None, False, "8", None, weights)
        found = {"curves": measure_curves(choice, repeats, () if only_shares else TIMES)}
        say(f"{name}: {json.dumps(found)}")
        add_figures(out, name, choice, found)


def measure_curves(choice: DemoChoice, repeats: int, multiples: tuple[int, ...]) -> dict[str, Any]:
    """Simulate the chosen study on shares of its patients, and with the noise of ``multiples`` of them."""
    terms, hospitals = choose_study(choice)
    figure = list_figures(terms.task, terms.data)[0]

    def measure(files: list[Path], noise: float | None) -> float | None:
        runs = simulate(terms, files, tests, noise, repeats, choice.weights)
        defined = [value for run in runs if (value := run.figures[figure.name]) is not None]
        return fmean(defined) if defined else None

    with tempfile.TemporaryDirectory(prefix="consilium-") as folder:
        pairs = [write_files(each, terms, Path(folder)) for each in hospitals]
        trains, tests = [train for train, _ in pairs], [test for _, test in pairs]
        shares = {}
        for share in SHARES:
            files, patients = _draw_share(trains, terms, share, Path(folder) / f"{share}")
            shares[patients] = measure(files, None)
        noise = compute_study_noise(terms)
        assert noise is not None, "the study has an epsilon"
        times = {each: measure(trains, noise / each) for each in multiples}
    return {"figure": figure.title, "no_privacy": shares, "noise_of_times_as_many": times}


def _draw_share(trains: list[Path], terms: Terms, share: float, folder: Path) -> tuple[list[Path], int]:
    """Write files with a share of each hospital's patients; return them, and how many patients they have together."""
    folder.mkdir()
    random, files, patients = np.random.default_rng(_SEED), [], 0
    for number, path in enumerate(trains):
        with np.load(path) as archive:
            arrays = dict(archive)
        column = arrays[terms.data.patient]
        names = random.permutation(np.unique(column))
        kept = names[: max(1, round(share * len(names)))]
        rows = np.isin(column, kept)
        target = folder / f"{number}.npz"
        np.savez(target, **{name: values[rows] for name, values in arrays.items()})
        files.append(target)
        patients += len(kept)
    return files, patients


if __name__ == "__main__":
    main()
