"""What the commands that use a released model say of the data: mistakes, counts, limits, figures.

The words of a mistake are shown here, at their owner's terminal, and nowhere else.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

from client.data.encoding import ColumnCounts
from client.data.mistakes import Mistake
from client.data.plausibility import describe_probable_meaning, format_word
from client.prediction.release_contract import ReleaseContract
from privacy.command_line import say
from privacy.errors import DataError, ReleaseError
from privacy.study import TableContract

if TYPE_CHECKING:
    from client.prediction.figures import Estimate


def require_usable(contract: ReleaseContract, path: Path, mistakes: Sequence[Mistake]) -> None:
    """Show every mistake of a file, and refuse it if there is one.

    Raises:
        DataError: the file breaks the contract.
    """
    for mistake in mistakes:
        say(f"mistake: {mistake.sentence}")
        for place in mistake.places:
            say(f"    {mistake.unit} {place.number}: {format_word(place.word)}")
        if isinstance(contract.data, TableContract) and mistake.column and mistake.words:
            say(f"    {describe_probable_meaning(contract.data, mistake.column, mistake.words)}")
    refuse_mistakes(path, mistakes)


def refuse_mistakes(path: Path, mistakes: Sequence[Mistake]) -> None:
    """Refuse a file with mistakes, without their words.

    Raises:
        DataError: the file breaks the contract.
    """
    if mistakes:
        listed = "; ".join(mistake.sentence for mistake in mistakes)
        raise DataError(f"{path}: is no data that this model can be used on: {listed}")


def report_counts(contract: ReleaseContract, suspicions: Sequence[str], counts: Sequence[ColumnCounts]) -> None:
    """Say what in the file is probably not meant, what is missing and what was clipped."""
    what = "column" if isinstance(contract.data, TableContract) else "array"
    for suspicion in suspicions:
        say(f"warning: {suspicion}")
    for count in counts:
        clipped = count.below + count.above
        if clipped or count.missing:
            say(f"{what} '{count.name}': {count.missing} of {count.rows} missing, {clipped} clipped to the range")


def report_limits(contract: ReleaseContract, records: int) -> None:
    """Say what the predictions are not."""
    if contract.model.personal:
        say(f"the layers {', '.join(contract.model.personal)} have their first values: each site trained its own")
    weight = getattr(contract.task, "positive_weight", 1)
    if weight != 1:
        say(
            f"trained with a positive_weight of {weight:g}: its probabilities are scores, good for order and threshold "
            "only"
        )
    threshold = contract.threshold
    at = f"; class at the threshold {threshold.value:g} ({threshold.chosen})" if threshold is not None else ""
    say(
        f"{records} records of '{contract.study}'{at}. Research output: not a medical device, no advice about any "
        "patient"
    )


def list_figure_rows(estimates: Sequence[Estimate]) -> list[tuple[str, str, str]]:
    """List title, value and interval of each figure."""
    return [(each.title, _format(each.value), _format_interval(each)) for each in estimates]


def write_new(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a new file, mode 0600.

    Raises:
        ReleaseError: it exists, or cannot be written.
    """
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            write(file)
    except OSError as cause:
        raise ReleaseError(f"{path}: cannot be written: {cause.strerror}; name a new file") from None


def _format(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.3f}"


def _format_interval(each: Estimate) -> str:
    return "none" if each.low is None else f"{_format(each.low)} to {_format(each.high)}"
