"""The way to a coordinator: what each line says when name, port, proxy, certificate, coordinator or clock is wrong."""

import email.utils
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from privacy.health import Light, Line
from privacy.proxy import set_proxy
from privacy.reachability import check_way
from server.federation.certificates import TlsFiles, create_authority, issue_server_certificate

G, A, R = Light.GREEN, Light.AMBER, Light.RED


@contextmanager
def serving(files: TlsFiles, answer: str) -> Iterator[str]:
    """A TLS server that answers everything alike; its address."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    plain, _ = listening.accept()
                except OSError:
                    return
                plain.settimeout(5)
                try:
                    with context.wrap_socket(plain, server_side=True) as connection:
                        connection.recv(4096)
                        connection.sendall(answer.encode())
                except OSError:
                    plain.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"127.0.0.1:{listening.getsockname()[1]}"
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


def make_answer(status: str = "200 OK", skew_s: float = 0.0) -> str:
    date = email.utils.formatdate(time.time() + skew_s, usegmt=True)
    return f"HTTP/1.1 {status}\r\nDate: {date}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


def look(address: str, files: TlsFiles) -> dict[str, Line]:
    context = ssl.create_default_context(cafile=files.ca)
    return {line.check: line for line in check_way(address, context, lambda: "it is another's")}


def lights(found: dict[str, Line]) -> dict[str, Light]:
    return {name: line.light for name, line in found.items()}


def test_way_that_is_right_is_green(certificates: TlsFiles) -> None:
    with serving(certificates, make_answer()) as address:
        found = look(address, certificates)
    assert set(lights(found).values()) == {G}
    assert list(found) == ["proxy", "name", "port", "certificate", "coordinator", "clock"]


@pytest.mark.parametrize(("skew_s", "light"), [(2, G), (-20, A), (20, A), (-300, R), (300, R)])
def test_clock_is_compared_with_the_answers(certificates: TlsFiles, skew_s: float, light: Light) -> None:
    with serving(certificates, make_answer(skew_s=skew_s)) as address:
        line = look(address, certificates)["clock"]
    assert line.light is light
    if light is not G:
        assert ("behind" if skew_s > 0 else "ahead of") in line.found


@pytest.mark.parametrize(
    ("status", "light", "words"),
    [
        ("502 Bad Gateway", R, "the coordinator behind it does not"),
        ("400 Bad Request", R, "refuses this installation's certificate"),
        ("429 Too Many Requests", A, "too many checks"),
        ("404 Not Found", R, "HTTP status 404"),
    ],
)
def test_gateway_that_answers_otherwise_says_what_is_wrong(
    certificates: TlsFiles, status: str, light: Light, words: str
) -> None:
    with serving(certificates, make_answer(status)) as address:
        line = look(address, certificates)["coordinator"]
    assert (line.light, words in line.found) == (light, True)


def test_answer_without_a_date_leaves_the_clock_amber(certificates: TlsFiles) -> None:
    with serving(certificates, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") as address:
        assert look(address, certificates)["clock"].light is A


def test_certificate_of_another_authority_is_red_and_what_follows_is_not_looked_at(
    certificates: TlsFiles, tmp_path: Path
) -> None:
    other = create_authority(tmp_path, "other")
    issue_server_certificate(other)
    with serving(other, make_answer()) as address:
        found = look(address, certificates)
    assert (found["certificate"].light, found["certificate"].found) == (R, "it is another's")
    assert found["clock"].found == "not looked at, since 'certificate' is red"


def test_port_at_which_nobody_listens_is_red(certificates: TlsFiles) -> None:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        found = look(f"127.0.0.1:{probe.getsockname()[1]}", certificates)
    assert lights(found) == {
        "proxy": G, "name": G, "port": R, "certificate": A, "coordinator": A, "clock": A,
    }  # fmt: skip
    assert "whether the coordinator and its gateway run" in found["port"].step


def test_what_speaks_no_tls_is_red(certificates: TlsFiles) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()  # the look at the port
            connection.close()
            connection, _ = listening.accept()
            connection.sendall(b"SSH-2.0-OpenSSH\r\n")
            connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        found = look(f"127.0.0.1:{listening.getsockname()[1]}", certificates)
        thread.join()
    assert found["certificate"].light is R
    assert "no TLS connection" in found["certificate"].found


def test_name_that_is_not_known_is_red(certificates: TlsFiles) -> None:
    found = look("no-such-host.invalid:443", certificates)
    assert lights(found)["name"] is R
    assert lights(found)["port"] is A


@pytest.fixture
def forgotten_proxy() -> Iterator[None]:
    yield
    set_proxy(None)


@pytest.mark.usefixtures("forgotten_proxy")
def test_proxy_that_is_not_there_is_red_without_its_password(certificates: TlsFiles) -> None:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        set_proxy(f"http://127.0.0.1:{probe.getsockname()[1]}", user="ada", password="hunter2")
        found = look("wood.example:443", certificates)
    assert lights(found)["proxy"] is R
    assert "hunter2" not in str(found)


@pytest.mark.usefixtures("forgotten_proxy")
def test_proxy_that_refuses_is_named_at_the_port(certificates: TlsFiles) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            connection.close()
            connection, _ = listening.accept()
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        set_proxy(f"http://127.0.0.1:{listening.getsockname()[1]}", user="ada", password="hunter2")
        found = look("wood.example:443", certificates)
        thread.join()
    assert (found["proxy"].light, found["name"].light, found["port"].light) == (G, G, R)
    assert "407" in found["port"].found
    assert "hunter2" not in str(found)
