"""A contract of kind ``images``: images or volumes of one size, with columns, a label or masks beside them.

Everything that decides a number is here, and so the same at every site:

==================  ==========================================================================================
``values``          what a pixel's number is: ``window`` (real units of the file, such as Hounsfield units, clipped
                    to the window), ``full-range`` (the share of what the file's bits can hold), ``own-range`` (the
                    share between two percentiles of the image itself) or ``display`` (the share that the file's own
                    display window gives)
``resize``          ``stretch`` changes the aspect ratio; ``pad`` keeps it, shows the whole image and pads the rest;
                    ``crop`` keeps it, fills everything and cuts the rest; ``none`` does not scale, and pads or cuts
``interpolation``   ``area``, ``linear`` or ``nearest`` (``client/data/conversion/resampling.py``)
``orientation``     of a volume: where depth, height and width grow to, as three of R/L, A/P and S/I: ``SPL`` are
                    axial slices from the feet up, seen as radiologists see them
``spacing_mm``      of a volume: the size of a voxel to which it is scaled; without it voxels are used as they are
``record``          ``image``, or ``slice``: each of the ``depth`` slices of a volume is a record of its own
==================  ==========================================================================================

Padding has the lowest value. Its tensors: each image by its name, ``features`` if there are any, the targets of the
label as in a table (``labels.py``), and each mask by its name.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from privacy.document import Document
from privacy.fields import Column, RangeEnd, Word, require_rising
from privacy.study.data.columns import Feature, count_encoded
from privacy.study.data.contract import DataContract, Tensors
from privacy.study.data.labels import Label
from privacy.study.data.tensors import Flags, Ids, Numbers, TensorName

Side = Annotated[int, Field(ge=1, le=4096)]


class WindowValues(Document):
    """Real units, from ``low`` to ``high``; what is beyond is clipped before the image is scaled to its size."""

    kind: Literal["window"]
    low: RangeEnd
    high: RangeEnd

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        require_rising(self.low, self.high)
        return self


class FullRangeValues(Document):
    """The share, in [0, 1], of what the file's bits can hold: 128 of 8 bits is as bright as 32,896 of 16 bits."""

    kind: Literal["full-range"]


class DisplayValues(Document):
    """The brightness, in [0, 1], that the file's own display window gives; DICOM only."""

    kind: Literal["display"]


class OwnRangeValues(Document):
    """The share, in [0, 1], between two percentiles of the image's, or the volume's, own numbers.

    It is for MR, whose numbers have no unit. Each image is scaled by itself alone: nothing of one patient gets into
    another's numbers.
    """

    kind: Literal["own-range"]
    low: float = Field(default=1.0, ge=0, le=50)
    high: float = Field(default=99.0, ge=50, le=100)


Values = Annotated[WindowValues | FullRangeValues | OwnRangeValues | DisplayValues, Field(discriminator="kind")]


class ImageInput(Document):
    """An image, or with ``depth`` a volume, of every record."""

    name: TensorName = "image"
    depth: Side | None = None
    height: Side
    width: Side
    colour: Literal["grey", "rgb"] = "grey"
    values: Values
    resize: Literal["stretch", "pad", "crop", "none"]
    interpolation: Literal["area", "linear", "nearest"] = "area"
    orientation: str | None = None
    spacing_mm: tuple[Annotated[float, Field(ge=0.01, le=100)], ...] | None = Field(
        default=None, min_length=3, max_length=3
    )
    scaled: Literal["unit", "signed", "none"] = "unit"

    @field_validator("orientation")
    @classmethod
    def _three_axes(cls, code: str | None) -> str | None:
        axes = {"R": 0, "L": 0, "A": 1, "P": 1, "S": 2, "I": 2}
        if code is not None and sorted(axes.get(each, -1) for each in code) != [0, 1, 2]:
            raise ValueError("expected one letter each of R or L, A or P, S or I, such as SPL")
        return code

    @model_validator(mode="after")
    def _whole_volume(self) -> Self:
        if (self.depth is None) != (self.orientation is None):
            raise ValueError("a volume has depth and orientation, an image has neither")
        if self.spacing_mm is not None and (self.depth is None or self.resize != "none"):
            raise ValueError(
                "spacing_mm is for volumes, with resize: none, which then pads or cuts around the centre"
            )
        if self.values.kind == "display" and self.depth is not None:
            raise ValueError("values.kind: slices of a volume have windows of their own; take window or full-range")
        return self

    @property
    def range(self) -> tuple[float, float]:
        """The lowest and the highest value before scaling."""
        return (self.values.low, self.values.high) if isinstance(self.values, WindowValues) else (0.0, 1.0)

    @property
    def space(self) -> tuple[int, ...]:
        """The lengths of the axes: (depth, height, width) or (height, width)."""
        return (self.height, self.width) if self.depth is None else (self.depth, self.height, self.width)

    @property
    def channels(self) -> int:
        """1 for grey, 3 for colours."""
        return 1 if self.colour == "grey" else 3


