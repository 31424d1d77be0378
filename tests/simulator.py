"""A federation in memory: real sites, real ledgers, real ciphertexts, a real journal; only the network is a list.

Time stands still until a test lets it pass. A fault or an attack is a few lines: a site is cut off or restarted, a
message is changed on its way, the coordinator is killed and comes back from its journal, or says what it likes.

What a site that is cut off was sent waits for it, as it does at a SuperLink; a coordinator's new process starts with
an empty network.
"""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from benchmarks.small_study import small_terms, write_patients
from client.data.dataset import StudyFiles
from client.site.folder import SiteFolder
from client.site.policy import POLICY_FILE
from client.site.register_data import register_files
from client.study.history import StudyHistory
from client.study.outgoing_update import OnSealing, send_later
from client.study.request_handler import RequestHandler
from client.study.state import StudyState
from client.study.store import StudyStore, read_state
from client.training.interface import TrainingInterface
from client.training.jobs import Job, R, ShareRound, TrainRound
from client.training.session import TrainingSession
from client.training.statistics_session import StatisticsSession
from privacy.accounting.grant_order import choose_order
from privacy.accounting.plan import Planned, Purpose
from privacy.errors import Error
from privacy.keys import PublicKey
from privacy.ledger.entries import Entry
from privacy.protocol.envelope import Blob, Envelope, make_envelope, read_body
from privacy.protocol.messages import Reply, Request
from privacy.study import COORDINATOR, Placement, Terms
from privacy.study.cost import compute_study_noise, make_training_event
from server.federation.config import CoordinatorConfig
from server.federation.folder import Federation
from server.federation.members import Members
from server.study.aggregates import MOST_BYTES
from server.study.check import count_parameters
from server.study.events import AttemptAsked, Resumed, SiteReadmitted
from server.study.journal import Journal
from server.study.runner import Arrival, StudyRunner
from server.study.timeouts import Timeouts

PATIENCE = Timeouts(join_s=60, seal_s=600, release_s=60, ask_again_s=5)
FOUR = ("ash", "birch", "cedar", "elm")
Change = Callable[[str, Envelope], Envelope | None]
WriteFiles = Callable[[Path, str, int], tuple[Path, Path]]
"""(folder, name of the site, its number) -> the training and the test file."""
Vector = NDArray[np.float64]


EVERY_STUDY = {"name": "every-study", "epsilon_at_most": 100, "without_privacy": True, "statistics": True}
"""A rule under which no study waits for a person."""


def change_policy(home: SiteFolder, **changes: object) -> None:
    """What the data protection officer writes into the policy, while the site runs or before."""
    file = home.folder / POLICY_FILE
    policy = yaml.load(file.read_text(), Loader=yaml.CSafeLoader)
    file.write_text(yaml.dump(policy | changes, Dumper=yaml.CSafeDumper))


def asked_epsilon(terms: Terms) -> float:
    """What training and evaluation ask for together."""
    return terms.asked_epsilon or 0.0


def write_small_files(folder: Path, name: str, number: int) -> tuple[Path, Path]:
    """The tables of the small study: the sites differ in size."""
    train = write_patients(folder / "train.csv", 60 + 10 * number, f"{name}-a", seed=number)
    return train, write_patients(folder / "test.csv", 30, f"{name}-b", seed=100 + number)


class PowerCut(BaseException):
    """A process dies where a test says so: nothing of ours catches it."""


class WatchedTrainer(TrainingSession):
    """Real training that counts what it is asked, and dies in the middle where a test says so."""

    def __init__(self, terms: Terms, files: StudyFiles, site: str, simulator: "Simulator") -> None:
        super().__init__(terms, files, "cpu")
        self._site, self._simulator = site, simulator

    def run(self, job: Job[R]) -> R:
        if isinstance(job, TrainRound | ShareRound):
            self._watch(job.number, job.key)
        return super().run(job)

    def _watch(self, round_number: int, key: bytes) -> None:
        self._simulator.trained[self._site, round_number] += 1
        self._simulator.draws.append((self._site, round_number, key))
        self._simulator.before_training(self._site, round_number)


