"""Pre-train a convolutional tower on public sequences, as the lower part of a discriminator in a generative network.

The generator makes embedded sequences from noise; the discriminator tells them from embedded public ones by what the
tower's convolutions see. Afterwards the tower's weights are public weights like any others, and a study begins with
them (``model.start``). Nothing here may see a record of a site: its gradients are neither clipped nor noised.

Rules:

* the tower's embedding stays as it is: were it trained too, each of the two would follow the other's changes to it;
* a generator widens its noise by ``kernel - 1`` in each of four transposed convolutions, up to the sequence's length;
* nothing is normalised over a batch, so that the tower is the same network as in the study.

Source: Goodfellow et al. 2014, Generative adversarial nets (arXiv 1406.2661).
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Final

import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from models.errors import ModelError
from models.layers.letter_tower import Tower

_NOISE: Final = 100


class Generator(nn.Module):
    """Transposed convolutions from noise to embedded sequences.

    Args:
        tower: whose sequences it imitates; the filters are the tower's in reverse order.
        length: letters of a sequence.

    Raises:
        ModelError: the sequences are shorter than four convolutions make them.
    """

    def __init__(self, tower: Tower, length: int) -> None:
        super().__init__()
        widths = (_NOISE, *reversed([tower.embedding.embedding_dim, *tower.widths]))
        self._first = length - (len(widths) - 1) * (tower.kernel - 1)
        if self._first < 1:
            raise ModelError(
                f"a generator with kernels of {tower.kernel} makes at least {length + 1 - self._first} letters; the "
                f"sequences have {length}"
            )
        self.convolutions = nn.ModuleList(
            nn.ConvTranspose1d(before, after, tower.kernel) for before, after in pairwise(widths)
        )

    def forward(self, records: int) -> torch.Tensor:
        """Draw ``records`` embedded sequences; (records, embedding, length)."""
        values = torch.randn(records, _NOISE, self._first)
        for place, convolution in enumerate(self.convolutions):
            values = convolution(values if not place else torch.nn.functional.elu(values))
        return values


def pretrain_tower(
    tower: Tower, letters: torch.Tensor, steps: int, batch: int = 64
) -> Iterator[tuple[float, float]]:
    """Train ``tower`` on public ``letters`` (sequences, length), one step of both networks for each item.

    Yields the losses of discriminator and generator. What is random comes from torch's generator.
    """
    generator = Generator(tower, letters.shape[1])
    judge = nn.Conv1d(tower.widths[-1], 1, tower.kernel)
    own = [*tower.convolutions.parameters(), *judge.parameters()]
    of_judge, of_generator = (
        torch.optim.Adam(parameters, lr=1e-3, betas=(0.5, 0.999)) for parameters in (own, generator.parameters())
    )

    def score(embedded: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = judge(tower.convolve(embedded)).mean((1, 2))
        return scores

    for _ in range(steps):
        chosen = letters[torch.randint(len(letters), (batch,))]
        real, made = tower.embed(chosen).detach(), generator(batch)
        loss = _compare(score(real), 1.0) + _compare(score(made.detach()), 0.0)
        of_judge.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        of_judge.step()
        deceived = _compare(score(made), 1.0)
        of_generator.zero_grad()
        deceived.backward()  # type: ignore[no-untyped-call]
        of_generator.step()
        yield float(loss.detach()), float(deceived.detach())


def _compare(scores: torch.Tensor, wanted: float) -> torch.Tensor:
    return binary_cross_entropy_with_logits(scores, torch.full_like(scores, wanted))
