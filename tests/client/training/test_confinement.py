"""A confined process is a real one here, and tries to reach what it must not."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.small_study import small_files, small_terms
from client.site.launcher import Confinement
from client.training import confinement
from client.training.confinement import InForce, choose_confinement, confine, make_environment
from client.training.jobs import FirstModel, ScoreModel
from client.training.worker import Worker
from privacy.errors import SiteConfigError

with_bubblewrap = pytest.mark.skipif(
    choose_confinement(Confinement.AVAILABLE).in_force is not InForce.BUBBLEWRAP,
    reason=choose_confinement(Confinement.AVAILABLE).sentence,
)
with_namespace = pytest.mark.skipif(
    confinement._try([*confinement._make_prefix(InForce.NETWORK, graphics=False), "true"]) is not None,
    reason="no network namespace may be made here",
)


def run(program: str, in_force: InForce, visible: list[Path], hidden: Path | None = None) -> str:
    command = confine([sys.executable, "-c", textwrap.dedent(program)], in_force, visible, hidden)
    done = subprocess.run(command, capture_output=True, text=True, env=make_environment(), timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def listening() -> Iterator[int]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


CONNECT = """
    import socket
    try:
        socket.create_connection(("127.0.0.1", {port}), timeout=5)
        print("reached")
    except OSError as error:
        print("not reached")
"""


@pytest.mark.parametrize(
    ("in_force", "outcome"),
    [
        pytest.param(InForce.BUBBLEWRAP, "not reached", marks=with_bubblewrap),
        pytest.param(InForce.NETWORK, "not reached", marks=with_namespace),
        (InForce.NONE, "reached"),
    ],
)
def test_network_is_out_of_reach_of_a_job(in_force: InForce, outcome: str, listening: int) -> None:
    assert run(CONNECT.format(port=listening), in_force, []) == outcome


@with_bubblewrap
def test_keys_and_ledger_are_out_of_reach_of_a_job(tmp_path: Path) -> None:
    site, data = tmp_path / "site", tmp_path / "train.csv"
    site.mkdir()
    for name in ("identity.key", "ledger.sqlite"):
        (site / name).write_text("secret")
    data.write_text("records")
    program = f"""
        import os
        for path in ({str(site / "identity.key")!r}, {str(site / "ledger.sqlite")!r}, "/etc/shadow", "/root/.bashrc",
                     "/proc/{os.getpid()}/environ", "/var/log"):
            assert not os.path.exists(path), path
        print(open({str(data)!r}).read())
        for path in ({str(data)!r}, "/new", "/usr/new"):
            try:
                open(path, "w")
            except OSError:
                pass
            else:
                print("written", path)
        open("/tmp/scratch", "w").close()
    """
    assert run(program, InForce.BUBBLEWRAP, [data], site) == "records"
    assert data.read_text() == "records"


@with_bubblewrap
def test_folder_of_the_site_within_the_program_is_covered() -> None:
    site = Path(tempfile.mkdtemp(dir=sys.prefix))
    try:
        (site / "identity.key").write_text("secret")
        (site / "train.csv").write_text("records")
        program = f"import os; print(os.listdir({str(site)!r}))"
        assert run(program, InForce.BUBBLEWRAP, [site / "train.csv"], site) == "['train.csv']"
    finally:
        shutil.rmtree(site)


@with_bubblewrap
def test_graphics_processor_is_passed_through_where_the_site_trains_on_one() -> None:
    """There may be none here; what is asked for then must still start."""
    command = confine(["/usr/bin/env", "ls", "/sys"], InForce.BUBBLEWRAP, graphics=True)
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    assert "/sys" not in confine(["true"], InForce.BUBBLEWRAP)
    devices = [str(path) for path in Path("/dev").glob("nvidia*")]
    assert all(device in command for device in devices)


@with_bubblewrap
def test_process_has_no_capability_and_no_way_to_get_one() -> None:
    program = """
        status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
        print(int(status["CapEff"], 16), int(status["CapBnd"], 16), status["NoNewPrivs"].strip())
    """
    assert run(program, InForce.BUBBLEWRAP, []) == "0 0 1"


def test_environment_of_a_job_holds_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://user:password@proxy:3128")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    environment = make_environment()
    assert environment["OMP_NUM_THREADS"] == "1"
    assert not {"HTTPS_PROXY", "AWS_SECRET_ACCESS_KEY"} & environment.keys()


def test_confinement_that_is_required_and_does_not_work_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    confinement._find_best.cache_clear()
    monkeypatch.setenv("PATH", str(tmp_path))
    try:
        with pytest.raises(SiteConfigError, match=r"bwrap is not installed; .*install and allow it, or write"):
            choose_confinement(Confinement.REQUIRED)
        found = choose_confinement(Confinement.AVAILABLE)
        assert found.in_force is InForce.NONE
        assert "not confined" in found.sentence
        assert "bwrap is not installed; unshare is not installed" in found.sentence
    finally:
        confinement._find_best.cache_clear()


def test_confinement_that_is_forbidden_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As in a container whose kernel or profile forbids namespaces: bubblewrap is there, and fails."""
    (tmp_path / "bwrap").write_text("#!/bin/sh\necho 'No permissions to create new namespace' >&2\nexit 1\n")
    (tmp_path / "bwrap").chmod(0o755)
    confinement._find_best.cache_clear()
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    try:
        with pytest.raises(SiteConfigError, match="bwrap is not permitted here: No permissions to create"):
            choose_confinement(Confinement.REQUIRED)
    finally:
        confinement._find_best.cache_clear()


@with_bubblewrap
def test_worker_trains_confined_and_sees_its_two_files(tmp_path: Path) -> None:
    terms = small_terms()
    files = small_files(tmp_path, terms)
    with Worker(
        terms, files, "cpu", tmp_path / "log", confinement=Confinement.REQUIRED, site_folder=tmp_path
    ) as one:
        start = one.run(FirstModel())
        first = one.pid
        one.run(ScoreModel(start, None))
        assert one.pid == first, "one process is enough where nobody objects"
        mounts = list_mounts(one.pid)
    assert {line for line in mounts if str(tmp_path) in line} == {str(files.train), str(files.test)}


def list_mounts(pid: int | None) -> set[str]:
    """The mount points of the process that bubblewrap ``pid`` has started."""
    child = int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
    return {line.split()[4] for line in Path(f"/proc/{child}/mountinfo").read_text().splitlines()}
