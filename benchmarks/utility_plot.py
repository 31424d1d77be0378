"""Draw AUROC against epsilon as one SVG picture: a panel for each federation, a line for each mode.

Rules:

* epsilon is on a logarithmic axis; each panel has its own scale of AUROC, written beside it;
* no line is identified by its colour alone: each has its own marker, and the legend repeats it;
* the picture has a white background, so that it can be read on a dark page.
"""

from collections.abc import Mapping, Sequence
from math import ceil, floor, log
from typing import Any, Final, NamedTuple

from privacy.audit.report.html import Content, Markup, render_element

DELTA: Final = 1e-5
_WIDTH, _HEIGHT, _COLUMNS = 260, 190, 3
_LEFT, _TOP, _RIGHT, _BOTTOM = 46, 34, 14, 34
_LEGEND: Final = 30
_INK, _PALE = "#333333", "#dddddd"


class _Line(NamedTuple):
    colour: str
    sign: str
    words: str


_LINES: Final[Mapping[str, _Line]] = {
    "central": _Line("#1b6ca8", "○", "central"),
    "distributed": _Line("#c8553d", "●", "distributed"),
    "local": _Line("#588b3b", "▲", "local"),
    "alone": _Line("#7a5195", "■", "alone"),
    "none": _Line("#555555", "", "no privacy"),
}


class _Panel:
    """The coordinates of one panel."""

    def __init__(self, rows: Sequence[dict[str, Any]]) -> None:
        self.epsilons: list[float] = sorted({row["epsilon"] for row in rows if row["epsilon"] is not None})
        values: list[float] = [row["auroc_mean"] for row in rows]
        self.low, self.high = floor(min(values) * 20) / 20, min(1.0, ceil(max(values) * 20) / 20)

    def x(self, epsilon: float) -> float:
        """Return the horizontal coordinate of an epsilon."""
        first, last = log(self.epsilons[0]), log(self.epsilons[-1])
        share = (log(epsilon) - first) / (last - first) if last > first else 0.5
        return round(_LEFT + share * (_WIDTH - _LEFT - _RIGHT), 1)

    def y(self, auroc: float) -> float:
        """Return the vertical coordinate of an AUROC."""
        share = (auroc - self.low) / (self.high - self.low)
        return round(_HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM), 1)

    def ticks(self) -> list[float]:
        """List round AUROC values for the axis, at most five."""
        step = next(step for step in (0.01, 0.02, 0.05, 0.1, 0.2) if (self.high - self.low) / step <= 4.01)
        return [round(self.low + step * n, 3) for n in range(round((self.high - self.low) / step) + 1)]


def picture(rows: Sequence[dict[str, Any]]) -> str:
    """Draw the rows of ``python -m benchmarks.utility --json`` at :data:`DELTA` and without privacy."""
    shown = [row for row in rows if row["delta"] in (None, DELTA)]
    federations = list(dict.fromkeys((row["dataset"], row["sites"]) for row in shown))
    panels = [
        render_element(
            "g",
            _panel(
                f"{dataset}, {sites} sites", [r for r in shown if (r["dataset"], r["sites"]) == (dataset, sites)]
            ),
            transform=f"translate({place % _COLUMNS * _WIDTH},{place // _COLUMNS * _HEIGHT})",
        )
        for place, (dataset, sites) in enumerate(federations)
    ]
    width, height = _WIDTH * min(_COLUMNS, len(panels)), _HEIGHT * ceil(len(panels) / _COLUMNS) + _LEGEND
    drawn = render_element(
        "svg",
        render_element("title", f"AUROC against epsilon at delta {DELTA:g}, for each federation and mode"),
        render_element("rect", width=width, height=height, fill="#ffffff"),
        panels,
        _legend(height),
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


def _panel(title: str, rows: Sequence[dict[str, Any]]) -> Content:
    panel = _Panel(rows)
    parts: list[Content] = [
        render_element("text", title, x=_LEFT, y=16, font_size=12, font_weight="bold"),
        render_element("text", "AUROC", x=_LEFT - 6, y=28, text_anchor="end"),
        render_element("text", "epsilon", x=_WIDTH - _RIGHT, y=_HEIGHT - 4, text_anchor="end"),
    ]
    for value in panel.ticks():
        y = panel.y(value)
        parts.append(render_element("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=y, y2=y, stroke=_PALE))
        parts.append(render_element("text", f"{value:g}", x=_LEFT - 6, y=y + 3, text_anchor="end"))
    for epsilon in panel.epsilons:
        parts.append(
            render_element("text", f"{epsilon:g}", x=panel.x(epsilon), y=_HEIGHT - 18, text_anchor="middle")
        )
    for mode in _LINES:
        found = [row for row in rows if row["mode"] == mode]
        parts.append(_without_privacy(found, panel) if mode == "none" else _line(mode, found, panel))
    return parts


def _line(mode: str, rows: Sequence[dict[str, Any]], panel: _Panel) -> Content:
    colour, sign, _ = _LINES[mode]
    places = sorted((panel.x(row["epsilon"]), panel.y(row["auroc_mean"])) for row in rows)
    corners = " ".join(f"{x:g},{y:g}" for x, y in places)
    signs = [render_element("text", sign, x=x, y=y + 3.5, text_anchor="middle", fill=colour) for x, y in places]
    return [render_element("polyline", points=corners, fill="none", stroke=colour), *signs]


def _without_privacy(rows: Sequence[dict[str, Any]], panel: _Panel) -> Content:
    return [
        render_element(
            "line",
            x1=_LEFT,
            x2=_WIDTH - _RIGHT,
            y1=panel.y(row["auroc_mean"]),
            y2=panel.y(row["auroc_mean"]),
            stroke=_LINES["none"].colour,
            stroke_dasharray="4 3",
        )
        for row in rows
    ]


def _legend(height: int) -> list[Markup]:
    words = " — "
    return [
        render_element(
            "text",
            f"{line.sign or '- - -'}{words}{line.words}",
            x=_LEFT + 110 * place,
            y=height - 10,
            fill=line.colour,
        )
        for place, line in enumerate(_LINES.values())
    ]
