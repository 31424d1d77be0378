"""Limit what a SuperLink receives: from whom, and the size of requests.

Flower reads a whole body, of any size, before it checks who sends it. It handles up to 40 requests at once, and
holds each in several copies.

* A request from another address than the loopback interface reaches the Fleet API and the health check alone; every
  other path is answered with 404.
* On the loopback interface, too, Flower's Control API and all other paths are answered with 404 without the secret of
  this start (:data:`SECRET_HEADER`), which only the coordinator's process has. Flower has no authentication there, and
  the gateway, or another user, may be on the same interface.
* Flower's Runtime API, for the processes that Flower starts, has authentication: a signature with the same secret to
  take a task, and the task's token for everything else. A request with neither is answered with 404.
* A Fleet request is refused with 401, before its body is received, if it is not by the node that it names
  (``server/superlink/fleet_callers.py``).
* A request may have :data:`MAX_REQUEST_BYTES`, which the protocol needs. A larger one is answered with 413: at once
  if its stated length is larger, else as soon as it exceeds the limit.
* All bodies from outside that are being received, or wait to be handled, may have :data:`ROOM_BYTES` together. A
  request for which there is no room is answered with 503, and its sender tries again.
* A body that takes longer than :data:`BODY_S` is answered with 408.

The gate also tells when a site has sent something: a study's run then looks for replies at once, and otherwise rarely.
"""

import asyncio
import datetime
import hmac
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from flwr.supercore.constant import SUPEREXEC_AUTH_SIGNATURE_HEADER, TASK_TOKEN_HEADER

from privacy.address import is_loopback
from privacy.protocol.envelope import MAX_BODY_BYTES
from server.superlink.fleet_callers import FleetCallers, NotTheirsError

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

MAX_REQUEST_BYTES: Final = MAX_BODY_BYTES + (1 << 18)
"""The largest body of a message, with room for Flower's frame around it."""
ROOM_BYTES: Final = 128 << 20
"""Two pieces of each site of a study with the most sites (64)."""
BODY_S: Final = 60.0
"""Longer than a site waits for a request, which is 20 s."""
_OUTSIDE: Final = "/v1/fleet/"
"""What a gateway publishes; all other paths serve the coordinator's own processes."""
_RUNTIME: Final = "/v1/runtime/"
_RUNTIME_PROOFS: Final = frozenset({TASK_TOKEN_HEADER, SUPEREXEC_AUTH_SIGNATURE_HEADER})
_HEALTH: Final = "/health"
_PUSHES: Final = (f"{_OUTSIDE}push-messages", f"{_OUTSIDE}push-object")
SECRET_HEADER: Final = "consilium-superlink-secret"  # noqa: S105 - the header's name
SECRET_FILE: Final = "secret"  # noqa: S105 - the file's name
"""The file of the secret, in the SuperLink's folder."""
_log = logging.getLogger(__name__)


class Gate:
    """The ASGI middleware around ``app``.

    Args:
        app: what answers a request that passes.
        body_s: the longest time for a body.
        callers: checks who makes a Fleet request; None leaves that to ``app``.
        secret: what the coordinator's own requests show; None leaves that to ``app``.
        on_push: called after a site has sent a message or a part of one.
    """

    def __init__(
        self,
        app: App,
        body_s: float = BODY_S,
        callers: FleetCallers | None = None,
        secret: bytes | None = None,
        on_push: Callable[[], None] = lambda: None,
    ) -> None:
        self._app = app
        self._on_push = on_push
        self._body_s = body_s
        self._callers = callers
        self._secret = secret
        self._room = ROOM_BYTES

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Receive, check and handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = _Body()
        try:
            self._admit(scope)
            try:
                async with asyncio.timeout(self._body_s):
                    whole = await self._receive_body(scope, receive, body)
            except TimeoutError:
                raise _RefusedError(408) from None
            if whole:
                await self._app(scope, _replay_body(body.chunks, receive), send)
                if scope["path"] in _PUSHES:
                    self._on_push()
        except _RefusedError as refusal:
            await _refuse(send, refusal.status)
        finally:  # also after a refusal, a timeout or a lost connection
            self._room += body.taken

    def _admit(self, scope: Message) -> None:
        """Check where a request comes from and by whom it is, before its body is received."""
        path = scope["path"]
        if path != _HEALTH and not path.startswith(_OUTSIDE) and not (_is_local(scope) and self._is_ours(scope)):
            raise _RefusedError(404)
        if self._callers is not None and path.startswith(_OUTSIDE):
            try:
                self._callers.verify(scope.get("headers", ()), datetime.datetime.now(datetime.UTC))
            except NotTheirsError as error:
                _log.warning("a Fleet request was refused: %s", error)
                raise _RefusedError(401) from None

    def _is_ours(self, scope: Message) -> bool:
        """Return whether a request is by the coordinator's process, or shows what Flower's Runtime API verifies."""
        if self._secret is None:
            return True
        found = {name.lower(): value for name, value in scope.get("headers", ())}
        if scope["path"].startswith(_RUNTIME):
            return any(name.encode("ascii") in found for name in _RUNTIME_PROOFS)
        return hmac.compare_digest(found.get(SECRET_HEADER.encode("ascii"), b""), self._secret)

    async def _receive_body(self, scope: Message, receive: Receive, body: "_Body") -> bool:
        """Receive a request's body; return whether it is complete, and the sender has not disconnected.

        Raises:
            _RefusedError: the body is too large, or there is no room for it now.
        """
        if _read_stated_length(scope) > MAX_REQUEST_BYTES:
            raise _RefusedError(413)
        from_outside = scope["path"].startswith(_OUTSIDE)
        while (message := await receive())["type"] == "http.request":
            chunk = message.get("body", b"")
            if body.size + len(chunk) > MAX_REQUEST_BYTES:
                raise _RefusedError(413)
            if from_outside:
                if len(chunk) > self._room:
                    raise _RefusedError(503)
                self._room -= len(chunk)
                body.taken += len(chunk)
            body.size += len(chunk)
            body.chunks.append(chunk)
            if not message.get("more_body", False):
                return True
        return False


class _Body:
    """The part of a request's body that has been received."""

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self.size = 0
        self.taken = 0
        """Bytes of it that count against :data:`ROOM_BYTES`."""


class _RefusedError(Exception):
    """The request is refused with this HTTP status."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def _is_local(scope: Message) -> bool:
    """Return whether a request comes from this machine; a server that does not tell an address listens on none."""
    client = scope.get("client")
    return client is None or is_loopback(client[0].removeprefix("::ffff:"))


def _read_stated_length(scope: Message) -> int:
    """Read the length that a request's header states; 0 if it states none, or no number."""
    for name, value in scope.get("headers", ()):
        if name.lower() == b"content-length" and value.isdigit():
            return int(value[:20])  # 20 digits are enough to exceed every limit
    return 0


async def _refuse(send: Send, status: int) -> None:
    """Answer with ``status`` and close the connection, because the request's body is not read to its end."""
    headers = [(b"content-length", b"0"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def _replay_body(chunks: list[bytes], receive: Receive) -> Receive:
    """Make a ``receive`` that returns the received body once, and then passes on what follows."""

    async def give() -> Message:
        if not chunks:
            return await receive()
        body = b"".join(chunks)
        chunks.clear()
        return {"type": "http.request", "body": body, "more_body": False}

    return give
