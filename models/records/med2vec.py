"""Med2Vec: vectors of codes and of visits, learned from which codes stand together and which visits are neighbours.

::

    code vectors   E = relu(W_c)                  one column for each code, never negative
    visit          u = relu(W_c codes + b_c),  v = relu(W_v u + b_v)
    outputs        W_s v + b_s                    logits of the codes of neighbouring visits, for the task's loss
    own loss       -log softmax_j(E_i . E_j)      for codes i and j of one visit, i before j and j before i

The own loss of a record is the mean over the ordered pairs of all its visits; a record without a pair has the loss 0.
Sums over pairs need no pairs. With the codes S of a visit and ``lse_i = log sum_k exp(E_i . E_k)``::

    sum over i, j in S, i != j, of (lse_i - E_i . E_j) = (|S| - 1) sum_i lse_i - |sum_i E_i|^2 + sum_i |E_i|^2
"""

from collections.abc import Mapping
from typing import Final

import torch
from pydantic import Field
from torch import nn

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes
from models.layers.own_codes import find_own_codes
from models.layers.visit_outputs import require_outputs_each_visit


class Med2VecOptions(Options):
    """The options of ``med2vec``.

    Attributes:
        code_width: length of a code's vector.
        visit_width: length of a visit's vector.
        code_loss: the weight of the own loss; the paper adds both losses.
        codes_each: of so many different codes of a record the pairs count, those with the lowest numbers.
    """

    code_width: int = Field(default=200, ge=1, le=4096)
    visit_width: int = Field(default=200, ge=1, le=4096)
    code_loss: float = Field(default=1.0, gt=0, le=1000)
    codes_each: int = Field(default=64, ge=2, le=4096)


class Med2Vec(nn.Module):
    """Code vectors, a visit vector of them, and a linear layer on each visit."""

    def __init__(self, options: Med2VecOptions, codes: int, labels: int) -> None:
        super().__init__()
        self.codes = CodeVectors(codes, options.code_width, options.codes_each)
        self.visit = nn.Linear(options.code_width, options.visit_width)
        self.head = nn.Linear(options.visit_width, labels)
        self._code_loss = options.code_loss

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return ``outputs``, (records, visits, labels), and ``own_loss`` of the codes' pairs, (records,)."""
        visits = (inputs["visits"] & inputs["present"].unsqueeze(2)).float()
        found = self.codes(visits)  # (records, visits, code_width + 1)
        return {
            "outputs": self.head(torch.relu(self.visit(torch.relu(found[..., :-1])))),
            "own_loss": self._code_loss * found[..., -1].sum(1),
        }


class CodeVectors(nn.Module):
    """The vectors of all codes, which embed a visit and whose scalar products tell codes that stand together.

    One layer does both, so that a patient's gradient of the vectors is whole.
    """

    def __init__(self, codes: int, width: int, codes_each: int) -> None:
        super().__init__()
        # a study draws other values; these are finite and not all zero, which the engine's self-test needs
        self.weight = nn.Parameter(torch.empty(width, codes).uniform_(-0.1, 0.1))
        self.bias = nn.Parameter(torch.zeros(width))
        self._codes_each = min(codes_each, codes)

    def forward(self, visits: torch.Tensor) -> torch.Tensor:
        """Return each visit's vector before its rectifier, and its share of the record's mean loss of pairs.

        Args:
            visits: (records, visits, codes), 1 for a code that the visit has, else 0.

        Returns:
            (records, visits, width + 1).
        """
        embedded = nn.functional.linear(visits, self.weight, self.bias)
        return torch.cat([embedded, self._compute_pair_losses(visits).unsqueeze(2)], dim=2)

    def _compute_pair_losses(self, visits: torch.Tensor) -> torch.Tensor:
        """Compute the losses of each visit's ordered pairs over the record's number of pairs; (records, visits)."""
        # only the record's own codes have a row in the matrix of scalar products, which would else be codes x codes
        own, kept = find_own_codes(visits, self._codes_each)  # (records, codes_each), (records, visits, codes_each)
        vectors = torch.relu(self.weight).T  # (codes, width)
        rows = vectors[own]  # (records, codes_each, width)
        normalisers = torch.logsumexp(rows @ vectors.T, dim=2)  # (records, codes_each)
        each = (kept * normalisers.unsqueeze(1)).sum(2)
        together = (kept @ rows).square().sum(2) - (kept * rows.square().sum(2).unsqueeze(1)).sum(2)
        codes = kept.sum(2)
        pairs = (codes * (codes - 1)).sum(1, keepdim=True)
        return ((codes - 1).clamp(min=0) * each - together) / pairs.clamp(min=1)


def build(options: Med2VecOptions, sizes: Sizes, outputs: tuple[int, ...]) -> Med2Vec:
    """Build Med2Vec for visits of ``sizes["codes"]`` codes and ``outputs`` (visits, labels).

    Raises:
        ModelError: the task does not ask for one row of outputs for each visit.
    """
    return Med2Vec(options, sizes["codes"], require_outputs_each_visit("med2vec", sizes, outputs))


MODEL: Final = ModelEntry(
    title="Med2Vec, vectors of codes and visits",
    domain="records",
    options=Med2VecOptions,
    build=build,
    tasks=("embedding",),
    inputs=(
        Input("visits", "flag", ("visits", "codes"), "which codes a visit has"),
        Input("present", "flag", ("visits",), "which visits exist: the first ones"),
    ),
    citation="Choi, Bahadori, Searles, Coffey, Thompson, Bost, Tejedor-Sojo and Sun 2016, Multi-layer Representation "
    "Learning for Medical Concepts, Proceedings of the 22nd ACM SIGKDD Conference, 1495-1504",
    repository="https://github.com/mp2893/med2vec",
    presets={"paper": Med2VecOptions(), "small": Med2VecOptions(code_width=16, visit_width=16)},
    counts=(
        Count("paper", {"visits": 10, "codes": 942}, (10, 942), 418_142),
        Count("small", {"visits": 5, "codes": 12}, (5, 12), 684),
    ),
    example={"visits": 5, "codes": 12},
    replaced=(
        Replacement(
            paper="batches of visits that run across patients, losses divided by the batch's numbers of pairs",
            here="a record is a patient's visits, both losses are means within it",
            why="a patient's gradient must not depend on who else is in the batch",
        ),
        Replacement(
            paper="pairs of all codes of a visit",
            here="of the first codes_each different codes of a record, 64 unless the terms say otherwise",
            why="a patient's gradient takes memory that must be bounded; the softmax still runs over all codes",
        ),
        Replacement(
            paper="Adadelta, and the squared code vectors in the loss",
            here="the engine's steps, and no penalty",
            why="a penalty belongs to no patient; noise and clipping already regularise",
        ),
        Replacement(
            paper="demographics beside the codes of a visit",
            here="codes alone; demographic groups can be codes",
            why="not because of privacy: one input less that every site must have",
        ),
    ),
    figures="On 3 million visits of a children's hospital and on Medicare claims the paper reports better predictions "
    "than with skip-gram, GloVe and stacked autoencoders (Choi et al. 2016).",
)
