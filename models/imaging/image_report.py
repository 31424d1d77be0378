"""An image and its report: the words say where to look, in stages that each see what the one before marked.

A stage has an encoder of the image and a mapping of the report into the space of the encoder's features. How well a
place agrees with the report is the product of both there; the stage's features are the mean over places, weighted by
the softmax of the agreement. The next stage's encoder sees the agreement as one channel more. The outputs are the sum
over stages: each adds what the ones before have missed.

A report is ids of words of a public vocabulary; 0 stands for none. Without words every place weighs the same. The
widths are ours.
"""

from collections.abc import Mapping
from typing import Annotated, Final, NamedTuple

import torch
from pydantic import Field
from torch import nn
from torch.nn.functional import interpolate

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes
from models.layers.heads import count_outputs, shape_outputs
from models.layers.image_blocks import Activation, Norm, make_block, require_sides

_NAME: Final = "image-report"
Width = Annotated[int, Field(ge=1, le=4096)]


class ImageReportOptions(Options):
    """The options of ``image-report``.

    Attributes:
        filters: of the blocks of a stage's encoder, first to last; each is halved.
        words: width of a word's vector.
        stages: how many there are.
        norm: after each convolution.
        activation: after each convolution.
    """

    filters: tuple[Width, ...] = Field(default=(16, 32, 64), min_length=1, max_length=6)
    words: Width = 32
    stages: int = Field(default=2, ge=1, le=4)
    norm: Norm = "group"
    activation: Activation = "elu"


class Sieved(NamedTuple):
    """What a stage gives: numbers for the outputs (records, n), and agreement and weights (records, rows, columns)."""

    numbers: torch.Tensor
    agreement: torch.Tensor
    weights: torch.Tensor


class Stage(nn.Module):
    """An encoder, the mapping of the report into its features, and a head."""

    def __init__(self, options: ImageReportOptions, channels: int, numbers: int) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        for filters in options.filters:
            blocks += [make_block(channels, filters, options.activation, options.norm), nn.MaxPool2d(2)]
            channels = filters
        self.encoder = nn.Sequential(*blocks)
        self.mapping = nn.Linear(options.words, channels, bias=False)  # a softmax does not see a bias
        self.head = nn.Linear(channels + options.words, numbers)

    def sieve(self, image: torch.Tensor, report: torch.Tensor) -> Sieved:
        """Look at ``image`` (records, channels, height, width) by a ``report`` (records, words)."""
        maps = self.encoder(image)  # (records, features, rows, columns)
        agreement = torch.einsum("nfrc,nf->nrc", maps, self.mapping(report))
        weights = agreement.flatten(1).softmax(1).view_as(agreement)
        features = torch.einsum("nfrc,nrc->nf", maps, weights)
        return Sieved(self.head(torch.cat([features, report], dim=1)), agreement, weights)


class ImageReport(nn.Module):
    """Vectors of words, and stages."""

    def __init__(self, options: ImageReportOptions, sizes: Sizes, outputs: tuple[int, ...]) -> None:
        super().__init__()
        self.words = nn.Embedding(sizes["vocabulary"], options.words, padding_idx=0)
        self.stages = nn.ModuleList(
            Stage(options, sizes["channels"] + (place > 0), count_outputs(outputs))
            for place in range(options.stages)
        )
        self._outputs = outputs

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the outputs of ``image`` (records, channels, height, width) and ``report`` (records, words).

        The shape is (records, *outputs).
        """
        numbers = torch.stack([each.numbers for each in self._sieve(inputs)]).sum(0)
        return shape_outputs(numbers, self._outputs)

    def read_attention(self, inputs: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        """Return how much the last stage looks at each place, as ``image`` (records, channels, height, width)."""
        image, weights = inputs["image"], self._sieve(inputs)[-1].weights
        return {"image": interpolate(weights[:, None], image.shape[2:]).expand_as(image)}

    def _sieve(self, inputs: Mapping[str, torch.Tensor]) -> list[Sieved]:
        image, report = inputs["image"], self._read_report(inputs["report"])
        found: list[Sieved] = []
        seen = image
        for stage in self.stages:
            assert isinstance(stage, Stage)
            found.append(stage.sieve(seen, report))
            marks = interpolate(torch.sigmoid(found[-1].agreement)[:, None], image.shape[2:])
            seen = torch.cat([image, marks], dim=1)
        return found

    def _read_report(self, report: torch.Tensor) -> torch.Tensor:
        """Return the mean vector of a report's words, 0 without any; (records, words) -> (records, width)."""
        known = (report > 0)[:, :, None]
        total = torch.where(known, self.words(report), 0.0).sum(1)
        return total / known.sum(1).clamp(min=1)


def build(options: ImageReportOptions, sizes: Sizes, outputs: tuple[int, ...]) -> ImageReport:
    """Build the stages.

    Raises:
        ModelError: the image cannot be halved in every block.
    """
    least = 2 ** len(options.filters)
    require_sides(
        f"the model '{_NAME}' with {len(options.filters)} blocks",
        sizes,
        least,
        "write fewer filters, or take larger images",
    )
    return ImageReport(options, sizes, outputs)


MODEL: Final = ModelEntry(
    title="An image and its report, in sieving stages",
    domain="imaging",
    options=ImageReportOptions,
    build=build,
    tasks=("binary", "multiclass", "multilabel"),
    inputs=(
        Input("image", "number", ("channels", "height", "width"), "an image"),
        Input("report", "id", ("words",), "words of the report; 0 for none", "vocabulary"),
    ),
    citation="Dai, Fang, Li, Hou, Sheng, Wu and Jia 2018, Clinical report guided retinal microaneurysm detection with "
    "multi-sieving deep learning, IEEE Transactions on Medical Imaging 37:1149-1161",
    presets={
        "paper": ImageReportOptions(),
        "small": ImageReportOptions(filters=(4, 8), words=4),
    },
    counts=(
        Count("paper", {"channels": 3, "height": 64, "width": 64, "words": 20, "vocabulary": 100}, (), 55_250),
        Count("small", {"channels": 1, "height": 16, "width": 16, "words": 4, "vocabulary": 10}, (), 886),
    ),
    example={"channels": 1, "height": 16, "width": 16, "words": 4, "vocabulary": 10},
    replaced=(
        Replacement(
            paper="lesions are found: each patch of an image has a label",
            here="the label is the image's; read_attention shows the places",
            why="a study has a label for each record; this is not for privacy",
        ),
        Replacement(
            paper="stages are trained one after the other, each on the patches that the one before could not separate",
            here="all stages are trained together, and each adds to the outputs of those before it",
            why="the hardest patches of a data set are a selection over patients; and a patient's gradient over all "
            "stages is clipped once",
        ),
        Replacement(
            paper="a vocabulary and a mapping from a few reports of the cohort",
            here="a public vocabulary, and a mapping that is trained with the rest",
            why="words that were counted in patients' reports would have to be paid for",
        ),
    ),
)
