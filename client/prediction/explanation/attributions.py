"""Attribute a record's score to its inputs.

===========================  ======================================================================================
input                        method
===========================  ======================================================================================
the model's contributions    exact: what every value adds, from the model itself (``read_contributions``)
an image or a volume         occlusion: how much the score falls when a window shows the image's mean (Zeiler and
                             Fergus 2014); windows overlap by half, and a voxel has the mean of its windows
letters of DNA, one-hot      every other letter in turn (in-silico saturation mutagenesis, as in Kelley, Snoek and Rinn
                             2016): what the score gains when it stands there. So each number is the effect of a variant
other numbers                integrated gradients along the line from a baseline (Sundararajan, Taly and Yan 2017);
                             they add up to the score minus that of the baseline
ids and flags                left out one at a time: how much the score falls when an id is 0, or a flag is no
===========================  ======================================================================================

Rules:

* the baseline of numbers is public: columns of which nothing is known, else the number 0 or what of the range is
  nearest to it. What another baseline would say is another question;
* ids and flags have no way between two values to integrate along, so they are left out and put back, one after another;
  these numbers need not add up to anything. Flags that say which steps or visits there are, are not touched: their axes
  are the first of another input's;
* an input of letters has the axes ``(4, "bases")``. A place without a letter, or with shares of several, is left as it
  is; the letter that stands there has the number 0;
* a positive number raises the score. No number says that the input is a cause of anything.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from client.prediction.columns import FEATURES, fill_in_middle, list_columns
from client.prediction.explanation.score import Score, choose_score
from client.prediction.release_contract import ReleaseContract
from models.catalogue import find_model
from models.entry import Input
from models.outputs import read_outputs
from privacy.errors import ReleaseError

if TYPE_CHECKING:
    from torch import nn

STEPS: Final = 64
LETTERS: Final = 4
_AT_ONCE: Final = 64  # changed copies of a record
_WINDOWS: Final = 8  # along each side of an image, before they overlap
_SPACE: Final = ("depth", "height", "width")

Tensors = Mapping[str, torch.Tensor]
Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Explanation:
    """Why a model says what it says of one record.

    Attributes:
        score: what is explained, in words.
        value: its value for the record.
        baseline: its value where integrated gradients begin; None if there are none.
        attributions: of every value of an input, by the model's name for the input; (*shape) each.
        methods: how each was made.
        attention: what the model attended to, by name; (*axes) each.
        measures: what else a method found, by name.
    """

    score: str
    value: float
    baseline: float | None
    attributions: Mapping[str, Values]
    methods: Mapping[str, str]
    attention: Mapping[str, Values]
    measures: Mapping[str, Values] = field(default_factory=dict)


def explain_record(
    contract: ReleaseContract, module: "nn.Module", inputs: Tensors, place: int | None = None
) -> Explanation:
    """Explain one record, of which ``inputs`` has (1, ...) for each input of the model.

    Raises:
        ReleaseError: the model has no score to explain, or a package is missing.
    """
    with torch.no_grad():
        outputs = read_outputs(module(inputs))
    score = choose_score(contract, inputs, outputs, place)
    value = float(score.compute(outputs)[0])

    def compute(changed: Tensors) -> torch.Tensor:
        return score.compute(read_outputs(module(changed)))

    attributions, methods = _read_contributions(module, inputs, score)
    baseline = None
    numbers = []
    for each in find_model(contract.model.name).inputs:
        if each.name in attributions:
            continue
        if each.type == "number" and not is_image(each) and not is_letters(each):
            numbers.append(each.name)
        elif is_letters(each):
            attributions[each.name] = _change_letters(compute, inputs, each.name, value)
            methods[each.name] = "every other letter"
        elif each.type == "number":
            attributions[each.name], methods[each.name] = _occlude(compute, inputs, each.name, value), "occlusion"
        elif not _is_mask(each, find_model(contract.model.name).inputs):
            attributions[each.name], methods[each.name] = _leave_out(compute, inputs, each.name, value), "left out"
    if numbers:
        start = {name: make_baseline(contract, name, inputs[name]) for name in numbers}
        with torch.no_grad():
            baseline = float(compute({**inputs, **start})[0])
        attributions |= _integrate(compute, inputs, start)
        methods |= dict.fromkeys(numbers, "integrated gradients")
    return Explanation(score.name, value, baseline, attributions, methods, read_attention(module, inputs))


def is_image(wanted: Input) -> bool:
    """Return whether an input is an image or a volume, by the names of its axes."""
    return len(wanted.axes) >= 2 and tuple(wanted.axes[-2:]) == _SPACE[1:]


def is_letters(wanted: Input) -> bool:
    """Return whether an input is one-hot letters of DNA, by its axes."""
    return wanted.type == "number" and wanted.axes[:1] == (LETTERS,) and str(wanted.axes[-1]).endswith("bases")


def make_baseline(contract: ReleaseContract, name: str, values: torch.Tensor) -> torch.Tensor:
    """Make the public numbers from which integrated gradients of the input ``name`` start; like ``values``."""
    source = contract.model.inputs[name]
    if source == FEATURES and list_columns(contract.data):
        return torch.tensor(fill_in_middle(contract.data), dtype=values.dtype).expand_as(values)
    tensor: Any = contract.data.find_tensor(source)
    low, high = tensor.range
    return torch.full_like(values, min(max(0.0, low), high))


def read_attention(module: "nn.Module", inputs: Tensors) -> dict[str, Values]:
    """Return what the model attends to in one record, if it shows it; (*axes) each."""
    read = getattr(module, "read_attention", None)
    return {} if read is None else {name: to_numpy(values[0]) for name, values in read(inputs).items()}


def _read_contributions(
    module: "nn.Module", inputs: Tensors, score: Score
) -> tuple[dict[str, Values], dict[str, str]]:
    """Return what the model itself says that every value adds to the score."""
    read = getattr(module, "read_contributions", None)
    if read is None:
        return {}, {}
    found = {name: values[0] for name, values in read(inputs).items()}
    if score.place is not None:
        found = {name: values[..., score.place] for name, values in found.items()}
    return {name: to_numpy(values) for name, values in found.items()}, dict.fromkeys(found, "exact")


def _is_mask(wanted: Input, inputs: tuple[Input, ...]) -> bool:
    """Return whether flags say which steps or visits another input has."""
    return wanted.type == "flag" and any(
        len(other.axes) > len(wanted.axes) and other.axes[: len(wanted.axes)] == wanted.axes for other in inputs
    )


def _integrate(compute: Callable[[Tensors], torch.Tensor], inputs: Tensors, start: Tensors) -> dict[str, Values]:
    """Integrate the gradients of numbers along the line from ``start``, with Gauss-Legendre steps."""
    try:
        from captum.attr import IntegratedGradients
    except ImportError:
        raise ReleaseError(
            "integrated gradients need the extra 'explain': pip install 'consilium[explain]'"
        ) from None
    names = list(start)

    def forward(*changed: torch.Tensor) -> torch.Tensor:
        records = changed[0].shape[0]
        others = {name: value.expand(records, *value.shape[1:]) for name, value in inputs.items()}
        return compute({**others, **dict(zip(names, changed, strict=True))})

    found = IntegratedGradients(forward).attribute(
        tuple(inputs[name].clone().requires_grad_() for name in names),
        baselines=tuple(start[name] for name in names),
        n_steps=STEPS,
        internal_batch_size=_AT_ONCE,
    )
    return {name: to_numpy(values[0]) for name, values in zip(names, found, strict=True)}


def _occlude(compute: Callable[[Tensors], torch.Tensor], inputs: Tensors, name: str, value: float) -> Values:
    """Cover windows of an image, (1, channels, *space), by its mean; (channels, *space), equal in all channels."""
    image = inputs[name][0]
    space = image.shape[1:]
    sizes = [max(1, length // _WINDOWS) for length in space]
    corners = np.stack(
        np.meshgrid(
            *(_list_corners(length, size) for length, size in zip(space, sizes, strict=True)), indexing="ij"
        ),
        axis=-1,
    ).reshape(-1, len(space))
    mean = image.flatten(1).mean(1).reshape(-1, *[1] * len(space))
    windows = [
        (slice(None), *(slice(at, at + size) for at, size in zip(corner, sizes, strict=True)))
        for corner in corners.tolist()
    ]
    falls = np.concatenate(
        [
            value - _score_changed(compute, inputs, name, [_cover(image, window, mean) for window in some])
            for some in _take_some(windows)
        ]
    )
    total, times = np.zeros(space), np.zeros(space)
    for window, fall in zip(windows, falls.tolist(), strict=True):
        total[window[1:]] += fall
        times[window[1:]] += 1
    return np.broadcast_to(total / times, tuple(image.shape)).copy()


def _list_corners(length: int, size: int) -> list[int]:
    """List where windows begin: every half window, and at the far end."""
    return sorted({*range(0, length - size + 1, max(1, size // 2)), length - size})


def _cover(image: torch.Tensor, window: tuple[slice, ...], mean: torch.Tensor) -> torch.Tensor:
    covered = image.clone()
    covered[window] = mean.expand_as(covered[window])
    return covered


def _leave_out(compute: Callable[[Tensors], torch.Tensor], inputs: Tensors, name: str, value: float) -> Values:
    """Set every id and flag that is not 0 to 0, one at a time; (*shape), 0 where nothing was there."""
    values = inputs[name][0]
    falls = np.zeros(tuple(values.shape))
    for some in _take_some(values.nonzero().tolist()):
        changed = []
        for place in some:
            without = values.clone()
            without[tuple(place)] = 0
            changed.append(without)
        scores = _score_changed(compute, inputs, name, changed)
        for place, score in zip(some, scores.tolist(), strict=True):
            falls[tuple(place)] = value - score
    return falls


def _change_letters(compute: Callable[[Tensors], torch.Tensor], inputs: Tensors, name: str, value: float) -> Values:
    """Put every other letter at every place of a sequence, (1, 4, bases), alone; the gain of the score, (4, bases)."""
    sequence = inputs[name][0]
    gains = np.zeros(tuple(sequence.shape))
    one_letter = (sequence == 1).sum(0).eq(1) & (sequence == 0).sum(0).eq(len(sequence) - 1)  # (bases,)
    others = ((sequence == 0) & one_letter).nonzero().tolist()
    for some in _take_some(others):
        changed = sequence.expand(len(some), *sequence.shape).clone()
        for copy, (letter, place) in zip(changed, some, strict=True):
            copy[:, place] = 0
            copy[letter, place] = 1
        gains[tuple(np.array(some).T)] = _score_changed(compute, inputs, name, list(changed)) - value
    return gains


def _score_changed(
    compute: Callable[[Tensors], torch.Tensor], inputs: Tensors, name: str, changed: list[torch.Tensor]
) -> Values:
    """Compute the score of a record in which one input has other values; (changes,)."""
    many = {key: each.expand(len(changed), *each.shape[1:]) for key, each in inputs.items()}
    with torch.no_grad():
        return to_numpy(compute({**many, name: torch.stack(changed)}))


def _take_some(places: list[Any]) -> list[list[Any]]:
    return [places[start : start + _AT_ONCE] for start in range(0, len(places), _AT_ONCE)]


def to_numpy(values: torch.Tensor) -> Values:
    """Return ``values`` as an array of double precision on the CPU."""
    found: Values = values.detach().double().cpu().numpy()
    return found
