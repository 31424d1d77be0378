"""A federation in memory for benchmarks: real sites, ledgers, ciphertexts and a real journal, in one process.

Only two things are not as in a hospital: a message is handed over as it is, without a network, and sites return a
constant update instead of training (:class:`benchmarks.light_sites.LightTraining`). So what is measured is the work of
the protocol, at all sites and the coordinator together.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import yaml

from benchmarks.light_sites import train_lightly
from benchmarks.small_study import write_patients
from client.site.folder import SiteFolder
from client.site.policy import POLICY_FILE
from client.site.register_data import register_files
from client.study.request_handler import RequestHandler
from privacy.protocol.envelope import Envelope
from privacy.study import COORDINATOR, Terms
from server.federation.config import CoordinatorConfig
from server.federation.folder import Federation
from server.federation.members import Members
from server.study.check import count_parameters
from server.study.journal import Journal
from server.study.runner import Arrival, StudyRunner
from server.study.timeouts import Timeouts

_STEP_S = 0.5
_TIMEOUTS = Timeouts(join_s=60, seal_s=600, release_s=60, ask_again_s=5)


class MemoryFederation:
    """One study without privacy over ``sites`` light sites, each in a folder of its own."""

    def __init__(self, folder: Path, terms: Terms, sites: int) -> None:
        names = [f"site-{number:02d}" for number in range(sites)]
        federation = found_federation(folder, terms, [names], CoordinatorConfig(federation="scale", port=9092))
        self._sites = {name: RequestHandler(SiteFolder(folder / name), train_lightly) for name in names}
        study = federation.launch(terms, count_parameters(terms), [])
        self._journal = Journal(federation.find_study_folder(study))
        self._runner = StudyRunner(
            self._journal, federation.load_identity(), federation.open_witness(), _TIMEOUTS, _Handed(self._sites)
        )
        self._now = 0.0
        self._runner.begin(self._now)

    def run_until(self, round: int) -> None:
        """Go on until the aggregate of ``round`` is stored."""
        while self._runner.running and self._runner.machine.history.base < round:
            self._now += _STEP_S
            self._runner.step(self._now)
        if self._runner.machine.history.base < round:
            raise RuntimeError(f"the study ended before round {round}: {self._runner.machine.phase}")

    def close(self) -> None:
        """End everything."""
        for site in self._sites.values():
            site.close()
        self._journal.close()


def found_federation(
    folder: Path, terms: Terms, groups: Sequence[Sequence[str]], config: CoordinatorConfig
) -> Federation:
    """Found a federation of light sites, each in ``folder`` under its name; those of a group have pinned each other."""
    federation = Federation(folder / COORDINATOR)
    Federation.create(federation.folder, config)
    for group in groups:
        homes = {name: _make_site(folder / name, name, federation, terms, at) for at, name in enumerate(group)}
        keys = {name: home.load_identity().public for name, home in homes.items()}
        for name, home in homes.items():
            for peer, key in keys.items():
                if peer != name:
                    home.pin_peer(peer, key)
    return federation


def _make_site(folder: Path, name: str, federation: Federation, terms: Terms, number: int) -> SiteFolder:
    home = SiteFolder.create(folder, name)
    policy = folder / POLICY_FILE
    allowed = {
        "unprotected_test_patients": True,
        "without_privacy": [terms.data.name],
        "automatic": [{"name": "every-study", "epsilon_at_most": 100, "without_privacy": True}],
    }
    policy.write_text(yaml.safe_dump(yaml.safe_load(policy.read_text()) | allowed))
    home.accept_admission(Members(federation).enrol(home.make_join_request()))
    train = write_patients(folder / "train.csv", 60, f"{name}-a", seed=number)
    test = write_patients(folder / "test.csv", 30, f"{name}-b", seed=100 + number)
    register_files(home, terms.data, train, test)
    return home


class _Handed:
    """Hands every message over at once; see :class:`server.study.runner.Transport`."""

    def __init__(self, sites: dict[str, RequestHandler]) -> None:
        self._sites = sites
        self._waiting: list[tuple[str, str, Envelope]] = []
        self._sent = 0

    def send(self, site: str, envelope: Envelope, reply_bytes: int) -> str:
        """Keep a message for the next step."""
        self._sent += 1
        self._waiting.append((str(self._sent), site, envelope))
        return str(self._sent)

    def receive_arrivals(self, coming: Callable[[str], None]) -> Iterator[Arrival]:
        """Let the sites answer."""
        waiting, self._waiting = self._waiting, []
        for message, name, envelope in waiting:
            reply = self._sites[name].answer(envelope)
            coming(name)
            yield Arrival(message, name, reply)

    def expect_no_update(self, site: str) -> None:
        """Do nothing: an update travels with its reply."""

    def forget_updates(self) -> None:
        """Forget nothing: an update comes with its reply here."""

    def give_up(self, message: str) -> None:
        """Do nothing: what is on its way arrives."""

    def find_removed_sites(self) -> list[str]:
        """Return none: nobody is removed."""
        return []

    def find_restarted_sites(self) -> list[str]:
        """Return none: nobody restarts."""
        return []
