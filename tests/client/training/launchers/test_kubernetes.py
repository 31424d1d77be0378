"""Manifests against the API's schemas, and the calls against a stand-in for kubectl that records them.

No cluster was there: that a cluster does with them what it should was never seen.
"""

import base64
import json
import stat
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.small_study import small_files, small_terms
from client.site.launcher import KubernetesLauncher
from client.training.answer_format import pack_answer
from client.training.job_format import split_job
from client.training.jobs import TrainedRound, TrainRound
from client.training.launchers.choose import describe_launcher
from client.training.launchers.job_folder import DRAW, RESULT, SharedFolder
from client.training.launchers.kubernetes import Kubernetes
from client.training.launchers.manifests import Plan, make_job, make_policy, make_secret
from client.training.launchers.queue import Phase, QueueError
from client.training.launchers.queued import QueuedTraining
from client.training.worker import Worker
from privacy.errors import SiteConfigError

DRAWN = bytes(range(32))
IMAGE = f"registry.example/consilium@sha256:{'ab' * 32}"
PLAN = Plan(
    name="consilium-train1-0123456789abcdef01234567",
    namespace="training",
    image=IMAGE,
    claim="shared",
    job="ash/0123/jobs/consilium-train1-0123456789abcdef01234567",
    data="ash/0123/data",
    user=1000,
    gpus=1,
    cpu="2",
    memory="8Gi",
    seconds=86400,
)
KUBECTL = """#!/usr/bin/env python3
# A stand-in for kubectl: records what it is asked, and answers as a cluster with one job would.
import json, pathlib, sys
here = pathlib.Path(__file__).parent
given = sys.stdin.read() if "--filename=-" in sys.argv else ""
with (here / "calls").open("a") as calls:
    calls.write(json.dumps([sys.argv[1:], given]) + "\\n")
word = sys.argv[2]
if (here / "fails").exists():
    sys.exit("error: You must be logged in to the server")
if word == "apply":
    made = json.loads(given)
    made["metadata"]["uid"] = "0b2c7e1e-uid"
    print(json.dumps(made))
elif word == "get" and (here / "job.json").exists():
    print((here / "job.json").read_text())
elif word == "patch":
    (here / "job.json").write_text(json.dumps({"spec": {"suspend": False}, "status": {"active": 1}}))
elif word == "delete":
    (here / "job.json").unlink(missing_ok=True)
"""


@pytest.fixture
def kubectl(tmp_path: Path) -> Path:
    program = tmp_path / "bin" / "kubectl"
    program.parent.mkdir()
    program.write_text(KUBECTL)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program


@pytest.fixture
def shared(tmp_path: Path) -> SharedFolder:
    (tmp_path / "shared").mkdir(mode=0o700)
    return SharedFolder(tmp_path / "shared", "ash", "small-1")


def options(shared: SharedFolder, **more: Any) -> KubernetesLauncher:
    return KubernetesLauncher(
        kind="kubernetes",
        namespace="training",
        image=IMAGE,
        claim="shared",
        folder=str(shared.path.parents[1]),
        user=1000,
        **more,
    )


def read_calls(kubectl: Path) -> list[tuple[list[str], str]]:
    return [tuple(json.loads(line)) for line in (kubectl.parent / "calls").read_text().splitlines()]


def test_manifests_keep_the_schemas_of_kubernetes() -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    for manifest in (make_policy(PLAN), make_job(PLAN), make_secret(PLAN, DRAWN, "0b2c7e1e-uid")):
        for version in ("1.30", validate.latest_version()):
            validate.validate(manifest, version, strict=True)


