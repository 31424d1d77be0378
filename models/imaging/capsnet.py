"""A capsule network: groups of numbers whose length says whether something is there, and whose direction says how.

=======================  ========================================================================================
part                     what it does
=======================  ========================================================================================
first convolution        maps of small patterns
primary capsules         a second convolution with stride 2; of each kind, a capsule at every place
votes                    each primary capsule's matrix, or the one of its kind, gives its vote for each class's capsule
routing                  a class's capsule is the weighted sum of its votes; weights grow where votes agree with it
reconstruction           a perceptron gives back the image from the longest class capsule
=======================  ========================================================================================

Rules:

* squashing a sum s makes a capsule of length |s|^2 / (1 + |s|^2). So log |s|^2 is the logit of its length, and what
  the model gives the task: the margin loss (``task.loss: margin``) is then that of the paper;
* gradients flow through the last routing step, with the weights that the steps before it found;
* the squared error of the reconstruction, summed over the image, is a loss of the model's own;
* with ``shared_votes`` a kind of capsules has one matrix at all places, as in matrix capsules: fewer parameters, and
  what is seen counts alike wherever it is. So many votes that agree would make every class's capsule as long as it
  can be before anything is learned, where the margin loss has no gradient: their sum is divided by the root of the
  number of places. That division is ours.

Sources: Sabour, Frosst and Hinton 2017; Jimenez-Sanchez, Albarqouni and Mateus 2018, Capsule networks against medical
imaging data challenges, arXiv 1807.07559, for medical images; Hinton, Sabour and Frosst 2018, Matrix capsules with EM
routing, International Conference on Learning Representations, for matrices that places share.
"""

import math
from collections.abc import Mapping
from typing import Final

import torch
from pydantic import Field
from torch import nn

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes, Units
from models.layers.image_blocks import Activation, make_activation, require_sides

_NAME: Final = "capsnet"
_STRIDE: Final = 2  # of the second convolution
_SHORTEST: Final = 1e-6  # added to a squared length, so that its root and logarithm have gradients at zero


class CapsnetOptions(Options):
    """The options of ``capsnet``.

    Attributes:
        filters: of the first convolution.
        kernel: height and width of both convolutions' kernels.
        kinds: of primary capsules.
        primary_width: numbers in a primary capsule.
        class_width: numbers in a class's capsule.
        routings: routing steps.
        decoder: units of the reconstruction's hidden layers, first to last.
        reconstruction: the weight of its loss; 0 leaves it out, with its layers.
        activation: after the first convolution and in the reconstruction.
        shared_votes: whether a kind of primary capsules has one matrix at all places.
    """

    filters: int = Field(default=256, ge=1, le=1024)
    kernel: int = Field(default=9, ge=1, le=31)
    kinds: int = Field(default=32, ge=1, le=256)
    primary_width: int = Field(default=8, ge=1, le=64)
    class_width: int = Field(default=16, ge=1, le=256)
    routings: int = Field(default=3, ge=1, le=10)
    decoder: tuple[Units, ...] = Field(default=(512, 1024), max_length=4)
    reconstruction: float = Field(default=0.0005, ge=0, le=10)
    activation: Activation = "relu"
    shared_votes: bool = False


class ClassCapsules(nn.Module):
    """Votes of all primary capsules, and their routing to a capsule for each class.

    Args:
        matrices: for the votes.
        width: of a primary capsule.
        classes: how many.
        class_width: of a class's capsule.
        routings: steps.
        sharing: how many primary capsules, one after the other, share a matrix.
    """

    def __init__(
        self, matrices: int, width: int, classes: int, class_width: int, routings: int, sharing: int = 1
    ) -> None:
        super().__init__()
        # a convolution at one place, or at those that share a matrix, whose groups are the matrices
        self.votes = nn.Conv1d(matrices * width, matrices * classes * class_width, 1, groups=matrices, bias=False)
        self._shape = (matrices, width, classes, class_width, sharing)
        self._routings = routings

    def forward(self, primary: torch.Tensor) -> torch.Tensor:
        """Return the sums before squashing, (records, classes, class width), of (records, capsules, width)."""
        matrices, width, classes, class_width, sharing = self._shape
        columns = (
            primary.reshape(-1, matrices, sharing, width).transpose(2, 3).reshape(-1, matrices * width, sharing)
        )
        votes = self.votes(columns).reshape(-1, matrices, classes, class_width, sharing)
        votes = votes.permute(0, 1, 4, 2, 3).flatten(1, 2)  # (records, capsules, classes, class width)
        root = math.sqrt(sharing)
        agreements = votes.new_zeros(votes.shape[:3])  # (records, capsules, classes)
        fixed = votes.detach()
        for _ in range(self._routings - 1):
            capsules = squash(_sum_votes(fixed, agreements) / root)  # (records, classes, class width)
            agreements = agreements + (fixed * capsules[:, None]).sum(3)
        return _sum_votes(votes, agreements) / root


