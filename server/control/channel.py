"""The coordinator's door for its own operator: gRPC over a socket in the federation's folder.

Only who may enter the folder (mode 0700) reaches it. Calls take and give one JSON document each; ``watch`` streams
notes. An expected failure crosses as its sentence and exit code.
"""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import grpc

from privacy.errors import CoordinatorError, Error, FederationError

SERVICE: Final = "consilium.Control"
_LONGEST_SOCKET: Final = 100
_WATCHERS: Final = 16

Document = dict[str, Any]
Call = Callable[[Document], Document]
Stream = Callable[[Document], Iterator[Document]]


class NotRunningError(FederationError):
    """The coordinator does not run, so nobody answers."""


def socket_address(folder: Path) -> str:
    """Where the coordinator of ``folder`` listens.

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


class ControlServer:
    """Serves ``calls`` and ``streams`` by name until closed."""

    def __init__(self, folder: Path, calls: dict[str, Call], streams: dict[str, Stream]) -> None:
        address = socket_address(folder)
        Path(address.removeprefix("unix:")).unlink(missing_ok=True)
        handlers = {name: _unary(call) for name, call in calls.items()}
        handlers |= {name: _streaming(stream) for name, stream in streams.items()}
        self._server = grpc.server(ThreadPoolExecutor(_WATCHERS))
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        try:
            self._server.add_insecure_port(address)
        except RuntimeError:
            raise FederationError(f"{folder}: the coordinator cannot open its socket there") from None
        self._server.start()

    def close(self) -> None:
        """Stop serving."""
        self._server.stop(grace=0.5).wait()


class ControlClient:
    """Talks to the coordinator's process of ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._channel = grpc.insecure_channel(socket_address(folder), [("grpc.enable_http_proxy", 0)])

    def call(self, name: str, **arguments: Any) -> Document:
        """The answer of the call ``name``.

        Raises:
            Error: what the coordinator answered with.
            NotRunningError: it does not run.
        """
        method = self._channel.unary_unary(f"/{SERVICE}/{name}", _to_bytes, _from_bytes)
        try:
            answer: Document = method(arguments, timeout=60)
        except grpc.RpcError as error:
            raise self._translated(error) from None
        return answer

    def stream(self, name: str, **arguments: Any) -> Iterator[Document]:
        """The documents of the stream ``name``.

        Raises:
            Error: as :meth:`call`.
        """
        method = self._channel.unary_stream(f"/{SERVICE}/{name}", _to_bytes, _from_bytes)
        try:
            yield from method(arguments)
        except grpc.RpcError as error:
            raise self._translated(error) from None

    def _translated(self, error: grpc.RpcError) -> Error:
        if error.code() is grpc.StatusCode.UNAVAILABLE:
            return NotRunningError(f"{self._folder}: the coordinator does not run; start it with: consilium up")
        if error.code() is grpc.StatusCode.ABORTED:
            answer = json.loads(error.details())
            kind = _error_kinds().get(answer["exit_code"], CoordinatorError)
            return kind(answer["sentence"])
        return CoordinatorError(f"the coordinator failed ({error.code().name}); its log says why")


def _error_kinds() -> dict[int, type[Error]]:
    kinds: dict[int, type[Error]] = {}
    waiting: list[type[Error]] = [Error]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if kind.__init__ is Error.__init__ and kind is not NotRunningError:
            kinds[kind.exit_code] = kind
    return kinds


def _unary(call: Call) -> grpc.RpcMethodHandler:
    def answer(arguments: Document, context: grpc.ServicerContext) -> Document:
        try:
            return call(arguments)
        except Error as error:
            context.abort(grpc.StatusCode.ABORTED, _sentence(error))
            raise

    return grpc.unary_unary_rpc_method_handler(answer, _from_bytes, _to_bytes)


def _streaming(stream: Stream) -> grpc.RpcMethodHandler:
    def answer(arguments: Document, context: grpc.ServicerContext) -> Iterator[Document]:
        try:
            for document in stream(arguments):
                if not context.is_active():
                    return
                yield document
        except Error as error:
            context.abort(grpc.StatusCode.ABORTED, _sentence(error))

    return grpc.unary_stream_rpc_method_handler(answer, _from_bytes, _to_bytes)


def _sentence(error: Error) -> str:
    return json.dumps({"exit_code": error.exit_code, "sentence": str(error)})


def _to_bytes(document: Document) -> bytes:
    return json.dumps(document).encode("utf-8")


def _from_bytes(data: bytes) -> Document:
    document: Document = json.loads(data)
    return document
