"""Submit a job to Kubernetes, find it, and cancel it, by kubectl.

Rules:

* the order: the policy that denies the network, the Job (suspended), its Secret, and only then the Job may start. A
  site that is killed in between finds a suspended Job, removes it, and begins again;
* the draw goes to kubectl by its standard input, never by its arguments. The pod reads it from the Secret; the job's
  folder has it too (0600), so that a site that was killed makes the Secret again from the same draw;
* what the cluster answers is read for a uid and a state, of declared form, and nothing else.

Never run on a cluster: the manifests are checked against the API's schemas, and the calls against a program that
records them. Source: kubectl reference, Kubernetes 1.30.
"""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from client.site.launcher import KubernetesLauncher
from client.training.launchers.job_folder import DRAW, JobFolder, SharedFolder
from client.training.launchers.manifests import Manifest, Plan, make_job, make_policy, make_secret
from client.training.launchers.queue import Phase, QueuedJob, QueueError
from privacy.errors import SiteConfigError

_COMMAND_S: Final = 60
_MOST_ANSWER: Final = 4 << 20
_VARIABLES: Final = ("PATH", "HOME", "KUBECONFIG", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT", "LANG")


class Kubernetes:
    """A namespace of a cluster; a :class:`~client.training.launchers.queue.Queue`.

    Args:
        options: of ``site.yaml``.
        kubectl: the program.

    Raises:
        SiteConfigError: the pod's user would be root.
    """

    def __init__(self, options: KubernetesLauncher, kubectl: str = "kubectl") -> None:
        self._options, self._kubectl = options, kubectl
        self._user = options.user or os.geteuid()
        if self._user == 0:
            raise SiteConfigError(
                "site.yaml: launcher.user: the site runs as root, and a training pod may not; run the site as another "
                "user, or name the user that owns its shared folder"
            )

    def submit(self, folder: SharedFolder, job: JobFolder) -> None:
        """Make the Job with its Secret, and let it start."""
        plan = self._plan(folder, job)
        self.cancel(job.name)
        self._apply(make_policy(plan))
        uid = _read_text(self._apply(make_job(plan)), "metadata", "uid")
        try:
            draw = (job.path / DRAW).read_bytes()
        except OSError as error:
            raise QueueError(f"{error.filename}: cannot be read: {error.strerror}") from None
        self._apply(make_secret(plan, draw, uid))
        self._run(["patch", "job", job.name, "--type=merge", "--patch", '{"spec":{"suspend":false}}'])

    def find(self, name: str) -> QueuedJob | None:
        """Find the Job of this name; one that is suspended still lacks its Secret, and counts as ended."""
        answer = self._run(["get", "job", name, "--ignore-not-found", "--output=json"])
        if not answer.strip():
            return None
        found = _parse(answer)
        spec, status = found.get("spec"), found.get("status")
        if isinstance(spec, Mapping) and spec.get("suspend") is True:
            return QueuedJob(Phase.ENDED, "suspended")
        status = status if isinstance(status, Mapping) else {}
        conditions = status.get("conditions")
        for condition in conditions if isinstance(conditions, list) else ():
            if isinstance(condition, Mapping) and condition.get("status") == "True":
                word = str(condition.get("type"))[:100]
                if word in ("Complete", "Failed"):
                    return QueuedJob(Phase.ENDED, word)
        return QueuedJob(Phase.RUNNING, "active") if status.get("active") else QueuedJob(Phase.WAITING, "waiting")

    def cancel(self, name: str) -> None:
        """Remove the Job with its pods, and its Secret."""
        self._run(["delete", "job,secret", name, "--ignore-not-found", "--cascade=foreground", "--timeout=50s"])

    def forget(self, name: str) -> None:
        """Remove the Job with its pods, and its Secret."""
        self.cancel(name)

    def _plan(self, folder: SharedFolder, job: JobFolder) -> Plan:
        options, root = self._options, Path(self._options.folder)
        return Plan(
            name=job.name,
            namespace=options.namespace,
            image=options.image,
            claim=options.claim,
            job=str(job.path.relative_to(root)),
            data=str(folder.data.relative_to(root)),
            user=self._user,
            gpus=options.gpus,
            cpu=options.cpu,
            memory=options.memory,
            seconds=max(1, int(options.hours * 3600)),
        )

    def _apply(self, manifest: Manifest) -> dict[str, Any]:
        return _parse(self._run(["apply", "--filename=-", "--output=json"], json.dumps(manifest)))

    def _run(self, words: Sequence[str], given: str = "") -> str:
        """Run kubectl in the namespace and return what it prints.

        Raises:
            QueueError: it is not installed, fails, or does not answer.
        """
        command = [self._kubectl, f"--namespace={self._options.namespace}", *words]
        environment = {name: os.environ[name] for name in _VARIABLES if name in os.environ}
        try:
            done = subprocess.run(
                command,
                input=given.encode(),
                capture_output=True,
                timeout=_COMMAND_S,
                env=environment,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise QueueError(f"{self._kubectl} cannot be used: {type(error).__name__}") from None
        if done.returncode:
            lines = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["no reason given"]
            raise QueueError(f"kubectl {words[0]} ended with {done.returncode}: {lines[-1][:300]}")
        if len(done.stdout) > _MOST_ANSWER:
            raise QueueError(
                f"kubectl {words[0]} answered {len(done.stdout)} bytes, expected at most {_MOST_ANSWER}"
            )
        return done.stdout.decode("utf-8", "replace")


def _parse(answer: str) -> dict[str, Any]:
    try:
        value = json.loads(answer)
    except (ValueError, RecursionError):
        raise QueueError("kubectl answered something else than JSON") from None
    if not isinstance(value, dict):
        raise QueueError("kubectl answered something else than an object")
    return value


def _read_text(value: Mapping[str, Any], *path: str) -> str:
    found: Any = value
    for key in path:
        found = found.get(key) if isinstance(found, Mapping) else None
    if not isinstance(found, str) or not 0 < len(found) <= 200:
        raise QueueError(f"kubectl answered without {'.'.join(path)}")
    return found
