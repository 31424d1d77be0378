"""``consilium demo``: four hospitals on this machine train one model together, with the real programs.

Everything is done as people would do it, by the same commands: a federation is made, four sites make their own
keys, pin each other, register data, are granted a budget, connect, and a study runs. What the federation is compared
with (each hospital alone, all pooled) is simulated from the source tables, outside the hospitals' folders and books.
"""

import json
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Final

import yaml

from privacy.canonical import sha256
from privacy.console import say
from privacy.errors import CoordinatorError, FederationError
from privacy.study import Terms, parse_terms
from server.control import ControlClient
from server.demo_hospitals import Hospital, breast_cancer_hospitals, heart_hospitals
from server.demo_report import REPEATS, print_report
from server.explain import count_parameters, explain
from server.programs import Processes, program, run_to_end
from server.progress import Progress
from server.superlink import free_port

_EXAMPLES: Final = Path(__file__).resolve().parent.parent / "examples"
_STUDIES: Final = {"breast-cancer": "breast_cancer.yaml", "heart": "heart.yaml"}
_ONLINE_S: Final = 90.0
_SEED: Final = 0


@dataclass(frozen=True)
class DemoChoice:
    """What the demonstration was asked for."""

    data: str
    path: Path | None
    folder: Path | None
    keep: bool
    epsilon: str
    rounds: int | None


