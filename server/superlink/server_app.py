"""The coordinator's ServerApp: the process in which a study's rounds run.

* Flower starts it for a run whose configuration names the federation's folder and the study.
* Flower discards what this process prints, so it writes its own log beside the SuperLink's.
* An expected error ends the run as failed, with its message and without a traceback;
  :meth:`server.superlink.process.SuperLink.read_run_status` returns the message.
"""

import logging
from pathlib import Path
from typing import Final

from flwr.app import Context
from flwr.serverapp import Grid as FlowerGrid
from flwr.serverapp import ServerApp

from privacy.errors import Error, FederationError
from privacy.logs import open_bounded_log
from privacy.process_memory import keep_freed_memory
from server.superlink.grid import SiteMessages

FOLDER: Final = "folder"
STUDY: Final = "study"
_KEPT_BYTES: Final = 1 << 25  # adding takes the same few arrays again for every block

app = ServerApp()


@app.main()
def main(grid: FlowerGrid, context: Context) -> None:
    """Run the study that the run's configuration names to its end."""
    folder, study = context.run_config.get(FOLDER), context.run_config.get(STUDY)
    if not isinstance(folder, str) or not isinstance(study, str):
        raise FederationError(f"a run's configuration must name {FOLDER!r} and {STUDY!r}")
    keep_log(Path(folder) / "superlink" / f"{study}.log")
    keep_freed_memory(_KEPT_BYTES)
    from server.superlink.run import run

    run(Path(folder), study, SiteMessages(grid))


def keep_log(path: Path) -> None:
    """Write this process's log to ``path``, with expected errors as one line."""
    handler = open_bounded_log(path)
    handler.addFilter(_shorten_expected_error)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    root = logging.getLogger()
    root.setLevel(logging.INFO)
    root.addHandler(handler)
    for console in logging.getLogger("flwr").handlers:
        console.addFilter(_shorten_expected_error)


def _shorten_expected_error(record: logging.LogRecord) -> bool:
    """Remove the traceback from the log record of an expected error; a logging filter, so it returns True."""
    if record.exc_info and isinstance(record.exc_info[1], Error):
        record.msg, record.args, record.exc_info, record.exc_text = str(record.exc_info[1]), (), None, None
    return True
