"""Explain the keys of a study file under ``training.augmentation``."""

from typing import Final

from privacy.study.guide.guidance import Guidance

_TENSORS = (
    "The inputs and targets that are varied, by their names in `data`, all by the same draw.",
    "Name the mask together with its image, and all images that were taken together.",
)
_INPUTS = ("The inputs that are varied, by their names in `data`.", "Targets keep their values.")
_CHANCE = (
    "With which probability a record is varied at all.",
    "Leave it, unless unchanged records should stay common.",
)
_OUTSIDE = (
    "What comes in from beyond the image: the nearest `edge`, or `zero`.",
    "`edge` for radiographs; `zero` where the background is zero, as around a head in MRI.",
)

PARTS: Final[dict[str, str]] = {
    "Augmentation": "`training.augmentation`: how records are varied each time they are trained on. It costs no "
    "privacy.",
    "Flip": "A step with `kind: flip`: mirrors images.",
    "QuarterTurn": "A step with `kind: quarter_turn`: turns images by a multiple of 90 degrees.",
    "Rotate": "A step with `kind: rotate`: turns images by a small angle.",
    "Translate": "A step with `kind: translate`: moves images by whole pixels.",
    "Crop": "A step with `kind: crop`: enlarges a window of an image to its full size.",
    "Scale": "A step with `kind: scale`: enlarges or shrinks images about their centre.",
    "Contrast": "A step with `kind: contrast`: stretches numbers about their mean.",
    "Noise": "A step with `kind: noise`: adds Gaussian noise to numbers. It is no protection of anybody.",
    "Stain": "A step with `kind: stain`: varies how strongly tissue is stained with haematoxylin and eosin.",
    "ReverseComplement": "A step with `kind: reverse_complement`: reads DNA on the other strand.",
    "DropWords": "A step with `kind: drop_words`: takes words of a record away.",
}

KEYS: Final[dict[str, Guidance]] = {
    "Augmentation.steps": Guidance(
        "What is done with a record, step after step, with draws of its own for each record and each time.",
        "Two or three weak steps. With privacy, few parameters learn from few noisy steps, and strong variation "
        "makes "
        "these steps say less. Take nothing that changes the answer.",
    ),
    "Flip.kind": Guidance("Always `flip`."),
    "Flip.tensors": Guidance(*_TENSORS),
    "Flip.chance": Guidance(*_CHANCE),
    "Flip.axis": Guidance(
        "Which axis is mirrored: `width`, `height`, or `depth`, the one before height.",
        "Not where sides matter: a mirrored chest has its heart on the right.",
    ),
    "QuarterTurn.kind": Guidance("Always `quarter_turn`."),
    "QuarterTurn.tensors": Guidance(*_TENSORS),
    "QuarterTurn.chance": Guidance(*_CHANCE),
    "Rotate.kind": Guidance("Always `rotate`."),
    "Rotate.tensors": Guidance(*_TENSORS),
    "Rotate.chance": Guidance(*_CHANCE),
    "Rotate.outside": Guidance(*_OUTSIDE),
    "Rotate.degrees": Guidance(
        "The largest angle, to either side.", "As far as patients are tilted in practice: 5 to 15 for radiographs."
    ),
    "Translate.kind": Guidance("Always `translate`."),
    "Translate.tensors": Guidance(*_TENSORS),
    "Translate.chance": Guidance(*_CHANCE),
    "Translate.outside": Guidance(*_OUTSIDE),
    "Translate.part": Guidance(
        "The farthest move, as a part of height and of width.", "0.05 to 0.1: what is looked for must stay inside."
    ),
    "Crop.kind": Guidance("Always `crop`."),
    "Crop.tensors": Guidance(*_TENSORS),
    "Crop.chance": Guidance(*_CHANCE),
    "Crop.least": Guidance(
        "The smallest window, as a part of height and width.", "0.8 and more: what is looked for must stay inside."
    ),
    "Scale.kind": Guidance("Always `scale`."),
    "Scale.tensors": Guidance(*_TENSORS),
    "Scale.chance": Guidance(*_CHANCE),
    "Scale.outside": Guidance(*_OUTSIDE),
    "Scale.part": Guidance(
        "By how much more than its size an image is enlarged at most; it shrinks by the same factor at most.",
        "0.1; less where size itself matters, as of a heart.",
    ),
    "Contrast.kind": Guidance("Always `contrast`."),
    "Contrast.tensors": Guidance(*_INPUTS),
    "Contrast.chance": Guidance(*_CHANCE),
    "Contrast.part": Guidance(
        "By how much the factor of the contrast differs from 1 at most.",
        "0.1 to 0.3 where devices differ; not where values have a unit, as in CT.",
    ),
    "Noise.kind": Guidance("Always `noise`."),
    "Noise.tensors": Guidance(*_INPUTS),
    "Noise.chance": Guidance(*_CHANCE),
    "Noise.deviation": Guidance(
        "The standard deviation, on the scale that the model sees, after `scaled`.",
        "About that of the device's noise.",
    ),
    "Stain.kind": Guidance("Always `stain`."),
    "Stain.tensors": Guidance("Images of red, green and blue, in this order on the third axis from the end."),
    "Stain.chance": Guidance(*_CHANCE),
    "Stain.part": Guidance(
        "The amount of each stain is multiplied by a factor between 1 - `part` and 1 + `part`.",
        "0.3 for sections of different laboratories.",
    ),
    "Stain.dark": Guidance(
        "The number of no light on the scale that the model sees: 0 with `scaled: unit`, -1 with `scaled: signed`."
    ),
    "Stain.bright": Guidance("The number of full light on the scale that the model sees: 1 with both."),
    "ReverseComplement.kind": Guidance("Always `reverse_complement`."),
    "ReverseComplement.tensors": Guidance(
        "The sequences: ids, or one-hot numbers with an axis of letters. All are read on the same strand."
    ),
    "ReverseComplement.chance": Guidance(
        "With which probability a record is read on the other strand.",
        "0.5 where the strand says nothing, as for accessibility; leave the step out for RNA and for splice sites.",
    ),
    "ReverseComplement.complement": Guidance(
        "For each letter the place of the opposite one.",
        "`[3, 2, 1, 0]` for A, C, G, T. Ids with 0 for no base: `[0, 4, 3, 2, 1]`.",
    ),
    "ReverseComplement.letters": Guidance("Which of the last two axes of one-hot numbers holds the letters."),
    "ReverseComplement.positions": Guidance(
        "Inputs and targets with a value for each position, which are reversed with the sequence.",
        "Marks and tracks along the sequence belong here, or they will not fit it any more.",
    ),
    "DropWords.kind": Guidance("Always `drop_words`."),
    "DropWords.tensors": Guidance(
        "The inputs whose places are emptied: an id becomes 0, a number 0, a flag no. All lose the same places.",
        "Codes, with the values that belong to them. 0 must stand for no word in the vocabulary.",
    ),
    "DropWords.chance": Guidance(*_CHANCE),
    "DropWords.part": Guidance("With which probability each place is emptied.", "0.1 to 0.2."),
    # a proposal for where the terms hold it
}
