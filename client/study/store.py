"""What a site keeps of a study, so that a power cut loses nothing and leaks nothing.

* ``launch.json``: what was admitted.
* ``state.json``: how far this site has come; replaced whole, so it is always one moment's truth.
* ``model-NNNNN.f64``: the shared model after round NNNNN, the shared control variate where there is one, the
  optimiser's moments, and the clipping norm where it adapts; little-endian float64.
* ``best-NNNNN.f64``: the best evaluated model so far, that after round NNNNN, where the terms release the best one.
* ``update-NNNNN.npz``: the integers sealed in a round, the variance of the distributed noise in them, and for how
  many patients the range of their sum is; a second attempt seals the same ones, in a smaller cohort with more noise.
* ``left-NNNNN.f32``: what rounding left of a round's update, to be added to the next one's.
* ``control-NNNNN.npz``: the own control variate that a round gives, float32; ``client/study/control_variates.py``
  says which holds.
* ``personal-NNNNN.npz``: this site's own layers after it trained a round, float32;
  ``client/study/personal_layers.py`` says which hold.
* ``draw-NNNNN.key``: the randomness of a round in progress, so that work a crash interrupted is repeated, not drawn
  anew; there before the round is paid, deleted when the round's update is stored.
* ``totals-NNNNN.key``: the same for the noise on the totals of the model after round NNNNN.

* ``attempt.sealed``, ``keys.sealed``: the few secrets that outlive a restart, encrypted;
  ``client/study/kept_secrets.py``.

Session keys and pair secrets are never here: they live in memory only.

What cannot be written now is a :class:`~privacy.errors.StorageError`: nothing was done, and the same request can be
made again. What was written and does not read back is a :class:`~privacy.errors.SiteConfigError`.
"""

import io
from collections.abc import Collection
from pathlib import Path
from typing import Final, TypeVar
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from client.site.folder import Registration
from models.federated.server_optimiser import Optimiser, Rule
from models.parameters.vector import Vector, digest
from privacy.canonical import from_canonical
from privacy.document import Document, parse
from privacy.errors import KeyFileError, SiteConfigError, StorageError, WireError
from privacy.files import replace
from privacy.keys import generate_secret, read_secret
from privacy.protocol.messages import Evaluated
from privacy.randomness import KEY_BYTES
from privacy.study import Terms
from privacy.study.launch import Launch, SignedLaunch

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
    """A round whose aggregate this site has opened: its key epoch, its sites, their public patient counts."""

    round: int
    epoch: int
    sites: tuple[str, ...]
    patients: tuple[int, ...]


class BestModel(Document):
    """The best evaluated model so far: that after ``round``, as ``models/federated/early_stopping.py`` has it."""

    round: int
    sha256: str


