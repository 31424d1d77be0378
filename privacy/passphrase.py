"""Take a passphrase from a file, or from somebody at the terminal; never from the command line, which others see."""

import os
import stat
import sys
from pathlib import Path
from typing import Final

import click

from privacy.errors import Error

SHORTEST: Final = 12
_MOST_BYTES: Final = 4096

passphrase_option = click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path),
    envvar="CONSILIUM_PASSPHRASE_FILE",
    show_envvar=True,
    help="The passphrase is the first line of this file; without it you are asked.",
)


def take_new_passphrase(encrypt: bool, file: Path | None, error: type[Error]) -> str | None:
    """Take the passphrase of an archive that is to be written; None if it is not to be encrypted.

    Raises:
        error: it cannot be had, or is shorter than 12 characters.
    """
    if file is not None:
        return read_passphrase_file(file, error)
    return ask_for_passphrase(error, new=True) if encrypt else None


def take_passphrase(file: Path | None, error: type[Error]) -> str:
    """Take the passphrase of an archive that is encrypted.

    Raises:
        error: it cannot be had.
    """
    return ask_for_passphrase(error, new=False) if file is None else read_passphrase_file(file, error)


def read_passphrase_file(path: Path, error: type[Error]) -> str:
    """Read the first line of a file, as the passphrase.

    Raises:
        error: it cannot be read, others may read it, or its passphrase is shorter than 12 characters.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            lines = file.read(_MOST_BYTES).decode("utf-8").splitlines()
    except OSError as cause:
        raise error(f"{path}: the passphrase cannot be read: {cause.strerror}") from None
    except UnicodeDecodeError:
        raise error(f"{path}: the passphrase is not UTF-8 text") from None
    if stat.S_ISREG(mode) and mode & 0o007:
        raise error(f"{path}: everybody on this machine may read the passphrase; run: chmod 600 {path}")
    passphrase = lines[0] if lines else ""
    _require_length(passphrase, str(path), error)
    return passphrase


def ask_for_passphrase(error: type[Error], new: bool) -> str:
    """Ask at the terminal, twice for a ``new`` one.

    Raises:
        error: nobody is at a terminal, or it is shorter than 12 characters.
    """
    if not sys.stdin.isatty():
        raise error("nobody is here to be asked for the passphrase; name a file that has it: --passphrase-file")
    passphrase = str(click.prompt("Passphrase", hide_input=True, confirmation_prompt=new, err=True))
    if new:
        _require_length(passphrase, "the passphrase", error)
    return passphrase


def _require_length(passphrase: str, where: str, error: type[Error]) -> None:
    if len(passphrase) < SHORTEST:
        raise error(
            f"{where}: the passphrase has {len(passphrase)} characters, expected at least {SHORTEST}: "
            "six random words are a good one"
        )
