"""The gate, as a web server calls it: how many requests an application sees at once, and what it sees of each."""

import asyncio
from typing import Any

import pytest

from server.link_gate import AT_A_TIME, Gate, Message, Receive, Send


class Counting:
    """An application that says what it was given, and counts how many requests it has in hand."""

    def __init__(self) -> None:
        self.most = 0
        self._now = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        self._now += 1
        self.most = max(self.most, self._now)
        message = await receive()
        await asyncio.sleep(0.01)
        self._now -= 1
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": message["body"]})


async def ask(app: Any, path: str, *chunks: bytes, slowly: bool = False) -> list[Message]:
    """A request with a body in ``chunks``; the answer's messages."""
    left, answer = list(chunks), []

    async def receive() -> Message:
        if slowly:
            await asyncio.sleep(0.2)
        if not left:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

    async def send(message: Message) -> None:
        answer.append(message)

    await app({"type": "http", "path": path}, receive, send)
    return answer


@pytest.mark.parametrize("path", ["/v1/fleet/push-object", "/v1/fleet/pull-object", "/v1/runtime/pull-object"])
def test_pieces_are_handled_a_few_at_a_time_and_unchanged(path: str) -> None:
    app = Counting()

    async def crowd() -> list[list[Message]]:
        gate = Gate(app)
        return await asyncio.gather(*(ask(gate, path, b"piece ", b"%d" % number) for number in range(40)))

    answers = asyncio.run(crowd())
    assert app.most == AT_A_TIME
    assert [answer[1]["body"] for answer in answers] == [b"piece %d" % number for number in range(40)]


def test_everything_else_passes_the_gate() -> None:
    app = Counting()

    async def crowd() -> None:
        gate = Gate(app)
        await asyncio.gather(*(ask(gate, "/v1/fleet/send-node-heartbeat", b"beat") for _ in range(40)))

    asyncio.run(crowd())
    assert app.most == 40


def test_sites_on_slow_lines_keep_nobody_waiting() -> None:
    async def crowd() -> bool:
        gate = Gate(Counting())
        slow = [asyncio.create_task(ask(gate, "/push-object", b"a", b"b", slowly=True)) for _ in range(8)]
        await asyncio.sleep(0)
        await ask(gate, "/push-object", b"quick")
        waiting = not any(task.done() for task in slow)
        await asyncio.gather(*slow)
        return waiting

    assert asyncio.run(crowd())


def test_request_whose_sender_has_gone_is_not_handled() -> None:
    app = Counting()

    async def gone() -> list[Message]:
        return await ask(Gate(app), "/push-object")

    assert asyncio.run(gone()) == []
    assert app.most == 0
