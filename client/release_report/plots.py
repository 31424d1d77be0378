"""Draw SVG for the page, without a script: a calibration plot, and an interval on a line from 0 to 1.

A drawing never shows anything by colour alone, and has a description in words. No style is written on an element: the
page's policy allows its one style sheet only.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from client.release_report.reliability import Point
from privacy.audit.report.html import Content, Markup, render_element

_SIDE: Final = 300
_MARGIN: Final = 46
_TICKS: Final = (0.0, 0.25, 0.5, 0.75, 1.0)


def render_calibration_plot(series: Sequence[tuple[str, Sequence[Point]]], description: str) -> Markup:
    """Draw the points of one or two named series over the line on which probabilities are right."""
    size = _SIDE + 2 * _MARGIN
    return render_element(
        "svg",
        list(_render_axes()),
        render_element("line", class_="right-line", x1=_x(0), y1=_y(0), x2=_x(1), y2=_y(1)),
        [_render_point(point, name, place) for place, (name, points) in enumerate(series) for point in points],
        class_="calibration",
        viewBox=f"0 0 {size} {size}",
        role="img",
        aria_label=description,
    )


def render_interval(value: float | None, low: float | None, high: float | None) -> Markup | None:
    """Draw a value and its interval on a line from 0 to 1; nothing for what lies elsewhere."""
    if value is None or not 0 <= value <= 1:
        return None
    line = None
    if low is not None and high is not None:
        left, right = (min(1.0, max(0.0, each)) for each in (low, high))
        line = render_element(
            "line", class_="interval", x1=f"{100 * left:.1f}%", x2=f"{100 * right:.1f}%", y1=7, y2=7
        )
    return render_element(
        "svg",
        render_element("line", class_="grid", x1="0", x2="100%", y1=7, y2=7),
        line,
        render_element("circle", class_="value", cx=f"{100 * value:.1f}%", cy=7, r=4),
        class_="forest",
        aria_hidden="true",
    )


def render_series_sign(place: int) -> Markup:
    """Draw the sign of a series for the legend: a disc, or a square."""
    return render_element(
        "svg", _render_sign(7.0, 7.0, 5.0, place), class_="sign-sample", viewBox="0 0 14 14", aria_hidden="true"
    )


def _render_point(point: Point, name: str, place: int) -> Content:
    x, y = _x(point.probability), _y(point.share)
    title = (
        f"{name}: {point.records} records, mean probability {point.probability:.2f}, share with the label "
        f"{point.share:.2f} ({point.low:.2f} to {point.high:.2f})"
    )
    return render_element(
        "g",
        render_element("title", title),
        render_element("line", class_=f"bar-{place}", x1=x, x2=x, y1=_y(point.low), y2=_y(point.high)),
        _render_sign(x, y, 4.5, place),
    )


def _render_sign(x: float, y: float, size: float, place: int) -> Markup:
    if place == 0:
        return render_element("circle", class_="sign-0", cx=x, cy=y, r=size)
    return render_element("rect", class_="sign-1", x=x - size, y=y - size, width=2 * size, height=2 * size)


def _render_axes() -> Iterator[Content]:
    for tick in _TICKS:
        yield render_element("line", class_="grid", x1=_x(0), x2=_x(1), y1=_y(tick), y2=_y(tick))
        yield render_element("line", class_="grid", x1=_x(tick), x2=_x(tick), y1=_y(0), y2=_y(1))
        yield render_element("text", f"{tick:g}", x=_x(0) - 6, y=_y(tick) + 4, text_anchor="end")
        yield render_element("text", f"{tick:g}", x=_x(tick), y=_y(0) + 18, text_anchor="middle")
    yield render_element("text", "probability that the model gives", x=_x(0.5), y=_y(0) + 38, text_anchor="middle")
    yield render_element("text", "share of patients with the label", x=_x(0), y=_y(1) - 14)


def _x(value: float) -> float:
    return round(_MARGIN + _SIDE * value, 1)


def _y(value: float) -> float:
    return round(_MARGIN + _SIDE * (1 - value), 1)
