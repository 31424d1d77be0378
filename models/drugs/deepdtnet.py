"""deepDTnet: a matrix of few factors says from features of public networks which drug binds which protein.

::

    public     networks of drugs and of proteins -> random surfing, mutual information, autoencoders -> features
    private    score = (x W) . (y H)             x, y: features of the drug and of the protein;  W, H: k factors
               logit = 8 (score - 1/2)           a score of 1 is a link, one of 0 is none

A pair that nobody observed is no proof that there is no link: it counts less in the loss, by ``positive_weight`` of
the task, one over the paper's alpha. The gradient of a pair is r x (y H)' and r y (x W)': one number times an outer
product.

Rules:

* a patient here is a drug, and its pairs with proteins are its records, clipped together: epsilon protects whether a
  company's drug, with all that it binds, was learned from;
* features are public, and made before the study (``models/layers/network_embedding.py``). Networks with links of the
  kind that is predicted must not be among them;
* beside every score stands what the product of the drug's and the protein's number of links would reach: among links
  and random pairs that alone looks like knowledge.
"""

from collections.abc import Mapping
from typing import Final

import torch
from pydantic import Field
from torch import nn

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes
from models.errors import ModelError

_STEEP: Final = 8.0  # a score of 1 is a chance of 0.98, one of 0 a chance of 0.02


class DeepDtnetOptions(Options):
    """The options of ``deepdtnet``: how many factors drugs and proteins share."""

    factors: int = Field(default=200, ge=1, le=4096)


class DeepDtnet(nn.Module):
    """The factors of drugs and those of proteins, and the product of both."""

    def __init__(self, options: DeepDtnetOptions, drug_features: int, protein_features: int) -> None:
        super().__init__()
        self.drugs = nn.Linear(drug_features, options.factors, bias=False)
        self.proteins = nn.Linear(protein_features, options.factors, bias=False)

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the logits of pairs of ``drug`` and ``protein``, (records, features) each; (records,)."""
        return _STEEP * (self.compute_scores(inputs["drug"], inputs["protein"]) - 0.5)

    def compute_scores(self, drugs: torch.Tensor, proteins: torch.Tensor) -> torch.Tensor:
        """Compute the score of each pair of features, (records, features) each; (records,)."""
        scores: torch.Tensor = (self.drugs(drugs) * self.proteins(proteins)).sum(1)
        return scores


def build(options: DeepDtnetOptions, sizes: Sizes, outputs: tuple[int, ...]) -> DeepDtnet:
    """Build the factors for features of these lengths.

    Raises:
        ModelError: the task asks for more than one number a pair.
    """
    if outputs != ():
        raise ModelError(f"deepdtnet gives one number for each pair; the task asks for the shape {outputs}")
    return DeepDtnet(options, sizes["drug_features"], sizes["protein_features"])


_EXAMPLE: Final = {"drug_features": 12, "protein_features": 10}

MODEL: Final = ModelEntry(
    title="deepDTnet: drugs and targets by features of public networks",
    domain="drugs",
    options=DeepDtnetOptions,
    build=build,
    tasks=("binary",),
    inputs=(
        Input("drug", "number", ("drug_features",), "features of the drug from public networks"),
        Input("protein", "number", ("protein_features",), "features of the protein from public networks"),
    ),
    citation="Zeng, Zhu, Lu, Liu, Huang, Zhou, Fang, Huang, Guo, Li, Trapp, Nussinov, Eng, Loscalzo and Cheng 2020, "
    "Target identification among known drugs by deep learning from heterogeneous networks, Chemical Science "
    "11(7):1775-1797",
    repository="https://github.com/ChengF-Lab/deepDTnet",
    presets={"paper": DeepDtnetOptions(), "small": DeepDtnetOptions(factors=6)},
    counts=(
        Count("paper", {"drug_features": 1_000, "protein_features": 1_000}, (), 400_000),
        Count("small", _EXAMPLE, (), 132),
    ),
    example=_EXAMPLE,
    figures="AUROC 0.963 over links and as many random pairs (Zeng et al. 2020); the product of both degrees has 0.935 "
    "there",
    replaced=(
        Replacement(
            paper="squared errors of the score, 1 for a link and 0 for a pair that nobody observed",
            here="the task's cross-entropy of a logit that is 8 times the score's distance from 1/2",
            why="not because of privacy: then scores are chances, and the tasks' figures apply",
        ),
        Replacement(
            paper="conjugate gradients over all pairs, W and H in turn",
            here="steps over drugs, each with a sample of its pairs",
            why="a solution of normal equations is not a sum over drugs that could be clipped",
        ),
        Replacement(
            paper="each feature divided by its norm over all drugs, or proteins",
            here="by the same numbers of the public network",
            why="a norm over a company's own drugs would tell of them",
        ),
        Replacement(
            paper="a penalty on the squares of W and H",
            here="no penalty, or training.weight_decay",
            why="a penalty belongs to no drug, and is no part of its gradient",
        ),
    ),
)
