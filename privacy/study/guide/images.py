"""Explain the keys of a contract of kind ``images``."""

from typing import Final

from privacy.study.guide.guidance import Guidance

PARTS: Final[dict[str, str]] = {
    "ImagesContract": "`data` with `kind: images`: images or volumes, with columns, a label or masks beside them. A "
    "site's files (PNG, JPEG, TIFF, DICOM, NIfTI) become arrays by `data add --mapping`. Everything that decides a "
    "pixel's number is here, and so the same at every site.",
    "ImageInput": "An entry of `data.images`: a tensor (channels, height, width), or with `depth` (channels, depth, "
    "height, width).",
    "WindowValues": "`values` with `kind: window`: real units, such as Hounsfield units, clipped to a window.",
    "FullRangeValues": "`values` with `kind: full-range`: the share of what the file's bits can hold, from 0 to 1. "
    "Images whose high values are dark (MONOCHROME1) are turned round.",
    "OwnRangeValues": "`values` with `kind: own-range`: the share, from 0 to 1, between two percentiles of the image's "
    "own numbers, for MR, whose numbers have no unit. Each image is scaled by itself alone.",
    "DisplayValues": "`values` with `kind: display`: the brightness, from 0 to 1, of a DICOM file's own window.",
    "MaskTarget": "An entry of `data.masks`: what is to be found for every pixel of an image; `flag` of two classes, "
    "`id` of more.",
}

KEYS: Final[dict[str, Guidance]] = {
    "ImagesContract.kind": Guidance("Always `images`."),
    "ImagesContract.name": Guidance(
        "The population: the people whose budget pays. Sites grant budgets by this name.",
        "The same people, the same name, in every study; other people, another name.",
    ),
    "ImagesContract.patient": Guidance("The column that tells the patient of each image."),
    "ImagesContract.ranges_from": Guidance(
        "Where windows, ranges and words come from; no measurement on patients.",
    ),
    "ImagesContract.records_per_patient": Guidance(
        "How many records of one patient may enter, the first ones; the rest is dropped.",
        "As many as most patients have: images of one examination, slices of one volume.",
    ),
    "ImagesContract.record": Guidance(
        "`image`: each image or volume is a record; `slice`: each slice of a volume is one.",
        "`slice` for models of two dimensions, with `depth` as the number of slices and `records_per_patient` at "
        "least as large.",
    ),
    "ImagesContract.images": Guidance("The images of a record, one for each image that the model takes."),
    "ImagesContract.features": Guidance(
        "Columns beside the images, as of a table; together they are the tensor `features`."
    ),
    "ImagesContract.scaled": Guidance(
        "Whether numbers of `features` are scaled to [-1, 1] (`signed`) or to [0, 1] (`unit`)."
    ),
    "ImagesContract.label": Guidance(
        "What is predicted for each image, from columns as in a table.", "Left out where only masks are predicted."
    ),
    "ImagesContract.masks": Guidance("What is predicted for each pixel, one entry for each mask."),
    "ImagesContract.missing": Guidance("The words that mean that a feature is missing."),
    "ImageInput.name": Guidance("The name of the tensor, as the model calls it."),
    "ImageInput.depth": Guidance(
        "The number of slices of a volume, along the first letter of `orientation`; left out for an image."
    ),
    "ImageInput.height": Guidance(
        "Pixels from top to bottom.", "No more than the task needs: noise grows with what a model must look at."
    ),
    "ImageInput.width": Guidance("Pixels from left to right."),
    "ImageInput.colour": Guidance(
        "`grey` is one channel, `rgb` three.",
        "A colour image becomes grey by 0.299 red, 0.587 green and 0.114 blue (ITU-R BT.601); grey becomes three equal "
        "channels.",
    ),
    "ImageInput.values": Guidance(
        "What a pixel's number is.",
        "`window` for CT, and where the unit is the same everywhere; `own-range` for MR; `full-range` for photographs, "
        "ultrasound and radiographs; `display` for radiographs that are meant to be seen through their window.",
    ),
    "ImageInput.resize": Guidance(
        "How an image of another size becomes this one: `stretch`, `pad`, `crop` or `none`.",
        "`stretch` if aspect ratios hardly differ, `pad` where nothing may be lost, `crop` where the middle counts, "
        "`none` for volumes with `spacing_mm`.",
    ),
    "ImageInput.interpolation": Guidance(
        "How pixels between pixels are computed: `area`, `linear` or `nearest`.", "`area` for smaller images."
    ),
    "ImageInput.orientation": Guidance(
        "Of a volume: where depth, height and width grow to, three of R/L, A/P, S/I.",
        "`SPL` gives axial slices, from the feet up. An oblique volume takes the nearest axes and is not rotated.",
    ),
    "ImageInput.spacing_mm": Guidance(
        "The size of a voxel along depth, height and width, in millimetres, to which every volume is scaled.",
        "Left out if voxels are alike at all sites.",
    ),
    "ImageInput.scaled": Guidance(
        "To what the range is scaled: `unit` [0, 1], `signed` [-1, 1], `none` leaves values as they are."
    ),
    "WindowValues.kind": Guidance("Always `window`."),
    "WindowValues.low": Guidance("The lower end, after the file's own rescale; what is below counts as this."),
    "WindowValues.high": Guidance(
        "The upper end; what is above counts as this.", "A window that radiologists use for the question."
    ),
    "FullRangeValues.kind": Guidance("Always `full-range`."),
    "OwnRangeValues.kind": Guidance("Always `own-range`."),
    "OwnRangeValues.low": Guidance("The percentile that becomes 0."),
    "OwnRangeValues.high": Guidance("The percentile that becomes 1."),
    "DisplayValues.kind": Guidance("Always `display`."),
    "MaskTarget.name": Guidance("The name of the tensor; a task of kind `segmentation` takes `mask`."),
    "MaskTarget.of": Guidance("The image on whose pixels it lies."),
    "MaskTarget.classes": Guidance(
        "How many there are, with the background, which is 0.", "2 for one kind of foreground."
    ),
}
