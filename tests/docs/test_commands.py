"""The commands that documents show are those that the programs and the Makefile have."""

import re

import click
import pytest

from privacy.study import Terms
from tests.docs.commands import PAGE, PROGRAMS, leaves, page
from tests.docs.pages import PAGES, ROOT, Typed, prose, rows, typed

TYPED = [line for each in PAGES for line in typed(each)]
MANUALS = [
    ROOT / "README.md",
    *(ROOT / "docs" / "tutorials").glob("*.md"),
    *(ROOT / "docs" / "security").glob("*.md"),
]
MANUALS += [
    ROOT / "docs" / f"{name}.md"
    for name in ("control-plane", "deployment", "operations", "policy", "consortium", "snapshots")
]
COMMANDS = [context for program in PROGRAMS for context in leaves(program)]


def parse(program: str, words: list[str]) -> None:
    """Take a command line as its program would, without doing anything."""
    command: click.Command = PROGRAMS[program]
    context = command.make_context(program, words)
    while isinstance(command, click.Group) and (rest := [*context._protected_args, *context.args]):
        name, found, rest = command.resolve_command(context, rest)
        assert found is not None
        command = found
        context = command.make_context(name, rest, parent=context)


@pytest.mark.parametrize(
    "line", [line for line in TYPED if line.words[0] in PROGRAMS], ids=lambda line: " ".join(line.words)
)
def test_command_line_is_taken_by_its_program(line: Typed) -> None:
    parse(line.words[0], list(line.words[1:]))


def test_command_line_with_an_unknown_option_is_noticed() -> None:
    with pytest.raises(click.UsageError):
        parse("consilium", ["study", "check", "study.yaml", "--colour"])


@pytest.mark.parametrize("context", COMMANDS, ids=lambda context: context.command_path)
def test_command_is_shown_and_explained(context: click.Context) -> None:
    assert context.command.help
    assert "``" not in context.command.help, "help is text for people: quote commands as 'consilium up'"
    shown = "".join(each.read_text(encoding="utf-8") for each in MANUALS)
    named = (f"$ {context.command_path}", f"`{context.command_path}")
    assert any(each in shown for each in named), f"no page for people shows {context.command_path}"


def test_commands_page_is_what_the_programs_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "write it anew: python -m tests.docs.commands"


def test_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    shown = {word for line in TYPED if line.words[0] == "make" for word in line.words[1:] if "=" not in word}
    written = set(re.findall(r"`make (?:PYTHON=\S+ )?([a-z-]+)", "".join(prose(each) for each in PAGES)))
    assert {"demo", "test", "check"} <= shown | written <= targets


def test_typed_word_is_a_program_we_have_or_a_debian_one() -> None:
    scripts = {f"scripts/{path.name}" for path in (ROOT / "scripts").iterdir()}
    known = {*PROGRAMS, *scripts, "make", "export", "nohup", "sudo", "sqlite3", "docker", "kubectl", "sha256sum"}
    known.add("bundle/install")  # what scripts/make-offline-bundle makes of scripts/install-from-bundle
    assert {line.words[0] for line in TYPED if "=" not in line.words[0]} <= known


def test_table_of_a_studys_sections_is_the_terms() -> None:
    table = rows(ROOT / "docs" / "tutorials" / "coordinator.md", "4. Write and check a study")
    plain = {"consilium", "name", "purpose"}
    assert [row[0].strip("`") for row in table] == [field for field in Terms.model_fields if field not in plain]


@pytest.mark.parametrize("program", PROGRAMS)
def test_no_summary_is_cut_at_80_columns(program: str) -> None:
    groups = [PROGRAMS[program]]
    for group in groups:
        context = click.Context(group, terminal_width=80, max_content_width=80)
        assert "..." not in re.sub(r"\w+\.\.\.", "", group.get_help(context).split("Commands:")[-1])
        groups += [each for each in group.commands.values() if isinstance(each, click.Group)]
