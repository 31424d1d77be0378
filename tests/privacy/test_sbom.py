"""The list of packages: what is installed, with its RECORD; nothing of where it came from."""

import hashlib
import importlib.metadata
import sys
from pathlib import Path

import pytest

from privacy.document import parse
from privacy.errors import WireError
from privacy.program import Program
from privacy.sbom import CODE, Sbom, make_sbom

PROGRAM = Program(version="0.1.0", code="a" * 64)


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the only one from which this interpreter imports distributions."""
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    return tmp_path


def install(packages: Path, name: str, metadata: str, record: bytes | None = b"x.py,sha256=abc,3\n") -> None:
    folder = packages / f"{name}.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\n{metadata}")
    (folder / "direct_url.json").write_text('{"url": "https://ada:hunter2@index.example/x.whl"}')
    if record is not None:
        (folder / "RECORD").write_bytes(record)


def test_component_has_name_version_licence_and_the_digest_of_its_record(packages: Path) -> None:
    install(packages, "Some_Thing-1.0+cpu", "Name: Some_Thing\nVersion: 1.0+cpu\nLicense-Expression: MIT\n")
    (component,) = make_sbom(PROGRAM).components
    assert component.purl == "pkg:pypi/some-thing@1.0%2Bcpu"
    assert component.licenses[0].license.name == "MIT"
    assert component.record == hashlib.sha256(b"x.py,sha256=abc,3\n").hexdigest()
    assert b"hunter2" not in make_sbom(PROGRAM).to_bytes()


def test_record_that_is_changed_changes_the_digest_of_the_list(packages: Path) -> None:
    install(packages, "a-1", "Name: a\nVersion: 1\n")
    before = make_sbom(PROGRAM)
    assert make_sbom(PROGRAM) == before
    (packages / "a-1.dist-info" / "RECORD").write_bytes(b"x.py,sha256=abd,3\n")
    assert make_sbom(PROGRAM).digest != before.digest


def test_licence_that_is_a_whole_text_or_holds_control_characters_is_no_name(packages: Path) -> None:
    install(packages, "a-1", f"Name: a\nVersion: 1\nLicense: {'All rights. ' * 20}\n")
    install(packages, "b-1", "Name: b\nVersion: 1\nLicense: BSD\x1b[31m\n", record=None)
    a, b = make_sbom(PROGRAM).components
    assert a.licenses == ()
    assert b.licenses[0].license.name == "BSD [31m"
    assert b.record == ""


def test_distribution_that_is_damaged_or_shadowed_is_listed_once(packages: Path) -> None:
    install(packages, "a-1", "Name: a\nVersion: 1\n")
    install(packages, "A-2", "Name: A\nVersion: 2\n")
    install(packages, "c-1", "")
    found = [(each.name, each.version) for each in make_sbom(PROGRAM).components]
    assert len(found) == 2
    assert found[1] == ("unnamed", "unknown")


def test_list_of_this_installation_has_every_distribution_and_this_program_as_its_subject() -> None:
    sbom = make_sbom(PROGRAM)
    names = {each.name for each in sbom.components}
    assert {"torch", "cryptography", "pydantic"} <= names
    assert names >= {each.metadata["Name"] for each in importlib.metadata.distributions()} - {"consilium"}
    assert [each.value for each in sbom.metadata.component.properties if each.name == CODE] == [PROGRAM.code]


def test_list_with_a_key_that_is_not_ours_is_refused() -> None:
    with pytest.raises(WireError, match="serialNumber: unknown key"):
        parse({**make_sbom(PROGRAM).model_dump(), "serialNumber": "urn:uuid:1"}, Sbom, WireError, "the list")