class MaskTarget(Document):
    """What is to be found in the image ``of``: one of ``classes`` for every pixel, 0 for the background."""

    name: TensorName = "mask"
    of: TensorName = "image"
    classes: int = Field(default=2, ge=2, le=64)


class ImagesContract(DataContract):
    """The images every site must have, and what is known with each.

    Attributes:
        record: what a record is: an image, or a slice of a volume.
        patient: the column that tells the patient.
        images: the images of a record.
        features: columns that are learned from, as of a table; together they are the tensor ``features``.
        scaled: to what the numbers of ``features`` are scaled.
        label: what is predicted for each image, from columns.
        masks: what is predicted for each pixel.
        missing: words that mean that a feature is missing.
    """

    kind: Literal["images"]
    record: Literal["image", "slice"] = "image"
    patient: Column = "patient"
    images: tuple[ImageInput, ...] = Field(min_length=1, max_length=10)
    features: tuple[Feature, ...] = Field(default=(), max_length=1000)
    scaled: Literal["signed", "unit"] = "signed"
    label: Label | None = None
    masks: tuple[MaskTarget, ...] = Field(default=(), max_length=10)
    missing: tuple[Word, ...] = ("", "?")

    @model_validator(mode="after")
    def _each_name_once(self) -> Self:
        columns = self.list_columns()
        if twice := sorted({column for column in columns if columns.count(column) > 1}):
            raise ValueError(f"a column has one role; used twice: {', '.join(twice)}")
        names = [self.patient, *(tensor.name for tensor in (*self.list_inputs(), *self.list_targets()))]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"a tensor has one role; used twice: {', '.join(twice)}")
        return self

    @model_validator(mode="after")
    def _masks_and_slices_fit(self) -> Self:
        known = [each.name for each in self.images]
        if strange := sorted({mask.of for mask in self.masks} - set(known)):
            raise ValueError(f"masks: there is no image '{strange[0]}'; there are {', '.join(known)}")
        depths = {each.depth for each in self.images}
        if self.record == "slice" and (None in depths or len(depths) > 1):
            raise ValueError("record: slice needs volumes of one depth, the number of slices")
        return self

    @property
    def width(self) -> int:
        """The length of ``features``: as of a table."""
        return count_encoded(self.features)

    def list_inputs(self) -> Tensors:
        """List the images, then ``features`` if there are any."""
        images: Tensors = tuple(
            Numbers(
                type="number",
                name=each.name,
                shape=(each.channels, *self._measure_space(each)),
                low=each.range[0],
                high=each.range[1],
                scaled=each.scaled,
            )
            for each in self.images
        )
        if not self.features:
            return images
        low = -1.0 if self.scaled == "signed" else 0.0
        features = Numbers(type="number", name="features", shape=(self.width,), low=low, high=1.0, scaled="none")
        return (*images, features)

    def list_targets(self) -> Tensors:
        """List the targets of the label, then the masks: flags of two classes, ids of more."""
        label: Tensors = () if self.label is None else self.label.list_targets()
        return (*label, *(self._describe_mask(each) for each in self.masks))

    def list_columns(self) -> list[Column]:
        """List the columns that training needs: patient, label, features."""
        label = () if self.label is None else self.label.list_columns()
        return [self.patient, *label, *(feature.name for feature in self.features)]

    def find_image(self, name: str) -> ImageInput:
        """Find an image by its name."""
        return next(each for each in self.images if each.name == name)

    def _describe_mask(self, mask: MaskTarget) -> Flags | Ids:
        of = next((each for each in self.images if each.name == mask.of), self.images[0])
        shape = self._measure_space(of)
        if mask.classes == 2:
            return Flags(type="flag", name=mask.name, shape=shape)
        return Ids(type="id", name=mask.name, shape=shape, values=mask.classes)

    def _measure_space(self, image: ImageInput) -> tuple[int, ...]:
        """Return the axes of one record: of a slice without the depth."""
        return image.space[1:] if self.record == "slice" else image.space
