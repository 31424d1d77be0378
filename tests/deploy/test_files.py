"""Compose files, manifests, units and Dockerfile: valid for their own tools, and as confined as they promise."""

import configparser
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

TOP = Path(__file__).parents[2]
COMPOSE = ("docker-compose.yml", "compose.site.yml")
UNITS = sorted((TOP / "deploy/systemd").glob("*.service"))
PROGRAMS = {"consilium": "server.cli", "consilium-site": "client.cli"}


def require(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"needs {program}")
    return found


def run(*command: str | Path) -> str:
    done = subprocess.run([str(each) for each in command], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def read_services(name: str) -> dict[str, Any]:
    services: dict[str, Any] = yaml.safe_load((TOP / name).read_text())["services"]
    return services


# --- compose ---


@pytest.mark.parametrize("name", COMPOSE)
def test_compose_file_keeps_the_specification(name: str) -> None:
    run(require("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", TOP / name)


@pytest.mark.parametrize("name", COMPOSE)
def test_every_service_is_confined_and_limited(name: str) -> None:
    for service in read_services(name).values():
        assert service["user"] == "10001:10001"
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["pids_limit"]
        assert "privileged" not in service
        if service["restart"] != "no":
            assert service["deploy"]["resources"]["limits"].keys() == {"cpus", "memory"}


def test_coordinator_is_reached_through_the_gateway_alone() -> None:
    services = read_services("docker-compose.yml")
    networks = yaml.safe_load((TOP / "docker-compose.yml").read_text())["networks"]
    assert services["coordinator"]["networks"] == ["inside"]
    assert networks["inside"] == {"internal": True}
    assert [name for name, service in services.items() if "ports" in service] == ["gateway"]
    every_site = {name: service for name, service in services.items() if name.startswith("site-")}
    sites = {name: service for name, service in every_site.items() if "profiles" not in service}
    assert len(sites) == 3
    assert all(site["healthcheck"] for site in every_site.values())
    assert all(site["networks"] == ["outside"] for site in sites.values())
    mounts = services["gateway"]["volumes"]
    assert [(mount["read_only"], mount["volume"]["subpath"]) for mount in mounts] == [(True, "federation/gateway")]
    assert len({site["volumes"][0] for site in sites.values()}) == 3


def test_whole_federation_asks_for_a_gpu_only_where_named_and_keeps_its_passphrase_a_secret() -> None:
    services = read_services("docker-compose.yml")
    named = {name for name, service in services.items() if "devices" in str(service.get("deploy"))}
    assert named == {"site-a-gpu"}
    assert services["site-a-gpu"]["profiles"] == ["gpu"]
    assert services["site-a-gpu"]["volumes"] == services["site-a"]["volumes"]
    (secret,) = services["coordinator"]["secrets"]
    assert services["coordinator"]["environment"]["CONSILIUM_PASSPHRASE_FILE"] == f"/run/secrets/{secret}"


def test_hospitals_file_opens_no_port_and_asks_for_a_gpu_only_where_named() -> None:
    services = read_services("compose.site.yml")
    assert not any("ports" in service for service in services.values())
    assert services["site-gpu"]["profiles"] == ["gpu"]
    assert "profiles" not in services["site"]
    records = services["site"]["volumes"][1]
    assert records["target"] == "/records"
    assert records["read_only"] is True


# --- Kubernetes ---


@pytest.mark.parametrize("name", ["coordinator", "site"])
def test_manifests_are_valid(tmp_path: Path, name: str) -> None:
    validate = require("kubernetes-validate")
    built = subprocess.run(
        [require("kubectl"), "kustomize", str(TOP / "deploy/kubernetes" / name)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    (tmp_path / "built.yaml").write_text(built)
    run(validate, "--strict", tmp_path / "built.yaml")


def test_gpu_component_asks_for_one_gpu(tmp_path: Path) -> None:
    kubectl = require("kubectl")
    shutil.copytree(TOP / "deploy/kubernetes", tmp_path / "kubernetes")
    (tmp_path / "kustomization.yaml").write_text(
        "resources: [kubernetes/site]\ncomponents: [kubernetes/site/gpu]\n"
    )
    built = run(kubectl, "kustomize", tmp_path)
    assert 'nvidia.com/gpu: "1"' in built
    if validate := shutil.which("kubernetes-validate"):
        (tmp_path / "built.yaml").write_text(built)
        run(validate, "--strict", tmp_path / "built.yaml")


@pytest.mark.parametrize("name", ["coordinator", "site"])
def test_pods_are_restricted_and_limited(name: str) -> None:
    stateful = yaml.safe_load((TOP / "deploy/kubernetes" / name / "statefulset.yaml").read_text())
    pod = stateful["spec"]["template"]["spec"]
    assert stateful["spec"]["replicas"] == 1
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pod["initContainers"] + pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"].keys() == {"cpu", "memory"}
    ports = [port["containerPort"] for each in pod["containers"] for port in each.get("ports", ())]
    assert ports == ([8443] if name == "coordinator" else [])
    policy = yaml.safe_load((TOP / "deploy/kubernetes" / name / "networkpolicy.yaml").read_text())["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert policy["egress" if name == "coordinator" else "ingress"] == []


# --- systemd ---


def test_gateway_is_another_user_than_the_coordinator_and_reads_its_folder_alone() -> None:
    units = {}
    for name in ("coordinator", "gateway"):
        units[name] = configparser.ConfigParser(strict=False, interpolation=None)
        units[name].optionxform = str  # type: ignore[assignment, method-assign]
        units[name].read(TOP / f"deploy/systemd/consilium-{name}.service")
    coordinator, gateway = (units[name]["Service"] for name in ("coordinator", "gateway"))
    assert gateway["User"] != coordinator["User"]
    assert gateway["SupplementaryGroups"] == coordinator["Group"]
    assert gateway["ProtectProc"] == "invisible"
    assert gateway["TemporaryFileSystem"] == "/var/lib:ro"
    assert gateway["BindReadOnlyPaths"] == "/var/lib/consilium/federation/gateway:/run/consilium-files"


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_unit_is_valid_and_hardened(tmp_path: Path, unit: Path) -> None:
    require("systemd-analyze")
    here = tmp_path / unit.name
    # A program that exists on this machine: systemd refuses a unit whose program does not.
    here.write_text(re.sub(r"(?m)^ExecStart=\S+", f"ExecStart={sys.executable}", unit.read_text()))
    assert run("systemd-analyze", "verify", here).strip() == ""
    run("systemd-analyze", "security", "--offline=yes", "--threshold=35", here)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_unit_runs_as_its_own_user_and_may_write_its_own_folder_alone(unit: Path) -> None:
    read = configparser.ConfigParser(strict=False, interpolation=None)
    read.optionxform = str  # type: ignore[assignment, method-assign]
    read.read(unit)
    service = read["Service"]
    assert service["User"] == ("consilium-gateway" if unit.stem == "consilium-gateway" else "consilium")
    assert service["ProtectSystem"] == "strict"
    assert service["NoNewPrivileges"] == "yes"
    assert "ReadWritePaths" not in service
    assert service.get("MemoryMax") or unit.stem == "consilium-site"


# --- the same commands everywhere ---


def test_every_command_in_these_files_is_one_of_our_programs() -> None:
    commands = []
    for name in COMPOSE:
        commands += [tuple(each["command"]) for each in read_services(name).values() if "command" in each]
    for name in ("coordinator", "site"):
        pod = yaml.safe_load((TOP / "deploy/kubernetes" / name / "statefulset.yaml").read_text())["spec"][
            "template"
        ]
        commands += [tuple(each["command"]) for each in pod["spec"]["containers"] if "command" in each]
    started = {command[0]: command for command in commands if command[0] != "sh"}
    assert set(started) == set(PROGRAMS)
    for program, command in started.items():
        assert command[-1] == "up"
        help_text = run(
            sys.executable, "-c", f"from {PROGRAMS[program]} import main; main()", *command[1:], "--help"
        )
        assert "Usage:" in help_text


def test_dockerfile_has_the_three_images_and_none_runs_as_root() -> None:
    text = (TOP / "Dockerfile").read_text()
    stages = re.split(r"(?m)^FROM ", text)[1:]
    names = {re.match(r"\S+ AS (\S+)", stage)[1]: stage for stage in stages}  # type: ignore[index]
    assert {"coordinator", "site", "gateway"} <= set(names)
    assert "USER 10001:10001" in names["program"]
    assert "USER 10001:10001" in names["gateway"]
    every_part = set(tomllib.loads((TOP / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    assert set(re.findall(r"(?m)^ARG EXTRAS=(.*)$", text)[0].split(",")) < every_part
    for each in ("coordinator", "site"):
        assert names[each].startswith("program AS")
        assert "HEALTHCHECK" in names[each]


@pytest.mark.parametrize(
    "script", [*sorted(TOP.glob("scripts/*")), TOP / "deploy/gateway/start"], ids=lambda s: s.name
)
def test_shell_script_has_no_mistake_that_a_shell_finds(script: Path) -> None:
    if not script.read_text().startswith("#!/bin/sh"):
        pytest.skip("no shell script")
    run("sh", "-n", script)
    if shellcheck := shutil.which("shellcheck"):
        run(shellcheck, script)
