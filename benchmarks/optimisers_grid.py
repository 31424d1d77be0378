"""The optimisers that are compared, each with a grid of twelve settings.

====================  ==========================================================================================
name                  local steps at every site, then ...
====================  ==========================================================================================
fedavg                the mean by public patient counts (McMahan et al. 2017)
fedavg-uniform        the mean of sites with equal weights
fedprox               as fedavg, steps pulled back to the round's start (Li et al. 2020)
fedavgm               as fedavg, with momentum of 0.9 (Hsu et al. 2019)
fedadam, fedyogi      as fedavg, with moments, beta 0.9 and 0.99, tau 0.001 (Reddi et al. 2021)
scaffold              as fedavg, steps corrected by control variates (Karimireddy et al. 2020)
global                no local steps: one global step a round with distributed noise, only with privacy
global-momentum       the same, with momentum of 0.9
====================  ==========================================================================================

A grid has four learning rates and three values of the one other setting that matters most.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Final

from benchmarks.optimisers_data import terms_of
from privacy.study import Terms

Setting = tuple[float, float]
"""The learning rate, and the optimiser's other setting."""

_LOCAL_RATES: Final = (0.1, 0.3, 1.0, 3.0)


@dataclass(frozen=True)
class Compared:
    """One optimiser and its grid.

    Attributes:
        other: the field of ``training`` that is tuned beside the learning rate.
        others: its values in the grid.
        rates: the learning rates in the grid.
        fixed: the other fields of ``training``.
        distributed: whether it takes global steps with distributed noise.
    """

    other: str
    others: tuple[float, ...]
    rates: tuple[float, ...] = _LOCAL_RATES
    fixed: dict[str, Any] = field(default_factory=dict)
    distributed: bool = False

    @property
    def settings(self) -> Iterator[Setting]:
        """All settings of the grid."""
        return product(self.rates, self.others)

    def terms(self, dataset: str, epsilon: float | None, setting: Setting) -> Terms:
        """Make the study of ``dataset`` with this optimiser."""
        rate, other = setting
        sections = {"training": {**self.fixed, "learning_rate": rate, self.other: other}}
        if self.distributed:
            sections["privacy"] = {"placement": "distributed"}
        return terms_of(dataset, epsilon, **sections)


_AVERAGE: Final = ("server_learning_rate", (0.5, 1.0, 2.0))
_ADAPTIVE: Final = ("server_learning_rate", (0.03, 0.1, 0.3))
_SAMPLING: Final = ("sampling_rate", (0.1, 0.3, 1.0))

OPTIMISERS: Final = {
    "fedavg": Compared(*_AVERAGE),
    "fedavg-uniform": Compared(*_AVERAGE, fixed={"weights": "uniform"}),
    "fedprox": Compared("proximal", (0.01, 0.1, 1.0)),
    "fedavgm": Compared("server_learning_rate", (0.1, 0.3, 1.0), fixed={"server": {"rule": "momentum"}}),
    "fedadam": Compared(*_ADAPTIVE, fixed={"server": {"rule": "adam"}}),
    "fedyogi": Compared(*_ADAPTIVE, fixed={"server": {"rule": "yogi"}}),
    "scaffold": Compared(*_AVERAGE, fixed={"control_variates": True}),
    "global": Compared(*_SAMPLING, rates=(0.3, 1.0, 3.0, 10.0), fixed={"local_steps": 1}, distributed=True),
    "global-momentum": Compared(
        *_SAMPLING,
        rates=(0.1, 0.3, 1.0, 3.0),
        fixed={"local_steps": 1, "server": {"rule": "momentum"}},
        distributed=True,
    ),
}


def compared(epsilon: float | None) -> tuple[str, ...]:
    """List the optimisers that can be used at this epsilon."""
    return tuple(name for name, each in OPTIMISERS.items() if epsilon is not None or not each.distributed)
