"""Run the three commands: data on stdout, messages on stderr, one sentence and one exit code for every failure.

What is printed may hold names from files: columns, code words, DICOM strings, names of files. So every text is printed
here, with its invisible characters written as code points; only what this program styles itself (:func:`style`) reaches
a terminal as it is.

Exit codes are listed in ``docs/exit-codes.md``: 0 done, 2 written wrongly, 130 interrupted, 1 a defect of this
program, and those of ``privacy/errors.py``.
"""

import contextlib
import json
import os
import sys
from collections.abc import Container, Sequence
from typing import Final, NoReturn

import click

from privacy.canonical import Json, to_canonical
from privacy.errors import Error
from privacy.process_lifetime import take_default_signals
from privacy.sentence import escape_invisible, is_invisible

INTERRUPTED: Final = 130
DEFECT: Final = 1
TRACEBACK: Final = "CONSILIUM_TRACEBACK"


class Commands(click.Group):
    """A group of commands whose summaries are shown in full, on as many lines as they need."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands, without cutting long summaries as click does."""
        found = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [(name, each.get_short_help_str(10_000)) for name, each in found if each is not None]
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)


def run(commands: click.Group, name: str) -> NoReturn:
    """Run a console script and end the process; no traceback reaches a user."""
    take_default_signals()
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
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        if os.environ.get(TRACEBACK):
            raise
        say(
            f"{name}: a defect of this program ({type(error).__name__}); nothing recorded is lost; "
            f"with {TRACEBACK}=1 in the environment it shows where"
        )
        sys.exit(DEFECT)
    sys.exit(code if isinstance(code, int) else 0)


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
    with contextlib.suppress(OSError):
        click.echo(_make_plain(text), err=True)


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
