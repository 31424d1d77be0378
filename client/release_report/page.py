"""Write the page of a released model as one HTML file: no script, nothing from elsewhere, one style sheet.

Order: what the model is; for whom it is; how good it is on this site's patients; what it outlines, if pictures were
asked for; whether its probabilities are right; groups of patients; what privacy did to it; its limits. It prints on
paper with the style of the ledger's report.
"""

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Final, NamedTuple

from client.prediction.figures import LEAST_PATIENTS, Estimate
from client.prediction.release_contract import ReleaseContract
from client.release_report.in_words import describe_data, describe_task, list_limits
from client.release_report.outlines import Outlined
from client.release_report.plots import render_calibration_plot, render_interval, render_series_sign
from client.release_report.privacy_section import render_privacy
from client.release_report.reliability import Point
from client.study.card_document import EvaluationFacts, ModelCard
from models.catalogue import find_model
from privacy.audit.report.formatting import NONE, Column, format_count, render_digest, render_facts, render_table
from privacy.audit.report.html import Content, Markup, join_content, render_element, render_head
from privacy.audit.report.page import read_style_sheet

_UNDER_NOTE: Final = "not defined"


class GroupFigures(NamedTuple):
    """Figures of a group of patients; none if it is too small."""

    column: str
    word: str
    patients: int
    figures: tuple[Estimate, ...]


class Facts(NamedTuple):
    """Everything that the page shows.

    Attributes:
        contract: of the release.
        card: its card, if there is one.
        patients: on whom the figures were computed.
        records: of these patients.
        registered: whether they are the site's own test patients, as registered.
        figures: of the model as it was released.
        calibrated: those that judge probabilities, of calibrated ones.
        fitted_here: whether the calibration was fitted to these patients.
        series: of the calibration plot, by name; none where the task has no such plot.
        groups: of patients.
        outlined: records of a segmentation, drawn.
    """

    contract: ReleaseContract
    card: ModelCard | None
    patients: int
    records: int
    registered: bool
    figures: tuple[Estimate, ...]
    calibrated: tuple[Estimate, ...]
    fitted_here: bool
    series: tuple[tuple[str, Sequence[Point]], ...]
    groups: tuple[GroupFigures, ...]
    outlined: tuple[Outlined, ...]


def render_page(facts: Facts) -> bytes:
    """Render the whole page."""
    contract = facts.contract
    body = render_element(
        "body",
        render_element(
            "header",
            render_element("p", "Consilium · released model", class_="eyebrow"),
            render_element("h1", contract.study),
            render_element("p", contract.purpose, class_="lead"),
            render_element(
                "p",
                "Research output: not a medical device, no advice about any patient. This page has figures of this "
                "site’s patients, without noise: it stays at the site.",
                class_="banner",
            ),
        ),
        render_element(
            "main",
            _render_model(contract),
            _render_for_whom(contract),
            _render_figures(facts),
            _render_outlined(facts.outlined),
            _render_calibration(facts),
            _render_groups(facts.groups),
            render_privacy(facts.card),
            render_element("h2", "Limits"),
            render_element(
                "ul", [render_element("li", each) for each in list_limits(contract, facts.card)], class_="limits"
            ),
        ),
        render_element("footer", render_element("p", _describe_how_made(facts))),
    )
    head = render_head(f"The model of {contract.study}", _read_styles(), has_images=bool(facts.outlined))
    page = render_element("html", head, body, lang="en")
    return b"<!DOCTYPE html>\n" + page.encode("utf-8") + b"\n"


@cache
def _read_styles() -> str:
    own = files("client.release_report").joinpath("report.css").read_text(encoding="utf-8")
    return read_style_sheet() + own


def _render_model(contract: ReleaseContract) -> Markup:
    entry = find_model(contract.model.name)
    return join_content(
        render_element("h2", "What the model is"),
        render_facts(
            ("Kind", f"{entry.title} ({contract.model.name})"),
            ("It predicts", describe_task(contract)),
            ("Described in", entry.citation),
            ("File (SHA-256)", render_digest(contract.model.sha256)),
        ),
    )


def _render_for_whom(contract: ReleaseContract) -> Markup:
    facts, rows = describe_data(contract.data)
    columns = [Column("What"), Column("What it may be")]
    return join_content(
        render_element("h2", "For whom"),
        render_element(
            "p",
            "The model was made for patients of whom the following is known, with these ranges and words. A number "
            "beyond its range is treated as the end of the range.",
        ),
        render_facts(*facts),
        render_table("What is known of a patient", columns, rows, lambda row: row, at_once=40, cards=True),
    )


def _render_figures(facts: Facts) -> Markup:
    whose = "this site’s own test patients, as registered" if facts.registered else "the patients of the given file"
    records = "" if facts.records == facts.patients else f" with {format_count(facts.records, 'record')}"
    least = f" Fewer than {LEAST_PATIENTS} patients have no interval." if facts.patients < LEAST_PATIENTS else ""
    return join_content(
        render_element("h2", "How good it is here"),
        render_element(
            "p",
            f"On {whose}: {format_count(facts.patients, 'patient')}{records}. The interval is the middle 95 % of what "
            f"other samples of as many patients would show.{least}",
        ),
        _render_estimates("Figures on these patients", facts.figures, facts.card),
        _render_estimates("Figures of calibrated probabilities", facts.calibrated, None)
        if facts.calibrated
        else None,
    )


