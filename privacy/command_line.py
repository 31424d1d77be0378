"""Run the three commands: data on stdout, messages on stderr, one sentence and one exit code for every failure.

What is printed may hold names from files: columns, code words, DICOM strings, names of files. So every text is printed
here, with its invisible characters written as code points; only what this program styles itself (:func:`style`) reaches
a terminal as it is.

Exit codes are listed in ``docs/exit-codes.md``: 0 done, 2 written wrongly, 3 the output cannot be written, 130
interrupted, 1 a defect of this program, and those of ``privacy/errors.py``.
"""

import contextlib
import importlib
import io
import json
import os
import sys
from collections.abc import Container, Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Any, Final, NamedTuple, NoReturn, TextIO

import click

from privacy.canonical import Json, to_canonical
from privacy.errors import Error
from privacy.garbage_collection import pause_garbage_collection
from privacy.invisible import escape_invisible, is_invisible
from privacy.process_lifetime import take_default_signals

INTERRUPTED: Final = 130
DEFECT: Final = 1
OUTPUT_LOST: Final = 3
TRACEBACK: Final = "CONSILIUM_TRACEBACK"
_HELP: Final = {"-h", "--help"}


class Later(NamedTuple):
    """A command that is imported when somebody asks for it: ``package.module:name``, and the summary of its help."""

    where: str
    summary: str


class Commands(click.Group):
    """A group of commands whose summaries are shown in full, on as many lines as they need.

    Those of ``later`` are imported when they are asked for: a program has many, and one call needs one of them.
    """

    def __init__(self, *arguments: Any, later: Mapping[str, Later] | None = None, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.later: Final = dict(later or {})

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the names of all commands, imported or not."""
        return sorted({*self.commands, *self.later})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, imported now if it was not before; None if there is none of this name."""
        if cmd_name in self.later and cmd_name not in self.commands:
            module, _, name = self.later[cmd_name].where.partition(":")
            with pause_garbage_collection():
                self.add_command(getattr(importlib.import_module(module), name), cmd_name)
        return super().get_command(ctx, cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that ``args`` begin with; its help, if asked for, is shown before anything is opened."""
        name, command, rest = super().resolve_command(ctx, args)
        if command is not None and not _HELP.isdisjoint(takewhile(lambda word: word != "--", rest)):
            context = command.make_context(
                name, list(rest), parent=ctx
            )  # where it takes these words so, it ends here
            if isinstance(command, Commands) and context._protected_args:
                command.resolve_command(context, [*context._protected_args, *context.args])
        return name, command, rest

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands, without cutting long summaries as click does."""
        here = {name: each.get_short_help_str(10_000) for name, each in self.commands.items()}
        summaries = {name: each.summary for name, each in self.later.items()} | here
        rows = sorted(summaries.items())
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)


def run(commands: click.Group, name: str) -> NoReturn:
    """Run a console script and end the process; no traceback reaches a user."""
    take_default_signals()
    os.environ.setdefault(
        "PYDANTIC_DISABLE_PLUGINS", "__all__"
    )  # to look for some takes long, and nobody may read along
    with _watch_output():
        _run_watched(commands, name)


def _run_watched(commands: click.Group, name: str) -> NoReturn:
    try:
        code = commands.main(prog_name=name, standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        say(f"{name}: interrupted")
        sys.exit(INTERRUPTED)
    except Error as error:
        say(f"{name}: {error}")
        sys.exit(error.exit_code)
    except (BrokenPipeError, SystemExit):  # click ends by SystemExit when stdout has no reader any more
        discard(sys.stdout)
        sys.exit(0)
    except _OutputLostError as error:
        say(
            f"{name}: its output could not all be written: {error}; what was recorded is kept; make room and ask again"
        )
        discard(sys.stdout)
        sys.exit(OUTPUT_LOST)
    except Exception as error:
        if os.environ.get(TRACEBACK):
            raise
        say(
            f"{name}: a defect of this program ({type(error).__name__}); nothing recorded is lost; "
            f"with {TRACEBACK}=1 in the environment it shows where"
        )
        sys.exit(DEFECT)
    sys.exit(code if isinstance(code, int) else 0)


class _OutputLostError(Exception):
    """Stdout cannot be written, and not because its reader left."""


class _Output(io.TextIOWrapper):
    """Stdout, whose own errors are told from those of other files.

    Raises:
        _OutputLostError: it cannot be written.
        BrokenPipeError: its reader left.
    """

    def write(self, text: str) -> int:
        with _tell_lost():
            return super().write(text)

    def flush(self) -> None:
        with _tell_lost():
            super().flush()


@contextlib.contextmanager
def _watch_output() -> Iterator[None]:
    """Let stdout be an :class:`_Output` while the block runs, if there is one."""
    given = sys.stdout
    if not isinstance(given, io.TextIOWrapper):  # None where a script closed it
        yield
        return
    given.flush()
    watched = _Output(
        given.buffer,
        encoding=given.encoding,
        errors=given.errors,
        line_buffering=given.line_buffering,
        write_through=given.write_through,
    )
    sys.stdout = watched
    try:
        yield
    finally:
        sys.stdout = given
        watched.detach()


@contextlib.contextmanager
def _tell_lost() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise _OutputLostError(error.strerror) from None


def discard(stream: TextIO) -> None:
    """Discard what is written to ``stream`` from now on, and what it still holds.

    Python flushes both streams as it ends, and ends with 120 where that fails.
    """
    with contextlib.suppress(OSError, ValueError):  # it has no descriptor, or was closed
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, stream.fileno())
        os.close(nothing)


class Styled(str):
    """Text with the sequences of a terminal that :func:`style` has written."""

    __slots__ = ()


def style(text: str, *, colour: str | None = None, bold: bool = False) -> Styled:
    """Style ``text`` for a terminal; names in it are escaped."""
    return Styled(click.style(escape_invisible(text), fg=colour, bold=bold))


def print_json(value: Json) -> None:
    """Print one JSON document on stdout; an invisible character of a string is written as JSON's escape of it."""
    text = to_canonical(value).decode("utf-8")
    if not (text.isascii() and text.isprintable()):
        text = "".join(json.dumps(each)[1:-1] if is_invisible(each) else each for each in text)
    click.echo(text)


def print_text(text: str = "") -> None:
    """Print text for people on stdout."""
    click.echo(_make_plain(text))


def say(text: str) -> None:
    """Print a message on stderr; it is dropped if stderr is closed, as with a closed terminal."""
    try:
        click.echo(_make_plain(text), err=True)
    except OSError:
        discard(sys.stderr)


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]], alarming: Container[int] = ()) -> None:
    """Print columns on stdout, as wide as their longest word; the ``alarming`` rows, by number, in red."""
    shown = [[_make_plain(word).replace("\n", "[U+000A]") for word in row] for row in [headings, *rows]]
    widths = [max(len(row[i]) for row in shown) for i in range(len(headings))]
    for number, row in enumerate(shown, start=-1):
        line = "  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip()
        if line:
            click.echo(click.style(line, fg="red", bold=True) if number in alarming else line)


def _make_plain(text: str) -> str:
    return text if isinstance(text, Styled) else escape_invisible(text)
