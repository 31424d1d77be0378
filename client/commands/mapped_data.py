"""Convert a hospital's own data for a command that uses a released model; nothing of them stays."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import click

from client.commands.data_sources import format_left_out, make_conversion, show_progress
from client.site.folder import SiteFolder
from privacy.command_line import say
from privacy.study import AnyContract


@contextlib.contextmanager
def open_mapped(contract: AnyContract, mapping: Path, *, with_targets: bool, warns: bool = True) -> Iterator[Path]:
    """Convert what ``mapping`` names, say what was left out, and give the file of the records.

    The file is in a private folder, which is removed at the end of the block. If the command's folder is a site's, its
    ``site.yaml`` says how the conversion is confined. ``warns`` says whether to tell what is probably not meant.

    Raises:
        DataUnavailableError, DataError, SiteConfigError, StorageError: it cannot be converted.
    """
    from client.data.conversion.convert import convert_for_prediction

    home = click.get_current_context().find_object(SiteFolder)
    assert home is not None, "every command of a site has its folder"
    convert = make_conversion(home)
    with contextlib.ExitStack() as stack:
        with show_progress() as show:
            converted = stack.enter_context(
                convert_for_prediction(contract, mapping, show, convert=convert, with_targets=with_targets)
            )
        report = converted.report
        for each in report.quarantined:
            for line in format_left_out(each):
                say(line)
        for sentence in (*(report.warnings if warns else ()), *report.notes):
            say(f"note: {sentence}")
        yield converted.records
