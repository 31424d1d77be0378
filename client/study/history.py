"""Keep the history of a study at a site: one line for each applied round, in a file that only grows.

``history.jsonl`` has a line of canonical JSON for every round whose aggregate this site has opened, and one for every
model from which it has released a sum without noise. ``state.json`` names how many bytes of it hold, and their SHA-256.

Rules:

* what a round adds is written once: a round costs the same after a thousand rounds as after one;
* lines are added and durable before the state that names them is. What a crash leaves behind the named bytes counts for
  nothing, and the next line is written over it;
* a file that is shorter than named, or has other bytes there, is refused;
* reading writes nothing: other commands read a study while it runs;
* a state of an earlier version holds all of this itself (:func:`take_out_of_state`); the first change after it writes
  the file.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field, TypeAdapter, ValidationError

from models.federated.early_stopping import RankedEvaluations
from privacy.canonical import from_canonical
from privacy.document import Document
from privacy.errors import SiteConfigError, StorageError, WireError
from privacy.files import replace_file, sync_folder, write_whole
from privacy.protocol.headers import Evaluated
from privacy.study import Terms

HISTORY_FILE: Final = "history.jsonl"
_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
_MOVED: Final = ("applied", "evaluations", "edges", "noiseless_sums")
"""What the state held itself, before it had a file of its own."""


class AtEdge(Document):
    """A round whose opened sum has ``values`` of its ``of`` values at the edge: the range does not hold them."""

    round: int
    values: int
    of: int


class AppliedRound(Document):
    """A round whose aggregate this site has opened: its key epoch, its sites, their public patient counts.

    ``evaluated`` are the totals that the aggregate carried, ``edge`` says if the range did not hold its sum.
    """

    kind: Literal["applied"] = "applied"
    round: int
    epoch: int
    sites: tuple[str, ...]
    patients: tuple[int, ...]
    evaluated: Evaluated | None = None
    edge: AtEdge | None = None


class NoiselessSum(Document):
    """A sum without noise was released from a model: both by their digest, the one cohort that may open it."""

    kind: Literal["noiseless-sum"] = "noiseless-sum"
    model: str
    cohort: str


Line = AppliedRound | NoiselessSum
_LINE: Final[TypeAdapter[Line]] = TypeAdapter(Line, config={"defer_build": True})


class HistoryMark(Document):
    """How much of the file holds: its first ``size`` bytes, which have this SHA-256."""

    size: int = Field(default=0, ge=0)
    sha256: str = hashlib.sha256().hexdigest()


class StudyHistory:
    """What one study has done at this site so far, and the file that keeps it."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / HISTORY_FILE
        self._digest = hashlib.sha256()
        self._size = 0
        self._unwritten = b""
        """Lines that an earlier version kept elsewhere."""
        self._applied: list[AppliedRound] = []
        self._evaluations: list[Evaluated] = []
        self._edges: list[AtEdge] = []
        self._noiseless_sums: dict[str, str] = {}
        self._patients: dict[str, int] = {}
        self._ranked: RankedEvaluations | None = None

    @classmethod
    def read(cls, folder: Path, mark: HistoryMark) -> "StudyHistory":
        """Read the lines that ``mark`` names.

        Raises:
            SiteConfigError: they are not there, or were altered.
        """
        history = cls(folder)
        data = b""
        if mark.size:
            try:
                with history._path.open("rb") as file:
                    data = file.read(mark.size)
            except OSError as error:
                raise history._make_error(error.strerror or "no reason given") from None
        history._digest.update(data)
        history._size = len(data)
        if history.mark != mark:
            raise history._make_error("it is not what was written")
        try:
            for line in data.splitlines():
                history._add(_LINE.validate_python(from_canonical(line)))
        except (ValidationError, WireError):
            raise history._make_error("it is not of this version") from None
        return history

    @classmethod
    def take_over(cls, folder: Path, lines: Sequence[Line]) -> "StudyHistory":
        """Make a history of ``lines``, which are in no file yet."""
        history = cls(folder)
        history._unwritten = _format(lines)
        for line in lines:
            history._add(line)
        return history

    @property
    def mark(self) -> HistoryMark:
        """How much of the file holds."""
        return HistoryMark(size=self._size, sha256=self._digest.hexdigest())

    @property
    def applied(self) -> Sequence[AppliedRound]:
        """The rounds that were applied, in their order."""
        return self._applied

    @property
    def evaluations(self) -> Sequence[Evaluated]:
        """The totals that were opened, in their order."""
        return self._evaluations

    @property
    def edges(self) -> Sequence[AtEdge]:
        """The rounds whose sum the range did not hold, in their order."""
        return self._edges

    @property
    def patients(self) -> Mapping[str, int]:
        """The public patient count that each site has shown last in an applied round; others are left out."""
        return self._patients

    @property
    def noiseless_sums(self) -> Mapping[str, str]:
        """For each model, by digest, the digest of the one cohort in which a sum without noise was released from it."""
        return self._noiseless_sums

    def rank(self, terms: Terms) -> RankedEvaluations:
        """Rank the totals that were opened by ``terms``, those of this study; each is ranked once."""
        if self._ranked is None:
            self._ranked = RankedEvaluations(terms)
        for each in self._evaluations[len(self._ranked) :]:
            self._ranked.add(each.counts)
        return self._ranked

    def write(self, lines: Sequence[Line]) -> HistoryMark:
        """Write ``lines`` to the file, durable when this returns; return the mark with which they hold.

        They hold once a state names the mark, and :meth:`take_in` is called then.

        Raises:
            StorageError: they cannot be written now.
            SiteConfigError: lines that were there before are gone.
        """
        data = self._unwritten + _format(lines)
        if data and self._size:
            self._write_behind(data)
        elif data:
            replace_file(self._path, data, StorageError)
        digest = self._digest.copy()
        digest.update(data)
        return HistoryMark(size=self._size + len(data), sha256=digest.hexdigest())

    def take_in(self, lines: Sequence[Line]) -> None:
        """Take in lines that were written, and that the state names now."""
        data, self._unwritten = self._unwritten + _format(lines), b""
        self._digest.update(data)
        self._size += len(data)
        for line in lines:
            self._add(line)

    def _write_behind(self, data: bytes) -> None:
        try:
            with os.fdopen(os.open(self._path, _FLAGS, 0o600), "r+b", buffering=0) as file:
                if os.fstat(file.fileno()).st_size < self._size:
                    raise self._make_error("its end is missing")
                file.truncate(self._size)
                file.seek(self._size)
                write_whole(file, data)
                os.fsync(file.fileno())
            sync_folder(self._path.parent)
        except OSError as error:
            raise StorageError(f"{self._path}: cannot be written: {error.strerror}") from None

    def _add(self, line: Line) -> None:
        if isinstance(line, NoiselessSum):
            self._noiseless_sums[line.model] = line.cohort
            return
        self._applied.append(line)
        self._patients.update(zip(line.sites, line.patients, strict=True))
        if line.evaluated is not None:
            self._evaluations.append(line.evaluated)
        if line.edge is not None:
            self._edges.append(line.edge)

    def _make_error(self, why: str) -> SiteConfigError:
        return SiteConfigError(f"{self._path}: cannot be used: {why}; restore the study's folder from backup")


def take_out_of_state(value: dict[str, Any]) -> list[Line] | None:
    """Take the history out of a state of an earlier version, which held it itself; None if it holds none.

    Raises:
        SiteConfigError: it is damaged.
    """
    if not any(name in value for name in _MOVED):
        return None
    moved = {name: value.pop(name, None) for name in _MOVED}
    try:
        totals = {each["opened_in"]: each for each in moved["evaluations"] or ()}
        edges = {each["round"]: each for each in moved["edges"] or ()}
        sums = [
            NoiselessSum(model=model, cohort=cohort) for model, cohort in (moved["noiseless_sums"] or {}).items()
        ]
        rounds = [
            AppliedRound.model_validate(
                {**each, "evaluated": totals.get(each["round"]), "edge": edges.get(each["round"])}
            )
            for each in moved["applied"] or ()
        ]
    except (ValidationError, TypeError, KeyError, AttributeError):
        raise SiteConfigError("the history of the study in it cannot be read") from None
    return [*sums, *rounds]


def _format(lines: Sequence[Line]) -> bytes:
    return b"".join(line.to_bytes() + b"\n" for line in lines)
