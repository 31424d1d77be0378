"""Ask before a command does what cannot be undone, and read the account that runs it."""

import getpass
import sys

import click


def require_confirmation(question: str, yes: bool) -> None:
    """Ask a person before what cannot be undone, unless ``yes`` was given on the command line.

    Raises:
        click.UsageError: there is no terminal at which to ask.
        click.Abort: the answer is no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(
            "this cannot be undone, and nobody can be asked here: if it is meant, say so with --yes"
        )
    click.confirm(question, abort=True, err=True)


def ask_at_terminal(question: str, yes: bool) -> None:
    """Ask the person at the terminal, if there is one; a script has given all answers on its command line.

    Raises:
        click.Abort: the answer is no.
    """
    if not yes and sys.stdin.isatty():
        click.confirm(question, abort=True, err=True)


def read_machine_account() -> str | None:
    """Return the account that this command runs under, as the operating system names it."""
    try:
        return getpass.getuser()[:100] or None
    except (OSError, KeyError):
        return None
