"""The tutorial from a hospital's data to a green check, followed literally: files, commands, what they print."""

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
    study, mapping, sex, glucose, _ = blocks(PAGE, "yaml")
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
    assert "lacks 1 column of the mapping: sex" in checks[0][1]
    said, warned = blocks(PAGE, "text")[0].strip().split("\nwarning: ")
    assert said in checks[1][1]
    assert warned.partition("; ...")[0] in checks[1][1]
    assert "warning" not in checks[2][1]
    assert "glucose  50       0                0" in checks[2][1]
    assert "as they were when registered" in checks[3][1]


def test_text_file_of_the_tutorial_gives_every_row_and_asks_for_what_the_mapping_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    study, *_, mapping = blocks(PAGE, "yaml")
    header, *shown = blocks(PAGE, "text")[1].strip().splitlines()
    rows = [row.replace(row[:6], f"{number:06}", 1) for number, row in enumerate(shown * 100)]
    Path("export.csv").write_text("\r\n".join([header, *rows, ""]), encoding="cp1252", newline="")
    Path("study.yaml").write_text(study, encoding="utf-8")
    environment = {"CONSILIUM_SITE": "site"}
    run(("consilium-site", "init", "site", "--name", "north"), environment)

    def check(text: str) -> tuple[int, str]:
        Path("mapping.yaml").write_text(text, encoding="utf-8")
        return run(("consilium-site", "data", "check", "study.yaml", "--mapping", "mapping.yaml"), environment)

    code, said = check(mapping)
    assert code == 0
    assert "left out" not in said
    assert "glucose  100      0                0" in said
    for given, asked in (
        (", encoding: cp1252", "write its encoding in the mapping"),
        (', decimal: ","', "column 'crp': is a number with a decimal comma"),
        (", limits: true", "column 'crp': is a limit, such as <5; write limits: true"),
        (", format: DD.MM.YYYY", "column 'age': is not a date such as 2024-03-01; name its format"),
        (", missing: [k. A.]", "column 'glucose': is not a number with the decimal mark ','"),
    ):
        code, said = check(mapping.replace(given, ""))
        assert code == 23
        assert asked in said
