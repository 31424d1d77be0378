"""Run the example study of models on real data: federated at several epsilons, alone and pooled.

``python -m benchmarks.model_studies MODEL=DIR ... [--out docs/models.json] [--repeats 3] [--epsilons 3,8,none]``
writes the figures of ``docs/models.md``. ``DIR`` has one folder for each hospital, as the script beside the study
makes it. For each model one federation of real processes is made, and one study is launched for each epsilon, the one
without privacy last. On the same files each hospital alone (with the largest epsilon) and all pooled (without privacy)
are simulated by the sites' own code.

A row of the document is a model on the data that ``DIR`` is named for: the same model on other data gets a row of its
own, by another study (``--study``). Rows that are not named stay as they are. Where the row has further epsilons, only
the federations that are asked for run, and their figures go beside the others; alone and pooled stay as they are. An
epsilon that is asked for is measured anew.

With ``--elsewhere`` only one study runs for each model, with the largest epsilon and its noise placed the other way
(:func:`place_noise_elsewhere`), and its figure is added to the row.

With ``--seeds N`` no processes run: the study is trained in one process without privacy and with each epsilon, from the
same N seeds each (``benchmarks/paired_seeds.py``). A seed that the document has already is not trained again, and each
is written when it is done, so that a run may be interrupted.

A study that begins with public weights needs their file (``--weights``); ``--study`` names another file than the
example of the model. Both are for one MODEL.
"""

import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from math import inf
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Final

import click

from benchmarks.paired_seeds import PairedCohort, PairedSite
from client.data.conversion.kept_snapshots import make_snapshot
from client.training.simulate import simulate
from models.catalogue import find_model
from models.tasks.registry import list_figures
from privacy.command_line import say
from privacy.study import Placement, Terms, parse_terms
from privacy.study.cost import compute_study_noise
from server.demo.local_federation import LocalFederation
from server.demo.processes import Processes
from server.demo.sources import DemoChoice, DemoHospital, choose_study
from server.results.tally import average_rounds
from server.watch.progress import Progress

OUT: Final = Path("docs/models.json")
MOST_ROUNDS: Final = 20
LOCAL_ROUNDS: Final = 10


@click.command()
@click.argument("pairs", metavar="MODEL=DIR...", nargs=-1, required=True)
@click.option("--out", type=click.Path(path_type=Path), default=OUT, show_default=True)
@click.option(
    "--repeats", default=3, show_default=True, type=click.IntRange(1, 100), help="Simulated trainings each."
)
@click.option("--epsilons", default="3,8,none", show_default=True, help="In rising order; none last.")
@click.option("--elsewhere", is_flag=True, help="Only the study with its noise placed the other way.")
@click.option("--seeds", type=click.IntRange(1, 100), help="Only so many paired trainings, in one process.")
@click.option("--study", type=click.Path(path_type=Path), help="Instead of the example of the one MODEL.")
@click.option("--weights", type=click.Path(path_type=Path), help="The public weights that it begins with.")
def main(
    pairs: tuple[str, ...],
    out: Path,
    repeats: int,
    epsilons: str,
    elsewhere: bool,
    seeds: int | None,
    study: Path | None,
    weights: Path | None,
) -> None:
    """Measure the example studies of models on real data."""
    if elsewhere and seeds:
        raise click.UsageError("--elsewhere and --seeds are runs of their own; name one of them")
    if len(pairs) > 1 and (study or weights):
        raise click.UsageError("--study and --weights are for one MODEL=DIR")
    for pair in pairs:
        name, _, data = pair.partition("=")
        choice = DemoChoice(None if study else name, None, study, Path(data), None, False, "none", None, weights)
        say(f"{name} ...")
        asked = epsilons.split(",")
        if seeds:
            for found in measure_seeds(choice, seeds, asked, find_row(out, name, choice).get("paired")):
                say(json.dumps(found))
                add_figures(out, name, choice, {"paired": found})
            continue
        if elsewhere:
            found = {"elsewhere": measure_elsewhere(replace(choice, epsilon=_find_largest(asked)))}
        else:
            found = measure_study(name, choice, repeats, asked, keep_epsilons(find_row(out, name, choice), asked))
        say(json.dumps(found))
        add_figures(out, name, choice, found)


def find_row(out: Path, name: str, choice: DemoChoice) -> dict[str, Any]:
    """Return what the document has of a model on the chosen data."""
    return next((row for row in _read_document(out)["studies"] if _is_of(row, name, choice)), {})


