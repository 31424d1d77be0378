"""A bundle's ``install``: every file is compared, nothing is fetched, nothing is installed if one was changed.

The bundle here has one wheel, made by hand, in the place of the real ones, which only an index has.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
PROGRAM = "def main():\n    print('consilium-site, version 9.9.9')\n"


def make_wheel(folder: Path, version: str = "9.9.9") -> None:
    """A wheel called consilium with a program consilium-site."""
    info = f"consilium-{version}.dist-info"
    contents = {
        "stand_in.py": PROGRAM,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: consilium\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": "[console_scripts]\nconsilium-site = stand_in:main\n",
    }
    contents[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*contents, f"{info}/RECORD"])
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / f"consilium-{version}-py3-none-any.whl", "w") as wheel:
        for name, text in contents.items():
            wheel.writestr(name, text)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    folder.mkdir()
    make_wheel(folder / "wheels")
    (folder / "sbom.json").write_text("{}")
    shutil.copy(SCRIPTS / "install-from-bundle", folder / "install")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  ./{path.relative_to(folder)}\n" for path in files]
    (folder / "SHA256SUMS").write_text("".join(lines))
    return folder


def install(bundle: Path, target: Path) -> subprocess.CompletedProcess[str]:
    """Run the bundle's own script, with an index that does not exist."""
    environment = {**os.environ, "PYTHON": sys.executable, "PIP_INDEX_URL": "http://127.0.0.1:9/none"}
    environment.pop("PYTHONPATH", None)
    command = [str(bundle / "install"), str(target)]
    return subprocess.run(command, capture_output=True, text=True, timeout=180, env=environment, check=False)


def test_bundle_installs_without_an_index_and_says_the_next_step(bundle: Path, tmp_path: Path) -> None:
    done = install(bundle, tmp_path / "opt")
    assert done.returncode == 0, done.stderr
    path = tmp_path / "opt" / "bin"
    assert done.stdout == f"installed consilium-site, version 9.9.9; next: export PATH={path}:$PATH\n"
    again = install(bundle, tmp_path / "opt")
    assert (again.returncode, "exists already; name a new folder" in again.stderr) == (1, True)


@pytest.mark.parametrize("name", ["sbom.json", "wheels/consilium-9.9.9-py3-none-any.whl"])
def test_bundle_with_a_changed_file_installs_nothing(bundle: Path, tmp_path: Path, name: str) -> None:
    (bundle / name).write_bytes((bundle / name).read_bytes() + b"\n")
    done = install(bundle, tmp_path / "opt")
    assert done.returncode == 1
    assert f"./{name}: FAILED" in done.stdout + done.stderr
    assert done.stderr.endswith("the bundle is not as it was made; copy it again\n")
    assert not (tmp_path / "opt").exists()


@pytest.mark.parametrize("how", ["newer wheel", "another file", "link", "missing file"])
def test_bundle_whose_files_are_not_the_listed_ones_installs_nothing(
    bundle: Path, tmp_path: Path, how: str
) -> None:
    """The newer wheel is what pip would take, although every listed file is as it was."""
    wheel = bundle / "wheels" / "consilium-9.9.9-py3-none-any.whl"
    if how == "newer wheel":
        make_wheel(bundle / "wheels", "10.0.0")
        name = "wheels/consilium-10.0.0-py3-none-any.whl"
    elif how == "another file":
        name = "SHA256SUMS.txt"
        (bundle / name).write_text("")
    elif how == "link":
        name = str(wheel.relative_to(bundle))
        wheel.rename(tmp_path / wheel.name)
        wheel.symlink_to(tmp_path / wheel.name)
    else:
        name = "sbom.json"
        (bundle / name).unlink()
    done = install(bundle, tmp_path / "opt")
    assert done.returncode == 1
    assert "the bundle's files are not those of SHA256SUMS; copy it again" in done.stderr
    assert done.stderr.splitlines()[1:] == [f"./{name}"]
    assert not (tmp_path / "opt").exists()


def test_bundle_that_lacks_a_package_leaves_nothing_behind(bundle: Path, tmp_path: Path) -> None:
    (bundle / "wheels" / "consilium-9.9.9-py3-none-any.whl").unlink()
    lines = (bundle / "SHA256SUMS").read_text().splitlines(keepends=True)
    (bundle / "SHA256SUMS").write_text("".join(line for line in lines if "wheels" not in line))
    done = install(bundle, tmp_path / "opt")
    assert done.returncode == 1
    assert "nothing is installed; is Python" in done.stderr
    assert not (tmp_path / "opt").exists()
