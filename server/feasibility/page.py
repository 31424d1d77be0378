"""Render what a study of statistics has found as one page: what is known, and how far the noise lets anybody know.

Rules:

* one file: no script, no link to anything outside, one style sheet that the page's own policy names by its hash;
* the same document gives the same bytes: no clock, no path;
* every figure stands with its error; one that the noise hides is said to be hidden, and not drawn;
* names from a study file are text, never markup (``privacy/audit/report/html.py``).
"""

from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from models.tasks.statistics import format_day
from models.tasks.statistics_document import ColumnStatistics, Counted, Difference, Figure, Statistics
from privacy.audit.report.formatting import render_facts
from privacy.audit.report.html import Content, Markup, render_element, render_head
from server.feasibility.charts import render_bar

_HIDDEN = "hidden by the noise"
_HOW_TO_READ = (
    "A bar is what was counted, with the noise; the line across its end is how far noise reaches in 95 of 100 cases. "
    "Counts and shares below zero are noise. Numbers beyond the public range are counted at its end."
)
_WHAT_IT_CANNOT_SAY = (
    "Anything of one hospital alone: sites added their counts and a share of the noise each, and only the sum was "
    "opened.",
    "Whether few patients have something: a count smaller than its error may be none at all.",
    "What chance does: errors are of the noise alone. Other patients would give other figures.",
    "What happens between hospitals: a patient who was at two of them counts twice.",
    "Whether the data are right: a wrong unit at one hospital is a difference between hospitals.",
)


def render_page(found: Statistics) -> bytes:
    """Render the whole page."""
    body = render_element(
        "body",
        render_element(
            "header",
            render_element("p", "Consilium · feasibility", class_="eyebrow"),
            render_element("h1", found.study),
            _render_lead(found),
            render_element("p", found.purpose),
        ),
        render_element(
            "main",
            _render_facts(found),
            _render_qualifying(found),
            render_element("h2", "Columns"),
            render_element("p", _HOW_TO_READ, class_="quiet"),
            render_element("div", [_render_column(each) for each in found.columns], class_="cards"),
            _render_correlations(found),
            _render_differences(found),
            render_element("h2", "What this page cannot say"),
            render_element("ul", [render_element("li", each) for each in _WHAT_IT_CANNOT_SAY]),
        ),
        render_element(
            "footer", render_element("p", f"Study {found.study}, terms SHA-256 {found.terms}. Made by Consilium.")
        ),
    )
    page = render_element("html", render_head(f"Feasibility: {found.study}", _read_style_sheet()), body, lang="en")
    return b"<!DOCTYPE html>\n" + page.encode("utf-8") + b"\n"


@cache
def _read_style_sheet() -> str:
    return files("server.feasibility").joinpath("page.css").read_text(encoding="utf-8")


def _render_lead(found: Statistics) -> Markup:
    return render_element(
        "p",
        "About ",
        render_element("b", f"{_format_count(found.patients)} patients"),
        f" at {len(found.sites)} sites together would qualify.",
        class_="lead",
    )


def _render_facts(found: Statistics) -> Markup:
    return render_facts(
        ("data", found.population),
        ("sites", f"{', '.join(found.sites)}, counted together"),
        ("promise", f"epsilon {found.epsilon:g}, delta {found.delta:g} for each patient, of these figures alone"),
        (
            "noise",
            f"multiplier {found.noise_multiplier:.3f}, divided among {found.groups} groups of figures: a count of "
            f"patients has a standard deviation of {found.noise_deviation:.1f}",
        ),
        ("holds against", f"{_count_sites(found.colluders)} together with the coordinator"),
    )


def _render_qualifying(found: Statistics) -> Content:
    cards: list[Content] = []
    if found.complete is not None:
        facts = render_facts(("without a missing value", _format_count(found.complete)))
        cards.append(_render_card("Missing columns of a patient", facts, _render_counts(found.lacking)))
    if found.records:
        cards.append(_render_card("Records of a patient", None, _render_counts(found.records)))
    return (
        [render_element("h2", "Who would qualify"), render_element("div", cards, class_="cards")] if cards else None
    )


def _render_card(title: str, facts: Content, chart: Content) -> Markup:
    return render_element("section", render_element("h3", title), facts, chart, class_="card")


