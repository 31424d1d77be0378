"""The same terms launched several times are several studies: the ledger charges each, and every card counts them."""

import json
from typing import Any

import pytest

from benchmarks.small_study import small_terms
from client.admission.rules import compute_price
from privacy.accounting.renyi_filter import BudgetGrant, RenyiFilter
from privacy.ledger.entries import Allow, Evaluate, Reserve, Return
from tests.protocol.conftest import Found
from tests.protocol.invariants import budget, require_finished
from tests.simulator import FOUR, Simulator

TERMS = small_terms(
    privacy={"epsilon": 1.5},
    evaluation={"rounds": [1, 2], "epsilon": 1.0},
    release={"model": "best"},
)


def launch_again(simulator: Simulator) -> None:
    simulator.journal.close()
    simulator.launch()
    simulator.run()
    require_finished(simulator)


def card(simulator: Simulator, name: str) -> tuple[dict[str, Any], str]:
    folder = simulator.homes[name].find_study_folder(simulator.study) / "release"
    return json.loads((folder / "card.json").read_text()), (folder / "card.md").read_text()


def test_ledger_charges_the_same_terms_as_often_as_they_are_launched(found: Found) -> None:
    """The oracle: a filter of its own, charged with the terms' whole plan for every launch."""
    simulator = found(TERMS)
    simulator.run()
    require_finished(simulator)
    studies = [simulator.study]
    for launches in (2, 3):
        launch_again(simulator)
        studies.append(simulator.study)
        for name in FOUR:
            figures = budget(simulator, name).grants[0]
            own = RenyiFilter(BudgetGrant(figures.epsilon, figures.delta, figures.order, figures.limit))
            one = own.compute_plan_price(compute_price(TERMS).plan)
            assert figures.spent == launches * one
            assert figures.epsilon_spent == pytest.approx(float(own.epsilon_of(launches * one)), abs=1e-4)
    assert len(set(studies)) == 3
    for name in FOUR:
        bodies = [entry.body for entry in simulator.entries(name)]
        assert [body.study for body in bodies if isinstance(body, Allow)] == studies
        assert {body.terms for body in bodies if isinstance(body, Allow)} == {TERMS.digest}
        for study in studies:
            paid = [body for body in bodies if isinstance(body, Reserve | Evaluate) and body.study == study]
            assert len(paid) == 4
            assert [body.charge for body in bodies if isinstance(body, Return) and body.study == study] == [0]


def test_card_of_a_chosen_run_says_how_many_there_were_and_what_all_of_them_cost(found: Found) -> None:
    simulator = found(TERMS)
    simulator.run()
    facts, words = card(simulator, "ash")
    assert facts["launches"]["seen"] == 1
    assert "| launches | the only one of 'small' that this site has admitted so far |" in words
    launch_again(simulator)
    simulator.terms = small_terms(privacy={"epsilon": 0.5})
    launch_again(simulator)
    for name in FOUR:
        facts, words = card(simulator, name)
        launches = facts["launches"]
        assert (launches["name"], launches["seen"], launches["same_terms"]) == ("small", 3, 1)
        assert launches["studies"][-1] == simulator.study
        assert launches["epsilon_together"] == budget(simulator, name).epsilon_spent
        assert launches["delta_together"] == pytest.approx(1e-3)
        assert (
            "**one of 3** of 'small' at this site, 1 of them with exactly these terms; together they cost" in words
        )
        assert "the best of 3 is charged as 3 |" in words


def test_launch_that_does_not_fit_any_more_is_refused(found: Found) -> None:
    """A best of many ends where the grant does."""
    simulator = found(small_terms())
    simulator.run()
    for _ in range(20):
        simulator.journal.close()
        simulator.launch()
        simulator.run()
        if simulator.journal.read_history().stopped is not None:
            break
    assert "asks for epsilon" in (simulator.journal.read_history().stopped or "")
    for name in FOUR:
        grant = budget(simulator, name).grants[0]
        assert grant.spent <= grant.limit
        assert simulator.entries(name)[-1].kind == "refuse"
