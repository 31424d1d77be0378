"""A whole federation on this machine, made and run by the same commands that people use.

Every hospital has its own folder, keys, ledger, pinned peers and data. The coordinator and every site run in
processes of their own.
"""

import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import yaml

from privacy.accounting.account import PUBLIC_COUNT_STEP
from privacy.control.channel import ControlClient
from privacy.errors import CoordinatorError, FederationError
from privacy.study import SchemeName, Terms
from server.demo.processes import Processes, find_program, run_to_end
from server.demo.sources import DemoHospital
from server.study.check import count_parameters
from server.study.events import StudyStatus
from server.study.notes import WatchEnded, read_watched_note
from server.superlink.process import find_free_port
from server.watch.progress import Progress

_ONLINE_S: Final = 90.0


class LocalFederation:
    """The federation of one study, in one folder.

    Args:
        folder: empty; it will hold everything.
        terms: the study.
        hospitals: their tables; one site each.
        tell: is called with a sentence about each step.
        weights: the public weights that the study begins with, if it does.
    """

    def __init__(
        self,
        folder: Path,
        terms: Terms,
        hospitals: Sequence[DemoHospital],
        tell: Callable[[str], None],
        weights: Path | None = None,
    ) -> None:
        self.folder = folder
        self.terms = terms
        self.weights = weights
        self.study_file = folder / "study.yaml"
        self.tables = {each.name: each.write(folder / "source" / each.name) for each in hospitals}
        self._coordinator = folder / "coordinator"
        self._tell = tell
        self._write_study()

    def make(self) -> None:
        """Run every person's commands, from empty folders to registered data and granted budgets."""
        run_to_end(
            [
                find_program("consilium"),
                *("init", str(self._coordinator)),
                *("--name", "demo", "--port", str(find_free_port()), "--control-port", str(find_free_port())),
            ]
        )
        keys: dict[str, str] = {}
        _run_side_by_side(lambda name: keys.update({name: self._make_site(name)}), list(self.tables))
        for name in self.tables:
            self._admit(name)
        _run_side_by_side(lambda name: self._prepare_site(name, keys), list(self.tables))

    def start(self, processes: Processes) -> None:
        """Start the coordinator and every site, and wait until all are online.

        Raises:
            CoordinatorError: they do not come online, or a process ends repeatedly.
        """
        logs = self.folder / "logs"
        logs.mkdir()
        command = [find_program("consilium"), "--dir", str(self._coordinator), "up"]
        processes.start("coordinator", command, logs / "coordinator.log")
        for name in self.tables:
            command = [find_program("consilium-site"), "--dir", str(self.folder / name), "up"]
            processes.start(name, command, logs / f"{name}.log")
        deadline = time.monotonic() + _ONLINE_S
        while not self._are_all_online():
            self._restart_ended_processes(processes)
            if time.monotonic() > deadline:
                raise CoordinatorError(f"the sites are not online after {_ONLINE_S:.0f} s; look into {logs}")
            time.sleep(0.3)

    def run_study(self, processes: Processes, progress: Progress) -> str:
        """Launch the study, follow it to its end and return its identifier.

        Raises:
            CoordinatorError: the study stopped.
        """
        study: str = ControlClient.local(self._coordinator).call(
            "Launch", terms=self.terms.model_dump(mode="json"), parameters=count_parameters(self.terms), sites=[]
        )["study"]
        self._tell(f"the study {study} is launched")
        last = 0
        while True:
            try:
                for fields in ControlClient.local(self._coordinator).stream("WatchStudy", study=study, after=last):
                    note = read_watched_note(fields["document"])
                    last = max(last, note.number)
                    progress.add_note(note)
                    if isinstance(note, WatchEnded):
                        if note.standing is StudyStatus.STOPPED:
                            raise CoordinatorError(f"the study stopped: {note.why}")
                        return study
                    self._restart_ended_processes(processes)
            except FederationError:  # the coordinator is down; the stream continues from its journal once it is up
                self._restart_ended_processes(processes)
                time.sleep(0.5)

    def _make_site(self, name: str) -> str:
        """Make a site and its join request, as its engineer does; return its identity key as people type it."""
        home = self.folder / name
        key = run_to_end([find_program("consilium-site"), "init", str(home), "--name", name]).strip()
        _set_policy(home, self.terms)
        self._run_site_command(name, "join", "--request", str(self.folder / f"{name}.request"))
        return key

    def add_study(self, terms: Terms, hospitals: Sequence[DemoHospital]) -> None:
        """Take up another study on other data: register these, grant a budget for them, and allow it.

        The next :meth:`run_study` is of this one.

        Args:
            terms: the study; its data have a name of their own.
            hospitals: the sites that there are, with their tables.
        """
        self.terms = terms
        self.study_file = self.folder / f"{terms.name}.yaml"
        self._write_study()
        self.tables = {each.name: each.write(self.folder / "source" / terms.name / each.name) for each in hospitals}
        self.allow(terms)
        _run_side_by_side(self._equip_site, list(self.tables))

    def allow(self, terms: Terms) -> None:
        """Let every hospital's data protection officer allow a study of ``terms``."""
        for name in self.tables:
            _set_policy(self.folder / name, terms)

    def _admit(self, name: str) -> None:
        """Enrol a site, as the coordinator's operator does."""
        request, admission = self.folder / f"{name}.request", self.folder / f"{name}.admission"
        at = ("--dir", str(self._coordinator))
        run_to_end([find_program("consilium"), *at, "admit", str(request), "--out", str(admission), "--yes"])

    def _prepare_site(self, name: str, keys: dict[str, str]) -> None:
        """Read a site's admission, pin its peers, and equip it for the study."""
        self._run_site_command(name, "join", "--admission", str(self.folder / f"{name}.admission"))
        for peer, key in keys.items():
            if peer != name:
                self._run_site_command(name, "peer", "trust", peer, key)
        self._equip_site(name)

    def _equip_site(self, name: str) -> None:
        """Register a site's data, add public weights and grant its budget."""
        self._register_data(name, self.tables[name])
        if self.weights is not None:
            self._run_site_command(name, "weights", "add", str(self.weights), "--study", str(self.study_file))
        privacy = self.terms.privacy
        if privacy.epsilon is not None:
            granted = ("--epsilon", f"{2 * privacy.epsilon:g}", "--delta", f"{privacy.delta:g}")
            typical = ("--typical", str(self.study_file))
            self._run_site_command(name, "budget", "grant", self.terms.data.name, *granted, *typical)

    def _register_data(self, name: str, files: tuple[Path, ...]) -> None:
        """Register a training and a test file; or convert the hospital's own data by their mapping."""
        home = self.folder / name
        words: tuple[str, ...]
        if len(files) == 1:
            words = ("--mapping", str(files[0]))
        else:
            kept = home / self.terms.data.name
            kept.mkdir()
            train, test = (shutil.copy(path, kept) for path in files)
            words = ("--train", str(train), "--test", str(test))
        before = set(home.glob("data/*/train.npz"))
        # no person is here to answer a warning
        self._run_site_command(name, "data", "add", str(self.study_file), *words, "--despite")
        if len(files) == 1:
            (made,) = set(home.glob("data/*/train.npz")) - before
            self.tables[name] = (made, made.with_name("test.npz"))

    def _write_study(self) -> None:
        written = yaml.safe_dump(self.terms.model_dump(mode="json"), sort_keys=False)
        self.study_file.write_text(written, encoding="utf-8")

    def _run_site_command(self, name: str, *words: str) -> str:
        return run_to_end([find_program("consilium-site"), "--dir", str(self.folder / name), *words])

    def _are_all_online(self) -> bool:
        try:
            sites = ControlClient.local(self._coordinator).call("ListSites")["items"]
        except FederationError:
            return False
        return bool(sites) and all(site["online"] for site in sites)

    def _restart_ended_processes(self, processes: Processes) -> None:
        for name in processes.restart_ended():
            self._tell(f"'{name}' had ended and was started again")


