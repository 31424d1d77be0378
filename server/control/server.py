"""Server of the operator API, in the coordinator's process."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc

from privacy.errors import Error, FederationError
from server.control.channel import (
    SERVICE,
    WATCHERS,
    Call,
    Document,
    Stream,
    from_bytes,
    make_socket_address,
    to_bytes,
)


class ControlServer:
    """The server of ``calls`` and ``streams``, each by its name, until closed."""

    def __init__(self, folder: Path, calls: dict[str, Call], streams: dict[str, Stream]) -> None:
        address = make_socket_address(folder)
        Path(address.removeprefix("unix:")).unlink(missing_ok=True)
        handlers = {name: _make_unary_handler(call) for name, call in calls.items()}
        handlers |= {name: _make_streaming_handler(stream) for name, stream in streams.items()}
        self._server = grpc.server(ThreadPoolExecutor(WATCHERS))
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        try:
            self._server.add_insecure_port(address)
        except RuntimeError:
            raise FederationError(f"{folder}: the coordinator cannot open its socket there") from None
        self._server.start()

    def close(self) -> None:
        """Stop serving."""
        self._server.stop(grace=0.5).wait()


def _make_unary_handler(call: Call) -> grpc.RpcMethodHandler:
    def answer(arguments: Document, context: grpc.ServicerContext) -> Document:
        try:
            return call(arguments)
        except Error as error:
            context.abort(grpc.StatusCode.ABORTED, _format_error(error))
            raise

    return grpc.unary_unary_rpc_method_handler(answer, from_bytes, to_bytes)


def _make_streaming_handler(stream: Stream) -> grpc.RpcMethodHandler:
    def answer(arguments: Document, context: grpc.ServicerContext) -> Iterator[Document]:
        try:
            for document in stream(arguments):
                if not context.is_active():
                    return
                yield document
        except Error as error:
            context.abort(grpc.StatusCode.ABORTED, _format_error(error))

    return grpc.unary_stream_rpc_method_handler(answer, from_bytes, to_bytes)


def _format_error(error: Error) -> str:
    return json.dumps({"exit_code": error.exit_code, "sentence": str(error)})
