"""Draw distributions as SVG: bars for the training file, a line for the held-out one, shares of each file."""

import datetime
import math
from collections.abc import Mapping, Sequence
from typing import Final

from client.data.showing.bars import Distribution, Part
from privacy.audit.report.formatting import format_percent
from privacy.audit.report.html import Content, Markup, join_content, render_element

_HEIGHT: Final = 100
_WIDTH: Final = 400
_MOST_MONTHS: Final = 120  # beyond it, years are drawn


def render_legend() -> Markup:
    """Render what the colours mean."""
    return render_element(
        "ul",
        render_element("li", _render_swatch("training"), "training, share of its values"),
        render_element("li", _render_swatch("test"), "held out, likewise"),
        class_="legend",
    )


def render_distribution(distribution: Distribution) -> Markup:
    """Render one distribution, with its counts on demand."""
    drawn = _render_bins if distribution.form == "numbers" else _render_words
    return render_element(
        "figure",
        render_element(
            "figcaption",
            render_element("h3", distribution.name),
            render_element("span", distribution.what, class_="quiet"),
        ),
        drawn(distribution),
        _render_beyond(distribution),
        class_="numbers" if distribution.form == "numbers" else "words",
    )


def render_months(months: Mapping[str, int]) -> Markup:
    """Render how many records lie in each month; of a long time, in each year."""
    counted, what = _fill_months(months), "month"
    if len(counted) > _MOST_MONTHS:
        years: dict[str, int] = {}
        for month, count in counted.items():
            years[month[:4]] = years.get(month[:4], 0) + count
        counted, what = years, "year"
    names = list(counted)
    return render_element(
        "figure",
        render_element(
            "figcaption", render_element("span", f"records of both files in each {what}", class_="quiet")
        ),
        _render_plot(list(counted.values()), None, [f"{name}: {count:,}" for name, count in counted.items()]),
        render_element("div", render_element("span", names[0]), render_element("span", names[-1]), class_="ends"),
        class_="months",
    )


def _render_bins(distribution: Distribution) -> Markup:
    edges = _list_edges(distribution)
    titles = [
        f"{edges[place]} to {edges[place + 1]}: {first:,} training, {second:,} held out"
        for place, (first, second) in enumerate(
            zip(distribution.training.counts, distribution.test.counts, strict=True)
        )
    ]
    rows = [
        render_element(
            "tr", render_element("th", title.split(":")[0], scope="row"), render_element("td", title.split(": ")[1])
        )
        for title in titles
    ]
    return join_content(
        _render_plot(_shares(distribution.training), _shares(distribution.test), titles),
        render_element(
            "div",
            [render_element("span", end) for end in (edges[0], edges[-1])],
            class_="ends",
        ),
        render_element(
            "details", render_element("summary", "counts"), render_element("table", rows, class_="bars")
        ),
    )


def _list_edges(distribution: Distribution) -> list[str]:
    """List the edges of the bins, as people know the numbers."""
    low, high = distribution.range
    bins = len(distribution.training.counts)
    if distribution.logarithm:
        edges = [math.exp(math.log(low) + place * math.log(high / low) / bins) for place in range(bins + 1)]
    else:
        edges = [low + place * (high - low) / bins for place in range(bins + 1)]
    if distribution.unit == "day":
        return [str(datetime.date(1970, 1, 1) + datetime.timedelta(days=math.floor(edge))) for edge in edges]
    return [f"{edge:.6g}" for edge in edges]


def _render_plot(first: Sequence[float], second: Sequence[float] | None, titles: Sequence[str]) -> Markup:
    """Draw bars of ``first`` and a step line of ``second``, to one scale; (bars,) each."""
    top = max([*first, *(second or ()), 0.0]) or 1.0
    step = _WIDTH / len(first)
    bars = [
        render_element(
            "rect",
            render_element("title", title),
            x=f"{place * step:g}",
            y=f"{_HEIGHT * (1 - value / top):g}",
            width=f"{step * 0.94:g}",
            height=f"{_HEIGHT * value / top:g}",
            class_="training",
        )
        for place, (value, title) in enumerate(zip(first, titles, strict=True))
    ]
    line: Content = None
    if second is not None:
        corners = [
            f"{x:g},{_HEIGHT * (1 - value / top):g}"
            for place, value in enumerate(second)
            for x in (place * step, (place + 1) * step)
        ]
        line = render_element("path", d="M" + " ".join(corners), class_="test-line")
    return render_element(
        "svg",
        bars,
        line,
        render_element("path", d=f"M0,{_HEIGHT} {_WIDTH},{_HEIGHT}", class_="base"),
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        preserveAspectRatio="none",
        class_="plot",
        role="img",
        aria_label="; ".join(titles) if len(titles) <= 40 else f"{len(titles)} bars",
    )


def _render_words(distribution: Distribution) -> Markup:
    rows = list[Markup]()
    for label, first, second in zip(
        distribution.labels, distribution.training.counts, distribution.test.counts, strict=True
    ):
        shares = [
            count / max(1, part.total)
            for count, part in ((first, distribution.training), (second, distribution.test))
        ]
        bar = render_element(
            "svg",
            render_element("title", f"{first:,} training, {second:,} held out"),
            render_element("rect", width=f"{100 * shares[0]:.2f}%", height="60%", class_="training"),
            render_element("line", x1=0, x2=f"{100 * shares[1]:.2f}%", y1="85%", y2="85%", class_="test-line"),
            role="img",
            aria_label=f"{first} training, {second} held out",
        )
        share = format_percent(first, distribution.training.total)
        rows.append(
            render_element(
                "tr",
                render_element("th", label, scope="row"),
                render_element("td", bar),
                render_element("td", share, class_="share", title=f"{first:,} of {distribution.training.total:,}"),
            )
        )
    more = (
        render_element("p", f"and {distribution.others:,} rarer ones", class_="counts")
        if distribution.others
        else None
    )
    return join_content(render_element("table", rows, class_="bars"), more)


def _render_beyond(distribution: Distribution) -> Markup:
    """Say how many values there are, how many are missing, and how many beyond the range."""
    told = [f"{distribution.training.total:,} values + {distribution.test.total:,} held out"]
    for name, what in (("missing", "missing"), ("below", "below the range"), ("above", "above it")):
        counts = [getattr(part, name) for part in (distribution.training, distribution.test)]
        if any(counts):
            whole = sum(part.total + part.missing for part in (distribution.training, distribution.test))
            told.append(f"{counts[0]:,} + {counts[1]:,} {what} ({format_percent(sum(counts), whole)})")
    for count, what in zip(distribution.clipped, ("first", "last"), strict=True):
        if count:
            told.append(f"{count:,} in the {what} bar were clipped to the range (both files)")
    return render_element("p", "; ".join(told), class_="counts")


def _render_swatch(kind: str) -> Markup:
    drawn = (
        render_element("rect", width=28, height=12, class_="training")
        if kind == "training"
        else render_element("line", x1=0, x2=28, y1=6, y2=6, class_="test-line")
    )
    return render_element("svg", drawn, class_="swatch", viewBox="0 0 28 12", aria_hidden="true")


def _shares(part: Part) -> list[float]:
    return [count / max(1, part.total) for count in part.counts]


def _fill_months(months: Mapping[str, int]) -> dict[str, int]:
    """Return every month from the first to the last one, also those without a record."""
    (first, last), filled = (min(months), max(months)), dict[str, int]()
    year, month = int(first[:4]), int(first[5:])
    while (name := f"{year:04}-{month:02}") <= last:
        filled[name] = months.get(name, 0)
        year, month = (year, month + 1) if month < 12 else (year + 1, 1)
    return filled
