"""A site that reaches its federation through a real proxy (tinyproxy), with and without a password.

The gateway listens at this machine's own address, since the loopback interface is never reached through a proxy.
"""

import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from flwr.proto.fleet_pb2 import ActivateNodeRequest
from flwr.supercore.error import ApiErrorCode, FlowerError

from client.connection.tls_trust import explain_refusal
from client.site.proxy import ProxyConfig, use_proxy
from privacy.client_certificate import Credential
from privacy.control.channel import ControlClient, NotRunningError
from privacy.keys import convert_node_key_to_pem, format_node_key, load_node_key
from privacy.proxy import make_http_client, set_proxy
from server.federation.certificates import create_authority, issue_server_certificate
from server.superlink.process import find_free_port
from tests.client.connection.test_tls_trust import served
from tests.deploy.gateway import GatewayWorld, find_missing
from tests.loopback import wait_for


def find_own_address() -> str:
    """This machine's address on its network; empty if it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            return ""
        address: str = probe.getsockname()[0]
    return "" if address.startswith("127.") else address


HOST = find_own_address()
MISSING = find_missing("nginx", "tinyproxy") or ("" if HOST else "needs a network interface beside the loopback")
pytestmark = [pytest.mark.skipif(bool(MISSING), reason=MISSING), pytest.mark.federation]


@pytest.fixture(scope="module")
def world() -> Iterator[GatewayWorld]:
    with tempfile.TemporaryDirectory(prefix="gate-", ignore_cleanup_errors=True) as name:
        world = GatewayWorld(Path(name), HOST)
        yield world
        world.close()


@pytest.fixture(autouse=True)
def _no_proxy_yet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    yield
    set_proxy(None)


@contextmanager
def tinyproxy(folder: Path, *settings: str) -> Iterator[tuple[str, list[str]]]:
    """A running tinyproxy: its address, and its log as it grows."""
    port = find_free_port()
    config = folder / "tinyproxy.conf"
    lines = [f"Port {port}", "Listen 127.0.0.1", "Timeout 60", "LogLevel Connect", "Allow 127.0.0.1", *settings]
    config.write_text("\n".join(lines) + "\n")
    process = subprocess.Popen(["tinyproxy", "-d", "-c", str(config)], stdout=subprocess.PIPE, text=True)
    log: list[str] = []
    assert process.stdout is not None
    reading = threading.Thread(target=lambda: log.extend(process.stdout or ()), daemon=True)
    reading.start()
    try:
        wait_for("tinyproxy", lambda: accepts(port))
        yield f"127.0.0.1:{port}", log
    finally:
        process.terminate()
        process.wait()
        reading.join()
        process.stdout.close()


def accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def call_both(world: GatewayWorld) -> None:
    """Make a Fleet call and a call of the control plane, as a site does."""
    north = world.sites["north"]
    client = world.fleet(north, north)
    client._client.close()
    client._client = make_http_client(HOST, world.port, world.make_context(north), 20.0)
    key = convert_node_key_to_pem(format_node_key(load_node_key(north.node_key)))
    # Flower checks the interval of a key that it knows, and refuses this one whether the site is online or not.
    with pytest.raises(httpx.HTTPStatusError) as raised:
        client.ActivateNode(ActivateNodeRequest(public_key=key, heartbeat_interval=0))
    answer = FlowerError.from_json(raised.value.response.text)
    assert answer is not None
    assert answer.code == ApiErrorCode.FLEET_INVALID_HEARTBEAT_INTERVAL
    control = ControlClient.remote(world.address, world.tls.ca.read_bytes(), Credential(*north.pair))
    try:
        echo = control._channel.unary_unary("/consilium.v1.Control/Echo")
        assert echo(b"hello", timeout=20).startswith(b"gateway|5|")
    finally:
        control.close()


def count_tunnels(log: list[str], world: GatewayWorld) -> int:
    return sum(f"CONNECT {world.address}" in line for line in log)


def test_both_planes_go_through_the_proxy_of_the_environment(
    world: GatewayWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tinyproxy(tmp_path) as (at, log):
        monkeypatch.setenv("HTTPS_PROXY", f"http://{at}")
        call_both(world)
        wait_for("two tunnels in the log", lambda: count_tunnels(log, world) >= 2)


def test_no_proxy_of_the_environment_is_honoured(
    world: GatewayWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tinyproxy(tmp_path) as (at, log):
        monkeypatch.setenv("HTTPS_PROXY", f"http://{at}")
        monkeypatch.setenv("NO_PROXY", f"example.org,{HOST}/32")
        call_both(world)
    assert not count_tunnels(log, world)


def test_proxy_of_site_yaml_with_a_password_is_used(
    world: GatewayWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")  # the environment's does not count
    secret = tmp_path / "password"
    secret.touch(mode=0o600)
    secret.write_text("s3cret.Word-1\n")
    with tinyproxy(tmp_path, "BasicAuth ada s3cret.Word-1") as (at, log):
        use_proxy(ProxyConfig(url=f"http://{at}", user="ada", password_file=str(secret)))
        call_both(world)
        wait_for("two tunnels in the log", lambda: count_tunnels(log, world) >= 2)


def test_no_proxy_of_site_yaml_is_honoured(world: GatewayWorld, tmp_path: Path) -> None:
    with tinyproxy(tmp_path) as (at, log):
        use_proxy(ProxyConfig(url=f"http://{at}", no_proxy=(HOST,)))
        call_both(world)
    assert not count_tunnels(log, world)


@pytest.mark.parametrize("password", [None, "wr0ng"])
def test_proxy_that_refuses_the_password_is_named_without_it(
    world: GatewayWorld, tmp_path: Path, password: str | None
) -> None:
    secret = tmp_path / "password"
    secret.touch(mode=0o600)
    secret.write_text(password or "x")
    with tinyproxy(tmp_path, "BasicAuth ada s3cret") as (at, _):
        user, file = ("ada", str(secret)) if password else ("", "")
        use_proxy(ProxyConfig(url=f"http://{at}", user=user, password_file=file))
        client = make_http_client(HOST, world.port, world.make_context(world.sites["north"]), 20.0)
        with client, pytest.raises(httpx.ProxyError, match=r"40[17]"):
            client.get(f"https://{world.address}/health")
        control = ControlClient.remote(world.address, world.tls.ca.read_bytes())
        with pytest.raises(NotRunningError) as raised:
            control.call("Join", token="x" * 43, request={})
        control.close()
    assert f"cannot be reached through the proxy {at}" in str(raised.value)
    assert "wr0ng" not in str(raised.value)


def test_proxy_that_forbids_the_port_is_not_taken_for_the_coordinator(world: GatewayWorld, tmp_path: Path) -> None:
    with tinyproxy(tmp_path, "ConnectPort 443") as (at, _):
        use_proxy(ProxyConfig(url=f"http://{at}"))
        client = make_http_client(HOST, world.port, world.make_context(None), 20.0)
        with client, pytest.raises(httpx.ProxyError, match="403"):
            client.get(f"https://{world.address}/health")


def test_inspection_is_named_with_the_issuer_behind_a_proxy(world: GatewayWorld, tmp_path: Path) -> None:
    """Another authority's certificate for the right address, as an inspecting proxy makes one."""
    inspecting = create_authority(tmp_path, "Hospital inspection")
    issue_server_certificate(inspecting, [HOST])
    with served(inspecting) as shown, tinyproxy(tmp_path) as (at, _):
        use_proxy(ProxyConfig(url=f"http://{at}", no_proxy=()))
        sentence = explain_refusal(shown, world.tls.ca)
    assert "but by 'CN=Hospital inspection Consilium authority'" in sentence
