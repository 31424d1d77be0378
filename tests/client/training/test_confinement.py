"""A confined process is a real one here, and tries to reach what it must not."""

import errno
import os
import platform
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
from client.training.confinement import Found, InForce, confine, make_environment
from client.training.jobs import FirstModel, ScoreModel
from client.training.worker import Worker
from privacy.errors import TrainingError
from tests.client.training import without_calls
from tests.client.training.without_calls import LANDLOCK_CREATE, SECCOMP

BUBBLEWRAP, LANDLOCK, FILTER = (Found(kind, "") for kind in (InForce.BUBBLEWRAP, InForce.LANDLOCK, InForce.FILTER))
NONE = Found(InForce.NONE, "", filters_calls=False)


def _mark(found: Found) -> pytest.MarkDecorator:
    why = confinement._try(confine([sys.executable, "-S", "-c", ""], found))
    return pytest.mark.skipif(why is not None, reason=f"{found.in_force}: {why}")


with_bubblewrap, with_landlock, with_filter = map(_mark, (BUBBLEWRAP, LANDLOCK, FILTER))
EVERY_WAY = [
    pytest.param(BUBBLEWRAP, marks=with_bubblewrap, id="bubblewrap"),
    pytest.param(BUBBLEWRAP._replace(filters_calls=False), marks=with_bubblewrap, id="bubblewrap-unfiltered"),
    pytest.param(LANDLOCK, marks=with_landlock, id="landlock"),
    pytest.param(FILTER, marks=with_filter, id="filter"),
    pytest.param(NONE, id="none"),
]


def run(program: str, found: Found, visible: list[Path], hidden: Path | None = None) -> str:
    command = confine([sys.executable, "-c", textwrap.dedent(program)], found, visible, hidden)
    done = subprocess.run(
        command, capture_output=True, text=True, env=make_environment(), cwd="/", timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def listening() -> Iterator[int]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


@pytest.fixture
def victim() -> Iterator[int]:
    """Another process of the same user, with a secret in its environment."""
    with subprocess.Popen(
        ["/usr/bin/env", "sleep", "60"], env={"SECRET": "password", "PATH": "/usr/bin:/bin"}
    ) as one:
        yield one.pid
        one.kill()


ATTACK = """
    import ctypes, os, socket
    system = ctypes.CDLL(None, use_errno=True)

    def attempt(name, action):
        try:
            if action() != -1:
                print(name)
        except OSError:
            pass

    def connect():
        socket.create_connection(("127.0.0.1", {port}), timeout=5).close()

    def read_memory():
        piece = (ctypes.c_uint64 * 2)(ctypes.addressof(ctypes.create_string_buffer(8)), 8)
        return -1 if system.process_vm_readv({victim}, piece, 1, piece, 1, 0) == -1 and ctypes.get_errno() != 14 else 0

    attempt("network", connect)
    attempt("unix socket", lambda: socket.socket(socket.AF_UNIX).connect({unix!r}))
    attempt("key", lambda: open({key!r}).read())
    attempt("environment", lambda: open("/proc/{victim}/environ").read())
    attempt("memory", read_memory)
    attempt("trace", lambda: system.ptrace(0x4206, {victim}, 0, 0))  # PTRACE_SEIZE
    attempt("signal", lambda: os.kill({victim}, 0))
    attempt("namespace", lambda: system.unshare(0x20000))
    attempt("namespace by clone", lambda: system.syscall(56, 0x10000000 | 17, 0, 0, 0, 0) or os._exit(0))
    attempt("kernel's keys", lambda: system.syscall(250, 0, -3, 0, 0, 0))  # KEYCTL_GET_KEYRING_ID
    attempt("", lambda: open({data!r} + ".new", "w").close())
"""
EVERYTHING = {
    "network",
    "unix socket",
    "key",
    "environment",
    "memory",
    "trace",
    "signal",
    "namespace",
    "namespace by clone",
    "kernel's keys",
    "write beside the data",
}
OF_FILES = {"key", "write beside the data"}
UNFILTERED = {"namespace by clone", "kernel's keys"}
"""What bubblewrap alone leaves: of its own namespaces, and without rights outside them."""
REACHED = {
    (InForce.BUBBLEWRAP, True): set(),
    (InForce.BUBBLEWRAP, False): UNFILTERED,
    (InForce.LANDLOCK, True): set(),
    (InForce.FILTER, True): OF_FILES,  # root's process looks into no other one without a capability; a user's would
    (InForce.NONE, False): EVERYTHING,
}


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the attacker knows the system calls of x86-64")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root has all that an unconfined process could take")
@pytest.mark.parametrize("found", EVERY_WAY)
def test_job_reaches_what_its_confinement_leaves_and_no_more(
    found: Found, listening: int, victim: int, tmp_path: Path
) -> None:
    site, data = tmp_path / "site", tmp_path / "train.csv"
    site.mkdir()
    (site / "identity.key").write_text("secret")
    data.write_text("records")
    with tempfile.TemporaryDirectory() as short, socket.socket(socket.AF_UNIX) as operator:
        operator.bind(f"{short}/operator")
        operator.listen()
        program = ATTACK.format(
            port=listening, victim=victim, unix=f"{short}/operator", key=str(site / "identity.key"), data=str(data)
        )
        reached = set(run(program, found, [data], site).split("\n")) - {""}
    if data.with_name("train.csv.new").exists():
        reached.add("write beside the data")
    assert reached == REACHED[found.in_force, found.filters_calls]


