"""The coordinator's Flower SuperLink: a child process, and the calls of its Control API.

* TLS, node authentication, an SQLite state and the loopback interface are always used. A gateway publishes only
  ``/v1/fleet/`` and ``/health``. Flower's Control API has no authentication, and with it one controls the federation:
  the gate answers it only with a secret that is made anew for every start, in a file that this user alone can read.
* No telemetry is sent, no file is written outside the folder, and nothing is installed at run time.
* A run's bundle contains no code (``server/superlink/bundle.py``).
* A lock allows one SuperLink per folder; the kernel releases it when the owner ends.
* The SuperLink ends with its owner, even if the owner is killed: it reads a pipe whose other end the owner holds,
  and stops all that it started (``server/superlink/program.py``).
* Processes that are left nevertheless have the folder's name in their environment. They are stopped before a new
  start, and no other process is signalled (``server/superlink/process_tags.py``).
"""

import contextlib
import os
import secrets
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from flwr.proto.control_pb2 import ListRunsRequest

from privacy.address import join_address
from privacy.errors import SuperLinkError
from privacy.files import take_lock
from privacy.keys import SECRET_BYTES, write_secret
from server.federation.certificates import TlsFiles
from server.superlink.control_api import RUNS_LOOKED_AT, ControlApi
from server.superlink.database import make_database_url
from server.superlink.gate import SECRET_FILE
from server.superlink.output_log import LinkLog
from server.superlink.process_tags import OWNER, TAG, stop_tagged

HOST: Final = "127.0.0.1"
_START_S: Final = 60.0
_ALLOCATION: Final = {
    "MALLOC_ARENA_MAX": "2",
    "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0",
    "MALLOC_MMAP_THRESHOLD_": "131072",
    "MALLOC_TRIM_THRESHOLD_": "131072",
}
"""Make the C library return freed memory, instead of keeping a heap, or what was freed last, for each of Flower's 40
threads. Source: "Memory Allocation Tunables" of the GNU C Library's manual."""


