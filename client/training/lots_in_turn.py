"""Order the lots of a site's round, and carry its noise from round to round, where a study's noise is correlated.

Rules:

* a patient's lot is fixed by the terms and the patient's identifier, in every round of the study;
* a round begins with the first lot, and is whole passes, whichever rounds this site has missed;
* the independent noise of a round comes from the round's own 32 secret bytes, so that a round that is repeated after a
  crash has the same noise, and two rounds never share any;
* what is carried on from another round is the noise of its last steps. It decides how much noise is left in the model,
  never how well a patient is protected (``privacy/accounting/correlated_noise.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.parameters.vector import Vector
from privacy.dpsgd import DpSgd, Mechanism, OrderedSteps, StepNoise, assign_lots
from privacy.errors import TrainingError
from privacy.mechanisms.correlated_noise import BandedNoise, TreesInTurn
from privacy.study import Terms
from privacy.study.fixed_lots import carries_noise, count_bands, count_lots


@dataclass(frozen=True)
class LotsInTurn:
    """The order of lots of one round, and where its noise comes from.

    Attributes:
        lots: (patients,) the lot of each patient.
        count: how many lots there are.
        bands: over how many steps noise is correlated; 1: by a tree for each pass.
        key: 32 secret bytes of this round.
        carried: (bands - 1, P) the noise of the last steps before; None if there is none yet.
    """

    lots: NDArray[np.int64]
    count: int
    bands: int
    key: bytes = field(repr=False)
    carried: Vector | None = field(repr=False)

    def make_noise(self, mechanism: Mechanism, parameters: int) -> BandedNoise | TreesInTurn:
        """Make the noise of sums of gradients of so many ``parameters``.

        Raises:
            TrainingError: the noise that is carried on is of another model.
        """
        assert mechanism.noise_multiplier is not None, "correlated noise needs an epsilon, which the terms check"
        assert mechanism.clipping_norm is not None, "and with it comes a norm"
        deviation = mechanism.noise_multiplier * mechanism.clipping_norm
        if self.bands == 1:
            return TreesInTurn(self.key, parameters, deviation, self.count)
        try:
            return BandedNoise(self.key, parameters, deviation, self.bands, self.carried)
        except ValueError as error:
            raise TrainingError(f"the noise that was carried on is not of this model: {error}") from None

    def order(self, engine: DpSgd, mechanism: Mechanism, noise: StepNoise) -> OrderedSteps:
        """Make the steps of the round."""
        return OrderedSteps(engine, mechanism, self.lots, self.count, noise)


def order_lots(terms: Terms, identifiers: Sequence[str], key: bytes, carried: Vector | None) -> LotsInTurn:
    """Order the lots of one round of ``terms``.

    Run by a site.

    Args:
        terms: the study, whose noise is correlated.
        identifiers: of the training patients, in their order.
        key: 32 secret bytes of this round.
        carried: the noise that is carried on.
    """
    count = count_lots(terms)
    lots = assign_lots(identifiers, terms.digest, count)
    return LotsInTurn(lots, count, count_bands(terms), key, carried if carries_noise(terms) else None)
