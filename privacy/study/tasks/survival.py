"""The task ``survival``: predict when something happens, and what of several causes, in discrete time.

The range of the target ``time`` is divided into intervals of equal width; an edge belongs to the interval after
it. A model gives the probability of every cause in every interval, and that of later than all (Lee et al. 2018,
DeepHit).

A test patient adds one to one cell for each cause and horizon: observed interval x what happened x bin of the
predicted cumulative incidence of the cause at the horizon. Rules:

* what happened is one of: censored, this cause, and, where there are several causes, another one;
* what happens at the end of the range or later is not seen: such a patient counts as censored in the last
  interval;
* a horizon is the edge of an interval within the range, so that a patient's interval tells whether the event came
  before it. Without ``horizons`` they are the edges nearest to the quarter points of the range;
* incidences have ``evaluation.bins`` bins, but at most ``MOST_INCIDENCE_BINS``.
"""

from typing import Annotated, Final, Literal

from pydantic import Field

from privacy.fields import RangeEnd
from privacy.study.data.contract import DataContract
from privacy.study.data.tensors import Ids, Numbers, TensorName, describe_tensor
from privacy.study.tasks.task import CellGroup, TaskTerms, describe_tensor_misfit

MOST_CAUSES: Final = 10
MOST_INCIDENCE_BINS: Final = 20
_OFF_AN_EDGE: Final = 1e-6  # of an interval's width


class SurvivalTerms(TaskTerms):
    """A time, and what happened then.

    Attributes:
        time: until the event or the end of observation, a number.
        event: an id: 0 for censored, then the causes.
        intervals: into how many intervals the range of ``time`` is divided.
        horizons: the times at which incidences are judged, rising, in the units of ``time``; empty for the quarter
            points of its range.
    """

    kind: Literal["survival"]
    time: TensorName = "time"
    event: TensorName = "event"
    intervals: int = Field(default=20, ge=2, le=200)
    horizons: Annotated[tuple[RangeEnd, ...], Field(max_length=10)] = ()

    def list_targets(self) -> tuple[str, ...]:
        """List time and event."""
        return (self.time, self.event)

    def find_misfit(self, contract: DataContract) -> str | None:
        """Describe why there is no time with an event, or which horizon is none."""
        misfits = (
            describe_tensor_misfit(contract, self.time, Numbers, "a number"),
            describe_tensor_misfit(contract, self.event, Ids, "an id: 0 for censored, then the causes"),
        )
        if misfit := next((each for each in misfits if each is not None), None):
            return misfit
        time, event = self.find_time(contract), contract.find_tensor(self.event)
        assert isinstance(event, Ids)
        if time.shape:
            words = describe_tensor(time)
            return f"the task needs '{self.time}' to be one number a record; in the data it is {words}"
        if event.shape or event.values > 1 + MOST_CAUSES:
            return (
                f"the task needs '{self.event}' to be one id a record, of at most {1 + MOST_CAUSES} values; in the "
                f"data it is {describe_tensor(event)}"
            )
        return self._find_wrong_horizon(time)

    def _find_wrong_horizon(self, time: Numbers) -> str | None:
        if list(self.horizons) != sorted(set(self.horizons)):
            return "horizons: expected rising times, each once"
        for horizon in self.horizons:
            place = self._locate(horizon, time)
            nearest = min(max(round(place), 1), self.intervals - 1)
            if abs(place - nearest) > _OFF_AN_EDGE:
                edge = time.low + nearest * (time.high - time.low) / self.intervals
                return (
                    f"horizons: {horizon:g} is not where one of the {self.intervals} intervals of '{self.time}' ends "
                    f"and another begins; the nearest is {edge:g}"
                )
        return None

    def _locate(self, horizon: float, time: Numbers) -> float:
        """Return a time in widths of an interval from the beginning of the range."""
        return (horizon - time.low) / (time.high - time.low) * self.intervals

    def find_time(self, contract: DataContract) -> Numbers:
        """Find the time; the contract must have no misfit."""
        found = contract.find_tensor(self.time)
        assert isinstance(found, Numbers)
        return found

    def count_causes(self, contract: DataContract) -> int:
        """Count the causes; the contract must have no misfit."""
        found = contract.find_tensor(self.event)
        assert isinstance(found, Ids)
        return found.values - 1

    def list_horizon_edges(self, contract: DataContract) -> tuple[int, ...]:
        """List the horizons, rising, each as the number of intervals before it: 1 to ``intervals`` - 1."""
        if self.horizons:
            time = self.find_time(contract)
            return tuple(round(self._locate(horizon, time)) for horizon in self.horizons)
        quarters = (round(self.intervals * part / 4) for part in (1, 2, 3))
        return tuple(sorted({min(max(edge, 1), self.intervals - 1) for edge in quarters}))

    def list_horizon_times(self, contract: DataContract) -> tuple[float, ...]:
        """List the horizons in the units of ``time``."""
        time = self.find_time(contract)
        width = (time.high - time.low) / self.intervals
        return self.horizons or tuple(time.low + edge * width for edge in self.list_horizon_edges(contract))

    def compute_output_shape(self, contract: DataContract) -> tuple[int, ...]:
        """Return one output for each cause and interval, causes outside, and one for later than all."""
        return (self.count_causes(contract) * self.intervals + 1,)

    def list_cell_groups(self, contract: DataContract, bins: int) -> tuple[CellGroup, ...]:
        """List for each cause and horizon, causes outside, a histogram of interval x what happened x incidence."""
        causes = self.count_causes(contract)
        cells = self.intervals * count_outcomes(causes) * bound_incidence_bins(bins)
        return tuple(
            CellGroup(f"cause {cause} by {horizon:g}: interval x what happened x incidence", cells)
            for cause in range(1, causes + 1)
            for horizon in self.list_horizon_times(contract)
        )


def count_outcomes(causes: int) -> int:
    """Count what a histogram tells apart: censored, the cause, and another cause where there are several."""
    return 2 if causes == 1 else 3


def bound_incidence_bins(bins: int) -> int:
    """Return into how many bins a predicted incidence is divided."""
    return min(bins, MOST_INCIDENCE_BINS)
