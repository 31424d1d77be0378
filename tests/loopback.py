"""A real federation on the loopback interface: a SuperLink, a run whose grid a test holds, agents as processes."""

import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Client, Connection
from pathlib import Path
from typing import Any

from privacy.errors import Error
from privacy.keys import generate_node_key
from privacy.protocol.envelope import Envelope
from server.federation.certificates import TlsFiles
from server.superlink.bundle import make_bundle
from server.superlink.grid import SiteReply
from server.superlink.process import SuperLink, find_free_port

PATIENCE_S = 40.0


def wait_for(what: str, ready: Callable[[], Any], patience_s: float = PATIENCE_S) -> Any:
    """What ``ready`` returns once it is true."""
    end = time.monotonic() + patience_s
    while not (value := ready()):
        assert time.monotonic() < end, f"waited {patience_s:.0f} s for {what}"
        time.sleep(0.05)
    return value


def _connect(socket: Path) -> "Connection[Any, Any] | None":
    """Connect to a run's socket; None while it is not there, or nobody listens on it yet."""
    try:
        return Client(str(socket), family="AF_UNIX")
    except (FileNotFoundError, ConnectionRefusedError):
        return None


class RemoteGrid:
    """The grid of a running run, held by the test."""

    def __init__(self, superlink: SuperLink, bundle: Callable[[dict[str, str | int]], bytes] | None = None) -> None:
        name = f"grid{time.monotonic_ns()}"
        config: dict[str, str | int] = {"folder": str(superlink.folder), "study": name}
        contents = bundle(config) if bundle else make_bundle(config, "tests.server.superlink.echo_app:app")
        self.run_id = superlink.control.start_bundle(contents, config)
        socket = superlink.folder / name
        self._connection: Connection[Any, Any] = wait_for("the run to start", lambda: _connect(socket))

    def _call(self, method: str, *arguments: object) -> Any:
        self._connection.send((method, arguments))
        value = self._connection.recv()
        if isinstance(value, Error):
            raise value
        return value

    def online(self) -> set[int]:
        online: set[int] = self._call("online")
        return online

    def send(self, node_id: int, envelope: Envelope, ttl_s: float = 600.0) -> str:
        message_id: str = self._call("send", node_id, envelope, ttl_s)
        return message_id

    def poll(self) -> list[SiteReply]:
        replies: list[SiteReply] = self._call("poll")
        return replies

    def ask(self, node_id: int, body: bytes) -> SiteReply:
        """Send, and wait for the reply."""
        message_id = self.send(node_id, Envelope(body, b"signature"))
        reply: SiteReply
        (reply,) = wait_for("a reply", self.poll)
        assert (reply.message_id, reply.node_id) == (message_id, node_id)
        return reply

    def finish(self) -> None:
        """End the run as completed."""
        self._connection.send(None)
        self._connection.close()


class Agent:
    """A site's agent as a process of its own."""

    def __init__(self, superlink: SuperLink, key: Path, ca: Path | None = None) -> None:
        trusted = ca or superlink.tls.ca
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.client.connection.echo_site", superlink.address, str(trusted), str(key)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self.seen: list[str] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line.rstrip("\n"))

    def expect(self, kind: str, patience_s: float = PATIENCE_S) -> str:
        """The next event of this kind."""
        end = time.monotonic() + patience_s
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"waited {patience_s:.0f} s for {kind!r}, saw {self.seen}") from None
            self.seen.append(line)
            if line.startswith(f"{kind} "):
                return line

    def forget(self) -> None:
        """Expect nothing of what has happened so far."""
        while not self._lines.empty():
            self.seen.append(self._lines.get())

    def end(self) -> tuple[int, str]:
        """Wait for the process to end; its exit code and what it wrote to stderr."""
        code = self.process.wait(timeout=PATIENCE_S)
        assert self.process.stderr is not None
        return code, self.process.stderr.read()

    def stop(self) -> tuple[int, str]:
        self.process.terminate()
        return self.end()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()


class Loopback:
    """One SuperLink and what was started with it."""

    def __init__(self, folder: Path, tls: TlsFiles) -> None:
        self.folder = folder
        self.superlink = SuperLink(folder, tls, find_free_port())
        self._agents: list[Agent] = []
        self.superlink.start()
        try:
            self.grid = RemoteGrid(self.superlink)
        except BaseException:
            self.superlink.stop()
            raise

    def key(self, name: str, *, registered: bool = True) -> tuple[Path, int]:
        """A site's fresh node key, and its node id once registered."""
        path = self.folder / f"{name}.key"
        line = generate_node_key(path)
        return path, self.superlink.control.register_node(line) if registered else 0

    def agent(self, key: Path) -> Agent:
        agent = Agent(self.superlink, key)
        self._agents.append(agent)
        return agent

    def close(self) -> None:
        for agent in self._agents:
            agent.close()
        self.superlink.stop()
