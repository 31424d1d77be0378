"""Format the figures, dates and tables of a report.

Rules:

* An epsilon that was spent is rounded up, one that is left is rounded down (``privacy/accounting/account.py``);
  four digits.
* Dates are UTC and written the same on every machine, whatever its language.
* A table has a caption and names its rows and columns. The end of a long table opens on demand; a very long table
  says how many rows it leaves out.
"""

from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from itertools import groupby
from typing import Final, NamedTuple, TypeVar

from privacy.accounting.figures import round_up
from privacy.audit.report.html import Content, Markup, join_content, render_element
from privacy.audit.report.timeline import Moment

MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
NONE: Final = "–"

T = TypeVar("T")


class Column(NamedTuple):
    """A column of a table; figures are aligned to the right."""

    title: str
    figures: bool = False


def format_epsilon(epsilon: float | None) -> str:
    """Format an epsilon that was spent; None means without bound."""
    return "no bound" if epsilon is None else f"{round_up(Decimal(epsilon)):.4f}"


def format_delta(delta: float) -> str:
    """Format a delta, as a decimal fraction where six digits show it exactly."""
    return f"{delta:.6f}".rstrip("0") if delta >= 1e-5 and round(delta, 6) == delta else f"{delta:g}"


def format_percent(part: int, whole: int) -> str:
    """Format ``part`` of ``whole`` in per cent; a small part is never shown as 0, nor a large one as 100."""
    if not whole:
        return NONE
    if 0 < 2000 * part < whole:
        return "< 0.1 %"
    if 0 < 2000 * (whole - part) < whole:
        return "> 99.9 %"
    return f"{100 * part / whole:.1f} %"


def format_day(time: str) -> str:
    """Format the day of a ledger's ``YYYY-MM-DDTHH:MM:SSZ``."""
    return f"{int(time[8:10])} {MONTHS[int(time[5:7]) - 1]} {time[:4]}"


def render_time(at: Moment) -> Markup:
    """Render a moment as a day and a time."""
    return render_element("time", f"{format_day(at.time)}, {at.time[11:16]}", datetime=at.time)


def render_entry(at: Moment) -> Markup:
    """Render a moment and the number of its entry."""
    return join_content(render_time(at), " ", render_element("span", f"entry {at.entry}", class_="quiet"))


def format_count(count: int, one: str, more: str | None = None) -> str:
    """Format a count with its noun, in singular or plural."""
    return f"{count:,} {one if count == 1 else more or one + 's'}"


def render_digest(text: str) -> Markup:
    """Render a digest or a key in full, so that it can be compared."""
    return render_element("code", text)


def render_quote(text: str) -> Markup:
    """Render words from the ledger as a quotation."""
    return render_element("q", text)


def format_ranges(numbers: Iterable[int], most: int = 8) -> str:
    """Format numbers as runs, such as ``1–8, 10``."""
    runs = []
    for _, group in groupby(enumerate(sorted(numbers)), key=lambda pair: pair[1] - pair[0]):
        run = [number for _, number in group]
        runs.append(f"{run[0]}" if len(run) == 1 else f"{run[0]}–{run[-1]}")
    more = len(runs) - most
    return ", ".join(runs[:most]) + (f" and {format_count(more, 'more run')}" if more > 0 else "")


def render_facts(*pairs: tuple[str, Content]) -> Markup:
    """Render a list of names and values; an empty value is left out."""
    return render_element(
        "dl",
        [
            render_element("div", render_element("dt", name), render_element("dd", content))
            for name, content in pairs
            if content
        ],
    )


def render_table(
    caption: str,
    columns: Sequence[Column],
    items: Sequence[T],
    row: Callable[[T], Sequence[Content]],
    at_once: int = 20,
    most: int = 500,
    *,
    cards: bool = False,
) -> Markup:
    """Render a table of ``items``: the first ``at_once`` visible, up to ``most`` on demand, the rest counted.

    With ``cards``, a row becomes a list of names and values where the page is as narrow as a phone.
    """
    parts = [_render_single_table(caption, columns, [row(item) for item in items[:at_once]], cards)]
    if rest := items[at_once:most]:
        title = f"{caption}, continued"
        parts.append(
            render_element(
                "details",
                render_element("summary", f"{format_count(len(rest), 'further row')}: {caption}"),
                _render_single_table(title, columns, [row(item) for item in rest], cards),
            )
        )
    if len(items) > most:
        count = format_count(len(items) - most, "further row is", "further rows are")
        left_out = f"{count} in the ledger and not printed here."
        parts.append(render_element("p", left_out, class_="quiet"))
    return join_content(parts)


def _render_single_table(
    caption: str, columns: Sequence[Column], rows: Sequence[Sequence[Content]], cards: bool
) -> Markup:
    head = [
        render_element("th", each.title, scope="col", class_="figure" if each.figures else None) for each in columns
    ]
    body = [
        render_element("tr", [_render_cell(n, columns[n], cell, cards) for n, cell in enumerate(row)])
        for row in rows
    ]
    return render_element(
        "div",
        render_element(
            "table",
            render_element("caption", caption),
            render_element("thead", render_element("tr", head)),
            render_element("tbody", body),
        ),
        class_="wide cards" if cards else "wide",
        role="region",
        aria_label=caption,
        tabindex=0,
    )


def _render_cell(number: int, column: Column, content: Content, cards: bool) -> Markup:
    style, label = "figure" if column.figures else None, column.title if cards else None
    content = render_element("div", content) if cards else content  # beside its label, a cell has one part
    if number:
        return render_element("td", content, class_=style, data_label=label)
    return render_element("th", content, scope="row", class_=style, data_label=label)
