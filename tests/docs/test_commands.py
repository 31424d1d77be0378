"""The commands that documents show are those that the programs and the Makefile have."""

import re
import subprocess
import sys

import click
import pytest

from privacy.client_certificate import Role
from privacy.command_line import Commands
from privacy.ledger.entries import BODIES, Admits
from privacy.study import Terms
from tests.docs.commands import PAGE, PROGRAMS, leaves, page, parts_of
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


@pytest.mark.parametrize("program", PROGRAMS)
def test_summary_in_a_list_of_commands_is_that_of_the_command(program: str) -> None:
    """A list is printed without importing what is listed."""
    groups: list[click.Command] = [PROGRAMS[program]]
    for group in groups:
        if isinstance(group, click.Group):
            found = dict(parts_of(group))
            assert isinstance(group, Commands)
            for name, each in group.later.items():
                assert found[name].name == name
                assert found[name].get_short_help_str(10_000) == each.summary
            groups += found.values()


MODULES = {"consilium": "server.cli", "consilium-site": "client.cli", "consilium-audit": "privacy.audit.cli"}


def imported_after(code: str) -> set[str]:
    """The modules that a new process has imported after running ``code``."""
    said = f"import sys\n{code}\nprint('imported', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, cwd=ROOT, check=True)
    return set(done.stdout.rsplit("imported", 1)[1].split())


@pytest.mark.parametrize(("program", "words"), [*((each, ()) for each in PROGRAMS), ("consilium", ("study",))])
def test_list_of_commands_is_shown_without_what_they_need(program: str, words: tuple[str, ...]) -> None:
    """Not even pydantic, which alone takes longer than everything else; and no command's own file."""
    lines = [
        "import click",
        f"from {MODULES[program]} import cli as command",
        "context = click.Context(command)",
        *(f"command = command.get_command(context, {word!r})" for word in words),
        "print(click.Context(command).get_help())",
    ]
    found = imported_after("\n".join(lines))
    assert not found & {"pydantic", "yaml", "cryptography", "sqlite3", "privacy.document", "client.site.folder"}


SHOW_EVERY_HELP = """
from tests.docs.commands import PROGRAMS, parts_of

def show(group, words):
    for word, part in parts_of(group):
        assert program.main([*words, word, "--help"], prog_name=name, standalone_mode=False) == 0
        if hasattr(part, "commands"):
            show(part, (*words, word))

program = PROGRAMS[name]
show(program, ())
"""


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_of_no_command_imports_a_heavy_library(program: str) -> None:
    """Each command alone imports less; what none of them imports is looked for after all of them."""
    found = imported_after(f"name = {program!r}{SHOW_EVERY_HELP}")
    assert {each.command.callback.__module__ for each in leaves(program) if each.command.callback} <= found
    roots = {each.partition(".")[0] for each in found - imported_after("import click")}
    light = {"click", "rfc8785", "client", "models", "privacy", "server", "tests"}
    foreign = roots - light - sys.stdlib_module_names
    assert not foreign | roots & {"asyncio", "multiprocessing", "sqlite3", "ssl"}


def test_choices_that_help_shows_without_importing_them_are_those_there_are() -> None:
    def choices(program: str, path: str, option: str) -> set[str]:
        (found,) = (each for each in leaves(program) if each.command_path == f"{program} {path}")
        (asked,) = (each for each in found.command.params if option in each.opts)
        assert isinstance(asked.type, click.Choice)
        return set(asked.type.choices)

    assert choices("consilium-site", "ledger list", "--kind") == set(BODIES)
    assert choices("consilium-site", "approve", "--for") == set(Admits)
    assert choices("consilium", "invite", "--role") == set(Role) - {Role.GATEWAY}


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
        groups += [each for _, each in parts_of(group) if isinstance(each, click.Group)]
