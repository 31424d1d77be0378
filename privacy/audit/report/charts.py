"""Draw SVG without a script: a population's epsilon over time, and bars.

Rules:

* The drawing stretches with the page, its words do not: lines are drawn in a box of 1000 by 1000 that is scaled to
  the figure, words are placed by percentages.
* Points of several entries within one thousandth of the width are thinned: the highest and the last are kept.
* A drawing never shows anything by colour alone, and has a description in words.
* The axis has at least two times, with seconds where minutes would be too few.
* No style is written on an element: the page's policy allows its one style sheet only.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from math import ceil, floor, log10
from typing import Final, NamedTuple

from privacy.audit.report.formatting import MONTHS
from privacy.audit.report.html import Content, Markup, render_element
from privacy.audit.report.timeline import Moment, Point

_SIDE: Final = 1000
_HEADROOM: Final = 1.12
_MOST_TICKS: Final = 5
_MOST_LONG_TICKS: Final = 3
"""The most labels with seconds, so that they fit side by side on a phone."""
_SHORT_S: Final = (1, 2, 5, 10, 20, 30)
_STEPS_S: Final = (60, 120, 300, 900, 1800, 3600, 3 * 3600, 6 * 3600, 12 * 3600)
_STEPS_DAYS: Final = (1, 2, 7, 14)
_STEPS_MONTHS: Final = (1, 2, 3, 6, 12, 24, 60, 120, 600, 1200, 6000, 12000)


class Mark(NamedTuple):
    """An event on the plot: its time, its sign, and its name."""

    at: Moment
    sign: str
    name: str


class Span:
    """The time that a plot covers, and the place of a moment on its axis."""

    def __init__(self, first: str, last: str) -> None:
        self.first = datetime.fromisoformat(first)
        self.last = datetime.fromisoformat(last)
        self.length = max(self.last - self.first, timedelta(seconds=5))

    def place_time(self, time: datetime) -> float:
        """Return the place of a time, from 0 to 1000.

        A time outside the span, from a clock that was wrong, is put at the edge.
        """
        return round(_SIDE * min(1.0, max(0.0, (time - self.first) / self.length)), 1)

    def place_moment(self, moment: Moment) -> float:
        """Return the place of a moment, from 0 to 1000."""
        return self.place_time(datetime.fromisoformat(moment.time))

    def list_ticks(self) -> Iterator[tuple[float, str]]:
        """Yield round times within the span, each with a label."""
        for step in (timedelta(seconds=each) for each in _SHORT_S):
            if self.length / step <= _MOST_LONG_TICKS:
                yield from self._list_ticks_every(step, "{0:%H:%M:%S}")
                return
        for step in (timedelta(seconds=each) for each in _STEPS_S):
            if self.length / step <= _MOST_TICKS:
                yield from self._list_ticks_every(step, "{0:%H:%M}")
                return
        for step in (timedelta(days=each) for each in _STEPS_DAYS):
            if self.length / step <= _MOST_TICKS:
                yield from self._list_ticks_every(step, "{0.day} {1}")
                return
        months = self.length / timedelta(days=30.4)
        yield from self._list_month_ticks(
            next((each for each in _STEPS_MONTHS if months / each <= _MOST_TICKS), 12000)
        )

    def _list_ticks_every(self, step: timedelta, label: str) -> Iterator[tuple[float, str]]:
        since = datetime(1, 1, 1, tzinfo=UTC)
        for number in range(ceil((self.first - since) / step), floor((self.last - since) / step) + 1):
            time = since + number * step
            yield self.place_time(time), label.format(time, MONTHS[time.month - 1])

    def _list_month_ticks(self, step: int) -> Iterator[tuple[float, str]]:
        for month in range(0, 12 * 9999, step):
            year = 1 + month // 12
            if self.first.year <= year <= self.last.year:
                time = datetime(year, 1 + month % 12, 1, tzinfo=UTC)
                if self.first <= time <= self.last:
                    yield self.place_time(time), f"{MONTHS[time.month - 1]} {year}" if step < 12 else f"{year}"


def render_epsilon_plot(
    points: Sequence[Point], marks: Sequence[Mark], until: str, description: str, axis: str
) -> Markup:
    """Draw epsilon spent, set aside and granted over time, from the first of ``points`` to the time ``until``."""
    span = Span(points[0].at.time, until)
    points = thin_points(points, span)
    top = _HEADROOM * max(max(p.granted, p.committed, p.spent or 0) for p in points) or 1.0
    bounded = [p for p in points if p.spent is not None]
    committed = _list_step_corners(
        [(span.place_moment(p.at), _compute_height(p.committed, top)) for p in bounded],
        _find_line_end(points, bounded, span),
    )
    spent = _list_step_corners(
        [(span.place_moment(p.at), _compute_height(p.spent or 0, top)) for p in bounded],
        _find_line_end(points, bounded, span),
    )
    granted = _list_step_corners(
        [(span.place_moment(p.at), _compute_height(p.granted, top)) for p in points], _SIDE
    )
    lines = render_element(
        "svg",
        _render_unbounded_area(points, bounded, span),
        [
            render_element("path", class_="aside", d=_format_area_path(committed)),
            render_element("path", class_="spent", d=_format_area_path(spent)),
        ]
        if bounded
        else None,
        render_element("path", class_="aside-line", d=_format_line_path(committed)) if bounded else None,
        render_element("path", class_="spent-line", d=_format_line_path(spent)) if bounded else None,
        render_element("path", class_="granted-line", d=_format_line_path(granted)),
        viewBox=f"0 0 {_SIDE} {_SIDE}",
        preserveAspectRatio="none",
        width="100%",
        height="100%",
    )
    return render_element(
        "svg",
        _render_axes(span, top, axis),
        lines,
        _render_marks(marks, span),
        class_="plot",
        role="img",
        aria_label=description,
    )


def thin_points(points: Sequence[Point], span: Span) -> list[Point]:
    """Keep the points that are visible: in each thousandth of the width, the highest and the last."""
    highest: dict[int, Point] = {}
    last: dict[int, Point] = {}
    # the first point without a bound is kept, because the drawing changes there
    turned = next((p for p in points if p.spent is None), None)
    for point in points:
        column = int(span.place_moment(point.at))
        last[column] = point
        if column not in highest or point.committed > highest[column].committed:
            highest[column] = point
    kept = {*highest.values(), *last.values(), points[0], *([turned] if turned else [])}
    return sorted(kept, key=lambda point: point.at.entry)


def render_bar(*parts: tuple[str, int], whole: int) -> Markup:
    """Draw a bar of length ``whole``, filled with the named parts one after another."""
    drawn, at = [], 0.0
    for name, part in parts:
        width = round(100 * part / whole, 2) if whole else 0.0
        drawn.append(render_element("rect", class_=name, x=f"{at:g}%", width=f"{width:g}%", height="100%"))
        at += width
    return render_element(
        "svg",
        render_element("rect", class_="whole", width="100%", height="100%"),
        drawn,
        class_="bar",
        aria_hidden="true",
    )


def render_swatch(kind: str) -> Markup:
    """Draw the sample of a line for a legend."""
    line = render_element("line", x1=0, x2=28, y1=6, y2=6, class_=f"{kind}-line")
    area = render_element("rect", x=0, y=6, width=28, height=6, class_=kind) if kind != "granted" else None
    return render_element("svg", area, line, class_="swatch", viewBox="0 0 28 12", aria_hidden="true")


Place = tuple[float, float]


def _compute_height(epsilon: float, top: float) -> float:
    return round(_SIDE * (1 - epsilon / top), 1)


def _find_line_end(points: Sequence[Point], bounded: Sequence[Point], span: Span) -> float:
    """Return where a line ends: at the right edge, or where the epsilon has no bound any more."""
    return float(_SIDE) if len(bounded) == len(points) else span.place_moment(points[len(bounded)].at)


def _list_step_corners(places: Sequence[Place], end: float) -> list[Place]:
    """List the corners of a step line: horizontal first, then vertical."""
    corners: list[Place] = []
    for x, y in places:
        if corners and corners[-1][0] != x:
            corners.append((x, corners[-1][1]))
        corners.append((x, y))
    return [*corners, (end, corners[-1][1])] if corners else []


def _format_line_path(corners: Sequence[Place]) -> str:
    return "M" + " ".join(f"{x:g},{y:g}" for x, y in corners)


def _format_area_path(corners: Sequence[Place]) -> str:
    return f"{_format_line_path(corners)} {corners[-1][0]:g},{_SIDE} {corners[0][0]:g},{_SIDE}Z"


def _render_unbounded_area(points: Sequence[Point], bounded: Sequence[Point], span: Span) -> Content:
    if len(bounded) == len(points):
        return None
    x = _find_line_end(points, bounded, span)
    return [
        render_element("rect", class_="unbounded", x=x, y=0, width=round(_SIDE - x, 1), height=_SIDE),
        render_element("line", class_="unbounded-line", x1=x, x2=x, y1=0, y2=_SIDE),
    ]


def _render_axes(span: Span, top: float, name: str) -> Content:
    parts: list[Content] = [render_element("text", name, class_="axis", x="0", y="0", dx="-2.6em", dy="-0.9em")]
    for value, label in _list_round_values(top):
        y = f"{_compute_height(value, top) / 10:g}%"
        parts.append(render_element("line", class_="grid", x1="0", x2="100%", y1=y, y2=y))
        parts.append(
            render_element("text", label, class_="tick", x="0", y=y, dx="-0.6em", dy="0.32em", text_anchor="end")
        )
    for x, label in span.list_ticks():
        at = f"{x / 10:g}%"
        parts.append(render_element("line", class_="tick", x1=at, x2=at, y1="100%", y2="98%"))
        if x < 0.96 * _SIDE:
            anchor = "start" if x < 0.03 * _SIDE else "middle"
            parts.append(
                render_element("text", label, class_="tick", x=at, y="100%", dy="1.4em", text_anchor=anchor)
            )
    parts.append(
        render_element("text", "time (UTC)", class_="axis", x="100%", y="100%", dy="2.8em", text_anchor="end")
    )
    return parts


def _render_marks(marks: Sequence[Mark], span: Span) -> Content:
    """Draw one sign for each column and kind, so that a thousand incidents are not a thousand elements."""
    once = {(mark.sign, int(span.place_moment(mark.at))): mark for mark in marks}
    return [
        render_element(
            "text",
            mark.sign,
            render_element("title", mark.name),
            class_="mark",
            x=f"{x / 10:g}%",
            y="1.1em",
            text_anchor="middle",
        )
        for (_, x), mark in sorted(once.items(), key=lambda pair: pair[1].at)
    ]


def _list_round_values(top: float) -> list[tuple[float, str]]:
    rough = top / 4
    power = 10.0 ** floor(log10(rough))
    step = power * next(each for each in (1, 2, 2.5, 5, 10) if each * power >= rough * 0.999)
    return [(step * n, f"{step * n:g}") for n in range(floor(top / step) + 1)]
