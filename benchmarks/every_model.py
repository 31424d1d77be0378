"""Train every model of the catalogue in one federation of real processes, sealed, with epsilon.

``python -m benchmarks.every_model [--models A,B] [--rounds 1] [--sites 3] [--json]`` launches, one after another, the
studies that ``consilium demo --model NAME`` runs, on the same generated records of nobody. Coordinator and sites are
started once, and each site registers the data of each study and is granted a budget for them. Alone and pooled, which
the demonstration simulates beside, are left out.

* ``seconds``: of the whole study, from its launch to its release.
* ``figure``: of the task, over the sites' test patients, after the last round. After a round or two on generated
  records it says that the model was scored, not how good it is.

Models whose studies stop are named, and the program ends with 1.
"""

import json
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import click

from models.catalogue import NAMES
from models.tasks.registry import list_figures
from privacy.command_line import print_json, print_table, say
from privacy.errors import Error
from privacy.study import Terms
from server.demo.local_federation import LocalFederation
from server.demo.processes import Processes
from server.demo.sources import DemoChoice, choose_study
from server.watch.progress import Progress

EPSILON: Final = "8"


@dataclass(frozen=True)
class Trained:
    """What a study of one model came to; ``stopped`` says why there is no release."""

    model: str
    parameters: int = 0
    rounds: int = 0
    seconds: float = 0.0
    figure: float | None = None
    stopped: str | None = None


@click.command()
@click.option(
    "--models", default=",".join(NAMES), help="Their names, with commas; all of the catalogue if left out."
)
@click.option(
    "--rounds", default=1, show_default=True, type=click.IntRange(1, 100), help="Of each, without stages."
)
@click.option("--sites", default=3, show_default=True, type=click.IntRange(3, 4))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def main(models: str, rounds: int, sites: int, as_json: bool) -> None:
    """Train every model of the catalogue in one federation."""
    found: list[Trained] = []
    with tempfile.TemporaryDirectory(prefix="consilium-") as folder, Processes() as processes:
        federation: LocalFederation | None = None
        for name in models.split(","):
            terms, hospitals = choose_study(DemoChoice(name, None, None, None, None, False, EPSILON, rounds))
            if federation is None:
                federation = LocalFederation(Path(folder), terms, hospitals[:sites], say)
                federation.make()
                federation.start(processes)
            else:
                federation.add_study(terms, hospitals[:sites])
            found.append(_run(federation, processes, name, terms))
            say(json.dumps(asdict(found[-1])))
        processes.stop()
    stopped = [each.model for each in found if each.stopped]
    if as_json:
        print_json([asdict(each) for each in found])
    else:
        rows = [
            (each.model, f"{each.parameters:,}", f"{each.rounds}", f"{each.seconds:.1f}", each.stopped or "trained")
            for each in found
        ]
        print_table(("model", "parameters", "rounds", "seconds", ""), rows)
    say(
        f"{len(found) - len(stopped)} of {len(found)} models trained"
        + f"; not: {', '.join(stopped)}" * bool(stopped)
    )
    sys.exit(bool(stopped))


def _run(federation: LocalFederation, processes: Processes, name: str, terms: Terms) -> Trained:
    """Run the federation's study; read its card at the first site."""
    began = time.monotonic()
    try:
        with Progress(quiet=True) as progress:
            study = federation.run_study(processes, progress)
    except Error as error:
        return Trained(name, stopped=str(error))
    release = federation.folder / next(iter(federation.tables)) / "studies" / study / "release"
    card = json.loads((release / "card.json").read_bytes())
    figure = list_figures(terms.task, terms.data)[0].name
    return Trained(
        name,
        parameters=card["model"]["parameters"],
        rounds=terms.training.rounds,
        seconds=round(time.monotonic() - began, 1),
        figure=card["evaluation"][-1]["figures"][figure],
    )


if __name__ == "__main__":
    main()
