"""Store what a site keeps of a study, so that a power cut loses nothing and reveals nothing.

* ``launch.json``: what was admitted.
* ``state.json``: how far this site has come; replaced whole, so it is always consistent.
* ``history.jsonl``: a line for each applied round; ``client/study/history.py``.
* ``model-NNNNN.f64``: the shared model after round NNNNN, the shared control variate where there is one, the
  optimiser's moments, and the clipping norm where it adapts; little-endian float64.
* ``best-NNNNN.f64``: the best evaluated model so far, that after round NNNNN, where the terms release the best one.
* ``update-NNNNN.npz``: the integers sealed in a round, in 8, 16 or 32 bits as they need, the variance of the
  distributed noise in them, and for how many patients the range of their sum is; a second attempt seals the same ones,
  in a smaller cohort with more noise.
* ``left-NNNNN.f32``: the residual that rounding left of a round's update, to be added to the next one's (error
  feedback).
* ``control-NNNNN.npz``: the own control variate that a round gives, float32; ``client/study/control_variates.py``
  says which holds.
* ``personal-NNNNN.npz``: this site's personal layers after it trained a round, float32;
  ``client/study/personal_layers.py`` says which hold.
* ``noise-NNNNN.npz``: the noise that a round leaves for a later one to cancel, float64;
  ``client/study/carried_noise.py`` says which is carried on.
* ``draw-NNNNN.key``: the randomness of a round in progress, so that work that a crash interrupted is repeated, not
  drawn anew; written before the round is paid, deleted when the round's update is stored.
* ``totals-NNNNN.key``: the same for the noise on the totals of the model after round NNNNN.
* ``attempt.sealed``, ``keys.sealed``: the few secrets that survive a restart, encrypted;
  ``client/study/kept_secrets.py``.

Session keys and pair secrets are never here: they are in memory only.

What cannot be written now raises :class:`~privacy.errors.StorageError`: nothing was done, and the same request can
be made again. What was written and cannot be read back raises :class:`~privacy.errors.SiteConfigError`.
"""

import io
from collections.abc import Collection
from pathlib import Path
from typing import Final, TypeVar
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from client.study.history import Line, StudyHistory, take_out_of_state
from client.study.round_files import (
    CARRIED_NOISE,
    SharedVectors,
    build_best_path,
    build_model_path,
    forget_own_vectors,
    keep_own_vector,
    make_unreadable_error,
    parse_round_number,
    read_or_make_secret,
    read_own_vector,
)
from client.study.state import BestModel, Counted, StudyState
from models.federated.server_optimiser import make_optimiser
from models.parameters.vector import Vector, compute_vector_digest, get_vector_bytes
from privacy.document import Document, parse, read_document, read_value
from privacy.errors import SiteConfigError, StorageError
from privacy.files import map_file, replace_file
from privacy.study import Terms
from privacy.study.launch import Launch, SignedLaunch

LAUNCH_FILE: Final = "launch.json"
STATE_FILE: Final = "state.json"
_PIECE: Final = 1 << 18  # values written at a time
_RESTORE: Final = "restore the study's folder from backup"

D = TypeVar("D", bound=Document)


