"""A site's agent or its training process dies: the study waits or continues, and what was paid stays paid once."""

import os
import signal
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest

from benchmarks.running_federation import COORDINATOR, Running, is_alive, running, wait_for
from benchmarks.small_study import small_terms
from client.data.dataset import make_study_files
from client.study.store import StudyStore
from client.training.jobs import TrainRound
from client.training.session import TrainingSession
from privacy.keys import read_secret
from privacy.secure_aggregation.quantise import dequantise
from privacy.secure_aggregation.round_layout import make_grid
from privacy.study import Terms
from server.study.journal import Journal
from server.study.notes import ReplyReceived

pytestmark = pytest.mark.federation

SITES = ("ash", "birch", "cedar", "elm")
THREE = SITES[:3]


def terms(name: str, rounds: int, minimum: int, **privacy: Any) -> Terms:
    """Rounds long enough to be interrupted."""
    training = {"rounds": rounds, "local_steps": 600, "learning_rate": 0.02, "weights": "uniform"}
    cohort = {"minimum": minimum, "maximum": 4}
    small = small_terms(
        training=training, privacy={"epsilon": 1, **privacy}, cohort=cohort, evaluation={"rounds": []}
    )
    return small.model_copy(update={"name": name})


@pytest.fixture(scope="module")
def wood(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("wood"), SITES, terms("first", 1, 3)) as federation:
        yield federation


def test_trainer_killed_in_training_repeats_the_round_from_the_same_draw(wood: Running) -> None:
    study = wood.launch(terms("trainer", 3, minimum=3), *THREE)
    folder = wood.folder / "ash" / "studies" / study
    wood.wait_for_round(study, 1)
    key = read_secret(wood.wait_until_training(study, "ash", 2))
    first = wood.trainer("ash")
    os.kill(first, signal.SIGKILL)
    wait_for("the repeated round's update", (folder / "update-00002.npz").exists)
    store = StudyStore(folder)
    repeated = store.read_integers(2)
    assert repeated is not None
    model, left = store.read_model(), store.read_rounding_residual(2)
    assert store.state.base == 1
    assert wood.trainer("ash") != first

    history = wood.finish(study)
    assert sorted(history.committed) == [1, 2, 3]
    assert all(event.committed.cohort == THREE for event in history.committed.values())
    assert wood.paid("ash", study) == ([1, 2, 3], [1, 2, 3])
    wood.released(study, *THREE)

    agreed = store.launch.terms
    files, _ = make_study_files(agreed.data, wood.folder / "ash" / "train.csv", wood.folder / "ash" / "test.csv")
    same_draw = TrainingSession(agreed, files, "cpu").run(TrainRound(model, 2, store.state.noise_multiplier, key))
    grid = make_grid(agreed, store.state.halvings)
    sealed = dequantise(repeated.astype(np.int64), 1, grid)
    np.testing.assert_allclose(sealed, same_draw.update + left, rtol=0, atol=grid.step)


@pytest.mark.long
def test_trainer_killed_where_noise_is_correlated_repeats_the_round_after_the_noise_of_the_one_before(
    wood: Running,
) -> None:
    """Two lots in turn, 300 passes a round. What is repeated carries on what round 1 has left, to the bit."""
    correlated = {"placement": "correlated", "correlation": {"matrix": "banded"}}
    study = wood.launch(terms("correlated", 3, minimum=3, **correlated), *THREE)
    folder = wood.folder / "ash" / "studies" / study
    wood.wait_for_round(study, 1)
    key = read_secret(wood.wait_until_training(study, "ash", 2))
    carried = StudyStore(folder).read_carried_noise(1)
    os.kill(wood.trainer("ash"), signal.SIGKILL)
    wait_for("the repeated round's update", (folder / "update-00002.npz").exists)
    store = StudyStore(folder)
    repeated, handed_on = store.read_integers(2), store.read_carried_noise(2)
    assert repeated is not None
    model, left = store.read_model(), store.read_rounding_residual(2)
    assert store.state.base == 1

    wood.finish(study)
    assert wood.paid("ash", study) == ([1, 2, 3], [1, 2, 3])
    assert list(folder.glob("noise-*")) == []
    agreed = store.launch.terms
    files, _ = make_study_files(agreed.data, wood.folder / "ash" / "train.csv", wood.folder / "ash" / "test.csv")
    again = TrainingSession(agreed, files, "cpu").run(
        TrainRound(model, 2, store.state.noise_multiplier, key, carried=carried)
    )
    np.testing.assert_array_equal(handed_on, again.carried)
    grid = make_grid(agreed, store.state.halvings, store.state.noise_multiplier)
    sealed = dequantise(repeated.astype(np.int64), 1, grid)
    np.testing.assert_allclose(sealed, again.update + left, rtol=0, atol=grid.step)


