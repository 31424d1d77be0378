"""What a chemist would not make although no valence is broken: alarms of a molecule.

======================  =====================================================================================
alarm, each time        what
======================  =====================================================================================
cumulated bonds         a carbon or nitrogen with two double bonds
strained bond           a double or triple bond in a ring of three or four, a triple bond in one below eight
odd ring                a bond whose smallest ring has more than seven atoms
heteroatoms in a row    O-O, S-S, a halogen at another heteroatom; an N or O with single bonds to two N or O
hydrogen at P or S      but for that of a thiol
======================  =====================================================================================

These are filters of a reward, no judgement of toxicity: a short list of what builders of molecules overdo.
"""

from collections.abc import Sequence
from typing import Final

import torch

from models.molecules.graphs import Graphs, count_hydrogens, list_bonds, list_symbols

Neighbours = Sequence[dict[int, int]]
"""Of each atom: its neighbours, and the order of the bond to each."""

_HALOGENS: Final = frozenset({"F", "Cl", "Br", "I"})
_LARGEST_RING: Final = 7
_STRAINED: Final = {2: 4, 3: 7}  # the largest ring that strains a bond of this order


def count_alarms(graphs: Graphs) -> torch.Tensor:
    """Count the alarms of each molecule; (molecules,), int64."""
    hydrogens = count_hydrogens(graphs).tolist()
    return torch.tensor([_count(graphs, row, hydrogens[row]) for row in range(len(graphs.atoms))])


def _count(graphs: Graphs, row: int, hydrogens: Sequence[int]) -> int:
    symbols, bonds = list_symbols(graphs, row), list_bonds(graphs, row)
    neighbours: list[dict[int, int]] = [{} for _ in symbols]
    for one, two, order in bonds:
        neighbours[one][two] = neighbours[two][one] = order
    alarms = 0
    for one, two, order in bonds:
        ring = find_ring(neighbours, one, two)
        alarms += ring > _LARGEST_RING or 0 < ring <= _STRAINED.get(order, 0)
        alarms += _are_reactive(symbols[one], symbols[two])
    for atom, symbol in enumerate(symbols):
        orders = list(neighbours[atom].values())
        alarms += symbol in ("C", "N") and orders.count(2) > 1
        alarms += hydrogens[atom] > 0 and (symbol == "P" or (symbol == "S" and len(orders) > 1))
        row_of = [other for other, order in neighbours[atom].items() if order == 1 and symbols[other] in ("N", "O")]
        alarms += symbol in ("N", "O") and len(row_of) > 1
    return alarms


def _are_reactive(one: str, two: str) -> bool:
    return (one == two and one in ("O", "S")) or ("C" not in (one, two) and (one in _HALOGENS or two in _HALOGENS))


def find_ring(neighbours: Neighbours, one: int, two: int) -> int:
    """Find how many atoms the smallest ring with the bond between two atoms has; 0 if it is in none."""
    seen, border, atoms = {one}, {one}, 1
    while border:
        border = {
            other
            for atom in border
            for other in neighbours[atom]
            if other not in seen and (atom, other) != (one, two)
        }
        atoms += 1
        if two in border:
            return atoms
        seen |= border
    return 0
