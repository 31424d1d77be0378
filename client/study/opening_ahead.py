"""Decrypt an aggregate while it is fetched, by a thread of its own.

Whoever sends an aggregate that is not the one of its signed message must learn nothing by what a site decrypts of it,
and change nothing here. So:

* what is decrypted stays in memory until the whole aggregate has the length and the digest that the message names, and
  the message has passed every check before the opening; only then it is verified. Otherwise it is overwritten;
* fetching never waits for decrypting, fails for it, or is ended by it. Decrypting takes the same steps whatever it
  decrypts (``privacy/secure_aggregation/opening.py``), and what goes wrong in it is said where the aggregate would be
  opened, or never;
* nothing is written or logged here, and nothing of the study changes;
* it counts for exactly the layout, cohort, context and key with which the aggregate is opened. If they turn out to be
  others than the message said, the aggregate is opened anew.

Only large aggregates under BFV: small ones take no time, and the other schemes decrypt in steps that depend on the key.
"""

import threading
from collections.abc import Callable

from client.study.context import StudyContext
from privacy.growing_file import GrowingFile
from privacy.protocol.envelope import BlobNote, Body
from privacy.protocol.headers import Committed
from privacy.secure_aggregation.layout import Layout
from privacy.secure_aggregation.opening import Opening
from privacy.secure_aggregation.process_pool import WORTH_IT
from privacy.secure_aggregation.round_layout import layout_of
from privacy.secure_aggregation.schemes.bfv import StudyKey
from privacy.study import SchemeName

OnFetching = Callable[[Body, GrowingFile], None]
"""Told of a request's aggregate before its first byte comes, and of the file it goes to, so that it may be decrypted
meanwhile. Must not fail or wait."""


def open_later(_: Body, __: GrowingFile) -> None:
    """Leave an aggregate to be opened when it is here."""


class OpeningAhead:
    """An aggregate that is decrypted while it is written to ``file``.

    Args:
        opening: what decrypts it.
        study: what it is of.
        note: its length and digest, as the signed message names them.
        file: it comes here; whoever writes ends it as whole only if the note's length and digest are its own.
    """

    def __init__(self, opening: Opening, study: str, note: BlobNote, file: GrowingFile) -> None:
        self._opening = opening
        self._named = study, (note,)
        self._file = file
        self._taken = self._discarded = False
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="opening", daemon=True)
        self._thread.start()

    def is_named_by(self, body: Body) -> bool:
        """Return whether the message of ``body``, whose blobs were verified, names this aggregate."""
        return (body.study, body.blobs) == self._named

    def take(self, layout: Layout, cohort: tuple[str, ...], context: bytes, study_key: StudyKey) -> Opening | None:
        """Wait until the aggregate is decrypted, and return it to be verified; None if it is of other inputs.

        Run by a site whose message has passed every check, once the aggregate is whole.

        Raises:
            Exception: what went wrong in decrypting it.
        """
        if self._discarded or self._file.failed or not self._opening.is_of(layout, cohort, context, study_key):
            return None
        self._taken = True
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._opening

    def discard(self) -> None:
        """End it, and overwrite what was decrypted, unless it was taken. Nothing more may come of the aggregate."""
        if not (self._taken or self._discarded):
            self._discarded = True
            self._thread.join()
            self._opening.wipe()

    def _run(self) -> None:
        try:
            self._opening.decrypt(self._read)
        except _NotWholeError:
            pass
        except Exception as error:  # said where the aggregate is opened
            self._error = error
        if not self._file.wait_until_whole():
            self._opening.wipe()

    def _read(self, start: int, stop: int) -> bytes:
        data = self._file.read(start, stop)
        if data is None or self._file.failed or self._discarded:
            raise _NotWholeError
        return data


def begin_opening(
    context: StudyContext, committed: Committed, note: BlobNote, file: GrowingFile
) -> OpeningAhead | None:
    """Begin to decrypt the aggregate of ``committed``, a round of ``context``'s study, while it comes to ``file``.

    Nothing is verified, since nothing counts before :meth:`OpeningAhead.take`. None where this site would not come to
    open it, or where it takes no time.

    Raises:
        RefusedError, EpochLostError: the key of its epoch is not held.
        SealingError: its cohort is none.
    """
    base = context.state.base
    if not base < committed.round <= context.terms.last_round or not committed.headers:
        return None
    layout = layout_of(context.launch, committed.round, base)
    if layout.scheme is not SchemeName.BFV or len(layout.blocks) < WORTH_IT:
        return None
    if note.length != layout.compute_aggregate_bytes(len(committed.cohort)):
        return None
    opening = Opening(
        layout,
        cohort=committed.cohort,
        context=committed.view.to_bytes(),
        study_key=context.epochs.find_study_key(committed.epoch),
    )
    return OpeningAhead(opening, context.launch.study, note, file)


class _NotWholeError(Exception):
    """The rest of the aggregate never comes, or nobody wants it."""
