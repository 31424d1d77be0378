"""Draw time and memory against size as one SVG picture: a panel for each part of ``benchmarks/scale.py``.

Rules:

* sizes and values that go over more than two powers of ten are on logarithmic axes, as the panel's numbers show;
* time is a line with filled circles, memory one with squares: neither is told by its colour alone;
* the picture has a white background, so that it can be read on a dark page.
"""

from collections.abc import Mapping, Sequence
from math import log10
from typing import Any, Final

from privacy.audit.report.html import Content, render_element

_WIDTH, _HEIGHT, _COLUMNS = 300, 200, 2
_LEFT, _TOP, _RIGHT, _BOTTOM = 50, 40, 50, 34
_LEGEND: Final = 26
_INK, _PALE = "#333333", "#dddddd"
_LINES: Final = {"cpu_s": ("#1b6ca8", "●", "CPU seconds (left)"), "peak_mb": ("#c8553d", "■", "peak MiB (right)")}
_TITLES: Final = {
    "rounds": "a round, by its number",
    "sites": "one site's share of a round, by sites",
    "parameters": "a round, by parameters",
    "patients": "reading a table, by patients",
}


class _Axis:
    """One axis from ``start`` to ``end`` pixels; from 0, or logarithmic where values go over two powers of ten."""

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        self._start, self._end = start, end
        self._logarithmic = max(values) >= 100 * min(values) > 0
        self._low = log10(min(values)) if self._logarithmic else 0.0
        self._high = log10(max(values)) if self._logarithmic else max(values)

    def place(self, value: float) -> float:
        """Return the coordinate of a value."""
        at = log10(value) if self._logarithmic else value
        return round(self._start + (at - self._low) / (self._high - self._low) * (self._end - self._start), 1)


def picture(found: Mapping[str, Any]) -> str:
    """Draw the document of ``python -m benchmarks.scale --json``."""
    panels = [
        render_element(
            "g",
            _panel(_TITLES[part], figures["points"]),
            transform=f"translate({at % _COLUMNS * _WIDTH},{at // _COLUMNS * _HEIGHT})",
        )
        for at, (part, figures) in enumerate(found.items())
    ]
    rows = (len(panels) + _COLUMNS - 1) // _COLUMNS
    width, height = _WIDTH * min(_COLUMNS, len(panels)), _HEIGHT * rows + _LEGEND
    drawn = render_element(
        "svg",
        render_element("title", "CPU seconds and memory against rounds, sites, parameters and patients"),
        render_element("rect", width=width, height=height, fill="#ffffff"),
        panels,
        [
            render_element("text", f"{sign} {words}", x=_LEFT + 150 * at, y=height - 10, fill=colour)
            for at, (colour, sign, words) in enumerate(_LINES.values())
        ],
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width} {height}",
        width=width,
        height=height,
        role="img",
        font_family="sans-serif",
        font_size=10,
        fill=_INK,
    )
    return f"{drawn}\n"


def _panel(title: str, points: Sequence[Mapping[str, float]]) -> Content:
    sizes = [each["size"] for each in points]
    across = _Axis(sizes, _LEFT, _WIDTH - _RIGHT)
    parts: list[Content] = [
        render_element("text", title, x=_LEFT, y=18, font_size=12, font_weight="bold"),
        render_element(
            "line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=_HEIGHT - _BOTTOM, y2=_HEIGHT - _BOTTOM, stroke=_PALE
        ),
    ]
    for size in _list_ticks(sizes):
        parts.append(
            render_element("text", _format(size), x=across.place(size), y=_HEIGHT - 18, text_anchor="middle")
        )
    for name, (colour, sign, _) in _LINES.items():
        values = [each[name] for each in points]
        up = _Axis(values, _HEIGHT - _BOTTOM, _TOP)
        places = [(across.place(size), up.place(value)) for size, value in zip(sizes, values, strict=True)]
        corners = " ".join(f"{x:g},{y:g}" for x, y in places)
        parts.append(render_element("polyline", points=corners, fill="none", stroke=colour))
        parts += [
            render_element("text", sign, x=x, y=y + 3.5, text_anchor="middle", fill=colour) for x, y in places
        ]
        left = name == "cpu_s"
        for value in (values[0], max(values)):
            parts.append(
                render_element(
                    "text",
                    _format(value),
                    x=_LEFT - 8 if left else _WIDTH - _RIGHT + 8,
                    y=up.place(value) + 3,
                    text_anchor="end" if left else "start",
                    fill=colour,
                )
            )
    return parts


def _list_ticks(sizes: Sequence[float]) -> list[float]:
    return list(sizes) if len(sizes) <= 4 else [sizes[0], *sizes[2::2]]


def _format(value: float) -> str:
    if value >= 10_000:
        return f"10^{log10(value):.0f}" if log10(value).is_integer() else f"{value:,.0f}"
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"
