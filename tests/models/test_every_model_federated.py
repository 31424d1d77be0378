"""Every model of the catalogue learns in a federation in memory: real sites, ledgers, sealed sums, released models."""

from pathlib import Path
from shutil import rmtree
from uuid import uuid4

import pytest
import torch
from safetensors.numpy import load

from client.training.local_steps import make_loss
from models.catalogue import NAMES
from models.fit import build_module
from tests.models.generated_studies import (
    GeneratedSite,
    all_rows,
    generated_site,
    generated_terms,
    write_generated_files,
)
from tests.simulator import FOUR, Simulator

THREE = FOUR[:3]
PATIENTS = {
    "dti-lstm": 300,
    "attentive-chrome": 300,
    "care-events": 300,
    "dbn-ensemble": 300,
    "lesion-sdae": 300,
}
"""Training patients of a site, where 60 are too few to tell learning from noise: their models learn slowly."""
ROUNDS = {
    "attentive-chrome": 40,
    "care-events": 40,
    "basset": 40,
    "gene2vec": 30,
    "deepdtis": 60,
    "deepcpg": 60,
    "deepcpi": 40,
    "dti-lstm": 40,
    "dti-sae": 60,
    "cascade-fusion": 35,
}
"""Rounds with one common step each, where 20 are too few: after 20 its loss is still that of the first model."""
LOCAL_ROUNDS = {"dti-lstm": 6}
"""The same with ten steps of each site a round, where three are too few."""
NORMS = {
    "attentive-chrome": 0.5,
    "lv-segmentation": 0.05,
    "deepdr": 0.3,
}
"""Clipping norms where gradients are so short that noise of a norm of 1 drowns them."""
SAMPLING = {
    "linknet34": 0.1,
    "md-gru": 0.1,
    "ternausnet11": 0.1,
    "ternausnet16": 0.1,
    "unet": 0.3,
    "unet-3d": 0.1,
}
"""Sampling rates where a step over most patients would take seconds, and the loss falls with fewer, too."""
RATES = {
    "attentive-chrome": 3.0,
    "capsnet": 0.3,
    "chest-xray-cnn": 0.25,
    "gedfn": 0.5,
    "histology-crops": 0.15,
    "retina-attention": 0.125,
    "basset": 1.5,
    "deepdr": 6.0,
    "deepcpg": 0.5,
    "speid": 0.15,
    "deepcpi": 1.0,
}
"""Learning rates where that of the entry, with one large step a round, now and then ends where it began or above."""

COMMON_STEPS = (
    "basset",
    "chest-xray-cnn",
    "code-embeddings",
    "d-gex",
    "deep-knee",
    "deepdta",
    "doctor-ai",
    "dynamic-deephit",
    "gru-d",
    "logistic",
    "lung-pattern-cnn",
    "rbm",
    "unet",
)
"""Models that learn by common steps in every run, one of each task at least; the others do where long tests run."""

CASES = (
    *(pytest.param(name, False, id=f"{name}-local") for name in NAMES),
    *(
        pytest.param(name, True, id=f"{name}-distributed", marks=() if name in COMMON_STEPS else pytest.mark.long)
        for name in NAMES
    ),
)


@pytest.mark.parametrize(("name", "distributed"), CASES)
def test_three_sites_learn_it_sealed(name: str, distributed: bool, memory: Path, tmp_path: Path) -> None:
    """The released model is the same at every site, and has a lower loss on other patients than the first one.

    The noise is small here, so that a few rounds are enough to tell learning from chance. Where the loss did not fall,
    sampling and noise may have had their way: a second federation with twice the rounds has to end lower.
    """
    rounds = ROUNDS.get(name, 20) if distributed else LOCAL_ROUNDS.get(name, 3)
    change = measure_loss_change(name, distributed, rounds, memory, tmp_path / "once")
    if change >= 0:
        change = measure_loss_change(name, distributed, 2 * rounds, memory, tmp_path / "again")
    assert change < 0


def measure_loss_change(name: str, distributed: bool, rounds: int, memory: Path, folder: Path) -> float:
    terms = generated_terms(
        name,
        distributed=distributed,
        rounds=rounds,
        training={
            "sampling_rate": SAMPLING.get(name, 0.8),
            **({"learning_rate": RATES[name]} if distributed and name in RATES else {}),
        },
        privacy={"epsilon": 100, "clipping_norm": NORMS.get(name, 1.0)},
        evaluation={"rounds": []},
    )
    patients = PATIENTS.get(name, 60)
    simulator = Simulator(
        memory / str(uuid4()),
        terms,
        THREE,
        lambda folder, _, number: write_generated_files(folder, terms, number, patients),
    )
    simulator.launch()
    simulator.run()
    models = [simulator.released_model(site) for site in THREE]
    simulator.close()
    rmtree(simulator.folder)
    assert models[0] == models[1] == models[2]
    folder.mkdir()
    site = generated_site(folder, terms, patients=60, records=1, seed=9)
    before = mean_loss(site)
    released = build_module(terms.model, terms.data, terms.task)
    released.load_state_dict({key: torch.from_numpy(value) for key, value in load(models[0]).items()})
    site.module = released
    return mean_loss(site) - before


def mean_loss(site: GeneratedSite) -> float:
    site.module.eval()
    inputs, targets = site.records.select(all_rows(site))
    with torch.no_grad():
        return float(make_loss(site.terms)(site.module(inputs), targets).mean())
