"""The SuperLink as a child process: real processes, real files, real TLS."""

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest
from flwr.supercore.constant import SUPEREXEC_AUTH_SIGNATURE_HEADER, TASK_TOKEN_HEADER
from flwr.supercore.routers.runtime import responses
from flwr.supercore.routers.runtime import router as runtime
from flwr.superlink.routers.control import router as control
from starlette.routing import Route

from privacy.errors import SuperLinkError, WireError
from privacy.keys import generate_node_key
from server.federation.certificates import TlsFiles, create_authority, issue_server_certificate
from server.superlink.bundle import make_bundle
from server.superlink.control_api import RunState, RunStatus
from server.superlink.gate import SECRET_FILE, SECRET_HEADER
from server.superlink.process import HOST, SuperLink, find_free_port
from tests.loopback import RemoteGrid, wait_for

pytestmark = pytest.mark.federation


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module", autouse=True)
def _environment(home: Path, repository: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(repository))
        patch.setenv("HOME", str(home))
        patch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")  # which nobody serves, and nobody is to ask
        yield


@pytest.fixture(scope="module")
def superlink(tmp_path_factory: pytest.TempPathFactory, certificates: TlsFiles) -> Iterator[SuperLink]:
    with SuperLink(tmp_path_factory.mktemp("federation"), certificates, find_free_port()) as running:
        yield running


@contextlib.contextmanager
def owner(
    folder: Path, tls: TlsFiles, prepare: Callable[[], object] | None = None
) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process that owns a SuperLink, and the SuperLink's process id; ``prepare`` is called in it at first."""
    command = [
        sys.executable,
        "-m",
        "tests.server.superlink.owner",
        str(folder),
        str(tls.folder),
        str(find_free_port()),
    ]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=prepare,  # noqa: PLW1509 - no thread of ours holds a lock here
    ) as process:
        assert process.stdout is not None
        try:
            yield process, int(process.stdout.readline())
        finally:
            process.kill()


def is_alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def marked_with(folder: Path) -> list[int]:
    """Processes that carry the folder in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and f"={folder / 'superlink'}\0".encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
    return found


def finished(superlink: SuperLink, run_id: int) -> RunStatus:
    def status() -> RunStatus | None:
        now = superlink.control.read_run_status(run_id)
        return now if now.state.finished else None

    ended: RunStatus = wait_for("the run to end", status)
    return ended


def test_register_node_twice_gives_the_same_node(superlink: SuperLink, tmp_path: Path) -> None:
    line = generate_node_key(tmp_path / "key")
    node = superlink.control.register_node(line)
    assert superlink.control.register_node(line) == node
    assert superlink.control.list_nodes()[node] is False


def test_register_node_after_removal_is_refused_with_the_next_step(superlink: SuperLink, tmp_path: Path) -> None:
    line = generate_node_key(tmp_path / "key")
    node = superlink.control.register_node(line)
    superlink.control.unregister_node(node)
    assert node not in superlink.control.list_nodes()
    with pytest.raises(SuperLinkError, match="must make a new one and join again"):
        superlink.control.register_node(line)


def test_register_node_with_another_kind_of_key_is_refused(superlink: SuperLink) -> None:
    with pytest.raises(WireError, match="expected a node key"):
        superlink.control.register_node("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ")


def test_run_that_finishes_is_completed(superlink: SuperLink) -> None:
    grid = RemoteGrid(superlink)
    assert superlink.control.read_run_status(grid.run_id) == RunStatus(RunState.RUNNING)
    grid.finish()
    assert finished(superlink, grid.run_id) == RunStatus(RunState.COMPLETED)
    superlink.control.stop_run(grid.run_id)


def test_run_that_is_stopped_is_stopped(superlink: SuperLink) -> None:
    grid = RemoteGrid(superlink)
    superlink.control.stop_run(grid.run_id)
    assert superlink.control.read_run_status(grid.run_id) == RunStatus(RunState.STOPPED)


def test_run_that_fails_gives_its_sentence_and_no_traceback(superlink: SuperLink, tmp_path: Path) -> None:
    run = superlink.control.start_run({"folder": str(tmp_path)}, "tests.server.superlink.failing_app:app")
    sentence = "too few sites are left: expected 3, got 2"
    assert finished(superlink, run) == RunStatus(RunState.FAILED, sentence)
    logged = (tmp_path / "failing.log").read_text()
    assert sentence in logged
    assert "Traceback" not in logged


def test_run_of_the_server_app_without_a_study_fails_with_its_sentence(superlink: SuperLink) -> None:
    run = superlink.control.start_run({"folder": "/nowhere"})
    assert finished(superlink, run).reason == "a run's configuration must name 'folder' and 'study'"


def test_run_leaves_nothing_outside_the_folder(superlink: SuperLink, home: Path) -> None:
    finished(superlink, superlink.control.start_run({"folder": "/nowhere"}))
    assert list(home.iterdir()) == []


def test_run_status_of_an_unknown_run_is_refused(superlink: SuperLink) -> None:
    with pytest.raises(SuperLinkError, match="the SuperLink refuses"):
        superlink.control.read_run_status(1)


def test_bundle_ships_no_code() -> None:
    bundle = make_bundle({"folder": "/secret/folder", "rounds": 3})
    assert len(bundle) < 1000
    assert b".py" not in bundle


def test_start_beside_a_running_owner_is_refused(superlink: SuperLink, certificates: TlsFiles) -> None:
    second = SuperLink(superlink.folder.parent, certificates, find_free_port())
    with pytest.raises(SuperLinkError, match="another process is running this federation"):
        second.start()
    assert superlink.process is not None


def test_start_on_a_taken_port_says_so(tmp_path: Path, certificates: TlsFiles) -> None:
    with socket.create_server((HOST, 0)) as taken:
        link = SuperLink(tmp_path, certificates, taken.getsockname()[1])
        with pytest.raises(SuperLinkError, match="cannot be listened on"):
            link.start()
    assert marked_with(tmp_path) == []


def test_start_with_a_broken_certificate_quotes_the_error(tmp_path: Path) -> None:
    files = create_authority(tmp_path, "broken")
    issue_server_certificate(files)
    files.key.write_text("no key")
    with pytest.raises(SuperLinkError, match=r"ended while it was starting; .*superlink\.log says: .*PEM"):
        SuperLink(tmp_path, files, find_free_port()).start()


def list_flowers_paths() -> list[str]:
    """List every path of Flower's Control and Runtime APIs, as its own routers have them."""
    routers = (control, runtime, responses.router)
    return sorted({route.path for router in routers for route in router.routes if isinstance(route, Route)})


