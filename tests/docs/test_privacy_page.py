"""The figures of ``docs/privacy.md`` are those of the accountant and of the site that computes them."""

import math
import re

import numpy as np
import pytest
import yaml
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import roc_auc_score

from benchmarks.small_study import small_terms
from client.site.policy import Policy
from privacy.accounting.account import PUBLIC_COUNT_STEP
from privacy.accounting.calibration import compute_site_noise_multiplier
from privacy.accounting.epsilon import compute_charge, compute_epsilon_offset, compute_renyi_limit
from privacy.accounting.grant_order import choose_order
from privacy.accounting.plan import Planned, Purpose
from privacy.accounting.renyi import NANO, ORDERS
from privacy.mechanisms.distributed_noise import SharedNoise, decode_opened_sum, make_noised_share
from privacy.mechanisms.site_clipping import compute_mean_update, make_contribution
from privacy.randomness import KeyStream
from privacy.secure_aggregation.round_layout import make_shared_noise
from privacy.study import MAX_SITES, SecureAggregation, parse_terms, read_terms
from privacy.study.cost import compute_study_noise, make_training_event
from tests.docs.pages import ROOT

TEXT = (ROOT / "docs" / "privacy.md").read_text(encoding="utf-8")


def test_example_of_a_charge_is_computed() -> None:
    terms = read_terms(ROOT / "examples" / "breast_cancer.yaml")
    delta = 0.001
    assert (terms.privacy.epsilon, terms.privacy.delta) == (3, delta)
    alone = compute_study_noise(terms)
    event = make_training_event(terms, alone)
    order = choose_order(6, delta, (Planned(purpose=Purpose.TRAIN, event=event, times=terms.training.rounds),))
    assert event.kind == "sampled-gaussian"
    price = terms.training.rounds * compute_charge(event, order) / NANO
    room = compute_renyi_limit(6, delta, order) / NANO
    assert f"noise of {alone:.2f}" in TEXT
    assert f"kept at order {order}, where the study charges {price:.2f} of the {room:.2f}" in TEXT
    assert room // price == 3
    assert f"a fixed part ({float(compute_epsilon_offset(delta, order)):.2f}" in TEXT


def test_constants_of_the_page_are_those_of_the_code() -> None:
    assert f"orders {ORDERS[0]} to {ORDERS[-1]}" in " ".join(TEXT.split())
    assert PUBLIC_COUNT_STEP == 10
    assert "rounded down to tens" in TEXT
    assert f"`minimum_patients` (policy.yaml; {Policy().minimum_patients} unless changed)" in TEXT
    assert f"{SecureAggregation(value_range=1).bits}-bit grid** by default" in TEXT


def ratio(epsilon: float, parameters: int, sites: int, rounds: int = 100, participation: float = 1.0) -> float:
    """Noise over the longest way that all rounds can lead, as the page has it, with one colluder."""
    noise = compute_site_noise_multiplier(epsilon, 1e-5, participation, rounds)
    return noise * math.sqrt(sites / (sites - 1)) / (participation * sites) * math.sqrt(parameters / rounds)


@pytest.mark.parametrize("epsilon", [1, 3, 8])
def test_sites_that_whole_updates_need_are_computed(epsilon: int) -> None:
    needed = [
        next(sites for sites in range(3, 1000) if ratio(epsilon, parameters, sites) <= 1)
        for parameters in (10, 30, 100, 1_000, 10_000)
    ]
    assert f"| {epsilon} | {' | '.join(str(sites) for sites in needed)} |" in TEXT
    assert f"at most {MAX_SITES} sites" in TEXT


def test_ratio_hardly_depends_on_rounds_and_participation() -> None:
    one = ratio(3, 30, 20)
    assert ratio(3, 30, 20, rounds=10) == pytest.approx(one, rel=1e-3)
    assert ratio(3, 30, 20, participation=0.5) == pytest.approx(one, rel=0.02)


def test_terms_of_the_page_are_terms_and_their_range_holds_the_noise() -> None:
    section = TEXT[TEXT.index("## Whole sites as the unit") :]
    written = yaml.safe_load(section.split("```yaml")[1].split("```")[0])
    terms = parse_terms(small_terms().model_dump(mode="json") | written)
    noise = make_shared_noise(terms, 30, compute_study_noise(terms))
    assert noise.describe_problem(terms.cohort.maximum) is None
    assert 1 < noise.inflation < 1.02


def auroc_of_sites(sites: int, seed: int) -> float:
    """Whole updates of so many sites in ten rounds at epsilon 3, with their real shares of noise."""
    random, rounds = np.random.default_rng(seed), 10
    features, labels = load_breast_cancer(return_X_y=True)
    features = np.clip((features - features.mean(0)) / features.std(0), -3, 3) / 3
    features = np.column_stack([features, np.ones(len(labels))])
    order = random.permutation(len(labels))
    test, rest = order[:150], order[150:]
    patients = [random.choice(rest, 40) for _ in range(sites)]
    noise = SharedNoise(1.0, compute_site_noise_multiplier(3, 1e-5, 1.0, rounds), 31, 20, 200.0, 1)
    model = np.zeros(31)
    for _ in range(rounds):
        total = np.zeros(31, dtype=np.int64)
        for chosen in patients:
            local = model.copy()
            for _ in range(20):
                wrong = 1 / (1 + np.exp(-features[chosen] @ local)) - labels[chosen]
                local -= 2.0 * features[chosen].T @ wrong / 40
            own = make_contribution(local - model, 1.0, None, counts=True)
            total += make_noised_share(own, noise, noise.compute_share_variance(sites), KeyStream(random.bytes(32)))
        model = model + compute_mean_update(decode_opened_sum(total, noise), None, sites)
    return float(roc_auc_score(labels[test], features[test] @ model))


@pytest.mark.parametrize("sites", [3, 10, 20])
def test_simulated_sites_are_as_good_as_the_page_says(sites: int) -> None:
    mean = float(np.mean([auroc_of_sites(sites, seed) for seed in range(10)]))
    said = re.search(rf"(0\.\d\d) with {sites}(?: sites)?[, ]", TEXT)
    assert said is not None
    assert mean == pytest.approx(float(said[1]), abs=0.01)
