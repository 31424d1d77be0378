"""Make the manifests of one training job in Kubernetes from a frozen document: pure, and the same each time.

Rules:

* the pod has no network (a NetworkPolicy that allows nothing, neither in nor out), no service account's token, no
  capability, no root, a read-only root file system, and the restricted Pod Security Standard's fields;
* within the pod the training is confined by what works there: Landlock and a filter of system calls
  (``client/training/confinement.py``), so it has no network even where nothing enforces the policy;
* of the volume it sees two folders: its own job, and the study's data read-only;
* the draw is a Secret of this one job, owned by it: when the Job goes, the Secret goes;
* the Job is made suspended, since the Secret names it as its owner by a uid that only the cluster gives.

A NetworkPolicy binds only where the cluster's network plugin enforces it; ``docs/launchers.md`` says how to look.
Source: the API reference of Kubernetes 1.30 (batch/v1, v1, networking.k8s.io/v1), Pod Security Standards.
"""

import base64
from typing import Any, Final

from privacy.document import Document

LABEL: Final = "consilium.training/job"
_PART: Final = {"app.kubernetes.io/name": "consilium-training"}
_DRAW_MODE: Final = 0o444  # the pod has one container and one user
_KEEP_S: Final = 3600

Manifest = dict[str, Any]


class Plan(Document):
    """Everything that the manifests of a job depend on.

    Attributes:
        name: of the job.
        job, data: folders within the volume.
        user: of the pod; never root.
        seconds: after which the cluster ends the job.
    """

    name: str
    namespace: str
    image: str
    claim: str
    job: str
    data: str
    user: int
    gpus: int
    cpu: str
    memory: str
    seconds: int


def make_policy(plan: Plan) -> Manifest:
    """Make the NetworkPolicy that lets no training pod of the namespace talk to anybody."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "consilium-training", "namespace": plan.namespace, "labels": dict(_PART)},
        "spec": {"podSelector": {"matchLabels": dict(_PART)}, "policyTypes": ["Ingress", "Egress"]},
    }


def make_job(plan: Plan) -> Manifest:
    """Make the Job, suspended."""
    labels = {**_PART, LABEL: plan.name}
    command = ["python", "-m", "client.training.launchers.batch_job", "--confinement", "available"]
    limits = {"cpu": plan.cpu, "memory": plan.memory}
    if plan.gpus:
        limits["nvidia.com/gpu"] = str(plan.gpus)
    container = {
        "name": "training",
        "image": plan.image,
        "command": [*command, "--limit", str(plan.seconds), "/job", "/data", "/draw/draw"],
        "resources": {"limits": limits, "requests": dict(limits)},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "privileged": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "shared", "mountPath": "/job", "subPath": plan.job},
            {"name": "shared", "mountPath": "/data", "subPath": plan.data, "readOnly": True},
            {"name": "draw", "mountPath": "/draw", "readOnly": True},
            {"name": "scratch", "mountPath": "/tmp"},  # noqa: S108 - an own, empty one
        ],
    }
    pod = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "hostNetwork": False,
        "hostPID": False,
        "hostIPC": False,
        "dnsPolicy": "Default",
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": plan.user,
            "runAsGroup": plan.user,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [
            {"name": "shared", "persistentVolumeClaim": {"claimName": plan.claim}},
            {"name": "draw", "secret": {"secretName": plan.name, "defaultMode": _DRAW_MODE}},
            {"name": "scratch", "emptyDir": {"sizeLimit": "1Gi"}},
        ],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": plan.name, "namespace": plan.namespace, "labels": labels},
        "spec": {
            "suspend": True,
            "completions": 1,
            "parallelism": 1,
            "backoffLimit": 2,
            "activeDeadlineSeconds": plan.seconds,
            "ttlSecondsAfterFinished": _KEEP_S,
            "template": {"metadata": {"labels": dict(labels)}, "spec": pod},
        },
    }


def make_secret(plan: Plan, draw: bytes, job_uid: str) -> Manifest:
    """Make the Secret of the draw, which the cluster removes with the Job of ``job_uid``."""
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": plan.name, "uid": job_uid, "controller": True}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "immutable": True,
        "metadata": {
            "name": plan.name,
            "namespace": plan.namespace,
            "labels": {**_PART, LABEL: plan.name},
            "ownerReferences": [owner],
        },
        "data": {"draw": base64.b64encode(draw).decode("ascii")},
    }