class MemoryTransport:
    """Delivers at once, unless the receiver is cut off. ``requests`` and ``replies`` may change or drop a message."""

    def __init__(self, sites: dict[str, RequestHandler]) -> None:
        self.sites = sites
        self.cut_off: set[str] = set()
        self.offline: set[str] = set()
        """Like ``cut_off``, but the network says so."""
        self.restarted: list[str] = []
        self.removed: list[str] = []
        """Sites that the coordinator's operator has removed from the federation."""
        self.requests: Change = lambda _, envelope: envelope
        self.replies: Change = lambda _, envelope: envelope
        self.slow: Callable[[str, Envelope], bool] = lambda _, envelope: False
        """Which replies are still on their way."""
        self.restart: Callable[[str], None] = lambda _: None
        self.on_sealing: OnSealing = send_later
        """What becomes of a large update while it is sealed."""
        self.said: list[tuple[str, Reply]] = []
        """Everything that sites have answered, whether it arrived or not."""
        self.asked: dict[str, Envelope] = {}
        """The last request that each site was asked."""
        self.wire: list[Envelope] = []
        """Everything that an eavesdropper has seen."""
        self._waiting: list[tuple[str, str, Envelope]] = []
        self._late: list[tuple[str, str, Envelope]] = []
        self._sent = 0

    def send(self, site: str, envelope: Envelope, reply_bytes: int) -> str:
        self._sent += 1
        self._waiting.append((str(self._sent), site, envelope))
        return str(self._sent)

    def receive_arrivals(self, coming: Callable[[str], None]) -> Iterator[Arrival]:
        waiting, self._waiting = self._waiting, []
        for message, name, sent in waiting:
            if name in self.cut_off:
                self._waiting.append((message, name, sent))
                continue
            if name in self.offline:
                yield Arrival(message, name, None, "no such node is online", lost=True)
                continue
            envelope = self.requests(name, sent)
            if envelope is None:
                continue
            self.wire.append(envelope)
            self.asked[name] = envelope
            try:
                answer = self.answer(name, envelope)
            except Error as error:
                yield Arrival(message, name, None, str(error))
                continue
            reply = None if answer is None else self.replies(name, answer)
            if reply is not None and name not in self.cut_off:
                self.wire.append(reply)
                self._late.append((message, name, reply))
            late, self._late = self._late, []
            for arrival in late:
                if self.slow(*arrival[1:]):
                    self._late.append(arrival)
                else:
                    coming(arrival[1])
                    yield Arrival(*arrival)

    def expect_no_update(self, site: str) -> None:
        """An update travels with its reply here."""

    def forget_updates(self) -> None:
        """An update travels with its reply here."""

    def give_up(self, message: str) -> None:
        """What is on its way arrives all the same."""

    def find_removed_sites(self) -> list[str]:
        return self.removed

    def find_restarted_sites(self) -> list[str]:
        """Sites that were restarted, once the network reaches them."""
        reached = [name for name in self.restarted if name not in self.cut_off | self.offline]
        self.restarted = [name for name in self.restarted if name not in reached]
        return reached

    def answer(self, name: str, envelope: Envelope) -> Envelope | None:
        """What the site answers; nothing if it dies over it, and then it is restarted."""
        try:
            reply = self.sites[name].answer(envelope, self.on_sealing)
        except PowerCut:
            self.restart(name)
            return None
        content = read_body(reply).content
        assert isinstance(content, Reply)
        self.said.append((name, content))
        return reply

    def forget(self, *, delivered: bool = False) -> None:
        """The network is emptied; if ``delivered``, sites got what was on its way and their answers are lost."""
        waiting, self._waiting, self._late = self._waiting, [], []
        for _, name, envelope in waiting:
            if delivered and name not in self.cut_off:
                self.answer(name, envelope)


