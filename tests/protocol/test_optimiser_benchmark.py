"""What the benchmark of optimisers trains is what a federation trains, as far as no randomness sets them apart."""

from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import pytest

from benchmarks.optimisers_data import Federation
from benchmarks.optimisers_runs import trained
from benchmarks.small_study import without_privacy
from client.data.site_data import read_data
from models.parameters.vector import Vector
from privacy.study import Terms
from tests.protocol.conftest import Found

ROUNDS = 3
OPTIMISERS: dict[str, dict[str, Any]] = {
    "fedavg": {"server_learning_rate": 0.8},
    "fedavg-uniform": {"weights": "uniform"},
    "fedprox": {"proximal": 0.5},
    "fedavgm": {"server": {"rule": "momentum"}, "server_learning_rate": 0.3},
    "fedadam": {"server": {"rule": "adam"}, "server_learning_rate": 0.1},
    "scaffold": {"control_variates": True},
}


@dataclass(frozen=True, eq=False)
class Begun(Federation):
    """A federation whose first model is given."""

    start: Vector

    def first(self, terms: Terms) -> Vector:
        return self.start


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_model_is_that_of_a_federation_in_memory(found: Found, optimiser: str) -> None:
    everybody = {"rounds": 4, "local_steps": 4, "sampling_rate": 1.0, "learning_rate": 0.5}
    terms = without_privacy(training={**everybody, **OPTIMISERS[optimiser]}, secure_aggregation={"bits": 24})
    simulator = found(terms)
    simulator.run(lambda: simulator.all_have(0))
    start = simulator.store("ash").read_model()
    tables = (read_data(terms.data, home.folder / "train.csv") for home in simulator.homes.values())
    sites = tuple(table.patients for table in tables)
    simulator.run(lambda: simulator.all_have(ROUNDS))
    *_, model = islice(trained(terms, Begun("small", 0, sites, sites[0], start)), ROUNDS)
    np.testing.assert_allclose(model, simulator.store("ash").read_model(), rtol=0, atol=2e-5)
    assert np.abs(model - start).max() > 0.01
