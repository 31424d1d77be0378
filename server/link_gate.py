"""What a SuperLink handles at once of the pieces of messages: a few, however many sites send or fetch.

Handling one makes several copies of it, in Flower and below. Left alone, Flower handles up to 40 at once.

* A piece is taken in whole before it goes through the gate, and an answer leaves after it: a site on a slow line keeps
  nobody waiting, and what it costs is one copy of one piece.
* Everything else, heartbeats first, goes past the gate.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

AT_A_TIME: Final = 2
"""One Python process: more would not be faster."""
_PIECES: Final = ("/push-object", "/pull-object")


class Gate:
    """An ASGI middleware around ``app``."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._free = asyncio.Semaphore(AT_A_TIME)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or not scope["path"].endswith(_PIECES):
            await self._app(scope, receive, send)
            return
        chunks = await _taken(receive)
        if chunks is None:
            return
        answer: list[Message] = []

        async def keep(message: Message) -> None:
            answer.append(message)

        async with self._free:
            await self._app(scope, _again(chunks, receive), keep)
        for message in answer:
            await send(message)


async def _taken(receive: Receive) -> list[bytes] | None:
    """A request's whole body; nothing if its sender has gone."""
    chunks = []
    while (message := await receive())["type"] == "http.request":
        chunks.append(message.get("body", b""))
        if not message.get("more_body", False):
            return chunks
    return None


def _again(chunks: list[bytes], receive: Receive) -> Receive:
    """Give a body that was taken, once; then whatever comes after it."""

    async def give() -> Message:
        if not chunks:
            return await receive()
        body = b"".join(chunks)
        chunks.clear()
        return {"type": "http.request", "body": body, "more_body": False}

    return give
