"""DeepWalk for drugs and targets: vectors of a public network, two rules of similarity, and a small scorer of pairs.

::

    public     walks through drugs, targets and diseases -> a vector for each node, and cosines between them
    DBSI       the sum of cosines between the drug and the drugs that are known to bind the target
    TBSI       the sum of cosines between the target and the targets that the drug is known to bind
    private    logit = a1 DBSI + a2 TBSI + sum_k w_k drug_k target_k + b

The rules alone need no training and are the paper's method; the scorer learns from links that are not public what they,
and the product of both vectors, are worth.

Rules:

* a patient here is a drug, and its pairs with targets are its records: epsilon protects whether a company's links of
  that drug were learned from;
* network, vectors and the links that the rules sum over are public. A walk mixes all edges, so that no clipping
  protects one: a private link must not be in the network;
* private links may also go into a rule without any training, with noise: :func:`bound_change` says how much one link
  moves all scores of :func:`score_by_drugs`.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes
from models.layers.heads import count_outputs, shape_outputs

_RULES: Final = 2


class DeepWalkDtiOptions(Options):
    """The options of ``deepwalk-dti``: none; the width of the vectors is that of the data."""


class DeepWalkDti(nn.Module):
    """A linear layer on both rules and on the product of both vectors."""

    def __init__(self, width: int, outputs: tuple[int, ...]) -> None:
        super().__init__()
        self.scorer = nn.Linear(_RULES + width, count_outputs(outputs))
        self._outputs = outputs

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the outputs of ``rules`` (records, 2), ``drug`` and ``target`` (records, width)."""
        product = inputs["drug"] * inputs["target"]
        return shape_outputs(self.scorer(torch.cat([inputs["rules"], product], dim=1)), self._outputs)


def compute_cosines(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute the cosines between ``vectors`` (nodes, width), 0 of a node with itself or of zeros; (nodes, nodes)."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    cosines: NDArray[np.float64] = unit @ unit.T
    np.fill_diagonal(cosines, 0.0)
    return cosines


def score_by_drugs(links: NDArray[np.float64], cosines: NDArray[np.float64]) -> NDArray[np.float64]:
    """Score pairs by drugs alike (DBSI); (drugs, targets).

    Args:
        links: 1 where the drug is known to bind the target, (drugs, targets).
        cosines: between drugs, with zeros on the diagonal.
    """
    scores: NDArray[np.float64] = cosines @ links
    return scores


def score_by_targets(links: NDArray[np.float64], cosines: NDArray[np.float64]) -> NDArray[np.float64]:
    """Score pairs by targets alike (TBSI); (drugs, targets).

    Args:
        links: 1 where the drug is known to bind the target, (drugs, targets).
        cosines: between targets, with zeros on the diagonal.
    """
    scores: NDArray[np.float64] = links @ cosines
    return scores


def bound_change(cosines: NDArray[np.float64], links_each: int = 1) -> float:
    """Bound in L2 how much all scores of a rule change with the links of one patient.

    A link adds one column of ``cosines`` to the scores, so noise of this sensitivity on all scores at once protects it.
    Which links are known is as private as the links: they are left out of a list at the site, not in what is released.

    Args:
        cosines: public ones between drugs, or between targets.
        links_each: the most links that one patient, or one company's drug, has.
    """
    return links_each * float(np.linalg.norm(cosines, axis=1).max())


def build(options: DeepWalkDtiOptions, sizes: Sizes, outputs: tuple[int, ...]) -> DeepWalkDti:
    """Build the scorer for vectors of ``sizes["width"]`` numbers."""
    return DeepWalkDti(sizes["width"], outputs)


MODEL: Final = ModelEntry(
    title="DeepWalk and rules of similarity for drugs and targets",
    domain="drugs",
    options=DeepWalkDtiOptions,
    build=build,
    tasks=("binary",),
    inputs=(
        Input("rules", "number", (_RULES,), "the scores of both rules over the public links, scaled"),
        Input("drug", "number", ("width",), "the drug's vector of the public network"),
        Input("target", "number", ("width",), "the target's vector of the public network"),
    ),
    citation="Zong, Wong and Ngo 2019, Tripartite network-based repurposing method using deep learning to compute "
    "similarities for drug-target prediction, Methods in Molecular Biology 1903:317-328",
    repository="https://github.com/zongnansu1982/drug-target-prediction",
    presets={"paper": DeepWalkDtiOptions(), "small": DeepWalkDtiOptions()},
    # the paper's vectors of 100 numbers
    counts=(Count("paper", {"width": 100}, (), 103), Count("small", {"width": 12}, (), 15)),
    example={"width": 12},
    replaced=(
        Replacement(
            paper="vectors by skip-gram over random walks through all links",
            here="the closed form of it, over public links alone",
            why="a vector depends on every link, so that none could be protected; and every author gets the same ones",
        ),
        Replacement(
            paper="a rule's score is the answer",
            here="both rules and the product of the vectors are inputs of a linear scorer",
            why="the rules have nothing that private links could train",
        ),
        Replacement(
            paper="pairs that are known are skipped",
            here="they are left out at the site, after the scores are released",
            why="which pairs are skipped says which links are known",
        ),
    ),
)
