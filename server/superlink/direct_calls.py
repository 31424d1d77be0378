"""Answer the calls of a round without the layers of Flower's web application.

A round of four sites makes about 190 calls of Flower's Fleet and Runtime APIs: each of a message's three parts is
sent, and fetched, by a call of its own. Flower's application passes every call through eight layers of middleware, a
search over all routes, and five or six changes of thread. They take most of a call's time. The ten calls of which a
round consists are answered here by the same parts of Flower, in the same order, in one thread: the type and the parse
of the body, authentication of the node or the task, the version, the handler, errors. Every other call goes through
the application.

An answer is written in small pieces: a study of 32 sites has messages of 65 kB, and each site two connections.

Two layers of Flower are left out, which write its event logs: the direct calls are for a SuperLink that keeps none
(:func:`keeps_no_event_log`).
"""

import importlib
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from flwr.supercore.constant import TASK_TOKEN_HEADER
from flwr.supercore.dependencies.runtime import get_runtime_handlers, get_runtime_state
from flwr.supercore.dependencies.task import authenticate_task
from flwr.supercore.dependencies.version import VersionDependency
from flwr.supercore.error import http_error_translator
from flwr.supercore.protobuf.streaming import get_protobuf_stream_context
from flwr.supercore.protobuf.translation import PROTOBUF_REQUEST_TYPES, ProtobufTranslationMiddleware
from flwr.superlink.dependencies.linkstate import get_linkstate
from flwr.superlink.routers.fleet.node_auth import authenticate_node
from google.protobuf.message import Message
from starlette.concurrency import run_in_threadpool

# Flower's packages have a router of the module's name.
fleet: Any = importlib.import_module("flwr.superlink.routers.fleet.router")
runtime: Any = importlib.import_module("flwr.supercore.routers.runtime.router")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Scope]]
Send = Callable[[Scope], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
PIECE_BYTES: Final = 1 << 14
"""What is written to a connection at a time: TLS keeps as much for it as was ever written at once, until it ends."""
_Handler = Callable[[Request], object]
"""Check who calls and handle the parsed request, ``request.state.protobuf_request``; return the answer."""


class DirectCalls:
    """The ASGI middleware before all of Flower's.

    Args:
        app: what answers every other call.
    """

    def __init__(self, app: App) -> None:
        self._app = app
        version = VersionDependency(component_name="SuperLink", connection_name="Caller <-> SuperLink Runtime API")
        self._handlers: Mapping[str, _Handler] = {
            "/v1/fleet/pull-messages": _for_node(fleet.fleet_pull_messages),
            "/v1/fleet/push-messages": _for_node(fleet.fleet_push_messages),
            "/v1/fleet/pull-object": _for_node(fleet.fleet_pull_object),
            "/v1/fleet/push-object": _for_node(fleet.fleet_push_object),
            "/v1/fleet/confirm-message-received": _for_node(fleet.fleet_confirm_message_received),
            "/v1/runtime/pull-messages": _for_task(runtime.pull_messages, version),
            "/v1/runtime/push-messages": _for_task(runtime.push_messages, version),
            "/v1/runtime/pull-object": _for_task(runtime.pull_object, version),
            "/v1/runtime/push-object": _for_task(runtime.push_object, version),
            "/v1/runtime/confirm-message-received": _for_task(runtime.confirm_message_received, version),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a call of a round; pass every other one on."""
        is_post = scope["type"] == "http" and scope["method"] == "POST"
        handler = self._handlers.get(scope["path"]) if is_post else None
        if handler is None:
            await self._app(scope, receive, send)
            return

        async def answer(request: Request) -> Response:
            return await _translate(request, PROTOBUF_REQUEST_TYPES["POST", scope["path"]], handler)

        response = await http_error_translator(Request(scope, receive), answer)
        await response(scope, receive, _send_in_pieces(send))


def _send_in_pieces(send: Send) -> Send:
    """Make a ``send`` that passes a body on in pieces of at most :data:`PIECE_BYTES`."""

    async def send_pieces(message: Scope) -> None:
        body = message.get("body", b"")
        last = max(0, len(body) - 1) // PIECE_BYTES * PIECE_BYTES
        for start in range(0, last, PIECE_BYTES):
            await send({**message, "body": body[start : start + PIECE_BYTES], "more_body": True})
        await send({**message, "body": body[last:]} if last else message)

    return send_pieces


def keeps_no_event_log(flower: FastAPI) -> bool:
    """Return whether Flower's application writes no event log, which the direct calls would leave out."""
    return flower.state.fleet_event_log_plugin is None and flower.state.control_event_log_plugin is None


async def _translate(request: Request, kind: type[Message], handler: _Handler) -> Response:
    """Parse the body, handle it in one thread, and serialise the answer."""
    ProtobufTranslationMiddleware._check_request_media_type(request)
    request.state.protobuf_request = ProtobufTranslationMiddleware._parse_request(await request.body(), kind)
    result = await run_in_threadpool(handler, request)
    return ProtobufTranslationMiddleware._response_for(result, get_protobuf_stream_context(request))


def _for_node(endpoint: Callable[..., object]) -> _Handler:
    """Make the handler of a call of the Fleet API: it is by the node that it names."""

    def handle(request: Request) -> object:
        # Flower's Fleet API notes the caller's version, and refuses none.
        authenticate_node(request)
        return endpoint(request.state.protobuf_request, get_linkstate(request))

    return handle


def _for_task(endpoint: Callable[..., object], version: VersionDependency) -> _Handler:
    """Make the handler of a call of the Runtime API: it has the token of a task, and a version that fits."""

    def handle(request: Request) -> object:
        version(request)
        state = get_runtime_state(request)
        task = authenticate_task(request, request.headers.get(TASK_TOKEN_HEADER), state)
        return endpoint(request.state.protobuf_request, state, get_runtime_handlers(request), task)

    return handle
