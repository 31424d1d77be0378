"""How a command ends: its exit code, its sentence, and never a traceback."""

import json
import signal
import subprocess
import sys
from functools import partial
from importlib.metadata import version
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from privacy.command_line import Commands, Later

PROGRAM = """
import click, os, signal, sys
from privacy.command_line import print_json, print_table, print_text, run, say, style
from privacy.errors import BudgetError

@click.group()
def cli(): pass

@cli.command()
def works(): say("talk"); print_json({"b": 1, "a": "é"})

@cli.command()
def table(): print_table(("name", ""), [("a long name", "1"), ("b", "22")])

@cli.command()
def steers():
    name = "a\\x1b[2J\\u202e\\x9b"
    say(name); print_text(name); print_json({name: name})
    print_table((name,), [(name + "\\n",), (style(name, bold=True),)])

@cli.command()
def refuses(): raise BudgetError("there is no budget left")

@cli.command()
def breaks(): raise ZeroDivisionError("with a patient's value in it")

@cli.command()
def interrupted(): os.kill(os.getpid(), signal.SIGINT); signal.pause()

@cli.command()
def talks():
    for _ in range(100_000): click.echo("x" * 100)

@cli.command()
def fills(): raise OSError(28, "No space left on device")

run(cli, "tool")
"""


def tool(
    *arguments: str, traceback: bool = False, ignored: signal.Signals | None = None
) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": "", "PYTHONPATH": str(Path(__file__).parents[2])}
    if traceback:
        environment["CONSILIUM_TRACEBACK"] = "1"
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        capture_output=True,
        text=True,
        env=environment,
        timeout=60,
        preexec_fn=None if ignored is None else partial(signal.signal, ignored, signal.SIG_IGN),
    )


def test_data_go_to_stdout_and_talk_to_stderr() -> None:
    done = tool("works")
    assert (done.returncode, done.stderr) == (0, "talk\n")
    assert json.loads(done.stdout) == {"a": "é", "b": 1}


def test_table_is_as_wide_as_its_longest_words() -> None:
    assert tool("table").stdout == "name\na long name  1\nb            22\n"


def test_expected_failure_is_a_sentence_and_its_exit_code() -> None:
    done = tool("refuses")
    assert (done.returncode, done.stdout, done.stderr) == (25, "", "tool: there is no budget left\n")


def test_defect_is_a_sentence_without_what_the_error_says() -> None:
    done = tool("breaks")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("tool: a defect of this program (ZeroDivisionError)")
    assert "patient" not in done.stderr


def test_defect_shows_where_when_asked() -> None:
    done = tool("breaks", traceback=True)
    assert done.returncode == 1
    assert "Traceback" in done.stderr


@pytest.mark.parametrize("ignored", [None, signal.SIGINT], ids=["usual", "in the background of a script"])
def test_interruption_is_said_and_ends_with_130(ignored: signal.Signals | None) -> None:
    done = tool("interrupted", ignored=ignored)
    assert done.returncode == 130
    assert "tool: interrupted" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "word"), [(["nothing"], "No such command"), (["works", "--x"], "No such option"), ([], "Usage")]
)
def test_command_written_wrongly_ends_with_2(arguments: list[str], word: str) -> None:
    done = tool(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert word in done.stderr


def test_command_of_later_is_imported_when_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = "import click\n\n@click.command()\ndef far():\n    'Far away.'\n    click.echo('here')\n"
    (tmp_path / "far_command.py").write_text(lines)
    monkeypatch.syspath_prepend(tmp_path)
    group = Commands("tool", later={"far": Later("far_command:far", "Far away.")})
    assert "far  Far away." in CliRunner().invoke(group, ["--help"]).stdout
    assert CliRunner().invoke(group, ["near"]).exit_code == 2
    assert "far_command" not in sys.modules
    assert CliRunner().invoke(group, ["far"]).stdout == "here\n"


@pytest.mark.parametrize(
    "words", [["--help"], ["inner", "--help"], ["inner", "leaf", "-h"], ["inner", "leaf", "--help"]]
)
def test_help_is_shown_before_anything_is_opened(words: list[str]) -> None:
    opened: list[str] = []
    outer = Commands("outer", callback=lambda: opened.append("outer"))
    inner = Commands("inner", callback=lambda: opened.append("inner"))
    leaf = click.Command("leaf", params=[click.Argument(["word"])], callback=lambda word: opened.extend([word]))
    outer.add_command(inner)
    inner.add_command(leaf)
    outer.context_settings = {"help_option_names": ["-h", "--help"]}
    assert CliRunner().invoke(outer, words).stdout.startswith("Usage: outer")
    assert opened == []
    CliRunner().invoke(outer, ["inner", "leaf", "--", "--help"])
    assert opened == ["outer", "inner", "--help"]


def test_help_is_on_stdout_and_ends_with_0() -> None:
    done = tool("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "works" in done.stdout


@pytest.mark.parametrize("command", ["works", "table", "talks", "--help"])
@pytest.mark.parametrize("unbuffered", [{}, {"PYTHONUNBUFFERED": "1"}], ids=["usual", "unbuffered"])
def test_output_that_cannot_be_written_is_said(command: str, unbuffered: dict[str, str]) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, command],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env={"PATH": "", "PYTHONPATH": str(Path(__file__).parents[2])} | unbuffered,
            timeout=60,
        )
    assert done.returncode == 3
    said = "tool: its output could not all be written: No space left on device; what was recorded is kept"
    assert done.stderr.removeprefix("talk\n").startswith(said)
    assert done.stderr.count("\n") == 1 + (command == "works")


def test_a_full_disk_elsewhere_is_not_the_output() -> None:
    done = tool("fills")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("tool: a defect of this program (OSError)")


def test_reader_that_leaves_early_is_no_failure() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "talks"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        text=True,
    )
    assert process.stdout
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(60) == 0


@pytest.mark.parametrize("program", ["consilium", "consilium-site", "consilium-audit"])
def test_version_is_that_of_the_package(program: str) -> None:
    done = subprocess.run([Path(sys.executable).parent / program, "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"{program} {version('consilium')}\n")


def test_name_that_steers_a_terminal_is_shown_and_not_obeyed() -> None:
    ended = tool("steers")
    escaped = "a[U+001B][2J[U+202E][U+009B]"
    assert ended.stderr == f"{escaped}\n"
    shown, document, heading, row, styled = ended.stdout.splitlines()
    assert (shown, heading) == (escaped, escaped)
    assert row == f"{escaped}[U+000A]"  # a newline in a cell begins no row
    assert styled == escaped  # click drops our own style, since this is no terminal
    name = "a\x1b[2J\u202e\x9b"
    assert json.loads(document) == {name: name}
    assert document.isprintable()
