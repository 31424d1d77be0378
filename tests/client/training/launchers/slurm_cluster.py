"""A real Slurm of one machine in a folder of its own: munged, slurmctld, slurmd, ended with the test."""

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol")


def why_not() -> str | None:
    """Why there can be no Slurm here; None if there can."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        return f"{', '.join(missing)} not installed (Debian: slurm-wlm, munge)"
    return None if os.geteuid() == 0 else "a Slurm of one's own needs root"


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextlib.contextmanager
def one_machine(folder: Path) -> Iterator[Path]:
    """Start Slurm in ``folder``; yield its slurm.conf."""
    folder.mkdir(mode=0o755)
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o600)
    for name in ("state", "spool"):
        (folder / name).mkdir(mode=0o755)
    conf = folder / "slurm.conf"
    conf.write_text(f"""\
ClusterName=test
SlurmctldHost=localhost
SlurmUser=root
SlurmctldPort={free_port()}
SlurmdPort={free_port()}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
SchedulerParameters=sched_min_interval=100000,batch_sched_delay=0
MinJobAge=60
KillWait=3
NodeName=localhost CPUs=2 RealMemory=500 State=UNKNOWN
PartitionName=all Nodes=localhost Default=YES MaxTime=INFINITE State=UP
""")
    log = (folder / "programs.log").open("ab")
    environment = {**os.environ, "SLURM_CONF": str(conf)}
    munged = ["munged", "--foreground", "--force", f"--socket={folder}/munge.socket", f"--key-file={key}"]
    munged += [f"--pid-file={folder}/munged.pid", f"--seed-file={folder}/seed", f"--log-file={folder}/munged.log"]
    commands = [
        munged,
        ["slurmctld", "-D", "-i", "-f", str(conf)],
        ["slurmd", "-D", "-f", str(conf), "-N", "localhost"],
    ]
    started: list[subprocess.Popen[bytes]] = []
    try:
        for command in commands:
            started.append(subprocess.Popen(command, stdout=log, stderr=log, env=environment))
            time.sleep(0.5)
        end = time.monotonic() + 60
        while "idle" not in tell(conf, "sinfo", "--noheader", "--format=%T"):
            assert time.monotonic() < end, (folder / "programs.log").read_text()
            time.sleep(0.2)
        yield conf
        tell(conf, "scancel", f"--user={os.geteuid()}")
        end = time.monotonic() + 20
        while tell(conf, "squeue", "--noheader") and time.monotonic() < end:  # else their processes would stay
            time.sleep(0.2)
    finally:
        for process in reversed(started):
            process.terminate()
        for process in reversed(started):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            process.kill()
            process.wait()
        log.close()


def tell(conf: Path, *command: str) -> str:
    """Run a program of this Slurm; return what it prints, or nothing if it fails."""
    environment = {**os.environ, "SLURM_CONF": str(conf)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False).stdout