def test_nothing_but_fleet_is_answered_on_loopback_without_the_secret(superlink: SuperLink) -> None:
    """Attack: the gateway was taken over, and shares the loopback interface with the SuperLink."""
    paths = list_flowers_paths()
    assert {"/v1/control/start-run", "/v1/runtime/acquire-task", "/v1/runtime/push-messages"} <= set(paths)
    trust = ssl.create_default_context(cafile=superlink.tls.ca)
    with httpx.Client(base_url=f"https://{superlink.address}", verify=trust, trust_env=False) as stranger:
        for wrong in ({}, {SECRET_HEADER: "0" * 64}):
            answers = {path: stranger.post(path, headers=wrong).status_code for path in paths}
            answers |= {path: stranger.get(path, headers=wrong).status_code for path in ("/docs", "/openapi.json")}
            assert set(answers.values()) == {404}, answers
        for wrong in ({TASK_TOKEN_HEADER: "0" * 64}, {SUPEREXEC_AUTH_SIGNATURE_HEADER: "0" * 64}):
            answers = {
                path: stranger.post(path, headers={**wrong, "content-type": "application/protobuf"}).status_code
                for path in paths
                if path.startswith("/v1/runtime/")
            }
            assert all(400 <= code < 500 for code in answers.values()), answers
            assert answers["/v1/runtime/acquire-task"] == 401


def test_secret_is_this_users_alone_and_another_one_with_every_start(
    tmp_path: Path, certificates: TlsFiles
) -> None:
    secrets = []
    for _ in range(2):
        with SuperLink(tmp_path, certificates, find_free_port()) as link:
            path = link.folder / SECRET_FILE
            assert path.stat().st_mode & 0o777 == 0o600
            secrets.append(path.read_text())
            processes = marked_with(tmp_path)
            assert len(processes) > 1  # the SuperLink and its SuperExec
            for pid in processes:
                assert secrets[-1].encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
    assert len(set(secrets)) == 2


def test_calls_to_a_stranger_on_the_port_are_not_answered(superlink: SuperLink, tmp_path: Path) -> None:
    other = create_authority(tmp_path, "other")
    issue_server_certificate(other)
    deceived = SuperLink(tmp_path, other, superlink.port)
    with pytest.raises(SuperLinkError, match="does not answer"):
        deceived.control.list_nodes()


def test_superlink_at_an_ipv6_address_answers_and_runs(tmp_path: Path, certificates: TlsFiles) -> None:
    with SuperLink(tmp_path, certificates, find_free_port(), "::1") as link:
        run = link.control.start_run({"folder": "/nowhere"})
        assert finished(link, run).reason == "a run's configuration must name 'folder' and 'study'"


def test_stop_leaves_no_process(tmp_path: Path, certificates: TlsFiles) -> None:
    with SuperLink(tmp_path, certificates, find_free_port()) as link:
        RemoteGrid(link)
        assert len(marked_with(tmp_path)) == 3  # SuperLink, SuperExec, ServerApp
    assert marked_with(tmp_path) == []
    link.stop()


def test_stop_after_an_interrupt_leaves_no_process(tmp_path: Path, certificates: TlsFiles) -> None:
    with owner(tmp_path, certificates) as (process, _):
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(timeout=30) == 0
    assert marked_with(tmp_path) == []


@pytest.mark.parametrize("superlink_too", [False, True], ids=["owner", "owner and SuperLink"])
def test_superlink_whose_owner_was_killed_leaves_no_process(
    tmp_path: Path, certificates: TlsFiles, superlink_too: bool
) -> None:
    ignore = partial(signal.signal, signal.SIGINT, signal.SIG_IGN)  # which Flower's programs would inherit
    with owner(tmp_path, certificates, ignore) as (process, superlink):
        wait_for("the SuperExec to start", lambda: len(marked_with(tmp_path)) == 2)
        if superlink_too:
            os.kill(superlink, signal.SIGSTOP)
        process.kill()
        process.wait()
        if superlink_too:
            os.kill(superlink, signal.SIGKILL)
        wait_for("all to have ended", lambda: marked_with(tmp_path) == [])


def test_start_after_the_owner_was_killed_stops_its_superlink_only(tmp_path: Path, certificates: TlsFiles) -> None:
    mine, other = tmp_path / "mine", tmp_path / "other"
    with owner(mine, certificates) as (process, left_over), owner(other, certificates) as (_, bystander):
        os.kill(left_over, signal.SIGSTOP)  # it cannot notice that its owner is gone
        process.kill()
        process.wait()
        assert is_alive(left_over)
        with SuperLink(mine, certificates, find_free_port()) as link:
            assert link.control.list_nodes() == {}
            assert not is_alive(left_over)
            assert is_alive(bystander)
