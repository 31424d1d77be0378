"""Draw one figure a row as a bar with its error, in SVG without a script.

Rules:

* places are percentages, so that a row is as wide as the page lets it be;
* the bar is what was counted, the line across its end is how far noise reaches in 95 of 100 cases;
* nothing is shown by colour alone, and the number stands beside the bar;
* what lies beyond the axis is cut off at its end; the number beside it is not.
"""

from privacy.audit.report.html import Markup, render_element


def render_bar(value: float, error: float, low: float, high: float, mark: float | None = None) -> Markup:
    """Draw a bar from zero to ``value`` on an axis from ``low`` to ``high``, with its error.

    Args:
        value: what was counted.
        error: half of the line across its end.
        low: where the axis begins.
        high: where it ends; zero lies between the two, or at an end.
        mark: a value of comparison that is marked, or None.
    """
    zero, end = (_place(each, low, high) for each in (0.0, value))
    first, last = (_place(each, low, high) for each in (value - error, value + error))
    left, right = min(zero, end), max(zero, end)
    return render_element(
        "svg",
        render_element("rect", class_="bar", x=f"{left:.2f}%", y="20%", width=f"{right - left:.2f}%", height="60%"),
        render_element("line", class_="zero", x1=f"{zero:.2f}%", x2=f"{zero:.2f}%", y1="0", y2="100%"),
        render_element("line", class_="error", x1=f"{first:.2f}%", x2=f"{last:.2f}%", y1="50%", y2="50%"),
        [
            render_element("line", class_="error", x1=f"{x:.2f}%", x2=f"{x:.2f}%", y1="25%", y2="75%")
            for x in (first, last)
        ],
        None if mark is None else _render_mark(_place(mark, low, high)),
        class_="row",
        aria_hidden="true",
    )


def _render_mark(x: float) -> Markup:
    return render_element("line", class_="mark", x1=f"{x:.2f}%", x2=f"{x:.2f}%", y1="0", y2="100%")


def _place(value: float, low: float, high: float) -> float:
    return 100.0 * min(1.0, max(0.0, (value - low) / (high - low)))
