"""Render the page that shows a site's data to its data protection officer.

Rules:

* one file: no script, no link to anything outside; pictures are in it. The page's own policy forbids everything else;
* it holds counts of patients, and pictures of some: it stays at the site, and says so first;
* every bar is on edges or words of the public contract;
* all text is escaped (``privacy/audit/report/html.py``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Final

from client.data.conversion.report import LeftOut, SnapshotReport
from client.data.inspection import TableFinding
from client.data.showing.bars import Distribution
from client.data.showing.charts import render_distribution, render_legend, render_months
from privacy.audit.report.formatting import Column, format_count, render_digest, render_facts, render_table
from privacy.audit.report.html import Content, Markup, join_content, render_element, render_head

MOST_SHOWN: Final = 300  # distributions on one page


@dataclass(frozen=True)
class FileFacts:
    """One of the two files: ``of_so_many`` counts the patients who have so many records."""

    file: str
    sha256: str
    records: int
    patients: int
    objecting: int
    of_so_many: Mapping[int, int]


@dataclass(frozen=True)
class Shown:
    """Everything that is on the page.

    Attributes:
        site: its name.
        study: what the study says of its purpose.
        contract: the name of the contract, and ``contract_sha256`` its digest.
        ranges_from: where its ranges and words come from.
        population: whose patients they are; None before they are registered.
        written: the day, as ``2026-03-31 14:05 UTC``.
        training, test: the two files.
        public_patients: what others will see.
        distributions: of everything.
        pictures: by the name of a tensor, ``data:`` addresses of some records.
        findings: of the check.
        conversion: what the conversion found, if the data were converted.
    """

    site: str
    study: str
    contract: str
    contract_sha256: str
    ranges_from: str
    population: str | None
    written: str
    training: FileFacts
    test: FileFacts
    public_patients: int | None
    distributions: Sequence[Distribution]
    pictures: Mapping[str, Sequence[str]] = field(repr=False)
    findings: Sequence[TableFinding]
    conversion: SnapshotReport | None


def render_page(shown: Shown) -> bytes:
    """Render the whole page."""
    body = render_element(
        "body",
        render_element(
            "header",
            render_element("p", "Consilium · data of this site", class_="eyebrow"),
            render_element("h1", f"{shown.contract} at {shown.site}"),
            render_element(
                "p",
                render_element("b", "This page holds patients’ data: it must not leave this site."),
                " It is for the data protection officer. Studies never see it.",
                class_="banner",
            ),
        ),
        render_element(
            "main",
            _render_facts(shown),
            _render_findings(shown.findings),
            _render_distributions("What studies predict", [d for d in shown.distributions if d.role == "target"]),
            _render_distributions("What models learn from", [d for d in shown.distributions if d.role == "input"]),
            _render_over_time(shown.conversion),
            _render_pictures(shown.pictures),
            _render_conversion(shown.conversion),
        ),
        render_element("footer", render_element("p", f"Written on {shown.written}.")),
    )
    page = render_element(
        "html",
        render_head(f"{shown.contract} at {shown.site}", read_style_sheet(), has_images=True),
        body,
        lang="en",
    )
    return b"<!DOCTYPE html>\n" + page.encode("utf-8") + b"\n"


@cache
def read_style_sheet() -> str:
    """Read the style sheet."""
    return files("client.data.showing").joinpath("show.css").read_text(encoding="utf-8")


def _render_facts(shown: Shown) -> Markup:
    public = None if shown.public_patients is None else f"{shown.public_patients:,}"
    return render_facts(
        ("Purpose of the study", shown.study),
        ("Population", shown.population or "not registered yet"),
        ("For training", _describe_file(shown.training)),
        ("Held out for testing", _describe_file(shown.test)),
        ("Records of a patient", _describe_records(shown.training.of_so_many)),
        ("Patients, as others see it", public),
        ("Ranges and words come from", shown.ranges_from),
        ("Contract", render_digest(shown.contract_sha256)),
        ("Training file", join_content(shown.training.file, " ", render_digest(shown.training.sha256))),
        ("Test file", join_content(shown.test.file, " ", render_digest(shown.test.sha256))),
    )


def _describe_file(facts: FileFacts) -> str:
    objecting = f"; {facts.objecting:,} of them object and are left out of studies" if facts.objecting else ""
    return f"{format_count(facts.records, 'record')} of {format_count(facts.patients, 'patient')}{objecting}"


def _describe_records(of_so_many: Mapping[int, int]) -> str:
    listed = [f"{format_count(people, 'patient')} with {count:,}" for count, people in list(of_so_many.items())[:8]]
    more = f", and up to {max(of_so_many):,} records" if len(of_so_many) > len(listed) else ""
    return ", ".join(listed) + more


def _render_findings(findings: Sequence[TableFinding]) -> Content:
    if not findings:
        return None
    items = [
        render_element(
            "li",
            render_element("b", f"{each.level}: ", class_="caution" if each.level != "note" else None),
            each.sentence if each.where not in ("training", "test") else f"{each.where} file: {each.sentence}",
        )
        for each in findings
    ]
    return join_content(render_element("h2", "What the check found"), render_element("ul", items))


def _render_distributions(title: str, distributions: Sequence[Distribution]) -> Content:
    if not distributions:
        return None
    more = len(distributions) - MOST_SHOWN
    return join_content(
        render_element("h2", title),
        render_legend(),
        render_element("div", [render_distribution(each) for each in distributions[:MOST_SHOWN]], class_="grid"),
        render_element("p", f"{more:,} more columns are not drawn.", class_="quiet") if more > 0 else None,
    )


def _render_over_time(report: SnapshotReport | None) -> Content:
    if report is None or not report.months:
        return None
    return join_content(
        render_element("h2", "Records over time"),
        render_months(report.months),
    )


def _render_pictures(pictures: Mapping[str, Sequence[str]]) -> Content:
    return [
        join_content(
            render_element("h2", f"{name}: {len(drawn)} training records at random"),
            render_element(
                "p",
                "Look for names or numbers that are burnt into pictures: no program takes these out.",
                class_="quiet",
            ),
            render_element(
                "div",
                [render_element("img", src=each, alt=f"a record of {name}", loading="lazy") for each in drawn],
                class_="pictures",
            ),
        )
        for name, drawn in pictures.items()
    ]


def _render_conversion(report: SnapshotReport | None) -> Content:
    if report is None:
        return None
    left_out = (
        render_table(
            "Items that could not be used, the first places of each reason",
            [Column("Reason"), Column("Items", True), Column("Places")],
            report.quarantined,
            lambda each: (each.reason, f"{each.count:,}", _describe_places(each)),
        )
        if report.quarantined
        else render_element("p", "Nothing was left out.")
    )
    return join_content(
        render_element("h2", "What was left out"),
        left_out,
        render_element("ul", [render_element("li", each) for each in report.notes]) if report.notes else None,
        render_element("h2", "Where it comes from"),
        render_facts(("Mapping", join_content(report.mapping_file, " ", render_digest(report.mapping_sha256)))),
        render_table(
            "Sources that were read",
            [Column("Source"), Column("SHA-256")],
            list(report.sources.items()),
            lambda each: (each[0], render_digest(each[1])),
        ),
    )


def _describe_places(left_out: LeftOut) -> str:
    return "; ".join(
        place.source + (f", row {place.row}" if place.row else "") + (f", {place.column}" if place.column else "")
        for place in left_out.places
    )
