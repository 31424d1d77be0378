"""Augmentation: how records are varied each time they are trained on, so that few patients teach more.

A list of steps. Every step names the tensors of the data contract that it varies. Each record gets its own draw, the
same for all tensors of the step, so that a mask follows its image; only ``noise`` draws for every number.

========================  ===================================================  ==================================
kind                      what it does with a record                           what it varies
========================  ===================================================  ==================================
``flip``                  mirrors it                                           images, and masks of the targets
``quarter_turn``          turns it by 0, 90, 180 or 270 degrees                the same, as wide as high
``rotate``                turns it by a small angle about the centre           the same
``translate``             moves it by whole pixels                             the same
``crop``                  enlarges a window of it to the full size             the same
``scale``                 enlarges or shrinks it about the centre              the same
``contrast``              stretches values about their mean                    numbers of the inputs
``noise``                 adds Gaussian noise                                  numbers of the inputs
``stain``                 varies how strongly tissue is stained                images of three colours
``reverse_complement``    reads a sequence on the other strand                 letters, one-hot or as ids
``drop_words``            takes words away                                     the inputs
========================  ===================================================  ==================================

Rules:

* strengths are public choices of the study's author. Draws come from the site's secret randomness;
* a step looks at one record alone, so it changes neither who is clipped nor what a patient may add;
* shapes stay as they are. Numbers may leave their public range by what ``contrast`` and ``noise`` add;
* an image is the last two axes of a tensor, height and width; axes before them (channels, slices) move together;
* a target is varied by what moves places, never by what changes values.

Source: Shorten and Khoshgoftaar 2019, A survey on image data augmentation for deep learning, Journal of Big Data 6:60.
"""

from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import Field, model_validator

from privacy.document import Document
from privacy.study.data.contract import DataContract
from privacy.study.data.tensors import Flags, Ids, Numbers, TensorName, describe_tensor

DNA: Final = (3, 2, 1, 0)
"""The letters opposite to A, C, G and T, in this order."""
_COLOURS: Final = 3  # red, green and blue

AnyTensor = Numbers | Ids | Flags
Share = Annotated[float, Field(ge=0, le=1)]


class Step(Document):
    """What every step has.

    Attributes:
        tensors: the inputs and targets that are varied, all by the same draw.
        chance: with which a record is varied at all.
    """

    inputs_only: ClassVar[bool] = False

    tensors: Annotated[tuple[TensorName, ...], Field(min_length=1, max_length=100)]
    chance: Share = 1.0

    @model_validator(mode="after")
    def _distinct_tensors(self) -> Self:
        if len(set(self.tensors)) < len(self.tensors):
            raise ValueError("a tensor is named twice")
        return self

    def list_tensors(self) -> tuple[str, ...]:
        """List all tensors that the step varies."""
        return self.tensors

    def find_misfit(self, contract: DataContract) -> str | None:
        """Describe why the data have not what the step varies; None if they have."""
        inputs, targets = contract.list_inputs(), contract.list_targets()
        known = {each.name: each for each in (inputs if self.inputs_only else (*inputs, *targets))}
        for name in self.tensors:
            if name not in known:
                kind = "input" if self.inputs_only else "input or target"
                return f"there is no {kind} '{name}', only {', '.join(known)}"
        tensors = [known[name] for name in self.tensors]
        return next(filter(None, map(self._find_tensor_misfit, tensors)), None) or self._find_difference(tensors)

    def _find_tensor_misfit(self, tensor: AnyTensor) -> str | None:
        """Describe why the step cannot vary ``tensor``."""
        raise NotImplementedError

    def _find_difference(self, tensors: list[AnyTensor]) -> str | None:
        """Describe why the step cannot vary these tensors by one draw."""
        return None


class ImageStep(Step):
    """A step that moves the pixels of images and of masks as large."""

    def _find_tensor_misfit(self, tensor: AnyTensor) -> str | None:
        if len(tensor.shape) < self._count_axes():
            return _describe_misfit(tensor, f"at least {self._count_axes()} axes")
        return None

    def _find_difference(self, tensors: list[AnyTensor]) -> str | None:
        first = tensors[0]
        for other in tensors[1:]:
            if other.shape[-2:] != first.shape[-2:]:
                return _describe_misfit(other, f"height and width of '{first.name}' ({describe_tensor(first)})")
        return None

    def _count_axes(self) -> int:
        return 2


