"""List what is shown of a contract: for each tensor its columns, variables, words or codes, by the names people know.

Rules:

* edges of bins and names of bars come from the contract: nothing is measured on patients;
* a tensor of which nothing more is known is one view: all its values together.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from client.data.showing.bars import Role
from privacy.study import AnyContract, BinaryLabel, TableContract
from privacy.study.data.code_systems import list_every
from privacy.study.data.columns import Category, Date, Number, Text, count_numbers
from privacy.study.data.event_criteria import CodeSet, PatientAge, Static, Variable
from privacy.study.data.events import BagSteps, EventsContract
from privacy.study.data.images import ImagesContract
from privacy.study.data.labels import ClassLabel, NumberLabel, SeveralLabels, SurvivalLabel
from privacy.study.data.tensors import Flags, Ids, Numbers, describe_tensor

_MOST_NAMED: Final = 64  # positions of a tensor of flags without names that have a bar each
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_FEATURES: Final = "features"
_OBSERVED: Final = "observed"
_PRESENT: Final = "present"


@dataclass(frozen=True)
class View:
    """A part of a tensor that is one distribution.

    Attributes:
        name: of the column, variable or tensor.
        what: its type and range.
        role: whether models take it or tasks predict it.
        tensor: where it is.
        form: ``numbers`` fall into bins; ``season``, the sine and cosine of a place in the year, into months; ``flags``
            and one-hot words are counted where they are set; ``ids`` are counted by their number.
        start, stop: its positions on the last axis; all values if ``stop`` is None.
        low, high: the ends of the range, as the tensor has its numbers.
        range: the same, as people know them; between them, ``logarithm`` says, the tensor has logarithms. A
            ``unit`` of a day counts from 1970-01-01.
        labels: the names of the bars of flags and ids; empty for numbers of ids without a name.
        absent: the position on the last axis that says that the value is missing.
        there: the position that says that there is one.
        observed: the tensor of flags, of the same shape, that says which values there are.
        steps: the tensor of flags that says which steps of a record there are.
    """

    name: str
    what: str
    role: Role
    tensor: str
    form: Literal["numbers", "season", "flags", "ids"]
    start: int = 0
    stop: int | None = None
    low: float = 0.0
    high: float = 1.0
    range: tuple[float, float] = (0.0, 1.0)
    logarithm: bool = False
    unit: Literal["number", "day"] = "number"
    labels: tuple[str, ...] = ()
    absent: int | None = None
    there: int | None = None
    observed: str | None = None
    steps: str | None = None


def list_views(contract: AnyContract) -> list[View]:
    """List every view of ``contract``: targets first, then inputs in the contract's order."""
    views = [view for tensor in contract.list_targets() for view in _view_target(contract, tensor)]
    return views + [view for tensor in contract.list_inputs() for view in _view_input(contract, tensor)]


def _view_target(contract: AnyContract, tensor: Numbers | Ids | Flags) -> Iterator[View]:
    label = getattr(contract, "label", None)
    match label, tensor:
        case BinaryLabel(), Ids(name="label"):
            words = (f"no: {', '.join(label.negative)}", f"yes: {', '.join(label.positive)}")
            yield View(label.name, "yes or no", "target", tensor.name, "ids", labels=words)
        case ClassLabel(), Ids(name="label"):
            names = tuple(", ".join(words) for words in label.classes)
            yield View(label.name, f"{len(names)} classes", "target", tensor.name, "ids", labels=names)
        case NumberLabel(), Numbers(name="label"):
            yield _view_numbers(label.name, tensor, "target", label.low, label.high)
        case SeveralLabels(), Flags(name="labels"):
            names = tuple(each.name for each in label.columns)
            what = f"{len(names)} labels, each yes or no"
            yield View("labels", what, "target", tensor.name, "flags", stop=len(names), labels=names)
        case SurvivalLabel(), Numbers(name="time"):
            yield _view_numbers(label.time, tensor, "target", 0, label.longest)
        case SurvivalLabel(), Ids(name="event"):
            names = (f"censored: {', '.join(label.censored)}", *(", ".join(words) for words in label.causes))
            yield View(label.event, "what happened", "target", tensor.name, "ids", labels=names)
        case _:
            yield _view_whole(tensor, "target", None)


