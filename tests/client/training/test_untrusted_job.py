"""What comes back from the process that trains is not believed: hostile programs stand in its place here."""

import contextlib
import os
import pickle
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.small_study import small_files, small_terms
from client.data.dataset import StudyFiles
from client.data.objections import Objections, compute_patient_digest
from client.data.site_data import read_data
from client.site.launcher import Confinement
from client.training.answer_format import Answer, compute_most_bytes, pack_answer, pack_failure, read_answer
from client.training.confinement import choose_confinement
from client.training.job_format import join_job, make_setup, pack, rekey_objections, split_job, unpack
from client.training.jobs import (
    ExportModel,
    ExportPersonal,
    FirstModel,
    Job,
    ListTrained,
    ScoreModel,
    SharedRound,
    ShareRound,
    TrainedRound,
    TrainRound,
)
from client.training.session import TrainingSession
from client.training.worker import Worker
from privacy.errors import DataUnavailableError, RefusedError, TermsError, TrainingError
from privacy.mechanisms.distributed_noise import SharedNoise
from privacy.refusal_codes import RefusalCode

TERMS = small_terms()
MODEL = np.zeros(6)
DRAW = bytes(range(32))
TRAIN = TrainRound(MODEL, 3, 1.0, DRAW)
NOISE = SharedNoise(clipping_norm=1.0, noise_multiplier=1.0, parameters=6, bits=16, value_range=40.0, colluders=1)


def answer_with(program: str, folder: Path, files: StudyFiles, limit_s: float | None = 30) -> Worker:
    """A worker whose child runs ``program`` for every job, instead of training."""
    script = folder / "hostile.py"
    script.write_text(
        "import os, pickle, socket, sys, time\n"
        "import numpy as np\n"
        "from client.training import frames\n"
        "from client.training.answer_format import *\n"
        "from client.training.job_format import *\n"
        "from client.training.jobs import *\n"
        "from privacy.errors import *\n"
        "site = socket.socket(fileno=int(sys.argv[1]))\n"
        "setup = unpack(frames.receive(site, 1 << 30), Setup, 'setup')[0]\n"
        "while True:\n"
        "    job, draw = frames.receive(site, 1 << 30), frames.receive(site, 1 << 30)\n"
        "    request, arrays = unpack(job, Request, 'job')\n" + textwrap.indent(textwrap.dedent(program), "    ")
    )
    return Worker(
        TERMS,
        files,
        "cpu",
        folder / "log",
        confinement=Confinement.NONE,
        limit_s=limit_s,
        program=(sys.executable, str(script)),
    )


@pytest.fixture
def files(tmp_path: Path) -> StudyFiles:
    return small_files(tmp_path, TERMS)


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("site.sendall((1 << 60).to_bytes(8, 'little')); time.sleep(60)", "a message of .* expected at most"),
        ("frames.send(site, b'\\x00' * 100)", "expected a document and arrays"),
        ("frames.send(site, pickle.dumps(np.zeros(6)))", "expected a document and arrays"),
        ("frames.send(site, pack(Answer(request=request.digest), {})[0], b'junk')", "arrays cannot be read"),
        (
            "frames.send(site, *pack_answer(Request(job='train', number=2, noise_multiplier=1.0, drawn=True),"
            " TrainedRound(np.zeros(6), np.zeros(0))))",
            "answer to another request",
        ),
        (
            "frames.send(site, *pack_answer(request, TrainedRound(np.full(6, np.nan), np.zeros(0))))",
            "no finite numbers",
        ),
        (
            "frames.send(site, *pack_answer(request, TrainedRound(np.zeros(7), np.zeros(0))))",
            r"expected 'update' as \(6,\) float64, got \(7,\)",
        ),
        (
            "frames.send(site, *pack(Answer(request=request.digest), {'update': np.zeros(6)}))",
            "expected the arrays",
        ),
        (
            "frames.send(site, *pack_answer(request, TrainedRound(np.zeros(6), np.zeros(9))))",
            r"expected 'personal' as \(0,\) float64, got \(9,\)",
        ),
        ("os._exit(3)", "ended with exit code 3"),
        ("site.close(); time.sleep(60)", "closed its connection"),
    ],
)
def test_answer_of_a_hostile_job_is_refused(
    program: str, message: str, tmp_path: Path, files: StudyFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("client.training.worker._STOP_S", 0.5)
    with answer_with(program, tmp_path, files) as worker, pytest.raises(TrainingError, match=message):
        worker.run(TRAIN)


CARRYING = small_terms(
    training={"local_steps": 4, "sampling_rate": 0.25},
    privacy={"placement": "correlated", "correlation": {"matrix": "banded"}},
)


@pytest.mark.parametrize(
    ("carried", "message"),
    [
        (np.zeros((3, 6)), ""),
        (None, "expected the arrays update, personal, carried"),
        (np.zeros((2, 6)), r"expected 'carried' as \(3, 6\) float64, got \(2, 6\)"),
        (np.zeros((3, 6), dtype=np.float32), r"expected 'carried' as \(3, 6\) float64, got \(3, 6\) float32"),
        (np.full((3, 6), np.inf), "no finite numbers"),
    ],
)
def test_noise_that_a_job_hands_on_has_the_shape_of_the_study(
    carried: NDArray[np.float64] | None, message: str
) -> None:
    job = TrainRound(np.zeros(6), 1, 1.0, bytes(32), carried=np.ones((3, 6)))
    request, arrays, draw = split_job(job)
    np.testing.assert_array_equal(join_job(request, arrays, draw).carried, job.carried)  # type: ignore[attr-defined]
    answer = b"".join(pack_answer(request, TrainedRound(np.zeros(6), np.zeros(0), carried)))
    assert len(answer) <= compute_most_bytes(request, arrays, CARRYING)
    with pytest.raises(TrainingError, match=message) if message else contextlib.nullcontext():
        read_answer(answer, request, arrays, CARRYING, with_records=True)


def test_answer_that_is_a_pickle_runs_nothing(tmp_path: Path, files: StudyFiles) -> None:
    trace = tmp_path / "executed"

    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(trace),)

    bomb = pickle.dumps(Bomb())
    with (
        answer_with(f"frames.send(site, {bomb!r})", tmp_path, files) as worker,
        pytest.raises(TrainingError, match="expected a document"),
    ):
        worker.run(TRAIN)
    assert not trace.exists()


