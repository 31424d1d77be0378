"""The jobs of the process that trains: frozen, each with everything that its answer depends on.

A job's type argument is the type of its answer: ``training.run(TrainRound(...))`` gives a :class:`TrainedRound`.

========================  ========================================================  ===============================
job                       what is done                                              answer
========================  ========================================================  ===============================
:class:`FirstModel`       the shared model before the first round; no record        (P,)
:class:`ExportModel`      name the tensors of the plain model; no record            tensors by name
:class:`ExportPersonal`   name the tensors of the personal layers; no record        tensors by name
:class:`TrainRound`       local training of one round, with the site's own noise    :class:`TrainedRound`
:class:`ShareRound`       a share of the sum that the cohort noises together        :class:`SharedRound`
:class:`ScoreModel`       count what test patients add to the totals, or what all   (cells,)
                          patients add to statistics
:class:`ListTrained`      tell which shared parameters a round trains; no record    ranges, or None for all
========================  ========================================================  ===============================
"""

from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from models.parameters.vector import Vector
from privacy.mechanisms.distributed_noise import SharedNoise

Integers = NDArray[np.uint32]
Tensors = dict[str, NDArray[np.float32]]
R = TypeVar("R", covariant=True)


class TrainedRound(NamedTuple):
    """The update of one round's local training, (P,), and the site's personal layers afterwards, (Q,).

    ``carried``: the noise of the last steps, (bands - 1, P), that a later round cancels; None where none does.
    """

    update: Vector
    personal: Vector
    carried: Vector | None = None


class SharedRound(NamedTuple):
    """A site's share of a noised sum, (d,), and its personal layers afterwards, (Q,)."""

    integers: Integers
    personal: Vector


class Job(Generic[R]):
    """Work for the process that trains; its answer is an ``R``."""


@dataclass(frozen=True)
class FirstModel(Job[Vector]):
    """Build the shared model before the first round; (P,)."""


@dataclass(frozen=True)
class ExportModel(Job[Tensors]):
    """Name the tensors of the plain model: adapters merged, personal layers at their first values.

    Attributes:
        model: (P,) the shared model.
    """

    model: Vector


@dataclass(frozen=True)
class ExportPersonal(Job[Tensors]):
    """Name the tensors of the personal layers.

    Attributes:
        personal: (Q,) their values; None for their first values.
    """

    personal: Vector | None


@dataclass(frozen=True)
class TrainRound(Job[TrainedRound]):
    """Train locally for one round.

    Attributes:
        model: (P,) the shared model at the beginning.
        number: the round.
        noise_multiplier: sigma; None without privacy.
        key: 32 secret bytes that decide sampling and noise: the same key repeats the same draw.
        correction: (P,) added to every gradient; None adds nothing.
        personal: (Q,) the personal layers now; None for their first values.
        carried: (bands - 1, P) the noise that is carried on, where noise is correlated; None if there is none yet.
    """

    model: Vector
    number: int
    noise_multiplier: float | None
    key: bytes = field(repr=False)
    correction: Vector | None = None
    personal: Vector | None = None
    carried: Vector | None = field(default=None, repr=False)


@dataclass(frozen=True)
class ShareRound(Job[SharedRound]):
    """Make this site's share of the sum that a cohort noises together, with noise of ``variance``.

    One global step from ``model``, or the whole update of local training where the site is the unit.

    Attributes:
        model: (P,) the shared model at the beginning.
        number: the round.
        noise: the noise that the cohort adds together.
        variance: of this site's own share of the noise, in squared grid units.
        key: as in :class:`TrainRound`.
        personal: as in :class:`TrainRound`.
    """

    model: Vector
    number: int
    noise: SharedNoise
    variance: int
    key: bytes = field(repr=False)
    personal: Vector | None = None


@dataclass(frozen=True)
class ScoreModel(Job[tuple[int, ...]]):
    """Count what the test patients add to the cells of the totals; (cells,).

    Attributes:
        model: (P,) the shared model.
        noise_multiplier: of the noise on every cell; None for none.
        personal: (Q,) the personal layers; None for their first values.
        key: 32 secret bytes that decide the noise; None for fresh noise.
        honest: how many sites' shares make up the noise of a study of statistics; None where each site adds all of it.
    """

    model: Vector
    noise_multiplier: float | None
    personal: Vector | None = None
    key: bytes | None = field(default=None, repr=False)
    honest: int | None = None


@dataclass(frozen=True)
class ListTrained(Job["tuple[tuple[int, int], ...] | None"]):
    """List where the parameters that round ``number`` trains are in the shared vector; None: everywhere."""

    number: int
