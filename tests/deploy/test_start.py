"""The small programs of a deployment: the gateway's start script, the health check, the list of packages."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import pytest

from server.federation.config import CoordinatorConfig
from server.federation.folder import Federation
from server.superlink.process import find_free_port
from tests.deploy.gateway import START, find_missing
from tests.loopback import wait_for

TOP = Path(__file__).parents[2]
MISSING = find_missing("nginx")
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CONSILIUM_HOST", "fl.example.org; return 200"),
        ("CONSILIUM_SUPERLINK", "localhost:9092|x"),
        ("CONSILIUM_LISTEN", '443"'),
        ("CONSILIUM_FILES", "/a b"),
        ("CONSILIUM_FLEET_RATE", "$x"),
    ],
)
def test_setting_that_could_change_the_configuration_is_refused(tmp_path: Path, name: str, value: str) -> None:
    settings = {"CONSILIUM_HOST": "localhost", "CONSILIUM_RUN": str(tmp_path / "run"), "PATH": PATH, name: value}
    done = subprocess.run([str(START)], env=settings, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert f"got '{value}'" in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("how", ["link", "folder that others may write in", "folder of another user"])
def test_folder_that_another_user_may_have_made_is_refused(tmp_path: Path, how: str) -> None:
    """By hand, the folder's name is known beforehand, and in /tmp anybody makes folders."""
    run, other = tmp_path / "run", tmp_path / "other"
    if how == "link":
        other.mkdir()
        run.symlink_to(other)
    else:
        run.mkdir()
        run.chmod(0o777 if "write" in how else 0o755)
    if how == "folder of another user":
        if os.getuid() != 0:
            pytest.skip("needs root, who may give a folder away")
        os.chown(run, 65534, 65534)
    settings = {"CONSILIUM_HOST": "localhost", "CONSILIUM_RUN": str(run), "PATH": PATH}
    done = subprocess.run([str(START)], env=settings, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert f"{run}: expected a folder of" in done.stderr
    assert list(run.iterdir()) == []


def test_host_is_needed() -> None:
    done = subprocess.run([str(START)], env={"PATH": PATH}, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode != 0
    assert "CONSILIUM_HOST" in done.stderr


@pytest.mark.skipif(bool(MISSING), reason=MISSING)
def test_gateway_waits_for_the_coordinators_files_and_ends_when_told() -> None:
    with tempfile.TemporaryDirectory(prefix="gate-", ignore_cleanup_errors=True) as name:
        folder, port = Path(name), find_free_port()
        folder.chmod(0o711)
        settings = {
            "CONSILIUM_HOST": "localhost",
            "CONSILIUM_FILES": str(folder / "wood" / "gateway"),
            "CONSILIUM_LISTEN": f"127.0.0.1:{port}",
            "CONSILIUM_RUN": str(folder / "run"),
            "PATH": PATH,
        }
        with (folder / "said").open("wb") as said:
            process = subprocess.Popen([str(START)], env=settings, stderr=said)
        try:
            read = (folder / "said").read_text
            wait_for("the gateway to wait", lambda: "waiting for the coordinator" in read())
            time.sleep(2.5)
            assert read().count("waiting for the coordinator") == 1  # once for one reason
            Federation.create(
                folder / "wood",
                CoordinatorConfig(federation="wood", host="localhost", port=port, gateway=True, control_port=9093),
            )
            wait_for("the gateway", lambda: "is published at" in read())
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=20) == 0
        finally:
            process.kill()
            process.wait()


def check_health(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(TOP / "deploy/health"), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_site_is_well_while_its_lock_is_held(tmp_path: Path) -> None:
    assert check_health("site", tmp_path).returncode == 1
    with (tmp_path / "up.lock").open("w") as lock:
        assert "no process serves this site" in check_health("site", tmp_path).stderr
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert check_health("site", tmp_path).returncode == 0


def test_coordinator_that_does_not_run_is_not_well(tmp_path: Path) -> None:
    Federation.create(
        tmp_path / "wood", CoordinatorConfig(federation="wood", port=443, gateway=True, control_port=9093)
    )
    done = check_health("coordinator", tmp_path / "wood")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert check_health("nobody").returncode == 2


def write_wheel(folder: Path, name: str, version: str) -> None:
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        metadata = f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\nLicense-Expression: MIT\n\nText"
        wheel.writestr(f"{name}-{version}.dist-info/METADATA", metadata)
        wheel.writestr(f"{name}/vendored/other-1.dist-info/METADATA", "Name: other\nVersion: 1\n")


def test_list_of_packages_names_each_wheel_with_its_digest(tmp_path: Path) -> None:
    write_wheel(tmp_path, "some_thing", "1.2")
    write_wheel(tmp_path, "another", "3")
    command = [sys.executable, str(TOP / "scripts/make-sbom"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    document = json.loads(done.stdout)
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.5")
    assert [each["purl"] for each in document["components"]] == ["pkg:pypi/another@3", "pkg:pypi/some-thing@1.2"]
    assert all(len(each["hashes"][0]["content"]) == 64 for each in document["components"])
    (tmp_path / "source.tar.gz").touch()
    assert subprocess.run(command, capture_output=True, timeout=30, check=False).returncode == 1
