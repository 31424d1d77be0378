"""Molecules as graphs of heavy atoms, many at once, that grow by one bond at a time and never break a valence.

::

    atoms     (molecules, places)             which of ELEMENTS is at a place; NOTHING behind the last atom
    bonds     (molecules, places, places)     0, 1, 2 or 3 between two places, the same both ways
    a step    an atom, a second one or a new one of an element, and the order of the bond between them

Rules:

* atoms are neutral, and an atom's bonds have at most :data:`VALENCES` in all. Hydrogens are not among the atoms: they
  fill up to the next of :data:`STATES`. Rings have single and double bonds in turn (Kekulé), none is aromatic;
* a molecule begins as one carbon, and a step joins to what is there: it is always one connected graph;
* a step that would break a valence, repeat a bond or need a further place is none of the allowed ones.

This is what of a chemistry library the generator needs. Such a library (rdkit) stays the judge in the tests, and reads
and writes files in the example.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import torch

from models.errors import ModelError

ELEMENTS: Final = ("C", "N", "O", "F", "P", "S", "Cl", "Br", "I")
STATES: Final = ((4,), (3,), (2,), (1,), (3, 5), (2, 4, 6), (1,), (1,), (1,))
"""What the bonds of an atom of each element have in all, those to hydrogens among them."""

VALENCES: Final = tuple(max(each) for each in STATES)
NOTHING: Final = -1
ORDERS: Final = 3


class Graphs(NamedTuple):
    """Molecules: atoms (molecules, places) and bonds (molecules, places, places), both int64."""

    atoms: torch.Tensor
    bonds: torch.Tensor


class Steps(NamedTuple):
    """A step of each molecule; (molecules,) each.

    Attributes:
        stop: whether the molecule is finished; the rest is then not used.
        first: the place of an atom.
        second: that of another one, or ``places`` and the number of an element: a new atom of it.
        order: of the bond, less one.
    """

    stop: torch.Tensor
    first: torch.Tensor
    second: torch.Tensor
    order: torch.Tensor


def begin_molecules(count: int, places: int) -> Graphs:
    """Return ``count`` molecules of one carbon, with room for ``places`` atoms."""
    atoms = torch.full((count, places), NOTHING)
    atoms[:, 0] = 0
    return Graphs(atoms, torch.zeros(count, places, places, dtype=torch.int64))


def make_molecules(
    molecules: Sequence[tuple[Sequence[str], Sequence[tuple[int, int, int]]]], places: int
) -> Graphs:
    """Make molecules of the symbols of their atoms and of their bonds: two places and an order each.

    Raises:
        ModelError: an element or an order is not known, an atom has more bonds than it can, or there is no room for it.
    """
    atoms = torch.full((len(molecules), places), NOTHING)
    bonds = torch.zeros(len(molecules), places, places, dtype=torch.int64)
    for row, (symbols, joined) in enumerate(molecules):
        if len(symbols) > places or not set(symbols) <= set(ELEMENTS):
            raise ModelError(
                f"expected at most {places} atoms of {', '.join(ELEMENTS)}, got others or {len(symbols)}"
            )
        atoms[row, : len(symbols)] = torch.tensor([ELEMENTS.index(each) for each in symbols], dtype=torch.int64)
        for first, second, order in joined:
            if not (first != second and min(first, second) >= 0 and max(first, second) < len(symbols)):
                raise ModelError(f"expected a bond between two of {len(symbols)} atoms, got {first} and {second}")
            if not 1 <= order <= ORDERS:
                raise ModelError(f"expected a bond of order 1 to {ORDERS}, got {order}")
            bonds[row, first, second] = bonds[row, second, first] = order
    graphs = Graphs(atoms, bonds)
    if bool((count_free(graphs) < 0).any()):
        raise ModelError(f"an atom has more bonds than its valence; those of {', '.join(ELEMENTS)} are {VALENCES}")
    return graphs


def count_free(graphs: Graphs) -> torch.Tensor:
    """Count what further bonds each atom may have in all; (molecules, places), 0 where there is no atom."""
    most = torch.tensor([*VALENCES, 0])[graphs.atoms]  # the last one is that of NOTHING
    return most - graphs.bonds.sum(2)


def count_hydrogens(graphs: Graphs) -> torch.Tensor:
    """Count the hydrogens of each atom; (molecules, places), 0 where there is no atom."""
    table = [
        [
            min((state - bonds for state in states if state >= bonds), default=0)
            for bonds in range(max(VALENCES) + 1)
        ]
        for states in (*STATES, (0,))  # the last one is that of NOTHING
    ]
    return torch.tensor(table)[graphs.atoms, graphs.bonds.sum(2)]


def allow_first(graphs: Graphs) -> torch.Tensor:
    """Tell which atoms a step may begin with: those that some second one can be joined to; (molecules, places)."""
    return allow_pairs(graphs).any(2)


def allow_pairs(graphs: Graphs) -> torch.Tensor:
    """Tell which first and second atoms a step may have; (molecules, places, places + elements)."""
    free, places = count_free(graphs) > 0, graphs.atoms.shape[1]
    among = free[:, :, None] & free[:, None] & (graphs.bonds == 0) & ~torch.eye(places, dtype=torch.bool)
    room = (graphs.atoms == NOTHING).any(1)
    new = (free & room[:, None])[:, :, None].expand(-1, -1, len(ELEMENTS))
    return torch.cat([among, new], dim=2)


def allow_orders(graphs: Graphs, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Tell which bonds may join the chosen atoms; (molecules, orders)."""
    free = torch.cat([count_free(graphs), torch.tensor(VALENCES).expand(len(first), -1)], dim=1)
    rows = torch.arange(len(first))
    least = torch.minimum(free[rows, first], free[rows, second])
    return torch.arange(1, ORDERS + 1) <= least[:, None]


