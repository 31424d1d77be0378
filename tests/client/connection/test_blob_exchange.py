"""An update leaves while it is sealed, to a real control server over TLS that is cut, away, and lies."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from client.connection.blob_exchange import BlobExchange
from client.connection.link import Wait
from client.connection.transfers import TransferRefusedError
from client.study.outgoing_update import OnSealing, OutgoingUpdate
from privacy.keys import SigningKey
from privacy.protocol.chunks import CHUNK_BYTES
from privacy.protocol.envelope import Envelope, make_envelope, read_body
from privacy.protocol.messages import GivenUp, GiveUp, Sealed
from privacy.study import COORDINATOR
from server.control.server import Fields
from server.control.transfers import Transfers as ServedTransfers
from tests.docs.wire_example import example_sealed
from tests.loopback import wait_for
from tests.server.control.plane import MASK, OTHER_MASK, Plane, stored

LENGTH = 3 * CHUNK_BYTES + 17
DATA = os.urandom(LENGTH)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    plane = Plane(tmp_path_factory.mktemp("plane"))
    yield plane
    plane.server.close()


@pytest.fixture
def plane(shared: Plane) -> Plane:
    shared.uploads.clear()
    shared.uploads.expect("ash", LENGTH)
    return shared


class Site:
    """Ash. It seals ``DATA`` in blocks of a chunk, and does in the middle what a test says; asked again, not anew.

    Args:
        plane: where its updates go.
        folder: for what it seals.
        between: called before each block but the first, with its number.
        wait: for an outage.
    """

    def __init__(
        self, plane: Plane, folder: Path, between: Callable[[int], None] = lambda _: None, wait: Wait | None = None
    ) -> None:
        self.plane = plane
        self.folder = folder
        self.between = between
        self.mask = MASK
        self.update: OutgoingUpdate | None = None
        self.key = SigningKey.generate()
        coordinator = plane.federation.load_identity()
        transfers = plane.transfers("ash", wait)
        exchange = BlobExchange("ash", self._answer, transfers, coordinator.public, lambda: 0)
        request = make_envelope(
            coordinator, GiveUp(launch="0" * 64), study=plane.study, sender=COORDINATOR, receiver="ash", number=1
        )
        self.ask: Callable[[], Envelope] = lambda: exchange.answer(request)

    def _seal(self) -> Iterator[bytes]:
        for start in range(0, LENGTH, CHUNK_BYTES):
            if start:
                self.between(start // CHUNK_BYTES)
            yield DATA[start : start + CHUNK_BYTES]

    def _answer(self, _: Envelope, on_sealing: OnSealing) -> Envelope:
        if self.update is None:
            update = OutgoingUpdate(self.folder, self.plane.study, self.mask, LENGTH)
            on_sealing(update)
            try:
                update.fill(self._seal())
            except RuntimeError:
                return self._reply(GivenUp(ledger=read_example().ledger))
            self.update = update
        content = read_example()
        header = content.header.model_copy(
            update={"statement": content.header.statement.model_copy(update={"own_mask": self.mask})}
        )
        return self._reply(content.model_copy(update={"header": header}), self.update)

    def _reply(self, content: Sealed | GivenUp, update: OutgoingUpdate | None = None) -> Envelope:
        return make_envelope(
            self.key,
            content,
            study=self.plane.study,
            sender="ash",
            receiver=COORDINATOR,
            number=1,
            blobs=() if update is None else (update.map(),),
            notes=() if update is None else (update.note,),
        )


def read_example() -> Sealed:
    content = read_body(example_sealed()).content
    assert isinstance(content, Sealed)
    return content


def wait_for_bytes(plane: Plane, count: int) -> None:
    wait_for(f"{count} bytes", lambda: len(stored(plane, "ash")) >= count)


def test_blocks_are_at_the_coordinator_before_the_next_one_is_sealed(plane: Plane, tmp_path: Path) -> None:
    site = Site(plane, tmp_path, lambda number: wait_for_bytes(plane, number * CHUNK_BYTES))
    reply = site.ask()
    assert reply.blobs == ()
    assert stored(plane, "ash") == DATA


def test_line_that_is_cut_while_an_update_is_sealed_brings_the_rest_later(plane: Plane, tmp_path: Path) -> None:
    def restart(number: int) -> None:
        if number == 2:
            wait_for_bytes(plane, CHUNK_BYTES)
            plane.restart()

    Site(plane, tmp_path, restart, lambda *_: None).ask()
    assert stored(plane, "ash") == DATA


def test_coordinator_that_is_away_while_an_update_is_sealed_gets_it_later(plane: Plane, tmp_path: Path) -> None:
    waited: list[str] = []
    plane.server.close()

    def come_back(reason: str, _: float) -> None:
        waited.append(reason)
        if len(waited) == 2:
            plane.server = plane.serve()

    Site(plane, tmp_path, wait=come_back).ask()
    assert "cannot be reached" in waited[0]
    assert stored(plane, "ash") == DATA


def test_refusal_in_mid_sealing_ends_the_message_and_not_the_sealing(plane: Plane, tmp_path: Path) -> None:
    """The run ended, or began another attempt. If it asks for this one again, the same bytes come from the disk."""

    def forget(number: int) -> None:
        if number == 2:
            wait_for_bytes(plane, CHUNK_BYTES)
            plane.uploads.clear()

    site = Site(plane, tmp_path, forget)
    with pytest.raises(TransferRefusedError, match="not expected any more"):
        site.ask()
    assert site.update is not None
    assert bytes(site.update.map()) == DATA
    plane.uploads.expect("ash", LENGTH)
    site.ask()
    assert stored(plane, "ash") == DATA


def test_update_that_nobody_expects_yet_is_sent_when_it_is_expected(plane: Plane, tmp_path: Path) -> None:
    plane.uploads.expect_no_more("ash")
    site = Site(plane, tmp_path)
    with pytest.raises(TransferRefusedError, match="no update of 'ash' is expected"):
        site.ask()
    plane.uploads.expect("ash", LENGTH)
    site.ask()
    assert stored(plane, "ash") == DATA


def test_update_whose_sealing_fails_leaves_its_beginning_until_the_next_one(plane: Plane, tmp_path: Path) -> None:
    """Its header never comes. The call ends, the reply goes, and the coordinator keeps one file of the site."""

    def fail(number: int) -> None:
        if number == 2:
            wait_for_bytes(plane, CHUNK_BYTES)
            raise RuntimeError("a process that sealed died")

    site = Site(plane, tmp_path, fail)
    assert isinstance(read_body(site.ask()).content, GivenUp)
    left = stored(plane, "ash")
    assert left == DATA[: len(left)]
    assert CHUNK_BYTES <= len(left) < LENGTH
    site.between, site.mask = (lambda _: None), OTHER_MASK
    site.ask()
    assert stored(plane, "ash", OTHER_MASK) == DATA
    assert sorted(path.name for path in (plane.uploads.folder / "ash").iterdir()) == [OTHER_MASK, "expected"]


@pytest.mark.parametrize("said", [1, CHUNK_BYTES + 5, LENGTH - 1, LENGTH, LENGTH + 1, 1 << 40])
def test_coordinator_that_lies_about_what_it_has_gets_bytes_of_this_sealing_alone(
    plane: Plane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: int
) -> None:
    """Attack: it cuts the first call, and has the rest sent from a wrong place: all that comes are the same bytes."""
    calls: list[tuple[int, bytes]] = []

    def find_upload(*_: Any) -> Fields:
        return {"stored": said}

    def upload(_: ServedTransfers, parts: Iterator[Fields], __: Any) -> Fields:
        first = next(parts)
        if not calls:
            calls.append((0, next(parts)["data"]))
            raise OSError("the line is dead")
        calls.append((first["offset"], b"".join(part["data"] for part in parts)))
        return {"stored": LENGTH, "sha256": "0" * 64}

    monkeypatch.setattr(ServedTransfers, "_find_upload", find_upload)
    monkeypatch.setattr(ServedTransfers, "_upload", upload)
    plane.restart()
    with pytest.raises(TransferRefusedError, match="stored another update"):
        Site(plane, tmp_path, wait=lambda *_: None).ask()
    monkeypatch.undo()
    plane.restart()
    assert [offset for offset, _ in calls] == [0, said, 0]
    assert calls[0][1] == DATA[:CHUNK_BYTES]
    assert [data for _, data in calls[1:]] == [DATA[said:], DATA]


def test_gateway_that_writes_into_an_upload_is_noticed(plane: Plane, tmp_path: Path) -> None:
    """Attack: who holds the way has other bytes stored under the site's name, while it seals."""

    def write(number: int) -> None:
        if number == 2:
            wait_for_bytes(plane, CHUNK_BYTES)
            with plane.uploads.find_path("ash", MASK).open("r+b") as file:
                file.write(b"something else")

    def cut(number: int) -> None:
        write(number)
        if number == 3:
            plane.restart()

    Site(plane, tmp_path, cut, lambda *_: None).ask()
    assert stored(plane, "ash") == DATA
