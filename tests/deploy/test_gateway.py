"""What the gateway publishes, and what it refuses: each shown with a real client at a real nginx."""

import contextlib
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import httpx
import pytest
from flwr.proto.fleet_pb2 import ActivateNodeRequest, PullMessagesRequest
from flwr.proto.node_pb2 import Node
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

from privacy.client_certificate import Role
from privacy.control.channel import MAX_MESSAGE_BYTES
from privacy.keys import convert_node_key_to_pem, format_node_key, load_node_key
from server.federation.certificates import create_authority
from server.superlink.gate import MAX_REQUEST_BYTES, SECRET_FILE, SECRET_HEADER
from tests.deploy.gateway import GatewayWorld, Party, ask_openssl, find_missing
from tests.deploy.line import Line
from tests.loopback import PATIENCE_S, wait_for

MISSING = find_missing("nginx", "openssl")
pytestmark = [pytest.mark.skipif(bool(MISSING), reason=MISSING), pytest.mark.federation]


@pytest.fixture(scope="module")
def world() -> Iterator[GatewayWorld]:
    with tempfile.TemporaryDirectory(prefix="gate-", ignore_cleanup_errors=True) as name:
        world = GatewayWorld(Path(name))
        yield world
        world.close()


def activation(party: Party) -> ActivateNodeRequest:
    key = convert_node_key_to_pem(format_node_key(load_node_key(party.node_key)))
    return ActivateNodeRequest(public_key=key, heartbeat_interval=10)


def get_status(error: pytest.ExceptionInfo[httpx.HTTPStatusError]) -> int:
    return error.value.response.status_code


# --- what is published ---


def test_site_with_its_certificate_and_node_key_is_served(world: GatewayWorld) -> None:
    north = world.sites["north"]
    client = world.fleet(north, north)
    node = Node(node_id=client.ActivateNode(activation(north)).node_id)
    assert not client.PullMessages(PullMessagesRequest(node=node)).messages_list


