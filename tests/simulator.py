"""A federation in memory: real sites, real books, real ciphertexts, a real journal; only the network is a list.

Time stands still until a test lets it pass. A fault or an attack is a few lines: a site is cut off or restarted, a
message is changed on its way, the coordinator is killed and comes back from its journal.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import yaml

from client.admission import training_event
from client.cli import study_noise
from client.data import register
from client.home import Registration, SiteHome
from client.site import Site
from client.trainer import InProcessTrainer
from privacy.budget import Planned, Purpose, choose_order
from privacy.errors import Error
from privacy.keys import PublicKey
from privacy.study import Terms
from privacy.wire import Envelope
from server.conductor import Arrival, Conductor
from server.explain import count_parameters
from server.federation import CoordinatorConfig, Federation
from server.journal import Journal
from server.desk import Patience
from tests.client.small_study import write_patients

PATIENCE = Patience(join_s=60, seal_s=600, release_s=60, ask_again_s=5)
Change = Callable[[str, Envelope], Envelope | None]


class MemoryTransport:
    """Delivers at once, unless the receiver is cut off. ``requests`` and ``replies`` may change or drop a message."""

    def __init__(self, sites: dict[str, Site]) -> None:
        self.sites = sites
        self.cut_off: set[str] = set()
        self.requests: Change = lambda _, envelope: envelope
        self.replies: Change = lambda _, envelope: envelope
        self.log: list[tuple[str, str, int]] = []
        self._waiting: list[tuple[str, str, Envelope]] = []
        self._sent = 0

    def send(self, site: str, envelope: Envelope) -> str:
        self._sent += 1
        self._waiting.append((str(self._sent), site, envelope))
        return str(self._sent)

    def arrivals(self) -> Iterator[Arrival]:
        waiting, self._waiting = self._waiting, []
        for message, name, sent in waiting:
            envelope = self.requests(name, sent)
            if envelope is None or name in self.cut_off:
                continue
            try:
                reply = self.replies(name, self.sites[name].answer(envelope))
            except Error as error:
                yield Arrival(message, name, None, str(error))
                continue
            if reply is not None and name not in self.cut_off:
                yield Arrival(message, name, reply)


class Simulator:
    """One study over a few sites with invented patients, each in a folder of its own."""

    def __init__(self, folder: Path, terms: Terms, names: tuple[str, ...] = ("ash", "birch", "cedar", "elm")) -> None:
        self.folder = folder
        self.terms = terms
        self.names = names
        self.federation = Federation.init(folder / "coordinator", CoordinatorConfig(federation="wood", port=9092))
        self.homes = {name: self._make_site(name, number) for number, name in enumerate(names)}
        self._pin_each_other()
        self.sites = {name: self._start(name) for name in names}
        self.transport = MemoryTransport(self.sites)
        self.study = ""
        self.now = 0.0
        self.journal: Journal
        self.conductor: Conductor

    # What people do ----------------------------------------------------------------------------------------

    def _make_site(self, name: str, number: int) -> SiteHome:
        home = SiteHome.init(self.folder / name, name)
        site_file = home.folder / "site.yaml"
        config = yaml.safe_load(site_file.read_text())
        config["policy"] |= {"unprotected_test_patients": True, "without_privacy": self.terms.privacy.epsilon is None}
        site_file.write_text(yaml.safe_dump(config))
        home.accept(self.federation.enrol(home.join_request()))
        train = write_patients(home.folder / "train.csv", 60 + 10 * number, f"{name}-a", seed=number)
        test = write_patients(home.folder / "test.csv", 30, f"{name}-b", seed=100 + number)
        files = register(self.terms.data, train, test)
        registration = Registration(
            train=str(files.train),
            test=str(files.test),
            train_sha256=files.train_sha256,
            test_sha256=files.test_sha256,
            public_patients=files.public_patients,
        )
        with home.open_ledger() as ledger:
            ledger.register_population(self.terms.data.name, files.train_sha256, files.public_patients, 1)
            if self.terms.privacy.epsilon is not None:
                event = training_event(self.terms, study_noise(self.terms))
                plan = (Planned(purpose=Purpose.TRAIN, event=event, times=self.terms.training.rounds),)
                ledger.grant(self.terms.data.name, 6.0, 1e-3, choose_order(6.0, 1e-3, plan))
        home.add_registration(self.terms.data.name, registration)
        return home

    def _pin_each_other(self) -> None:
        keys = {name: home.identity().public.text for name, home in self.homes.items()}
        for name, home in self.homes.items():
            for peer, key in keys.items():
                if peer != name:
                    home.pin(peer, PublicKey.from_text(key))

    def _start(self, name: str) -> Site:
        return Site(self.homes[name], lambda terms, files: InProcessTrainer(terms, files, "cpu"))

    def launch(self) -> str:
        """Launch the study over all sites and start driving it."""
        self.study = self.federation.launch(self.terms, count_parameters(self.terms), [])
        self.start_coordinator()
        return self.study

    # What happens ------------------------------------------------------------------------------------------

    def start_coordinator(self) -> None:
        """A coordinator's process comes up and goes on from the journal; what was on its way is lost."""
        self.transport._waiting.clear()
        self.journal = Journal(self.federation.study_folder(self.study))
        self.conductor = Conductor(self.journal, self.federation.identity(), PATIENCE, self.transport)
        self.conductor.begin(self.now)

    def kill_coordinator(self) -> None:
        """The coordinator's process dies; its memory is gone."""
        self.journal.close()

    def restart_site(self, name: str) -> None:
        """A site's process dies and comes back: only its folder is left."""
        self.sites[name].close()
        self.sites[name] = self._start(name)

    def step(self, seconds: float = 0.5) -> None:
        """Deliver what is on its way; let time pass."""
        self.now += seconds
        self.conductor.step(self.now)

    def run(self, until: Callable[[], bool] = lambda: False, steps: int = 400) -> None:
        """Go on until ``until``, or until nothing is left to do."""
        for _ in range(steps):
            if until() or not self.conductor.running:
                return
            self.step()
        raise AssertionError(f"nothing came of it in {steps} steps: {self.conductor.machine.phase}")

    def wait(self, seconds: float) -> None:
        """Let much time pass at once."""
        self.now += seconds
        self.conductor.step(self.now)

    def close(self) -> None:
        """End everything."""
        for site in self.sites.values():
            site.close()
        self.journal.close()
