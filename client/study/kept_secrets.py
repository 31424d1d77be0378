"""Keep a study's secrets across a restart: encrypted to the site, and no more than it needs.

* ``attempt.sealed``: the seed of the own mask and the signed header of the one attempt that this site sealed last.
  With it a restarted site can still release. It is written before the sealed update leaves, and replaced whole by
  the next attempt's, so there is at most one. It is removed when its round is applied, and at the end.
* ``keys.sealed``: study keys of committed or sealed rounds. They are kept as long as this site, or a member of the
  roster that took no part in them, has still to open them (:func:`find_epochs_to_keep`). With it the study survives
  a restart of all sites at once.

Rules:

* session keys and pair secrets are never written to disk: a single update stays under its pair masks, even if a
  disk is read;
* how many attempts are released is decided by ``state.json`` alone: a seed on disk adds none;
* when the study ends here (closed, given up, withdrawn or abandoned), both files are removed;
* a file that does not open (the site's key was changed, or the file is damaged) counts as lost: the site logs it
  and continues in the next key epoch.

The key is derived from the site's identity key (HKDF-SHA256, RFC 5869). The cipher is AES-256-GCM (NIST SP
800-38D), bound to the study's launch and the file's purpose.
"""

import logging
from collections.abc import Collection, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Final, TypeVar

from pydantic import Field

from client.study.history import AppliedRound
from client.study.round_files import CARRIED_NOISE
from privacy import labels
from privacy.base64url import decode_wrapped_key, encode_wrapped_key
from privacy.canonical import from_canonical, to_canonical
from privacy.document import Document, parse
from privacy.errors import SealingError, StorageError, WireError
from privacy.files import replace_file, sync_folder
from privacy.keys import SigningKey, unwrap, wrap
from privacy.protocol.headers import Header
from privacy.secure_aggregation.schemes.bfv import StudyKey
from privacy.signed import Signed
from privacy.study.launch import Launch

KEPT_LABEL: Final = labels.make_prefix(labels.KEPT_SECRETS)
ATTEMPT_FILE: Final = "attempt.sealed"
KEYS_FILE: Final = "keys.sealed"

_log = logging.getLogger(__name__)

D = TypeVar("D", bound=Document)


class KeptAttempt(Document):
    """The attempt whose mask this site can still release."""

    round: int
    attempt: int
    epoch: int
    cohort: tuple[str, ...]
    own_seed: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    header: Signed[Header]


class KeptKeys(Document):
    """Study keys, by epoch."""

    keys: dict[Annotated[str, Field(pattern=r"^[0-9]{1,12}$")], str]


class KeptSecrets:
    """The files of one study's secrets at a site."""

    def __init__(self, folder: Path, launch: Launch, identity: SigningKey) -> None:
        self._folder = folder
        self._launch = launch
        self._key = identity.derive_own_key(KEPT_LABEL)
        for name in (ATTEMPT_FILE, KEYS_FILE):
            for unfinished in folder.glob(f".{name}.*"):  # a power cut came before the rename
                unfinished.unlink(missing_ok=True)

    def load_attempt(self) -> KeptAttempt | None:
        """Load the attempt that was sealed last; None if there is none, or it does not open."""
        return self._read(ATTEMPT_FILE, KeptAttempt)

    def keep_attempt(self, attempt: KeptAttempt) -> None:
        """Store ``attempt`` in place of the last one; durable when this returns."""
        self._write(ATTEMPT_FILE, attempt)

    def load_keys(self) -> dict[int, StudyKey]:
        """Load the study keys that are kept, by epoch; those that do not open are lost."""
        kept = self._read(KEYS_FILE, KeptKeys)
        try:
            texts = {} if kept is None else kept.keys
            return {int(epoch): StudyKey.from_bytes(decode_wrapped_key(text)) for epoch, text in texts.items()}
        except (SealingError, WireError) as error:
            _log.warning("%s: %s", self._folder / KEYS_FILE, error)
            return {}

    def keep_keys(self, keys: Mapping[int, StudyKey]) -> None:
        """Store exactly these keys; durable when this returns."""
        kept = KeptKeys(
            keys={str(epoch): encode_wrapped_key(key.to_bytes()) for epoch, key in sorted(keys.items())}
        )
        if not keys:
            self._forget(KEYS_FILE)
        elif kept != self._read(KEYS_FILE, KeptKeys):
            self._write(KEYS_FILE, kept)

    def forget_attempt(self) -> None:
        """Remove the attempt; durable when this returns."""
        self._forget(ATTEMPT_FILE)

    def _read(self, name: str, kind: type[D]) -> D | None:
        path = self._folder / name
        try:
            return parse(
                from_canonical(unwrap(self._key, path.read_bytes(), self._make_context(name))),
                kind,
                WireError,
                name,
            )
        except FileNotFoundError:
            return None
        except (OSError, WireError) as error:
            _log.warning("%s: cannot be used: %s", path, error)
            return None

    def _write(self, name: str, document: Document) -> None:
        sealed = wrap(self._key, document.to_bytes(), self._make_context(name))
        replace_file(self._folder / name, sealed, StorageError)

    def _forget(self, *names: str) -> None:
        forget_kept_secrets(self._folder, *names)

    def _make_context(self, name: str) -> bytes:
        return to_canonical({"study": self._launch.study, "launch": self._launch.digest, "file": name})


def forget_kept_secrets(folder: Path, *names: str) -> None:
    """Remove files of a study's secrets, all if none is named; durable when this returns.

    Called whenever the study has ended here, however it ended.
    """
    paths = [folder / name for name in names or (ATTEMPT_FILE, KEYS_FILE)]
    if not names:
        paths += folder.glob(CARRIED_NOISE)
    kept = [path for path in paths if path.exists()]
    for path in kept:
        path.unlink(missing_ok=True)
    if kept:
        sync_folder(folder)


def find_epochs_to_keep(applied: Sequence[AppliedRound], roster: Collection[str]) -> set[int]:
    """Return the epochs of applied rounds that a member of the roster may still have to open without their keys.

    A site that sealed in a round has applied all rounds before it, and keeps that round's key until it is applied
    too. So after a round of the whole roster no other site needs the keys up to that round.
    """
    whole = len(roster)  # a cohort is of the roster
    return {each.epoch for each in takewhile(lambda each: len(each.sites) < whole, reversed(applied))}
