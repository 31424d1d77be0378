"""The benchmark of the example studies: what a row keeps, and the same study with its noise placed the other way."""

from pathlib import Path

import click
import pytest

from benchmarks.model_studies import (
    LOCAL_ROUNDS,
    MOST_ROUNDS,
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
    known = {"model": "logistic", "data": "hearts", "federated": {"8": 0.8, "none": 0.9}}
    assert keep_epsilons(known, choose("hearts"), ["3"]) == {"8": 0.8, "none": 0.9}
    assert keep_epsilons(known, choose("hearts"), ["3", "8"]) == {"none": 0.9}
    assert keep_epsilons(known, choose("hearts"), ["3", "8", "none"]) == {}
    assert keep_epsilons({"model": "logistic"}, choose("hearts"), ["3"]) == {}


def test_figures_of_other_data_make_no_row_together() -> None:
    known = {"model": "logistic", "data": "hearts", "federated": {"8": 0.8, "none": 0.9}}
    with pytest.raises(click.UsageError, match="'hearts' with epsilon 8, none, and these are 'lungs'"):
        keep_epsilons(known, choose("lungs"), ["3"])
    assert (
        keep_epsilons(known, choose("lungs"), ["8", "none"]) == {}
    )  # a row that is measured anew may be of other data


def test_a_row_has_the_smallest_epsilon_first_and_none_last() -> None:
    assert list(order_epsilons({"8": 0.8, "none": 0.9, "10": 0.8, "3": 0.7})) == ["3", "8", "10", "none"]
