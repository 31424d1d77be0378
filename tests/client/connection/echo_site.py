"""A site for tests: a real agent process that answers as the request's body says. Events go to stdout, a line each.

Run as ``python -m tests.client.connection.echo_site ADDRESS CA KEY``.
"""

import signal
import sys
import threading
import time
from pathlib import Path

from client.connection.agent import serve
from client.connection.link import AgentEvent
from privacy.errors import Error, LedgerError, RefusedError
from privacy.protocol.envelope import Envelope
from privacy.refusal_codes import RefusalCode


def answer(request: Envelope) -> Envelope:
    match request.body:
        case b"refuse":
            raise RefusedError(RefusalCode.POLICY, "this site does not do that")
        case b"fail":
            raise ValueError("patient 4711 has no heart rate")
        case b"break the ledger":
            raise LedgerError("the ledger's last line is torn")
        case b"take your time":
            time.sleep(3)
            return request
        case _:
            return Envelope(b"answer to " + request.body, request.signature)


def show(event: AgentEvent) -> None:
    sys.stdout.write(f"{event.kind} {event.size} {event.sentence}\n")
    sys.stdout.flush()


def main() -> None:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    address, ca, key = sys.argv[1:]
    try:
        serve(address, Path(ca), Path(key), lambda _: answer, on_event=show, stop=stop)
    except Error as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