class Simulator:
    """One study over a few sites with invented patients, each in a folder of its own.

    A ``folder`` that is there holds a federation that was founded for the same terms: it is gone on with.
    """

    def __init__(
        self, folder: Path, terms: Terms, names: tuple[str, ...] = FOUR, write_files: WriteFiles = write_small_files
    ) -> None:
        self.folder = folder
        self.write_files = write_files
        self.terms = terms
        self.names = names
        self.trained: Counter[tuple[str, int]] = Counter()
        self.draws: list[tuple[str, int, bytes]] = []
        self.before_training: Callable[[str, int], None] = lambda site, number: None
        self.open_journal: Callable[[Path], Journal] = Journal
        self.patience = PATIENCE
        self.aggregate_bytes = MOST_BYTES
        self.federation = Federation(folder / COORDINATOR)
        self.homes = {name: SiteFolder(folder / name) for name in names}
        if not folder.exists():
            self._found()
        self.sites = {name: self._start(name) for name in names}
        self.transport = MemoryTransport(self.sites)
        self.transport.restart = self.restart_site
        self.study = ""
        self.now = 0.0
        self.journal: Journal
        self.conductor: StudyRunner

    # What people do ----------------------------------------------------------------------------------------

    def _found(self) -> None:
        Federation.create(self.federation.folder, CoordinatorConfig(federation="wood", port=9092))
        for number, name in enumerate(self.names):
            self._make_site(name, number)
        self._pin_each_other()

    def _make_site(self, name: str, number: int) -> None:
        home = SiteFolder.create(self.folder / name, name)
        change_policy(
            home,
            unprotected_test_patients=True,
            without_privacy=[self.terms.data.name] if self.terms.privacy.epsilon is None else [],
            epsilon_per_study=max(3.0, asked_epsilon(self.terms)),
            automatic=[EVERY_STUDY],
            statistics="anybody",
            placements=[each.value for each in Placement],
        )
        home.accept_admission(Members(self.federation).enrol(home.make_join_request()))
        register_files(home, self.terms.data, *self.write_files(home.folder, name, number))
        with home.open_ledger() as ledger:
            private = self.terms.privacy.epsilon is not None and not self.terms.counts_only
            typical = self.terms if private else small_terms()
            grant = max(6.0, asked_epsilon(self.terms))
            event = make_training_event(typical, compute_study_noise(typical))
            plan = (Planned(purpose=Purpose.TRAIN, event=event, times=typical.training.rounds),)
            ledger.grant(self.terms.data.name, grant, 1e-3, choose_order(grant, 1e-3, plan))

    def _pin_each_other(self) -> None:
        keys = {name: home.load_identity().public.text for name, home in self.homes.items()}
        for name, home in self.homes.items():
            for peer, key in keys.items():
                if peer != name:
                    home.pin_peer(peer, PublicKey.from_text(key))

    def _start(self, name: str) -> RequestHandler:
        return RequestHandler(self.homes[name], lambda launch, files: self._make_trainer(name, launch.terms, files))

    def _make_trainer(self, name: str, terms: Terms, files: StudyFiles) -> TrainingInterface:
        return StatisticsSession(terms, files) if terms.counts_only else WatchedTrainer(terms, files, name, self)

    def launch(self) -> str:
        """Launch the study over all sites and start driving it."""
        if self.study:
            self.journal.close()
        self.study = self.federation.launch(self.terms, count_parameters(self.terms), [])
        self.start_coordinator()
        return self.study

    def resume(self, *readmit: str) -> None:
        """The operator resumes a stopped study; sites that are out may be let in again."""
        for name in readmit:
            self.journal.record(SiteReadmitted(site=name))
        self.journal.record(Resumed())
        self.restart_coordinator()

    # What happens ------------------------------------------------------------------------------------------

    def start_coordinator(self) -> None:
        """A coordinator's process comes up and continues from the journal."""
        self.journal = self.open_journal(self.federation.find_study_folder(self.study))
        self.conductor = StudyRunner(
            self.journal,
            self.federation.load_identity(),
            self.federation.open_witness(),
            self.patience,
            self.transport,
            self.aggregate_bytes,
        )
        self.conductor.begin(self.now)

    def restart_coordinator(self, *, delivered: bool = False) -> None:
        """The coordinator's process dies and comes back: only its folder is left, what was on its way is lost."""
        self.journal.close()
        self.transport.forget(delivered=delivered)
        self.start_coordinator()

    def restart_site(self, name: str) -> None:
        """A site's process dies and comes back: only its folder is left."""
        self.sites[name].close()
        self.sites[name] = self._start(name)
        self.transport.restarted.append(name)

    def snapshot(self, name: str) -> Path:
        """A site's machine is stopped, copied, and started again; where the copy is."""
        self.sites[name].close()
        copy = self.folder / f"{name}-snapshot"
        shutil.copytree(self.homes[name].folder, copy)
        self.sites[name] = self._start(name)
        return copy

    def put_back(self, name: str, copy: Path) -> None:
        """A site's machine is put back to its snapshot."""
        self.sites[name].close()
        shutil.rmtree(self.homes[name].folder)
        shutil.copytree(copy, self.homes[name].folder)
        self.sites[name] = self._start(name)

    def step(self, seconds: float = 0.5) -> None:
        """Deliver what is on its way; let time pass."""
        self.now += seconds
        self.conductor.step(self.now)

    def run(self, until: Callable[[], Any] = lambda: False, steps: int = 400, seconds: float = 0.5) -> None:
        """Continue until ``until``, or until nothing is left to do."""
        for _ in range(steps):
            if until() or not self.conductor.running:
                return
            self.step(seconds)
        raise AssertionError(f"nothing came of it in {steps} steps: {self.conductor.machine.phase}")

    def close(self) -> None:
        """End everything."""
        for site in self.sites.values():
            site.close()
        if self.study:
            self.journal.close()

    # What a test may ask -----------------------------------------------------------------------------------

    def exchange(self, name: str, request: Request, *blobs: Blob) -> tuple[Reply, tuple[Blob, ...]]:
        """What a site answers to a request of the test's own making, signed by the coordinator."""
        envelope = self.sites[name].answer(self.signed(name, request, *blobs), self.transport.on_sealing)
        content = read_body(envelope).content
        assert isinstance(content, Reply)
        return content, envelope.blobs

    def signed(self, name: str, request: Request, *blobs: Blob) -> Envelope:
        """A request with the coordinator's signature: what only a malicious one would send."""
        return make_envelope(
            self.federation.load_identity(),
            request,
            study=self.study,
            sender=COORDINATOR,
            receiver=name,
            number=self.journal.take_next_number(),
            blobs=blobs,
        )

    def forged(self, name: str, reply: Envelope, content: Reply, *blobs: Blob) -> Envelope:
        """A site's reply with another content, signed by that site: what only a malicious one would send."""
        body = read_body(reply)
        return make_envelope(
            self.homes[name].load_identity(),
            content,
            study=body.study,
            sender=name,
            receiver=COORDINATOR,
            number=body.number,
            blobs=blobs,
            answers=self.transport.asked[name].body,
        )

    def entries(self, name: str, *kinds: str) -> list[Entry]:
        """A site's ledger, or its entries of some kinds."""
        with self.homes[name].open_ledger() as ledger:
            return [entry for entry in ledger.read_entries() if not kinds or entry.kind in kinds]

    def state(self, name: str) -> StudyState:
        """How far a site has come, as its folder says."""
        return read_state(self.homes[name].find_study_folder(self.study))[0]

    def history(self, name: str) -> StudyHistory:
        """What a site has done in the study, as its folder says."""
        return read_state(self.homes[name].find_study_folder(self.study))[1]

    def attempts(self) -> list[AttemptAsked]:
        """Every attempt that the coordinator has recorded, in order."""
        rows = self.journal._connection.execute(
            "SELECT body FROM event WHERE kind = 'attempt-asked' ORDER BY number"
        )
        return [AttemptAsked.model_validate_json(body) for (body,) in rows]

    def all_have(self, base: int) -> bool:
        """Whether every site has applied round ``base`` (0: has admitted the study)."""
        return all(self.has_begun(name) and self.state(name).base >= base for name in self.names)

    def has_begun(self, name: str) -> bool:
        """Whether a site has admitted the study."""
        return StudyStore.exists(self.homes[name].find_study_folder(self.study))

    def store(self, name: str) -> StudyStore:
        """What a site keeps of the study."""
        return StudyStore(self.homes[name].find_study_folder(self.study))

    def model_file(self, name: str) -> bytes:
        """The shared model that a site has reached."""
        folder = self.homes[name].find_study_folder(self.study)
        return (folder / f"model-{self.state(name).base:05d}.f64").read_bytes()

    def released_model(self, name: str) -> bytes:
        """The final model of a site."""
        return (self.homes[name].find_study_folder(self.study) / "release" / "model.safetensors").read_bytes()