@pytest.mark.long
def test_agent_killed_in_training_is_waited_for_where_all_sites_are_needed(wood: Running) -> None:
    study = wood.launch(terms("waiting", 3, minimum=4))
    wood.wait_for_round(study, 1)
    wood.wait_until_training(study, "ash", 2)
    trainer = wood.trainer("ash")
    wood.kill("ash")
    wait_for("the agent's trainer to die with it", lambda: not is_alive(trainer))
    wood.start("ash")
    history = wood.finish(study)
    assert sorted(history.committed) == [1, 2, 3]
    assert all(event.committed.cohort == SITES for event in history.committed.values())
    for name in SITES:
        assert wood.paid(name, study) == ([1, 2, 3], [1, 2, 3])
        assert wood.audited(name)["unsettled_rounds"] == 0
    wood.released(study)


def test_agent_killed_between_sealing_and_release_comes_back_and_the_three_go_on_by_themselves(
    wood: Running,
) -> None:
    """First by kill -9, then by SIGTERM. Cedar is held up meanwhile, so that nobody is asked to release yet."""
    study = wood.launch(terms("between", 5, minimum=3), *THREE)
    for name, number, how in (("ash", 2, signal.SIGKILL), ("birch", 4, signal.SIGTERM)):
        wood.wait_for_round(study, number - 1, timeout_s=180)  # Flower keeps who was killed out for 20 s
        wood.wait_until_training(study, "cedar", number)
        cedar = wood.pid("cedar")
        os.kill(cedar, signal.SIGSTOP)
        try:
            wait_for(f"{name} to seal round {number}", partial(has_sealed, wood, study, name, number))
            wood.kill(name, how)
        finally:
            os.kill(cedar, signal.SIGCONT)
        wood.start(name)
    history = wood.finish(study)
    assert history.void == set()
    assert sorted(history.committed) == [1, 2, 3, 4, 5]
    assert all(event.committed.cohort == THREE for event in history.committed.values())
    assert [history.committed[number].committed.attempt for number in (2, 4)] == [1, 1]
    for name in THREE:
        assert wood.paid(name, study) == ([1, 2, 3, 4, 5], [1, 2, 3, 4, 5])
        assert not list((wood.folder / name / "studies" / study).glob("*.sealed"))
    wood.released(study, *THREE)


def has_sealed(wood: Running, study: str, name: str, number: int) -> bool:
    """Whether the coordinator has a site's sealed update of a round."""
    with Journal(wood.folder / COORDINATOR / "studies" / study) as journal:
        return any(
            note.what == "sealed" and note.site == name and note.round == number
            for note in journal.read_notes()
            if isinstance(note, ReplyReceived)
        )


def test_agent_killed_in_training_is_left_out_and_catches_up_where_fewer_are_enough(wood: Running) -> None:
    rounds = 8
    study = wood.launch(terms("going-on", rounds, minimum=3))
    wood.wait_for_round(study, 1)
    wood.wait_until_training(study, "ash", 2)
    wood.kill("ash")
    wood.wait_for_round(study, 2)
    wood.start("ash")
    history = wood.finish(study)
    committed = {number: event.committed for number, event in history.committed.items()}
    assert sorted(committed) == list(range(1, rounds + 1))
    with_ash = [number for number in committed if "ash" in committed[number].cohort]
    assert with_ash[0] == 1
    assert 2 not in with_ash
    assert len(with_ash) > 1, "the agent that came back sealed in no later round"
    assert with_ash[1:] == list(range(with_ash[1], rounds + 1))
    reserved, settled = wood.paid("ash", study)
    assert reserved == [1, 2, *with_ash[1:]]  # round 2 was paid and never came: it counts
    assert settled == with_ash
    assert wood.audited("ash")["unsettled_rounds"] == 1
    for name in SITES[1:]:
        assert wood.paid(name, study) == (list(range(1, rounds + 1)), list(range(1, rounds + 1)))
    wood.released(study)
