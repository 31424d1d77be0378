"""What a site keeps of a study, so that a power cut loses nothing and leaks nothing.

* ``launch.json``: what was admitted.
* ``state.json``: how far this site has come; replaced whole, so it is always one moment's truth.
* ``model-NNNNN.f64``: the shared model after round NNNNN and the optimiser's moments, little-endian float64.
* ``update-NNNNN.npz``: the integers sealed in a round, and the variance of the distributed noise in them; a second
  attempt seals the same ones, in a smaller cohort with more noise.
* ``left-NNNNN.f32``: what rounding left of a round's update, to be added to the next one's.
* ``draw-NNNNN.key``: the randomness of a round in progress, so that work a crash interrupted is repeated, not drawn
  anew; deleted when the round's update is stored.

Keys of an epoch and seeds of own masks are never here: they live in memory only.
"""

import io
from pathlib import Path
from typing import Final, TypeVar
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from client.home import Registration
from models.optimiser import Optimiser, Rule
from models.vector import Vector, digest
from privacy.canonical import from_canonical
from privacy.document import Document, parse
from privacy.durable import replace
from privacy.errors import KeyFileError, SiteConfigError, WireError
from privacy.keys import generate_secret, read_secret
from privacy.launch import Launch, SignedLaunch
from privacy.study import Terms
from privacy.wire import Evaluated

LAUNCH_FILE: Final = "launch.json"

D = TypeVar("D", bound=Document)


class ReleasedSeed(Document):
    """The one attempt of a round for which this site has released its mask."""

    round: int
    attempt: int
    cohort: tuple[str, ...]
    base: int


class Counted(Document):
    """This site's own totals for the model after round ``base``: drawn once, sealed as often as needed."""

    base: int
    counts: tuple[int, ...]


class AppliedRound(Document):
    """A round whose aggregate this site has opened, and the sites it was made of."""

    round: int
    sites: tuple[str, ...]


class StudyState(Document):
    """How far this site has come in a study."""

    base: int = 0
    model_sha256: str
    patients: int
    """The public patient count this study was admitted with."""
    registration: Registration
    """The files it was admitted with; what is registered later is for later studies."""
    objections: tuple[str, ...] = ()
    """Keyed digests of patients who had objected when it was admitted: they take no part in it."""
    reference: int | None = None
    halvings: int = 0
    """How often the terms' value range is halved in the next round."""
    noise_multiplier: float | None = None
    evaluation_noise_multiplier: float | None = None
    released: ReleasedSeed | None = None
    counted: Counted | None = None
    evaluations: tuple[Evaluated, ...] = ()
    applied: tuple[AppliedRound, ...] = ()
    closed: bool = False


