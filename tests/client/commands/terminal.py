"""``consilium-site`` as its users type it: in this process, or as a script where that counts."""

import contextlib
import os
import pty
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner, Result

from client.cli import cli

SCRIPTS = Path(sys.executable).parent


def site(folder: Path, *arguments: str, typed: str | None = None) -> Result:
    """The command in this process, with ``typed`` on its stdin; expected failures are raised."""
    return CliRunner().invoke(cli, ["--dir", str(folder), *arguments], input=typed, catch_exceptions=False)


def at_terminal(folder: Path, typed: str, *arguments: str) -> str:
    """What the console script shows a person at a terminal who types ``typed`` and Enter."""
    here, there = pty.openpty()
    with subprocess.Popen(
        [SCRIPTS / "consilium-site", "--dir", str(folder), *arguments], stdin=there, stdout=there, stderr=there
    ) as process:
        os.close(there)
        os.write(here, f"{typed}\n".encode())
        shown = b""
        with contextlib.suppress(OSError):  # EIO: the program has ended
            while part := os.read(here, 4096):
                shown += part
        process.wait(timeout=60)
    os.close(here)
    return shown.decode()


def script(*arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The console script, with nobody at the keyboard."""
    environment = {**os.environ, **({"CONSILIUM_SITE": str(folder)} if folder else {})}
    return subprocess.run(
        [SCRIPTS / "consilium-site", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=environment,
        timeout=60,
    )


def with_data(folder: Path, *options: str) -> Path:
    """The site, once the two files beside it are registered."""
    beside = folder.parent
    site(
        folder, "data", "add", str(beside / "study.yaml"),
        "--train", str(beside / "train.csv"), "--test", str(beside / "test.csv"), *options,
    )  # fmt: skip
    return folder


def grant(folder: Path, *options: str, epsilon: str = "6", delta: str = "1e-3") -> Result:
    """Grant the population 'small' a budget for studies like the one beside the site."""
    study = str(folder.parent / "study.yaml")
    return site(
        folder, "budget", "grant", "small", "--epsilon", epsilon, "--delta", delta, "--typical", study, *options
    )
