"""Teach policies by a reward: first to imitate known molecules, then proximal policy optimisation.

::

    advantage   A_t = sum over k of (gamma lambda)^k (r_t+k + gamma v_t+k+1 - v_t+k)     gamma 1, lambda 0.95
    loss        -min(ratio A, clip(ratio, 0.8, 1.2) A) + (v - target)^2 / 2 - 0.01 entropy

Two policies build a molecule each, for the same disease, and get their rewards when both have stopped: what is of the
pair counts for both, what is of one molecule for its policy alone. Rewards are learned from in standard deviations of
the first round's, from their mean: else what a policy expects would be learned at the cost of what it does.

**Privacy unit: none.** The molecules come from the policies, and those that are imitated are public. What was learned
from patients enters as a released model alone, so that nothing here costs privacy: it is post-processing.

Sources: Schulman et al. 2017, Proximal policy optimization algorithms, arXiv:1707.06347; Schulman et al. 2016,
High-dimensional continuous control using generalized advantage estimation, arXiv:1506.02438.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple, TypeVar

import torch
from torch import nn

from models.molecules.graphs import Graphs, Steps, begin_molecules, take_steps
from models.molecules.policy import Policy

CLIP: Final = 0.2
ENTROPY: Final = 0.01
LAMBDA: Final = 0.95
_Parts = TypeVar("_Parts", Graphs, Steps)
_NORM: Final = 0.5  # at most, of an update's gradient

Reward = Callable[[Graphs, Graphs, torch.Tensor], torch.Tensor]
"""Of first molecules, second ones, and the number of each pair's disease: the rewards of both policies; (2, pairs)."""


class Episode(NamedTuple):
    """How one policy built its molecules.

    Attributes:
        states: the molecules before each step.
        steps: one for each state.
        chances: logarithms of the steps' chances; (steps, molecules).
        values: expected rewards; (steps, molecules).
        active: where the molecule had not stopped before; (steps, molecules).
        made: the molecules at the end.
    """

    states: list[Graphs]
    steps: list[Steps]
    chances: torch.Tensor
    values: torch.Tensor
    active: torch.Tensor
    made: Graphs


@torch.no_grad()
def build_molecules(
    policy: Policy, diseases: torch.Tensor, places: int, most: int, random: torch.Generator
) -> Episode:
    """Let ``policy`` build a molecule for each of the vectors ``diseases`` (molecules, numbers).

    Args:
        policy: the policy.
        diseases: vectors.
        places: atoms of a molecule, at most.
        most: steps of a molecule; it then ends as it is.
        random: of the draws.
    """
    graphs = begin_molecules(len(diseases), places)
    active = torch.ones(len(diseases), dtype=torch.bool)
    states: list[Graphs] = []
    taken: list[Steps] = []
    chances, values, actives = [], [], []
    while len(states) < most and bool(active.any()):
        steps, judged = policy.choose(graphs, diseases, random)
        steps = steps._replace(stop=steps.stop | ~active)
        states.append(graphs)
        taken.append(steps)
        chances.append(judged.chance)
        values.append(judged.value)
        actives.append(active)
        graphs = take_steps(graphs, steps)
        active = active & ~steps.stop
    return Episode(states, taken, torch.stack(chances), torch.stack(values), torch.stack(actives), graphs)


def compute_advantages(
    rewards: torch.Tensor, values: torch.Tensor, active: torch.Tensor, lambda_: float = LAMBDA
) -> torch.Tensor:
    """Compute generalised advantages where a reward comes with a molecule's last step; (steps, molecules).

    Args:
        rewards: of each molecule; (molecules,).
        values: expected before each step; (steps, molecules).
        active: where there is a step: the first ones of each molecule, at least one; (steps, molecules).
        lambda_: how far a surprise reaches back.
    """
    advantages = torch.zeros_like(values)
    following = torch.zeros_like(rewards)
    for step in reversed(range(len(values))):
        goes_on = active[step + 1] if step + 1 < len(values) else torch.zeros_like(active[step])
        later = torch.where(goes_on, values[min(step + 1, len(values) - 1)], rewards)
        following = torch.where(active[step], later - values[step] + lambda_ * goes_on * following, 0.0)
        advantages[step] = following
    return advantages


def compute_policy_loss(chances: torch.Tensor, before: torch.Tensor, advantages: torch.Tensor) -> torch.Tensor:
    """Compute the clipped loss of steps from the logarithms of their chances, now and as they were drawn; a number."""
    ratio = torch.exp(chances - before)
    return -torch.minimum(ratio * advantages, ratio.clamp(1 - CLIP, 1 + CLIP) * advantages).mean()


