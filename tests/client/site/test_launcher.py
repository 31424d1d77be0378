"""What people write under ``launcher`` in site.yaml, and what is refused."""

from pathlib import Path

import pytest

from client.site.config import SiteConfig
from client.site.launcher import Confinement, KubernetesLauncher, ProcessLauncher, SlurmLauncher
from privacy.document import read_yaml
from privacy.errors import SiteConfigError


def read(folder: Path, launcher: str) -> SiteConfig:
    path = folder / "site.yaml"
    path.write_text(f"name: ash\n{launcher}\n")
    return read_yaml(path, SiteConfig, SiteConfigError)


def test_launcher_without_a_word_is_a_process(tmp_path: Path) -> None:
    assert read(tmp_path, "").launcher == ProcessLauncher(confinement=Confinement.AVAILABLE)


def test_launcher_of_each_kind_is_read(tmp_path: Path) -> None:
    process = read(tmp_path, "launcher: {kind: process, confinement: required}").launcher
    assert process == ProcessLauncher(confinement=Confinement.REQUIRED)
    slurm = read(tmp_path, "launcher: {kind: slurm, folder: /shared, partition: gpu, gres: 'gpu:a100:1'}").launcher
    assert isinstance(slurm, SlurmLauncher)
    image = f"registry.example:5000/consilium@sha256:{'0' * 64}"
    cluster = read(
        tmp_path, f"launcher: {{kind: kubernetes, namespace: a, image: '{image}', claim: b, folder: /c}}"
    ).launcher
    assert isinstance(cluster, KubernetesLauncher)


@pytest.mark.parametrize(
    ("launcher", "message"),
    [
        ("launcher: {kind: docker}", "launcher.kind: expected 'process', 'slurm', 'kubernetes', got 'docker'"),
        ("launcher: {confinement: required}", "launcher.kind: missing"),
        ("launcher: {kind: process, confinment: none}", "did you mean 'confinement'"),
        ("launcher: {kind: process, confinement: maybe}", "expected 'required', 'available' or 'none'"),
        ("launcher: {kind: slurm}", "launcher.folder: missing"),
        ("launcher: {kind: slurm, folder: shared}", "expected a path from the root"),
        ("launcher: {kind: slurm, folder: /s, partition: '--uid=0'}", "expected letters, digits and"),
        ("launcher: {kind: slurm, folder: /s, account: 'a b'}", "expected letters, digits and"),
        ("launcher: {kind: slurm, folder: /s, hours: 0}", "expected more than 0"),
        (
            "launcher: {kind: kubernetes, namespace: A, image: latest, claim: b, folder: /c}",
            "an image with its digest",
        ),
    ],
)
def test_launcher_that_cannot_be_used_is_refused(launcher: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(SiteConfigError) as caught:
        read(tmp_path, launcher)
    assert message in str(caught.value)