def test_job_that_hangs_is_ended_and_the_next_call_starts_another(tmp_path: Path, files: StudyFiles) -> None:
    """It sends half of a message first, so that a limit on silence alone would not be enough."""
    with answer_with("site.sendall(bytes(3)); time.sleep(100)", tmp_path, files, limit_s=1.5) as worker:
        began = time.monotonic()
        for _ in range(2):
            with pytest.raises(TrainingError, match=r"took longer than 1\.5 s and was ended"):
                worker.run(TRAIN)
        assert time.monotonic() - began < 60


def test_words_of_a_job_that_reads_records_do_not_leave(tmp_path: Path, files: StudyFiles) -> None:
    """A refusal's own words go to the coordinator (``client/study/problem.py``): a record must not ride on them."""
    program = "frames.send(site, *pack_failure(request, TermsError('patient a7 is ill')))"
    with answer_with(program, tmp_path, files) as worker:
        with pytest.raises(TermsError, match="refused by its own checks") as caught:
            worker.run(TRAIN)
        assert "a7" not in str(caught.value)


def test_words_that_leave_are_of_a_process_that_sees_no_file(files: StudyFiles, tmp_path: Path) -> None:
    if not choose_confinement(Confinement.AVAILABLE).hides_files:
        pytest.skip("neither bubblewrap nor Landlock works here")
    program = f"""
import socket, sys
from client.training import frames
from client.training.answer_format import pack_failure
from client.training.job_format import Request, Setup, unpack
from privacy.errors import TermsError
site = socket.socket(fileno=int(sys.argv[1]))
unpack(frames.receive(site, 1 << 30), Setup, "setup")
while True:
    job, draw = frames.receive(site, 1 << 30), frames.receive(site, 1 << 30)
    path = {str(files.train)!r}
    try:
        words = "the file says: " + open(path).read()
    except OSError:
        words = "the file says: nothing"
    frames.send(site, *pack_failure(unpack(job, Request, "job")[0], TermsError(words)))
"""
    with Worker(TERMS, files, "cpu", tmp_path / "log", program=(sys.executable, "-c", program)) as worker:
        with pytest.raises(TermsError, match=r"^the file says: nothing$"):
            worker.run(FirstModel())
        with pytest.raises(TermsError, match="refused by its own checks"):
            worker.run(TRAIN)


def test_process_that_was_not_told_who_objects_trains_nobody(tmp_path: Path, files: StudyFiles) -> None:
    """The first model needs no identifier; the first round starts a process that knows who is left out."""
    secret = bytes(32)
    objections = Objections(secret, {compute_patient_digest(secret, "a1"): ""})
    with Worker(TERMS, replace(files, objections=objections), "cpu", tmp_path / "log") as worker:
        start = worker.run(FirstModel())
        first = worker.pid
        update = worker.run(TrainRound(start, 1, 1.0, DRAW)).update
        assert worker.pid != first
    here = TrainingSession(TERMS, replace(files, objections=objections), "cpu")
    np.testing.assert_allclose(update, here.run(TrainRound(start, 1, 1.0, DRAW)).update, atol=1e-7)