def imitate(
    policy: Policy,
    paths: Sequence[tuple[Graphs, Steps]],
    diseases: torch.Tensor,
    random: torch.Generator,
    *,
    steps: int,
    batch: int = 64,
    rate: float = 1e-3,
) -> Iterator[float]:
    """Teach ``policy`` the steps that known molecules are built by; yield each update's loss.

    Args:
        policy: the policy.
        paths: states of one molecule each, with the step that follows.
        diseases: vectors, of which each state is for one that is drawn; (diseases, numbers).
        random: of the draws.
        steps: updates.
        batch: states of an update.
        rate: of Adam.
    """
    states, taken = _join([state for state, _ in paths]), _join([step for _, step in paths])
    optimiser = torch.optim.Adam(policy.parameters(), lr=rate)
    for _ in range(steps):
        chosen = torch.randint(len(paths), (batch,), generator=random)
        wishes = diseases[torch.randint(len(diseases), (batch,), generator=random)]
        judged = policy.judge(_pick(states, chosen), wishes, _pick(taken, chosen))
        yield _update(policy, optimiser, -judged.chance.mean())


class Progress(NamedTuple):
    """One round of learning: the mean reward of the policies, and those pairs with the number of each one's disease."""

    reward: float
    pairs: tuple[Graphs, Graphs]
    diseases: torch.Tensor


def reinforce(
    policies: tuple[Policy, Policy],
    diseases: torch.Tensor,
    reward: Reward,
    random: torch.Generator,
    *,
    rounds: int,
    places: int,
    pairs: int = 32,
    most: int = 40,
    epochs: int = 4,
    batch: int = 256,
    rate: float = 5e-4,
) -> Iterator[Progress]:
    """Teach two policies pairs of molecules that have a great reward; yield the pairs of each round before it.

    Args:
        policies: of the first molecule and of the second.
        diseases: vectors; each pair is for one that is drawn; (diseases, numbers).
        reward: of pairs.
        random: of the draws.
        rounds: of building and learning.
        places: atoms of a molecule, at most.
        pairs: of a round.
        most: steps of a molecule.
        epochs: how often a round's steps are learned from.
        batch: steps of an update.
        rate: of Adam.
    """
    optimisers = [torch.optim.Adam(policy.parameters(), lr=rate) for policy in policies]
    for number in range(rounds):
        numbers = torch.randint(len(diseases), (pairs,), generator=random)
        wishes = diseases[numbers]
        first, second = (build_molecules(policy, wishes, places, most, random) for policy in policies)
        rewards = reward(first.made, second.made, numbers)
        yield Progress(float(rewards.mean()), (first.made, second.made), numbers)
        if not number:
            mean, deviation = rewards.mean(), rewards.std() + 1e-8
        rewards = (rewards - mean) / deviation
        for policy, optimiser, episode, own in zip(policies, optimisers, (first, second), rewards, strict=True):
            advantages = compute_advantages(own, episode.values, episode.active)
            targets = (advantages + episode.values)[episode.active]
            scaled = advantages[episode.active]
            scaled = (scaled - scaled.mean()) / (scaled.std() + 1e-8)
            before = episode.chances[episode.active]
            among = episode.active.flatten()
            states, steps = _pick(_join(episode.states), among), _pick(_join(episode.steps), among)
            asked = wishes.repeat(len(episode.states), 1)[among]
            for _ in range(epochs):
                for chosen in torch.split(torch.randperm(len(before), generator=random), batch):
                    judged = policy.judge(_pick(states, chosen), asked[chosen], _pick(steps, chosen))
                    loss = compute_policy_loss(judged.chance, before[chosen], scaled[chosen])
                    loss = loss + (judged.value - targets[chosen]).square().mean() / 2
                    _update(policy, optimiser, loss - ENTROPY * judged.entropy.mean())


def _update(policy: Policy, optimiser: torch.optim.Optimizer, loss: torch.Tensor) -> float:
    optimiser.zero_grad()
    torch.autograd.backward(loss)
    nn.utils.clip_grad_norm_(policy.parameters(), _NORM)
    optimiser.step()
    return float(loss.detach())


def _join(parts: Sequence[_Parts]) -> _Parts:
    """Put the molecules of all parts behind one another."""
    return type(parts[0])(*(torch.cat(field) for field in zip(*parts, strict=True)))


def _pick(parts: _Parts, chosen: torch.Tensor) -> _Parts:
    return type(parts)(*(field[chosen] for field in parts))