class SuperLink:
    """The SuperLink of one federation folder; its files are in ``folder/superlink``.

    Use as a context manager, or :meth:`start` and :meth:`stop`.

    Args:
        folder: the federation's folder.
        tls: its authority and server certificate.
        port: where to listen; sites know it, so it stays the same after a restart.
        host: an address of the loopback interface; or 0.0.0.0 or ::, where a gateway is in another container.
    """

    def __init__(self, folder: Path, tls: TlsFiles, port: int, host: str = HOST) -> None:
        self.folder = folder.resolve() / "superlink"
        self.tls = tls
        self.port = port
        self.host = host
        self.address = join_address(host, port)
        local = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - named, not bound
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: int | None = None
        self._lifeline: int | None = None
        self._output: LinkLog | None = None
        self.control = ControlApi(local, port, tls.ca, self.folder / SECRET_FILE, self._describe_last_lines)
        """Runs and nodes, once the child answers."""

    @property
    def log(self) -> Path:
        """The log of Flower's processes."""
        return self.folder / "superlink.log"

    @property
    def process(self) -> int | None:
        """The child's process id while it runs; else None."""
        return None if self._process is None or self._process.poll() is not None else self._process.pid

    def start(self) -> None:
        """Start the child and wait until it answers; processes that a killed owner left are stopped first.

        Raises:
            SuperLinkError: another owner uses this folder, the port is taken, or the child does not start.
        KeyFileError: the secret of this start cannot be written.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # The lock comes first: without it, the tagged processes may belong to another owner.
        self._take_lock()
        try:
            self._stop_processes()
            self._require_free_port()
            (self.folder / SECRET_FILE).unlink(missing_ok=True)
            write_secret(self.folder / SECRET_FILE, secrets.token_hex(SECRET_BYTES).encode("ascii"))
            self._process = self._spawn()
            self._output = LinkLog(self.log, self._process)
            self._wait_until_it_answers(self._process)
            self._end_orphaned_runs()
        except BaseException:
            self.stop()
            raise

    def _spawn(self) -> "subprocess.Popen[bytes]":
        # The child gets the read end. The write end is closed by the kernel if this process is killed.
        theirs, self._lifeline = os.pipe()
        try:
            return subprocess.Popen(
                self._build_command(),
                env=self._build_environment() | {OWNER: str(theirs)},
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=[theirs],
            )
        finally:
            os.close(theirs)

    def stop(self) -> None:
        """Stop the child and all that it started; a second call has no effect."""
        if self._lock is None:
            return
        self.control.close()
        self._stop_processes()
        self._process = None
        if self._output is not None:
            self._output.close()
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None
        # The lock is released last, so that the next owner finds no process of this one.
        os.close(self._lock)
        self._lock = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _build_command(self) -> list[str]:
        return [
            *(sys.executable, "-P", "-m", "server.superlink.program"),
            *("--host", self.host, "--port", str(self.port)),
            *("--ssl-ca-certfile", str(self.tls.ca.resolve())),
            *("--ssl-certfile", str(self.tls.certificate.resolve())),
            *("--ssl-keyfile", str(self.tls.key.resolve())),
            *("--database", make_database_url(str(self.folder / "state.sqlite"))),
            "--enable-supernode-auth",
            "--disable-runtime-dependency-installation",
        ]

    def _build_environment(self) -> dict[str, str]:
        # No proxy: its connections stay on this machine. Flower finds its other programs on the PATH.
        own = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        return own | {
            "NO_PROXY": "*",
            "PATH": f"{_find_programs_folder()}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "FLWR_HOME": str(self.folder / "flower"),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "FLWR_LOG_LEVEL": "WARNING",
            "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "5",
            **_ALLOCATION,
            TAG: str(self.folder),
        }

    def _take_lock(self) -> None:
        if self._lock is not None:
            raise SuperLinkError("this SuperLink is started already")
        self._lock = take_lock(self.folder / "lock")
        if self._lock is None:
            raise SuperLinkError(f"{self.folder.parent}: another process is running this federation; stop it first")

    def _require_free_port(self) -> None:
        try:
            family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
            socket.create_server((self.host, self.port), family=family).close()
        except OSError as error:
            raise SuperLinkError(
                f"{self.address} cannot be listened on ({error.strerror}); free that port, or name another one in "
                "coordinator.yaml (port)"
            ) from None

    def _wait_until_it_answers(self, process: subprocess.Popen[bytes]) -> None:
        end = time.monotonic() + _START_S
        while True:
            if process.poll() is not None:
                raise SuperLinkError(f"the SuperLink ended while it was starting; {self._describe_last_lines()}")
            with contextlib.suppress(SuperLinkError):
                self.control._fetch_nodes()
                return
            if time.monotonic() > end:
                raise SuperLinkError(
                    f"the SuperLink does not answer after {_START_S:.0f} s; {self._describe_last_lines()}"
                )
            time.sleep(0.1)

    def _end_orphaned_runs(self) -> None:
        """Stop runs that ended with an earlier SuperLink: Flower would count them as running for another minute."""
        runs = self.control.call(lambda control: control.ListRuns(ListRunsRequest(limit=RUNS_LOOKED_AT))).run_dict
        for run_id, run in runs.items():
            if run.status.status != "finished":
                self.control.stop_run(run_id)

    def _describe_last_lines(self) -> str:
        """Describe the end of the log: the last error of this child, or its last line."""
        return f"{self.log} says: {self._output.read_last_lines() if self._output else 'nothing'}"

    def _stop_processes(self) -> None:
        stop_tagged(TAG, str(self.folder))
        if self._process is not None:
            self._process.wait()


def find_free_port() -> int:
    """Find a port of the loopback interface on which no process listens now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _find_programs_folder() -> Path:
    return Path(sys.executable).parent
