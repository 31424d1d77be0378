"""Send sealed updates and fetch aggregates, beside the messages that name them.

* They go through the coordinator's control plane, with this site's certificate. A transfer that is cut goes on where
  it was; an outage makes it wait, as it makes any other call (``client/connection/link.py``).
* What is fetched goes to a file and is hashed on the way. It is used only if it has the length and the digest that the
  coordinator's signed message names, and no more than that length is taken. Who is told of the file may read it
  meanwhile (``client/study/opening_ahead.py``), which changes nothing here.
* What is sent is named by its own mask, which is another one for each sealing, so that parts of two are never mixed.
  Whatever the coordinator says about it, the signed header decides.
* An update may begin to leave while it is sealed. That is one call, which may fail in any way: what it has not brought
  is sent when the update is full, by the same rules as after a cut.
* A transfer that the coordinator refuses is over: the message is dropped, and it asks again if it still wants to.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, TypeVar

from client.connection.link import InterruptError, Wait
from client.study.outgoing_update import OutgoingUpdate
from privacy.control.channel import BrokenCallError, ControlClient, Fields, NotRunningError
from privacy.errors import Error, StorageError, WireError
from privacy.growing_file import GrowingFile
from privacy.protocol.chunks import CHUNK_BYTES
from privacy.protocol.envelope import BlobNote

_RETRY_S: Final = (0.2, 5.0)
_MOST_BROKEN: Final = 20
"""Calls that break one after the other: the coordinator has a defect, and other studies are waiting."""
T = TypeVar("T")


def keep_to_itself(_: GrowingFile) -> None:
    """Tell nobody of the file."""


class TransferRefusedError(InterruptError):
    """The coordinator does not take, or does not have, what is to be transferred."""


class Transfers:
    """The transfers of one site, one at a time.

    Args:
        connect: makes a client of the control plane with the site's present certificate.
        folder: where what is fetched is kept while it is used.
        wait: waits through an outage.
    """

    def __init__(self, connect: Callable[[], ControlClient], folder: Path, wait: Wait) -> None:
        self._connect = connect
        self._folder = folder
        self._wait = wait
        self._client: ControlClient | None = None
        self._begun: tuple[str, Callable[[], Fields]] | None = None
        """The mask of the update that began to leave, and what waits for the coordinator's answer."""

    def close(self) -> None:
        """End the connection, and what is on its way."""
        self._begun = None
        if self._client is not None:
            self._client.close()
            self._client = None

    def fetch(
        self, study: str, number: int, note: BlobNote, on_fetching: Callable[[GrowingFile], None] = keep_to_itself
    ) -> memoryview:
        """Fetch the aggregate of round ``number``, whose length and digest are those of ``note``.

        ``on_fetching`` is told of its file before the first byte comes. The file ends as whole if it is that aggregate.

        Raises:
            TransferRefusedError: the coordinator has none, or this site has no room for it.
            WireError: it is another one than the message names.
        """
        try:
            return self._fetch(study, number, note, on_fetching)
        except StorageError as error:  # no failure of the study's: it passes when people make room
            raise TransferRefusedError(str(error)) from None

    def _fetch(
        self, study: str, number: int, note: BlobNote, on_fetching: Callable[[GrowingFile], None]
    ) -> memoryview:
        file, whole = GrowingFile(self._folder), False

        def continue_fetching(client: ControlClient) -> None:
            for each in client.stream("FetchAggregate", study=study, round=number, offset=file.size):
                data = each["data"]
                if file.size + len(data) > note.length:
                    raise WireError(f"the aggregate of round {number} has more than the {note.length} bytes named")
                file.write(data)

        try:
            on_fetching(file)
            self._carry_through(continue_fetching)
            if (file.size, file.sha256) != (note.length, note.sha256):
                raise WireError(f"the aggregate of round {number} is not the one that the message names")
            fetched, whole = file.map(), True
            return fetched
        finally:
            file.end(whole=whole)

    def begin(self, update: OutgoingUpdate) -> None:
        """Begin to send an update that is sealed meanwhile, if the coordinator can be reached; :meth:`send` ends it."""
        with contextlib.suppress(Error):
            parts = _make_parts(update.study, update.mask, update.length, 0, update.read())
            self._begun = update.mask, self._open().begin_sending("Upload", parts)

    def send(self, study: str, mask: str, note: BlobNote, blob: bytes | memoryview) -> None:
        """Send a sealed update, whose header has ``mask`` and whose length and digest are those of ``note``.

        Raises:
            TransferRefusedError: the coordinator does not expect it, or stores other bytes than were sent.
        """
        view = memoryview(blob)

        def send_from(client: ControlClient, offset: int) -> Fields:
            return client.send("Upload", _make_parts(study, mask, note.length, offset, _cut(view, offset)))

        def continue_sending(client: ControlClient) -> Fields:
            begun, self._begun = self._begun, None
            if begun is not None and begun[0] == mask:
                return begun[1]()
            offset = client.call("FindUpload", study=study, mask=mask)["stored"]
            state = send_from(client, offset)
            if offset and state["sha256"] != note.sha256:  # what was there is not the beginning of this update
                state = send_from(client, 0)
            return state

        if self._carry_through(continue_sending) != {"stored": note.length, "sha256": note.sha256}:
            raise TransferRefusedError("the coordinator has stored another update than was sent")

    def _open(self) -> ControlClient:
        if self._client is None:
            self._client = self._connect()
        return self._client

    def _carry_through(self, transfer: Callable[[ControlClient], T]) -> T:
        """Make a transfer, again and again through an outage."""
        delay, longest = _RETRY_S
        broken = 0
        while True:
            try:
                return transfer(self._open())
            except (NotRunningError, BrokenCallError) as error:
                self.close()  # the next connection shows the present certificate
                broken = broken + 1 if isinstance(error, BrokenCallError) else 0
                if broken > _MOST_BROKEN:
                    raise TransferRefusedError(str(error)) from None
                self._wait(f"{error}; trying again", delay)
                delay = min(longest, 2 * delay)
            except (WireError, StorageError):
                raise
            except Error as error:
                self.close()
                raise TransferRefusedError(str(error)) from None


def _make_parts(study: str, mask: str, length: int, offset: int, pieces: Iterable[bytes]) -> Iterator[Fields]:
    """Make the parts of an upload; the first says what it is about."""
    yield {"study": study, "mask": mask, "length": length, "offset": offset}
    for data in pieces:
        yield {"data": data}


def _cut(view: memoryview, offset: int) -> Iterator[bytes]:
    """Yield what is in ``view`` from ``offset`` on, in pieces."""
    for start in range(offset, len(view), CHUNK_BYTES):
        yield bytes(view[start : start + CHUNK_BYTES])
