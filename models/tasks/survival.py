"""Survival in discrete time with competing risks: the loss, and figures from summed histograms.

Rules of the loss:

* a model gives one logit for every cause and interval, causes outside, and one for later than all; the softmax of
  all is their probability;
* an event costs -log of the probability of its cause and interval; a censored record -log of the probability of
  anything later than its interval. What happens at the end of the range or later counts as later than all;
* the ranking loss of DeepHit is left out: it compares records in pairs, and a record's loss must not look at
  another record, or clipping would not bound what one patient changes.

Rules of the figures, where the cumulative incidence of a cause at a horizon takes the middle of its bin:

* concordance: of pairs in which one patient had the event of the cause before the horizon, and the other one's
  observation ended in a later interval for whatever reason, the share in which the first one's incidence was
  greater; a tie counts half. It is averaged over causes and horizons (Antolini et al. 2005, A time-dependent
  discrimination index; Harrell et al. 1982), an exact fraction, by which models are compared;
* Brier score: the mean squared difference of an incidence and whether the event of the cause came before the
  horizon, over patients not censored before, each weighted by the inverse of the probability of not being censored
  until then (Graf et al. 1999; Schoop et al. 2011 for several causes). It is averaged over the horizons by
  trapezoids, and over the causes;
* the probability of not being censored is a Kaplan-Meier estimate of the sum of all histograms. Within an
  interval, events come first;
* a mean is of the values that are defined: a concordance needs a pair, a Brier score a patient.

Source of outputs and loss: Lee et al. 2018, DeepHit: a deep learning approach to survival analysis with competing
risks.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.task import FigureKind, Values
from models.tasks.group_counts import Counts, count_patients_of_histograms, split_counts
from models.tasks.histograms import compute_mean, place_in_bins, to_figure
from privacy.study.data.contract import DataContract
from privacy.study.tasks.survival import SurvivalTerms, bound_incidence_bins, count_outcomes

if TYPE_CHECKING:
    import torch

CENSORED: Final = 0
"""What happened, in histograms: censored, this cause, another cause."""
THIS_CAUSE: Final = 1
OTHER_CAUSE: Final = 2
_AT_AN_EDGE: Final = 1e-4
"""So near an edge, in widths of an interval, a time is at it: times are float32."""


class Histogram(NamedTuple):
    """Counts of one cause and horizon by interval, what happened and incidence; (intervals, outcomes, bins)."""

    cause: int
    edge: int
    counts: Counts


@dataclass(frozen=True)
class SurvivalTask:
    """Predict when something happens, and of what cause: implements :class:`~models.task.Task`."""

    terms: SurvivalTerms
    contract: DataContract

    @property
    def figures(self) -> tuple[FigureKind, ...]:
        """Concordance, Brier score, and, where there are several causes, both of each cause."""
        causes = range(1, self._causes + 1) if self._causes > 1 else ()
        return (
            FigureKind("concordance", "concordance"),
            FigureKind("brier", "integrated Brier score", lower_is_better=True, best=0.0),
            *(FigureKind(f"concordance_{cause}", f"concordance, cause {cause}") for cause in causes),
            *(
                FigureKind(
                    f"brier_{cause}", f"integrated Brier score, cause {cause}", lower_is_better=True, best=0.0
                )
                for cause in causes
            ),
        )

    @property
    def _causes(self) -> int:
        return self.terms.count_causes(self.contract)

    def compute_losses(self, outputs: "torch.Tensor", targets: Mapping[str, "torch.Tensor"]) -> "torch.Tensor":
        """Compute the negative log-likelihood of each record; (records,).

        Args:
            outputs: logits, (records, causes * intervals + 1).
            targets: time and event, (records,) each.
        """
        import torch  # the coordinator reads figures without torch

        intervals = self.terms.intervals
        low, high = self.terms.find_time(self.contract).range
        place = (targets[self.terms.time].double() - low) / (high - low) * intervals
        interval = torch.floor(place + _AT_AN_EDGE).long().clamp(0, intervals)  # (records,)
        event = targets[self.terms.event].long()
        seen = (event > 0) & (interval < intervals)
        # of each output but the last one, the interval that it is about; the last one is later than all
        about = torch.arange(outputs.shape[1] - 1, device=outputs.device) % intervals  # (causes * intervals,)
        later = about > interval[:, None]  # (records, causes * intervals)
        later = torch.cat([later, later.new_ones(len(later), 1)], dim=1)
        beyond = outputs.masked_fill(~later, -torch.inf).logsumexp(dim=1)
        own = ((event - 1).clamp(min=0) * intervals + interval).clamp(max=outputs.shape[1] - 1)
        found = torch.where(seen, outputs.gather(1, own[:, None])[:, 0], beyond)
        return outputs.logsumexp(dim=1) - found

    def count_cells(
        self, outputs: "torch.Tensor", targets: Mapping[str, NDArray[np.generic]], bins: int
    ) -> NDArray[np.int64]:
        """Count records, for each cause and horizon, by interval, what happened and incidence.

        An incidence that is not a number is in the lowest bin.
        """
        each, outcomes = bound_incidence_bins(bins), count_outcomes(self._causes)
        interval, event = self._place(targets)  # (records,) each
        places = place_in_bins(self._compute_incidences(outputs), each)  # (records, causes, horizons)
        size, groups = self.terms.intervals * outcomes * each, []
        for cause in range(1, self._causes + 1):
            happened = np.select([event == 0, event == cause], [CENSORED, THIS_CAUSE], OTHER_CAUSE)
            for which in range(places.shape[2]):
                cells = (interval * outcomes + happened) * each + places[:, cause - 1, which]
                groups.append(np.bincount(cells, minlength=size))
        return np.concatenate(groups).astype(np.int64)

    def _place(self, targets: Mapping[str, NDArray[np.generic]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return interval and event of each record, (records,) each; those beyond the range as censored."""
        intervals = self.terms.intervals
        low, high = self.terms.find_time(self.contract).range
        share = (np.nan_to_num(targets[self.terms.time].astype(np.float64), nan=low) - low) / (high - low)
        interval = np.floor(np.clip(share, 0.0, 1.0) * intervals + _AT_AN_EDGE).astype(np.int64)
        event = np.clip(targets[self.terms.event].astype(np.int64), 0, self._causes)
        return np.minimum(interval, intervals - 1), np.where(interval < intervals, event, 0)

    def _compute_incidences(self, outputs: "torch.Tensor") -> NDArray[np.float64]:
        """Compute the probability that each cause comes before each horizon; (records, causes, horizons)."""
        shares: NDArray[np.float64] = outputs.detach().double().softmax(dim=1).cpu().numpy()
        each = shares[:, :-1].reshape(len(shares), self._causes, self.terms.intervals)
        edges = np.array(self.terms.list_horizon_edges(self.contract))
        incidences: NDArray[np.float64] = np.cumsum(each, axis=2)[:, :, edges - 1]
        return incidences

    def count_patients(self, counts: Sequence[int], bins: int) -> int:
        """Return the mean total of the histograms, at least 0."""
        return count_patients_of_histograms(counts, self.terms.list_cell_groups(self.contract, bins))

    def compute_figures(self, counts: Sequence[int], bins: int) -> Values:
        """Compute the figures of summed counts by name.

        Raises:
            ValueError: the counts are not as many as the task has cells.
        """
        histograms = tuple(self._read(counts, bins))
        uncensored = compute_uncensored_shares(histograms)
        causes = range(1, self._causes + 1)
        of_cause = {cause: [each for each in histograms if each.cause == cause] for cause in causes}
        concordances = {
            cause: to_figure(compute_mean(compute_concordance(each) for each in found))
            for cause, found in of_cause.items()
        }
        briers = {cause: integrate_brier_scores(found, uncensored) for cause, found in of_cause.items()}
        defined = [brier for brier in briers.values() if brier is not None]
        values: dict[str, float | None] = {
            "concordance": to_figure(self.compute_rank(counts, bins)),
            "brier": sum(defined) / len(defined) if defined else None,
        }
        if self._causes > 1:
            values |= {f"concordance_{cause}": value for cause, value in concordances.items()}
            values |= {f"brier_{cause}": value for cause, value in briers.items()}
        return values

    def compute_rank(self, counts: Sequence[int], bins: int) -> Fraction | None:
        """Compute the exact mean concordance of all causes and horizons.

        Raises:
            ValueError: as :meth:`compute_figures`.
        """
        return compute_mean(compute_concordance(each) for each in self._read(counts, bins))

    def describe_outputs(self, outputs: "torch.Tensor") -> Mapping[str, NDArray[np.float64]]:
        """Return ``incidence_1`` and so on: how likely a cause comes before each horizon; (records, horizons)."""
        incidences = self._compute_incidences(outputs)
        return {f"incidence_{cause + 1}": incidences[:, cause] for cause in range(self._causes)}

    def _read(self, counts: Sequence[int], bins: int) -> Iterator[Histogram]:
        shape = (self.terms.intervals, count_outcomes(self._causes), bound_incidence_bins(bins))
        edges = self.terms.list_horizon_edges(self.contract)
        which = [(cause, edge) for cause in range(1, self._causes + 1) for edge in edges]
        parts = split_counts(counts, self.terms.list_cell_groups(self.contract, bins))
        for (cause, edge), part in zip(which, parts, strict=True):
            yield Histogram(cause, edge, part.reshape(shape))