def test_pod_has_no_network_no_token_no_root_and_reads_its_data_only() -> None:
    policy, job = make_policy(PLAN), make_job(PLAN)
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert not {"ingress", "egress"} & policy["spec"].keys()
    selected = policy["spec"]["podSelector"]["matchLabels"].items()
    assert selected <= job["spec"]["template"]["metadata"]["labels"].items()
    pod = job["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = pod["containers"]
    place = container["command"].index("--confinement")
    assert container["command"][place + 1] == "available"  # a cluster that enforces no policy has the filter still
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    assert mounts["/data"]["readOnly"] is True
    assert mounts["/job"]["subPath"] == PLAN.job
    assert "subPath" in mounts["/data"], "never the whole volume"
    assert "env" not in container
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"


def test_draw_is_in_the_secret_alone_and_goes_with_the_job() -> None:
    secret = make_secret(PLAN, DRAWN, "0b2c7e1e-uid")
    text = base64.b64encode(DRAWN).decode()
    assert secret["data"] == {"draw": text}
    assert secret["immutable"] is True
    assert secret["metadata"]["ownerReferences"][0]["uid"] == "0b2c7e1e-uid"
    assert text not in json.dumps([make_job(PLAN), make_policy(PLAN)])


def test_job_is_submitted_suspended_then_with_its_secret_then_started(kubectl: Path, shared: SharedFolder) -> None:
    shared.create()
    job = shared.find_job(PLAN.name)
    job.path.mkdir()
    (job.path / DRAW).write_bytes(DRAWN)
    queue = Kubernetes(options(shared), str(kubectl))
    assert queue.find(PLAN.name) is None
    queue.submit(shared, job)
    calls = read_calls(kubectl)
    assert [call[0][1] for call in calls] == ["get", "delete", "apply", "apply", "apply", "patch"]
    assert all(call[0][0] == "--namespace=training" for call in calls)
    assert [json.loads(call[1])["kind"] for call in calls[2:5]] == ["NetworkPolicy", "Job", "Secret"]
    assert json.loads(calls[3][1])["spec"]["suspend"] is True
    text = base64.b64encode(DRAWN).decode()
    assert not any(text in " ".join(call[0]) for call in calls), "an argument is for all to see"
    found = queue.find(PLAN.name)
    assert found is not None
    assert found.phase is Phase.RUNNING
    queue.forget(PLAN.name)
    assert queue.find(PLAN.name) is None


@pytest.mark.parametrize(
    ("answer", "phase"),
    [
        ({"spec": {"suspend": True}, "status": {}}, Phase.ENDED),
        ({"spec": {}, "status": {"conditions": [{"type": "Complete", "status": "True"}]}}, Phase.ENDED),
        ({"spec": {}, "status": {"conditions": [{"type": "Failed", "status": "True"}]}}, Phase.ENDED),
        ({"spec": {}, "status": {"conditions": [{"type": "Failed", "status": "False"}]}}, Phase.WAITING),
        ({"spec": {}, "status": {"conditions": "all fine"}}, Phase.WAITING),
        ({"spec": [], "status": None}, Phase.WAITING),
    ],
)
def test_state_of_a_job_is_read_whatever_the_cluster_says(
    answer: dict[str, Any], phase: Phase, kubectl: Path, shared: SharedFolder
) -> None:
    (kubectl.parent / "job.json").write_text(json.dumps(answer))
    found = Kubernetes(options(shared), str(kubectl)).find(PLAN.name)
    assert found is not None
    assert found.phase is phase


def test_cluster_that_fails_or_talks_nonsense_is_an_error(
    kubectl: Path, shared: SharedFolder, tmp_path: Path
) -> None:
    queue = Kubernetes(options(shared), str(kubectl))
    (kubectl.parent / "job.json").write_text("[1]")
    with pytest.raises(QueueError, match="something else than an object"):
        queue.find(PLAN.name)
    (kubectl.parent / "job.json").write_text("no json")
    with pytest.raises(QueueError, match="something else than JSON"):
        queue.find(PLAN.name)
    (kubectl.parent / "fails").touch()
    with pytest.raises(QueueError, match="kubectl get ended with 1: error: You must be logged in"):
        queue.find(PLAN.name)
    with pytest.raises(QueueError, match="cannot be used: FileNotFoundError"):
        Kubernetes(options(shared), str(tmp_path / "none")).find(PLAN.name)


def test_round_through_a_recorded_cluster(kubectl: Path, tmp_path: Path) -> None:
    """The answer is put in the job's folder, as its pod would, while the site waits."""
    terms = small_terms()
    files = small_files(tmp_path, terms)
    root = tmp_path / "volume"
    root.mkdir(mode=0o700)
    shared = SharedFolder(root, "ash", "small-1")
    round_1 = TrainRound(np.zeros(6), 1, 1.0, DRAWN)
    local = Worker(terms, files, "cpu", tmp_path / "log")
    training = QueuedTraining(
        terms,
        files,
        "cpu",
        "float32",
        tmp_path / "log",
        folder=shared,
        queue=Kubernetes(options(shared), str(kubectl)),
        local=local,
        poll_s=0.05,
        limit_s=60,
        stop=threading.Event(),
    )
    answer = TrainedRound(np.arange(6.0), np.zeros(0))

    def be_the_pod() -> None:
        while not (kubectl.parent / "job.json").exists():
            pass
        (job,) = shared.list_jobs()
        (job.path / "new").write_bytes(b"".join(pack_answer(split_job(round_1)[0], answer)))
        (job.path / "new").rename(job.path / RESULT)

    pod = threading.Thread(target=be_the_pod)
    pod.start()
    np.testing.assert_array_equal(training.run(round_1).update, answer.update)
    pod.join()
    assert shared.list_jobs() == []
    assert [call[0][1] for call in read_calls(kubectl)][-1] == "delete"
    training.close()


def test_pod_of_a_site_that_runs_as_root_needs_a_user(
    shared: SharedFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    with pytest.raises(SiteConfigError, match=r"launcher\.user: the site runs as root"):
        describe_launcher(options(shared).model_copy(update={"user": None}))
    assert "namespace training" in describe_launcher(options(shared))
