"""Vectors of codes by skip-gram: every code of a patient predicts the codes of the visits around it.

::

    pair            code c of visit t, and code o of visit t', with |t - t'| <= window; not the same code of one visit
    own loss        -log softmax_o(u . v_c)              v: vectors of codes, u: vectors of them as a context
    outputs         u . (mean of v_c over the visit)     logits of the codes of neighbouring visits, for the task's loss

The own loss of a record is the mean over its pairs; a record without a pair has the loss 0. The softmax runs over the
whole public vocabulary. Sums over pairs need no pairs: with the codes near visit t counted in n_t, and
``lse_c = log sum_k exp(u_k . v_c)``::

    sum over the pairs of code c of visit t = (|n_t| - 1) lse_c - sum_o n_to u_o . v_c + u_c . v_c

The outputs show what the vectors are good for, in recall; their loss is that of the codes of a visit together.
"""

from collections.abc import Mapping
from typing import Final

import torch
from pydantic import Field
from torch import nn

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes
from models.errors import ModelError
from models.layers.own_codes import find_own_codes
from models.layers.visit_outputs import require_outputs_each_visit


class CodeEmbeddingsOptions(Options):
    """The options of ``code-embeddings``.

    Attributes:
        width: length of a vector.
        window: how many visits before and after a code are its context, besides its own visit.
        pair_loss: the weight of the own loss.
        codes_each: of so many different codes of a record the pairs count, those with the lowest numbers.
    """

    width: int = Field(default=300, ge=1, le=4096)
    window: int = Field(default=1, ge=0, le=100)
    pair_loss: float = Field(default=1.0, gt=0, le=1000)
    codes_each: int = Field(default=64, ge=2, le=4096)


class CodeEmbeddings(nn.Module):
    """Vectors of codes, which predict codes nearby."""

    def __init__(self, options: CodeEmbeddingsOptions, codes: int) -> None:
        super().__init__()
        self.codes = SkipGram(codes, options)
        self._pair_loss = options.pair_loss

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return ``outputs``, (records, visits, codes), and ``own_loss`` of the codes' pairs, (records,)."""
        found = self.codes((inputs["visits"] & inputs["present"].unsqueeze(2)).float())
        return {"outputs": found[..., :-1], "own_loss": self._pair_loss * found[..., -1].sum(1)}


class SkipGram(nn.Module):
    """Both vectors of every code, which one layer has, so that a patient's gradient of them is whole."""

    def __init__(self, codes: int, options: CodeEmbeddingsOptions) -> None:
        super().__init__()
        # a study draws other values; these are finite and not all zero, which the engine's self-test needs
        self.vectors = nn.Parameter(torch.empty(codes, options.width).uniform_(-0.1, 0.1))
        self.contexts = nn.Parameter(torch.empty(codes, options.width).uniform_(-0.1, 0.1))
        self._window, self._codes_each = options.window, min(options.codes_each, codes)

    def forward(self, visits: torch.Tensor) -> torch.Tensor:
        """Return the logits of each visit, and its share of the record's mean loss of pairs.

        Args:
            visits: (records, visits, codes), 1 for a code that the visit has, else 0.

        Returns:
            (records, visits, codes + 1).
        """
        middle = visits @ self.vectors / visits.sum(2, keepdim=True).clamp(min=1)  # (records, visits, width)
        return torch.cat([middle @ self.contexts.T, self._compute_pair_losses(visits).unsqueeze(2)], dim=2)

    def _compute_pair_losses(self, visits: torch.Tensor) -> torch.Tensor:
        """Compute the losses of each visit's pairs over the record's number of pairs; (records, visits)."""
        own, kept = find_own_codes(visits, self._codes_each)  # (records, codes_each), (records, visits, codes_each)
        scores = self.vectors[own] @ self.contexts.T  # (records, codes_each, codes)
        normalisers = torch.logsumexp(scores, dim=2)  # (records, codes_each)
        among = scores.gather(2, own.unsqueeze(1).expand(-1, own.shape[1], -1))  # (records, codes_each, codes_each)
        near = sum_nearby(kept, self._window)
        pairs = kept * (near.sum(2, keepdim=True) - 1)  # (records, visits, codes_each), of each code
        itself = among.diagonal(dim1=1, dim2=2).unsqueeze(1)
        losses = pairs * normalisers.unsqueeze(1) - kept * (near @ among.transpose(1, 2) - itself)
        return losses.sum(2) / pairs.sum((1, 2)).clamp(min=1).unsqueeze(1)


def sum_nearby(visits: torch.Tensor, window: int) -> torch.Tensor:
    """Sum each visit with those at most ``window`` before and after it; (records, visits, codes)."""
    places = torch.arange(visits.shape[1], device=visits.device)
    near = (places[:, None] - places).abs() <= window  # (visits, visits)
    return near.to(visits) @ visits


def build(options: CodeEmbeddingsOptions, sizes: Sizes, outputs: tuple[int, ...]) -> CodeEmbeddings:
    """Build the vectors for visits of ``sizes["codes"]`` codes and ``outputs`` (visits, codes).

    Raises:
        ModelError: the task does not ask for one row of outputs for each visit, or not for its codes.
    """
    labels = require_outputs_each_visit("code-embeddings", sizes, outputs)
    if labels != sizes["codes"]:
        raise ModelError(
            f"'code-embeddings' predicts the codes of the visits: expected {sizes['codes']} outputs a visit, got "
            f"{labels}; leave the task's labels out"
        )
    return CodeEmbeddings(options, sizes["codes"])


MODEL: Final = ModelEntry(
    title="Vectors of codes by skip-gram",
    domain="records",
    options=CodeEmbeddingsOptions,
    build=build,
    tasks=("embedding",),
    inputs=(
        Input("visits", "flag", ("visits", "codes"), "which codes a visit has"),
        Input("present", "flag", ("visits",), "which visits exist: the first ones"),
    ),
    citation="Choi, Chiu and Sontag 2016, Learning Low-Dimensional Representations of Medical Concepts, AMIA Summits "
    "on Translational Science Proceedings 2016:41-50",
    repository="https://github.com/clinicalml/embeddings",
    presets={"paper": CodeEmbeddingsOptions(), "small": CodeEmbeddingsOptions(width=16)},
    counts=(
        Count("paper", {"visits": 10, "codes": 942}, (10, 942), 565_200),
        Count("small", {"visits": 5, "codes": 12}, (5, 12), 384),
    ),
    example={"visits": 5, "codes": 12},
    replaced=(
        Replacement(
            paper="a softmax along a tree that is made of the codes' frequencies",
            here="a softmax over the whole public vocabulary",
            why="frequencies are counted in patients; the tree would publish their order",
        ),
        Replacement(
            paper="the codes of a stretch of time in random order, pairs of those that are near each other then",
            here="all pairs of codes of a visit and of the visits nearby",
            why="not because of privacy: the mean over all random orders, without its noise",
        ),
        Replacement(
            paper="steps over pairs of codes, whoever's they are",
            here="a record is a patient's visits, and its loss the mean over its pairs, of the first codes_each codes",
            why="a patient with many pairs must not weigh more than one with few, and no gradient may be unbounded",
        ),
        Replacement(
            paper="pairs of codes alone",
            here="the task's loss as well, in which the codes of a visit predict those of its neighbours together",
            why="not because of privacy: recall at k is counted from these outputs",
        ),
    ),
)