class Demo:
    """One demonstration, from an empty folder to a table."""

    def __init__(self, choice: DemoChoice, *, quiet: bool) -> None:
        self._choice = choice
        self._quiet = quiet
        self._terms = _terms(choice)
        self._hospitals = _hospitals(choice)

    def run(self) -> dict[str, Any]:
        """Run it; its figures.

        Raises:
            CoordinatorError: a part failed; the sentence says which and why.
        """
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # ended politely, it cleans up as after Ctrl-C
        with self._folder() as folder, Processes() as processes:
            tables = {each.name: each.write(folder / "source" / each.name) for each in self._hospitals}
            study_file = folder / "study.yaml"
            study_file.write_text(yaml.safe_dump(self._terms.model_dump(mode="json"), sort_keys=False))
            self._step("making a federation and four hospitals, each with its own keys, book and data")
            self._make_federation(folder)
            self._make_sites(folder, study_file, tables)
            self._step("starting the coordinator (a Flower SuperLink over TLS) and four site agents")
            self._start(folder, processes)
            began = time.monotonic()
            study, progress = self._study(folder, processes)
            seconds = time.monotonic() - began
            processes.stop()
            self._step(
                "comparing: each hospital alone, and all pooled without privacy (simulated, outside the books)"
            )
            result = self._result(folder, study, progress, seconds, study_file, tables)
            if not self._quiet:
                print_report(result, progress.tally, explain(self._terms))
            return result

    # Making ------------------------------------------------------------------------------------------------

    @contextmanager
    def _folder(self) -> Iterator[Path]:
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
                self._step(f"kept: {folder}")
            else:
                shutil.rmtree(folder)

    def _make_federation(self, folder: Path) -> None:
        run_to_end(
            [
                program("consilium"),
                "init",
                str(folder / "coordinator"),
                "--name",
                "demo",
                "--port",
                str(free_port()),
            ]
        )

    def _make_sites(self, folder: Path, study_file: Path, tables: dict[str, tuple[Path, Path]]) -> None:
        """Each person's commands, the four hospitals side by side."""
        keys: dict[str, str] = {}

        def enrol(name: str) -> None:
            home = folder / name
            keys[name] = run_to_end([program("consilium-site"), "init", str(home), "--name", name]).strip()
            self._set_policy(home)
            _site(home, "join", "--request", str(folder / f"{name}.request"))

        def finish(name: str) -> None:
            home, admission = folder / name, folder / f"{name}.admission"
            _site(home, "join", "--admission", str(admission))
            for peer, key in keys.items():
                if peer != name:
                    _site(home, "peer", "trust", peer, key)
            train, test = (shutil.copy(path, home) for path in tables[name])
            _site(home, "data", "add", str(study_file), "--train", str(train), "--test", str(test))
            privacy = self._terms.privacy
            if privacy.epsilon is not None:
                granted = ("--epsilon", f"{2 * privacy.epsilon:g}", "--delta", f"{privacy.delta:g}")
                _site(home, "budget", "grant", self._terms.data.name, *granted, "--typical", str(study_file))

        names = list(tables)
        _side_by_side(enrol, names)
        for name in names:
            request, admission = folder / f"{name}.request", folder / f"{name}.admission"
            run_to_end(
                [
                    program("consilium"),
                    *("--dir", str(folder / "coordinator")),
                    *("sites", "admit", str(request), "--out", str(admission)),
                ]
            )
        _side_by_side(finish, names)

    def _set_policy(self, home: Path) -> None:
        """What the hospital's data protection officer writes in site.yaml for this study."""
        path = home / "site.yaml"
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        evaluation, epsilon = self._terms.evaluation, self._terms.privacy.epsilon
        config["policy"]["unprotected_test_patients"] = evaluation.epsilon is None
        config["policy"]["without_privacy"] = epsilon is None
        if epsilon is not None:
            config["policy"]["epsilon_per_study"] = epsilon
        path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")

    # Running -----------------------------------------------------------------------------------------------

    def _start(self, folder: Path, processes: Processes) -> None:
        logs = folder / "logs"
        logs.mkdir()
        coordinator = folder / "coordinator"
        processes.start(
            "coordinator", [program("consilium"), "--dir", str(coordinator), "up"], logs / "coordinator.log"
        )
        for hospital in self._hospitals:
            command = [program("consilium-site"), "--dir", str(folder / hospital.name), "up"]
            processes.start(hospital.name, command, logs / f"{hospital.name}.log")
        deadline = time.monotonic() + _ONLINE_S
        while True:
            processes.look_after()
            try:
                sites = ControlClient(coordinator).call("sites")["sites"]
            except FederationError:
                sites = []
            if sites and all(site["online"] for site in sites):
                return
            if time.monotonic() > deadline:
                raise CoordinatorError(f"the sites are not online after {_ONLINE_S:.0f} s; look into {logs}")
            time.sleep(0.3)

    def _study(self, folder: Path, processes: Processes) -> tuple[str, Progress]:
        coordinator = folder / "coordinator"
        study = ControlClient(coordinator).call(
            "launch",
            terms=self._terms.model_dump(mode="json"),
            parameters=count_parameters(self._terms),
            sites=[],
        )["study"]
        self._step(f"the study {study} is launched")
        with Progress(quiet=self._quiet) as progress:
            last = 0
            while True:
                try:
                    for note in ControlClient(coordinator).stream("watch", study=study, after=last):
                        last = note.get("number", last)
                        progress.take(note)
                        if note["kind"] == "end" and note["standing"] == "stopped":
                            raise CoordinatorError(f"the study stands still: {note['why']}")
                        if note["kind"] == "end":
                            return str(study), progress
                        self._look_after(processes)
                except FederationError:
                    self._look_after(processes)
                    time.sleep(0.5)

    def _look_after(self, processes: Processes) -> None:
        for name in processes.look_after():
            self._step(f"'{name}' had ended and was started again")

    def _step(self, text: str) -> None:
        if not self._quiet:
            say(f"* {text}")

    # Reporting ---------------------------------------------------------------------------------------------

    def _result(
        self,
        folder: Path,
        study: str,
        progress: Progress,
        seconds: float,
        study_file: Path,
        tables: dict[str, tuple[Path, Path]],
    ) -> dict[str, Any]:
        cards, models = [], set()
        for hospital in self._hospitals:
            release = folder / hospital.name / "studies" / study / "release"
            cards.append(json.loads((release / "card.json").read_bytes()))
            models.add(sha256((release / "model.safetensors").read_bytes()))
        if len(models) != 1:
            raise CoordinatorError("the hospitals do not hold the same model")
        final = cards[0]["evaluation"][-1] if cards[0]["evaluation"] else {}
        rounds = [tally for number, tally in progress.tally.rounds.items() if self._terms.trains(number)]
        exchanges = max(1, sum(len(tally.sites) for tally in rounds))
        private = self._terms.privacy.epsilon is not None
        return {
            "study": study,
            "private": private,
            "rounds": cards[0]["rounds"]["planned"],
            "seconds": round(seconds, 2),
            "federated": {name: final.get(name) for name in ("auroc", "accuracy", "sensitivity", "specificity")},
            **self._compared(study_file, tables, private),
            "sites": [
                {
                    "name": card["site"]["name"],
                    "patients": card["site"]["patients_about"],
                    "epsilon": card["site"]["epsilon_spent_by_this_study"],
                    "delta": card["privacy"]["delta"],
                    "epsilon_left": card["site"]["epsilon_left"] if private else None,
                }
                for card in cards
            ],
            "parameters": cards[0]["model"]["parameters"],
            "bytes_up": round(sum(tally.bytes_up for tally in rounds) / exchanges),
            "bytes_down": round(sum(tally.bytes_down for tally in rounds) / exchanges),
            "seconds_per_round": round(sum(tally.seconds for tally in rounds) / max(1, len(rounds)), 3),
            "model_sha256": models.pop(),
            "dir": str(folder) if self._choice.keep else None,
        }

    def _compared(self, study_file: Path, tables: dict[str, tuple[Path, Path]], private: bool) -> dict[str, Any]:
        tests = [word for _, test in tables.values() for word in ("--test", str(test))]

        def simulated(trains: list[Path], private: bool) -> float | None:
            train = [word for path in trains for word in ("--train", str(path))]
            how = ("--private" if private else "--not-private", "--repeats", str(REPEATS))
            out = run_to_end([program("consilium-site"), "simulate", str(study_file), *train, *tests, *how])
            found = [run["auroc"] for run in json.loads(out)["runs"]]
            return None if None in found else fmean(found)

        with ThreadPoolExecutor(2) as pool:
            alone = {name: pool.submit(simulated, [train], private) for name, (train, _) in tables.items()}
            pooled = pool.submit(simulated, [train for train, _ in tables.values()], False)
            return {
                "alone": [{"site": name, "auroc": future.result()} for name, future in alone.items()],
                "pooled": {"auroc": pooled.result()},
            }


def _terms(choice: DemoChoice) -> Terms:
    path = _EXAMPLES / _STUDIES[choice.data]
    if not path.exists():
        raise FederationError(f"{path}: not found; the demonstration runs from the source tree")
    value = yaml.safe_load(path.read_text(encoding="utf-8"))
    value["privacy"]["epsilon"] = choice.epsilon
    if choice.epsilon == "none":
        value["privacy"] = {"epsilon": "none"}
    if choice.rounds is not None:
        value["training"]["rounds"] = choice.rounds
        value["evaluation"]["rounds"] = sorted({max(1, choice.rounds // 2), choice.rounds})
    return parse_terms(value)


def _hospitals(choice: DemoChoice) -> tuple[Hospital, ...]:
    if choice.data == "heart":
        if choice.path is None:
            raise FederationError("--data heart needs --path: the folder with the four files of the UCI collection")
        return heart_hospitals(choice.path, _SEED)
    return breast_cancer_hospitals(_SEED)


def _site(home: Path, *words: str) -> str:
    return run_to_end([program("consilium-site"), "--dir", str(home), *words])


def _side_by_side(work: Callable[[str], None], names: list[str]) -> None:
    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(work, names))