def test_refusal_of_a_job_is_only_about_weights() -> None:
    request = split_job(FirstModel())[0]
    weights = RefusedError(RefusalCode.WEIGHTS, "the public weights are gone")
    with pytest.raises(RefusedError, match="are gone"):
        read_answer(b"".join(pack_failure(request, weights)), request, {}, TERMS, with_records=False)
    other = RefusedError(RefusalCode.LOST, "the folder was lost")
    with pytest.raises(TrainingError, match="was lost"):
        read_answer(b"".join(pack_failure(request, other)), request, {}, TERMS, with_records=False)
    gone = DataUnavailableError("train.csv: cannot be read")
    with pytest.raises(DataUnavailableError, match="cannot be read"):
        read_answer(b"".join(pack_failure(request, gone)), request, {}, TERMS, with_records=True)


@pytest.mark.parametrize(
    ("job", "answer"),
    [
        (FirstModel(), np.arange(6.0)),
        (ExportModel(MODEL), {"layer.weight": np.ones((2, 3), np.float32)}),
        (ExportPersonal(None), {}),
        (TRAIN, TrainedRound(np.arange(6.0), np.zeros(0))),
        (
            TrainRound(MODEL, 1, None, DRAW, np.ones(6), np.zeros(0)),
            TrainedRound(np.arange(6.0), np.zeros(0)),
        ),
        (
            ShareRound(MODEL, 1, NOISE, 10**30, DRAW),
            SharedRound(np.arange(6, dtype=np.uint32), np.zeros(0)),
        ),
        (ScoreModel(MODEL, None), tuple(range(-3, 17))),
        (ScoreModel(MODEL, 2.0, np.zeros(2), DRAW), tuple(range(20))),
        (ListTrained(2), None),
        (ListTrained(2), ((0, 2), (4, 6))),
    ],
)
def test_job_and_answer_cross_as_bytes(job: Job[object], answer: object) -> None:
    request, arrays, draw = split_job(job)
    sent = b"".join(pack(request, arrays))
    if draw:
        assert draw not in sent
    again, read = unpack(sent, type(request), "job")
    rebuilt = split_job(join_job(again, read, draw))
    assert rebuilt[0] == request
    assert {name: array.tolist() for name, array in rebuilt[1].items()} == {
        name: array.tolist() for name, array in arrays.items()
    }
    data = b"".join(pack_answer(request, answer))
    assert len(data) < compute_most_bytes(request, arrays, TERMS)
    got = read_answer(data, request, arrays, TERMS, with_records=True)
    np.testing.assert_equal(got, answer)
    assert type(got) is type(answer)


@pytest.mark.parametrize(
    "arrays",
    [
        {"ranges": np.array([[4, 6], [0, 2]])},
        {"ranges": np.array([[-1, 6]])},
        {"ranges": np.array([1, 2])},
        {"more": np.zeros(2)},
    ],
)
def test_ranges_that_are_none_are_refused(arrays: dict[str, np.ndarray]) -> None:
    request = split_job(ListTrained(1))[0]
    data = b"".join(pack(Answer(request=request.digest), arrays))
    with pytest.raises(TrainingError, match="expected"):
        read_answer(data, request, {}, TERMS, with_records=True)


def test_draw_of_another_length_is_refused() -> None:
    request, arrays, _ = split_job(TRAIN)
    with pytest.raises(TrainingError, match="came with a draw of 5 bytes"):
        join_job(request, arrays, b"12345")


def test_objections_reach_a_job_without_the_key_of_the_site(tmp_path: Path, files: StudyFiles) -> None:
    secret = os.urandom(32)
    named = {compute_patient_digest(secret, name): "2026-01-01" for name in ("a1", "b2", "elsewhere")}
    rekeyed = rekey_objections(replace(files, objections=Objections(secret, named)))
    setup = make_setup(TERMS, rekeyed, "cpu", "float32")
    assert secret.hex().encode() not in setup.to_bytes()
    assert not any(digest.hex().encode() in setup.to_bytes() for digest in named)
    assert setup.excluded is not None
    assert len(setup.excluded.digests) == 2
    there = setup.to_study_files()
    assert set(read_data(there.contract, there.train).ids) - set(
        read_data(there.contract, there.train, there.objections).ids
    ) == {"a1"}
    assert len(read_data(there.contract, there.test, there.objections).ids) == 29
    assert rekey_objections(rekeyed).objections == rekeyed.objections
