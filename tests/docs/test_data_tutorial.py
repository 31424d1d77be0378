"""The tutorial from a database to a green check, followed literally: its files, its commands, what they print."""

import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from tests.docs.commands import PROGRAMS
from tests.docs.pages import ROOT, blocks, typed

PAGE = ROOT / "docs" / "tutorials" / "data.md"


def run(words: tuple[str, ...], environment: dict[str, str]) -> tuple[int, str]:
    """Run one line of the page in this process; return its exit code and all that it printed."""
    if words[0] == "export":
        key, _, value = words[1].partition("=")
        environment[key] = value
        return 0, ""
    program: click.Group = PROGRAMS[words[0]]
    done = CliRunner().invoke(program, list(words[1:]), env=environment)
    sentence = "" if done.exception is None or isinstance(done.exception, SystemExit) else str(done.exception)
    return getattr(done.exception, "exit_code", done.exit_code), done.output + sentence


def test_tutorial_ends_with_a_green_check_and_registered_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    study, mapping, sex, glucose = blocks(PAGE, "yaml")
    (program,) = blocks(PAGE, "python")
    Path("study.yaml").write_text(study, encoding="utf-8")
    Path("mapping.yaml").write_text(mapping, encoding="utf-8")
    subprocess.run([sys.executable, "-c", program], check=True)
    environment: dict[str, str] = {}
    lines = list(typed(PAGE))
    outcomes = list[tuple[int, str]]()
    for place, line in enumerate(lines):
        outcomes.append(run(tuple(line.words), environment))
        if place in (2, 3):  # after the first and the second check the page adds to the mapping
            with Path("mapping.yaml").open("a", encoding="utf-8") as file:
                file.write((sex, glucose)[place - 2])
    checks = [outcome for line, outcome in zip(lines, outcomes, strict=True) if "check" in line.words]
    assert [code for code, _ in checks] == [23, 0, 0, 0]
    assert "lacks 1 columns of the mapping: sex" in checks[0][1]
    said, warned = blocks(PAGE, "text")[0].strip().split("\nwarning: ")
    assert said in checks[1][1]
    assert warned.partition("; ...")[0] in checks[1][1]
    assert "warning" not in checks[2][1]
    assert "glucose  50       0                0" in checks[2][1]
    assert "as they were when registered" in checks[3][1]