def add_figures(out: Path, name: str, choice: DemoChoice, found: dict[str, Any]) -> None:
    """Add ``found`` to the row that the document has of a model on the chosen data, or to a new last one."""
    # read anew: a run takes minutes, and another may have written meanwhile
    document = _read_document(out)
    rows = document["studies"]
    row = next((each for each in rows if _is_of(each, name, choice)), None)
    if row is None:
        row = {"model": name, "data": _name_data(choice)}
        rows.append(row)
    row.update(found)
    out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _read_document(out: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {"studies": []}
    return document


def _is_of(row: dict[str, Any], name: str, choice: DemoChoice) -> bool:
    return (row["model"], row["data"]) == (name, _name_data(choice))


def _name_data(choice: DemoChoice) -> str:
    assert choice.data is not None, "the hospitals' records are in a folder"
    return choice.data.name


def keep_epsilons(row: dict[str, Any], asked: list[str]) -> dict[str, float | None]:
    """Return the figures of a row's federations with epsilons that are not ``asked`` for."""
    return {epsilon: value for epsilon, value in row.get("federated", {}).items() if epsilon not in asked}


def order_epsilons(figures: dict[str, float | None]) -> dict[str, float | None]:
    """Put the smallest epsilon first, and none last."""
    return dict(sorted(figures.items(), key=lambda item: inf if item[0] == "none" else float(item[0])))


def _find_largest(epsilons: list[str]) -> str:
    return next((each for each in reversed(epsilons) if each != "none"), "none")


def measure_study(
    name: str, choice: DemoChoice, repeats: int, epsilons: list[str], kept: dict[str, float | None]
) -> dict[str, Any]:
    """Run the chosen study of ``name`` for each epsilon; unless figures are ``kept``, simulate alone and pooled."""
    terms, hospitals = choose_study(replace(choice, epsilon=_find_largest(epsilons)))
    first = list_figures(terms.task, terms.data)[0]
    federated: dict[str, float | None] = {}
    moved: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="consilium-") as folder, Processes() as processes:
        federation = LocalFederation(Path(folder), terms, hospitals, say, choice.weights)
        federation.make()
        federation.start(processes)
        for epsilon in epsilons:
            asked, _ = choose_study(replace(choice, epsilon=epsilon))
            federation.allow(asked)
            federated[epsilon], moved = _run_study(federation, processes, asked, first.name)
            say(f"{name}, epsilon {epsilon}: {federated[epsilon]}")
        processes.stop()
        if kept:
            return {"federated": order_epsilons(kept | federated)}
        tables = list(federation.tables.values())
        trains, tests = [train for train, _ in tables], [test for _, test in tables]
        noise = compute_study_noise(terms)
        began = time.perf_counter()
        alone = [_simulate(terms, [train], tests, noise, repeats, choice.weights) for train in trains]
        pooled = _simulate(terms, trains, tests, None, repeats, choice.weights)
        say(f"simulated in {time.perf_counter() - began:.0f} s")
    return {
        "domain": find_model(name).domain,
        "sites": len(tables),
        "figure": first.title,
        "lower_is_better": first.lower_is_better,
        "federated": federated,
        "alone": _summarise([value for values in alone for value in values]),
        "pooled": _summarise(pooled),
        **moved,
    }


def measure_seeds(
    choice: DemoChoice, seeds: int, epsilons: list[str], known: dict[str, Any] | None
) -> Iterator[dict[str, Any]]:
    """Train the chosen study for each epsilon from each seed that is not ``known``; yield all figures after each.

    ``seeds`` has the figures of each seed, from 1 on, by epsilon.
    """
    studies = {epsilon: choose_study(replace(choice, epsilon=epsilon))[0] for epsilon in epsilons}
    terms, hospitals = choose_study(replace(choice, epsilon=_find_largest(epsilons)))
    first = list_figures(terms.task, terms.data)[0]
    measured: dict[str, dict[str, float | None]] = dict(known["seeds"]) if known else {}
    with tempfile.TemporaryDirectory(prefix="consilium-") as folder:
        sites = [PairedSite.read(terms, each.name, *write_files(each, terms, Path(folder))) for each in hospitals]
        for seed in range(1, seeds + 1):
            if set(epsilons) <= set(measured.get(str(seed), {})):
                continue
            cohorts = {
                epsilon: PairedCohort(each, sites, seed, choice.weights) for epsilon, each in studies.items()
            }
            measured[str(seed)] = {
                epsilon: each.score(each.train())[first.name] for epsilon, each in cohorts.items()
            }
            yield {"data": _name_data(choice), "figure": first.title, "seeds": measured}


