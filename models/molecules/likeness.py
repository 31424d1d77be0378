"""Which proteins a new molecule may bind: those of the known drugs that it is like.

::

    code       of an atom: its element, its bonds and neighbours; then those of its neighbours too, and of theirs
    likeness   of two molecules: codes of both, over codes of either (Tanimoto)
    binding    the likeness to the most alike drug that binds a protein, as the share of known drugs that
               bind it when they are so alike: each is asked as if it were not known

Rules:

* a code does not depend on how atoms are numbered, nor on where the double bonds of a ring were put;
* the curve from likeness to binding never falls. It is that of the proteins that it is asked for;
* this stands for the paper's network of affinities, whose weights are not public. It cannot tell what no known drug is
  like, and says so by small numbers.

Sources: Rogers and Hahn 2010, Extended-connectivity fingerprints, Journal of Chemical Information and Modeling 50, for
the codes; Keiser et al. 2007, Relating protein pharmacology by ligand chemistry, Nature Biotechnology 25, for the idea.
"""

from collections.abc import Collection, Sequence
from typing import Final

import torch
from sklearn.isotonic import IsotonicRegression

from models.errors import ModelError
from models.molecules.graphs import NOTHING, Graphs

BITS: Final = 2048
RADIUS: Final = 2
_FIRST: Final = -7046029254386353131  # of splitmix64, as signed numbers: 0x9E3779B97F4A7C15
_SECOND: Final = -4658895280553007687  # 0xBF58476D1CE4E5B9


def fingerprint(graphs: Graphs) -> torch.Tensor:
    """Tell which codes each molecule has; (molecules, bits)."""
    there = graphs.atoms != NOTHING
    joined = graphs.bonds > 0
    codes = _mix((graphs.atoms * 8 + graphs.bonds.sum(2)) * 8 + joined.sum(2))
    found = torch.zeros(len(graphs.atoms), BITS + 1, dtype=torch.bool)
    for _ in range(RADIUS + 1):
        found.scatter_(1, torch.where(there, codes.remainder(BITS), BITS), True)
        # a sum, so that the order of neighbours does not matter
        codes = _mix(codes + _mix((_mix(codes)[:, None] * joined).sum(2)))
    return found[:, :BITS]


def _mix(numbers: torch.Tensor) -> torch.Tensor:
    """Scatter 64-bit numbers: equal ones stay equal, and all others look as drawn."""
    numbers = (numbers + _FIRST) * _SECOND
    return (numbers ^ (numbers >> 29)) * _FIRST


def compare_fingerprints(ones: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Compute how alike molecules are, 0 to 1, from their fingerprints; (ones, others)."""
    shared = ones.float() @ others.float().T
    return shared / (ones.sum(1)[:, None] + others.sum(1)[None] - shared).clamp(min=1)


class BindingByLikeness:
    """The chance that a molecule binds each of some proteins, from known drugs that bind them.

    Args:
        drugs: fingerprints of known drugs; (drugs, bits).
        targets: the proteins that each drug binds.
        proteins: those that are asked for.

    Attributes:
        proteins: those of them that at least two drugs bind: of the others nothing is known.
        nearest: of each known drug, asked as if it were not known, and each protein, the likeness to the most alike
            drug that binds it; (drugs, proteins).
        binds: whether it does; (drugs, proteins).

    Raises:
        ModelError: no protein is bound by two drugs.
    """

    def __init__(self, drugs: torch.Tensor, targets: Sequence[Collection[int]], proteins: Sequence[int]) -> None:
        bound = torch.tensor([[protein in each for protein in proteins] for each in targets])
        enough = bound.sum(0) >= 2
        if not bool(enough.any()):
            raise ModelError(
                f"none of the {len(proteins)} proteins is bound by two known drugs: nothing can be said of new ones"
            )
        self.proteins = [protein for protein, kept in zip(proteins, enough.tolist(), strict=True) if kept]
        self._drugs, self.binds = drugs, bound[:, enough]
        self.nearest = self._find_nearest(compare_fingerprints(drugs, drugs).fill_diagonal_(0.0))
        self._curve = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(
            self.nearest.flatten().numpy(), self.binds.flatten().numpy()
        )

    def _find_nearest(self, alike: torch.Tensor) -> torch.Tensor:
        """Find the likeness to the most alike drug of each protein; (molecules, proteins)."""
        return torch.stack([alike[:, binding].amax(1) for binding in self.binds.T], 1)

    def predict(self, graphs: Graphs) -> torch.Tensor:
        """Predict the chance that each molecule binds each of :attr:`proteins`; (molecules, proteins)."""
        nearest = self._find_nearest(compare_fingerprints(fingerprint(graphs), self._drugs))
        chances = self._curve.predict(nearest.flatten().numpy())
        return torch.from_numpy(chances).float().view_as(nearest)