def _render_column(column: ColumnStatistics) -> Markup:
    facts: list[tuple[str, Content]] = [("counted is", column.stands_for)] if column.stands_for else []
    if column.mean is not None and column.deviation is not None:
        facts.append(("mean", _format_figure(column.mean, days=column.days)))
        facts.append(("standard deviation", _format_figure(column.deviation)))
    if column.missing is not None:
        facts.append(("missing", _format_share(column.missing)))
    return _render_card(column.name, render_facts(*facts) if facts else None, _render_counts(column.counts))


def _render_counts(counts: Sequence[Counted]) -> Markup:
    high = max((each.patients + each.error for each in counts), default=1.0)
    low = min(0.0, *(each.patients - each.error for each in counts))
    rows = [
        render_element(
            "tr",
            render_element("th", each.label, scope="row"),
            render_element("td", render_bar(each.patients, each.error, low, max(high, 1.0))),
            render_element("td", f"{each.patients:,.0f} ± {each.error:,.0f}", class_="number"),
        )
        for each in counts
    ]
    return render_element("table", render_element("caption", "patients"), render_element("tbody", rows))


def _render_correlations(found: Statistics) -> Content:
    if not found.correlations:
        return None
    rows = [
        _render_figure_row(f"{each.first} and {each.second}", each.correlation, -1.0, 1.0)
        for each in found.correlations
    ]
    return [
        render_element("h2", "Correlations"),
        render_element("p", "Pearson’s, over patients who have both values; from −1 to 1.", class_="quiet"),
        _render_wide_table(rows),
    ]


def _render_differences(found: Statistics) -> Content:
    if not found.differences:
        return None
    rows = [_render_figure_row(each.column, each.share, 0.0, 1.0, found.by_chance) for each in found.differences]
    chance = (
        ""
        if found.by_chance is None
        else f" By chance, sites that do not differ stay below {found.by_chance:.1%} in 95 of 100 cases (dashed line)."
    )
    return [
        render_element("h2", "Do sites differ?"),
        render_element(
            "p",
            "The share of a column’s variance that lies between sites: 0 if all sites have the same mean, 1 if all "
            f"patients of a site have the same value.{chance} Which site differs is not known.",
            class_="quiet",
        ),
        _render_wide_table(rows),
        render_element(
            "ul",
            [render_element("li", f"{each.column}: {_judge(each, found.by_chance)}") for each in found.differences],
        ),
    ]


def _render_wide_table(rows: Sequence[Markup]) -> Markup:
    return render_element(
        "div", render_element("table", render_element("tbody", rows), class_="pairs"), class_="card"
    )


def _judge(difference: Difference, by_chance: float | None) -> str:
    """Say what a share between sites lets anybody conclude."""
    value, error = difference.share.value, difference.share.error
    if value is None or error is None or by_chance is None:
        return "the noise hides whether sites differ."
    if value - error > by_chance:
        return "sites differ, by more than noise and chance explain."
    if value + error < 2 * by_chance:
        return "no sign that sites differ by more than chance."
    most = value + error
    unlikely = f"; a share above {most:.0%} is unlikely" if by_chance < most < 1 else ""
    return f"the noise hides whether sites differ{unlikely}."


def _render_figure_row(name: str, figure: Figure, low: float, high: float, mark: float | None = None) -> Markup:
    known = figure.value is not None and figure.error is not None
    chart = render_bar(figure.value, figure.error, low, high, mark) if known else None  # type: ignore[arg-type]
    words = f"{figure.value:.2f} ± {figure.error:.2f}" if known else _HIDDEN
    return render_element(
        "tr",
        render_element("th", name, scope="row"),
        render_element("td", chart),
        render_element("td", words, class_="number"),
    )


def _format_count(figure: Figure) -> str:
    if figure.value is None or figure.error is None:
        return _HIDDEN
    return f"{max(0.0, figure.value):,.0f} (± {figure.error:,.0f})"


def _format_figure(figure: Figure, *, days: bool = False) -> str:
    if figure.value is None or figure.error is None:
        return _HIDDEN
    if days:
        return f"{format_day(figure.value)} (± {figure.error:,.0f} days)"
    return f"{figure.value:.4g} (± {figure.error:.2g})"


def _format_share(figure: Figure) -> str:
    if figure.value is None or figure.error is None:
        return _HIDDEN
    return f"{figure.value:.1%} (± {figure.error:.1%})"


def _count_sites(number: int) -> str:
    return "one site" if number == 1 else f"{number} sites"
