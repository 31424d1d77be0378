"""The gate, as a web server calls it: which requests an application sees, and what of each."""

import asyncio
from typing import Any

import pytest

from server.superlink.fleet_callers import FleetCallers
from server.superlink.gate import MAX_REQUEST_BYTES, ROOM_BYTES, Gate, Message, Receive, Send


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


def test_requests_do_not_wait_for_each_other() -> None:
    app = Counting()

    async def crowd() -> None:
        gate = Gate(app)
        await asyncio.gather(*(ask(gate, "/v1/fleet/send-node-heartbeat", b"beat") for _ in range(40)))

    asyncio.run(crowd())
    assert app.most == 40


@pytest.mark.parametrize(
    ("path", "tells"),
    [("/v1/fleet/push-object", True), ("/v1/fleet/push-messages", True), ("/v1/fleet/pull-messages", False)],
)
def test_gate_tells_when_a_site_has_sent_something(path: str, tells: bool) -> None:
    told: list[str] = []
    asyncio.run(ask(Gate(Counting(), on_push=lambda: told.append(path)), path, b"body"))
    assert told == ([path] if tells else [])


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


FLEET = "/v1/fleet/push-object"
HALF = b"x" * (MAX_REQUEST_BYTES // 2)


def status(answer: list[Message]) -> int:
    return int(answer[0]["status"])


@pytest.mark.parametrize("path", [FLEET, "/v1/fleet/push-messages", "/v1/runtime/push-object", "/anything"])
def test_request_of_the_largest_size_is_handled_and_a_larger_one_refused(path: str) -> None:
    app = Counting()
    rest = b"x" * (MAX_REQUEST_BYTES - 2 * len(HALF))
    assert status(asyncio.run(ask(Gate(app), path, HALF, HALF, rest))) == 200
    assert status(asyncio.run(ask(Gate(app), path, HALF, HALF, rest + b"x", b"never asked for"))) == 413
    assert app.most == 1


def test_request_that_states_too_large_a_size_is_refused_before_anything_is_taken() -> None:
    """Whoever sends it has not been authenticated yet."""
    app, answer = Counting(), []

    async def receive() -> Message:
        raise AssertionError("something was taken")

    async def send(message: Message) -> None:
        answer.append(message)

    headers = [(b"Content-Length", b"%d" % (MAX_REQUEST_BYTES + 1))]
    asyncio.run(Gate(app)({"type": "http", "path": FLEET, "headers": headers}, receive, send))
    assert status(answer) == 413
    assert app.most == 0


@pytest.mark.parametrize("length", [b"", b"-1", b"ten", b"9" * 5000])
def test_stated_size_that_is_no_number_or_any_number_is_no_error(length: bytes) -> None:
    async def one() -> list[Message]:
        answer: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": b"a", "more_body": False}

        async def send(message: Message) -> None:
            answer.append(message)

        scope = {"type": "http", "path": FLEET, "headers": [(b"content-length", length)]}
        await Gate(Counting())(scope, receive, send)
        return answer

    assert status(asyncio.run(one())) in (200, 413)


def test_bodies_that_wait_have_no_more_than_the_room_together_and_give_it_back() -> None:
    """Many strangers send at once, slowly: memory is bounded, and who finds no room is told to try again."""
    many = ROOM_BYTES // len(HALF) + 10

    async def crowd() -> tuple[list[int], int, int]:
        gate = Gate(Counting())
        answers = [asyncio.create_task(ask(gate, FLEET, HALF, b"end", slowly=True)) for _ in range(many)]
        await asyncio.sleep(0.3)  # every first half has come
        own = status(await ask(gate, "/v1/runtime/push-object", b"own"))
        statuses = [status(await answer) for answer in answers]
        return statuses, own, status(await ask(gate, FLEET, HALF))

    statuses, own, later = asyncio.run(crowd())
    assert set(statuses) == {200, 503}
    assert statuses.count(200) * len(HALF) <= ROOM_BYTES
    assert statuses.count(503) >= 10
    assert (own, later) == (200, 200)


def test_body_that_does_not_come_is_given_up() -> None:
    async def one() -> int:
        return status(await ask(Gate(Counting(), body_s=0.05), FLEET, b"a", b"b", slowly=True))

    assert asyncio.run(one()) == 408


async def ask_from(app: Any, path: str, address: str) -> int:
    """The status of the answer to a request from ``address``."""
    answer: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    async def send(message: Message) -> None:
        answer.append(message)

    await app({"type": "http", "path": path, "client": (address, 5000)}, receive, send)
    status: int = answer[0]["status"]
    return status


@pytest.mark.parametrize(
    "path", ["/v1/control/list-runs", "/v1/runtime/pull-object", "/docs", "/health/", "//health"]
)
def test_other_addresses_reach_the_fleet_api_and_the_health_check_alone(path: str) -> None:
    gate = Gate(Counting())
    for address in ("10.0.0.7", "::ffff:10.0.0.7", "2001:db8::7"):
        assert asyncio.run(ask_from(gate, path, address)) == 404
        assert asyncio.run(ask_from(gate, "/health", address)) == 200
        assert asyncio.run(ask_from(gate, "/v1/fleet/pull-messages", address)) == 200
    for address in ("127.0.0.1", "::1", "::ffff:127.0.0.1"):
        assert asyncio.run(ask_from(gate, path, address)) == 200


def test_fleet_request_that_is_not_signed_is_refused_before_its_body_is_received() -> None:
    received: list[int] = []

    async def refused() -> list[Message]:
        answer: list[Message] = []

        async def receive() -> Message:
            received.append(1)
            return {"type": "http.request", "body": b""}

        async def send(message: Message) -> None:
            answer.append(message)

        gate = Gate(Counting(), callers=FleetCallers())
        await gate({"type": "http", "path": "/v1/fleet/push-object", "headers": []}, receive, send)
        return answer

    assert asyncio.run(refused())[0]["status"] == 401
    assert not received