class Capsnet(nn.Module):
    """Convolutions, primary and class capsules, and a reconstruction of the image."""

    def __init__(self, options: CapsnetOptions, sizes: Sizes, outputs: tuple[int, ...]) -> None:
        super().__init__()
        (classes,) = outputs
        places = _measure(sizes["height"], options.kernel) * _measure(sizes["width"], options.kernel)
        self.first = nn.Sequential(
            nn.Conv2d(sizes["channels"], options.filters, options.kernel), make_activation(options.activation)
        )
        self.primary = nn.Conv2d(
            options.filters, options.kinds * options.primary_width, options.kernel, stride=_STRIDE
        )
        sharing = places if options.shared_votes else 1
        self.classes = ClassCapsules(
            options.kinds * places // sharing,
            options.primary_width,
            classes,
            options.class_width,
            options.routings,
            sharing,
        )
        self._primary_shape = (options.kinds, options.primary_width, places)
        self._weight = options.reconstruction
        self.decoder: nn.Sequential | None = None
        if options.reconstruction:
            pixels = sizes["channels"] * sizes["height"] * sizes["width"]
            self.decoder = _make_decoder(options, classes * options.class_width, pixels)

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor | dict[str, torch.Tensor]:
        """Return the logits of the classes' lengths, (records, classes), and the reconstruction's loss.

        ``image`` is (records, channels, height, width), in [0, 1].
        """
        image = inputs["image"]
        primary = self.primary(self.first(image)).reshape(-1, *self._primary_shape)
        capsules = squash(primary.transpose(2, 3).flatten(1, 2))  # (records, kinds * places, primary width)
        sums = self.classes(capsules)
        logits: torch.Tensor = (sums.square().sum(2) + _SHORTEST).log()
        if self.decoder is None:
            return logits
        restored = torch.sigmoid(self.decoder(keep_longest(squash(sums)).flatten(1)))
        errors = (restored - image.flatten(1)).square().sum(1)
        return {"outputs": logits, "own_loss": self._weight * errors}


def squash(sums: torch.Tensor) -> torch.Tensor:
    """Shorten vectors, (..., width), to the length |s|^2 / (1 + |s|^2); their direction stays."""
    squared = sums.square().sum(-1, keepdim=True) + _SHORTEST
    return sums * squared.sqrt() / (1 + squared)


def keep_longest(capsules: torch.Tensor) -> torch.Tensor:
    """Set all but each record's longest capsule to zero; (records, classes, width)."""
    lengths = capsules.square().sum(2)  # (records, classes)
    classes = torch.arange(capsules.shape[1], device=capsules.device)
    return capsules * (classes == lengths.argmax(1, keepdim=True))[:, :, None]


def build(options: CapsnetOptions, sizes: Sizes, outputs: tuple[int, ...]) -> Capsnet:
    """Build the network for images of ``sizes``.

    Raises:
        ModelError: the convolutions would leave nothing of the image.
    """
    least = 2 * options.kernel - 1
    require_sides(
        f"the model '{_NAME}' with kernels of {options.kernel}",
        sizes,
        least,
        "write a smaller kernel, or take larger images",
    )
    return Capsnet(options, sizes, outputs)


def _measure(length: int, kernel: int) -> int:
    """Return what both convolutions leave of a height or width."""
    return (length - 2 * (kernel - 1) - 1) // _STRIDE + 1


def _sum_votes(votes: torch.Tensor, agreements: torch.Tensor) -> torch.Tensor:
    """Sum votes (records, capsules, classes, width), each capsule's weights over the classes being a softmax."""
    return (agreements.softmax(2)[..., None] * votes).sum(1)


def _make_decoder(options: CapsnetOptions, features: int, pixels: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for units in options.decoder:
        layers += [nn.Linear(features, units), make_activation(options.activation)]
        features = units
    return nn.Sequential(*layers, nn.Linear(features, pixels))


MODEL: Final = ModelEntry(
    title="Capsule network with routing",
    domain="imaging",
    options=CapsnetOptions,
    build=build,
    tasks=("multiclass",),
    inputs=(Input("image", "number", ("channels", "height", "width"), "an image, in [0, 1]"),),
    citation="Sabour, Frosst and Hinton 2017, Dynamic routing between capsules, Advances in Neural Information "
    "Processing Systems 30",
    presets={
        "paper": CapsnetOptions(),
        "small": CapsnetOptions(
            filters=8, kinds=2, primary_width=4, class_width=8, decoder=(16,), activation="tanh"
        ),
    },
    counts=(
        Count("paper", {"channels": 1, "height": 28, "width": 28}, (10,), 8_215_568),
        Count("paper", {"channels": 1, "height": 28, "width": 28}, (2,), 6_970_384),
        Count("paper", {"channels": 3, "height": 28, "width": 28}, (2,), 8_619_056),
        Count("small", {"channels": 1, "height": 19, "width": 19}, (3,), 13_153),
    ),
    example={"channels": 1, "height": 19, "width": 19},
    figures="Without privacy, the paper reports an error of 0.25 % on the handwritten digits of MNIST (Sabour et al. "
    "2017); no figure of patients is in it.",
    replaced=(
        Replacement(
            paper="while it trains, the image is reconstructed from the true class's capsule",
            here="from the longest capsule, as the paper does in testing",
            why="a model sees inputs alone, and computes in training what it computes when it is released; this is not "
            "for privacy",
        ),
        Replacement(
            paper="each image is an example",
            here="all images of a patient are averaged into one gradient",
            why="the promise is made to patients, some of whom have several images",
        ),
        Replacement(
            paper="eight million parameters and rectified linear units",
            here="the same in preset paper; few filters, capsules and tanh in preset small",
            why="noise grows with the number of parameters, and bounded activations keep gradients short (Papernot et "
            "al. 2021, Tempered sigmoid activations)",
        ),
        Replacement(
            paper="Adam with a rate that falls every epoch",
            here="the steps and the schedule of the terms; training.step has Adam",
            why="steps are paid from one budget, and chosen before a study begins",
        ),
    ),
)
