"""An idle site is told within a second that a message waits: real marks, a real stream, real TLS."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from client.connection.message_listener import MessageListener
from client.connection.renewal import connect_to_control_plane
from client.site.folder import SiteFolder
from privacy.errors import RefusedCallError
from server.control.message_calls import MessageCalls
from server.control.server import STREAMS_OF_A_SITE, ControlServer
from server.federation.config import CoordinatorConfig
from server.federation.folder import Federation
from server.federation.members import Members
from server.superlink.message_marks import MessageMarks
from server.superlink.process import find_free_port


class Place:
    """A coordinator's control plane, and two sites."""

    def __init__(self, folder: Path) -> None:
        port = find_free_port()
        config = CoordinatorConfig(federation="wood", host="localhost", port=port, gateway=True, control_port=port)
        self.federation = Federation.create(folder / "wood", config)
        self.marks = MessageMarks(self.federation.message_marks_path)
        self.calls = MessageCalls(self.marks)
        self.port = ("127.0.0.1", port)
        self.server = self.serve()
        self.homes = {}
        for name in ("ash", "birch"):
            self.homes[name] = home = SiteFolder.create(folder / name, name)
            home.accept_admission(Members(self.federation).enrol(home.make_join_request()))

    def serve(self) -> ControlServer:
        return ControlServer(self.federation, {}, self.calls.streamers, self.port)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    place.calls.close()
    place.server.close()


@pytest.fixture
def stop() -> Iterator[threading.Event]:
    stop = threading.Event()
    yield stop
    stop.set()


def listen(place: Place, name: str, stop: threading.Event) -> MessageListener:
    listener = MessageListener(lambda: connect_to_control_plane(place.homes[name]), stop)
    wait_until(lambda: listener.listening)
    listener.wait(0.5)  # the first item says that the stream stands
    return listener


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_told(listener: MessageListener, within_s: float) -> bool:
    began = time.monotonic()
    listener.wait(within_s)
    return time.monotonic() - began < within_s


def test_site_is_told_of_its_message_and_of_no_others(place: Place, stop: threading.Event) -> None:
    ash, birch = listen(place, "ash", stop), listen(place, "birch", stop)
    place.marks.mark("ash")
    assert is_told(ash, 10)
    assert not is_told(birch, 1)
    place.marks.mark("ash")
    assert is_told(ash, 10)


def test_listener_comes_back_after_an_outage(place: Place, stop: threading.Event) -> None:
    ash = listen(place, "ash", stop)
    place.server.close()
    wait_until(lambda: not ash.listening)
    place.server = place.serve()
    wait_until(lambda: ash.listening)


def test_wait_ends_when_the_agent_is_to_stop(place: Place, stop: threading.Event) -> None:
    ash = listen(place, "ash", stop)
    threading.Timer(0.2, stop.set).start()
    assert is_told(ash, 30)


def test_site_has_few_streams(place: Place, stop: threading.Event) -> None:
    client = connect_to_control_plane(place.homes["ash"])
    streams = [client.stream("AwaitMessages") for _ in range(STREAMS_OF_A_SITE + 1)]
    for stream in streams[:-1]:
        next(stream)
    with pytest.raises(RefusedCallError, match="'ash' has 2 streams open already"):
        next(streams[-1])
    client.close()
