"""TernausNet-11: the convolutions of VGG-11 as an encoder, and a decoder of transposed convolutions with skips.

With F filters (32 in the paper) and an image of height h:

=========  ==============================  ==========  ============================================
level      encoder, 3x3 convolutions       height      decoder: in, middle, out (+ skip)
=========  ==============================  ==========  ============================================
1          2F                              h           3x3 convolution, F + 2F to F
2          4F                              h / 2       2F + 4F, 4F, F
3          8F, 8F                          h / 4       4F + 8F, 8F, 2F
4          16F, 16F                        h / 8       8F + 16F, 16F, 4F
5          16F, 16F                        h / 16      8F + 16F, 16F, 8F
centre                                     h / 32      16F, 16F, 8F
=========  ==============================  ==========  ============================================
"""

from typing import Final

from models.entry import Count, Input, ModelEntry, Replacement, Sizes
from models.imaging.robot_surgery import CITATION, FRAMES, OVERLAP, REPOSITORY, SCALE, describe_figures
from models.layers.segmentation import count_classes, require_multiple
from models.layers.vgg_unet import HALVED, VggUnet, VggUnetOptions, Widths

_NAME: Final = "ternausnet11"
_WIDTHS: Final = Widths(
    encoder=((2,), (4,), (8, 8), (16, 16), (16, 16)),
    decoder=((16, 8), (16, 8), (16, 4), (8, 2), (4, 1)),
)


def build(options: VggUnetOptions, sizes: Sizes, outputs: tuple[int, ...]) -> VggUnet:
    """Build a TernausNet-11 that gives a mask as large as its image.

    Raises:
        ModelError: height or width is no multiple of 32, or the outputs are no mask.
    """
    require_multiple(_NAME, sizes, HALVED)
    return VggUnet(options, _WIDTHS, sizes["channels"], count_classes(_NAME, sizes, outputs), outputs)


MODEL: Final = ModelEntry(
    title="TernausNet-11",
    domain="imaging",
    options=VggUnetOptions,
    build=build,
    tasks=("segmentation",),
    inputs=(Input("image", "number", ("channels", "height", "width"), "an image"),),
    citation=f"{CITATION}; Iglovikov and Shvets 2018, TernausNet: U-Net with VGG11 encoder pre-trained on ImageNet for "
    "image segmentation, arXiv:1801.05746",
    repository=REPOSITORY,
    presets={
        "paper": VggUnetOptions(),
        "small": VggUnetOptions(filters=2, norm="group", activation="elu"),
    },
    counts=(
        Count("paper", {"channels": 3, "height": 64, "width": 64}, (64, 64), 25_364_513),
        Count("small", {"channels": 3, "height": 32, "width": 32}, (32, 32), 100_183),
    ),
    example={"channels": 3, "height": 32, "width": 32},
    figures=describe_figures(81.14, 62.23, 34.61),
    replaced=(
        Replacement(
            paper="an encoder that begins at VGG-11's weights of ImageNet",
            here="random first values, or a public file of weights that model.start names",
            why="no weights are distributed with this program; VGG-11 has no batch normalisation, so a converted file "
            "fits, and frozen in model.frozen it costs no privacy",
        ),
        OVERLAP,
        SCALE,
        FRAMES,
        Replacement(
            paper="rectified linear units, no normalisation, 25 million parameters",
            here="the same in preset paper; two filters, ELU and group normalisation in preset small",
            why="noise grows with the number of parameters; group normalisation stays within a record",
        ),
    ),
)
