"""Run many sites in one process: real protocol, keys and ledgers, but a constant update instead of training.

``python -m benchmarks.light_sites FOLDER GATE NAME...``; the folders of the sites are ``FOLDER/NAME``.

* Sites work one at a time, in threads.
* No site answers before the file GATE exists.
* No sealed update is uploaded before all are sealed. They reach the coordinator together, which is its worst case.
"""

import sys
import threading
import time
from pathlib import Path
from typing import Final, cast

import numpy as np

from client.connection.agent import serve
from client.connection.blob_exchange import exchange_blobs
from client.connection.link import AgentEvent
from client.connection.tls_trust import make_tls_context
from client.data.dataset import StudyFiles
from client.site.folder import SiteFolder
from client.study.outgoing_update import OnSealing
from client.study.request_handler import RequestHandler
from client.training.jobs import ExportModel, FirstModel, Job, ListTrained, R, ScoreModel, TrainedRound, TrainRound
from client.training.study_model import build_model
from models.parameters.flatten import count_shared_parameters, set_shared_parameters
from models.parameters.lora import compute_plain_tensors
from privacy.command_line import say
from privacy.errors import TrainingError
from privacy.process_lifetime import stop_on_signals
from privacy.protocol.envelope import Envelope, read_body
from privacy.protocol.messages import Sealed
from privacy.study import Terms
from privacy.study.launch import Launch
from privacy.study.tasks.task import count_cells

_PATIENCE_S: Final = 3600.0


class LightTraining:
    """A training interface that returns the same update in every round and reads no record."""

    def __init__(self, terms: Terms) -> None:
        self._module = build_model(terms)
        self._parameters = count_shared_parameters(self._module)
        self._cells = count_cells(terms.cell_groups)

    def run(self, job: Job[R]) -> R:
        """Answer a job; see :class:`client.training.interface.TrainingInterface`."""
        answer: object
        match job:
            case FirstModel():
                answer = np.zeros(self._parameters)
            case ExportModel():
                set_shared_parameters(self._module, job.model)
                answer = compute_plain_tensors(self._module)
            case TrainRound():
                answer = TrainedRound(np.full(self._parameters, 0.01), np.zeros(0))
            case ScoreModel():
                answer = (1,) * self._cells
            case ListTrained():
                answer = None  # every parameter, in every round
            case _:
                raise TrainingError("light sites take part in studies without privacy only")
        return cast("R", answer)

    def close(self) -> None:
        """Do nothing; see :class:`client.training.interface.TrainingInterface`."""


class LightSites:
    """All sites of this process."""

    def __init__(self, folder: Path, gate: Path, names: list[str]) -> None:
        self._folder = folder
        self._gate = gate
        self._names = names
        self._one_at_a_time = threading.Lock()
        self._all_sealed = threading.Barrier(len(names))
        self._stop = threading.Event()

    def serve(self) -> None:
        """Serve all sites until SIGTERM."""
        stop_on_signals(self._stop)
        threads = [threading.Thread(target=self._serve, args=(name,)) for name in self._names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _serve(self, name: str) -> None:
        home = SiteFolder(self._folder / name)
        site = RequestHandler(home, train_lightly)

        def answer(request: Envelope, _: OnSealing) -> Envelope:
            while not self._gate.exists() and not self._stop.wait(0.1):
                pass
            with self._one_at_a_time:
                reply = site.answer(request)
            if isinstance(read_body(reply).content, Sealed):
                self._all_sealed.wait(_PATIENCE_S)
            return reply

        def tell(event: AgentEvent) -> None:
            say(f"{time.time():.1f} {name}: {event.sentence}")

        try:
            serve(
                home.load_admission().address,
                home.ca_path,
                home.node_key_path,
                exchange_blobs(home, answer, site.compute_blob_limit),
                on_event=tell,
                stop=self._stop,
                tls=make_tls_context(home.ca_path, home.credentials.path),
            )
        finally:
            site.close()


def train_lightly(launch: Launch, _: StudyFiles) -> LightTraining:
    """Make the training of a study; see :class:`client.study.request_handler.RequestHandler`."""
    return LightTraining(launch.terms)


def main() -> None:
    """Serve the sites named on the command line."""
    folder, gate, *names = sys.argv[1:]
    LightSites(Path(folder), Path(gate), names).serve()


if __name__ == "__main__":
    main()
