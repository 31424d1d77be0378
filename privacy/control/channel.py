"""Make calls of the control plane: to the coordinator's Unix socket, or through the gateway with mutual TLS.

* Through the gateway only the federation's authority is trusted, and a proxy is used where ``privacy/proxy.py`` says
  so. Calls that change something are signed (``privacy/control/order.py``).
* An expected error comes as its exit code and sentence, and is raised as the same error.
* A call that is not answered within its deadline, or finds nobody, raises :class:`NotRunningError`.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc

from privacy.address import join_address, split_address
from privacy.client_certificate import Credential
from privacy.control.calls import CALLS
from privacy.control.flat_messages import parse_message, to_fields, to_message
from privacy.control.order import ORDER_METADATA, sign_order
from privacy.document import Document, parse
from privacy.errors import CoordinatorError, Error, FederationError, RefusedCallError
from privacy.keys import SigningKey
from privacy.proxy import find_proxy

MAX_MESSAGE_BYTES: Final = 4 << 20
CALL_S: Final = 60.0
_LONGEST_SOCKET: Final = 100  # characters; Linux allows 107 bytes (unix(7))
_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
)

Fields = dict[str, Any]


class NotRunningError(FederationError):
    """The coordinator does not run, or cannot be reached."""


class BrokenCallError(CoordinatorError):
    """A call was cut, or failed at the coordinator for a reason that its log says."""


@dataclass(frozen=True)
class Caller:
    """Who calls, and the identity key that signs what changes something."""

    federation: str
    name: str
    key: SigningKey


def make_socket_address(folder: Path) -> str:
    """Return the address of the socket at which the coordinator of ``folder`` listens.

    Raises:
        FederationError: the path is longer than a socket's name may be.
    """
    path = folder.resolve() / "control.sock"
    if len(str(path)) > _LONGEST_SOCKET:
        raise FederationError(
            f"{folder}: the path has {len(str(path))} characters, a socket's at most {_LONGEST_SOCKET}; "
            "move the federation to a folder with a shorter path"
        )
    return f"unix:{path}"


class ControlClient:
    """Make calls of the control plane. Use :meth:`local` or :meth:`remote`.

    Args:
        channel: to the coordinator.
        absent: the sentence for a coordinator that does not answer.
        caller: signs the calls that change something; None over the Unix socket.
    """

    def __init__(self, channel: grpc.Channel, absent: str, caller: Caller | None) -> None:
        self._channel = channel
        self._absent = absent
        self._caller = caller

    @classmethod
    def local(cls, folder: Path) -> "ControlClient":
        """Make the client of the coordinator whose federation's folder is ``folder``.

        Raises:
            FederationError: the folder's path is too long for a socket.
        """
        channel = grpc.insecure_channel(make_socket_address(folder), [("grpc.enable_http_proxy", 0), *_OPTIONS])
        return cls(channel, f"{folder}: the coordinator does not run; start it with: consilium up", None)

    @classmethod
    def remote(
        cls, address: str, authority: bytes, credential: Credential | None = None, caller: Caller | None = None
    ) -> "ControlClient":
        """Make the client of the coordinator behind the gateway at ``address``.

        Args:
            address: ``host:port`` of the gateway.
            authority: the federation's authority certificate, PEM.
            credential: the caller's TLS key and certificate; None where an invitation is all there is.
            caller: signs the calls that change something.

        Raises:
            LinkError: the environment names a proxy that cannot be used.
        """
        host, port = split_address(address)
        proxy = find_proxy(host, port)
        options: list[tuple[str, str | int]] = [("grpc.enable_http_proxy", int(proxy is not None)), *_OPTIONS]
        if proxy is not None:
            options.append(("grpc.http_proxy", proxy.url))
        key, certificate = (credential.key, credential.certificate) if credential else (None, None)
        channel = grpc.secure_channel(
            f"dns:{join_address(host, port)}", grpc.ssl_channel_credentials(authority, key, certificate), options
        )
        way = f" through the proxy {proxy.name}" if proxy else ""
        return cls(channel, f"the coordinator at {address} cannot be reached{way}", caller)

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def call(self, name: str, /, **arguments: Any) -> Fields:
        """Call ``name`` and return its answer.

        Raises:
            Error: the error with which the coordinator answered.
            NotRunningError: the coordinator cannot be reached.
        """
        method = self._channel.unary_unary(_make_path(name))
        request = to_message(CALLS[name].request, arguments).SerializeToString()
        try:
            answer: bytes = method(request, timeout=CALL_S, metadata=self._sign(name, request))
        except grpc.RpcError as error:
            raise self._translate_error(error) from None
        return to_fields(parse_message(CALLS[name].answer, answer))

    def stream(self, name: str, /, **arguments: Any) -> Iterator[Fields]:
        """Yield the answers of the stream ``name``.

        Raises:
            Error: as :meth:`call`.
        """
        method = self._channel.unary_stream(_make_path(name))
        request = to_message(CALLS[name].request, arguments).SerializeToString()
        try:
            for answer in method(request, metadata=self._sign(name, request)):
                yield to_fields(parse_message(CALLS[name].answer, answer))
        except grpc.RpcError as error:
            raise self._translate_error(error) from None

    def send(self, name: str, items: Iterable[Fields], /) -> Fields:
        """Make the call ``name`` with a stream of requests, and return its answer.

        Raises:
            Error: as :meth:`call`.
        """
        return self.begin_sending(name, items)()

    def begin_sending(self, name: str, items: Iterable[Fields], /) -> Callable[[], Fields]:
        """Begin the call ``name`` with a stream of requests, and return what waits for its answer.

        The requests are taken from ``items`` by another thread, as the coordinator takes them. What waits raises as
        :meth:`call`.
        """
        method = self._channel.stream_unary(_make_path(name))
        call = method.future(to_message(CALLS[name].request, each).SerializeToString() for each in items)

        def wait_for_answer() -> Fields:
            try:
                answer: bytes = call.result()
            except grpc.RpcError as error:
                raise self._translate_error(error) from None
            except grpc.FutureCancelledError:
                raise BrokenCallError("the call was cancelled; a later one has taken its place") from None
            return to_fields(parse_message(CALLS[name].answer, answer))

        return wait_for_answer

    def _sign(self, name: str, request: bytes) -> tuple[tuple[str, bytes], ...]:
        if self._caller is None or not CALLS[name].changes:
            return ()
        order = sign_order(self._caller.key, self._caller.federation, self._caller.name, name, request)
        return ((ORDER_METADATA, order),)

    def _translate_error(self, error: grpc.RpcError) -> Error:
        match error.code():
            case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.DEADLINE_EXCEEDED:
                return NotRunningError(f"{self._absent}{_explain(error.details() or '')}")
            case grpc.StatusCode.ABORTED:
                return _read_error(error.details() or "")
            case grpc.StatusCode.UNAUTHENTICATED | grpc.StatusCode.PERMISSION_DENIED:
                return RefusedCallError(
                    "the gateway does not accept this installation's certificate: it was removed from the federation, "
                    "or the certificate ran out; ask the coordinator's operator"
                )
            case grpc.StatusCode.RESOURCE_EXHAUSTED:
                return NotRunningError("the coordinator has too many calls at once; try again in a minute")
            case code:
                return BrokenCallError(f"the coordinator failed ({code.name}); its log says why")


def _make_path(name: str) -> str:
    return f"/{CALLS[name].service}/{name}"


class _Answer(Document):
    """The expected error with which a call ended."""

    exit_code: int
    sentence: str


def _read_error(details: str) -> Error:
    """Read the expected error with which the coordinator answered; a gateway on the way may have written anything."""
    try:
        answer = parse(json.loads(details), _Answer, CoordinatorError, "it")
    except (ValueError, RecursionError, CoordinatorError):
        return CoordinatorError(
            "the coordinator ended the call with an error that cannot be read; is the coordinator, or the gateway, of "
            "another version?"
        )
    return _list_error_kinds().get(answer.exit_code, CoordinatorError)(answer.sentence)


def _explain(details: str) -> str:
    """Explain gRPC's words for a connection that failed, as far as they tell something."""
    if "CERTIFICATE_VERIFY_FAILED" in details or "certificate verify failed" in details:
        return (
            ": its certificate is not of the federation's authority for this address; does a proxy on the way inspect "
            "TLS? It must let this address pass unopened"
        )
    if "HTTP proxy returned response code" in details:
        return ": " + details[details.index("HTTP proxy returned") :].split(";")[0][:80]
    return ""


def _list_error_kinds() -> dict[int, type[Error]]:
    kinds: dict[int, type[Error]] = {}
    waiting: list[type[Error]] = [Error]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        # Only errors that a sentence alone can build; those of this module are raised here, and never sent.
        if kind.__init__ is Error.__init__ and kind not in (NotRunningError, BrokenCallError):
            kinds[kind.exit_code] = kind
    return kinds
