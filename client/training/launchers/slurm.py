"""Submit a job to Slurm, find it, and cancel it, by sbatch, squeue and scancel.

Rules:

* a job is found by its name among this user's own. Of several of one name the newest counts;
* nothing of the site's environment goes with a job (``--export=NIL``), and a job's output goes to its own folder;
* a job that Slurm is completing has ended: it will not write a result any more that is not there yet;
* a job whose node fails is put back by Slurm (``--requeue``) and begins again, from the same draw;
* programs are run without a shell and with a time limit. A word of ``site.yaml`` is one argument.

Tried with Slurm 22.05 on one machine. Source: sbatch(1), squeue(1), scancel(1).
"""

import math
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import client
from client.site.launcher import SlurmLauncher
from client.training.launchers.job_folder import DRAW, LOG, JobFolder, SharedFolder
from client.training.launchers.queue import Phase, QueuedJob, QueueError

_COMMAND_S: Final = 60
_WAITING: Final = frozenset(
    {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT"}
)
_RUNNING: Final = frozenset({"RUNNING", "SIGNALING", "STAGE_OUT", "STOPPED", "SUSPENDED", "RESIZING"})
_VARIABLES: Final = ("PATH", "SLURM_CONF", "LANG")


class Slurm:
    """Slurm, as the site's user may use it; a :class:`~client.training.launchers.queue.Queue`."""

    def __init__(self, options: SlurmLauncher) -> None:
        self._options = options

    def submit(self, folder: SharedFolder, job: JobFolder) -> None:
        """Submit the job with a script that this program writes."""
        script = make_script(self._options, folder, job)
        _run(["sbatch", *self._list_options(job)], script)

    def find(self, name: str) -> QueuedJob | None:
        """Find the newest job of this name; Slurm forgets an ended one after some minutes."""
        listed = _run(["squeue", *_own(name), "--noheader", "--states=all", "--format=%i|%T"])
        lines = (line.partition("|") for line in listed.splitlines())
        found = [(int(number), word) for number, _, word in lines if number.isdigit()]
        if not found:
            return None
        word = max(found)[1].strip()
        phase = Phase.WAITING if word in _WAITING else Phase.RUNNING if word in _RUNNING else Phase.ENDED
        return QueuedJob(phase, word)

    def cancel(self, name: str) -> None:
        """End the job if it is waiting or running."""
        found = self.find(name)
        if found is not None and found.phase is not Phase.ENDED:
            _run(["scancel", *_own(name)])

    def forget(self, name: str) -> None:
        """Do nothing: the job ends now, and Slurm forgets it by itself."""

    def _list_options(self, job: JobFolder) -> list[str]:
        options = self._options
        words = {
            "job-name": job.name,
            "chdir": str(job.path),
            "output": str(job.path / LOG),
            "open-mode": "append",
            "export": "NIL",
            "nodes": "1",
            "ntasks": "1",
            "cpus-per-task": str(options.cpus),
            "time": str(max(1, math.ceil(options.hours * 60))),
            "partition": options.partition,
            "account": options.account,
            "gres": options.gres,
            "mem": options.memory,
        }
        return [
            "--parsable",
            "--requeue",
            *(f"--{name}={word}" for name, word in words.items() if word is not None),
        ]


def make_script(options: SlurmLauncher, folder: SharedFolder, job: JobFolder) -> str:
    """Make the script of a job: it runs this program on the node, with the job's folder and its data."""
    lines = ["#!/bin/sh", "umask 077", f"export PATH=/usr/local/bin:/usr/bin:/bin OMP_NUM_THREADS={options.cpus}"]
    if options.python is None:  # the nodes see this program where it is
        lines.append(f"export PYTHONPATH={shlex.quote(str(Path(client.__path__[0]).absolute().parent))}")
    words = [options.python or sys.executable, "-m", "client.training.launchers.batch_job"]
    words += ["--confinement", options.confinement.value, "--limit", str(options.hours * 3600)]
    words += [str(job.path), str(folder.data), str(job.path / DRAW)]
    return "\n".join([*lines, f"exec {shlex.join(words)}", ""])


def _own(name: str) -> list[str]:
    return [f"--name={name}", f"--user={os.geteuid()}"]


def _run(command: Sequence[str], given: str = "") -> str:
    """Run a program of Slurm and return what it prints.

    Raises:
        QueueError: it is not installed, fails, or does not answer.
    """
    environment = {name: os.environ[name] for name in _VARIABLES if name in os.environ}
    try:
        done = subprocess.run(
            command, input=given, capture_output=True, text=True, timeout=_COMMAND_S, env=environment, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise QueueError(f"{command[0]} cannot be used: {type(error).__name__}") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no reason given"]
        raise QueueError(f"{command[0]} ended with {done.returncode}: {lines[-1][:300]}")
    return done.stdout
