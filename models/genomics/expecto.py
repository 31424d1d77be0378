"""ExPecto: expression of a gene from the letters round its start, through a public network that reads chromatin.

::

    window b      2,000 letters; windows begin 200 letters apart                the network's: chromatin of window b
    decays        f_kr = sum over windows b upstream of exp(-r |b|) times the k-th number of chromatin, and the same
                  downstream; r of the option ``decays``, b counted from the middle
    outputs       linear in the decays

The network (``chromatin``) is public knowledge: a study freezes it, and names its weights by their digest
(``model.start``, ``frozen: [chromatin]``). Then the head alone is trained on patients and sent. Nothing forbids to
train both; with privacy this costs utility.

The effect of a variant is the difference of two predictions: :func:`compute_variant_effect` puts other letters into a
sequence, and `consilium-site explain` shows it for every other letter at every place.

A patient is whose expression it is: all genes of a person are their records, and are clipped together. In the study on
promoters of yeast a "patient" is a promoter, so that epsilon protects a promoter and no person.

Sizes and decays are the published ones; no code or weights of its authors are here. Their licence is for academic use,
and forbids to use theirs for patients.
"""

from collections.abc import Mapping
from typing import Annotated, Final

import torch
from pydantic import Field
from torch import nn

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes, Units
from models.errors import ModelError
from models.layers.heads import count_outputs, shape_outputs
from models.layers.rectifier import ConvolutionBeforeRectifier
from models.layers.sequence_blocks import LETTERS, Filters, Width

_SIDES: Final = 2
Decay = Annotated[float, Field(ge=0, le=100)]


class ExpectoOptions(Options):
    """The options of ``expecto``.

    Attributes:
        filters: of each pair of convolutions of the network.
        kernel: bases, or pooled places, that each filter sees.
        pool: places of which the largest value is kept, between the pairs.
        hidden: units of the network's hidden layer.
        profiles: numbers of chromatin that the network gives for a window.
        window: letters of a window.
        step: letters from the begin of a window to that of the next one.
        decays: how fast the influence of a window falls with its distance in windows.
        dropout: after each pair of convolutions, in training; frozen, the network has none.
    """

    filters: tuple[Filters, ...] = Field(default=(320, 480, 640), min_length=1, max_length=4)
    kernel: Width = 8
    pool: Width = 4
    hidden: Units = 2003
    profiles: Units = 2002
    window: int = Field(default=2000, ge=1, le=100_000)
    step: int = Field(default=200, ge=1, le=100_000)
    decays: tuple[Decay, ...] = Field(default=(0.01, 0.02, 0.05, 0.1, 0.2), min_length=1, max_length=20)
    dropout: float = Field(default=0.2, ge=0, lt=1)


class Chromatin(nn.Module):
    """Pairs of convolutions with poolings between them, a hidden layer, and a probability for each profile.

    Raises:
        ModelError: the window is too short for the convolutions.
    """

    def __init__(self, options: ExpectoOptions) -> None:
        super().__init__()
        layers = list[nn.Module]()
        before, places = LETTERS, options.window
        for number, filters in enumerate(options.filters):
            if number:
                layers.append(nn.MaxPool1d(options.pool))
                places //= options.pool
            for channels in (before, filters):
                layers += [ConvolutionBeforeRectifier(channels, filters, options.kernel), nn.ReLU()]
            layers.append(nn.Dropout(options.dropout))
            before, places = filters, places - 2 * (options.kernel - 1)
        if places < 1:
            raise ModelError(
                f"model.options.window: {options.window} letters are too few for {2 * len(options.filters)} "
                f"convolutions with kernels of {options.kernel} and pools of {options.pool}"
            )
        self.layers = nn.Sequential(
            *layers,
            nn.Flatten(),
            nn.Linear(before * places, options.hidden),
            nn.ReLU(),
            nn.Linear(options.hidden, options.profiles),
            nn.Sigmoid(),
        )

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """Return the profiles of ``windows`` (any, 4, window); (any, profiles)."""
        found: torch.Tensor = self.layers(windows)
        return found


