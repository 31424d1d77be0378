"""What a bundle says of its images: their digests, from their own bytes, and the packages that are in them."""

import hashlib
import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
STATUS = """Package: nginx-light
Status: install ok installed
Version: 1.22-1

Package: gone
Status: deinstall ok config-files
Version: 2

"""


def make_tar(files: dict[str, bytes]) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return data.getvalue()


def make_image(path: Path, *layers: dict[str, bytes]) -> str:
    """Make an archive as ``docker save`` does, by hand; the digest of its configuration."""
    tars = [make_tar(layer) for layer in layers]
    digests = [hashlib.sha256(tar).hexdigest() for tar in tars]
    config = json.dumps({"rootfs": {"type": "layers", "diff_ids": [f"sha256:{each}" for each in digests]}}).encode()
    digest = hashlib.sha256(config).hexdigest()
    names = [f"{each}.tar" for each in digests]
    manifest = json.dumps([{"Config": f"{digest}.json", "Layers": names}]).encode()
    files = {f"{digest}.json": config, **dict(zip(names, tars, strict=True)), "manifest.json": manifest}
    path.write_bytes(make_tar(files))
    return digest


def write_metadata(name: str, version: str) -> dict[str, bytes]:
    where = f"opt/venv/lib/{name}-{version}.dist-info/METADATA"
    return {where: f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode()}


def run(script: str, argument: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPTS / script), str(argument)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_list_of_images_has_the_digest_of_each_configuration(tmp_path: Path) -> None:
    for name in ("site", "gateway"):
        make_image(tmp_path / f"consilium-{name}.tar", {"name": name.encode()})
    (tmp_path / "images.txt").touch()
    first, second = run("list-images", tmp_path).stdout.splitlines()
    digest = make_image(tmp_path / "again.tar", {"name": b"gateway"})
    size = (tmp_path / "again.tar").stat().st_size
    assert first == f"consilium-gateway sha256:{digest} {size}"
    assert second.startswith("consilium-site sha256:")


def test_image_with_another_layer_than_it_names_is_refused(tmp_path: Path) -> None:
    """Attack: a layer is exchanged, and the configuration, whose digest people compare, is left as it was."""
    make_image(tmp_path / "site.tar", {"program": b"ours"})
    data = (tmp_path / "site.tar").read_bytes()
    assert data.count(b"ours") == 1
    (tmp_path / "site.tar").write_bytes(data.replace(b"ours", b"evil"))
    done = run("list-images", tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "its layers are not those that its configuration names; copy it again" in done.stderr


@pytest.mark.parametrize("data", [b"", b"no tar", make_tar({"manifest.json": b"{}"}), make_tar({})])
def test_archive_that_is_no_image_is_a_sentence(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "site.tar").write_bytes(data)
    done = run("list-images", tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


def test_list_of_an_images_packages_has_both_kinds_as_the_last_layer_leaves_them(tmp_path: Path) -> None:
    base = {"./var/lib/dpkg/status": STATUS.encode(), **write_metadata("torch", "1"), **write_metadata("pip", "1")}
    removed = {"opt/venv/lib/.wh.torch-1.dist-info": b""}
    make_image(tmp_path / "site.tar", base, removed, write_metadata("torch", "2"))
    components = json.loads(run("make-sbom", tmp_path / "site.tar").stdout)["components"]
    assert [each["purl"] for each in components] == [
        "pkg:deb/debian/nginx-light@1.22-1",
        "pkg:pypi/pip@1",
        "pkg:pypi/torch@2",
    ]
