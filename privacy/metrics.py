"""Serve metrics in Prometheus' text format, on the loopback interface, to whoever asks on this machine.

* Opt-in: ``metrics_port`` in ``site.yaml`` or ``coordinator.yaml``. One thread, which sleeps until somebody asks.
* What is shown is public, or the installation's own: names of studies, rounds, bytes, epsilon from public numbers.
  Nothing is computed from records.
* Only GET of ``/metrics`` is answered, and only under a loopback name: a web page in a browser on this machine cannot
  read it under another one.

Source: Prometheus' text exposition format 0.0.4 (prometheus.io/docs/instrumenting/exposition_formats).
"""

import contextlib
import logging
import math
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Final, Literal

from privacy.address import is_loopback
from privacy.errors import Error

_log = logging.getLogger(__name__)

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
HOST: Final = "127.0.0.1"
_LOOK_EVERY_S: Final = 1.0
_SLOWEST_S: Final = 5.0


@dataclass(frozen=True)
class Family:
    """A metric: its name, its samples by labels, and a sentence for people."""

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    samples: list[tuple[dict[str, str], float]] = field(default_factory=list)

    def add(self, value: float, **labels: str) -> None:
        """Add a sample."""
        self.samples.append((labels, value))


def make_gauge(name: str, help: str, value: float) -> Family:
    """Make a gauge with one sample and no labels."""
    return Family(name, "gauge", help, [({}, value)])


def format_families(families: Iterable[Family]) -> str:
    r"""Format metrics as text.

    >>> print(format_families([make_gauge("up", "Whether it runs.", 1)]), end="")
    # HELP up Whether it runs.
    # TYPE up gauge
    up 1
    """
    lines = []
    for family in families:
        if not family.samples:
            continue
        help_text = family.help.replace("\\", r"\\").replace("\n", r"\n")
        lines += [f"# HELP {family.name} {help_text}", f"# TYPE {family.name} {family.kind}"]
        for labels, value in family.samples:
            inside = ",".join(f'{name}="{_escape(text)}"' for name, text in sorted(labels.items()))
            lines.append(
                f"{family.name}{{{inside}}} {_format(value)}" if inside else f"{family.name} {_format(value)}"
            )
    return "".join(f"{line}\n" for line in lines)


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _format(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) else repr(value)


@contextlib.contextmanager
def serve_metrics(
    port: int | None,
    collect: Callable[[], Iterable[Family]],
    warn: Callable[[str], None],
    close: Callable[[], None],
) -> Iterator[None]:
    """Serve what ``collect`` returns while the block runs; nothing is served without a port.

    ``collect``, and at the end ``close``, are called in one thread, which is always the same. A port that cannot be
    listened on is told to ``warn``, and the block runs without metrics: a study must not wait for a monitor.
    """
    if port is None:
        yield
        return
    try:
        server = _Server((HOST, port), _Handler)
    except OSError as cause:
        warn(
            f"there are no metrics: metrics_port {port} cannot be listened on ({cause.strerror}); free that port or "
            "name another one, then restart"
        )
        yield
        return
    server.collect = collect

    def serve() -> None:
        server.serve_forever(_LOOK_EVERY_S)
        close()

    thread = threading.Thread(target=serve, name="metrics", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Server(HTTPServer):
    collect: Callable[[], Iterable[Family]]

    def server_bind(self) -> None:
        """Bind without looking up a name, which may take seconds."""
        self.socket.bind(self.server_address)
        self.server_name, self.server_port = HOST, self.server_address[1]

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore a client that went away."""


class _Handler(BaseHTTPRequestHandler):
    timeout = _SLOWEST_S
    server: _Server

    def do_GET(self) -> None:
        """Answer ``/metrics``."""
        host = self.headers.get("Host", "").rpartition(":")[0] or self.headers.get("Host", "")
        if not is_loopback(host.strip("[]")):
            self._answer(403, "expected a name of the loopback interface\n")
        elif self.path.partition("?")[0] != "/metrics":
            self._answer(404, "see /metrics\n")
        else:
            try:
                text = format_families(self.server.collect())
            except Exception as error:  # whatever it is, the program that is measured goes on
                _log.warning(
                    "metrics cannot be read: %s", error if isinstance(error, Error) else type(error).__name__
                )
                self._answer(503, "metrics cannot be read now; the program's log says why\n")
            else:
                self._answer(200, text)

    def _answer(self, status: int, text: str) -> None:
        data = text.encode("utf-8")
        self.send_response(status)
        self.send_header("Content-Type", CONTENT_TYPE)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def version_string(self) -> str:
        """Return what the answer says of this program: nothing of its version."""
        return "consilium"

    def log_message(self, format: str, *arguments: object) -> None:
        """Log nothing: a scrape is no event."""
