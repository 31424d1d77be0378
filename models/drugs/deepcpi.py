"""DeepCPI: two towers over public embeddings of a compound and of a protein, and a network that reads both.

Compounds and proteins come as rows of numbers that were learned from public collections: latent semantic analysis of
substructures, and word vectors of triples of amino acids. They are inputs, and nothing of them is trained.

A "patient" is the compound of a company, with all its pairs: epsilon protects that compound and what it binds, and no
person.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from pydantic import Field
from torch import Tensor, nn

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes, Units
from models.layers.fusion import IntermediateFusion
from models.layers.heads import count_outputs, shape_outputs


class DeepCpiOptions(Options):
    """The options of ``deepcpi``.

    Attributes:
        tower: units of each layer over the compound, and over the protein.
        joint: units of each layer over both.
        dropout: after every layer, in training.
    """

    tower: tuple[Units, ...] = Field(default=(1024, 256), min_length=1, max_length=6)
    joint: tuple[Units, ...] = Field(default=(512, 128, 32), min_length=1, max_length=6)
    dropout: float = Field(default=0.2, ge=0, lt=1)


class DeepCpi(IntermediateFusion):
    """A tower for ``compound``, one for ``protein``, and a network over what both give."""

    draws_randomly = True

    def __init__(self, options: DeepCpiOptions, sizes: Sizes, outputs: tuple[int, ...]) -> None:
        towers = {
            name: _make_layers((sizes[f"{name}_numbers"], *options.tower), options.dropout)
            for name in ("compound", "protein")
        }
        joint = _make_layers((2 * options.tower[-1], *options.joint), options.dropout)
        super().__init__(towers, joint.append(nn.Linear(options.joint[-1], count_outputs(outputs))))
        self._outputs = outputs

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:  # type: ignore[override]
        """Return the outputs of ``compound`` and ``protein``, (records, their numbers); (records, *outputs)."""
        return shape_outputs(super().forward(inputs), self._outputs)


def _make_layers(widths: Sequence[int], dropout: float) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.LayerNorm(after), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers)


def build(options: DeepCpiOptions, sizes: Sizes, outputs: tuple[int, ...]) -> DeepCpi:
    """Build both towers and the network over them."""
    return DeepCpi(options, sizes, outputs)


_PAPER: Final = {"compound_numbers": 200, "protein_numbers": 100}
_EXAMPLE: Final = {"compound_numbers": 12, "protein_numbers": 10}

MODEL: Final = ModelEntry(
    title="DeepCPI: two towers over public embeddings",
    domain="drugs",
    rate=2.0,
    options=DeepCpiOptions,
    build=build,
    tasks=("binary", "multiclass", "regression"),
    inputs=(
        Input("compound", "number", ("compound_numbers",), "a public embedding of the compound"),
        Input("protein", "number", ("protein_numbers",), "a public embedding of the protein"),
    ),
    citation="Wan, Zhu, Hu, Dai, Cai, Chen, Gong, Xia, Yang, Wang and Zeng 2019, DeepCPI: a deep learning-based "
    "framework for large-scale in silico drug screening, Genomics, Proteomics & Bioinformatics 17(5):478-495",
    repository="https://github.com/FangpingWan/DeepCPI",
    presets={"paper": DeepCpiOptions(), "small": DeepCpiOptions(tower=(12, 8), joint=(8,), dropout=0.0)},
    # 1,166,529 in the linear layers, and two for each unit that is normalised
    counts=(Count("paper", _PAPER, (), 1_172_993), Count("small", _EXAMPLE, (), 737)),
    example=_EXAMPLE,
    replaced=(
        Replacement(
            paper="batch normalisation after every layer",
            here="layer normalisation",
            why="batch normalisation mixes records",
        ),
        Replacement(
            paper="20 networks, each trained on a class-balanced sample drawn with replacement; their mean",
            here="one network",
            why="every member would have to be paid for out of the same budget; a record that is drawn twice counts "
            "twice, and the size of such a sample tells how many records have no interaction",
        ),
        Replacement(
            paper="pairs of a compound and a protein are drawn one by one",
            here="all pairs of a compound are its records, and are clipped together",
            why="a compound is in many pairs: protecting a pair would not protect the compound",
        ),
    ),
)