class StudyStore:
    """One study's files at a site."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.signed_launch: SignedLaunch = self._document(LAUNCH_FILE, SignedLaunch)
        self.launch: Launch = self.signed_launch.statement
        self.state: StudyState = self._document("state.json", StudyState)

    @classmethod
    def create(cls, folder: Path, launch: SignedLaunch, state: StudyState, model: Vector) -> "StudyStore":
        """Begin: the state is written last, so a study is there whole or not at all."""
        folder.mkdir(parents=True, exist_ok=True)
        replace(folder / LAUNCH_FILE, launch.to_bytes(), SiteConfigError)
        replace(_model_path(folder, 0), model.astype("<f8").tobytes(), SiteConfigError)
        replace(folder / "state.json", state.to_bytes(), SiteConfigError)
        return cls(folder)

    @staticmethod
    def exists(folder: Path) -> bool:
        """Whether the study has begun here."""
        return (folder / "state.json").exists()

    def save(self, **changes: object) -> None:
        """Change the state; durable when this returns."""
        state = StudyState.model_validate({**self.state.model_dump(), **changes})
        replace(self._folder / "state.json", state.to_bytes(), SiteConfigError)
        self.state = state

    def model(self) -> Vector:
        """The shared model this site has reached; (P,).

        Raises:
            SiteConfigError: as :meth:`shared`.
        """
        return optimiser_of(self.launch.terms).model_of(self.shared())

    def shared(self) -> Vector:
        """The shared model this site has reached, and the optimiser's moments.

        Raises:
            SiteConfigError: the file is missing or not the one that was written.
        """
        path = _model_path(self._folder, self.state.base)
        try:
            vector = np.frombuffer(path.read_bytes(), dtype="<f8").astype(np.float64)
        except (OSError, ValueError):
            raise SiteConfigError(f"{path}: the model of round {self.state.base} cannot be read") from None
        if digest(vector) != self.state.model_sha256:
            raise SiteConfigError(
                f"{path}: the model of round {self.state.base} was altered; restore it from backup"
            )
        return vector

    def advance(self, shared: Vector, base: int, **changes: object) -> None:
        """Store the next shared model and moments, then say so, then drop what came before them."""
        before = self.state.base
        replace(_model_path(self._folder, base), shared.astype("<f8").tobytes(), SiteConfigError)
        self.save(base=base, model_sha256=digest(shared), **changes)
        if before != base:
            _model_path(self._folder, before).unlink(missing_ok=True)
        for path in (*self._folder.glob("update-*.npz"), *self._folder.glob("draw-*.key")):
            if _number_of(path) <= base:
                path.unlink(missing_ok=True)

    def integers(self, number: int) -> NDArray[np.uint32] | None:
        """The integers sealed in round ``number``, if this site has trained it.

        Raises:
            SiteConfigError: they are damaged.
        """
        return self._update(number)[0] if self._update_path(number).exists() else None

    def variance(self, number: int) -> int:
        """The variance of the distributed noise in a round's integers, in grid units.

        Raises:
            SiteConfigError: they are damaged, or not there.
        """
        return self._update(number)[1]

    def _update(self, number: int) -> tuple[NDArray[np.uint32], int]:
        path = self._update_path(number)
        try:
            with np.load(path, allow_pickle=False) as file:
                return file["integers"], int(file["variance"])
        except (OSError, ValueError, EOFError, KeyError, BadZipFile):
            raise SiteConfigError(
                f"{path}: the integers of round {number} cannot be read; restore it from backup"
            ) from None

    def keep_integers(self, number: int, integers: NDArray[np.uint32], variance: int = 0) -> None:
        """Store a round's integers; the randomness they were drawn with is no longer needed."""
        buffer = io.BytesIO()
        np.savez(buffer, integers=integers, variance=np.int64(variance))
        replace(self._update_path(number), buffer.getvalue(), SiteConfigError)
        self._draw_path(number).unlink(missing_ok=True)

    def left_behind(self, number: int) -> Vector | float:
        """What rounding left of the update of the last round before ``number``; 0 if there was none.

        Raises:
            SiteConfigError: it is damaged.
        """
        before = [path for path in self._folder.glob("left-*.f32") if _number_of(path) < number]
        if not before:
            return 0.0
        path = max(before)
        try:
            left = np.frombuffer(path.read_bytes(), dtype="<f4").astype(np.float64)
        except (OSError, ValueError):
            left = np.empty(0)
        if len(left) != self.launch.parameters:
            raise SiteConfigError(f"{path}: cannot be read; restore it from backup")
        return left

    def keep_left_behind(self, number: int, left: Vector) -> None:
        """Store what rounding left of a round's update."""
        replace(self._left_path(number), left.astype("<f4").tobytes(), SiteConfigError)
        for path in self._folder.glob("left-*.f32"):
            if _number_of(path) < number - 1:
                path.unlink(missing_ok=True)

    def forget_left_behind(self) -> None:
        """Remove what rounding left: no round follows."""
        for path in self._folder.glob("left-*.f32"):
            path.unlink(missing_ok=True)

    def draw_key(self, number: int) -> bytes:
        """The 32 secret bytes behind a round's sampling and noise: fresh the first time, then the same."""
        path = self._draw_path(number)
        try:
            key = read_secret(path) if path.exists() else b""
        except KeyFileError as error:
            raise SiteConfigError(str(error)) from None
        if len(key) != 32:  # none yet, or cut short before it was ever used
            path.unlink(missing_ok=True)
            generate_secret(path)
            key = read_secret(path)
        return key

    @property
    def folder(self) -> Path:
        """Where the study's files are."""
        return self._folder

    def _document(self, name: str, kind: type[D]) -> D:
        path = self._folder / name
        try:
            value = from_canonical(path.read_bytes())
        except (OSError, WireError) as error:
            raise SiteConfigError(
                f"{path}: cannot be used: {error}; restore the study's folder from backup"
            ) from None
        return parse(value, kind, SiteConfigError, str(path))

    def _update_path(self, number: int) -> Path:
        return self._folder / f"update-{number:05d}.npz"

    def _left_path(self, number: int) -> Path:
        return self._folder / f"left-{number:05d}.f32"

    def _draw_path(self, number: int) -> Path:
        return self._folder / f"draw-{number:05d}.key"


def optimiser_of(terms: Terms) -> Optimiser:
    """The server-side optimiser, which this site runs like all others."""
    server = terms.training.server
    return Optimiser(Rule(server.rule), terms.training.server_learning_rate, server.beta1, server.beta2, server.tau)


def _number_of(path: Path) -> int:
    return int(path.stem.partition("-")[2])


def _model_path(folder: Path, base: int) -> Path:
    return folder / f"model-{base:05d}.f64"