class Expecto(nn.Module):
    """The network over all windows, their decays, and a linear layer.

    Raises:
        ModelError: the sequence is shorter than a window.
    """

    draws_randomly = True

    def __init__(self, options: ExpectoOptions, bases: int, outputs: tuple[int, ...]) -> None:
        super().__init__()
        if bases < options.window:
            raise ModelError(f"expecto needs at least {options.window} letters, a window; the data have {bases}")
        self.chromatin = Chromatin(options)
        self.head = nn.Linear(_SIDES * len(options.decays) * options.profiles, count_outputs(outputs))
        self._options, self._outputs = options, outputs

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the outputs of ``sequence`` (records, 4, bases); (records, *outputs)."""
        return shape_outputs(self.head(self.compute_decays(inputs["sequence"])), self._outputs)

    def compute_decays(self, sequence: torch.Tensor) -> torch.Tensor:
        """Return what the head reads of ``sequence`` (records, 4, bases); (records, 2 * decays * profiles)."""
        windows = sequence.unfold(2, self._options.window, self._options.step).movedim(2, 1)
        profiles = torch.stack([self.chromatin(each) for each in windows.unbind(1)], dim=1)
        weights = weigh_windows(profiles.shape[1], self._options.decays).to(profiles)
        return torch.einsum("rwp,dw->rdp", profiles, weights).flatten(1)


def weigh_windows(windows: int, decays: tuple[float, ...]) -> torch.Tensor:
    """Weigh windows by their distance from the middle, upstream and then downstream; (2 * decays, windows).

    With an odd number the middle window is on both sides.
    """
    middle = (windows - 1) / 2
    place = torch.arange(windows) - middle
    sides = [place <= 0, place >= 0]
    return torch.stack([torch.exp(-rate * place.abs()) * side for side in sides for rate in decays])


@torch.no_grad()
def compute_variant_effect(
    module: nn.Module, inputs: Mapping[str, torch.Tensor], place: int, letters: torch.Tensor, name: str = "sequence"
) -> torch.Tensor:
    """Compute the outputs with other letters minus those without, for a variant of each record; (records, *outputs).

    Args:
        module: in evaluation.
        inputs: of the records.
        place: the first letter that the variant replaces, from 0; it replaces as many as it has.
        letters: of the variant, one-hot (4, length).
        name: of the input that has the sequence.

    Raises:
        ModelError: the variant reaches beyond the sequence.
    """
    sequence = inputs[name]
    if not 0 <= place <= sequence.shape[2] - letters.shape[1]:
        raise ModelError(
            f"the variant replaces letters {place} to {place + letters.shape[1] - 1}; the sequence has "
            f"{sequence.shape[2]}, from 0"
        )
    changed = sequence.clone()
    changed[:, :, place : place + letters.shape[1]] = letters.to(sequence)
    with_variant: torch.Tensor = module({**inputs, name: changed})
    without: torch.Tensor = module(inputs)
    return with_variant - without


def build(options: ExpectoOptions, sizes: Sizes, outputs: tuple[int, ...]) -> Expecto:
    """Build the network and the head for sequences of ``bases`` letters."""
    return Expecto(options, sizes["bases"], outputs)


MODEL: Final = ModelEntry(
    title="ExPecto: DNA to expression, through chromatin",
    domain="genomics",
    rate=0.5,
    options=ExpectoOptions,
    build=build,
    tasks=("regression", "binary", "multilabel"),
    inputs=(Input("sequence", "number", (LETTERS, "bases"), "one-hot letters, the gene's start in the middle"),),
    citation="Zhou, Theesfeld, Yao, Chen, Wong and Troyanskaya 2018, Deep learning sequence-based ab initio prediction "
    "of variant effects on expression and disease risk, Nature Genetics 50:1171-1179",
    presets={
        "paper": ExpectoOptions(),
        "small": ExpectoOptions(
            filters=(8,), kernel=4, hidden=8, profiles=4, window=16, step=8, decays=(0.1, 0.5), dropout=0.0
        ),
    },
    # the network 149,536,251, the head 20,021 for each tissue
    counts=(
        Count("paper", {"bases": 41_800}, (), 149_556_272),
        Count("small", {"bases": 40}, (), 1101),
    ),
    example={"bases": 40},
    replaced=(
        Replacement(
            paper="the network learned 2,002 profiles of chromatin from public assays",
            here="weights that a study names by their digest, and freezes",
            why="its gradient has 150 million numbers, all of which would get noise; what is public costs no privacy",
        ),
        Replacement(
            paper="a linear model for each tissue, fitted by boosting with a penalty",
            here="a linear layer, trained by clipped and noised steps",
            why="the fit must bound what each patient adds",
        ),
        Replacement(
            paper="the outputs of both strands, and of sequences that are shifted, are averaged",
            here="one strand, or the augmentation `reverse-complement`",
            why="views of a record are averaged before they are clipped; the averages would multiply the time",
        ),
        Replacement(
            paper="dropout of 0.2, 0.2 and 0.5 after the three pairs",
            here="0.2 after each",
            why="not because of privacy: a study freezes the network, which then has none",
        ),
    ),
)
