"""Find what is probably wrong in a table that keeps its contract: warnings for the people who register it.

Rules:

* a warning is for the hospital's own people, before they register a table; nothing here decides what is trained;
* a sentence names columns and counts. The probable meaning of a mistaken word (:func:`describe_probable_meaning`)
  may name words, and goes to the owner's own terminal only;
* "most" means more than half: of a column's rows that are missing, of its numbers that are clipped, of records
  dropped.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from client.data.adapters.csv import Words
from client.data.adapters.rows import simplify_spelling
from client.data.encoding import ColumnCounts, read_number
from privacy.study import Category, Number, TableContract
from privacy.study.data.labels import BinaryLabel, ClassLabel, NumberLabel, SeveralLabels, SurvivalLabel

_FACTORS: Final = {
    1000.0: "a thousand",
    12.0: "12, months for years",
    100.0: "a hundred",
    10.0: "ten",
    1e6: "a million",
    365.25: "365.25, days for years",
    18.02: "18.02, mg/dL for mmol/L of glucose",
    38.67: "38.67, mg/dL for mmol/L of cholesterol",
    88.4: "88.4, umol/L for mg/dL of creatinine",
    17.1: "17.1, umol/L for mg/dL of bilirubin",
    2.54: "2.54, centimetres for inches",
    2.2046: "2.2046, pounds for kilograms",
}
_FITS: Final = 0.5  # a factor is named if more than this share of the numbers is in the range with it
_CORNER: Final = 0.02  # share of the range, at one end, that holds every number of a column in other units
_FEW: Final = 10  # with fewer rows a column in a corner means nothing
_THOUSANDS: Final = re.compile(r"-?[1-9][0-9]{0,2}\.[0-9]{3}")
_WHOLE: Final = re.compile(r"-?[0-9]{1,3}")
_ROUNDED_ID: Final = re.compile(r"[0-9][.,][0-9]+[eE]\+[0-9]+")
_MISSING: Final = frozenset(
    ("na", "n/a", "#n/a", "nan", "null", "none", "nil", ".", "-", "--", "?", "missing", "unknown", "not available")
)
_DECIMAL_COMMA: Final = re.compile(r"-?[0-9]+,[0-9]+")
_GROUPED: Final = re.compile(r"-?[0-9]{1,3}([,.' ][0-9]{3})+([.,][0-9]+)?")
_LIMIT: Final = re.compile(r"[<>\u2264\u2265]=?\s*[0-9].*")
_UNIT: Final = re.compile(r"-?[0-9.]+\s*(%|[^\W\d_]|[^\W\d_]{2,}.*)")


class _Range(NamedTuple):
    """A column of numbers and its public range."""

    name: str
    low: float
    high: float


def find_suspicions(
    contract: TableContract,
    words: Words,
    counts: Sequence[ColumnCounts],
    target_counts: Sequence[ColumnCounts] = (),
) -> Iterator[str]:
    """Yield a sentence for each thing in a file's columns that is probably not meant.

    Args:
        contract: what the columns mean.
        words: the columns.
        counts: of each feature's column.
        target_counts: of each column of numbers of the label.
    """
    numbers = {
        feature.name: _Range(feature.name, feature.low, feature.high)
        for feature in contract.features
        if isinstance(feature, Number)
    }
    for count in counts:
        if count.missing * 2 > count.rows:
            yield f"column '{count.name}': {count.missing} of {count.rows} missing"
        if count.name in numbers and count.missing < count.rows:
            yield from _warn_about_numbers(numbers[count.name], words.columns[count.name], contract.missing, count)
    for count in target_counts:
        yield from _warn_about_target(contract, words.columns[count.name], count)
    for name, groups, what in _list_word_labels(contract):
        yield from _warn_about_classes(name, words.columns.get(name, ()), groups, what)
    rounded = sum(_ROUNDED_ID.fullmatch(word) is not None for word in words.columns.get(contract.patient, ()))
    if rounded:
        yield (
            f"column '{contract.patient}': {rounded} patients are numbers that a spreadsheet has rounded, so that "
            "several people may have become one; export the column as text"
        )


def describe_probable_meaning(contract: TableContract, column: str, words: Mapping[str, int]) -> str:
    """Describe how mistaken ``words`` of ``column`` were probably meant, with their counts; may name words."""
    known = _find_vocabulary(contract, column)
    hints = list[str]()
    missing = {word: count for word, count in words.items() if word.casefold() in _MISSING}
    is_label = column in contract.label.list_columns()
    if missing and not is_label:
        named = ", ".join(f"{format_word(word)} {count} times" for word, count in missing.items())
        listed = ", ".join(f'"{word}"' for word in (*contract.missing, *missing))
        hints.append(
            f"{named}: if it means missing, the study's author adds it to the contract: missing: [{listed}]"
        )
    if is_label and any(not word or word.casefold() in _MISSING for word in words):
        hints.append("a row without a label cannot be used: leave it out")
    if known is None:
        hints += [hint for pattern, hint in _NUMBER_HINTS if any(pattern.fullmatch(word) for word in words)]
    else:
        meant = {word: near for word in words if (near := _find_nearest_word(word, known)) is not None}
        hints += [f"{format_word(word)} for {format_word(near)}?" for word, near in list(meant.items())[:3]]
        hints.append(f"the contract knows {', '.join(format_word(word) for word in known[:20])}")
    return "; ".join(hints)


def format_word(word: str) -> str:
    """Format a word for a terminal: in quotes, no longer than a line, without control characters."""
    cut = word if len(word) <= 40 else f"{word[:37]}..."
    plain = "".join(each if each.isprintable() else f"\\x{ord(each):02x}" for each in cut)
    return f"'{plain}'" if plain else "nothing"


_NUMBER_HINTS: Final = (
    (_DECIMAL_COMMA, "a decimal comma? write a decimal point"),
    (_GROUPED, "a sign between thousands? write numbers without"),
    (_LIMIT, "a limit of detection? write the limit, or leave the field empty"),
    (_UNIT, "a unit? write numbers without"),
)


def _warn_about_numbers(
    feature: _Range, column: Sequence[str], missing: Sequence[str], count: ColumnCounts
) -> Iterator[str]:
    present = [word for word in column if word not in missing]
    read = [(word, number) for word in present if (number := read_number(word)) is not None]
    if not read:
        return
    values = np.array([number for _, number in read])
    clipped = count.below + count.above
    if clipped * 2 > len(present):
        yield (
            f"column '{feature.name}': {clipped} of {len(present)} beyond the range, clipped"
            f"{_describe_other_units(feature, values)}"
        )
    elif len(values) >= _FEW and _is_in_corner(feature, values):
        yield (
            f"column '{feature.name}': all {len(values)} numbers lie within {_CORNER:.0%} of the range "
            f"{feature.low:g} to {feature.high:g}: other units?"
        )
    if grouped := _count_points_for_thousands(feature, read):
        yield (
            f"column '{feature.name}': {grouped} numbers are written like 1.200, with a point for thousands? they are "
            "read as decimals; write numbers without a sign between thousands"
        )


def _warn_about_target(contract: TableContract, column: Sequence[str], count: ColumnCounts) -> Iterator[str]:
    """Yield what is probably not meant in a column of numbers that is predicted."""
    label = contract.label
    assert isinstance(label, NumberLabel | SurvivalLabel)
    low, high = (label.low, label.high) if isinstance(label, NumberLabel) else (0.0, label.longest)
    if count.constant:
        yield f"column '{count.name}': the label is the same in all {count.rows} rows: nothing can be learnt"
    warnings = list(_warn_about_numbers(_Range(count.name, low, high), column, (), count))
    beyond = count.below + count.above
    if beyond and not any("beyond the range" in each for each in warnings):
        what = "count as censored there" if isinstance(label, SurvivalLabel) else "clipped"
        yield f"column '{count.name}': {beyond} of {count.rows} beyond the range {low:g} to {high:g}, {what}"
    yield from warnings


def _list_word_labels(contract: TableContract) -> Iterator[tuple[str, Sequence[Sequence[str]], str]]:
    """Yield each column of words of the label, the groups of words that mean the same, and what a group is."""
    match contract.label:
        case BinaryLabel(name=name, negative=negative, positive=positive):
            yield name, (positive, negative), "classes"
        case ClassLabel(name=name, classes=classes):
            yield name, classes, "classes"
        case SeveralLabels(columns=columns):
            for each in columns:
                yield each.name, (each.positive, each.negative), "classes"
        case SurvivalLabel(event=event, censored=censored, causes=causes):
            yield event, (censored, *causes), "outcomes"


def _warn_about_classes(
    name: str, column: Sequence[str], groups: Sequence[Sequence[str]], what: str
) -> Iterator[str]:
    """Yield a sentence if the rows of a label are all of one group, or of a group there are none."""
    place = {word: index for index, group in enumerate(groups) for word in group}
    meant = {place.get(word) for word in column}
    if not meant or None in meant:  # nothing to say beside the mistake
        return
    if len(meant) == 1:
        yield f"column '{name}': the label is the same in all {len(column)} rows: nothing can be learnt"
    elif nobody := len(groups) - len(meant):
        yield f"column '{name}': {nobody} of {len(groups)} {what} occur in no row"


def _describe_other_units(feature: _Range, values: NDArray[np.float64]) -> str:
    """Describe every factor that would bring most of the numbers into the range: several may, and people know which."""
    fitting = list[tuple[float, str]]()
    for factor, words in _FACTORS.items():
        for scaled, verb in ((values / factor, "divided"), (values * factor, "multiplied")):
            fit = float(((scaled >= feature.low) & (scaled <= feature.high)).mean())
            if fit > _FITS and not _is_in_corner(feature, scaled):
                fitting.append((fit, f"{verb} by {words}"))
    fitting.sort(key=lambda each: -each[0])
    hints = "; or ".join(hint for _, hint in fitting)
    return f"; {hints}, they would be in it: other units?" if hints else ""


def _is_in_corner(feature: _Range, values: NDArray[np.float64]) -> bool:
    width = (feature.high - feature.low) * _CORNER
    return float(values.max()) <= feature.low + width or float(values.min()) >= feature.high - width


def _count_points_for_thousands(feature: _Range, read: Sequence[tuple[str, float]]) -> int:
    """Count numbers whose point probably separates thousands; 0 if the others of the column contradict.

    Every number with a point has three digits after it. In addition, either all others are whole and below 1000,
    some of them hundreds; or there are no others, and the range has room for the numbers as meant and hardly any
    for them as read.
    """
    dotted = [(word, number) for word, number in read if "." in word]
    if not dotted or not all(_THOUSANDS.fullmatch(word) for word, _ in dotted):
        return 0
    whole = [number for word, number in read if "." not in word]
    if whole:
        plain = all(_WHOLE.fullmatch(word) for word, _ in read if "." not in word)
        return len(dotted) if plain and max(whole) >= 100 else 0
    meant = all(feature.low <= number * 1000 <= feature.high for _, number in dotted)
    beyond = all(not feature.low <= number <= feature.high for _, number in dotted)
    return len(dotted) if meant and (beyond or feature.high >= 100 * max(number for _, number in dotted)) else 0


def _find_vocabulary(contract: TableContract, column: str) -> tuple[str, ...] | None:
    """Return the words that ``column`` may have; None if it has numbers."""
    for name, groups, _ in _list_word_labels(contract):
        if name == column:
            return tuple(word for group in groups for word in group)
    found = [feature for feature in contract.features if feature.name == column]
    return found[0].values if found and isinstance(found[0], Category) else None


def _find_nearest_word(word: str, known: Sequence[str]) -> str | None:
    """Return the word of the contract that ``word`` probably is, in other letter case or as a decimal number."""
    number = read_number(word)
    for each in known:
        if simplify_spelling(each) == simplify_spelling(word) and simplify_spelling(word):
            return each
        if number is not None and read_number(each) == number:
            return each
    return None