def test_health_answers_without_a_certificate(world: GatewayWorld) -> None:
    with world.client() as client:
        assert client.get("/health").status_code == 200
        assert client.post("/health", content=b"x").status_code == 403


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/docs",
        "/openapi.json",
        "/v1/control/list-runs",
        "/v1/runtime/pull-object",
        "/v1/fleet/register-node",
        "/v1/fleet/get-fab",
        "/v1/fleet/",
        "/v1/fleet/pull-messages/",
        "/v1/fleet/../control/list-runs",
        "/v1/fleet/%2e%2e/control/list-runs",
        "/v1/fleet/..%2fcontrol/list-runs",
        "//v1/control/list-runs",
        "/V1/fleet/../control/list-runs",
        "/consilium.v1.Other/Echo",
        "/grpc.health.v1.Health/Check",
    ],
)
def test_everything_else_is_not_found_even_for_a_member(world: GatewayWorld, path: str) -> None:
    context = world.make_context(world.sites["north"])
    request = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    with (
        socket.create_connection(("localhost", world.port)) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        secure.sendall(request.encode())
        assert secure.recv(4096).split(b" ")[1] == b"404"


def test_other_host_name_is_not_found(world: GatewayWorld) -> None:
    with world.client(world.sites["north"]) as client:
        for host in ("other.example", "localhost.other.example", ""):
            assert client.get("/health", headers={"Host": host}).status_code in (400, 404)


def test_control_api_of_flower_is_refused_from_another_address_by_the_service_itself(world: GatewayWorld) -> None:
    """If a gateway published everything, it would still not be reached."""
    with httpx.Client(verify=world.make_context(None), trust_env=False) as client:
        url = f"https://localhost:{world.superlink.port}"
        elsewhere = {"X-Forwarded-For": "192.0.2.7"}  # as a gateway on this machine reports a caller
        ours = {SECRET_HEADER: (world.superlink.folder / SECRET_FILE).read_text()}
        assert client.post(f"{url}/v1/control/list-runs", content=b"", headers=ours).status_code != 404
        assert client.post(f"{url}/v1/control/list-runs", content=b"", headers=ours | elsewhere).status_code == 404
        assert client.post(f"{url}/v1/control/list-runs", content=b"").status_code == 404
        assert client.get(f"{url}/health", headers=elsewhere).status_code == 200


# --- TLS ---


@pytest.mark.parametrize("version", ["-tls1", "-tls1_1", "-tls1_2"])
def test_older_tls_is_refused(world: GatewayWorld, version: str) -> None:
    found = ask_openssl(world.address, version, "-CAfile", str(world.tls.ca))
    assert found.returncode != 0
    assert "Cipher is (NONE)" in found.stdout


def test_tls_1_3_is_spoken_and_no_session_is_resumed(world: GatewayWorld) -> None:
    session = world.folder / "session"
    first = ask_openssl(world.address, "-CAfile", str(world.tls.ca), "-sess_out", str(session))
    assert "TLSv1.3" in first.stdout
    assert "Verify return code: 0" in first.stdout
    assert not session.exists() or "Reused" not in ask_openssl(world.address, "-sess_in", str(session)).stdout


def test_plain_http_is_refused(world: GatewayWorld) -> None:
    with httpx.Client(trust_env=False) as client:
        assert client.get(f"http://{world.address}/health").status_code == 400


# --- who is refused ---


def test_fleet_call_without_a_certificate_is_refused(world: GatewayWorld) -> None:
    with world.client() as client:
        answer = client.post("/v1/fleet/pull-messages", content=b"")
    assert answer.status_code == 400
    assert "needs the certificate of a site" in answer.text


def test_certificate_of_another_authority_is_refused(world: GatewayWorld) -> None:
    (world.folder / "other-ca").mkdir()
    files = create_authority(world.folder / "other-ca", "wood")
    stranger = world.make_party("north", files=files)
    with pytest.raises(httpx.HTTPStatusError) as raised:
        world.fleet(stranger, stranger).ActivateNode(activation(stranger))
    assert get_status(raised) == 400
    assert "does not accept this certificate" in raised.value.response.text


def test_certificate_out_of_its_time_is_refused(world: GatewayWorld) -> None:
    late = world.make_party("late", now=datetime.now(UTC) - timedelta(days=91))
    with world.client(late) as client:
        assert client.post("/v1/fleet/pull-messages", content=b"").status_code == 400


def test_node_that_is_not_registered_is_refused(world: GatewayWorld) -> None:
    """Its certificate is the authority's, and nobody has enrolled it."""
    stranger = world.make_party("stranger")
    with pytest.raises(httpx.HTTPStatusError) as raised:
        world.fleet(stranger, stranger).ActivateNode(activation(stranger))
    assert get_status(raised) == 401


def test_operators_certificate_is_no_sites(world: GatewayWorld) -> None:
    operator = world.make_party("ada", Role.OPERATOR)
    with pytest.raises(httpx.HTTPStatusError) as raised:
        world.fleet(operator, world.sites["north"]).ActivateNode(activation(world.sites["north"]))
    assert get_status(raised) == 401


def test_node_key_of_another_site_is_refused(world: GatewayWorld) -> None:
    north, south = world.sites["north"], world.sites["south"]
    with pytest.raises(httpx.HTTPStatusError) as raised:
        world.fleet(south, north).ActivateNode(activation(north))
    assert get_status(raised) == 401


def test_earlier_certificate_of_a_site_is_refused_by_the_service(world: GatewayWorld) -> None:
    """It is the authority's and in time, and not the one that the site's entry lists."""
    earlier = world.make_party("south2")
    with pytest.raises(httpx.HTTPStatusError) as raised:
        world.fleet(earlier, world.sites["south"]).ActivateNode(activation(world.sites["south"]))
    assert get_status(raised) == 401


class Recorder:
    """Keep the headers and body of the last request, as somebody who reads a broken connection."""

    def __init__(self) -> None:
        self.request: httpx.Request | None = None

    def intercept(self, context: object, call_next: object) -> httpx.Response:
        self.request = context.request  # type: ignore[attr-defined]
        return call_next(context)  # type: ignore[operator, no-any-return]


def test_replayed_request_is_refused_from_everybody(world: GatewayWorld) -> None:
    north, south = world.sites["north"], world.sites["south"]
    recorder = Recorder()
    client = world.fleet(north, north, recorder)
    with pytest.raises(httpx.HTTPStatusError):  # another node than the key's: it is signed, and has no effect
        client.PullMessages(PullMessagesRequest(node=Node(node_id=7)))
    assert recorder.request is not None
    headers = {name: value for name, value in recorder.request.headers.items() if name != "host"}
    for party in (north, south):
        with world.client(party) as other:
            again = other.post(recorder.request.url.path, content=recorder.request.content, headers=headers)
            assert again.status_code == 401


def test_replayed_signature_is_refused_in_its_other_form_and_with_another_body(world: GatewayWorld) -> None:
    """(r, n - s) is also a signature, and Flower's covers the time alone."""
    import base64

    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

    order = int(
        "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973", 16
    )
    north = world.sites["north"]
    recorder = Recorder()
    client = world.fleet(north, north, recorder)
    with pytest.raises(httpx.HTTPStatusError):
        client.PullMessages(PullMessagesRequest(node=Node(node_id=7)))
    assert recorder.request is not None
    headers = {name: value for name, value in recorder.request.headers.items() if name.startswith("flwr-")}
    r, s = decode_dss_signature(base64.b64decode(headers["flwr-signature"]))
    headers["flwr-signature"] = base64.b64encode(encode_dss_signature(r, order - s)).decode()
    with world.client(north) as other:
        body = activation(north).SerializeToString()
        answer = other.post("/v1/fleet/activate-node", content=body, headers=headers)
    assert answer.status_code == 401


def test_recorded_request_before_ones_own_signature_is_refused(world: GatewayWorld) -> None:
    """South sends north's recorded headers first, for Flower to read, and its own after them, for the check."""
    north, south = world.sites["north"], world.sites["south"]
    recorded = []
    for party in (north, south):
        key = load_node_key(party.node_key)
        context = SimpleNamespace(request=httpx.Request("POST", "https://localhost"))
        signer: Any = NodeAuthHttpInterceptor(key, key.public_key())
        signer.intercept(context, lambda _: httpx.Response(200))
        recorded += [(name, value) for name, value in context.request.headers.items() if name.startswith("flwr-")]
    with world.client(south) as client:
        answer = client.post(
            "/v1/fleet/activate-node", content=activation(north).SerializeToString(), headers=recorded
        )
    assert answer.status_code == 401


def test_forged_certificate_header_is_replaced(world: GatewayWorld) -> None:
    """South claims to be north, in every spelling of the header that a client can send."""
    north, south = world.sites["north"], world.sites["south"]
    claim = north.pair[1].decode().replace("\n", "%0A").replace(" ", "%20")

    class Claim:
        def intercept(self, context: object, call_next: object) -> httpx.Response:
            for name in ("consilium-client-certificate", "Consilium-Client-Certificate"):
                context.request.headers[name] = claim  # type: ignore[attr-defined]
            context.request.headers["consilium_client_certificate"] = claim  # type: ignore[attr-defined]
            return call_next(context)  # type: ignore[operator, no-any-return]

    with pytest.raises(httpx.HTTPStatusError) as raised:
        world.fleet(south, north, Claim()).ActivateNode(activation(north))
    assert get_status(raised) == 401


def test_request_past_the_gateway_without_a_certificate_is_refused(world: GatewayWorld) -> None:
    with httpx.Client(verify=world.make_context(None), trust_env=False) as plain:
        answer = plain.post(f"https://localhost:{world.superlink.port}/v1/fleet/activate-node", content=b"")
    assert answer.status_code == 401


# --- the control plane ---


def test_control_needs_a_certificate_and_enrolment_none(world: GatewayWorld) -> None:
    with world.channel() as nobody:
        assert nobody.unary_unary("/consilium.v1.Enrolment/Echo")(b"hello") == b"gateway|5|"
        with pytest.raises(grpc.RpcError) as raised:
            nobody.unary_unary("/consilium.v1.Control/Echo")(b"hello")
    assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert raised.value.details() == "the gateway does not accept the certificate"


def test_callers_certificate_is_relayed_and_cannot_be_forged(world: GatewayWorld) -> None:
    north, south = world.sites["north"], world.sites["south"]
    forged = (("consilium-client-certificate", north.pair[1].decode().replace("\n", "%0A")),)
    with world.channel(south) as channel:
        answer = channel.unary_unary("/consilium.v1.Control/Echo")(b"", metadata=forged).decode()
    from urllib.parse import unquote

    assert unquote(answer.split("|")[2]) == south.pair[1].decode()
    with world.channel() as nobody:
        assert nobody.unary_unary("/consilium.v1.Enrolment/Echo")(b"", metadata=forged) == b"gateway|0|"


def test_unknown_service_is_refused(world: GatewayWorld) -> None:
    with world.channel(world.sites["north"]) as channel:
        for path in ("/consilium.v1.Other/Echo", "/grpc.health.v1.Health/Check"):
            with pytest.raises(grpc.RpcError) as raised:
                channel.unary_unary(path)(b"")
            assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED


# --- limits ---


def test_oversized_body_of_a_fleet_call_is_refused_and_the_largest_passes(world: GatewayWorld) -> None:
    north = world.sites["north"]
    with world.client(north) as client:
        too_much = client.post("/v1/fleet/push-object", content=bytes(MAX_REQUEST_BYTES + 1))
        unstated = client.post("/v1/fleet/push-object", content=iter([bytes(1 << 20)] * 5))
        largest = client.post("/v1/fleet/push-object", content=bytes(MAX_REQUEST_BYTES))
        elsewhere = client.request("GET", "/health", content=bytes(5000))
    assert [too_much.status_code, unstated.status_code, elsewhere.status_code] == [413, 413, 413]
    assert largest.status_code == 401  # it reached the service, and is not signed


def test_oversized_call_of_the_control_plane_is_refused_and_the_largest_passes(world: GatewayWorld) -> None:
    with world.channel(world.sites["north"]) as channel:
        echo = channel.unary_unary("/consilium.v1.Control/Echo")
        assert echo(bytes(MAX_MESSAGE_BYTES)).startswith(b"gateway|4194304|")
        with pytest.raises(grpc.RpcError):
            echo(bytes(MAX_MESSAGE_BYTES + (1 << 18)))
    with world.channel() as nobody, pytest.raises(grpc.RpcError):
        nobody.unary_unary("/consilium.v1.Enrolment/Echo")(bytes(1 << 17))


def test_site_sends_two_mib_before_it_hears_from_the_gateway(world: GatewayWorld) -> None:
    """So that a distant hospital's upload does not wait for a round trip after every few parts."""
    line, part = Line(world.port), bytes(1 << 16)
    held = threading.Event()

    def make_parts() -> Iterator[bytes]:
        yield part
        held.wait(PATIENCE_S)
        for _ in range(63):
            yield part

    with contextlib.closing(line), world.channel(world.sites["north"], line.port) as channel:
        upload = channel.stream_unary("/consilium.v1.Transfer/Upload").future(make_parts())
        assert world.control.receiving.get(timeout=PATIENCE_S) == part
        time.sleep(0.5)  # what the gateway allowed with the first part has come
        line.clear.clear()
        before = line.sent
        held.set()
        wait_for("the upload to go on without an answer", lambda: line.sent - before > 1_900_000)
        line.clear.set()
        assert upload.result(PATIENCE_S) == b"4194304"


def test_fifth_transfer_of_a_site_is_refused_and_another_site_is_served(world: GatewayWorld) -> None:
    ended = threading.Event()

    def make_parts() -> Iterator[bytes]:
        yield b"part"
        ended.wait(PATIENCE_S)

    north, south = world.sites["north"], world.sites["south"]
    with world.channel(north) as channel, world.channel(south) as other:
        upload, elsewhere = (each.stream_unary("/consilium.v1.Transfer/Upload") for each in (channel, other))
        held = [upload.future(make_parts()) for _ in range(4)]
        for _ in held:
            assert world.control.receiving.get(timeout=PATIENCE_S) == b"part"
        with pytest.raises(grpc.RpcError) as raised:
            upload(iter([b"part"]))
        assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert elsewhere(iter([b"part"])) == b"4"
        ended.set()
        assert [each.result(PATIENCE_S) for each in held] == [b"4"] * 4
        world.control.receiving.get(timeout=PATIENCE_S)


def test_header_that_is_too_large_is_refused(world: GatewayWorld) -> None:
    with world.client() as client:
        assert client.get("/health", headers={"X-Long": "a" * 40000}).status_code in (400, 431, 494)


def count_refused_connections(world: GatewayWorld, count: int) -> int:
    """Open connections that announce a body and send none; how many of them are answered with 503."""
    context = world.make_context(world.sites["north"])
    head = b"POST /v1/fleet/push-object HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n"
    with contextlib.ExitStack() as stack:
        refused = 0
        for _ in range(count):
            plain = stack.enter_context(socket.create_connection(("localhost", world.port)))
            secure = stack.enter_context(context.wrap_socket(plain, server_hostname="localhost"))
            secure.sendall(head)
            secure.settimeout(1.0)
            with contextlib.suppress(TimeoutError):
                refused += secure.recv(100).split(b" ")[1] == b"503"
    return refused


def test_connections_and_calls_of_one_address_are_limited() -> None:
    with tempfile.TemporaryDirectory(prefix="gate-", ignore_cleanup_errors=True) as name:
        limits = {
            "CONSILIUM_CONNECTIONS": "3",
            "CONSILIUM_ENROLMENT_RATE": "1",
            "CONSILIUM_ENROLMENT_BURST": "3",
        }
        world = GatewayWorld(Path(name), **limits)
        try:
            with world.channel() as nobody:
                echo = nobody.unary_unary("/consilium.v1.Enrolment/Echo")
                codes = []
                for _ in range(8):
                    try:
                        echo(b"")
                    except grpc.RpcError as error:
                        codes.append(error.code())
            assert codes
            assert set(codes) == {grpc.StatusCode.RESOURCE_EXHAUSTED}
            assert count_refused_connections(world, 6) == 3
        finally:
            world.close()


# --- changes while it runs ---


def test_revoked_site_is_refused_at_once_and_at_the_gateway_within_seconds(world: GatewayWorld) -> None:
    west = world.make_party("west")
    world.enrol(*world.sites.values(), west)
    registered = world.federation.read_sites()["west"].node_key
    world.superlink.control.register_node(registered)
    client = world.fleet(west, west)
    node = Node(node_id=client.ActivateNode(activation(west)).node_id)
    with world.channel(west) as channel:
        stream = channel.unary_stream("/consilium.v1.Control/Watch")(b"")
        assert next(stream) == b"beat"

        world.enrol(*world.sites.values(), revoked=(west,))
        with pytest.raises(httpx.HTTPStatusError) as raised:  # by the service, on the same connection
            client.PullMessages(PullMessagesRequest(node=node))
        assert get_status(raised) in (400, 401)

        def is_refused() -> bool:
            with world.client(west) as again:
                return "does not accept this certificate" in again.post("/v1/fleet/pull-messages").text

        wait_for("the gateway to take the new list", is_refused)
        with pytest.raises(grpc.RpcError):  # the open stream ends with its worker
            for _ in stream:
                pass
    north = world.sites["north"]
    with pytest.raises(httpx.HTTPStatusError) as raised:  # the others go on: this is the coordinator's own answer
        world.fleet(north, north).PullMessages(PullMessagesRequest(node=Node(node_id=7)))
    assert get_status(raised) == 401


def test_files_that_do_not_belong_together_are_not_used_and_the_gateway_goes_on(world: GatewayWorld) -> None:
    certificate = world.federation.folder / "gateway" / "gateway.crt"
    kept = certificate.read_bytes()
    certificate.write_bytes(world.tls.certificate.read_bytes())
    wait_for("the gateway to say so", lambda: any("not used yet" in line for line in world.said))
    with world.client() as client:
        assert client.get("/health").status_code == 200
    certificate.write_bytes(kept)
    time.sleep(2.5)
    with world.client() as client:
        assert client.get("/health").status_code == 200


def test_template_publishes_the_calls_that_a_site_makes() -> None:
    import re

    template = (Path(__file__).parents[2] / "deploy/gateway/nginx.conf.template").read_text()
    (listed,) = re.findall(r"\?<call>([a-z|-]+)\)", template)
    source = (Path(__file__).parents[2] / "client/connection/link.py").read_text()
    called = {re.sub(r"(?<!^)([A-Z])", r"-\1", name).lower() for name in re.findall(r"client\.([A-Z]\w+)", source)}
    assert set(listed.split("|")) == called