class AtEdge(Document):
    """A round whose opened sum has ``values`` of its ``of`` values at the edge of the range: it does not hold them."""

    round: int
    values: int
    of: int


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
    edges: tuple[AtEdge, ...] = ()
    noise_multiplier: float | None = None
    evaluation_noise_multiplier: float | None = None
    released: ReleasedSeed | None = None
    bare_sums: dict[str, str] = Field(default_factory=dict)
    """By digest of the model, the digest of the one cohort in which a sum without noise was released from it."""
    counted: Counted | None = None
    evaluations: tuple[Evaluated, ...] = ()
    best: BestModel | None = None
    applied: tuple[AppliedRound, ...] = ()
    ended_epochs: tuple[int, ...] = ()
    """Key epochs of which an aggregate did not open here: their keys are not taken up again."""
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
        replace(folder / LAUNCH_FILE, launch.to_bytes(), StorageError)
        replace(_model_path(folder, 0), model.astype("<f8").tobytes(), StorageError)
        replace(folder / "state.json", state.to_bytes(), StorageError)
        return cls(folder)

    @staticmethod
    def exists(folder: Path) -> bool:
        """Whether the study has begun here."""
        return (folder / "state.json").exists()

    def save(self, **changes: object) -> None:
        """Change the state; durable when this returns."""
        state = StudyState.model_validate({**self.state.model_dump(), **changes})
        replace(self._folder / "state.json", state.to_bytes(), StorageError)
        self.state = state

    def model(self) -> Vector:
        """The shared model this site has reached; (P,).

        Raises:
            SiteConfigError: as :meth:`shared`.
        """
        return optimiser_of(self.launch.terms).model_of(self.shared())

    def shared_variate(self) -> Vector:
        """The shared control variate that goes with the model; (P,).

        Raises:
            SiteConfigError: as :meth:`shared`.
        """
        return optimiser_of(self.launch.terms).variate_of(self.shared())

    def shared(self) -> Vector:
        """The shared model this site has reached, the shared control variate, and the optimiser's moments.

        Raises:
            SiteConfigError: the file is missing or not the one that was written.
        """
        stored = self._stored()
        return stored[:-1] if self._adaptive else stored

    def clipping_norm(self) -> float | None:
        """The clipping norm of the next round; None without privacy.

        Raises:
            SiteConfigError: as :meth:`shared`.
        """
        return float(self._stored()[-1]) if self._adaptive else self.launch.terms.privacy.clipping_norm

    @property
    def _adaptive(self) -> bool:
        return self.launch.terms.privacy.adaptive_clipping is not None

    def _stored(self) -> Vector:
        """All that the sites share, in one vector."""
        return _read_vector(_model_path(self._folder, self.state.base), self.state.base, self.state.model_sha256)

    def keep_as_best(self) -> BestModel:
        """Store the model this site has reached beside the others; it counts once the state says so."""
        model, number = self.model(), self.state.base
        replace(_best_path(self._folder, number), model.astype("<f8").tobytes(), StorageError)
        return BestModel(round=number, sha256=digest(model))

    def best(self) -> Vector | None:
        """The best evaluated model so far; (P,). None where none is kept.

        Raises:
            SiteConfigError: the file is missing or not the one that was written.
        """
        best = self.state.best
        return None if best is None else _read_vector(_best_path(self._folder, best.round), best.round, best.sha256)

    def advance(self, shared: Vector, base: int, clipping_norm: float | None = None, **changes: object) -> None:
        """Store the next shared model and moments and norm, then say so, then drop what came before them."""
        before = self.state.base
        shared = _with_norm(self.launch.terms, shared, clipping_norm)
        replace(_model_path(self._folder, base), shared.astype("<f8").tobytes(), StorageError)
        self.save(base=base, model_sha256=digest(shared), **changes)
        if before != base:
            _model_path(self._folder, before).unlink(missing_ok=True)
        for pattern in ("update-*.npz", "draw-*.key", "totals-*.key"):
            for path in self._folder.glob(pattern):
                if _number_of(path) <= base:
                    path.unlink(missing_ok=True)
        for path in self._folder.glob("best-*.f64"):
            if self.state.best is None or _number_of(path) != self.state.best.round:
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

    def room(self, number: int) -> int:
        """How many patients the sum has room for whose part a round's integers are.

        Raises:
            SiteConfigError: as :meth:`variance`.
        """
        return self._update(number)[2]

    def _update(self, number: int) -> tuple[NDArray[np.uint32], int, int]:
        path = self._update_path(number)
        try:
            with np.load(path, allow_pickle=False) as file:
                return file["integers"], int(file["variance"]), int(file["room"])
        except (OSError, ValueError, EOFError, KeyError, BadZipFile):
            raise SiteConfigError(
                f"{path}: the integers of round {number} cannot be read; restore it from backup"
            ) from None

    def keep_integers(self, number: int, integers: NDArray[np.uint32], variance: int = 0, room: int = 0) -> None:
        """Store a round's integers; the randomness they were drawn with is no longer needed."""
        buffer = io.BytesIO()
        np.savez(buffer, integers=integers, variance=np.int64(variance), room=np.int64(room))
        replace(self._update_path(number), buffer.getvalue(), StorageError)
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
        replace(self._left_path(number), left.astype("<f4").tobytes(), StorageError)
        for path in self._folder.glob("left-*.f32"):
            if _number_of(path) < number - 1:
                path.unlink(missing_ok=True)

    def forget_left_behind(self) -> None:
        """Remove what rounding left: no round follows."""
        for path in self._folder.glob("left-*.f32"):
            path.unlink(missing_ok=True)

    def variate(self, number: int) -> Vector:
        """The own control variate that round ``number`` gave; (P,).

        Raises:
            SiteConfigError: it is damaged, or not there.
        """
        variate = _read_own(self._variate_path(number), number, "control variate")
        if variate.shape != (self.launch.parameters,):
            raise _unreadable(self._variate_path(number), number, "control variate")
        return variate

    def keep_variate(self, number: int, variate: Vector) -> None:
        """Store the own control variate that round ``number`` gives."""
        _keep_own(self._variate_path(number), variate)

    def forget_variates(self, upto: int, but: int | None = None) -> None:
        """Remove the own control variates of rounds up to ``upto``, but for one."""
        _forget_own(self._folder, "control-*.npz", upto, {but})

    def personal(self, number: int) -> Vector:
        """This site's own layers as round ``number`` left them; (Q,).

        Raises:
            SiteConfigError: they are damaged, or not there.
        """
        return _read_own(self._personal_path(number), number, "own layers")

    def keep_personal(self, number: int, values: Vector) -> None:
        """Store what training round ``number`` makes of this site's own layers."""
        _keep_own(self._personal_path(number), values)

    def forget_personal(self, upto: int, but: Collection[int | None]) -> None:
        """Remove the own layers of rounds up to ``upto``, but for some."""
        _forget_own(self._folder, "personal-*.npz", upto, but)

    def has_draw(self, number: int) -> bool:
        """Whether the randomness of round ``number`` was drawn, and its update is not stored yet."""
        return self._draw_path(number).exists()

    def draw_key(self, number: int) -> bytes:
        """Return the 32 secret bytes behind a round's sampling and noise: fresh the first time, then the same."""
        return _secret_at(self._draw_path(number))

    def has_totals_draw(self, base: int) -> bool:
        """Whether the noise on the totals of the model after round ``base`` was drawn, and they are not stored yet."""
        return self._totals_path(base).exists()

    def totals_key(self, base: int) -> bytes:
        """Return the 32 secret bytes behind the noise on totals: fresh the first time, then the same."""
        return _secret_at(self._totals_path(base))

    def keep_counted(self, counted: Counted) -> None:
        """Store this site's totals; the randomness they were noised with is no longer needed."""
        self.save(counted=counted)
        self._totals_path(counted.base).unlink(missing_ok=True)

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

    def _variate_path(self, number: int) -> Path:
        return self._folder / f"control-{number:05d}.npz"

    def _personal_path(self, number: int) -> Path:
        return self._folder / f"personal-{number:05d}.npz"

    def _draw_path(self, number: int) -> Path:
        return self._folder / f"draw-{number:05d}.key"

    def _totals_path(self, base: int) -> Path:
        return self._folder / f"totals-{base:05d}.key"


