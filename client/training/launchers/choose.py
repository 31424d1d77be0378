"""Make what a site trains with, as its ``site.yaml`` says, and describe it to the site's people.

A launcher is chosen once, when the site starts. What could not train is found then, and not in the first round.
"""

import threading
from pathlib import Path
from typing import NamedTuple

from client.data.dataset import StudyFiles
from client.site.launcher import (
    Confinement,
    KubernetesLauncher,
    Launcher,
    ProcessLauncher,
    SlurmLauncher,
    find_confinement,
)
from client.training.confinement import choose_confinement
from client.training.interface import TrainingInterface
from client.training.launchers.job_folder import SharedFolder
from client.training.launchers.kubernetes import Kubernetes
from client.training.launchers.queue import Queue
from client.training.launchers.queued import QueuedTraining
from client.training.launchers.slurm import Slurm
from client.training.worker import Worker
from privacy.study import Terms


class Place(NamedTuple):
    """What every training of a site shares.

    Attributes:
        site: the site's name.
        folder: the site's folder, which no job sees.
        log_file: figures that never leave.
        device, precision: as ``client/training/device.py`` has them.
    """

    site: str
    folder: Path
    log_file: Path
    device: str
    precision: str


def describe_launcher(launcher: Launcher) -> str:
    """Describe in one sentence where training runs and what confines it.

    Raises:
        SiteConfigError: ``confinement: required``, and it does not work on this machine; or a pod would be root.
    """
    match launcher:
        case ProcessLauncher():
            return choose_confinement(launcher.confinement).sentence
        case SlurmLauncher():
            choose_confinement(launcher.confinement)  # of what runs on this machine
            how = {
                Confinement.REQUIRED: "confined on its node by bubblewrap or Landlock, or not at all done",
                Confinement.AVAILABLE: "as confined as its node allows",
                Confinement.NONE: "not confined on its node",
            }
            return f"training runs in Slurm jobs through {launcher.folder}, {how[launcher.confinement]}"
        case KubernetesLauncher():
            Kubernetes(launcher)
            return (
                f"training runs in Kubernetes Jobs of the namespace {launcher.namespace}, without network where the "
                "cluster enforces a NetworkPolicy"
            )


def make_training(
    launcher: Launcher, place: Place, study: str, terms: Terms, files: StudyFiles, stop: threading.Event
) -> TrainingInterface:
    """Make the trainer of one study.

    Args:
        launcher: of ``site.yaml``.
        place: what every training of the site shares.
        study: this launch of the study; another one of the same terms shares nothing with it.
        terms: the study.
        files: the site's registered data.
        stop: set when the site is being stopped; a job in a queue is then cancelled.
    """
    limit_s = launcher.hours * 3600
    local = Worker(
        terms,
        files,
        place.device,
        place.log_file,
        place.precision,
        confinement=find_confinement(launcher),
        site_folder=place.folder,
        limit_s=limit_s,
    )
    if isinstance(launcher, ProcessLauncher):
        return local
    queue: Queue = Slurm(launcher) if isinstance(launcher, SlurmLauncher) else Kubernetes(launcher)
    return QueuedTraining(
        terms,
        files,
        place.device,
        place.precision,
        place.log_file,
        folder=SharedFolder(Path(launcher.folder), place.site, study),
        queue=queue,
        local=local,
        poll_s=launcher.poll_s,
        limit_s=launcher.queue_hours * 3600,
        stop=stop,
    )
