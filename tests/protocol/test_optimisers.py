"""Every server-side optimiser with every placement and scheme: one model at all sites, moments included."""

from typing import Any

import numpy as np
import pytest

from client.state import optimiser_of
from tests.client.small_study import small_terms
from tests.protocol.conftest import Found
from tests.protocol.invariants import require_finished, require_safe
from tests.protocol.moments import THREE, committed, trained_once

PLACEMENTS: dict[str, dict[str, Any]] = {
    "local": {"training": {"rounds": 3}},
    "distributed": {
        "training": {"rounds": 3, "local_steps": 1},
        "privacy": {"placement": "distributed"},
        "sealing": {"value_range": 60.0, "bits": 20},
    },
}


@pytest.mark.parametrize("scheme", ["bfv", "open"])
@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("rule", ["average", "momentum", "adam", "yogi"])
def test_combination_works(found: Found, rule: str, placement: str, scheme: str) -> None:
    sections = PLACEMENTS[placement]
    training = sections["training"] | {"server": {"rule": rule}, "server_learning_rate": 0.3, "schedule": "linear"}
    sealing = sections.get("sealing", {}) | {"scheme": scheme}
    simulator = found(small_terms(**{**sections, "training": training, "sealing": sealing}), names=THREE)
    for home in simulator.homes.values():
        path = home.folder / "site.yaml"
        path.write_text(path.read_text().replace("open_sealing: false", "open_sealing: true"))
    for name in THREE:
        simulator.restart_site(name)
    simulator.run(lambda: 2 in committed(simulator))
    simulator.restart_site("ash")
    simulator.run(seconds=5)
    require_finished(simulator)
    require_safe(simulator)
    assert trained_once(simulator)
    optimiser = optimiser_of(simulator.terms)
    shared = simulator.store("ash").shared()
    assert shared.size == optimiser.start(np.zeros(6)).size
    assert np.isfinite(shared).all()
    assert not np.array_equal(optimiser.model_of(shared), np.zeros(6))
