"""Client of the operator API, for commands."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc

from privacy.errors import CoordinatorError, Error
from server.control.channel import SERVICE, Document, NotRunningError, from_bytes, make_socket_address, to_bytes


class ControlClient:
    """The client of the coordinator's process of ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._channel = grpc.insecure_channel(make_socket_address(folder), [("grpc.enable_http_proxy", 0)])

    def call(self, name: str, **arguments: Any) -> Document:
        """Call ``name`` and return its answer.

        Raises:
            Error: the error with which the coordinator answered.
            NotRunningError: the coordinator does not run.
        """
        method = self._channel.unary_unary(f"/{SERVICE}/{name}", to_bytes, from_bytes)
        try:
            answer: Document = method(arguments, timeout=60)
        except grpc.RpcError as error:
            raise self._translate_error(error) from None
        return answer

    def stream(self, name: str, **arguments: Any) -> Iterator[Document]:
        """Yield the documents of the stream ``name``.

        Raises:
            Error: as :meth:`call`.
        """
        method = self._channel.unary_stream(f"/{SERVICE}/{name}", to_bytes, from_bytes)
        try:
            yield from method(arguments)
        except grpc.RpcError as error:
            raise self._translate_error(error) from None

    def _translate_error(self, error: grpc.RpcError) -> Error:
        if error.code() is grpc.StatusCode.UNAVAILABLE:
            return NotRunningError(f"{self._folder}: the coordinator does not run; start it with: consilium up")
        if error.code() is grpc.StatusCode.ABORTED:
            answer = json.loads(error.details())
            kind = _list_error_kinds().get(answer["exit_code"], CoordinatorError)
            return kind(answer["sentence"])
        return CoordinatorError(f"the coordinator failed ({error.code().name}); its log says why")


def _list_error_kinds() -> dict[int, type[Error]]:
    kinds: dict[int, type[Error]] = {}
    waiting: list[type[Error]] = [Error]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        # Only errors that a sentence alone can build; NotRunningError is raised here, and never sent.
        if kind.__init__ is Error.__init__ and kind is not NotRunningError:
            kinds[kind.exit_code] = kind
    return kinds
