"""The operator's door: real gRPC over a socket in the federation's folder."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from privacy.errors import CoordinatorError, Error, FederationError, RefusedError, TermsError
from privacy.refusal_codes import RefusalCode
from server.control.channel import make_socket_address
from server.control.client import ControlClient
from server.control.server import ControlServer

Document = dict[str, Any]


def refuse(_: Document) -> Document:
    raise TermsError("the terms are wrong — in two places:\n  - one\n  - two")


def refuse_by_rule(_: Document) -> Document:
    raise RefusedError(RefusalCode.POLICY, "the policy does not allow it")


def fail(_: Document) -> Document:
    raise ZeroDivisionError("with a secret in it")


def count(arguments: Document) -> Iterator[Document]:
    for number in range(arguments["to"]):
        yield {"number": number}
    if arguments.get("then_fail"):
        raise FederationError("nothing is left to count")


class Endless:
    """A stream that continues until somebody stops listening."""

    def __init__(self) -> None:
        self.left = threading.Event()

    def __call__(self, _: Document) -> Iterator[Document]:
        try:
            while True:
                yield {"kind": "beat"}
        finally:
            self.left.set()


ENDLESS = Endless()


@pytest.fixture
def client(tmp_path: Path) -> Iterator[ControlClient]:
    calls = {"echo": lambda arguments: arguments, "refuse": refuse, "rule": refuse_by_rule, "fail": fail}
    server = ControlServer(tmp_path, calls, {"count": count, "endless": ENDLESS})
    yield ControlClient(tmp_path)
    server.close()


def test_call_is_answered_with_a_document(client: ControlClient) -> None:
    arguments = {"text": "é — \n", "number": 1.5, "list": [1, None, True], "inner": {}}
    assert client.call("echo", **arguments) == arguments


def test_large_document_comes_through(client: ControlClient) -> None:
    assert client.call("echo", text="x" * 3_000_000)["text"] == "x" * 3_000_000


def test_expected_failure_crosses_as_itself(client: ControlClient) -> None:
    with pytest.raises(TermsError) as caught:
        client.call("refuse")
    assert str(caught.value) == "the terms are wrong — in two places:\n  - one\n  - two"
    assert caught.value.exit_code == 11


def test_refusal_with_a_code_crosses_as_a_sentence(client: ControlClient) -> None:
    with pytest.raises(Error, match="the policy does not allow it"):
        client.call("rule")


def test_defect_crosses_without_what_it_says(client: ControlClient) -> None:
    with pytest.raises(CoordinatorError, match=r"the coordinator failed \(UNKNOWN\); its log says why") as caught:
        client.call("fail")
    assert "secret" not in str(caught.value)


def test_call_that_there_is_not_is_refused(client: ControlClient) -> None:
    with pytest.raises(CoordinatorError, match="UNIMPLEMENTED"):
        client.call("shell")


def test_stream_gives_its_documents_in_order(client: ControlClient) -> None:
    assert list(client.stream("count", to=3)) == [{"number": 0}, {"number": 1}, {"number": 2}]


def test_stream_that_fails_gives_what_it_had_and_its_sentence(client: ControlClient) -> None:
    stream = client.stream("count", to=1, then_fail=True)
    assert next(stream) == {"number": 0}
    with pytest.raises(FederationError, match="nothing is left to count"):
        next(stream)


def test_stream_ends_when_nobody_listens(client: ControlClient) -> None:
    stream = client.stream("endless")
    assert next(stream) == {"kind": "beat"}
    stream.close()  # type: ignore[attr-defined]
    assert ENDLESS.left.wait(20)


def test_coordinator_that_does_not_run_is_said_with_the_next_step(tmp_path: Path) -> None:
    for ask in (lambda c: c.call("echo"), lambda c: list(c.stream("count", to=1))):
        with pytest.raises(FederationError, match="the coordinator does not run; start it with: consilium up"):
            ask(ControlClient(tmp_path))


def test_socket_of_a_dead_coordinator_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "control.sock").touch()
    server = ControlServer(tmp_path, {"echo": lambda arguments: arguments}, {})
    assert ControlClient(tmp_path).call("echo", a=1) == {"a": 1}
    server.close()


def test_folder_with_a_path_too_long_for_a_socket_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 100)
    with pytest.raises(FederationError, match="move the federation to a folder with a shorter path"):
        make_socket_address(folder)


def test_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FederationError, match="the coordinator cannot open its socket there"):
        ControlServer(tmp_path / "none", {}, {})
