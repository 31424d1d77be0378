"""Run a thousand sites through Flower's simulation runtime on Ray, with the state machine and messages of a real run.

``python -m benchmarks.simulation [--sites N] [--rounds N] [--json]``. Needs the extra ``simulation``.

* Flower's ``run_simulation`` starts a ServerApp and an actor of Ray. The ServerApp runs every study with the run of
  production (:func:`server.superlink.run.run`): state machine, journal, sums. The actor holds the sites
  (:mod:`benchmarks.simulated_sites`).
* A study has at most 64 sites (``MAX_SITES``): every site pins every other, masks are made pair by pair, and the bound
  on the noise of a sum ends at 373. So a thousand sites are one federation with several studies, as even as can be;
  each study has a run of its own, as in production.
* Two studies run at a time, the others wait, and all sites stay. Flower's state in memory looks through all waiting
  messages once for every node, ten times a second: with a message to each of a thousand nodes, nothing else happens.
* One actor, since Flower hands a message to whichever actor is idle, and a site keeps its session keys in memory.
* Not as in production: Flower's state is in memory and has no object store, so a reply comes whole; blobs are handed
  over in files; nothing is encrypted on the way; sites do not train.
* ``coordinator_cpu_s`` is of the process of the ServerApp with Flower's runtime, ``sites_cpu_s`` of the actor, from
  its start; ``site_round_ms`` their sum for a site and a round, with joining, keys and closing.
"""

import importlib.util
import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import click
from flwr.app import Context
from flwr.serverapp import Grid as FlowerGrid
from flwr.serverapp import ServerApp

from benchmarks.memory import read_status_mb
from benchmarks.memory_federation import found_federation
from benchmarks.simulated_sites import make_simulated_app, read_figures
from benchmarks.small_study import without_privacy
from privacy.command_line import print_json, print_table, say
from privacy.errors import WireError
from privacy.protocol.flower_records import from_records
from privacy.study import COORDINATOR, MAX_SITES
from server.federation.config import CoordinatorConfig, TimeoutsConfig
from server.federation.folder import Federation
from server.study.check import count_parameters
from server.study.journal import Journal
from server.superlink.grid import SiteMessages, SiteReply
from server.superlink.run import run

_PATIENCE_S: Final = 24 * 3600.0
_OBJECT_STORE_BYTES: Final = 200 << 20
_LOOK_S: Final = 0.1
_AT_ONCE: Final = 2
_SWITCH_S: Final = 2e-4
"""How long a thread may keep the others of the ServerApp's process waiting: Flower's own one looks without a pause."""


@click.command()
@click.option("--sites", default=1000, show_default=True, type=click.IntRange(3, 5000), help="In all studies.")
@click.option("--rounds", default=2, show_default=True, type=click.IntRange(1, 100), help="Of each study.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option(
    "--folder",
    default=tempfile.gettempdir(),
    show_default=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where the sites' folders are made; in memory is best.",
)
def main(sites: int, rounds: int, as_json: bool, folder: Path) -> None:
    """A federation in Flower's simulation runtime on Ray."""
    if importlib.util.find_spec("ray") is None:
        raise click.ClickException("Ray is not installed; get it with: pip install -e '.[simulation]'")
    made = Path(tempfile.mkdtemp(prefix="simulation-", dir=folder))
    try:
        found = measure(made, sites, rounds)
    finally:
        shutil.rmtree(made)
    if as_json:
        print_json(found)
        return
    print_table(tuple(found), [tuple(f"{each:,}" for each in found.values())])


