"""``consilium-site simulate``: train in one place on public tables, to compare a federation with."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING

import click

from privacy.canonical import Json
from privacy.command_line import print_json, print_table
from privacy.errors import TermsError

if TYPE_CHECKING:
    from client.training.simulate import SimulatedRun


@click.command()
@click.argument("study", metavar="STUDY.yaml", type=click.Path(path_type=Path))
@click.option("--train", required=True, multiple=True, type=click.Path(path_type=Path), help="CSV; repeat to pool.")
@click.option("--test", required=True, multiple=True, type=click.Path(path_type=Path), help="CSV; may be repeated.")
@click.option("--private/--not-private", required=True, help="With the study's epsilon, or without privacy.")
@click.option(
    "--repeats", default=1, show_default=True, type=click.IntRange(1, 1000), help="Fresh randomness each."
)
@click.option(
    "--weights", "start", type=click.Path(path_type=Path), help="Public weights that STUDY.yaml begins with."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def simulate(
    study: Path,
    train: tuple[Path, ...],
    test: tuple[Path, ...],
    private: bool,
    repeats: int,
    start: Path | None,
    as_json: bool,
) -> None:
    """Train on public CSV files in one place, for comparison: nothing is charged and nothing sealed."""
    from client.training.simulate import simulate as simulated
    from models.tasks.registry import find_threshold, list_figures
    from privacy.study import read_terms
    from privacy.study.cost import compute_study_noise

    terms = read_terms(study)
    if terms.counts_only:
        raise TermsError(f"{study}: a study of statistics trains nothing, so there is nothing to simulate")
    noise = compute_study_noise(terms) if private else None
    runs = simulated(terms, train, test, noise, repeats, start)
    if as_json:
        print_json({"simulated": True, "private": private, "runs": [_to_json(run) for run in runs]})
        return
    how = f"with noise for epsilon {terms.privacy.epsilon:g}" if private else "WITHOUT PRIVACY"
    threshold, figures = find_threshold(terms.task), list_figures(terms.task, terms.data)
    at = "" if threshold is None else f", threshold {threshold:g}"
    click.echo(f"simulated in one place, {how}, on {runs[0].patients:,} test patients{at}")
    values = [[run.figures[each.name] for each in figures] for run in runs]
    rows = [(f"training {number}", *map(_format_figure, row)) for number, row in enumerate(values, start=1)]
    if len(runs) > 1:
        rows.append(("mean and spread", *map(_format_mean, zip(*values, strict=True))))
    print_table(("", *(each.title for each in figures)), rows)


def _to_json(run: "SimulatedRun") -> Json:
    return {"patients": run.patients, "figures": dict(run.figures)}


def _format_figure(figure: float | None) -> str:
    return "-" if figure is None else f"{figure:.3f}"


def _format_mean(figures: Sequence[float | None]) -> str:
    """Format the mean, and the standard deviation from one training to the next."""
    known = [each for each in figures if each is not None]
    return f"{fmean(known):.3f} ± {stdev(known):.3f}" if len(known) > 1 else "-"