def compute_concordance(histogram: Histogram) -> Fraction | None:
    """Compute the exact share of pairs in order; None without a pair."""
    everybody = histogram.counts.sum(axis=1)  # (intervals, bins)
    later = np.cumsum(everybody[::-1], axis=0)[::-1] - everybody  # observed until a later interval
    cases = histogram.counts[: histogram.edge, THIS_CAUSE]  # (edge, bins)
    later = later[: histogram.edge]
    pairs = int((cases.sum(axis=1) * later.sum(axis=1)).sum())
    if not pairs:
        return None
    lower = np.cumsum(later, axis=1) - later  # of these, with a lower incidence
    # doubled: a pair counts 2 if the case has the higher incidence, 1 if both are in one bin
    return Fraction(int((cases * (2 * lower + later)).sum()), 2 * pairs)


def compute_uncensored_shares(histograms: Sequence[Histogram]) -> NDArray[np.float64]:
    """Estimate the probability of not being censored before each interval, (intervals,); 1 before the first one.

    Kaplan and Meier 1958, with censoring as the event. Where nobody is left, it stays as it was.
    """
    outcomes: Counts = np.sum([each.counts.sum(axis=2) for each in histograms], axis=0)  # (intervals, outcomes)
    observed = np.cumsum(outcomes.sum(axis=1)[::-1])[::-1]  # at the beginning of each interval
    left = observed - outcomes[:, THIS_CAUSE:].sum(axis=1)  # after its events
    kept = [
        1 - int(lost) / int(rest) if rest else 1.0 for lost, rest in zip(outcomes[:, CENSORED], left, strict=True)
    ]
    shares: NDArray[np.float64] = np.cumprod([1.0, *kept[:-1]], dtype=np.float64)
    return shares