def _view_input(contract: AnyContract, tensor: Numbers | Ids | Flags) -> Iterator[View]:
    match contract:
        case TableContract() | ImagesContract() if tensor.name == _FEATURES:
            yield from _view_columns(contract.features, tensor.name, contract.scaled)
        case EventsContract():
            yield from _view_events(contract, tensor)
        case _:
            yield from _view_array(contract, tensor)


def _view_array(contract: AnyContract, tensor: Numbers | Ids | Flags) -> Iterator[View]:
    """View a tensor without names; of a series that says which values it has, each variable by its number."""
    flags = {each.name: each.shape for each in contract.list_inputs() if isinstance(each, Flags)}
    series = len(tensor.shape) > 1 and tensor.shape[-1] <= _MOST_NAMED and flags.get(_OBSERVED) == tensor.shape
    steps = _PRESENT if flags.get(_PRESENT) == tensor.shape[:1] else None
    match tensor:
        case Numbers(name="values") if series:
            what = f"{describe_tensor(tensor)}, {_format_range(tensor.low, tensor.high)}"
            for place in range(tensor.shape[-1]):
                yield View(
                    f"{tensor.name} [{place}]", what, "input", tensor.name, "numbers", place, place + 1, *tensor.range,
                    range=(tensor.low, tensor.high), observed=_OBSERVED, steps=steps,
                )  # fmt: skip
        case Flags() if series:
            labels = tuple(f"[{place}]" for place in range(tensor.shape[-1]))
            what = f"{describe_tensor(tensor)}: steps with a value"
            yield View(
                tensor.name, what, "input", tensor.name, "flags", stop=len(labels), labels=labels, steps=steps
            )
        case _:
            yield _view_whole(tensor, "input", None)


def _view_columns(features: Sequence[Number | Category | Date | Text], tensor: str, scaled: str) -> Iterator[View]:
    """View each column of a table as ``client/data/encoding.py`` encodes it: its numbers, then an indicator."""
    start = 0
    inside = (-1.0 if scaled == "signed" else 0.0, 1.0)
    for feature in features:
        stop = start + count_numbers(feature)  # there the indicator is
        match feature:
            case Number():
                yield _view_column(feature.name, tensor, start, inside, (feature.low, feature.high))
            case Date(taken="days"):
                what = f"{feature.earliest} to {feature.latest}"
                yield View(
                    feature.name, what, "input", tensor, "numbers", start, stop, *inside, range=feature.days,
                    unit="day", absent=stop,
                )  # fmt: skip
            case Date():
                what = f"{feature.taken.replace('_', ' ')}, as a place in the year"
                yield View(
                    feature.name, what, "input", tensor, "season", start, stop, *inside, labels=_MONTHS, absent=stop
                )
            case Category():
                yield _view_words(feature.name, f"{len(feature.values)} words", tensor, start, feature.values)
            case Text():
                labels = feature.words or tuple(f"bucket {number}" for number in range(feature.places))
                yield _view_words(feature.name, f"text, {len(labels)} words or buckets", tensor, start, labels)
        start = stop + 1


def _view_words(name: str, what: str, tensor: str, start: int, labels: tuple[str, ...]) -> View:
    """View one-hot words, whose indicator follows them."""
    stop = start + len(labels)
    return View(name, what, "input", tensor, "flags", start, stop, labels=labels, absent=stop)


def _view_column(
    name: str, tensor: str, start: int, inside: tuple[float, float], outside: tuple[float, float], unit: str = ""
) -> View:
    """View a number of a table: in the tensor from ``inside[0]`` to ``inside[1]``, for people as ``outside``."""
    what = f"{_format_range(*outside)} {unit}".rstrip()
    return View(name, what, "input", tensor, "numbers", start, start + 1, *inside, range=outside, absent=start + 1)