class Flip(ImageStep):
    """Mirror along one axis. Not where left and right differ, as in a chest with its heart."""

    kind: Literal["flip"]
    axis: Literal["width", "height", "depth"] = "width"
    chance: Share = 0.5

    def _count_axes(self) -> int:
        return 3 if self.axis == "depth" else 2

    def _find_difference(self, tensors: list[AnyTensor]) -> str | None:
        if self.axis == "depth" and len({each.shape[-3] for each in tensors}) > 1:
            return "the tensors have different depths"
        return super()._find_difference(tensors)


class QuarterTurn(ImageStep):
    """Turn by a multiple of 90 degrees, each as likely: for images without an upper side, as in histology."""

    kind: Literal["quarter_turn"]

    def _find_tensor_misfit(self, tensor: AnyTensor) -> str | None:
        if len(tensor.shape) >= 2 and tensor.shape[-1] != tensor.shape[-2]:
            return _describe_misfit(tensor, "as much height as width")
        return super()._find_tensor_misfit(tensor)


class MovedImage(ImageStep):
    """A step after which places come into the image from outside it.

    Attributes:
        outside: their values: those of the nearest ``edge``, or ``zero``.
    """

    outside: Literal["edge", "zero"] = "edge"


class Rotate(MovedImage):
    """Turn by an angle of at most ``degrees`` to either side."""

    kind: Literal["rotate"]
    degrees: float = Field(default=10.0, gt=0, le=180)


class Translate(MovedImage):
    """Move by at most this part of height and of width, to either side, by whole pixels."""

    kind: Literal["translate"]
    part: float = Field(default=0.1, gt=0, le=0.5)


class Crop(ImageStep):
    """Take a window of at least the part ``least`` of height and width, anywhere, and enlarge it to the full size."""

    kind: Literal["crop"]
    least: float = Field(default=0.8, ge=0.1, lt=1)


class Scale(MovedImage):
    """Enlarge or shrink by at most the factor 1 + ``part``."""

    kind: Literal["scale"]
    part: float = Field(default=0.1, gt=0, le=1)


class ValueStep(Step):
    """A step that changes the numbers of inputs."""

    inputs_only: ClassVar[bool] = True

    def _find_tensor_misfit(self, tensor: AnyTensor) -> str | None:
        if not isinstance(tensor, Numbers):
            return _describe_misfit(tensor, "numbers")
        return None


class Contrast(ValueStep):
    """Stretch the differences from the record's mean by a factor between 1 - ``part`` and 1 + ``part``."""

    kind: Literal["contrast"]
    part: float = Field(default=0.2, gt=0, le=0.9)


class Noise(ValueStep):
    """Add to every number Gaussian noise of this standard deviation, in the unit that the model sees."""

    kind: Literal["noise"]
    deviation: float = Field(default=0.05, gt=0, le=10)


class Stain(ValueStep):
    """Multiply how much of each stain a section has by a factor between 1 - ``part`` and 1 + ``part``.

    The stains are haematoxylin and eosin, each with a factor of its own; what neither explains stays. Colours are the
    third axis from the end: red, green and blue.

    Attributes:
        dark: the number of no light, as the model sees it.
        bright: that of full light, which no tissue has taken anything of.
    """

    kind: Literal["stain"]
    part: float = Field(default=0.3, gt=0, le=0.9)
    dark: float = Field(default=0.0, ge=-1e6, le=1e6)
    bright: float = Field(default=1.0, ge=-1e6, le=1e6)

    @model_validator(mode="after")
    def _light(self) -> Self:
        if self.bright <= self.dark:
            raise ValueError("bright: expected a number above dark")
        return self

    def _find_tensor_misfit(self, tensor: AnyTensor) -> str | None:
        misfit = super()._find_tensor_misfit(tensor)
        if misfit is not None:
            return misfit
        assert isinstance(tensor, Numbers)
        if len(tensor.shape) < 3 or tensor.shape[-3] != _COLOURS:
            return _describe_misfit(tensor, "an image of 3 colours")
        if tensor.range != (self.dark, self.bright):
            low, high = tensor.range
            return (
                f"'{tensor.name}': the model sees numbers from {low:g} to {high:g}; "
                f"write dark: {low:g} and bright: {high:g}"
            )
        return None


