"""Waiting for an admission, from a real gRPC server over TLS that has too many calls."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc

from privacy.client_certificate import Role
from privacy.control.calls import CALLS
from privacy.control.flat_messages import to_message
from privacy.control.joining import collect_admission
from privacy.errors import SiteConfigError
from server.federation.config import CoordinatorConfig
from server.federation.folder import Federation
from server.federation.members import Members
from server.superlink.process import find_free_port
from tests.server.federation.test_members import answer


def test_who_waits_for_an_admission_goes_on_after_too_many_calls(tmp_path: Path) -> None:
    port = find_free_port()
    config = CoordinatorConfig(federation="wood", host="localhost", port=port, gateway=True, control_port=port)
    federation = Federation.create(tmp_path / "wood", config)
    invitation = Members(federation).invite("ash", Role.SITE, "", 1)
    request = answer(invitation, tmp_path / "ash").statement
    asked: list[bytes] = []

    def collect(data: bytes, context: grpc.ServicerContext) -> bytes:
        asked.append(data)
        if len(asked) == 1:
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many calls; try again in a few seconds")
        waiting: bytes = to_message(CALLS["Collect"].answer, {"state": "waiting"}).SerializeToString()
        return waiting

    handlers = {"Collect": grpc.unary_unary_rpc_method_handler(collect)}
    server = grpc.server(ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(CALLS["Collect"].service, handlers),))
    pair = federation.tls.key.read_bytes(), federation.tls.certificate.read_bytes()
    server.add_secure_port(f"localhost:{port}", grpc.ssl_server_credentials([pair]))
    server.start()
    told: list[str] = []
    try:
        assert collect_admission(invitation, request, 3.0, SiteConfigError, told.append) is None
    finally:
        server.stop(0).wait()
    assert len(asked) == 2
    assert told == ["the coordinator has too many calls at once; try again in a minute; trying again"]