def write_files(hospital: DemoHospital, terms: Terms, folder: Path) -> tuple[Path, Path]:
    """Write a hospital's training and test file into ``folder``, converted by its mapping if it has one."""
    match hospital.write(folder / hospital.name):
        case (train, test):
            return train, test
        case (mapping,):
            snapshot = make_snapshot(terms.data, mapping, folder / f"{hospital.name}-made", most_quarantined=0.01)
            return snapshot.train, snapshot.test
    raise ValueError(f"{hospital.name}: expected a mapping, or a training and a test file")


def measure_elsewhere(choice: DemoChoice) -> dict[str, Any]:
    """Run the chosen study with its noise placed the other way; return the placement, rounds and figure."""
    terms, hospitals = choose_study(choice)
    terms = place_noise_elsewhere(terms)
    with tempfile.TemporaryDirectory(prefix="consilium-") as folder, Processes() as processes:
        federation = LocalFederation(Path(folder), terms, hospitals, say, choice.weights)
        federation.make()
        federation.start(processes)
        federation.allow(terms)
        value, _ = _run_study(federation, processes, terms, list_figures(terms.task, terms.data)[0].name)
        processes.stop()
    return {"placement": terms.privacy.placement.value, "rounds": terms.training.rounds, "figure": value}


def place_noise_elsewhere(terms: Terms) -> Terms:
    """Return a study whose sites add local noise with noise that they share, or the other way round.

    Local steps become rounds of one step each, of all stages alike, but at most :data:`MOST_ROUNDS` rounds in all where
    the study itself has fewer. Where that leaves fewer steps, each is longer by as much. Shared steps become
    :data:`LOCAL_ROUNDS` rounds with as many steps in all. The rest stays, except adaptive local steps, which shared
    noise does not know.
    """
    fields = terms.model_dump(mode="json")
    training, privacy = fields["training"], fields["privacy"]
    if terms.privacy.placement is Placement.LOCAL:
        times = max(1, min(terms.training.lots, MOST_ROUNDS // terms.training.rounds))
        privacy["placement"] = Placement.DISTRIBUTED.value
        training |= {"rounds": times * training["rounds"], "local_steps": 1, "accumulate": 1, "proximal": 0.0}
        for part in (training, *training["stages"]):
            part["learning_rate"] *= terms.training.local_steps / times
        for stage in training["stages"]:
            stage["rounds"] *= times
        training.pop("step", None)
        fields["cohort"]["colluders"] = max(1, terms.cohort.colluders)
    else:
        privacy["placement"] = Placement.LOCAL.value
        steps = -(-terms.training.rounds // LOCAL_ROUNDS)
        training |= {"rounds": -(-terms.training.rounds // steps), "local_steps": steps}
    fields.pop("secure_aggregation")  # each placement has its own usual bits
    fields["evaluation"]["rounds"] = [training["rounds"]]
    return parse_terms(fields)


def _run_study(
    federation: LocalFederation, processes: Processes, terms: Terms, figure: str
) -> tuple[float | None, dict[str, float]]:
    federation.terms = terms
    with Progress(quiet=True) as progress:
        study = federation.run_study(processes, progress)
    name = next(iter(federation.tables))
    card = json.loads((federation.folder / name / "studies" / study / "release" / "card.json").read_bytes())
    rounds = [each for number, each in progress.tally.rounds.items() if terms.trains(number) and each.committed]
    average = average_rounds(rounds)
    assert average is not None
    moved = {
        "parameters": card["model"]["parameters"],
        "bytes_up": average.bytes_up,
        "bytes_down": average.bytes_down,
        "seconds_per_round": round(average.seconds, 2),
    }
    return (card["evaluation"][-1]["figures"][figure] if card["evaluation"] else None), moved


def _simulate(
    terms: Terms, trains: list[Path], tests: list[Path], noise: float | None, repeats: int, weights: Path | None
) -> list[float]:
    figure = list_figures(terms.task, terms.data)[0].name
    runs = simulate(terms, trains, tests, noise, repeats, weights)
    return [value for run in runs if (value := run.figures[figure]) is not None]


def _summarise(values: list[float]) -> dict[str, float | None]:
    return {
        "mean": fmean(values) if values else None,
        "spread": stdev(values) if len(values) > 1 else None,
    }


if __name__ == "__main__":
    main()
