"""A site whose coordinator is behind a proxy, or cannot be reached: what it says. Real sockets, a real TLS server."""

import queue
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from client.connection.agent import serve
from client.connection.link import AgentEvent
from privacy.errors import LinkError
from privacy.keys import generate_node_key
from privacy.protocol.envelope import Envelope
from server.federation.certificates import TlsFiles, create_authority, issue_server_certificate
from server.superlink.process import find_free_port

NAME = "fl.example.org"


class Busy(BaseHTTPRequestHandler):
    """A coordinator that is busy."""

    def do_POST(self) -> None:
        self.send_error(503)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture(autouse=True)
def _no_proxy_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def files(tmp_path: Path) -> TlsFiles:
    files = create_authority(tmp_path, "wood")
    issue_server_certificate(files, [NAME])
    return files


@pytest.fixture
def coordinator(files: TlsFiles) -> Iterator[int]:
    """The port of a server that shows the coordinator's certificate."""
    with HTTPServer(("127.0.0.1", 0), Busy) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files.certificate, files.key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@contextmanager
def proxy(answer: bytes, onward: int | None = None) -> Iterator[tuple[str, list[bytes]]]:
    """A proxy that answers CONNECT with ``answer``, and then passes on to a port of this machine; what it was asked."""
    asked: list[bytes] = []

    def pump(source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def handle(client: socket.socket) -> None:
        with client:
            asked.append(client.recv(65536))
            client.sendall(answer)
            if onward is not None:
                with socket.create_connection(("127.0.0.1", onward)) as server:
                    back = threading.Thread(target=pump, args=(server, client), daemon=True)
                    back.start()
                    pump(client, server)
                    back.join()

    def accept(listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=handle, args=(client,), daemon=True).start()

    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=accept, args=(listener,), daemon=True).start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}", asked
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def first_event(address: str, files: TlsFiles) -> AgentEvent:
    """What a site says first that is to serve at ``address``."""
    key = files.folder / "node.key"
    generate_node_key(key)
    events: queue.Queue[AgentEvent] = queue.Queue()
    stop = threading.Event()

    def answer(_: Envelope) -> Envelope:
        raise AssertionError("nobody asks")

    serving = threading.Thread(
        target=serve,
        args=(address, files.ca, key, lambda _: answer),
        kwargs={"on_event": events.put, "stop": stop},
    )
    serving.start()
    try:
        return events.get(timeout=30)
    finally:
        stop.set()
        serving.join()


def test_coordinator_elsewhere_is_reached_through_the_proxy_which_is_named_without_its_password(
    monkeypatch: pytest.MonkeyPatch, files: TlsFiles, coordinator: int
) -> None:
    with proxy(b"HTTP/1.1 200 Connection established\r\n\r\n", coordinator) as (at, asked):
        monkeypatch.setenv("HTTPS_PROXY", f"http://ada:secret@{at}")
        event = first_event(f"{NAME}:9092", files)
    assert event.sentence == (
        f"the coordinator at {NAME}:9092 cannot be reached through the proxy {at} (HTTP status 503); trying again"
    )
    assert asked[0].startswith(f"CONNECT {NAME}:9092 ".encode())


def test_proxy_that_refuses_is_named_and_not_the_coordinator_blamed(
    monkeypatch: pytest.MonkeyPatch, files: TlsFiles
) -> None:
    with proxy(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n") as (at, _):
        monkeypatch.setenv("HTTPS_PROXY", f"http://ada:secret@{at}")
        event = first_event(f"{NAME}:9092", files)
    assert f"cannot be reached through the proxy {at} (407 Proxy Authentication Required)" in event.sentence
    assert "secret" not in event.sentence


def test_coordinator_on_this_machine_is_reached_directly_whatever_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, files: TlsFiles, coordinator: int
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    address = f"127.0.0.1:{coordinator}"
    sentence = first_event(address, files).sentence
    assert sentence == f"the coordinator at {address} cannot be reached (HTTP status 503); trying again"


def test_coordinator_on_another_machine_that_cannot_be_reached_is_told_with_what_it_needs(files: TlsFiles) -> None:
    sentence = first_event(f"coordinator.invalid:{find_free_port()}", files).sentence
    assert "lets connections out to it; trying again" in sentence


def test_proxy_that_cannot_be_used_ends_the_site_with_a_sentence(
    monkeypatch: pytest.MonkeyPatch, files: TlsFiles
) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1080")
    key = files.folder / "node.key"
    generate_node_key(key)
    with pytest.raises(LinkError, match="a proxy of kind 'socks5' that cannot be used"):
        serve(
            f"{NAME}:9092",
            files.ca,
            key,
            lambda _: lambda request: request,
            on_event=print,
            stop=threading.Event(),
        )
