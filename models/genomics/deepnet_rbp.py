"""Deepnet-RBP: a multimodal deep belief network of an RNA's sequence, folding and shape, to tell binding sites.

::

    counts of words of the sequence  --- machine ---.
    counts of words of its folding   --- machine ---+-- joint machines -- head
    motifs of its shape in space     ---------------'

Words are counted, so the lowest machines are replicated softmaxes; motifs are there or not and enter the first joint
machine as they are. Every machine is trained by contrastive divergence (``models/layers/boltzmann.py``), under the
objectives ``sequence``, ``structure``, ``joint-1`` and ``joint-2``, each on what those below it give. The task then
trains all of them with the head; ``trained: [joint, head]`` in its stage leaves the lowest ones as they are, as the
authors' program does.

A record is a site of the genome. Its sequence is public, and whether it was bound is what epsilon protects, for this
site. Where several sites are of one person, who has variants, ``patient`` names the person.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Final

import torch
from pydantic import Field
from torch import nn

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes, Units
from models.errors import ModelError
from models.layers.boltzmann import BoltzmannMachine, CountMachine, Machine
from models.layers.heads import count_outputs, shape_outputs

_JOINT: Final = ("joint-1", "joint-2")


class DeepnetRbpOptions(Options):
    """The options of ``deepnet-rbp``.

    Attributes:
        sequence: hidden units of the machine of the sequence.
        structure: hidden units of the machine of the folding.
        joint: hidden units of each joint machine, lowest first.
        draws: the words that the counts of a record stand for, whatever its length.
        gibbs_steps: of the chain in pre-training.
    """

    sequence: Units = 2000
    structure: Units = 1000
    joint: tuple[Units, ...] = Field(default=(3000, 3000), min_length=1, max_length=len(_JOINT))
    draws: int = Field(default=100, ge=1, le=10_000)
    gibbs_steps: int = Field(default=1, ge=1, le=100)


class DeepnetRbp(nn.Module):
    """A machine for each kind of words, joint machines and a head."""

    objective: str = "task"
    draws_randomly = True

    def __init__(self, options: DeepnetRbpOptions, sizes: Sizes, outputs: tuple[int, ...]) -> None:
        super().__init__()
        self.sequence = CountMachine(sizes["words"], options.sequence, options.draws)
        self.structure = CountMachine(sizes["folds"], options.structure, options.draws)
        widths = (options.sequence + options.structure + sizes["motifs"], *options.joint)
        self.joint = nn.ModuleList(BoltzmannMachine(below, units) for below, units in pairwise(widths))
        self.head = nn.Linear(widths[-1], count_outputs(outputs))
        self._draws, self._steps, self._outputs = options.draws, options.gibbs_steps, outputs

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor | dict[str, torch.Tensor]:
        """Return the outputs, or the divergence of the machine that the objective names.

        ``sequence`` is (records, words) and ``structure`` (records, folds), counts of at least 0; ``motifs`` is
        (records, motifs), in [0, 1].

        Raises:
            ModelError: the objective is that of a joint machine which is not there.
        """
        sequence, structure = (self._draws * compute_shares(inputs[name]) for name in ("sequence", "structure"))
        if self.objective == "sequence":
            return self._compute_loss(self.sequence, sequence)
        if self.objective == "structure":
            return self._compute_loss(self.structure, structure)
        states = torch.cat(
            [self.sequence.encode(sequence), self.structure.encode(structure), inputs["motifs"]], dim=1
        )
        machines = [each for each in self.joint if isinstance(each, Machine)]
        if self.objective == "task":
            for machine in machines:
                states = machine.encode(states)
            return shape_outputs(self.head(states), self._outputs)
        place = _JOINT.index(self.objective)
        if place >= len(machines):
            raise ModelError(f"objective {self.objective}: the model has {len(machines)} joint layers")
        for machine in machines[:place]:
            states = machine.encode(states)
        return self._compute_loss(machines[place], states.detach())  # the layers below are not trained again

    def _compute_loss(self, machine: Machine, states: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"own_loss": machine.compute_divergences(states, self._steps)}


def compute_shares(counts: torch.Tensor) -> torch.Tensor:
    """Compute the share of each word in a record, 0 in one without words; (records, words) both."""
    total = counts.sum(1, keepdim=True)
    return counts / torch.where(total > 0, total, 1.0)


def build(options: DeepnetRbpOptions, sizes: Sizes, outputs: tuple[int, ...]) -> DeepnetRbp:
    """Build the network for ``words`` and ``folds`` that are counted, and ``motifs`` that are there or not."""
    return DeepnetRbp(options, sizes, outputs)


_PAPER: Final = {"words": 4_096, "folds": 2_052, "motifs": 529}

MODEL: Final = ModelEntry(
    title="Deepnet-RBP: deep belief network of sequence, folding and shape",
    domain="genomics",
    options=DeepnetRbpOptions,
    build=build,
    tasks=("binary", "multiclass"),
    inputs=(
        Input("sequence", "number", ("words",), "how often each word of bases occurs"),
        Input("structure", "number", ("folds",), "how often each word of the folding occurs"),
        Input(
            "motifs", "number", ("motifs",), "which motifs of its shape in space an RNA has, each 0, 1 or between"
        ),
    ),
    citation="Zhang, Zhou, Hu, Gong, Chen, Cheng and Zeng 2016, A deep learning framework for modeling structural "
    "features of RNA-binding protein targets, Nucleic Acids Research 44(4):e32",
    repository="https://github.com/thucombio/deepnet-rbp",
    presets={
        "paper": DeepnetRbpOptions(),
        "narrow": DeepnetRbpOptions(sequence=128, structure=64, joint=(128, 128)),
        "small": DeepnetRbpOptions(sequence=4, structure=4, joint=(8,), draws=10),
    },
    # 29,846,002 of the first are in the classifier, and 12,677 are the machines' visible biases
    counts=(
        Count("paper", _PAPER, (2,), 29_858_679),
        Count("paper", _PAPER, (), 29_855_678),
        Count("narrow", _PAPER, (), 771_862),
        Count("small", {"words": 12, "folds": 9, "motifs": 12}, (), 310),
    ),
    example={"words": 12, "folds": 9, "motifs": 12},
    rate=2.0,
    objectives={
        "sequence": ("sequence",),
        "structure": ("structure",),
        **{name: (f"joint.{place}",) for place, name in enumerate(_JOINT)},
    },
    task_layers=(
        "sequence.hidden",
        "structure.hidden",
        *(f"joint.{place}.hidden" for place in range(len(_JOINT))),
        "head",
    ),
    replaced=(
        Replacement(
            paper="the update of contrastive divergence over a batch",
            here="the gradient of a difference of free energies, for every record",
            why="both are equal; this one is a loss of one record, so each patient's part can be clipped",
        ),
        Replacement(
            paper="dropout, and inputs of the lowest machines ten times as large on the way up",
            here="neither",
            why="noise keeps a network from learning records by heart already; the factor is not for privacy, wider "
            "first values stand for it",
        ),
        Replacement(
            paper="29.8 million parameters",
            here="the same in preset paper; narrow has some 128 units a layer",
            why="every trained parameter gets noise",
        ),
        Replacement(
            paper="the stage of the training that is best on a validation set",
            here="the last one of a fixed number of rounds",
            why="what is best would be read from patients",
        ),
    ),
)
