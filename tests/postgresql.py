"""Start a real PostgreSQL server for tests, in a folder of its own, on a Unix socket only.

A test skips where Debian's package ``postgresql`` is not installed. The server refuses to run as root: then it runs as
``nobody``.
"""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

READER: Final = "reader"
PASSWORD: Final = "f0ur-w0rds"


@dataclass(frozen=True)
class PostgreSql:
    """A server that runs: ``folder`` has its socket, ``owner`` is the user who may do everything."""

    folder: Path
    owner: str

    @property
    def url(self) -> str:
        """The URL of its database for the user ``reader``, who needs the password."""
        return f"postgresql://{READER}@/postgres?host={self.folder}"

    def run(self, script: str) -> None:
        """Run SQL as the owner."""
        _run(
            "psql",
            "-h",
            str(self.folder),
            "-U",
            self.owner,
            "-d",
            "postgres",
            "-v",
            "ON_ERROR_STOP=1",
            "-q",
            text=script,
        )


@contextlib.contextmanager
def start_postgresql() -> Iterator[PostgreSql]:
    """Start a server with a user ``reader``; stop it and remove its files at the end."""
    if _find("initdb") is None:
        pytest.skip("PostgreSQL is not installed (Debian: postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))  # the path of a socket is short
    owner = "nobody" if os.geteuid() == 0 else os.environ.get("USER", "owner")
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, "nobody")
        data = folder / "data"
        _run("initdb", "-D", str(data), "-U", owner, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        (data / "pg_hba.conf").write_text(f"local all {owner} trust\nlocal all all scram-sha-256\n")
        options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off"
        _run("pg_ctl", "-D", str(data), "-l", str(folder / "log"), "-o", options, "-w", "start")
        try:
            server = PostgreSql(folder, owner)
            server.run(f"CREATE ROLE {READER} LOGIN PASSWORD '{PASSWORD}'; GRANT pg_read_all_data TO {READER};")
            yield server
        finally:
            _run("pg_ctl", "-D", str(data), "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _find(program: str) -> str | None:
    places = [str(each) for each in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    return shutil.which(program, path=os.pathsep.join([*places, os.environ.get("PATH", "")]))


def _run(program: str, *arguments: str, text: str | None = None) -> None:
    found = _find(program)
    assert found is not None, program
    user: dict[str, Any] = {"user": "nobody", "group": "nogroup"} if os.geteuid() == 0 else {}
    done = subprocess.run(
        [found, *arguments],
        input=text,
        text=True,
        capture_output=True,
        cwd="/",
        env={"PATH": os.environ["PATH"]},
        **user,
    )
    assert done.returncode == 0, done.stderr or done.stdout
