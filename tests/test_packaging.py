"""What holds the tree together: names, doors, directions, and files that are configuration."""

import ast
import functools
import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OURS = ("privacy", "models", "client", "server")
DOORS = {
    "opacus": {"privacy/dpsgd/opacus_reference.py"},
    "tenseal": {"privacy/secure_aggregation/schemes/ring.py"},
    "cryptography": {
        "privacy/client_certificate.py",
        "privacy/encrypted_file.py",
        "privacy/keys.py",
        "privacy/randomness.py",
        "server/control/caller.py",
        "server/federation/certificates.py",
        "server/federation/client_certificates.py",
        "server/federation/folder.py",
        "server/federation/gateway_files.py",
        "server/superlink/fleet_callers.py",
    },
    "flwr": {
        "client/connection/agent.py",
        "client/connection/client_app.py",
        "client/connection/link.py",
        "privacy/protocol/flower_records.py",
        "server/superlink/fleet_callers.py",
        "server/superlink/server_app.py",
        "server/superlink/control_api.py",
        "server/superlink/direct_calls.py",
        "server/superlink/gate.py",
        "server/superlink/grid.py",
        "server/superlink/program.py",
        "server/superlink/process.py",
    },
    "grpc": {"privacy/control/channel.py", "server/control/caller.py", "server/control/server.py"},
    "sqlalchemy": {
        "client/data/adapters/sql.py",
        "client/data/conversion/reach.py",
        "server/superlink/database.py",
    },
    "psycopg": {"client/data/adapters/sql.py"},
    "openpyxl": {"client/data/adapters/excel.py"},
    "pyarrow": {"client/data/adapters/parquet.py"},
    "pint": {"client/data/conversion/units.py"},
    "dp_accounting": {"privacy/accounting/pld.py"},
    "pydicom": {
        f"client/data/adapters/imaging/{name}.py"
        for name in ("decoder_worker", "dicom", "dicom_file", "dicom_pixels")
    },
    "nibabel": {"client/data/adapters/imaging/nifti.py"},
    "h5py": {"client/data/adapters/hdf5_file.py"},
    "rdkit": {"client/data/adapters/molecules.py"},
    "networkx": {"server/study/graph_file.py"},
    "xlrd": {"client/data/adapters/excel_97.py"},
}


@pytest.mark.parametrize("package", OURS)
def test_package_name_belongs_to_consilium_alone(package: str) -> None:
    owners = set(importlib.metadata.packages_distributions().get(package, [])) | {"consilium"}
    assert owners == {"consilium"}, f"another distribution also installs '{package}'"


@pytest.mark.parametrize("vendor", DOORS)
def test_vendor_is_imported_through_its_doors_only(vendor: str) -> None:
    found = {path for path, modules in _imports().items() if any(m.split(".")[0] == vendor for m in modules)}
    assert found == DOORS[vendor]


def test_benchmarks_import_no_tests() -> None:
    for path in (ROOT / "benchmarks").rglob("*.py"):
        assert not re.search(r"^\s*(from|import) tests\b", path.read_text(encoding="utf-8"), re.MULTILINE), path


@pytest.mark.parametrize(
    "module",
    ["privacy.audit.cli", "client.cli", "server.cli", "client.connection.agent", "server.superlink.server_app"],
)
def test_command_starts_without_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


@pytest.mark.parametrize(
    ("working", "taken"),
    [
        (["python3.12", "python3.11"], "python3.12"),
        (["python3.13", "python3.12"], "python3.13"),
        (["python3.14"], "python3.14"),
        ([], "python3"),
    ],
)
def test_make_takes_the_newest_python_that_works(tmp_path: Path, working: list[str], taken: str) -> None:
    for name in ("python3.14", "python3.13", "python3.12", "python3.11"):
        script = tmp_path / name
        script.write_text(
            f'#!/bin/sh\nexec "{sys.executable}" "$@"\n' if name in working else "#!/bin/sh\nexit 1\n"
        )
        script.chmod(0o755)
    command = ["make", "--no-print-directory", "--eval", "found: ; @echo $(PYTHON)", "found"]
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    printed = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
    assert printed.strip() == taken


def test_pythons_are_the_same_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = [line.split(" :: ")[-1] for line in project["classifiers"] if "Python :: 3." in line]
    first, last = (int(version.split(".")[1]) for version in (named[0], named[-1]))
    assert named == [f"3.{minor}" for minor in range(first, last + 1)]
    assert project["requires-python"] == f">=3.{first},<3.{last + 1}"
    assert f"(3, {first}) <= sys.version_info < (3, {last + 1})" in (ROOT / "Makefile").read_text()
    for page in ("README.md", "CONTRIBUTING.md", "docs/tutorials/site.md"):
        assert f"Python 3.{first} to 3.{last}" in (ROOT / page).read_text(encoding="utf-8")
    (image,) = re.findall(r"ARG BASE=python:(\S+)-slim", (ROOT / "Dockerfile").read_text())
    assert image in named


def test_constraints_pin_every_dependency_once() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    names = [line.split("==")[0].lower().replace("_", "-") for line in lines]
    assert len(names) == len(set(names))
    assert all(line.count("==") == 1 for line in lines)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [word for each in project["optional-dependencies"].values() for word in each]
    wanted = project["dependencies"] + [word for word in extras if not word.startswith("consilium[")]
    assert {word.split("=")[0].split(">")[0].split("[")[0].lower() for word in wanted} <= set(names)


def test_image_pins_the_torch_of_the_makefile() -> None:
    torch = next(line for line in (ROOT / "Makefile").read_text().splitlines() if line.startswith("TORCH"))
    assert torch.split(":=")[1].strip() in (ROOT / "Dockerfile").read_text()


@functools.cache
def _imports() -> dict[str, set[str]]:
    """Every module that each of our files imports, wherever in the file."""
    imports: dict[str, set[str]] = {}
    for package in OURS:
        for path in (ROOT / package).rglob("*.py"):
            found = imports.setdefault(path.relative_to(ROOT).as_posix(), set())
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    found.update(alias.name for alias in node.names)
                elif isinstance(node, ast.ImportFrom) and node.module:
                    found.add(node.module)
    return imports