@pytest.mark.parametrize("graphics", [False, True])
@pytest.mark.parametrize("found", EVERY_WAY[:1] + EVERY_WAY[2:4])
def test_network_is_out_of_reach_with_a_graphics_processor_as_well(
    found: Found, graphics: bool, listening: int
) -> None:
    """Only sockets of this machine are left, which its driver may use."""
    program = f"""
        import socket
        for family, address in ((socket.AF_INET, ("127.0.0.1", {listening})), (socket.AF_UNIX, "/nobody")):
            try:
                socket.socket(family).connect(address)
                print("reached")
            except OSError as error:
                print(error.errno)
    """
    command = confine([sys.executable, "-c", textwrap.dedent(program)], found, graphics=graphics)
    done = subprocess.run(command, capture_output=True, text=True, env=make_environment(), cwd="/", check=True)
    inet, unix = done.stdout.split()
    assert int(inet) == errno.EPERM
    assert int(unix) == errno.EPERM  # to make it, or to connect it


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
    assert run(program, BUBBLEWRAP, [data], site) == "records"
    assert data.read_text() == "records"


@with_bubblewrap
def test_folder_of_the_site_within_the_program_is_covered() -> None:
    site = Path(tempfile.mkdtemp(dir=sys.prefix))
    try:
        (site / "identity.key").write_text("secret")
        (site / "train.csv").write_text("records")
        program = f"import os; print(os.listdir({str(site)!r}))"
        assert run(program, BUBBLEWRAP, [site / "train.csv"], site) == "['train.csv']"
    finally:
        shutil.rmtree(site)


@with_bubblewrap
def test_graphics_processor_is_passed_through_where_the_site_trains_on_one() -> None:
    """There may be none here; what is asked for then must still start."""
    command = confine(["/usr/bin/env", "ls", "/sys"], BUBBLEWRAP, graphics=True)
    subprocess.run(command, check=True, capture_output=True, timeout=60, env=make_environment())
    assert "/sys" not in confine(["true"], BUBBLEWRAP)
    devices = [str(path) for path in Path("/dev").glob("nvidia*")]
    assert all(device in command for device in devices)


@with_bubblewrap
def test_process_has_no_capability_and_no_way_to_get_one() -> None:
    program = """
        status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
        print(int(status["CapEff"], 16), int(status["CapBnd"], 16), status["NoNewPrivs"].strip())
    """
    assert run(program, BUBBLEWRAP, []) == "0 0 1"


def test_environment_of_a_job_holds_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://user:password@proxy:3128")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    environment = make_environment()
    assert environment["OMP_NUM_THREADS"] == "1"
    assert not {"HTTPS_PROXY", "AWS_SECRET_ACCESS_KEY"} & environment.keys()


