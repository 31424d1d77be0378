"""A line to a port of this machine, on which what comes back can be held up."""

import contextlib
import socket
import threading
from collections.abc import Callable


class Line:
    """Passes the bytes of every connection to ``beyond`` on, both ways, until closed.

    Attributes:
        port: of this machine, at which it begins.
        sent: bytes that have gone to ``beyond``.
        clear: while it is not set, nothing comes back from there.
    """

    def __init__(self, beyond: int) -> None:
        self._beyond = beyond
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self.sent = 0
        self.clear = threading.Event()
        self.clear.set()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                near, _ = self._server.accept()
                far = socket.create_connection(("127.0.0.1", self._beyond))
                for pair in ((near, far, self._count), (far, near, self._wait)):
                    threading.Thread(target=_pass_on, args=pair, daemon=True).start()

    def _count(self, data: bytes) -> None:
        self.sent += len(data)

    def _wait(self, _: bytes) -> None:
        self.clear.wait()

    def close(self) -> None:
        """Take no more connections, and let go of what is held."""
        self.clear.set()
        self._server.close()


def _pass_on(source: socket.socket, target: socket.socket, before: Callable[[bytes], None]) -> None:
    with contextlib.suppress(OSError), source, target:
        while data := source.recv(1 << 16):
            before(data)
            target.sendall(data)