class StudyStore:
    """One study's files at a site."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._vectors = SharedVectors()
        self._digested: tuple[str, str] | None = None
        self.signed_launch: SignedLaunch = self._read_document(LAUNCH_FILE, SignedLaunch)
        self.launch: Launch = self.signed_launch.statement
        self.state, self.history = read_state(folder)

    @classmethod
    def create(cls, folder: Path, launch: SignedLaunch, state: StudyState, model: Vector) -> "StudyStore":
        """Create a study's files; the state is written last, so a study is there whole or not at all."""
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(folder / LAUNCH_FILE, launch.to_bytes(), StorageError)
        replace_file(build_model_path(folder, 0), get_vector_bytes(model), StorageError)
        replace_file(folder / STATE_FILE, state.to_bytes(), StorageError)
        return cls(folder)

    @staticmethod
    def exists(folder: Path) -> bool:
        """Return whether the study has begun here."""
        return (folder / STATE_FILE).exists()

    def save(self, *lines: Line, **changes: object) -> None:
        """Change the state, and add ``lines`` to the history; both hold, and are durable, when this returns.

        A crash before that leaves the state and the history as they were.
        """
        mark = self.history.write(lines)
        state = StudyState.model_validate({**self.state.model_dump(), **changes, "history": mark})
        replace_file(self._folder / STATE_FILE, state.to_bytes(), StorageError)
        self.state = state
        self.history.take_in(lines)

    def read_model(self) -> Vector:
        """Read the shared model this site has reached; (P,).

        Raises:
            SiteConfigError: as :meth:`read_shared`.
        """
        return make_optimiser(self.launch.terms).model_of(self.read_shared())

    def digest_model(self) -> str:
        """Return the digest of the model of :meth:`read_model`, which is computed once for each model.

        Raises:
            SiteConfigError: as :meth:`read_shared`.
        """
        state = self.state.model_sha256
        if self._digested is None or self._digested[0] != state:
            model, stored = self.read_model(), self._read_stored()
            self._digested = state, state if len(model) == len(stored) else compute_vector_digest(model)
        return self._digested[1]

    def read_average(self) -> Vector:
        """Read the moving average of the shared models; (P,).

        Raises:
            SiteConfigError: as :meth:`read_shared`.
        """
        return make_optimiser(self.launch.terms).average_of(self.read_shared())

    def read_shared_variate(self) -> Vector:
        """Read the shared control variate that belongs to the model; (P,).

        Raises:
            SiteConfigError: as :meth:`read_shared`.
        """
        return make_optimiser(self.launch.terms).variate_of(self.read_shared())

    def read_shared(self) -> Vector:
        """Read the shared model this site has reached, the shared control variate, and the optimiser's moments.

        Raises:
            SiteConfigError: the file is missing or not the one that was written.
        """
        stored = self._read_stored()
        return stored[:-1] if self._adaptive else stored

    def read_clipping_norm(self) -> float | None:
        """Return the clipping norm of the next round; None without privacy.

        Raises:
            SiteConfigError: as :meth:`read_shared`.
        """
        return float(self._read_stored()[-1]) if self._adaptive else self.launch.terms.privacy.clipping_norm

    @property
    def _adaptive(self) -> bool:
        return self.launch.terms.privacy.adaptive_clipping is not None

    def _read_stored(self) -> Vector:
        """Read all that the sites share, in one vector."""
        return self._vectors.read(
            build_model_path(self._folder, self.state.base), self.state.base, self.state.model_sha256
        )

    def keep_as_best(self) -> BestModel:
        """Store the model this site has reached as the best one; it counts once the state names it."""
        model, number = self.read_model(), self.state.base
        replace_file(build_best_path(self._folder, number), get_vector_bytes(model), StorageError)
        return BestModel(round=number, sha256=compute_vector_digest(model))

    def read_best(self) -> Vector | None:
        """Read the best evaluated model so far, (P,); None where none is kept.

        Raises:
            SiteConfigError: the file is missing or not the one that was written.
        """
        best = self.state.best
        return (
            None
            if best is None
            else SharedVectors().read(build_best_path(self._folder, best.round), best.round, best.sha256)
        )

    def advance(
        self, shared: Vector, base: int, clipping_norm: float | None = None, *lines: Line, **changes: object
    ) -> None:
        """Store the next shared model, moments and norm, then the state that names them; then remove older ones.

        ``lines`` are added to the history.
        """
        before = self.state.base
        shared = _append_norm(self.launch.terms, shared, clipping_norm)
        digest = compute_vector_digest(shared)
        replace_file(build_model_path(self._folder, base), get_vector_bytes(shared), StorageError)
        self._vectors.take_written(build_model_path(self._folder, base), base, digest)
        self.save(*lines, base=base, model_sha256=digest, **changes)
        if before != base:
            build_model_path(self._folder, before).unlink(missing_ok=True)
        for pattern in ("update-*.npz", "draw-*.key", "totals-*.key"):
            for path in self._folder.glob(pattern):
                if parse_round_number(path) <= base:
                    path.unlink(missing_ok=True)
        for path in self._folder.glob("best-*.f64"):
            if self.state.best is None or parse_round_number(path) != self.state.best.round:
                path.unlink(missing_ok=True)

    def read_integers(self, number: int) -> NDArray[np.uint32] | None:
        """Read the integers sealed in round ``number``; None if this site has not trained it.

        Raises:
            SiteConfigError: they are damaged.
        """
        return self._read_update(number)[0] if self._build_update_path(number).exists() else None

    def read_variance(self, number: int) -> int:
        """Read the variance of the distributed noise in a round's integers, in squared grid units.

        Raises:
            SiteConfigError: they are damaged, or missing.
        """
        return self._read_update(number)[1]

    def read_room(self, number: int) -> int:
        """Read for how many patients the sum of a round's integers has room.

        Raises:
            SiteConfigError: as :meth:`read_variance`.
        """
        return self._read_update(number)[2]

    def _read_update(self, number: int) -> tuple[NDArray[np.uint32], int, int]:
        path = self._build_update_path(number)
        try:
            with np.load(path, allow_pickle=False) as file:
                return file["integers"].astype(np.uint32), int(file["variance"]), int(file["room"])
        except (OSError, ValueError, EOFError, KeyError, BadZipFile):
            raise SiteConfigError(
                f"{path}: the integers of round {number} cannot be read; restore it from backup"
            ) from None

    def keep_integers(self, number: int, integers: NDArray[np.uint32], variance: int = 0, room: int = 0) -> None:
        """Store a round's integers, and remove the randomness they were drawn with, which is no longer needed."""
        buffer, kind = io.BytesIO(), np.min_scalar_type(integers.max(initial=0))  # with 16 bits half the bytes
        np.savez(buffer, integers=integers.astype(kind), variance=np.int64(variance), room=np.int64(room))
        replace_file(self._build_update_path(number), buffer.getbuffer(), StorageError)
        self._build_draw_path(number).unlink(missing_ok=True)  # only once the integers are durable

    def read_rounding_residual(self, number: int) -> NDArray[np.float32] | float:
        """Map what rounding left of the update of the last round before ``number``, (P,); 0 if there was none.

        Raises:
            SiteConfigError: it is damaged.
        """
        before = [path for path in self._folder.glob("left-*.f32") if parse_round_number(path) < number]
        if not before:
            return 0.0
        path = max(before)
        try:
            left: NDArray[np.float32] = np.frombuffer(map_file(path), dtype="<f4")
        except (OSError, ValueError):
            left = np.empty(0, dtype=np.float32)
        if len(left) != self.launch.parameters:
            raise SiteConfigError(f"{path}: cannot be read; restore it from backup")
        return left

    def keep_rounding_residual(self, number: int, left: Vector) -> None:
        """Store what rounding left of a round's update."""
        pieces = (left[start : start + _PIECE].astype("<f4").tobytes() for start in range(0, len(left), _PIECE))
        replace_file(self._build_rounding_residual_path(number), pieces, StorageError)
        for path in self._folder.glob("left-*.f32"):
            # the one before stays: a crash before the integers are stored repeats the round from it
            if parse_round_number(path) < number - 1:
                path.unlink(missing_ok=True)

    def forget_rounding_residual(self) -> None:
        """Remove what rounding left, since no round follows."""
        for path in self._folder.glob("left-*.f32"):
            path.unlink(missing_ok=True)

    def read_variate(self, number: int) -> Vector:
        """Read the own control variate that round ``number`` gave; (P,).

        Raises:
            SiteConfigError: it is damaged, or missing.
        """
        variate = read_own_vector(self._build_variate_path(number), number, "control variate")
        if variate.shape != (self.launch.parameters,):
            raise make_unreadable_error(self._build_variate_path(number), number, "control variate")
        return variate

    def keep_variate(self, number: int, variate: Vector) -> None:
        """Store the own control variate that round ``number`` gives."""
        keep_own_vector(self._build_variate_path(number), variate)

    def forget_variates(self, upto: int, but: int | None = None) -> None:
        """Remove the own control variates of rounds up to ``upto``, except for that of round ``but``."""
        forget_own_vectors(self._folder, "control-*.npz", upto, {but})

    def read_personal_layers(self, number: int) -> Vector:
        """Read this site's personal layers as round ``number`` left them; (Q,).

        Raises:
            SiteConfigError: they are damaged, or missing.
        """
        return read_own_vector(self._build_personal_layers_path(number), number, "own layers")

    def keep_personal_layers(self, number: int, values: Vector) -> None:
        """Store what training round ``number`` makes of this site's personal layers."""
        keep_own_vector(self._build_personal_layers_path(number), values)

    def forget_personal_layers(self, upto: int, but: Collection[int | None]) -> None:
        """Remove the personal layers of rounds up to ``upto``, except for those of rounds in ``but``."""
        forget_own_vectors(self._folder, "personal-*.npz", upto, but)

    def read_carried_noise(self, number: int) -> Vector:
        """Read the noise of the last steps of round ``number``; (bands - 1, P).

        Raises:
            SiteConfigError: it is damaged, or missing.
        """
        return read_own_vector(self._build_carried_noise_path(number), number, "noise")

    def keep_carried_noise(self, number: int, noise: Vector) -> None:
        """Store the noise of the last steps of round ``number``, to the bit."""
        keep_own_vector(self._build_carried_noise_path(number), noise, "<f8")

    def forget_carried_noise(self, upto: int, but: int | None) -> None:
        """Remove the noise of rounds up to ``upto``, except for that of round ``but``."""
        forget_own_vectors(self._folder, CARRIED_NOISE, upto, {but})

    def has_draw(self, number: int) -> bool:
        """Return whether the randomness of round ``number`` was drawn, and its update is not stored yet."""
        return self._build_draw_path(number).exists()

    def draw_key(self, number: int) -> bytes:
        """Return the 32 secret bytes behind a round's sampling and noise: fresh the first time, then the same."""
        return read_or_make_secret(self._build_draw_path(number))

    def has_totals_draw(self, base: int) -> bool:
        """Return whether the noise on the totals after round ``base`` was drawn, and they are not stored yet."""
        return self._build_totals_path(base).exists()

    def draw_totals_key(self, base: int) -> bytes:
        """Return the 32 secret bytes behind the noise on totals: fresh the first time, then the same."""
        return read_or_make_secret(self._build_totals_path(base))

    def keep_counted(self, counted: Counted) -> None:
        """Store this site's totals, and remove the randomness they were noised with, which is no longer needed."""
        self.save(counted=counted)
        self._build_totals_path(counted.base).unlink(missing_ok=True)

    @property
    def folder(self) -> Path:
        """Where the study's files are."""
        return self._folder

    def _read_document(self, name: str, kind: type[D]) -> D:
        return read_document(self._folder / name, kind, SiteConfigError, _RESTORE)

    def _build_update_path(self, number: int) -> Path:
        return self._folder / f"update-{number:05d}.npz"

    def _build_rounding_residual_path(self, number: int) -> Path:
        return self._folder / f"left-{number:05d}.f32"

    def _build_variate_path(self, number: int) -> Path:
        return self._folder / f"control-{number:05d}.npz"

    def _build_personal_layers_path(self, number: int) -> Path:
        return self._folder / f"personal-{number:05d}.npz"

    def _build_carried_noise_path(self, number: int) -> Path:
        return self._folder / f"noise-{number:05d}.npz"

    def _build_draw_path(self, number: int) -> Path:
        return self._folder / f"draw-{number:05d}.key"

    def _build_totals_path(self, base: int) -> Path:
        return self._folder / f"totals-{base:05d}.key"


