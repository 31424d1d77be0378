"""Every way of training, with every placement, rule and scheme: it runs through, or terms refuse it with the reason.

Four tables are multiplied. A new way or placement is a row of its table, which says what it changes in the terms; a
pair of them that cannot be is a row of ``REFUSED``.
"""

from itertools import product
from typing import Any

import numpy as np
import pytest

from benchmarks.small_study import small_terms
from models.federated.server_optimiser import make_optimiser
from privacy.errors import TermsError
from privacy.study import SchemeName, ServerRule
from tests.protocol.conftest import Found
from tests.protocol.invariants import require_finished, require_safe
from tests.protocol.moments import THREE, committed, trained_once
from tests.simulator import Simulator

Sections = dict[str, dict[str, Any]]

PLACES: dict[str, Sections] = {
    "local": {},
    "distributed": {
        "training": {"local_steps": 1},
        "privacy": {"placement": "distributed"},
        "secure_aggregation": {"value_range": "auto", "bits": 20},
    },
    "whole sites": {
        "training": {"weights": "uniform"},
        "privacy": {"unit": "site", "placement": "distributed", "adaptive_clipping": {}},
        "cohort": {"participation": 0.5},
        "secure_aggregation": {"value_range": 60.0, "bits": 20},
    },
    "without privacy": {"privacy": {"epsilon": "none", "delta": None, "clipping_norm": None}},
}

WAYS: dict[str, Sections] = {
    "plain": {},
    "proximal": {"training": {"proximal": 0.1}},
    "control variates": {"training": {"control_variates": True}},
    "accumulate": {"training": {"accumulate": 2}},
    "positive weight": {"task": {"kind": "binary", "positive_weight": 3}},
}

REFUSED: dict[tuple[str, str], str] = {
    ("distributed", "proximal"): "no local steps to pull back",
    ("distributed", "control variates"): "no local steps to correct",
    ("distributed", "accumulate"): "with distributed noise a round is one global step",
    ("whole sites", "control variates"): "only the update is noised",
}

COMMON: Sections = {
    "training": {"rounds": 2, "local_steps": 2, "server_learning_rate": 0.3, "schedule": "linear"},
    "evaluation": {"rounds": []},
}


def sections_of(place: str, way: str, rule: str, scheme: str) -> Sections:
    """What the terms of a combination change in those of the small study."""
    chosen: Sections = {"training": {"server": {"rule": rule}}, "secure_aggregation": {"scheme": scheme}}
    merged: Sections = {}
    for sections in (COMMON, PLACES[place], WAYS[way], chosen):
        for name, fields in sections.items():
            merged[name] = merged.get(name, {}) | fields
    return merged


def allow_open_sealing(simulator: Simulator) -> None:
    for name, home in simulator.homes.items():
        path = home.folder / "policy.yaml"
        path.write_text(path.read_text().replace("open_sealing: false", "open_sealing: true"))
        simulator.restart_site(name)


def require_one_shared_state(simulator: Simulator) -> None:
    """All sites hold the same bits of everything that they advance alike, and it is all there."""
    optimiser = make_optimiser(simulator.terms)
    states = {simulator.store(name).read_shared().tobytes() for name in simulator.names}
    assert len(states) == 1
    shared = np.frombuffer(states.pop())
    store = simulator.store("ash")
    assert shared.size == optimiser.parts * store.launch.parameters
    assert np.isfinite(shared).all()
    parts = np.split(shared, optimiser.parts)
    assert all(np.any(part) for part in parts)


PAIRS = [(place, way) for place, way in product(PLACES, WAYS) if (place, way) not in REFUSED]


SCHEMES = [
    (place, way, scheme)
    for (place, way), scheme in product(PAIRS, (SchemeName.BFV, SchemeName.OPEN))
    if place == "local" or scheme is not SchemeName.OPEN  # a share alone has too little noise to be read
]


@pytest.mark.parametrize("rule", list(ServerRule))
@pytest.mark.parametrize(("place", "way", "scheme"), SCHEMES)
def test_combination_runs_through(found: Found, place: str, way: str, rule: str, scheme: str) -> None:
    simulator = found(small_terms(**sections_of(place, way, rule, scheme)), names=THREE)
    if scheme == SchemeName.OPEN:
        allow_open_sealing(simulator)
    simulator.run(seconds=5)
    assert sorted(committed(simulator)) == [1, 2]
    require_finished(simulator)
    require_safe(simulator)
    require_one_shared_state(simulator)
    assert trained_once(simulator)


@pytest.mark.parametrize(("place", "way"), REFUSED)
def test_combination_that_cannot_be_is_refused_with_the_reason(place: str, way: str) -> None:
    for rule in ServerRule:
        with pytest.raises(TermsError) as caught:
            small_terms(**sections_of(place, way, rule, SchemeName.BFV))
        assert REFUSED[place, way] in str(caught.value)


@pytest.mark.parametrize("rule", list(ServerRule))
def test_site_that_is_restarted_goes_on_with_moments_and_variates(found: Found, rule: str) -> None:
    sections = sections_of("local", "control variates", rule, "bfv")
    sections["training"]["rounds"] = 3
    simulator = found(small_terms(**sections), names=THREE)
    simulator.run(lambda: 2 in committed(simulator))
    simulator.restart_site("ash")
    simulator.run(seconds=5)
    require_finished(simulator)
    require_safe(simulator)
    require_one_shared_state(simulator)
    assert trained_once(simulator)