def on_a_machine_without(calls: tuple[int, ...], wanted: Confinement, path: str) -> str:
    """Return what is chosen where the kernel has no such calls and no program but those in the folder ``path``."""
    program = f"""
        from client.site.launcher import Confinement
        from client.training.confinement import choose_confinement
        from privacy.errors import SiteConfigError

        try:
            print(choose_confinement(Confinement({wanted.value!r})).sentence)
        except SiteConfigError as error:
            print(error)
    """
    environment = {**make_environment(), "PATH": path}
    done = subprocess.run(
        [
            *(sys.executable, without_calls.__file__, ",".join(map(str, calls))),
            *(sys.executable, "-c", textwrap.dedent(program)),
        ],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


on_x86_64 = pytest.mark.skipif(platform.machine() != "x86_64", reason="these calls have other numbers here")


@on_x86_64
@with_landlock
def test_machine_without_bubblewrap_confines_by_landlock(tmp_path: Path) -> None:
    said = on_a_machine_without((), Confinement.REQUIRED, str(tmp_path))
    assert said == (
        "training is confined by Landlock: no network, only this study's files, system calls filtered; it sees the "
        "names of other processes (bwrap is not installed)"
    )


@on_x86_64
@with_filter
def test_old_kernel_leaves_the_filter_and_says_what_it_cannot_hide(tmp_path: Path) -> None:
    said = on_a_machine_without((LANDLOCK_CREATE,), Confinement.AVAILABLE, str(tmp_path))
    assert said == (
        "training has no network, but could read what the site's user may read (bwrap is not installed; the kernel "
        "refuses Landlock: Function not implemented)"
    )


@on_x86_64
def test_confinement_that_is_required_and_does_not_work_is_an_error(tmp_path: Path) -> None:
    nothing = (LANDLOCK_CREATE, SECCOMP)
    assert on_a_machine_without(nothing, Confinement.REQUIRED, str(tmp_path)) == (
        "site.yaml says confinement: required, and neither bubblewrap nor Landlock works here: bwrap is not installed; "
        "the kernel refuses Landlock: Function not implemented; the kernel refuses the filter of system calls: "
        "Function not implemented; install and allow one of them, or write confinement: available"
    )
    said = on_a_machine_without(nothing, Confinement.AVAILABLE, str(tmp_path))
    assert said.startswith("training is not confined: it has what the site's user has (bwrap is not installed; ")


@on_x86_64
@with_bubblewrap
def test_kernel_without_filters_leaves_bubblewrap_and_says_so() -> None:
    said = on_a_machine_without((SECCOMP,), Confinement.REQUIRED, os.environ["PATH"])
    assert said == (
        "training is confined by bubblewrap: no network, and only this study's files; system calls are not filtered "
        "(the kernel refuses the filter of system calls: Function not implemented)"
    )


@on_x86_64
@with_landlock
def test_bubblewrap_that_is_forbidden_says_so(tmp_path: Path) -> None:
    """As in a container whose kernel or profile forbids namespaces: bubblewrap is there, and fails."""
    (tmp_path / "bwrap").write_text("#!/bin/sh\necho 'No permissions to create new namespace' >&2\nexit 1\n")
    (tmp_path / "bwrap").chmod(0o755)
    said = on_a_machine_without((), Confinement.AVAILABLE, str(tmp_path))
    assert "confined by Landlock" in said
    assert said.endswith("(bwrap is not permitted here: No permissions to create new namespace)")


@with_landlock
def test_worker_trains_under_landlock_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Torch, the data and the figures need no file but the study's and the program's, and write none."""
    terms = small_terms()
    files = small_files(tmp_path, terms)
    confinement._find_best.cache_clear()
    monkeypatch.setenv("PATH", str(tmp_path))
    try:
        with Worker(
            terms, files, "cpu", tmp_path / "log", confinement=Confinement.REQUIRED, site_folder=tmp_path
        ) as one:
            start = one.run(FirstModel())
            one.run(ScoreModel(start, None))
            status = Path(f"/proc/{one.pid}/status").read_text()
    finally:
        confinement._find_best.cache_clear()
    assert "Seccomp_filters:\t1" in status


@with_landlock
def test_landlock_does_not_start_where_it_cannot_hide_the_site() -> None:
    with pytest.raises(
        TrainingError, match="cannot hide the site's folder within folders that the process reads; move it"
    ):
        confine(["true"], LANDLOCK, hidden=Path(sys.prefix) / "site")


def test_program_whose_rights_cannot_be_given_up_is_not_started() -> None:
    command = [
        sys.executable,
        "-S",
        "-P",
        "-m",
        "client.training.restrict",
        "--files",
        "--read",
        "/proc/self/mem/x",
    ]
    done = subprocess.run(
        [*command, "--", "/usr/bin/env", "echo", "started"], capture_output=True, text=True, env=make_environment()
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("the kernel refuses Landlock: ")


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
