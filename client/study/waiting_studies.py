"""Keep the launches that wait for this site's people: ``studies/STUDY/waiting.json``.

Rules:

* a launch is kept when the coordinator first asks for it, and again each time it asks: ``consilium-site approve`` shows
  exactly what was asked;
* it is gone once the study is admitted or refused, once the coordinator gives the study up, and once nobody has asked
  for it for as long as its terms allow (``cohort.abandon_after_days``);
* at most ``MAX_WAITING`` launches wait: a coordinator cannot fill this site's disk with them.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from client.site.folder import SiteFolder
from privacy.document import Document, read_document
from privacy.errors import RefusedError, SiteConfigError, StorageError
from privacy.files import replace_file
from privacy.ledger.ledger import read_utc_time
from privacy.refusal_codes import RefusalCode
from privacy.study.launch import Launch, SignedLaunch

MAX_WAITING: Final = 50
WAITING_FILE: Final = "waiting.json"


class WaitingStudy(Document):
    """A launch that waits for people; times are UTC, by this machine's clock."""

    launch: SignedLaunch
    since: str
    asked: str
    """When the coordinator last asked for it."""

    @property
    def study(self) -> str:
        """The study's identifier."""
        return self.launch.statement.study


class WaitingStudies:
    """The launches that wait at the site in ``home``."""

    def __init__(self, home: SiteFolder, clock: Callable[[], datetime] = read_utc_time) -> None:
        self._home = home
        self._clock = clock

    def keep(self, signed: SignedLaunch) -> WaitingStudy:
        """Keep a launch for which the coordinator asks now.

        Raises:
            RefusedError: too many launches wait.
            StorageError: it cannot be written now.
        """
        known, now = self.find(signed.statement.study), f"{self._clock():%Y-%m-%dT%H:%M:%SZ}"
        if known is None and len(self._list_paths()) >= MAX_WAITING:
            raise RefusedError(
                RefusalCode.UNAVAILABLE,
                f"{MAX_WAITING} studies wait for this site's people already; ask again later",
            )
        kept = WaitingStudy(launch=signed, since=now if known is None else known.since, asked=now)
        path = self._build_path(kept.study)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"{path.parent}: cannot be made: {error.strerror}", "disk") from None
        replace_file(path, kept.to_bytes(), StorageError)
        return kept

    def find(self, study: str) -> WaitingStudy | None:
        """Return the launch of ``study`` that waits; None if none does.

        Raises:
            StorageError: its file is damaged.
        """
        path = self._build_path(study)
        if not path.exists():
            return None
        return read_document(path, WaitingStudy, StorageError, "remove it: the coordinator asks again")

    def require(self, study: str) -> WaitingStudy:
        """Return the launch of ``study`` that waits.

        Raises:
            SiteConfigError: none does; those that wait are named.
        """
        found = self.find(study)
        if found is None:
            waiting = ", ".join(each.study for each in self.list_all()) or "none"
            raise SiteConfigError(f"no study '{study}' waits for a decision here; studies that wait: {waiting}")
        return found

    def list_all(self) -> list[WaitingStudy]:
        """List the launches that wait, oldest first.

        Raises:
            StorageError: a file is damaged.
        """
        found = [self.find(path.parent.name) for path in self._list_paths()]
        return sorted((each for each in found if each is not None), key=lambda each: (each.since, each.study))

    def forget(self, study: str) -> None:
        """Forget a launch; its folder too, if nothing else is in it."""
        path = self._build_path(study)
        path.unlink(missing_ok=True)
        if path.parent.exists() and not any(path.parent.iterdir()):
            path.parent.rmdir()

    def forget_if_given_up(self, study: str, launch: str) -> None:
        """Forget the launch of this digest, which its coordinator has given up.

        Raises:
            RefusedError: another launch waits under this name.
        """
        known = self.find(study)
        if known is None:
            return
        if known.launch.statement.digest != launch:
            raise RefusedError(RefusalCode.REFUSED, "another launch of this study waits here")
        self.forget(study)

    def forget_abandoned(self) -> list[str]:
        """Forget every launch for which nobody has asked for as long as its terms allow; return their studies."""
        now, gone = self._clock(), []
        for each in self.list_all():
            if now >= datetime.fromisoformat(each.asked) + _find_patience(each.launch.statement):
                self.forget(each.study)
                gone.append(each.study)
        return gone

    def _build_path(self, study: str) -> Path:
        return self._home.find_study_folder(study) / WAITING_FILE

    def _list_paths(self) -> list[Path]:
        return sorted((self._home.folder / "studies").glob(f"*/{WAITING_FILE}"))


def _find_patience(launch: Launch) -> timedelta:
    return timedelta(days=launch.terms.cohort.abandon_after_days)
