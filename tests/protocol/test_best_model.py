"""The best evaluated model is released: the same one everywhere, kept through everything, and named in the card."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load

from benchmarks.small_study import small_terms, without_privacy, write_csv, write_patients
from client.site.register_data import register_files
from models.parameters.vector import Vector
from privacy.study import Terms
from server.study.state import Phase
from tests.protocol.conftest import Found
from tests.protocol.invariants import require_finished, require_safe
from tests.protocol.moments import in_phase
from tests.protocol.test_stopping import figure, require_ended_by_rule, still
from tests.simulator import FOUR, PowerCut, Simulator

BEST = {"model": "best"}


def moving(rounds: int = 6, **more: dict[str, Any]) -> Terms:
    """A study that jumps about, so that its last model is seldom its best."""
    return without_privacy(
        training={"rounds": rounds, "learning_rate": 20, "sampling_rate": 0.1, "local_steps": 1},
        secure_aggregation={"value_range": 64.0},
        evaluation={"rounds": list(range(1, rounds + 1))},
        release=BEST,
        **more,
    )


def run_watching(simulator: Simulator, name: str = "ash") -> dict[int, Vector]:
    """Run to the end; the model after each round that was evaluated, as one site had it."""
    models: dict[int, Vector] = {}
    while simulator.conductor.running:
        simulator.step()
        if simulator.has_begun(name):
            models.setdefault(simulator.state(name).base, simulator.store(name).read_model())
    return models


def best_round(simulator: Simulator, name: str) -> int:
    """By scikit-learn's figures of what was opened; the earliest of the best."""
    opened = {each.round: figure(each.counts) for each in simulator.history(name).evaluations}
    figures = {number: value for number, value in opened.items() if value is not None}
    return min(number for number, value in figures.items() if value > max(figures.values()) - 1e-12)


def folder(simulator: Simulator, name: str) -> Path:
    return simulator.homes[name].find_study_folder(simulator.study)


def released(simulator: Simulator, name: str) -> Vector:
    tensors = load(simulator.released_model(name))
    return np.concatenate([tensor.ravel() for tensor in tensors.values()])


def card(simulator: Simulator, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder(simulator, name) / "release" / "card.json").read_text())
    return found


@pytest.mark.parametrize("rounds", [3, 6])
def test_released_model_is_the_best_evaluated_one_at_every_site(found: Found, rounds: int) -> None:
    simulator = found(moving(rounds))
    models = run_watching(simulator)
    require_finished(simulator)
    require_safe(simulator)
    for name in FOUR:
        number = best_round(simulator, name)
        assert [path.name for path in folder(simulator, name).glob("best-*")] == [f"best-{number:05d}.f64"]
        np.testing.assert_array_equal(
            np.sort(released(simulator, name)), np.sort(models[number].astype(np.float32))
        )
        choice = card(simulator, name)["choice"]
        assert (choice["after_round"], choice["evaluations"], choice["is_best"]) == (number, rounds, True)
        figures = [each["figures"]["auroc"] for each in card(simulator, name)["evaluation"]]
        assert (choice["figure"], choice["value"]) == ("auroc", pytest.approx(max(figures)))
    assert len({(folder(simulator, name) / "release" / "model.safetensors").read_bytes() for name in FOUR}) == 1


def test_of_equal_models_the_earliest_is_released(found: Found) -> None:
    simulator = found(still(rounds=4, release=BEST))
    models = run_watching(simulator)
    require_ended_by_rule(simulator)
    assert simulator.state("ash").best is not None
    assert card(simulator, "ash")["choice"]["after_round"] == 1
    np.testing.assert_array_equal(np.sort(released(simulator, "ash")), np.sort(models[1].astype(np.float32)))
    words = (folder(simulator, "ash") / "release" / "card.md").read_text()
    assert "| chosen | the model after round 1, the best of 3 evaluated (AUROC 0." in words
    assert "by totals **without noise, which nobody paid for** |" in words


def test_card_says_that_the_totals_were_paid_for(found: Found) -> None:
    simulator = found(
        small_terms(training={"rounds": 3}, evaluation={"rounds": [1, 2, 3], "epsilon": 3}, release=BEST)
    )
    simulator.run()
    require_finished(simulator)
    require_safe(simulator)
    number = best_round(simulator, "ash")
    for name in FOUR:
        words = (folder(simulator, name) / "release" / "card.md").read_text()
        assert f"the model after round {number}, the best of 3 evaluated" in words
        assert "by totals that test patients' budget paid for |" in words
        assert len(simulator.entries(name, "evaluate")) == 3


def test_study_that_releases_the_last_model_keeps_no_other(found: Found) -> None:
    simulator = found(without_privacy(training={"rounds": 3}, evaluation={"rounds": [1, 2, 3]}))
    simulator.run()
    require_finished(simulator)
    assert not list(folder(simulator, "ash").glob("best-*"))
    assert card(simulator, "ash")["choice"]["after_round"] == 3
    assert (
        "| chosen | the model after round 3, the last one |"
        in (folder(simulator, "ash") / "release" / "card.md").read_text()
    )


@pytest.mark.parametrize("restarted", [False, True])
def test_site_away_while_the_best_model_was_evaluated_releases_it_too(found: Found, restarted: bool) -> None:
    simulator = found(moving(7))
    in_phase(simulator, Phase.SEALING, 2)
    simulator.transport.cut_off.add("elm")
    simulator.step(1000)
    simulator.run(lambda: simulator.all_have(1) or 4 in simulator.journal.read_history().committed)
    if restarted:
        simulator.restart_site("elm")
    simulator.transport.cut_off.clear()
    simulator.run(seconds=5)
    require_finished(simulator)
    require_safe(simulator)
    assert simulator.state("elm").best == simulator.state("ash").best


