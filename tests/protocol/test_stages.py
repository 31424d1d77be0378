"""A staged study: each round moves the layers of its stage alone, at every site alike; an average can be released."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load

from models.fit import build_study_module, find_layers_of_round
from models.parameters.trainable import list_shared_ranges
from tests.models.generated_studies import generated_terms, write_generated_files
from tests.simulator import FOUR, Simulator

THREE = FOUR[:3]


@pytest.mark.parametrize("distributed", [False, True], ids=["local", "distributed"])
def test_round_moves_the_layers_of_its_stage_alone(distributed: bool, tmp_path: Path) -> None:
    terms = generated_terms("dbn", distributed=distributed, rounds=1, evaluation={"rounds": []})
    simulator = Simulator(
        tmp_path / "wood", terms, THREE, lambda folder, _, number: write_generated_files(folder, terms, number)
    )
    simulator.launch()
    models = []
    for number in range(terms.training.rounds):
        simulator.run(until=lambda base=number: simulator.all_have(base))  # type: ignore[misc]
        models.append(simulator.store("ash").read_model())
    simulator.run()
    models.append(simulator.store("ash").read_model())
    released = {simulator.released_model(site) for site in THREE}
    simulator.close()
    assert len(released) == 1
    module = build_study_module(terms)
    for number, (before, after) in enumerate(pairwise(models), start=1):
        layers = find_layers_of_round(module, terms, number)
        assert layers is not None
        moves = np.zeros(len(before), dtype=bool)
        for start, end in list_shared_ranges(module, layers):
            moves[start:end] = True
        assert np.array_equal(before[~moves], after[~moves]), f"round {number}"
        assert (before[moves] != after[moves]).mean() > 0.9, f"round {number}"


def test_average_is_released_at_every_site_and_is_that_of_the_shared_models(tmp_path: Path) -> None:
    terms = generated_terms(
        "logistic", rounds=3, evaluation={"rounds": []}, release={"model": "average", "decay": 0.5}
    )
    simulator = Simulator(
        tmp_path / "wood", terms, THREE, lambda folder, _, number: write_generated_files(folder, terms, number)
    )
    simulator.launch()
    models = []
    for number in range(terms.training.rounds):
        simulator.run(until=lambda base=number: simulator.all_have(base))  # type: ignore[misc]
        models.append(simulator.store("ash").read_model())
    simulator.run()
    models.append(simulator.store("ash").read_model())
    average = models[0]
    for model in models[1:]:
        average = 0.5 * average + 0.5 * model
    for site in THREE:
        tensors = load(simulator.released_model(site))
        found = np.concatenate([tensors[name].ravel() for name in ("layers.0.weight", "layers.0.bias")])
        np.testing.assert_allclose(found, average, rtol=1e-6)
    card = (simulator.store("ash").folder / "release" / "card.md").read_text(encoding="utf-8")
    simulator.close()
    assert "the moving average of the shared models up to round 3" in card
