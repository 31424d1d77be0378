"""A job's folder is written by a job, which may write anything: what the site takes out of it is checked."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.small_study import small_files, small_terms, write_patients
from client.data.dataset import StudyFiles
from client.site.launcher import Confinement
from client.training.answer_format import compute_most_bytes, pack_answer, read_answer
from client.training.job_format import make_setup, rekey_objections, split_job
from client.training.jobs import FirstModel, TrainedRound, TrainRound
from client.training.launchers.batch_job import do_job
from client.training.launchers.job_folder import DRAW, JOB, RESULT, JobFolder, SharedFolder, make_document
from client.training.session import TrainingSession
from privacy.errors import DataError, DataUnavailableError, StorageError, TrainingError

TERMS = small_terms()
MODEL = np.zeros(6)
KEY = bytes(range(32))
STUDY = "small-00000001"
JOB_OF_ROUND_1 = TrainRound(MODEL, 1, 1.0, KEY)


@pytest.fixture
def shared(tmp_path: Path) -> SharedFolder:
    root = tmp_path / "shared"
    root.mkdir(mode=0o700)
    folder = SharedFolder(root, "ash", STUDY)
    folder.create()
    return folder


def write_job(shared: SharedFolder, files: StudyFiles, job: TrainRound = JOB_OF_ROUND_1) -> JobFolder:
    request, arrays, draw = split_job(job)
    setup = make_setup(TERMS, shared.copy_data(rekey_objections(files)), "cpu", "float32")
    document, body = make_document(setup, request, arrays, draw)
    folder = shared.find_job(document.name)
    folder.create(document, body, draw)
    return folder


def test_job_is_named_by_its_draw_and_everything_else(tmp_path: Path, shared: SharedFolder) -> None:
    files = small_files(tmp_path, TERMS)
    jobs = [
        JOB_OF_ROUND_1,
        TrainRound(MODEL, 2, 1.0, KEY),
        TrainRound(MODEL + 1, 1, 1.0, KEY),
        TrainRound(MODEL, 1, 2.0, KEY),
        TrainRound(MODEL, 1, 1.0, bytes(32)),
    ]
    names = [write_job(shared, files, job).name for job in jobs]
    assert len(set(names)) == len(jobs)
    assert names[0].startswith("consilium-train1-")
    assert max(map(len, names)) <= 63  # of Kubernetes
    shared.find_job(names[0]).remove()
    assert write_job(SharedFolder(tmp_path / "shared", "ash", STUDY), files).name == names[0]


def test_other_launch_of_the_same_terms_has_a_folder_of_its_own(tmp_path: Path, shared: SharedFolder) -> None:
    files = small_files(tmp_path, TERMS)
    job = write_job(shared, files)
    other = SharedFolder(tmp_path / "shared", "ash", "small-00000002")
    other.create()
    assert write_job(other, files).name == job.name
    other.remove()
    assert not other.path.exists()
    assert job.exists
    assert [each.name for each in shared.list_jobs()] == [job.name]
    assert {path.name.partition("-")[0] for path in shared.data.iterdir()} == {"train", "test"}


def test_batch_job_writes_a_result_once_and_repeats_the_draw(tmp_path: Path, shared: SharedFolder) -> None:
    files = small_files(tmp_path, TERMS)
    folder = write_job(shared, files)
    command = [sys.executable, "-m", "client.training.launchers.batch_job", "--confinement", "available"]
    command += [str(folder.path), str(shared.data), str(folder.path / DRAW)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[4])}
    subprocess.run(command, check=True, env=environment, capture_output=True)
    first = (folder.path / RESULT).stat()
    subprocess.run(command, check=True, env=environment, capture_output=True)
    assert (folder.path / RESULT).stat().st_mtime_ns == first.st_mtime_ns
    request, arrays, _ = split_job(JOB_OF_ROUND_1)
    data = folder.read_result(compute_most_bytes(request, arrays, TERMS))
    assert data is not None
    here = TrainingSession(TERMS, files, "cpu")
    answer = read_answer(data, request, arrays, TERMS, with_records=True)
    np.testing.assert_allclose(answer.update, here.run(JOB_OF_ROUND_1).update, atol=1e-7)


def test_batch_job_with_another_draw_is_refused(tmp_path: Path, shared: SharedFolder) -> None:
    folder = write_job(shared, small_files(tmp_path, TERMS))
    (folder.path / DRAW).write_bytes(bytes(32))
    with pytest.raises(TrainingError, match="is not the draw of this job"):
        do_job(folder.path, shared.data, folder.path / DRAW, Confinement.NONE, 60)
    (folder.path / DRAW).unlink()
    with pytest.raises(StorageError, match="cannot be read"):
        do_job(folder.path, shared.data, folder.path / DRAW, Confinement.NONE, 60)
    assert not (folder.path / RESULT).exists()


def test_failure_of_a_batch_job_is_a_result(tmp_path: Path, shared: SharedFolder) -> None:
    folder = write_job(shared, small_files(tmp_path, TERMS))
    for path in shared.data.iterdir():
        path.chmod(0o600)
        path.write_text("id,age,sex,ill\n")
    do_job(folder.path, shared.data, folder.path / DRAW, Confinement.NONE, 60)
    request, arrays, _ = split_job(JOB_OF_ROUND_1)
    data = folder.read_result(1 << 20)
    assert data is not None
    with pytest.raises(DataError, match="the file changed since it was registered"):
        read_answer(data, request, arrays, TERMS, with_records=True)


def test_result_that_is_no_plain_file_is_refused(tmp_path: Path, shared: SharedFolder) -> None:
    folder = write_job(shared, small_files(tmp_path, TERMS))
    result = folder.path / RESULT
    assert folder.read_result(100) is None
    key = tmp_path / "identity.key"
    key.write_text("secret")
    result.symlink_to(key)
    with pytest.raises(TrainingError, match="is not a plain file"):
        folder.read_result(100)
    result.unlink()
    os.mkfifo(result)
    with pytest.raises(TrainingError, match="is not a plain file"):
        folder.read_result(100)
    result.unlink()
    result.mkdir()
    with pytest.raises(TrainingError, match="is not a plain file"):
        folder.read_result(100)
    result.rmdir()
    with result.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(TrainingError, match="has 1099511627776 bytes, expected at most 100; it is not used"):
        folder.read_result(100)


def test_folder_of_a_job_that_is_a_link_is_not_followed(tmp_path: Path, shared: SharedFolder) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / RESULT).write_bytes(b"x")
    folder = shared.find_job("consilium-train1-0")
    folder.path.symlink_to(elsewhere)
    with pytest.raises(TrainingError, match="is not a plain file"):
        folder.read_result(100)


def test_result_of_another_round_is_refused(tmp_path: Path, shared: SharedFolder) -> None:
    """A job, or who may write in its folder, puts the last round's result there."""
    folder = write_job(shared, small_files(tmp_path, TERMS), TrainRound(MODEL, 2, 1.0, KEY))
    last, arrays, _ = split_job(JOB_OF_ROUND_1)
    (folder.path / RESULT).write_bytes(b"".join(pack_answer(last, TrainedRound(MODEL, np.zeros(0)))))
    data = folder.read_result(1 << 20)
    assert data is not None
    with pytest.raises(TrainingError, match="answer to another request"):
        read_answer(data, split_job(TrainRound(MODEL, 2, 1.0, KEY))[0], arrays, TERMS, with_records=True)


