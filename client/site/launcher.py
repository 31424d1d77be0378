"""Where a site's training runs, as ``site.yaml`` says under ``launcher``: a process, Slurm, or Kubernetes.

::

    launcher: {kind: process, confinement: required}

    launcher:
      kind: slurm
      folder: /shared/consilium       # that site and nodes see under the same path
      partition: gpu
      gres: "gpu:1"

Rules:

* without a word training runs in a process on this machine, as confined as the machine allows;
* what is written here goes to a program as one argument, or into a manifest as one value: patterns allow no text that
  could be read as more than that.

``client/training/launchers/`` does what these options say.
"""

from enum import StrEnum
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from privacy.document import Document, make_text_field


class Confinement(StrEnum):
    """How much a site insists on that training is confined (``client/training/confinement.py``)."""

    REQUIRED = "required"
    """By bubblewrap or Landlock, or the site does not train."""
    AVAILABLE = "available"
    """By the best that works on the machine."""
    NONE = "none"
    """Not at all."""


def _require_absolute(path: str) -> str:
    if not PurePosixPath(path).is_absolute() or "\0" in path or "\n" in path:
        raise ValueError(f"expected a path from the root, such as /shared/consilium, got '{path}'")
    return path


AbsolutePath = Annotated[str, Field(max_length=1000), AfterValidator(_require_absolute)]
Word = Annotated[
    str,
    Field(max_length=200),
    make_text_field(r"^[A-Za-z0-9][A-Za-z0-9_.:@,=*/-]*$", "letters, digits and _.:@,=*/-"),
]
Quantity = Annotated[
    str,
    Field(max_length=20),
    make_text_field(r"^[0-9]+(\.[0-9]+)?[A-Za-z]{0,2}$", "a number and a unit: 16Gi"),
]
ObjectName = Annotated[
    str,
    Field(max_length=63),
    make_text_field(
        r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", "a name of Kubernetes: lower-case letters, digits and dashes"
    ),
]
Hours = Annotated[float, Field(gt=0, le=24 * 30)]


class ProcessLauncher(Document):
    """Train in a child process on this machine, which stays warm between rounds.

    Attributes:
        confinement: what keeps the process from network, keys and ledger.
        hours: a job that takes longer is ended.
    """

    kind: Literal["process"] = "process"
    confinement: Confinement = Confinement.AVAILABLE
    hours: Hours = 24.0


class SlurmLauncher(Document):
    """Train in a job of Slurm; a job's data go through a folder that the site and the nodes share.

    Attributes:
        folder: the shared folder, of which only the site's user may read.
        confinement: of the training on the node.
        hours: after which Slurm ends the job, and the site its wait beyond the queue.
        queue_hours: how long the site waits for a job altogether, queue included.
        python: the interpreter on the nodes that has this program; None: the path of the site's own.
        partition, account, gres, cpus, memory: as sbatch(1) has them.
        poll_s: how often the site looks, in seconds.
    """

    kind: Literal["slurm"]
    folder: AbsolutePath
    confinement: Confinement = Confinement.AVAILABLE
    hours: Hours = 24.0
    queue_hours: Hours = 72.0
    python: AbsolutePath | None = None
    partition: Word | None = None
    account: Word | None = None
    gres: Word | None = None
    cpus: int = Field(default=1, ge=1, le=1024)
    memory: Word | None = None
    poll_s: float = Field(default=5.0, ge=0.1, le=600)


class KubernetesLauncher(Document):
    """Train in a Job of Kubernetes, a Job a round; its data go through a volume that the site mounts too.

    Attributes:
        namespace: in which the site may make Jobs, Secrets and NetworkPolicies, and nothing else runs.
        image: the container image of this program, with its digest.
        claim: the PersistentVolumeClaim of the shared folder.
        folder: where the site sees this volume.
        user: the user id of the pod, which must be the one that owns the site's files; None: the site's own.
        gpus, cpu, memory: of the pod.
        hours, queue_hours, poll_s: as in :class:`SlurmLauncher`.
    """

    kind: Literal["kubernetes"]
    namespace: ObjectName
    image: Annotated[
        str,
        Field(max_length=500),
        make_text_field(
            r"^[a-z0-9][A-Za-z0-9._:/-]*@sha256:[0-9a-f]{64}$", "an image with its digest: registry/name@sha256:..."
        ),
    ]
    claim: ObjectName
    folder: AbsolutePath
    user: int | None = Field(default=None, ge=1, le=2**31 - 1)
    gpus: int = Field(default=0, ge=0, le=64)
    cpu: Quantity = "1"
    memory: Quantity = "4Gi"
    hours: Hours = 24.0
    queue_hours: Hours = 72.0
    poll_s: float = Field(default=5.0, ge=0.1, le=600)


Launcher = Annotated[ProcessLauncher | SlurmLauncher | KubernetesLauncher, Field(discriminator="kind")]


def find_confinement(launcher: Launcher) -> Confinement:
    """Return how much a site insists on that its processes on this machine are confined."""
    return Confinement.AVAILABLE if isinstance(launcher, KubernetesLauncher) else launcher.confinement
