"""The benchmark of the example studies: what a row keeps, and the same study with its noise placed the other way."""

import json
from pathlib import Path

import pytest

from benchmarks.model_studies import (
    LOCAL_ROUNDS,
    MOST_ROUNDS,
    add_figures,
    find_row,
    keep_epsilons,
    order_epsilons,
    place_noise_elsewhere,
)
from privacy.study import Placement, Terms, read_terms
from server.demo.sources import DemoChoice


def read_example(repository: Path, study: str) -> Terms:
    return read_terms(repository / "examples" / study)


@pytest.mark.parametrize("study", ["tabular/logistic.yaml", "records/dbn.yaml", "records/doctor_ai.yaml"])
def test_local_noise_becomes_shared_noise_and_the_steps_go_as_far(study: str, repository: Path) -> None:
    terms = read_example(repository, study)
    moved = place_noise_elsewhere(terms)
    assert moved.privacy.placement is Placement.DISTRIBUTED
    assert moved.privacy.epsilon == terms.privacy.epsilon
    assert terms.training.rounds <= moved.training.rounds <= MOST_ROUNDS
    assert moved.evaluation.rounds == (moved.training.rounds,)

    def count_reach(each: Terms) -> float:
        rates = [each.training.compute_learning_rate(number) for number in range(1, each.training.rounds + 1)]
        return sum(rates) * each.training.local_steps

    # a schedule of twice the rounds falls in finer steps: the sum differs a little
    assert count_reach(moved) == pytest.approx(count_reach(terms), rel=0.15)


def test_shared_noise_becomes_local_noise_with_as_many_steps(repository: Path) -> None:
    terms = read_example(repository, "imaging/ternausnet11.yaml")
    moved = place_noise_elsewhere(terms)
    assert moved.privacy.placement is Placement.LOCAL
    assert moved.training.rounds <= LOCAL_ROUNDS
    assert moved.training.rounds * moved.training.local_steps >= terms.training.rounds


def choose(folder: str) -> DemoChoice:
    return DemoChoice("logistic", None, None, Path("data") / folder, None, False, "none", None)


def test_the_figures_of_epsilons_that_are_not_asked_for_stay() -> None:
    row = {"model": "logistic", "data": "hearts", "federated": {"8": 0.8, "none": 0.9}}
    assert keep_epsilons(row, ["3"]) == {"8": 0.8, "none": 0.9}
    assert keep_epsilons(row, ["3", "8"]) == {"none": 0.9}
    assert keep_epsilons(row, ["3", "8", "none"]) == {}
    assert keep_epsilons({}, ["3"]) == {}


def test_a_model_has_a_row_for_each_of_its_data(tmp_path: Path) -> None:
    out = tmp_path / "models.json"
    add_figures(out, "logistic", choose("hearts"), {"sites": 3})
    add_figures(out, "mlp", choose("hearts"), {"sites": 4})
    add_figures(out, "logistic", choose("lungs"), {"sites": 5})
    add_figures(out, "logistic", choose("hearts"), {"figure": "AUROC"})
    hearts = {"model": "logistic", "data": "hearts", "sites": 3, "figure": "AUROC"}
    lungs = {"model": "logistic", "data": "lungs", "sites": 5}
    perceptron = {"model": "mlp", "data": "hearts", "sites": 4}
    assert json.loads(out.read_text(encoding="utf-8")) == {"studies": [hearts, perceptron, lungs]}
    assert find_row(out, "logistic", choose("hearts")) == hearts
    assert find_row(out, "logistic", choose("lungs")) == lungs
    assert find_row(out, "mlp", choose("lungs")) == {}


def test_a_row_has_the_smallest_epsilon_first_and_none_last() -> None:
    assert list(order_epsilons({"8": 0.8, "none": 0.9, "10": 0.8, "3": 0.7})) == ["3", "8", "10", "none"]
