"""Describe a study on its sheet, from its paper, if the export has one (``privacy/ledger/papers.py``).

Rules:

* the terms are those whose digest is in the ledger. The launch is signed by a key, and the sheet says whether this
  key has countersigned the ledger;
* results are claims of the site, not of the ledger, and the sheet says so. A figure is shown with its threshold;
* without a paper the sheet says what is not known, and how to get it.
"""

from collections.abc import Sequence

from privacy.audit.report.findings import Reading
from privacy.audit.report.formatting import (
    NONE,
    Column,
    format_count,
    format_delta,
    render_digest,
    render_facts,
    render_quote,
    render_table,
)
from privacy.audit.report.html import Content, render_element
from privacy.audit.report.timeline import Study
from privacy.keys import PublicKey
from privacy.ledger.papers import Paper, Scores
from privacy.study import SchemeName, Terms, Unit
from privacy.study.summary import describe_inputs, describe_prediction

NO_PAPER = (
    "not in this file. Purpose, columns, clipping norm and who took part stand in the terms whose digest is below; an "
    "export that the site makes (consilium-site ledger export) has them"
)
_CLIPPED = {Unit.PATIENT: "patient", Unit.RECORD: "record", Unit.SITE: "whole update of a site"}


def render_study_facts(reading: Reading, study: Study) -> Content:
    """Render a study's purpose, prediction, data, sites and results."""
    paper = reading.papers.get(study.name)
    if paper is None:
        return render_facts(("What it was about", NO_PAPER))
    terms = paper.said.terms
    return [
        render_facts(
            ("Purpose", render_quote(terms.purpose)),
            ("Predicted", describe_prediction(terms)),
            ("From", ", ".join(describe_inputs(terms))),
            ("Model", f"{terms.model.name}, {format_count(paper.said.parameters, 'parameter')} trained together"),
            ("Sites invited", ", ".join(paper.said.names)),
            ("Launched by", _render_launcher(reading, paper)),
            ("Promised", _render_promise(terms)),
            ("Clipping norm", _describe_clipping_norm(terms)),
            (
                "Updates",
                f"sealed ({terms.secure_aggregation.scheme})"
                if terms.secure_aggregation.scheme is not SchemeName.OPEN
                else render_element("b", "not sealed", class_="alarm"),
            ),
        ),
        _render_results(study, paper),
    ]


def _render_launcher(reading: Reading, paper: Paper) -> Content:
    known = paper.coordinator in reading.timeline.witnesses
    said = "this key has countersigned this ledger" if known else "this key has not countersigned this ledger"
    return [
        f"the federation {paper.said.federation}, key ",
        render_digest(PublicKey.from_text(paper.coordinator).typed),
        f" ({said})",
    ]


def _render_promise(terms: Terms) -> Content:
    privacy = terms.privacy
    if privacy.epsilon is None or privacy.delta is None:
        return render_element("b", "nothing: trained without privacy", class_="alarm")
    if terms.counts_only:
        return f"epsilon {privacy.epsilon:g} at delta {format_delta(privacy.delta)} for each patient counted"
    test = terms.evaluation.epsilon
    held_out = "" if test is None else f"; epsilon {test:g} for each test patient"
    return f"epsilon {privacy.epsilon:g} at delta {format_delta(privacy.delta)} for each training patient{held_out}"


def _describe_clipping_norm(terms: Terms) -> str:
    privacy = terms.privacy
    if privacy.clipping_norm is None:
        return "none: nothing is clipped without privacy"
    begins = "" if privacy.adaptive_clipping is None else ", where it begins; it follows the updates"
    return f"{privacy.clipping_norm:g} for each {_CLIPPED[privacy.unit]}{begins}"


def _render_results(study: Study, paper: Paper) -> Content:
    if not paper.scores:
        return render_element("p", "The site has opened no results of it.", class_="quiet")
    titles = [f"{each.title[0].upper()}{each.title[1:]}" for each in paper.figures]
    columns = [Column(title, True) for title in ("After round", *titles, "Test patients")]

    def row(each: Scores) -> Sequence[Content]:
        figures = [each.figures[kind.name] for kind in paper.figures]
        shown = [NONE if figure is None else f"{figure:.3f}" for figure in figures]
        return f"{each.after_round:,}", *shown, f"{each.patients:,}"

    noise = (
        "without noise"
        if paper.said.terms.evaluation.epsilon is None
        else "with noise, which these figures contain"
    )
    whom = "patients" if paper.said.terms.counts_only else "test patients"
    thresholds = sorted({f"{each.threshold:g}" for each in paper.scores if each.threshold is not None})
    positive = f"; a score of {' or '.join(thresholds)} or more counts as positive" if thresholds else ""
    caption = (
        f"Results of {study.name} on the {whom} of all its sites, by totals opened {noise}{positive}. "
        "The site’s word: the ledger does not hold results."
    )
    return render_table(caption, columns, paper.scores, row, 6, 100, cards=True)