def first_shared(terms: Terms, model: Vector) -> Vector:
    """What is shared before the first round, as it is stored and digested."""
    return _with_norm(terms, optimiser_of(terms).start(model), terms.privacy.clipping_norm)


def _with_norm(terms: Terms, shared: Vector, clipping_norm: float | None) -> Vector:
    if terms.privacy.adaptive_clipping is None:
        return shared
    assert clipping_norm is not None, "an adaptive clipping norm has a first one, which the terms check"
    return np.append(shared, np.float64(clipping_norm))


def optimiser_of(terms: Terms) -> Optimiser:
    """The server-side optimiser, which this site runs like all others."""
    training, server = terms.training, terms.training.server
    return Optimiser(
        rule=Rule(server.rule),
        rate=training.server_learning_rate,
        beta1=server.beta1,
        beta2=server.beta2,
        tau=server.tau,
        control_variates=training.control_variates,
    )


def _secret_at(path: Path) -> bytes:
    try:
        key = read_secret(path) if path.exists() else b""
    except KeyFileError as error:
        raise SiteConfigError(str(error)) from None
    if len(key) == KEY_BYTES:
        return key
    try:  # none yet, or cut short before it was ever used
        path.unlink(missing_ok=True)
        generate_secret(path)
        return read_secret(path)
    except (OSError, KeyFileError) as error:
        raise StorageError(f"{path}: randomness cannot be stored: {error}") from None


def _read_own(path: Path, number: int, what: str) -> Vector:
    """A vector that stays at this site; the archive's checksum makes damage show."""
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            values: Vector = file["own_vector"].astype(np.float64)
    except (OSError, ValueError, EOFError, KeyError, BadZipFile):
        raise _unreadable(path, number, what) from None
    return values


def _unreadable(path: Path, number: int, what: str) -> SiteConfigError:
    return SiteConfigError(f"{path}: the {what} of round {number} cannot be read; restore it from backup")


def _keep_own(path: Path, values: Vector) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, own_vector=values.astype("<f4"))
    replace(path, buffer.getvalue(), StorageError)


def _forget_own(folder: Path, pattern: str, upto: int, but: Collection[int | None]) -> None:
    for path in folder.glob(pattern):
        if _number_of(path) <= upto and _number_of(path) not in but:
            path.unlink(missing_ok=True)


def _number_of(path: Path) -> int:
    return int(path.stem.partition("-")[2])


def _model_path(folder: Path, base: int) -> Path:
    return folder / f"model-{base:05d}.f64"


def _best_path(folder: Path, number: int) -> Path:
    return folder / f"best-{number:05d}.f64"


def _read_vector(path: Path, number: int, sha256: str) -> Vector:
    try:
        vector = np.frombuffer(path.read_bytes(), dtype="<f8").astype(np.float64)
    except (OSError, ValueError):
        raise SiteConfigError(f"{path}: the model of round {number} cannot be read") from None
    if digest(vector) != sha256:
        raise SiteConfigError(f"{path}: the model of round {number} was altered; restore it from backup")
    return vector
