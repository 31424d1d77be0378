"""Run Flower's own SuperLink program with our gate before its API and our plugin for its database.

``python -m server.superlink.program`` takes the arguments of ``flower-superlink``. The environment names the
descriptor of a pipe (:data:`server.superlink.process_tags.OWNER`). When the other end of the pipe is closed, this
process ends, and all that it started.

The only change in Flower is the function that makes its web application. If a release of Flower has no such
function, this program ends at once.
"""

import os
import signal
import time
from pathlib import Path
from typing import Any, Final

from flwr.superlink import main as superlink
from flwr.superlink.cli import flower_superlink

from privacy.process_lifetime import call_when_closed, take_default_signals
from server.superlink import database
from server.superlink.fleet_callers import FleetCallers, find_members
from server.superlink.gate import Gate
from server.superlink.process_tags import OWNER, TAG, stop_tagged

_LEAVE_S: Final = 5.0


def main() -> None:
    """Run until stopped, or until the owner ends."""
    # Child processes inherit ignored signals, and Flower stops its children by SIGINT.
    take_default_signals()
    call_when_closed(int(os.environ.pop(OWNER)), _end_everything)

    database.register()
    # The tag is the folder superlink/ in the federation's folder (server/superlink/process.py).
    callers = FleetCallers(find_members(Path(os.environ[TAG]).parent))
    make = superlink.create_app

    def make_gated(*arguments: Any, **named: Any) -> Any:
        app = make(*arguments, **named)
        app.add_middleware(Gate, callers=callers)
        return app

    superlink.create_app = make_gated
    flower_superlink()


def _end_everything() -> None:
    """Stop all that this process started, then this process: by SIGTERM, and after some seconds at once."""
    stop_tagged(TAG, os.environ[TAG], but=os.getpid())
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_LEAVE_S)
    os._exit(1)


if __name__ == "__main__":
    main()
