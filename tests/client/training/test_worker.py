"""The trainer's child is a real process here: it is killed, orphaned and fed broken data."""

import os
import platform
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from benchmarks.small_study import small_files, small_terms, without_privacy, write_patients
from client.data.dataset import StudyFiles
from client.data.objections import Objections, compute_patient_digest
from client.training.jobs import ExportModel, ExportPersonal, FirstModel, ScoreModel, TrainRound
from client.training.session import TrainingSession
from client.training.study_model import make_first_model
from client.training.worker import KEPT_MEMORY, Worker
from privacy.canonical import compute_sha256
from privacy.errors import DataError, DataUnavailableError, RefusedError, TermsError, TrainingError
from privacy.study import Terms

PLAIN = {"rounds": 2, "local_steps": 2, "sampling_rate": 1.0, "learning_rate": 0.5}

KEY = bytes(range(32))


@pytest.fixture
def terms() -> Terms:
    return without_privacy(training=PLAIN)


@pytest.fixture
def files(tmp_path: Path, terms: Terms) -> StudyFiles:
    return small_files(tmp_path, terms)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def count_page_faults(environment: dict[str, str]) -> int:
    """Count the pages that the kernel gives a process in ten steps, each of which takes and frees 3 x 12 MiB."""
    program = """
        import resource, numpy

        def step():
            return [numpy.ones(12 << 17) for _ in range(3)]

        step(), step()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(10):
            step()
        print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    return int(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)


def wait_until_gone(pid: int, deadline_s: float = 15) -> None:
    end = time.monotonic() + deadline_s
    while alive(pid):
        assert time.monotonic() < end, f"process {pid} is still there"
        time.sleep(0.05)


def test_trainer_module_imports_no_torch() -> None:
    program = (
        "import sys, client.training.worker; assert 'torch' not in sys.modules and 'opacus' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_trainer_in_a_child_answers_as_in_process(tmp_path: Path, terms: Terms, files: StudyFiles) -> None:
    here = TrainingSession(terms, files, "cpu")
    with Worker(terms, files, "cpu", tmp_path / "trainer.log") as child:
        start = child.run(FirstModel())
        assert start.tobytes() == here.run(FirstModel()).tobytes() == make_first_model(terms).tobytes()
        update = child.run(TrainRound(start, 1, None, KEY)).update
        np.testing.assert_allclose(update, here.run(TrainRound(start, 1, None, KEY))[0], atol=1e-7)
        correction = np.linspace(-1, 1, len(start))
        corrected = child.run(TrainRound(start, 1, None, KEY, correction)).update
        np.testing.assert_allclose(corrected, here.run(TrainRound(start, 1, None, KEY, correction))[0], atol=1e-7)
        assert np.abs(corrected - update).max() > 0.1
        assert child.run(ScoreModel(start, None)) == here.run(ScoreModel(start, None))
        assert sum(child.run(ScoreModel(start + update, None))) == 30
        pid = child.pid
    assert pid is not None
    wait_until_gone(pid)
    assert "round 1: loss" in (tmp_path / "trainer.log").read_text()


def test_trainer_killed_child_is_a_sentence_and_the_next_call_starts_another(
    tmp_path: Path, terms: Terms, files: StudyFiles
) -> None:
    with Worker(terms, files, "cpu", tmp_path / "trainer.log") as child:
        start = child.run(FirstModel())
        child.run(ScoreModel(start, None))
        first = child.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        with pytest.raises(TrainingError, match=r"was ended by SIGKILL \(often the sign of too little memory\)"):
            child.run(TrainRound(start, 1, None, KEY))
        assert child.run(TrainRound(start, 1, None, KEY))[0].shape == start.shape
        assert child.pid not in (None, first)


def test_trainer_error_of_the_child_crosses_as_itself(tmp_path: Path, terms: Terms, files: StudyFiles) -> None:
    write_patients(files.train, 61, "z")
    with (
        Worker(terms, files, "cpu", tmp_path / "trainer.log") as child,
        pytest.raises(DataError, match="the file changed since it was registered"),
    ):
        child.run(ScoreModel(child.run(FirstModel()), None))


def test_trainer_reads_no_record_before_it_trains_or_scores(
    tmp_path: Path, terms: Terms, files: StudyFiles
) -> None:
    files.train.unlink()
    with Worker(terms, files, "cpu", tmp_path / "trainer.log") as child:
        start = child.run(FirstModel())
        assert child.run(ExportModel(start))
        with pytest.raises(DataUnavailableError, match="cannot be read"):
            child.run(TrainRound(start, 1, None, KEY))


def test_trainer_of_patients_who_all_object_trains_and_scores_nobody(files: StudyFiles) -> None:
    """That everybody objects must not be seen from outside: the site trains on nobody, with its noise."""
    everybody = [f"{prefix}{number}" for prefix in "ab" for number in range(100)]
    secret = bytes(32)
    objections = Objections(secret, {compute_patient_digest(secret, each): "" for each in everybody})
    trainer = TrainingSession(small_terms(), replace(files, objections=objections), "cpu")
    start = trainer.run(FirstModel())
    update = trainer.run(TrainRound(start, 1, 1.0, KEY)).update
    assert np.isfinite(update).all()
    assert np.abs(update).max() > 0
    assert set(trainer.run(ScoreModel(start, None))) == {0}


def test_trainer_unforeseen_error_names_its_kind_only(tmp_path: Path, terms: Terms, files: StudyFiles) -> None:
    with (
        Worker(terms, files, "cpu", tmp_path / "trainer.log") as child,
        pytest.raises(TrainingError, match="failed with ValueError"),
    ):
        child.run(TrainRound(np.zeros(2), 1, None, KEY))
    assert "expected a vector of" in (tmp_path / "trainer.log").read_text()


def test_trainer_child_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    """The parent is killed while the child is in the middle of a long training."""
    terms = small_terms(training={**PLAIN, "local_steps": 100_000})
    files = small_files(tmp_path, terms)
    program = f"""
        from pathlib import Path
        from client.training.jobs import FirstModel, ScoreModel, TrainRound
        from client.training.worker import Worker
        from client.data.dataset import StudyFiles
        from privacy.study import parse_terms
        import privacy.canonical

        if __name__ == "__main__":
            terms = parse_terms(privacy.canonical.from_canonical({terms.to_bytes()!r}))
            files = StudyFiles(terms.data, Path({str(files.train)!r}), Path({str(files.test)!r}),
                               {files.train_sha256!r}, {files.test_sha256!r}, {files.public_patients})
            child = Worker(terms, files, "cpu", Path({str(tmp_path / "trainer.log")!r}))
            start = child.run(FirstModel())
            child.run(ScoreModel(start, None))
            print(child.pid, flush=True)
            child.run(TrainRound(start, 1, 1.0, bytes(32)))
    """
    script = tmp_path / "parent.py"
    script.write_text(textwrap.dedent(program))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        time.sleep(0.3)
        assert alive(child)
        assert os.getpgid(child) != os.getpgid(0), "Ctrl-C at a terminal is for the site alone"
        inner = Path(f"/proc/{child}/task/{child}/children").read_text().split()  # of bubblewrap, where it works
        parent.kill()
    for pid in (child, *map(int, inner)):
        wait_until_gone(pid)


def test_trainer_score_with_noise_differs_each_time(files: StudyFiles) -> None:
    here = TrainingSession(small_terms(), files, "cpu")
    totals = [here.run(ScoreModel(here.run(FirstModel()), 5.0)) for _ in range(2)]
    assert totals[0] != totals[1]
    assert len(totals[0]) == 20


def test_trainer_unknown_model_is_a_terms_error(files: StudyFiles) -> None:
    with pytest.raises(TermsError, match="there is no model"):
        TrainingSession(small_terms(model={"name": "oracle"}), files, "cpu")


def choosy(**choices: object) -> Terms:
    """A study of which a part is trained."""
    model = {"name": "mlp", "options": {"hidden": [4], "norm": "layer"}, **choices}
    return without_privacy(training=PLAIN, model=model)


def test_trainer_keeps_own_layers_apart_and_the_same_in_a_child(tmp_path: Path) -> None:
    terms = choosy(personal=["head"])
    files = small_files(tmp_path, terms)
    here = TrainingSession(terms, files, "cpu")
    with Worker(terms, files, "cpu", tmp_path / "trainer.log") as child:
        start = child.run(FirstModel())
        update, own, _ = child.run(TrainRound(start, 1, None, KEY))
        assert (update.shape, own.shape) == ((32,), (5,))
        mine = here.run(TrainRound(start, 1, None, KEY))
        np.testing.assert_allclose(mine.update, update, atol=1e-7)
        np.testing.assert_allclose(mine.personal, own, atol=1e-7)
        again = child.run(TrainRound(start, 2, None, KEY, None, own)).update
        assert not np.allclose(again, update), "it continues from the own layers that it is given"
        np.testing.assert_array_equal(child.run(TrainRound(start, 1, None, KEY))[0], update)
        moved = start + update
        assert child.run(ScoreModel(moved, None, own)) == here.run(ScoreModel(moved, None, own))
        assert child.run(ScoreModel(moved, None, own)) != child.run(ScoreModel(moved, None, -20 * own))
        tensors, layers = child.run(ExportModel(moved)), child.run(ExportPersonal(own))
    assert sorted(layers) == ["layers.3.bias", "layers.3.weight"]
    assert np.concatenate([layers["layers.3.weight"].ravel(), layers["layers.3.bias"]]).tolist() == own.tolist()
    first = here.run(ExportPersonal(None))
    assert {name: tensors[name].tolist() for name in first} == {name: part.tolist() for name, part in first.items()}


def test_trainer_begins_with_public_weights_and_leaves_frozen_ones_as_they_are(tmp_path: Path) -> None:
    plain = choosy()
    files = small_files(tmp_path, plain)
    public = TrainingSession(plain, files, "cpu").run(ExportModel(np.linspace(-1, 1, 37)))
    file = tmp_path / "public.safetensors"
    save_file(public, file)
    terms = choosy(start=compute_sha256(file.read_bytes()), trained=["head"])
    with Worker(terms, replace(files, weights=file), "cpu", tmp_path / "trainer.log") as child:
        start = child.run(FirstModel())
        assert start.tolist() == [*public["layers.3.weight"].ravel().tolist(), *public["layers.3.bias"].tolist()]
        update = child.run(TrainRound(start, 1, None, KEY)).update
        tensors = child.run(ExportModel(start + update))
    moved = {name for name, part in tensors.items() if not np.array_equal(part, public[name])}
    assert moved == {"layers.3.weight", "layers.3.bias"}


def test_trainer_without_its_weights_is_refused_by_the_child_as_itself(tmp_path: Path) -> None:
    terms = choosy(start="0" * 64)
    files = replace(small_files(tmp_path, terms), weights=tmp_path / "gone.safetensors")
    with (
        Worker(terms, files, "cpu", tmp_path / "trainer.log") as child,
        pytest.raises(
            RefusedError, match="the public weights 0000000000000000 cannot be used: cannot be read"
        ) as caught,
    ):
        child.run(FirstModel())
    assert caught.value.code == "weights"


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the variables are the GNU C library's")
def test_memory_that_a_step_freed_is_kept_for_the_next() -> None:
    own = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    assert count_page_faults(own) > 5_000  # of 9,216 pages of 4 kB a step, part of which any process keeps
    assert count_page_faults({**own, **KEPT_MEMORY}) < 1_000
