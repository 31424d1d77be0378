"""Studies sealed under Phong et al.'s schemes: a site's policy must name them, and they run as under BFV."""

from typing import Any

import pytest

from benchmarks.small_study import small_terms
from privacy.secure_aggregation.schemes.paillier_scheme import PaillierScheme
from privacy.secure_aggregation.schemes.registry import SCHEMES
from privacy.study import SchemeName, Terms
from server.study.check import check_study
from tests.protocol.conftest import Found
from tests.protocol.invariants import require_finished, require_safe
from tests.protocol.moments import THREE
from tests.simulator import Simulator, change_policy

OTHERS = ("paillier", "lwe")


def terms_of(scheme: str, **model: dict[str, Any]) -> Terms:
    return small_terms(
        secure_aggregation={"scheme": scheme}, training={"rounds": 1}, evaluation={"rounds": []}, **model
    )


def allowed_by(simulator: Simulator, scheme: str, *names: str) -> None:
    for name in names:
        simulator.sites[name].close()
        change_policy(simulator.homes[name], sealing_schemes=["bfv", scheme])
        simulator.sites[name] = simulator._start(name)


@pytest.fixture(autouse=True)
def _small_moduli(monkeypatch: pytest.MonkeyPatch) -> None:
    """The modulus that studies have would take 25 seconds; its sizes and sums are tested beside the scheme."""
    monkeypatch.setitem(SCHEMES, SchemeName.PAILLIER, PaillierScheme(256))


@pytest.mark.parametrize("scheme", OTHERS)
def test_study_under_another_scheme_is_refused_unless_a_sites_policy_names_it(found: Found, scheme: str) -> None:
    simulator = found(terms_of(scheme), THREE, launch=False)
    allowed_by(simulator, scheme, "ash", "birch")
    simulator.launch()
    simulator.run(seconds=5)
    refusal = simulator.entries("cedar")[-1]
    assert refusal.kind == "refuse"
    said = getattr(refusal.body, "sentence", "")
    assert f"sealed under the scheme '{scheme}', this site allows: bfv (sealing_schemes" in said
    assert not simulator.trained


@pytest.mark.parametrize("scheme", OTHERS)
def test_study_under_another_scheme_runs_through_where_it_is_allowed(found: Found, scheme: str) -> None:
    simulator = found(terms_of(scheme), THREE, launch=False)
    allowed_by(simulator, scheme, *THREE)
    simulator.launch()
    simulator.run(seconds=5)
    require_finished(simulator)
    require_safe(simulator)


def test_model_too_large_for_its_scheme_is_a_problem_and_is_refused(found: Found) -> None:
    wide = {"model": {"name": "mlp", "options": {"hidden": [300, 250]}}}
    problems = check_study(terms_of("paillier", **wide)).problems
    assert any("seals at most" in problem for problem in problems)
    simulator = found(terms_of("paillier", **wide), THREE, launch=False)
    allowed_by(simulator, "paillier", *THREE)
    simulator.launch()
    simulator.run(seconds=5)
    refusal = simulator.entries("ash")[-1]
    assert "seals at most" in getattr(refusal.body, "sentence", "")
    assert not simulator.trained
