"""What a caller makes of the errors with which a coordinator, or whoever stands in its place, ends a call."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.connection.message_listener import MessageListener
from privacy.control.calls import CALLS
from privacy.control.channel import ControlClient, _read_error, make_socket_address
from privacy.errors import CoordinatorError, Error, FederationError
from tests.loopback import wait_for

ODD = ["", "{}", "[]", "1", "null", "no JSON", '{"exit_code": [], "sentence": "x"}', '{"exit_code": 2}', "[" * 5000]
UNREADABLE = "ended the call with an error that cannot be read"


class Refusing:
    """A server that ends every call with the details of the test, a stream after one answer."""

    def __init__(self, address: str) -> None:
        self.details, self.calls = "", 0
        self._server = grpc.server(ThreadPoolExecutor(4))
        for name, method in (
            ("Renew", grpc.unary_unary_rpc_method_handler(self._refuse)),
            ("AwaitMessages", grpc.unary_stream_rpc_method_handler(self._stream)),
        ):
            handler = grpc.method_handlers_generic_handler(CALLS[name].service, {name: method})
            self._server.add_generic_rpc_handlers((handler,))
        self._server.add_insecure_port(address)
        self._server.start()

    def stop(self) -> None:
        self._server.stop(0).wait()

    def _refuse(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        self.calls += 1
        context.abort(grpc.StatusCode.ABORTED, self.details)
        return b""  # abort raises

    def _stream(self, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        yield b""
        self._refuse(request, context)


@pytest.fixture
def refusing(tmp_path: Path) -> Iterator[Refusing]:
    server = Refusing(make_socket_address(tmp_path))
    yield server
    server.stop()


@pytest.mark.parametrize("details", ODD)
def test_call_that_ends_with_an_odd_error_is_an_expected_error(
    refusing: Refusing, tmp_path: Path, details: str
) -> None:
    refusing.details = details
    client = ControlClient.local(tmp_path)
    with pytest.raises(CoordinatorError, match=UNREADABLE):
        client.call("Renew", signing_request="")
    with pytest.raises(CoordinatorError, match=UNREADABLE):
        list(client.stream("AwaitMessages"))
    client.close()


def test_error_of_the_coordinator_is_raised_as_the_same_error(refusing: Refusing, tmp_path: Path) -> None:
    refusing.details = f'{{"exit_code": {FederationError.exit_code}, "sentence": "no such site"}}'
    client = ControlClient.local(tmp_path)
    with pytest.raises(FederationError, match="no such site"):
        client.call("Renew", signing_request="")
    client.close()


@given(st.text(max_size=200) | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(str))
def test_any_text_is_read_as_an_expected_error(details: str) -> None:
    assert isinstance(_read_error(details), Error)


def test_listener_goes_on_after_an_odd_error(refusing: Refusing, tmp_path: Path) -> None:
    """A thread that ends here would leave the agent waiting for messages that nobody looks for."""
    refusing.details, stop = "{}", threading.Event()
    listener = MessageListener(lambda: ControlClient.local(tmp_path), stop)
    wait_for("a second stream", lambda: refusing.calls >= 2)
    assert listener._thread.is_alive()
    wait_for("the end of the stream", lambda: not listener.listening)
    stop.set()
    listener.close()
    assert not listener._thread.is_alive()
