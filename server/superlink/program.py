"""Run Flower's own SuperLink program with our gate before its API and our plugin for its database.

``python -m server.superlink.program`` takes the arguments of ``flower-superlink``. The environment names the
descriptor of a pipe (:data:`server.superlink.process_tags.OWNER`). When the other end of the pipe is closed, this
process ends, and all that it started.

Two functions of Flower are wrapped: the one that makes its web application, which gets our layers and limits, and
the one that makes the command line of its SuperExec, the child that starts the runs. Both get the secret of this
start (``server/superlink/gate.py``): Flower's own option for it counts only where somebody else starts the SuperExec.
If a release of Flower lacks one of the two, this program ends at once.
"""

import importlib
import os
import signal
import time
from pathlib import Path
from typing import Any, Final

from flwr.superlink import main as superlink
from flwr.superlink.cli import flower_superlink

from privacy.keys import read_secret
from privacy.process_lifetime import call_when_closed, take_default_signals
from server.superlink import database
from server.superlink.direct_calls import DirectCalls, keeps_no_event_log
from server.superlink.fleet_callers import FleetCallers, find_members
from server.superlink.gate import SECRET_FILE, Gate
from server.superlink.message_marks import ReplyMark
from server.superlink.process_tags import OWNER, TAG, stop_tagged

_LEAVE_S: Final = 5.0


def main() -> None:
    """Run until stopped, or until the owner ends."""
    # Child processes inherit ignored signals, and Flower stops its children by SIGINT.
    take_default_signals()
    call_when_closed(int(os.environ.pop(OWNER)), _end_everything)

    database.register()
    # The tag is the folder superlink/ in the federation's folder (server/superlink/process.py).
    folder = Path(os.environ[TAG])
    replies = ReplyMark(folder)
    callers, secret = FleetCallers(find_members(folder.parent)), read_secret(folder / SECRET_FILE)
    # The package has a function of the module's name.
    launcher: Any = importlib.import_module("flwr.superlink.cli.flower_superlink")
    make, get_command = superlink.create_app, launcher._get_superexec_command

    def make_gated(*arguments: Any, **named: Any) -> Any:
        app = make(*arguments, **named)
        app.state.superexec_auth_secret = secret
        database.clean_rarely(app.state.linkstate_factory.state())
        if keeps_no_event_log(app):
            app.add_middleware(DirectCalls)
        app.add_middleware(Gate, callers=callers, secret=secret, on_push=replies.mark)
        return app

    def get_command_with_secret(*arguments: Any, **named: Any) -> list[str]:
        return [*get_command(*arguments, **named), "--superexec-auth-secret-file", str(folder / SECRET_FILE)]

    superlink.create_app, launcher._get_superexec_command = make_gated, get_command_with_secret
    flower_superlink()


def _end_everything() -> None:
    """Stop all that this process started, then this process: by SIGTERM, and after some seconds at once."""
    stop_tagged(TAG, os.environ[TAG], but=os.getpid())
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_LEAVE_S)
    os._exit(1)


if __name__ == "__main__":
    main()