def compute_brier_score(histogram: Histogram, uncensored: NDArray[np.float64]) -> float | None:
    """Compute the weighted mean squared error of the incidence at the horizon; None if nobody is counted.

    Args:
        histogram: of one cause and horizon.
        uncensored: the probability of not being censored before each interval; (intervals,).
    """
    counts, edge = histogram.counts.astype(np.float64), histogram.edge
    patients = float(counts.sum())
    if not patients:
        return None
    incidences = (np.arange(counts.shape[2]) + 0.5) / counts.shape[2]
    # nobody is observed where the probability is 0; a weight of 0 keeps the sum finite
    weights = np.divide(1.0, uncensored, out=np.zeros_like(uncensored), where=uncensored > 0)
    cases = counts[:edge, THIS_CAUSE] * (1 - incidences) ** 2  # (edge, bins)
    others = counts[:edge, OTHER_CAUSE:].sum(axis=1) * incidences**2
    before = ((cases + others).sum(axis=1) * weights[:edge]).sum()
    after = (counts[edge:].sum(axis=(0, 1)) * incidences**2).sum() * weights[edge]
    return float(before + after) / patients


def integrate_brier_scores(histograms: Sequence[Histogram], uncensored: NDArray[np.float64]) -> float | None:
    """Compute the mean Brier score of one cause over time, by trapezoids between its horizons."""
    scores = [compute_brier_score(each, uncensored) for each in histograms]
    found = [(each.edge, score) for each, score in zip(histograms, scores, strict=True) if score is not None]
    if len(found) < 2:
        return found[0][1] if found else None
    edges, values = np.array(found).T
    return float(np.trapezoid(values, edges) / (edges[-1] - edges[0]))