def measure(folder: Path, sites: int, rounds: int) -> dict[str, Any]:
    """Found a federation, run its studies at once, and return what that took.

    Raises:
        RuntimeError: a study has not committed all its rounds with all its sites.
    """
    groups = divide_sites(sites)
    terms = without_privacy(
        training={"rounds": rounds, "local_steps": 1},
        evaluation={"rounds": []},
        cohort={"minimum": 3, "maximum": MAX_SITES},
    )
    # one actor answers for all: a question that is asked again meanwhile would only be work for it
    timeouts = TimeoutsConfig(
        join_s=_PATIENCE_S, seal_s=_PATIENCE_S, release_s=_PATIENCE_S, ask_again_s=_PATIENCE_S
    )
    say(f"founding a federation of {sites} sites ...")
    config = CoordinatorConfig(federation="scale", port=9092, timeouts=timeouts)
    federation = found_federation(folder, terms, groups, config)
    studies = [federation.launch(terms, count_parameters(terms), group) for group in groups]
    say(f"{len(studies)} studies of {len(groups[-1])} to {len(groups[0])} sites, {rounds} rounds ...")
    before, began = time.process_time(), time.monotonic()
    _simulate(folder, studies, sites)
    seconds, coordinator_cpu_s = time.monotonic() - began, time.process_time() - before
    for study, group in zip(studies, groups, strict=True):
        _require_complete(federation, study, group, rounds)
    of_sites = read_figures(folder)
    return {
        "sites": sites,
        "studies": len(studies),
        "rounds": rounds,
        "seconds": round(seconds, 1),
        "coordinator_cpu_s": round(coordinator_cpu_s, 1),
        "sites_cpu_s": round(of_sites["cpu_s"], 1),
        "site_round_ms": round(1e3 * (coordinator_cpu_s + of_sites["cpu_s"]) / sites / rounds, 1),
        "coordinator_peak_mb": round(read_status_mb("VmHWM")),
        "sites_peak_mb": round(of_sites["peak_mb"]),
    }


def divide_sites(sites: int) -> list[list[str]]:
    """Divide so many sites into as few groups as studies may be, as even as can be; the largest come first."""
    names = [f"site-{number:04d}" for number in range(sites)]
    count = -(-sites // MAX_SITES)
    return [names[at::count] for at in range(count)]


class _RepliesInMemory(SiteMessages):
    """The messages of a run whose Flower state is in memory, where replies come whole."""

    def poll(self, coming: Callable[[int], None] = lambda node_id: None) -> Iterator[SiteReply]:
        """Yield the replies that have arrived; see :meth:`server.superlink.grid.SiteMessages.poll`."""
        for message in self._grid.pull_messages(list(self._asked)) if self._asked else ():
            asked = self._asked.pop(message.metadata.reply_to_message_id)
            coming(asked.node_id)
            yield _read_reply(message, asked.node_id)


def _read_reply(message: Any, node: int) -> SiteReply:
    asked = message.metadata.reply_to_message_id
    if message.has_error():
        return SiteReply(asked, node, None, message.error.reason)
    try:
        return SiteReply(asked, node, from_records(message.content))
    except WireError as error:
        return SiteReply(asked, node, None, str(error))


def _simulate(folder: Path, studies: list[str], sites: int) -> None:
    """Run all studies at once in Flower's simulation runtime."""
    os.environ |= {"FLWR_TELEMETRY_ENABLED": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # an actor has every site's files open
    sys.setswitchinterval(_SWITCH_S)
    from flwr.simulation import run_simulation  # only now: the variables are read at import

    app = ServerApp()

    @app.main()
    def serve(grid: FlowerGrid, _: Context) -> None:
        federation = Federation(folder / COORDINATOR)
        while len(nodes := sorted(grid.get_node_ids())) < sites:  # the runtime makes them meanwhile
            time.sleep(_LOOK_S)
        federation.write_nodes(dict(zip(sorted(federation.read_sites()), nodes, strict=True)))
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            runs = [pool.submit(run, federation.folder, study, _RepliesInMemory(grid)) for study in studies]
            for each in runs:
                each.result()

    cores = os.cpu_count() or 1
    run_simulation(
        app,
        make_simulated_app(folder),
        num_supernodes=sites,
        backend_config={
            "init_args": {"num_cpus": cores, "object_store_memory": _OBJECT_STORE_BYTES},
            "client_resources": {"num_cpus": cores},
        },
    )


def _require_complete(federation: Federation, study: str, sites: list[str], rounds: int) -> None:
    with Journal(federation.find_study_folder(study)) as journal:
        history = journal.read_history()
    taken = [sorted(each.committed.cohort) for each in history.committed.values()] if history.finished else []
    if taken != [sites] * rounds:
        raise RuntimeError(f"{study}: {len(taken)} of {rounds} rounds were committed with all sites")


if __name__ == "__main__":
    main()
