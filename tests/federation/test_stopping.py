"""A study that ends early and releases its best model, and a second launch of it, all through the commands."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.running_federation import Running, running
from benchmarks.small_study import small_terms, write_study
from models.federated.early_stopping import RankedEvaluations

pytestmark = pytest.mark.federation

SITES = ("ash", "birch", "cedar")
ROUNDS = 8
TERMS = small_terms(
    training={"rounds": ROUNDS, "local_steps": 1},
    privacy={"epsilon": 1},
    evaluation={"rounds": list(range(1, ROUNDS + 1)), "epsilon": 1, "patience": 1},
    release={"model": "best"},
)
"""Noise decides when it ends; that each of eight evaluations is better than all before has a chance of one in 8!."""


@pytest.fixture(scope="module")
def wood(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("wood"), SITES, TERMS) as federation:
        yield federation


@pytest.fixture(scope="module")
def study(wood: Running) -> str:
    """The study, launched and finished."""
    launched = wood.launch(TERMS)
    wood.finish(launched)
    return launched


def test_study_ends_after_the_exchange_that_the_totals_say(wood: Running, study: str) -> None:
    history = wood.history(study)
    opened = [history.totals[number] for number in sorted(history.totals)]
    ranked = RankedEvaluations(TERMS, (each.counts for each in opened))
    assert ranked.are_out_of_patience
    assert not RankedEvaluations(TERMS, (each.counts for each in opened[:-1])).are_out_of_patience
    end = opened[-1].opened_in
    assert max(history.committed) == end < TERMS.last_round
    best = ranked.best
    assert best is not None
    wood.released(study)
    for name in SITES:
        assert wood.paid(name, study) == ([*range(1, end + 1)], [*range(1, end + 1)])
        evaluated = [body["round"] for body in wood.ledger(name, "evaluate") if body["study"] == study]
        assert evaluated == [each.round for each in opened]
        (returned,) = [body["charge"] for body in wood.ledger(name, "return") if body["study"] == study]
        assert returned > 0
        release = wood.folder / name / "studies" / study / "release"
        card = json.loads((release / "card.json").read_text())
        assert card["choice"]["after_round"] == opened[best].round
        assert card["ended"] == {"after_round": end, "early": True, "patience": 1}
        assert "| ended | early, after round" in (release / "card.md").read_text()


def test_second_launch_is_charged_and_counted_again(wood: Running, study: str, tmp_path: Path) -> None:
    file = write_study(tmp_path / "study.yaml", TERMS)
    checked = wood.consilium("study", "check", file, "--runs", "2")
    assert checked.code == 0, checked.err
    assert "2 runs" in checked.out
    assert "the best of 2 costs as much" in checked.out
    asked = wood.site("ash", "budget", "explain", file, "--runs", "2", "--json")
    assert asked.code == 0, asked.err
    assert asked.json["runs"]["fitting"] == 2
    again = wood.launch(TERMS)
    wood.finish(again)
    for name in SITES:
        assert {body["study"] for body in wood.ledger(name, "allow")} == {study, again}
        card = (wood.folder / name / "studies" / again / "release" / "card.md").read_text()
        assert "**one of 2** of 'small' at this site, 2 of them with exactly these terms; together" in card
