"""Report values that the range of a study did not hold: in the site's log, in its ledger, and on the card.

Rules:

* marks are made from opened sums, which every site has and which are paid for. All sites mark alike, and
  ``client/study/activity_log.py`` reports the marks;
* with distributed noise one value at the edge is a mark, since a range that holds has none there: sums have wrapped
  around. It is an incident in the ledger, for the auditor;
* with local noise a mark needs a notable share of the values: what was cut is sent in the next round, so a few do
  no harm;
* how many values this site's own update has beyond the range goes to its own log only. With privacy that is
  computed from what was noised, without privacy from records.
"""

import logging
from typing import Final

from client.study.card_document import ModelCard, RangeFacts
from client.study.context import StudyContext
from client.study.history import AtEdge
from privacy.secure_aggregation.quantise import Quantised
from privacy.study import Placement

_log = logging.getLogger(__name__)

_NOTABLE: Final = 0.01
"""The share of values beyond the range from which on people are warned."""


def report_cut_values(context: StudyContext, number: int, quantised: Quantised) -> None:
    """Log how much of this site's update was cut.

    Run by a site with local noise.
    """
    cut, size = quantised.saturated, len(quantised.integers)
    if cut >= _NOTABLE * size and cut:
        _log.warning(
            "%s: round %d: %d of %d values of this site's update (%.0f %%) were beyond the range and were cut; they "
            "are sent in later rounds, a larger secure_aggregation.value_range (or auto) would hold them now",
            context.launch.study, number, cut, size, 100 * cut / size,
        )  # fmt: skip
    elif cut:
        _log.info("round %d: %d of %d values of the update beyond the range were cut", number, cut, size)


def mark_edge(context: StudyContext, number: int, values: int, size: int) -> AtEdge | None:
    """Mark round ``number`` if its sum has too many ``values`` at the edge; None if it has not.

    Run by a site.

    Args:
        context: this site's.
        number: the round.
        values: of its opened sum that are at the edge.
        size: values in all.
    """
    distributed = context.terms.privacy.placement is Placement.DISTRIBUTED
    if not values or (not distributed and values < _NOTABLE * size):
        return None
    mark = AtEdge(round=number, values=values, of=size)
    if distributed:
        context.ledger.record_incident(context.launch.study, "wrapped-around", describe_mark(context, mark), number)
    return mark


def describe_mark(context: StudyContext, mark: AtEdge) -> str:
    """Describe for people what a mark means."""
    at_edge = f"{mark.values} of {mark.of} values of the sum lie at the edge of secure_aggregation.value_range"
    lie = f"round {mark.round}: {at_edge}"
    if context.terms.privacy.placement is Placement.DISTRIBUTED:
        return (
            f"{lie}: sums have wrapped around; do not use the model, launch the study again with value_range: auto"
        )
    return f"{lie}: updates were cut; the next study needs a larger one, or auto"


def make_range_facts(context: StudyContext) -> RangeFacts:
    """Return the study's range of values, and the rounds whose sum it did not hold."""
    aggregation = context.terms.secure_aggregation
    return RangeFacts(
        value_range="auto" if aggregation.value_range is None else aggregation.value_range,
        bits=aggregation.bits,
        at_edge=tuple(context.history.edges),
    )


def make_edge_rows(card: ModelCard) -> list[str]:
    """Make the card's row about values that the range did not hold; none where it held all."""
    marks = card.range.at_edge
    if not marks:
        return []
    rounds = ", ".join(f"{mark.round} ({mark.values / mark.of:.1%})" for mark in marks)
    if card.privacy.placement == Placement.DISTRIBUTED:
        said = (
            "**do not use this model**: values of the sum lie at the edge of the range, so sums have wrapped around"
        )
    else:
        said = "**too narrow**: values of the mean update lie at its edge, so sites' updates were cut"
    return [f"| range of values | {said}; round (share of values): {rounds} |"]