def test_sites_restarted_every_now_and_then_keep_the_best_model(found: Found) -> None:
    simulator = found(moving(5))
    for number in (1, 2, 3, 4):
        in_phase(simulator, Phase.SEALING, number)
        simulator.restart_site(FOUR[number - 1])
    simulator.run(seconds=5)
    require_finished(simulator)
    require_safe(simulator)
    assert len({simulator.state(name).best.model_dump_json() for name in FOUR}) == 1  # type: ignore[union-attr]
    assert card(simulator, "elm")["choice"]["after_round"] == best_round(simulator, "ash")


def test_power_cut_between_the_best_model_and_the_state_leaves_the_state_right(
    found: Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is there, the state does not name it: the aggregate is opened again, and one file is left."""
    simulator = found(still(rounds=4, patience=3, release=BEST))
    from client.study.store import StudyStore

    real, cuts = StudyStore.advance, iter([True])

    def cut(store: StudyStore, *args: Any, **changes: Any) -> None:
        if changes.get("best") is not None and store.folder.parts[-3] == "ash" and next(cuts, False):
            assert list(store.folder.glob("best-*"))
            assert store.state.best is None
            raise PowerCut
        real(store, *args, **changes)

    monkeypatch.setattr(StudyStore, "advance", cut)
    simulator.run(seconds=5)
    assert next(cuts, None) is None, "the power was cut"
    require_finished(simulator)
    require_safe(simulator)
    for name in FOUR:
        assert len(list(folder(simulator, name).glob("best-*"))) == 1


def test_without_any_auroc_all_rounds_are_trained_and_the_last_model_is_released(found: Found) -> None:
    """No test patient is ill anywhere: nothing is ever better than anything."""
    terms = without_privacy(training={"rounds": 3}, evaluation={"rounds": [1, 2, 3], "patience": 1}, release=BEST)
    simulator = found(terms, launch=False)
    for name, home in simulator.homes.items():
        train = write_patients(home.folder / "train2.csv", 60, f"{name}-c", seed=5)
        well = write_csv(home.folder / "well.csv", [f"{name}-w{number},40,f,no" for number in range(20)])
        register_files(home, terms.data, train, well)
        simulator.restart_site(name)
    simulator.launch()
    simulator.run()
    require_finished(simulator)
    assert max(simulator.journal.read_history().committed) == terms.last_round
    assert simulator.state("ash").best is None
    facts = card(simulator, "ash")
    assert facts["choice"] == {
        "asked": "best",
        "after_round": 3,
        "is_best": False,
        "figure": "auroc",
        "value": None,
        "evaluations": 3,
        "paid": False,
    }
    assert not facts["ended"]["early"]
    words = (folder(simulator, "ash") / "release" / "card.md").read_text()
    assert "the model after round 3, the last one: no evaluation gave a figure to choose by (AUROC)" in words


def test_best_model_that_was_altered_is_not_released(found: Found) -> None:
    simulator = found(still(rounds=3, release=BEST))
    simulator.run(lambda: simulator.has_begun("ash") and simulator.state("ash").best is not None)
    path = next(folder(simulator, "ash").glob("best-*"))
    path.write_bytes(path.read_bytes()[:-8] + b"\x00" * 7 + b"\x40")
    simulator.run(seconds=5)
    assert "the model of round 1 was altered; restore it from backup" in simulator.journal.read_history().out["ash"]
    assert not (folder(simulator, "ash") / "release" / "model.safetensors").exists()
    require_finished(simulator, "birch", "cedar", "elm")


NOISED: dict[str, Any] = {"rounds": [1, 2, 3, 4], "epsilon": 3, "patience": 2}
WAYS: dict[str, dict[str, Any]] = {
    "momentum": {"training": {"server": {"rule": "adam"}}},
    "scaffold": {"training": {"control_variates": True, "weights": "uniform"}},
    "distributed": {
        "training": {"local_steps": 1},
        "privacy": {"placement": "distributed"},
        "secure_aggregation": {"value_range": "auto", "bits": 20},
    },
    "sites": {
        "training": {"weights": "uniform"},
        "privacy": {
            "unit": "site",
            "placement": "distributed",
            "adaptive_clipping": {"quantile": 0.5, "rate": 0.2, "share": 0.5},
        },
        "secure_aggregation": {"value_range": 400.0, "bits": 20},
    },
    "personal": {
        "model": {"name": "mlp", "options": {"hidden": [3]}, "personal": ["head"]},
        "privacy": {"epsilon": 3},
    },
}


@pytest.mark.parametrize("way", WAYS)
def test_best_model_is_a_model_and_nothing_else_however_it_is_trained(found: Found, way: str) -> None:
    """Moments, control variates and norms that are shared beside the model are not part of what is kept."""
    sections = WAYS[way]
    training = {"rounds": 4, **sections.get("training", {})}
    simulator = found(small_terms(**{**sections, "training": training, "evaluation": NOISED, "release": BEST}))
    models = run_watching(simulator)
    end = require_ended_by_rule(simulator)
    number = best_round(simulator, "ash")
    assert number < end
    for name in FOUR:
        kept = simulator.store(name).read_best()
        assert kept is not None
        np.testing.assert_array_equal(kept, models[number])
        assert card(simulator, name)["choice"]["after_round"] == number
    if way == "personal":
        assert (folder(simulator, "ash") / "own-layers.safetensors").exists()