def _view_events(contract: EventsContract, tensor: Numbers | Ids | Flags) -> Iterator[View]:
    steps = None if isinstance(contract.steps, BagSteps) else _PRESENT
    codes = tuple(name for each in contract.codes for name in _name_codes(each))
    match tensor.name:
        case "features":
            if codes:
                yield View(
                    "codes", "records with the code", "input", _FEATURES, "flags", stop=len(codes), labels=codes
                )
            start = len(codes)
            for variable in contract.variables:
                what = f"{_describe_variable(variable)}; the last value"
                yield View(
                    variable.name, what, "input", _FEATURES, "numbers", start, start + 1, 0.0, 1.0,
                    range=(variable.low, variable.high), logarithm=variable.logarithm, there=start + 1,
                )  # fmt: skip
                start += 2
            yield from _view_static(contract.static, _FEATURES, start, 0.0)
        case "static":
            yield from _view_static(contract.static, tensor.name, 0, -1.0)
        case "visits":
            what = "visits with the code"
            yield View("codes", what, "input", tensor.name, "flags", stop=len(codes), labels=codes, steps=steps)
        case "codes":
            yield View("codes", "of all visits", "input", tensor.name, "ids", labels=("none", *codes))
        case "values":
            for place, variable in enumerate(contract.variables):
                yield View(
                    variable.name, _describe_variable(variable), "input", tensor.name, "numbers", place, place + 1,
                    -1.0, 1.0, range=(variable.low, variable.high), logarithm=variable.logarithm, observed=_OBSERVED,
                    steps=steps,
                )  # fmt: skip
        case "observed":
            names = tuple(variable.name for variable in contract.variables)
            what = "steps with a value"
            yield View("measured", what, "input", tensor.name, "flags", stop=len(names), labels=names, steps=steps)
        case "present":
            yield View("steps", "share of the steps that are there", "input", tensor.name, "flags")
        case _:
            yield _view_whole(tensor, "input", steps)


def _view_static(static: Sequence[Static], tensor: str, start: int, low: float) -> Iterator[View]:
    for fact in static:
        if isinstance(fact, PatientAge):
            yield _view_column("age", tensor, start, (low, 1.0), (fact.low, fact.high), "years")
            start += 2
        else:
            yield _view_words(fact.name, f"{len(fact.values)} words", tensor, start, fact.values)
            start += len(fact.values) + 1


def _name_codes(codes: CodeSet) -> Iterator[str]:
    if codes.buckets is not None:
        yield from (f"{codes.system} bucket {number}" for number in range(codes.buckets))
    else:
        yield from (f"{codes.system} {word}" for word in codes.words or list_every(codes.every or "atc-1"))
    if codes.others:
        yield f"{codes.system}, others"


def _describe_variable(variable: Variable) -> str:
    scale = ", logarithmic" if variable.logarithm else ""
    return f"{_format_range(variable.low, variable.high)} {variable.unit}".rstrip() + scale


def _format_range(low: float, high: float) -> str:
    return f"{low:g} to {high:g}"


def _view_numbers(name: str, tensor: Numbers, role: Role, low: float, high: float) -> View:
    what = _format_range(low, high)
    return View(name, what, role, tensor.name, "numbers", 0, None, *tensor.range, range=(low, high))


def _view_whole(tensor: Numbers | Ids | Flags, role: Role, steps: str | None) -> View:
    """View a tensor of which nothing but type and shape is known."""
    what = describe_tensor(tensor)
    match tensor:
        case Numbers():
            steps = steps if len(tensor.shape) == 1 else None
            return View(
                tensor.name, f"{what}, {_format_range(tensor.low, tensor.high)}", role, tensor.name, "numbers", 0, None,
                *tensor.range, range=(tensor.low, tensor.high), steps=steps,
            )  # fmt: skip
        case Ids():
            return View(tensor.name, what, role, tensor.name, "ids")
        case Flags():
            last = tensor.shape[-1] if tensor.shape else 0
            if len(tensor.shape) == 1 and last <= _MOST_NAMED and tensor.name != _PRESENT:
                labels = tuple(str(place) for place in range(last))
                return View(tensor.name, what, role, tensor.name, "flags", stop=last, labels=labels)
            return View(tensor.name, what, role, tensor.name, "flags")