class ReverseComplement(Step):
    """Read a sequence of bases on the other strand, backwards.

    Attributes:
        complement: the letter opposite to each letter: for ids of each word of their vocabulary, for one-hot numbers
            of each place of the axis of letters. An id opposite to itself stays, as one that stands for no base.
        letters: which axis of one-hot numbers or flags holds the letters; positions are on the other one.
        positions: further inputs and targets, with one value for each position on their last axis: these are reversed,
            and no letter is exchanged.
    """

    kind: Literal["reverse_complement"]
    chance: Share = 0.5
    complement: tuple[Annotated[int, Field(ge=0, le=999)], ...] = Field(default=DNA, min_length=2, max_length=1000)
    letters: Literal["first", "last"] = "first"
    positions: Annotated[tuple[TensorName, ...], Field(max_length=100)] = ()

    @model_validator(mode="after")
    def _opposite_of_the_opposite(self) -> Self:
        pairs = self.complement
        if sorted(pairs) != list(range(len(pairs))) or any(pairs[pairs[letter]] != letter for letter in pairs):
            raise ValueError(
                "complement: expected every letter to be opposite to the letter that is opposite to it"
            )
        if twice := set(self.tensors) & set(self.positions):
            raise ValueError(f"'{min(twice)}' is both in tensors and in positions")
        return self

    def list_tensors(self) -> tuple[str, ...]:
        """List all tensors that the step varies."""
        return (*self.tensors, *self.positions)

    def find_misfit(self, contract: DataContract) -> str | None:
        """Describe why the data have no such sequences; None if they have."""
        misfit = super().find_misfit(contract)
        if misfit is not None:
            return misfit
        lengths = [
            self._measure(tensor) for tensor in map(contract.find_tensor, self.tensors) if tensor is not None
        ]
        for name in self.positions:
            tensor = contract.find_tensor(name)
            if tensor is None:
                return f"there is no input or target '{name}'"
            if not tensor.shape:
                return _describe_misfit(tensor, "a value for each position")
            lengths.append(tensor.shape[-1])
        return None if len(set(lengths)) == 1 else "the tensors have different numbers of positions"

    def _measure(self, tensor: AnyTensor) -> int:
        return tensor.shape[-2 if self.letters == "last" and not isinstance(tensor, Ids) else -1]

    def _find_tensor_misfit(self, tensor: AnyTensor) -> str | None:
        letters = len(self.complement)
        if isinstance(tensor, Ids):
            fits = len(tensor.shape) >= 1 and tensor.values == letters
            wanted = f"a sequence of ids of {letters} words, as many as complement has"
        else:
            fits = len(tensor.shape) >= 2 and tensor.shape[-2 if self.letters == "first" else -1] == letters
            wanted = f"an axis of {letters} letters, {self.letters} of the last two axes, as many as complement has"
        return None if fits else _describe_misfit(tensor, wanted)


class DropWords(Step):
    """Take away each place with the chance ``part``: an id becomes 0, a flag no, a number 0.

    Several tensors have one shape and lose the same places: codes, and the values that belong to them.
    """

    inputs_only: ClassVar[bool] = True

    kind: Literal["drop_words"]
    part: float = Field(default=0.1, gt=0, le=0.9)

    def _find_tensor_misfit(self, tensor: AnyTensor) -> str | None:
        return None if tensor.shape else _describe_misfit(tensor, "several values")

    def _find_difference(self, tensors: list[AnyTensor]) -> str | None:
        if len({each.shape for each in tensors}) > 1:
            shapes = "; ".join(f"'{each.name}': {describe_tensor(each)}" for each in tensors)
            return f"the tensors have different shapes: {shapes}"
        return None


AnyStep = Annotated[
    Flip
    | QuarterTurn
    | Rotate
    | Translate
    | Crop
    | Scale
    | Contrast
    | Noise
    | Stain
    | ReverseComplement
    | DropWords,
    Field(discriminator="kind"),
]


class Augmentation(Document):
    """The steps, in the order in which a record goes through them."""

    steps: tuple[AnyStep, ...] = Field(min_length=1, max_length=20)

    def find_misfit(self, contract: DataContract) -> str | None:
        """Describe why records of ``contract`` cannot be varied so, naming the step; None if they can."""
        for place, step in enumerate(self.steps):
            misfit = step.find_misfit(contract)
            if misfit is not None:
                return f"steps[{place}], {step.kind}: {misfit}"
        return None


def _describe_misfit(tensor: AnyTensor, wanted: str) -> str:
    return f"'{tensor.name}': expected {wanted}, got {describe_tensor(tensor)}"