def read_state(folder: Path) -> tuple[StudyState, StudyHistory]:
    """Read how far the site has come in the study of ``folder``, and what it has done in it.

    Raises:
        SiteConfigError: the state or the history cannot be read.
    """
    path = folder / STATE_FILE
    value = read_value(path, SiteConfigError, _RESTORE)
    try:
        lines = take_out_of_state(value) if isinstance(value, dict) else None
    except SiteConfigError as error:
        raise SiteConfigError(f"{path}: cannot be used: {error}; {_RESTORE}") from None
    state = parse(value, StudyState, SiteConfigError, str(path))
    if lines is None:
        return state, StudyHistory.read(folder, state.history)
    return state, StudyHistory.take_over(folder, lines)


def make_first_shared(terms: Terms, model: Vector) -> Vector:
    """Return what is shared before the first round, as it is stored and digested."""
    return _append_norm(terms, make_optimiser(terms).make_initial_state(model), terms.privacy.clipping_norm)


def _append_norm(terms: Terms, shared: Vector, clipping_norm: float | None) -> Vector:
    if terms.privacy.adaptive_clipping is None:
        return shared
    assert clipping_norm is not None, "an adaptive clipping norm has a first one, which the terms check"
    return np.append(shared, np.float64(clipping_norm))  # shared too, so stored and digested with the model
