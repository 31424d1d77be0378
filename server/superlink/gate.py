"""What a SuperLink takes in and handles: requests of a known size, and of the pieces of messages a few at once.

Flower reads a whole body before it looks at who sends it, without a limit; and it handles up to 40 requests at
once, each in several copies.

* No request is larger than the protocol needs: :data:`MAX_REQUEST_BYTES`. A larger one is answered with 413, by its
  stated length before anything of it is taken, else as soon as it passes the limit.
* All bodies that come from outside and are being taken in, or wait to be handled, have at most :data:`ROOM_BYTES`
  together; who finds no room is answered with 503 and tries again. A body that takes longer than :data:`BODY_S` is
  answered with 408.
* A piece is taken in whole before it goes through the gate, and an answer leaves after it: a site on a slow line keeps
  nobody waiting, and what it costs is one copy of one piece.
* Everything else, heartbeats first, goes past the gate for pieces.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from privacy.protocol.envelope import MAX_BODY_BYTES
from privacy.protocol.flower_records import PIECE_BYTES

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

AT_A_TIME: Final = 2
"""One Python process: more would not be faster."""
MAX_REQUEST_BYTES: Final = max(MAX_BODY_BYTES, PIECE_BYTES) + (1 << 18)
"""The largest object of a message, which is its body, with Flower's frame around it."""
ROOM_BYTES: Final = 128 << 20
"""A piece of each of the most sites, twice over."""
BODY_S: Final = 60.0
"""A site gives up a request after 20 s."""
_OUTSIDE: Final = "/v1/fleet/"
"""All that a gateway publishes; the rest is the coordinator's own processes."""
_PIECES: Final = ("/push-object", "/pull-object")


class Gate:
    """An ASGI middleware around ``app``."""

    def __init__(self, app: App, body_s: float = BODY_S) -> None:
        self._app = app
        self._body_s = body_s
        self._free = asyncio.Semaphore(AT_A_TIME)
        self._room = ROOM_BYTES

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = _Body()
        try:
            try:
                async with asyncio.timeout(self._body_s):
                    whole = await self._receive_body(scope, receive, body)
            except TimeoutError:
                raise _RefusedError(408) from None
            if whole:
                await self._handle(scope, _replay_body(body.chunks, receive), send)
        except _RefusedError as refusal:
            await _refuse(send, refusal.status)
        finally:
            self._room += body.taken

    async def _receive_body(self, scope: Message, receive: Receive, body: "_Body") -> bool:
        """Take in a request's body; whether all of it came before its sender went.

        Raises:
            _RefusedError: it is too large, or there is no room for it now.
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

    async def _handle(self, scope: Message, receive: Receive, send: Send) -> None:
        if not scope["path"].endswith(_PIECES):
            await self._app(scope, receive, send)
            return
        answer: list[Message] = []

        async def keep(message: Message) -> None:
            answer.append(message)

        async with self._free:
            await self._app(scope, receive, keep)
        for message in answer:
            await send(message)


class _Body:
    """What of a request's body has been taken in."""

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self.size = 0
        self.taken = 0
        """Of the room for bodies from outside."""


class _RefusedError(Exception):
    """A request that is not handled."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def _read_stated_length(scope: Message) -> int:
    """The length that a request's header states; 0 if it states none that can be read."""
    for name, value in scope.get("headers", ()):
        if name.lower() == b"content-length" and value.isdigit():
            return int(value[:20])
    return 0


async def _refuse(send: Send, status: int) -> None:
    """Answer with ``status``; the connection cannot be used further, as its body is not read to the end."""
    headers = [(b"content-length", b"0"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def _replay_body(chunks: list[bytes], receive: Receive) -> Receive:
    """Give a body that was taken, once; then whatever comes after it."""

    async def give() -> Message:
        if not chunks:
            return await receive()
        body = b"".join(chunks)
        chunks.clear()
        return {"type": "http.request", "body": body, "more_body": False}

    return give
