"""The coordinator dies, or is stopped, and continues: nobody trains twice, nobody pays twice."""

import os
import signal
from collections.abc import Iterator

import pytest

from benchmarks.running_federation import COORDINATOR, Running, running, wait_for
from benchmarks.small_study import small_terms
from privacy.errors import StoppedError
from privacy.study import Terms
from server.study.events import History

pytestmark = pytest.mark.federation

SITES = ("ash", "birch", "cedar")
ROUNDS = [1, 2, 3, 4]


def terms(name: str) -> Terms:
    """Four rounds long enough to be interrupted, and a closing evaluation."""
    training = {"rounds": 4, "local_steps": 300, "learning_rate": 0.02}
    small = small_terms(training=training, privacy={"epsilon": 1}, evaluation={"rounds": [4]})
    return small.model_copy(update={"name": name})


@pytest.fixture(scope="module")
def wood(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("wood"), SITES, terms("first")) as federation:
        yield federation


def check_once(wood: Running, study: str, history: History, trained_before: dict[str, int]) -> None:
    """Every round was trained and paid once at every site, by everybody, and all hold the same model."""
    assert sorted(history.committed) == [*ROUNDS, 5]
    assert not history.void
    for event in history.committed.values():
        assert event.committed.cohort == SITES
        assert (event.committed.attempt, event.committed.epoch) == (1, 1)
    for name in SITES:
        assert wood.paid(name, study) == (ROUNDS, ROUNDS)
        assert wood.trained(name)[trained_before[name] :] == ROUNDS
        assert wood.audited(name)["unsettled_rounds"] == 0
    wood.released(study)


@pytest.fixture
def trained_before(wood: Running) -> dict[str, int]:
    """How many rounds each site had trained in earlier tests."""
    return {name: len(wood.trained(name)) for name in SITES}


def test_coordinator_killed_in_training_and_after_a_commit_finishes_its_study(
    wood: Running, trained_before: dict[str, int]
) -> None:
    study = wood.launch(terms("killed"))
    wood.wait_for_round(study, 1)
    wood.wait_until_training(study, "ash", 2)
    assert len(wood.of_superlink()) == 3  # SuperLink, SuperExec, ServerApp
    wood.kill(COORDINATOR)
    wait_for("what it had started to end by itself", lambda: not wood.of_superlink())
    wood.start(COORDINATOR)
    wood.wait_for_round(study, 2)
    wood.kill_coordinator()
    assert list(wood.history(study).committed) == [1, 2]
    wood.start(COORDINATOR)
    check_once(wood, study, wood.finish(study), trained_before)


def test_superlink_killed_alone_is_started_again_and_the_study_finishes(
    wood: Running, trained_before: dict[str, int]
) -> None:
    study = wood.launch(terms("orphan"))
    wood.wait_for_round(study, 1)
    coordinator, first = wood.pid(COORDINATOR), wood.superlink()
    os.kill(first, signal.SIGKILL)
    check_once(wood, study, wood.finish(study), trained_before)
    assert wood.pid(COORDINATOR) == coordinator
    assert wood.superlink() != first


def test_study_that_is_stopped_stands_still_and_goes_on_when_resumed(
    wood: Running, trained_before: dict[str, int]
) -> None:
    study = wood.launch(terms("stopped"))
    wood.wait_for_round(study, 1)
    assert wood.consilium("study", "stop", study).code == 0
    watched = wood.consilium("study", "watch", study)
    assert watched.code == StoppedError.exit_code
    assert "the operator stopped the study" in watched.err
    (listed,) = (
        each for each in wood.consilium("study", "list", "--json").json["studies"] if each["study"] == study
    )
    assert listed["standing"] == "stopped"
    assert listed["why"] == f"the operator stopped the study; continue with: consilium study resume {study}"
    wait_for("the study's run to end", lambda: len(wood.of_superlink()) == 2)  # SuperLink, SuperExec, no ServerApp
    assert len(wood.history(study).committed) == listed["rounds"]["applied"]
    assert wood.consilium("study", "resume", study).code == 0
    check_once(wood, study, wood.finish(study), trained_before)
    again = wood.consilium("study", "resume", study)
    assert again.code != 0
    assert "is finished" in again.err
