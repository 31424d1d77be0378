"""The SuperLink's process: Flower's own program, with our gate in front of its API and our plugin for its database.

Run as ``python -m server.superlink.program`` with the arguments of ``flower-superlink``, in an environment that
names the descriptor of a pipe: when nobody holds the pipe's other end any more, this process ends, with everything
that it started. The one thing changed in Flower is the function that makes its web application; if a release of
Flower has no such function, this ends at once.
"""

import os
import signal
import time
from typing import Any, Final

from flwr.superlink import main as superlink
from flwr.superlink.cli import flower_superlink

from privacy.process_lifetime import call_when_closed, take_default_signals
from server.superlink import database
from server.superlink.gate import Gate
from server.superlink.process_tags import OWNER, TAG, stop_tagged

_LEAVE_S: Final = 5.0


def main() -> None:
    """Run until stopped, or until the owner is gone."""
    take_default_signals()  # what Flower starts would inherit that they are ignored, and Flower ends it by SIGINT
    call_when_closed(int(os.environ.pop(OWNER)), _end_everything)

    database.register()
    make = superlink.create_app

    def make_gated(*arguments: Any, **named: Any) -> Any:
        app = make(*arguments, **named)
        app.add_middleware(Gate)
        return app

    superlink.create_app = make_gated
    flower_superlink()


def _end_everything() -> None:
    """End what this process started, and this process: politely, then at once."""
    stop_tagged(TAG, os.environ[TAG], but=os.getpid())
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_LEAVE_S)
    os._exit(1)


if __name__ == "__main__":
    main()