def _render_estimates(caption: str, estimates: Sequence[Estimate], card: ModelCard | None) -> Markup:
    together = card.evaluation[-1] if card is not None and card.evaluation else None
    columns = [Column("Figure"), Column("Here", True), Column("95 % interval", True), Column("From 0 to 1")]
    if together is not None:
        columns.append(Column(f"All sites, {together.patients:,} patients", True))

    def row(each: Estimate) -> Sequence[Content]:
        drawn = render_interval(each.value, each.low, each.high)
        cells: list[Content] = [each.title, _format(each.value), _format_interval(each), drawn or NONE]
        return [*cells, _format_together(each, together)] if together is not None else cells

    return render_table(caption, columns, estimates, row, at_once=40, cards=True)


def _format_together(each: Estimate, together: EvaluationFacts) -> str:
    value = together.figures.get(each.name)
    noise = together.noise.get(each.name)
    if value is None:
        return NONE
    return f"{value:.3f} ± {noise:.3f}" if noise else f"{value:.3f}"


def _render_outlined(outlined: Sequence[Outlined]) -> Markup | None:
    if not outlined:
        return None
    return join_content(
        render_element("h2", "What it outlines"),
        render_element(
            "p",
            f"{format_count(len(outlined), 'record')}, from the one with the lowest Dice to the one with the highest: "
            "the image, the outline of the given mask, the model’s outline. They show patients of this site.",
        ),
        [_render_record(each) for each in outlined],
    )


def _render_record(each: Outlined) -> Markup:
    said = "nothing is outlined in either" if each.dice is None else f"Dice {each.dice:.2f}"
    pictures = (
        (each.image, "the image"),
        (each.truth, "the image with the given outline"),
        (each.prediction, "the image with the model’s outline"),
    )
    return render_element(
        "figure",
        [render_element("img", src=address, alt=f"{words}: {said}", loading="lazy") for address, words in pictures],
        render_element("figcaption", said),
        class_="plain outlined",
    )


def _render_calibration(facts: Facts) -> Markup:
    heading = render_element("h2", "Are its probabilities right?")
    if not facts.series:
        return join_content(
            heading, render_element("p", "There is no calibration plot for what this model predicts.")
        )
    described = "; ".join(
        f"{name}: "
        + ", ".join(f"{point.probability:.2f} said, {point.share:.2f} found of {point.records}" for point in points)
        for name, points in facts.series
    )
    legend = [render_element("li", render_series_sign(place), name) for place, (name, _) in enumerate(facts.series)]
    return join_content(
        heading,
        render_element(
            "p",
            "Of patients to whom the model gives 0.3, three in ten should have the label: then a point lies on the "
            "dashed line. Below the line the model says too much, above it too little.",
        ),
        render_element(
            "figure",
            render_element("ul", legend, class_="legend"),
            render_calibration_plot(facts.series, described),
            render_element(
                "figcaption",
                "A point is a tenth of the scale that has patients; its line is the share’s 95 % interval (Wilson).",
            ),
            class_="plain",
        ),
        render_element(
            "p",
            "The calibration was fitted to these same patients, so it looks better here than it is.",
            class_="caution",
        )
        if facts.fitted_here
        else None,
    )


def _render_groups(groups: Sequence[GroupFigures]) -> Markup:
    heading = render_element("h2", "Groups of patients")
    if not groups:
        return join_content(
            heading, render_element("p", "The contract names no groups of patients, and none were asked for.")
        )
    names = list(dict.fromkeys(each.title for group in groups for each in group.figures))
    columns = [Column("Group"), Column("Patients", True), *(Column(name, True) for name in names)]

    def row(group: GroupFigures) -> Sequence[Content]:
        word = f"{group.column}: {group.word}"
        if not group.figures:
            return (word, f"fewer than {LEAST_PATIENTS}", *(NONE for _ in names))
        found = {each.title: each for each in group.figures}
        return (word, f"{group.patients:,}", *(_render_cell(found[name]) for name in names))

    return join_content(
        heading,
        render_element(
            "p",
            "The words that the contract names, and what this site has asked for. With many groups some differ by "
            "chance alone: an interval that holds the figure of all patients shows no difference, and a wide one "
            "shows nothing.",
        ),
        render_table("Figures of each group, with 95 % intervals", columns, groups, row, at_once=60, cards=True),
    )


def _render_cell(each: Estimate) -> Content:
    interval = _format_interval(each)
    return [_format(each.value), render_element("br"), render_element("span", interval, class_="quiet")]


def _format(value: float | None) -> str:
    return _UNDER_NOTE if value is None else f"{value:.3f}"


def _format_interval(each: Estimate) -> str:
    return NONE if each.low is None else f"{_format(each.low)} to {_format(each.high)}"


def _describe_how_made(facts: Facts) -> str:
    return (
        f"Made by consilium-site report from the release of {facts.contract.study}, terms "
        f"{facts.contract.terms_sha256}. Figures are computed from the scores of each record, not from the binned "
        "totals that sites share, and differ from those by their rounding."
    )
