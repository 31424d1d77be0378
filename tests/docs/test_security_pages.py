"""The pages for a security officer name commands that exist, and each outcome has evidence or says that it has none."""

import re

import click
import pytest

import client.site.folder
from privacy import labels
from tests.docs.commands import PROGRAMS, parts_of
from tests.docs.pages import ROOT, prose, quoted

FOLDER = ROOT / "docs" / "security"
LABELS = {value for value in vars(labels).values() if isinstance(value, str)}
SHOWN = sorted(
    {word for page in FOLDER.glob("*.md") for word in quoted(page) if word.split()[0] in PROGRAMS} - LABELS
)


@pytest.mark.parametrize("shown", SHOWN)
def test_command_that_is_evidence_exists(shown: str) -> None:
    program, *words = shown.split()
    command: click.Command = PROGRAMS[program]
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        known = dict(parts_of(command))
        assert words[0] in known, shown
        command, words = known[words[0]], words[1:]
    options = {option for parameter in command.params for option in parameter.opts} | {"--help", "--version"}
    assert {word for word in words if word.startswith("-")} <= options, shown


def test_each_outcome_has_evidence_or_says_that_it_is_a_gap() -> None:
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in prose(FOLDER / "outcomes.md").splitlines()
        if line.startswith("| ") and not line.startswith(("| outcome", "| ---"))
    ]
    assert len(rows) > 40
    for outcome, evidence, gap in rows:
        assert evidence or "**gap**" in gap, outcome


def test_storage_page_has_every_file_of_a_sites_folder() -> None:
    text = (FOLDER / "storage.md").read_text(encoding="utf-8")
    listed = re.findall(r"^    ([\w./]+)  +\S", str(client.site.folder.__doc__), re.MULTILINE)
    assert len(listed) > 10
    for name in listed:
        assert name.rstrip("/").partition("/")[0] in text, name