def test_log_of_a_job_is_kept_without_what_moves_a_terminal(tmp_path: Path, shared: SharedFolder) -> None:
    folder = write_job(shared, small_files(tmp_path, TERMS))
    (folder.path / "log").write_bytes(b"x" * 100_000 + b"\nfailed\x1b[2J\x00 here\n")
    folder.keep_log(tmp_path / "site.log")
    kept = (tmp_path / "site.log").read_bytes()
    assert kept.endswith(b"\nfailed[2J here\n")
    assert len(kept) < 70_000
    (folder.path / "log").unlink()
    (folder.path / "log").symlink_to(tmp_path / "train.csv")
    folder.keep_log(tmp_path / "other.log")
    assert not (tmp_path / "other.log").exists()


def test_folder_that_is_left_holds_no_draw_and_no_data(tmp_path: Path, shared: SharedFolder) -> None:
    folder = write_job(shared, small_files(tmp_path, TERMS))
    assert (folder.path / DRAW).read_bytes() == KEY
    assert KEY not in (folder.path / JOB).read_bytes()
    folder.remove()
    assert not folder.exists
    shared.remove()
    assert not shared.path.exists()


def test_data_are_copied_once_and_only_if_they_are_the_registered_ones(
    tmp_path: Path, shared: SharedFolder
) -> None:
    files = small_files(tmp_path, TERMS)
    shared.copy_data(files)
    copies = sorted(shared.data.iterdir())
    files.train.unlink()
    shared.copy_data(files)
    assert sorted(shared.data.iterdir()) == copies
    for path in copies:
        path.unlink()
    with pytest.raises(DataUnavailableError, match="cannot be read"):
        shared.copy_data(files)
    write_patients(files.train, 61, "z")
    with pytest.raises(DataError, match="changed since it was registered"):
        shared.copy_data(files)
    assert not list(shared.data.iterdir())
    anew = replace(files, train_sha256="0" * 64)
    assert anew.train_sha256[:24] not in str(copies)


def test_shared_folder_that_others_may_change_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "open"
    root.mkdir()
    root.chmod(0o777)
    with pytest.raises(StorageError, match="others may change what is in this folder"):
        SharedFolder(root, "ash", STUDY).create()
    with pytest.raises(StorageError, match="the shared folder cannot be used"):
        SharedFolder(tmp_path / "missing", "ash", STUDY).create()


def test_first_model_has_no_draw() -> None:
    request, arrays, draw = split_job(FirstModel())
    assert (request.drawn, arrays, draw) == (False, {}, b"")
