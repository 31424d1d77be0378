"""The benchmark of the example studies: the same study with its noise placed the other way."""

from pathlib import Path

import pytest

from benchmarks.model_studies import LOCAL_ROUNDS, MOST_ROUNDS, place_noise_elsewhere
from privacy.study import Placement, Terms, read_terms


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
