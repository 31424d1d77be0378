"""``consilium demo``: several hospitals on this machine train one model together, with the real programs.

* All steps use the commands that people use: a federation is made; the sites make their own keys, pin each other,
  register data, are granted a budget and connect; then a study runs (``server/demo/sources.py`` chooses which).
* The federation is compared with each hospital alone and with all data pooled. These two are simulated from the
  source tables, outside the hospitals' folders and ledgers.
"""

import json
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from models.tasks.registry import list_figures
from privacy.canonical import compute_sha256
from privacy.command_line import say
from privacy.errors import CoordinatorError, FederationError
from privacy.process_lifetime import interrupt_on_signals, interrupt_with_parent
from server.demo.local_federation import LocalFederation
from server.demo.processes import Processes, find_program, run_to_end
from server.demo.report import REPEATS, print_report
from server.demo.result import Alone, DemoResult, HospitalBudget, Pooled, Trainings, summarise_trainings
from server.demo.sources import DemoChoice, GeneratedHospital, choose_study
from server.results.read import read_results
from server.results.tally import Moved, Tally, average_rounds
from server.study.check import check_study
from server.watch.progress import Progress


class Demo:
    """One demonstration, from an empty folder to the printed tables."""

    def __init__(self, choice: DemoChoice, *, quiet: bool) -> None:
        self._choice = choice
        self._quiet = quiet
        self._terms, self._hospitals = choose_study(choice)

    def run(self) -> DemoResult:
        """Run the demonstration and return its figures.

        Raises:
            CoordinatorError: a part failed; the message says which and why.
        """
        interrupt_on_signals()
        interrupt_with_parent()
        with self._make_folder() as folder, Processes() as processes:
            federation = LocalFederation(
                folder, self._terms, self._hospitals, self._report_step, self._choice.weights
            )
            self._report_step(
                f"making a federation and {len(self._hospitals)} hospitals, each with its own keys, ledger and data"
            )
            federation.make()
            self._report_step(
                f"starting the coordinator (a Flower SuperLink over TLS) and {len(self._hospitals)} site agents"
            )
            federation.start(processes)
            began = time.monotonic()
            with Progress(quiet=self._quiet) as progress:
                study = federation.run_study(processes, progress)
            seconds = time.monotonic() - began
            processes.stop()
            self._report_step("comparing with each hospital alone and all pooled (simulated, outside the ledgers)")
            result = self._build_result(federation, study, progress.tally, seconds)
            if not self._quiet:
                print_report(result, progress.tally, check_study(self._terms, sites=len(result.sites)))
            return result

    @contextmanager
    def _make_folder(self) -> Iterator[Path]:
        chosen = self._choice.folder
        if chosen is not None:
            chosen.mkdir(mode=0o700, parents=True, exist_ok=True)
            if any(chosen.iterdir()):
                raise FederationError(f"{chosen}: the folder is not empty; choose another, nothing was changed")
        folder = chosen.resolve() if chosen else Path(tempfile.mkdtemp(prefix="consilium-"))
        try:
            yield folder
        finally:
            if self._choice.keep:
                self._report_step(f"kept: {folder}")
            else:
                shutil.rmtree(folder)

    def _report_step(self, text: str) -> None:
        if not self._quiet:
            say(f"* {text}")

    def _build_result(self, federation: LocalFederation, study: str, tally: Tally, seconds: float) -> DemoResult:
        cards, models = [], set()
        for hospital in self._hospitals:
            release = federation.folder / hospital.name / "studies" / study / "release"
            cards.append(json.loads((release / "card.json").read_bytes()))
            models.add(compute_sha256((release / "model.safetensors").read_bytes()))
        if len(models) != 1:
            raise CoordinatorError("the hospitals do not hold the same model")
        final = cards[0]["evaluation"][-1]["figures"] if cards[0]["evaluation"] else {}
        figures = list_figures(self._terms.task, self._terms.data)
        rounds = [each for number, each in tally.rounds.items() if self._terms.trains(number)]
        average = average_rounds([each for each in rounds if each.committed]) or Moved(0, 0, 0.0)
        private = self._terms.privacy.epsilon is not None
        evaluations = read_results(federation.folder / "coordinator" / "studies" / study).evaluations
        alone, pooled = _compare_with_simulations(federation, private, figures[0].name)
        return DemoResult(
            study=study,
            private=private,
            generated=any(isinstance(each, GeneratedHospital) for each in self._hospitals),
            rounds=cards[0]["rounds"]["planned"],
            seconds=round(seconds, 2),
            figures=figures,
            federated={each.name: final.get(each.name) for each in figures},
            chance=evaluations[-1].figures[figures[0].name].chance if evaluations else None,
            test_patients_protected=self._terms.evaluation.epsilon is not None,
            alone=alone,
            pooled=pooled,
            sites=tuple(_read_budget(card, private) for card in cards),
            parameters=cards[0]["model"]["parameters"],
            bytes_up=average.bytes_up,
            bytes_down=average.bytes_down,
            seconds_per_round=round(average.seconds, 3),
            model_sha256=models.pop(),
            dir=str(federation.folder) if self._choice.keep else None,
        )


def _read_budget(card: Mapping[str, Any], private: bool) -> HospitalBudget:
    """Read from a hospital's card what the study cost its patients."""
    site = card["site"]
    return HospitalBudget(
        name=site["name"],
        patients=site["patients_about"],
        epsilon=site["epsilon_spent_by_this_study"],
        delta=card["privacy"]["delta"],
        epsilon_left=site["epsilon_left"] if private else None,
    )


def _compare_with_simulations(
    federation: LocalFederation, private: bool, figure: str
) -> tuple[tuple[Alone, ...], Pooled]:
    """Train each hospital alone and all pooled, by the sites' own code on the source tables; return their figures."""
    tests = [word for _, test in federation.tables.values() for word in ("--test", str(test))]
    weights = () if federation.weights is None else ("--weights", str(federation.weights))

    def simulate(trains: list[Path], private: bool) -> Trainings:
        train = [word for path in trains for word in ("--train", str(path))]
        how = ("--private" if private else "--not-private", "--repeats", str(REPEATS), "--json")
        command = [
            find_program("consilium-site"),
            "simulate",
            str(federation.study_file),
            *train,
            *tests,
            *weights,
            *how,
        ]
        runs = json.loads(run_to_end(command))["runs"]
        return summarise_trainings([run["figures"][figure] for run in runs])

    with ThreadPoolExecutor(2) as pool:
        alone = {name: pool.submit(simulate, [train], private) for name, (train, _) in federation.tables.items()}
        pooled = pool.submit(simulate, [train for train, _ in federation.tables.values()], False)
        return (
            tuple(Alone(site=name, figure=figure, **each.result()._asdict()) for name, each in alone.items()),
            Pooled(figure=figure, **pooled.result()._asdict()),
        )
