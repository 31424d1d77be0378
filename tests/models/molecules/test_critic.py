import torch

from models.molecules.convolution import describe_nodes, normalise_bonds
from models.molecules.critic import PENALTY, Critic, compare_with_known, teach_critic
from models.molecules.graphs import ELEMENTS, Graphs, make_molecules
from tests.models.molecules.drawn import draw_molecules


def make_chains(last: str) -> Graphs:
    """Chains of three to eight carbons with another atom at their end."""
    sizes = range(3, 9)
    chains = [(["C"] * size + [last], [(each, each + 1, 1) for each in range(size)]) for size in sizes]
    return make_molecules(chains, 10)


def test_critic_learns_to_tell_built_molecules_from_known_ones() -> None:
    torch.manual_seed(0)
    critic, random = Critic(16), torch.Generator().manual_seed(0)
    known, made = make_chains("O"), make_chains("Cl")
    optimiser = torch.optim.Adam(critic.parameters(), lr=3e-3, betas=(0.5, 0.9))
    distances = [teach_critic(critic, optimiser, known, made, random) for _ in range(150)]
    assert distances[-1] > distances[0] + 0.05
    assert float(compare_with_known(critic, made, known).max()) < float(
        compare_with_known(critic, known, known).min()
    )
    assert float(compare_with_known(critic, known, known).max()) == 0  # none gains by it


def test_penalty_is_that_of_slopes_by_small_differences() -> None:
    torch.manual_seed(0)
    critic = Critic(8).double()
    known, made = draw_molecules(1, 3, 4, 1), draw_molecules(1, 3, 2, 2)
    share = torch.tensor([0.3], dtype=torch.float64)
    found = critic.compute_penalty(known, made, share)
    between = [0.3 * one.double() + 0.7 * two.double() for one, two in (
        (describe_nodes(known), describe_nodes(made)), (normalise_bonds(known), normalise_bonds(made))
    )]  # fmt: skip
    squares = 0.0
    for part in range(2):
        for place in range(between[part].numel()):
            ends = []
            for change in (-1e-6, 1e-6):
                moved = [each.clone() for each in between]
                moved[part].view(-1)[place] += change
                ends.append(float(critic.criticise(*moved).detach()))
            squares += ((ends[1] - ends[0]) / 2e-6) ** 2
    torch.testing.assert_close(float(found.detach()), PENALTY * (squares**0.5 - 1) ** 2, rtol=1e-4, atol=1e-6)


def test_numbering_of_atoms_does_not_matter_and_new_atoms_are_not_judged() -> None:
    torch.manual_seed(0)
    critic = Critic(8)
    graphs = make_molecules([(["C", "O", "N"], [(0, 1, 1), (1, 2, 1)])], 3)
    moved = make_molecules([(["N", "O", "C"], [(0, 1, 1), (1, 2, 1)])], 3)
    torch.testing.assert_close(critic(graphs), critic(moved))
    nodes = describe_nodes(graphs)
    assert nodes.shape[1] == 3 + len(ELEMENTS)
    nodes[:, 3:] = nodes[:, 3:].flip(1)
    torch.testing.assert_close(critic.criticise(nodes, normalise_bonds(graphs)), critic(graphs))