def _set_policy(home: Path, terms: Terms) -> None:
    """Write the policy that the hospital's data protection officer would set for a study that needs no person."""
    path = home / "policy.yaml"
    policy = yaml.safe_load(path.read_text(encoding="utf-8"))
    evaluation, epsilon = terms.evaluation, terms.privacy.epsilon
    asked = policy["epsilon_per_study"] if terms.asked_epsilon is None else terms.asked_epsilon
    policy["epsilon_per_study"] = asked
    policy["unprotected_test_patients"] = evaluation.epsilon is None
    policy["without_privacy"] = [terms.data.name] if epsilon is None else []
    policy["minimum_patients"] = PUBLIC_COUNT_STEP  # public data sets may be small
    if (scheme := terms.secure_aggregation.scheme) is SchemeName.OPEN:
        policy["open_sealing"] = True
    else:
        policy["sealing_schemes"] = [scheme.value]
    rule = {
        "name": "this-study",
        "studies": [terms.name],
        "epsilon_at_most": asked,
        "without_privacy": epsilon is None,
        "statistics": terms.counts_only,
    }
    if terms.counts_only:
        policy["statistics"] = "anybody"
    policy["automatic"] = [rule]
    path.write_text(yaml.safe_dump(policy, sort_keys=False), encoding="utf-8")


def _run_side_by_side(work: Callable[[str], None], names: list[str]) -> None:
    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(work, names))