def take_steps(graphs: Graphs, steps: Steps) -> Graphs:
    """Return the molecules after a step of each; those that stop are as they were.

    Raises:
        ModelError: a step is none of the allowed ones.
    """
    rows = torch.arange(len(graphs.atoms))
    moves = ~steps.stop
    allowed = allow_pairs(graphs)[rows, steps.first, steps.second]
    allowed &= allow_orders(graphs, steps.first, steps.second)[rows, steps.order]
    if bool((moves & ~allowed).any()):
        raise ModelError("a step would repeat a bond, break a valence or need more places than there are")
    places = graphs.atoms.shape[1]
    fresh = moves & (steps.second >= places)
    behind = (graphs.atoms != NOTHING).sum(1)
    second = torch.where(fresh, behind, steps.second)
    atoms, bonds = graphs.atoms.clone(), graphs.bonds.clone()
    atoms[rows[fresh], behind[fresh]] = steps.second[fresh] - places
    at, one, two, order = rows[moves], steps.first[moves], second[moves], steps.order[moves] + 1
    bonds[at, one, two] = order
    bonds[at, two, one] = order
    return Graphs(atoms, bonds)


def list_bonds(graphs: Graphs, row: int) -> list[tuple[int, int, int]]:
    """List the bonds of one molecule: two places, the smaller one first, and the order of each."""
    upper = torch.triu(graphs.bonds[row])
    return [(int(one), int(two), int(upper[one, two])) for one, two in upper.nonzero().tolist()]


def list_symbols(graphs: Graphs, row: int) -> list[str]:
    """List the symbols of one molecule's atoms."""
    return [ELEMENTS[atom] for atom in graphs.atoms[row].tolist() if atom != NOTHING]


def retrace_steps(graphs: Graphs, row: int, random: torch.Generator) -> list[tuple[Graphs, Steps]]:
    """Build one molecule anew from a carbon of it, and list each state with the step that follows, the stop included.

    The next atom is joined to the latest one that still lacks a neighbour, which of them is drawn, and its further
    bonds to atoms that are there follow at once: so chains are finished and rings closed before something else begins.

    Raises:
        ModelError: the molecule has no carbon, or is not connected.
    """
    atoms, bonds = graphs.atoms[row], graphs.bonds[row]
    places, wanted = len(atoms), int((atoms != NOTHING).sum())
    carbons = (atoms == 0).nonzero()[:, 0].tolist()
    if not carbons:
        raise ModelError("a molecule is built from a carbon; this one has none")
    joined = [row.nonzero()[:, 0].tolist() for row in bonds]
    order = [_draw(carbons, random)]
    state, found = begin_molecules(1, places), []
    while len(order) < wanted:
        borders = ([each for each in joined[last] if each not in order] for last in reversed(order))
        border = next(filter(None, borders), None)
        if border is None:
            raise ModelError("a molecule is one connected graph; this one has several parts")
        atom = _draw(border, random)
        there = [place for place, each in reversed([*enumerate(order)]) if each in joined[atom]]
        for place in there:
            second = places + int(atoms[atom]) if place == there[0] else len(order)
            step = _make_step(False, place, second, int(bonds[order[place], atom]) - 1)
            found.append((state, step))
            state = take_steps(state, step)
        order.append(atom)
    return [*found, (state, _make_step(True, 0, 0, 0))]


def _draw(among: Sequence[int], random: torch.Generator) -> int:
    return among[int(torch.randint(len(among), (1,), generator=random))]


def _make_step(stop: bool, first: int, second: int, order: int) -> Steps:
    return Steps(*(torch.tensor([each]) for each in (stop, first, second, order)))
