"""How a report writes its figures, dates and tables.

Rules:

* An epsilon that was spent is rounded up, one that is left is rounded down (``privacy/accounting/account.py``);
  four digits.
* Dates are UTC and written the same on every machine, whatever its language.
* A table has a caption and names its rows and columns. A long one opens on demand; a very long one is counted, and
  says how many rows it leaves out.
"""

from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from itertools import groupby
from typing import Final, NamedTuple, TypeVar

from privacy.accounting.figures import rounded_up
from privacy.audit.report.html import Content, Markup, element, joined
from privacy.audit.report.timeline import Moment

MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
NONE: Final = "–"

T = TypeVar("T")


class Column(NamedTuple):
    """A column of a table; figures stand to the right."""

    title: str
    figures: bool = False


def format_epsilon(epsilon: float | None) -> str:
    """An epsilon that was spent; None is without bound."""
    return "no bound" if epsilon is None else f"{rounded_up(Decimal(epsilon)):.4f}"


def format_delta(delta: float) -> str:
    """A delta: written out while that is readable."""
    return f"{delta:.6f}".rstrip("0") if delta >= 1e-5 and round(delta, 6) == delta else f"{delta:g}"


def percent(part: int, whole: int) -> str:
    """``part`` of ``whole`` in per cent; something is never shown as nothing, nor a part as all."""
    if not whole:
        return NONE
    if 0 < 2000 * part < whole:
        return "< 0.1 %"
    if 0 < 2000 * (whole - part) < whole:
        return "> 99.9 %"
    return f"{100 * part / whole:.1f} %"


def day(time: str) -> str:
    """The day of a ledger's ``YYYY-MM-DDTHH:MM:SSZ``."""
    return f"{int(time[8:10])} {MONTHS[int(time[5:7]) - 1]} {time[:4]}"


def when(at: Moment) -> Markup:
    """A moment, as a day and a time."""
    return element("time", f"{day(at.time)}, {at.time[11:16]}", datetime=at.time)


def entry(at: Moment) -> Markup:
    """When, and in which entry."""
    return joined(when(at), " ", element("span", f"entry {at.entry}", class_="quiet"))


def count_of(count: int, one: str, more: str | None = None) -> str:
    """``count`` of something."""
    return f"{count:,} {one if count == 1 else more or one + 's'}"


def digest(text: str) -> Markup:
    """A digest or a key, whole: what cannot be compared proves nothing."""
    return element("code", text)


def quoted(text: str) -> Markup:
    """Words of the ledger's author, kept apart from ours."""
    return element("q", text)


def ranges(numbers: Iterable[int], most: int = 8) -> str:
    """Numbers as runs, such as ``1–8, 10``."""
    runs = []
    for _, group in groupby(enumerate(sorted(numbers)), key=lambda pair: pair[1] - pair[0]):
        run = [number for _, number in group]
        runs.append(f"{run[0]}" if len(run) == 1 else f"{run[0]}–{run[-1]}")
    more = len(runs) - most
    return ", ".join(runs[:most]) + (f" and {count_of(more, 'more run')}" if more > 0 else "")


def facts(*pairs: tuple[str, Content]) -> Markup:
    """A list of names and what they are."""
    return element(
        "dl", [element("div", element("dt", name), element("dd", content)) for name, content in pairs if content]
    )


def table(
    caption: str,
    columns: Sequence[Column],
    items: Sequence[T],
    row: Callable[[T], Sequence[Content]],
    at_once: int = 20,
    most: int = 500,
    *,
    cards: bool = False,
) -> Markup:
    """A table of ``items``: the first ``at_once`` in view, up to ``most`` on demand, any more counted.

    With ``cards`` a row is a list of names and values where the page is as narrow as a phone.
    """
    parts = [_table(caption, columns, [row(item) for item in items[:at_once]], cards)]
    if rest := items[at_once:most]:
        title = f"{caption}, continued"
        parts.append(
            element(
                "details",
                element("summary", f"{count_of(len(rest), 'further row')}: {caption}"),
                _table(title, columns, [row(item) for item in rest], cards),
            )
        )
    if len(items) > most:
        left_out = f"{count_of(len(items) - most, 'further row is', 'further rows are')} in the ledger and not "
        "printed here."
        parts.append(element("p", left_out, class_="quiet"))
    return joined(parts)


def _table(caption: str, columns: Sequence[Column], rows: Sequence[Sequence[Content]], cards: bool) -> Markup:
    head = [element("th", each.title, scope="col", class_="figure" if each.figures else None) for each in columns]
    body = [element("tr", [_cell(n, columns[n], cell, cards) for n, cell in enumerate(row)]) for row in rows]
    return element(
        "div",
        element(
            "table",
            element("caption", caption),
            element("thead", element("tr", head)),
            element("tbody", body),
        ),
        class_="wide cards" if cards else "wide",
        role="region",
        aria_label=caption,
        tabindex=0,
    )


def _cell(number: int, column: Column, content: Content, cards: bool) -> Markup:
    style, label = "figure" if column.figures else None, column.title if cards else None
    content = element("div", content) if cards else content  # beside its label, a cell has one part
    if number:
        return element("td", content, class_=style, data_label=label)
    return element("th", content, scope="row", class_=style, data_label=label)
