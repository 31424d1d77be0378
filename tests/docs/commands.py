"""``docs/commands.md``, made from the programs: ``python -m tests.docs.commands`` writes it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

import client.cli
import privacy.audit.cli
import server.cli
from privacy.command_line import Commands
from tests.docs.pages import ROOT
from tests.docs.schema_rows import Schema, parts, rows

PROGRAMS: Final[dict[str, click.Group]] = {
    "consilium": server.cli.cli,
    "consilium-site": client.cli.cli,
    "consilium-audit": privacy.audit.cli.cli,
}
PAGE: Final[Path] = ROOT / "docs" / "commands.md"

_HEAD: Final = """\
# Commands

What each program says of itself. Every command ends with a code of [exit-codes.md](exit-codes.md); data go to stdout,
talk to stderr. Tutorials: [site](tutorials/site.md), [data protection
officer](tutorials/data-protection-officer.md), [coordinator](tutorials/coordinator.md),
[auditor](tutorials/auditor.md).
"""

_RESULTS: Final = """\
## What `consilium study show`, `compare` and `list` print with `--json`

`show` prints one [StudyResults](#studyresults); `compare` prints `{"studies": [...]}` of them; `list` prints
`{"studies": [...]}` of [StudySummary](#studysummary). All of it is opened totals and public quantities: counts, prices,
bytes, times. Null is what is not defined or not known yet. How `noise` and `chance` are computed is told in
`models/tasks/uncertainty.py`: by resampling the opened histogram, with the public noise or with other patients.
"""


def leaves(program: str) -> Iterator[click.Context]:
    """Every command of ``program`` that does something, in its context."""
    group = PROGRAMS[program]
    yield from _leaves(click.Context(group, info_name=program, terminal_width=100, **group.context_settings))


def page() -> str:
    """The page as the programs are now."""
    sections = [_HEAD]
    for program in PROGRAMS:
        sections.append(f"## {program}\n")
        sections += [
            f"### {context.command_path}\n\n```text\n{context.get_help()}\n```\n" for context in leaves(program)
        ]
    return "\n".join([*sections, *_results()])


def _results() -> Iterator[str]:
    """What ``study show``, ``compare`` and ``list`` print with ``--json``: their documents, key by key."""
    from server.results.documents import StudyResults, StudySummary

    yield _RESULTS
    documents: dict[str, Schema] = {}
    for document in (StudyResults, StudySummary):
        schema = document.model_json_schema(mode="serialization")
        for name, part in parts(schema):
            if name not in documents:
                documents[name] = part
                lines = [f"### {name}\n\n{part['description']}\n\n| key | type | meaning |\n| --- | --- | --- |"]
                lines += [f"| `{row.key}` | {row.kind} | {row.meaning} |" for row in rows(part, schema)]
                yield "\n".join(lines).replace("``", "`") + "\n"


def _leaves(context: click.Context) -> Iterator[click.Context]:
    command = context.command
    if not isinstance(command, click.Group) or command.invoke_without_command:
        yield context
    if isinstance(command, click.Group):
        for word, part in parts_of(command):
            yield from _leaves(click.Context(part, parent=context, info_name=word))


def parts_of(group: click.Group) -> Iterator[tuple[str, click.Command]]:
    """The commands of a group with their names, as they are listed in the code, and imported now."""
    context, later = click.Context(group), group.later if isinstance(group, Commands) else {}
    for word in (*(each for each in group.commands if each not in later), *later):
        part = group.get_command(context, word)
        assert part is not None
        yield word, part


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
