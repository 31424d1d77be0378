"""Take sealed updates from sites, and serve them aggregates: the calls that move large files beside the messages.

* An update is taken only while the study's run expects one of this site, of exactly this length. More bytes than that
  are refused before they are written.
* It goes to a file as it comes (``server/study/uploads.py``), and is hashed on the way. After a cut the site asks how
  much is there and sends the rest. Whether it is the one that the site has signed is verified by the run, against the
  header in the site's message, before it is added.
* An aggregate is served from its file, the same bytes to every site that was invited, from any offset.
* One call writes into a file at a time, and a file that is whole takes no further byte: what the run has verified does
  not change while it is added. A file never becomes shorter.
* Neither is read into memory as a whole. A slow site holds up itself: gRPC takes no more of it than is written.
"""

import hashlib
import itertools
import os
import re
from collections.abc import Iterator
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Final

from privacy.errors import FederationError, RefusedCallError
from privacy.files import create_private_file, write_whole
from privacy.protocol.chunks import CHUNK_BYTES
from server.control.caller import Caller
from server.control.server import Fields, Handler, Receiver, Streamer
from server.federation.folder import Federation
from server.study.journal import Journal
from server.study.uploads import Uploads

_MASK: Final = re.compile("[0-9a-f]{64}")


class Transfers:
    """The calls of the data plane of one federation."""

    def __init__(self, federation: Federation) -> None:
        self._federation = federation

    @property
    def handlers(self) -> dict[str, Handler]:
        """The calls with one answer, by name."""
        return {"FindUpload": self._find_upload}

    @property
    def receivers(self) -> dict[str, Receiver]:
        """The calls with a stream of requests, by name."""
        return {"Upload": self._upload}

    @property
    def streamers(self) -> dict[str, Streamer]:
        """The calls with a stream of answers, by name."""
        return {"FetchAggregate": self._fetch_aggregate}

    def _find_upload(self, fields: Fields, caller: Caller) -> Fields:
        uploads, _ = self._require_expected(fields, caller)
        try:
            return {"stored": _measure(uploads.find_path(caller.name, fields["mask"]))}
        except OSError as error:
            raise FederationError(f"the coordinator cannot read the update: {error.strerror}") from None

    def _upload(self, parts: Iterator[Fields], caller: Caller) -> Fields:
        first = next(parts)
        uploads, expected = self._require_expected(first, caller)
        site, mask, offset = caller.name, first["mask"], first["offset"]
        if first["length"] != expected:
            raise RefusedCallError(f"an update of {first['length']} bytes is refused, expected {expected}")
        path = uploads.find_path(site, mask)
        try:
            if offset not in (0, found := _measure(path)):
                raise RefusedCallError(f"the upload cannot continue at {offset}: {found} bytes are here")
            uploads.keep_only(site, mask)
            data = map(itemgetter("data"), itertools.chain((first,), parts))
            stored, digest = _receive(path, offset, expected, data)
        except OSError as error:
            raise FederationError(f"the coordinator cannot store the update: {error.strerror}") from None
        return {"stored": stored, "sha256": digest if stored == expected else ""}

    def _require_expected(self, fields: Fields, caller: Caller) -> tuple[Uploads, int]:
        """Return the study's uploads, and the length of the update that is expected of the caller.

        Raises:
            RefusedCallError: none is expected, or the call names none.
        """
        if not _MASK.fullmatch(fields["mask"]):
            raise RefusedCallError("an upload is named by its header's mask, 64 hexadecimal digits")
        folder = self._federation.require_study_folder(fields["study"])
        _require_invited(folder, caller)
        uploads = Uploads.of_study(folder)
        expected = uploads.read_expected(caller.name)
        if expected is None:
            raise RefusedCallError(f"no update of '{caller.name}' is expected in {fields['study']} now")
        return uploads, expected

    def _fetch_aggregate(self, fields: Fields, caller: Caller) -> Iterator[Fields]:
        folder = self._federation.require_study_folder(fields["study"])
        _require_invited(folder, caller)
        with Journal(folder) as journal:
            path = journal.find_aggregate_path(fields["round"])
        try:
            with path.open("rb") as file:
                file.seek(fields["offset"])
                yield from map(_make_part, iter(partial(file.read, CHUNK_BYTES), b""))
        except OSError:
            raise RefusedCallError(f"there is no aggregate of round {fields['round']}") from None


def _require_invited(folder: Path, caller: Caller) -> None:
    """Refuse a site that is not in the study's roster, with the key that it has now.

    Raises:
        RefusedCallError: it is not.
    """
    with Journal(folder) as journal:
        roster = {member.name: member.identity for member in journal.read_launch().statement.roster}
    if roster.get(caller.name) != caller.identity:
        raise RefusedCallError(f"'{caller.name}' was not invited to {folder.name}")


def _make_part(data: bytes) -> Fields:
    return {"data": data}


def _measure(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _receive(path: Path, offset: int, expected: int, chunks: Iterator[bytes]) -> tuple[int, str]:
    """Append chunks at ``offset``, the file's end, or write a new file; return its length and SHA-256 then.

    A file never becomes shorter: the study's run may have mapped it, and would die of that.

    Raises:
        RefusedCallError: more comes than is expected, and nothing beyond is written; or nobody expects it any more.
    """
    if not offset:
        path.unlink(missing_ok=True)
        create_private_file(path).close()
    with path.open("r+b", buffering=0) as file:
        digest = hashlib.sha256()
        while known := file.read(CHUNK_BYTES):
            digest.update(known)
        stored, begun = offset, False
        for data in chunks:
            if stored + len(data) > expected:
                raise RefusedCallError(f"more than the {expected} bytes of the update have come")
            if begun and not data:
                raise RefusedCallError("a part of an update is empty")
            if not os.fstat(file.fileno()).st_nlink:
                raise RefusedCallError("the update is not expected any more")
            write_whole(file, data)
            digest.update(data)
            stored, begun = stored + len(data), True
            del data  # 64 sites may wait here for their next part
    return stored, digest.hexdigest()
