"""Molecules that random allowed steps make, and rdkit's view of them."""

from typing import Any

import torch

from models.molecules.graphs import (
    Graphs,
    Steps,
    allow_orders,
    allow_pairs,
    begin_molecules,
    list_bonds,
    list_symbols,
    take_steps,
)


def draw_molecules(count: int, places: int, steps: int, seed: int) -> Graphs:
    """Take ``steps`` random allowed steps from a carbon; molecules without any stop early."""
    random = torch.Generator().manual_seed(seed)
    graphs = begin_molecules(count, places)
    for _ in range(steps):
        pairs = allow_pairs(graphs).flatten(1)
        stop = ~pairs.any(1)
        chosen = torch.multinomial(pairs.float() + stop[:, None], 1, generator=random)[:, 0]
        width = allow_pairs(graphs).shape[2]
        first, second = chosen // width, chosen % width
        orders = allow_orders(graphs, first, second)
        order = torch.multinomial(orders.float() + stop[:, None], 1, generator=random)[:, 0]
        graphs = take_steps(graphs, Steps(stop, first, second, order))
    return graphs


def show_rdkit(graphs: Graphs, row: int) -> Any:
    """The molecule as rdkit has it, not yet sanitised."""
    from rdkit import Chem

    editable = Chem.RWMol()
    for symbol in list_symbols(graphs, row):
        editable.AddAtom(Chem.Atom(symbol))
    kinds = (Chem.BondType.SINGLE, Chem.BondType.DOUBLE, Chem.BondType.TRIPLE)
    for one, two, order in list_bonds(graphs, row):
        editable.AddBond(one, two, kinds[order - 1])
    return editable.GetMol()
