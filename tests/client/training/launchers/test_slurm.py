"""Training in a real Slurm of one machine: its jobs are killed, put back, cancelled; the site is killed too."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.small_study import small_files, small_terms
from client.data.dataset import StudyFiles
from client.site.launcher import SlurmLauncher
from client.study.request_handler import RequestHandler
from client.training.interface import TrainingInterface
from client.training.jobs import FirstModel, ScoreModel, TrainedRound, TrainRound
from client.training.launchers.choose import Place, describe_launcher, make_training
from client.training.launchers.job_folder import DRAW, JOB, LOG, SharedFolder
from client.training.launchers.queue import QueueError
from client.training.launchers.slurm import Slurm, make_script
from client.training.session import TrainingSession
from privacy.errors import RefusedError, TrainingError
from privacy.study import Terms
from tests.client.training.launchers.slurm_cluster import one_machine, tell, why_not
from tests.simulator import FOUR, Simulator

pytestmark = [pytest.mark.federation, pytest.mark.skipif(why_not() is not None, reason=str(why_not()))]

KEY = bytes(range(32))
QUICK = small_terms()
SLOW = small_terms(training={"local_steps": 2000})


@pytest.fixture(scope="module")
def conf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with one_machine(tmp_path_factory.mktemp("machine") / "slurm") as conf:
        yield conf


@pytest.fixture(autouse=True)
def _use_it(conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CONF", str(conf))


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    folder = tmp_path / "shared"
    folder.mkdir(mode=0o700)
    return folder


def train_in_slurm(
    terms: Terms,
    files: StudyFiles,
    shared: Path,
    stop: threading.Event | None = None,
    queue_hours: float = 1.0,
    study: str = "small-1",
) -> TrainingInterface:
    launcher = SlurmLauncher(kind="slurm", folder=str(shared), poll_s=0.2, queue_hours=queue_hours)
    place = Place("ash", shared.parent / "site", shared.parent / "log" / "training.log", "cpu", "float32")
    return make_training(launcher, place, study, terms, files, stop or threading.Event())


def list_jobs(conf: Path) -> list[tuple[int, str, str]]:
    """Number, state and name of every job that Slurm remembers."""
    lines = tell(conf, "squeue", "--noheader", "--states=all", "--format=%i|%T|%j").splitlines()
    return sorted((int(number), word, name) for number, word, name in (line.split("|") for line in lines))


def wait_for(found: Callable[[], bool], deadline_s: float = 90, what: Callable[[], str] = lambda: "") -> None:
    end = time.monotonic() + deadline_s
    while not found():
        assert time.monotonic() < end, what()
        time.sleep(0.1)


def in_background(work: Callable[[], object]) -> tuple[threading.Thread, list[object]]:
    """Run ``work`` in a thread; its answer, or its error, is put in the list."""
    answers: list[object] = []

    def run() -> None:
        try:
            answers.append(work())
        except Exception as error:
            answers.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, answers


def find_running(conf: Path, before: int) -> int:
    """Wait until a job behind number ``before`` runs; return its number."""
    found: list[int] = []

    def look() -> bool:
        found[:] = [number for number, word, _ in list_jobs(conf) if number > before and word == "RUNNING"]
        return bool(found)

    wait_for(look, 30, what=lambda: str(list_jobs(conf)))
    return found[0]


def put_back(conf: Path, number: int) -> None:
    """Requeue a job. Slurm lets it wait for two minutes; a person may hurry it."""
    tell(conf, "scontrol", "requeue", str(number))
    wait_for(lambda: "Restarts=1" in tell(conf, "scontrol", "show", "job", str(number)))
    time.sleep(4)  # the old start's credential is revoked for so long
    tell(conf, "scontrol", "update", f"JobId={number}", "StartTime=now")


def last_job(conf: Path) -> int:
    return max((number for number, _, _ in list_jobs(conf)), default=0)


def test_round_in_slurm_equals_that_in_this_process_and_leaves_nothing(
    conf: Path, tmp_path: Path, shared: Path
) -> None:
    files = small_files(tmp_path, QUICK)
    here = TrainingSession(QUICK, files, "cpu")
    start = here.run(FirstModel())
    before = last_job(conf)
    training = train_in_slurm(QUICK, files, shared)
    assert training.run(FirstModel()).tolist() == start.tolist()
    assert last_job(conf) == before, "what reads no record does not wait in a queue"
    update = training.run(TrainRound(start, 1, 1.0, KEY)).update
    np.testing.assert_allclose(update, here.run(TrainRound(start, 1, 1.0, KEY))[0], atol=1e-7)
    assert training.run(ScoreModel(start, 2.0, None, KEY)) == here.run(ScoreModel(start, 2.0, None, KEY))
    assert last_job(conf) == before + 2
    assert not [path for path in shared.rglob("*") if path.name in (JOB, DRAW)]
    assert "round 1: loss" in (tmp_path / "log" / "training.log").read_text()
    training.close()
    assert not [path for path in shared.rglob("*") if path.is_file()]


def test_job_gets_no_environment_of_the_site_and_only_its_own_files(
    conf: Path, tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SITE_PASSWORD", "swordfish")
    files = small_files(tmp_path, SLOW)
    start = TrainingSession(SLOW, files, "cpu").run(FirstModel())
    before = last_job(conf)
    training = train_in_slurm(SLOW, files, shared)
    thread, answers = in_background(lambda: training.run(TrainRound(start, 1, 1.0, KEY)))
    number = find_running(conf, before)
    found = {path.name: path for path in shared.rglob("*") if path.is_file()}
    assert {name for name in found if "-" not in name} <= {JOB, DRAW, LOG}
    assert found[DRAW].stat().st_mode & 0o777 == 0o600
    assert {path.stat().st_mode & 0o777 for name, path in found.items() if "-" in name} == {0o400}
    assert KEY not in found[JOB].read_bytes()
    assert str(files.train).encode() not in found[JOB].read_bytes()
    assert "swordfish" not in tell(conf, "scontrol", "show", "job", str(number), "--details")
    environments: list[bytes] = []

    def look() -> bool:
        read = (read_quietly(path) for path in Path("/proc").glob("[0-9]*/environ"))
        environments[:] = [each for each in read if f"SLURM_JOB_ID={number}\0".encode() in each]
        return bool(environments)

    wait_for(look)
    assert not any(b"swordfish" in each for each in environments)
    thread.join()
    assert not isinstance(answers[0], Exception), answers
    training.close()


def read_quietly(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_job_that_is_put_back_repeats_the_same_draw(conf: Path, tmp_path: Path, shared: Path) -> None:
    files = small_files(tmp_path, SLOW)
    here = TrainingSession(SLOW, files, "cpu")
    start = here.run(FirstModel())
    before = last_job(conf)
    training = train_in_slurm(SLOW, files, shared)
    thread, answers = in_background(lambda: training.run(TrainRound(start, 1, 1.0, KEY)))
    number = find_running(conf, before)
    put_back(conf, number)
    thread.join()
    assert isinstance(answers[0], TrainedRound), answers
    np.testing.assert_allclose(answers[0].update, here.run(TrainRound(start, 1, 1.0, KEY))[0], atol=1e-7)
    assert last_job(conf) == number, "nothing was submitted a second time"
    training.close()


def set_node(conf: Path, state: str) -> None:
    """Say that the machine has failed, or works again."""
    tell(conf, "scontrol", "update", "NodeName=localhost", f"State={state}", "Reason=test")


def test_job_whose_node_fails_is_put_back_and_repeats_the_same_draw(
    conf: Path, tmp_path: Path, shared: Path
) -> None:
    files = small_files(tmp_path, SLOW)
    here = TrainingSession(SLOW, files, "cpu")
    start = here.run(FirstModel())
    before = last_job(conf)
    training = train_in_slurm(SLOW, files, shared)
    thread, answers = in_background(lambda: training.run(TrainRound(start, 1, 1.0, KEY)))
    number = find_running(conf, before)
    try:
        set_node(conf, "DOWN")
        wait_for(lambda: "Restarts=1" in tell(conf, "scontrol", "show", "job", str(number)))
        assert not answers, "the site waits for the job that was put back"
        time.sleep(4)  # the old start's credential is revoked for so long
    finally:
        set_node(conf, "RESUME")
    tell(conf, "scontrol", "update", f"JobId={number}", "StartTime=now")
    thread.join()
    assert isinstance(answers[0], TrainedRound), answers
    np.testing.assert_allclose(answers[0].update, here.run(TrainRound(start, 1, 1.0, KEY))[0], atol=1e-7)
    assert last_job(conf) == number, "nothing was submitted a second time"
    training.close()


def test_job_that_a_failed_node_takes_along_is_repeated_from_the_same_draw_when_asked_again(
    conf: Path, tmp_path: Path, shared: Path
) -> None:
    """A cluster that puts no job back."""
    files = small_files(tmp_path, SLOW)
    here = TrainingSession(SLOW, files, "cpu")
    start = here.run(FirstModel())
    before = last_job(conf)
    training = train_in_slurm(SLOW, files, shared)
    thread, answers = in_background(lambda: training.run(TrainRound(start, 1, 1.0, KEY)))
    number = find_running(conf, before)
    try:
        tell(conf, "scontrol", "update", f"JobId={number}", "Requeue=0")
        set_node(conf, "DOWN")
        thread.join()
    finally:
        set_node(conf, "RESUME")
    assert isinstance(answers[0], TrainingError)
    assert "ended without a result (NODE_FAIL)" in str(answers[0])
    update = training.run(TrainRound(start, 1, 1.0, KEY)).update
    np.testing.assert_allclose(update, here.run(TrainRound(start, 1, 1.0, KEY))[0], atol=1e-7)
    assert last_job(conf) > number
    training.close()


def test_site_that_was_killed_finds_its_job_again(conf: Path, tmp_path: Path, shared: Path) -> None:
    files = small_files(tmp_path, SLOW)
    here = TrainingSession(SLOW, files, "cpu")
    start = here.run(FirstModel())
    before = last_job(conf)
    script = tmp_path / "site.py"
    script.write_text(
        textwrap.dedent(f"""
            import numpy as np
            from pathlib import Path
            from client.training.jobs import TrainRound
            from tests.client.training.launchers.test_slurm import KEY, SLOW, train_in_slurm
            from client.data.dataset import StudyFiles
            files = StudyFiles(SLOW.data, Path({str(files.train)!r}), Path({str(files.test)!r}),
                               {files.train_sha256!r}, {files.test_sha256!r}, {files.public_patients})
            train_in_slurm(SLOW, files, Path({str(shared)!r})).run(TrainRound(np.array({start.tolist()}), 1, 1.0, KEY))
        """)
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[4])}
    with subprocess.Popen([sys.executable, script], env=environment) as site:
        number = find_running(conf, before)
        site.send_signal(signal.SIGKILL)
    training = train_in_slurm(SLOW, files, shared)
    update = training.run(TrainRound(start, 1, 1.0, KEY)).update
    np.testing.assert_allclose(update, here.run(TrainRound(start, 1, 1.0, KEY))[0], atol=1e-7)
    assert last_job(conf) == number
    training.close()


def test_job_of_another_draw_that_was_left_behind_is_cancelled(conf: Path, tmp_path: Path, shared: Path) -> None:
    """Two jobs at a time for one round: only the one that is asked for now."""
    files = small_files(tmp_path, SLOW)
    start = TrainingSession(SLOW, files, "cpu").run(FirstModel())
    before = last_job(conf)
    first = train_in_slurm(SLOW, files, shared)
    thread, answers = in_background(lambda: first.run(TrainRound(start, 1, 1.0, KEY)))
    left = find_running(conf, before)
    second = train_in_slurm(SLOW, files, shared)
    second.run(TrainRound(start, 1, 1.0, bytes(32)))
    thread.join()
    assert isinstance(answers[0], TrainingError)
    assert "CANCELLED" in tell(conf, "squeue", "--noheader", "--states=all", "--format=%T", f"--jobs={left}")
    second.close()


def test_two_launches_of_the_same_terms_neither_cancel_nor_remove_each_others_jobs(
    conf: Path, tmp_path: Path, shared: Path
) -> None:
    files = small_files(tmp_path, SLOW)
    here = TrainingSession(SLOW, files, "cpu")
    start = here.run(FirstModel())
    before = last_job(conf)
    first = train_in_slurm(SLOW, files, shared, study="small-1")
    second = train_in_slurm(SLOW, files, shared, study="small-2")
    thread, answers = in_background(lambda: first.run(TrainRound(start, 1, 1.0, KEY)))
    number = find_running(conf, before)
    other, _ = in_background(lambda: second.run(TrainRound(start, 1, 1.0, bytes(32))))
    wait_for(lambda: last_job(conf) > number)
    tell(conf, "scancel", str(last_job(conf)))
    other.join()
    second.close()
    thread.join()
    assert isinstance(answers[0], TrainedRound), answers
    np.testing.assert_allclose(answers[0].update, here.run(TrainRound(start, 1, 1.0, KEY))[0], atol=1e-7)
    first.close()


def test_site_that_is_stopped_cancels_its_job(conf: Path, tmp_path: Path, shared: Path) -> None:
    files = small_files(tmp_path, SLOW)
    start = TrainingSession(SLOW, files, "cpu").run(FirstModel())
    before, stop = last_job(conf), threading.Event()
    training = train_in_slurm(SLOW, files, shared, stop)
    thread, answers = in_background(lambda: training.run(TrainRound(start, 1, 1.0, KEY)))
    number = find_running(conf, before)
    stop.set()
    thread.join()
    assert isinstance(answers[0], RefusedError)
    assert answers[0].code == "unavailable"
    wait_for(lambda: (number, "CANCELLED") in [each[:2] for each in list_jobs(conf)])
    assert not [path for path in shared.rglob("*") if path.name in (JOB, DRAW)]


def test_job_that_others_cancel_is_a_failure_and_is_repeated_when_asked_again(
    conf: Path, tmp_path: Path, shared: Path
) -> None:
    files = small_files(tmp_path, SLOW)
    here = TrainingSession(SLOW, files, "cpu")
    start = here.run(FirstModel())
    before = last_job(conf)
    training = train_in_slurm(SLOW, files, shared)
    thread, answers = in_background(lambda: training.run(TrainRound(start, 1, 1.0, KEY)))
    number = find_running(conf, before)
    tell(conf, "scancel", str(number))
    thread.join()
    assert isinstance(answers[0], TrainingError)
    assert "ended without a result (CANCELLED)" in str(answers[0])
    update = training.run(TrainRound(start, 1, 1.0, KEY)).update
    np.testing.assert_allclose(update, here.run(TrainRound(start, 1, 1.0, KEY))[0], atol=1e-7)
    assert last_job(conf) == number + 1
    training.close()


def test_job_that_takes_longer_than_the_site_waits_is_cancelled(conf: Path, tmp_path: Path, shared: Path) -> None:
    files = small_files(tmp_path, SLOW)
    start = TrainingSession(SLOW, files, "cpu").run(FirstModel())
    training = train_in_slurm(SLOW, files, shared, queue_hours=1 / 3600)
    with pytest.raises(TrainingError, match="has no result after 1 s, and was cancelled"):
        training.run(TrainRound(start, 1, 1.0, KEY))
    wait_for(lambda: list_jobs(conf)[-1][1] in ("CANCELLED", "COMPLETED"))


def test_queue_that_is_not_there_is_a_refusal_that_passes(
    tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = small_files(tmp_path, QUICK)
    start = TrainingSession(QUICK, files, "cpu").run(FirstModel())
    training = train_in_slurm(QUICK, files, shared)
    with monkeypatch.context() as without:
        without.setenv("PATH", str(tmp_path))
        with pytest.raises(RefusedError, match="cannot be used now; it can be asked again") as caught:
            training.run(TrainRound(start, 1, 1.0, KEY))
        with pytest.raises(QueueError, match="squeue cannot be used"):
            Slurm(SlurmLauncher(kind="slurm", folder=str(shared))).find("consilium-train1-0")
    assert caught.value.code == "unavailable"
    training.run(TrainRound(start, 1, 1.0, KEY))
    training.close()


def test_study_whose_job_is_put_back_pays_each_round_once(conf: Path, tmp_path: Path, shared: Path) -> None:
    """A whole study; one of four sites trains in Slurm, and its job of the first round is put back."""
    terms = small_terms(training={"local_steps": 200})
    simulator = Simulator(tmp_path / "wood", terms)
    home = simulator.homes["ash"]
    simulator.sites["ash"].close()
    place = Place("ash", home.folder, home.log_path, "cpu", "float32")
    launcher = SlurmLauncher(kind="slurm", folder=str(shared), poll_s=0.2)
    simulator.sites["ash"] = RequestHandler(
        home,
        lambda launch, files: make_training(launcher, place, launch.study, launch.terms, files, threading.Event()),
    )
    before = last_job(conf)

    thread, _ = in_background(lambda: put_back(conf, find_running(conf, before)))
    simulator.launch()
    simulator.run(until=lambda: simulator.all_have(2))
    thread.join()
    assert all(simulator.model_file(name) == simulator.model_file("ash") for name in FOUR)
    assert [entry.body.round for entry in simulator.entries("ash", "reserve")] == [1, 2]  # type: ignore[attr-defined]
    simulator.close()


def test_script_quotes_what_site_yaml_says(tmp_path: Path) -> None:
    launcher = SlurmLauncher(kind="slurm", folder=str(tmp_path), python="/opt/a b/$(reboot)/python")
    folder = SharedFolder(tmp_path, "ash", "small-1")
    script = make_script(launcher, folder, folder.find_job("consilium-train1-0"))
    assert "exec '/opt/a b/$(reboot)/python' -m client.training.launchers.batch_job" in script
    assert "confined by bubblewrap" not in describe_launcher(launcher)
    assert f"Slurm jobs through {tmp_path}, as confined as its node allows" in describe_launcher(launcher)
