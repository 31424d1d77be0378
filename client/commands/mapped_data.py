"""Convert a hospital's own data for a command that uses a released model; nothing of them stays."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from client.commands.data_sources import format_left_out, show_progress
from privacy.command_line import say
from privacy.study import AnyContract


@contextlib.contextmanager
def open_mapped(contract: AnyContract, mapping: Path, *, with_targets: bool) -> Iterator[Path]:
    """Convert what ``mapping`` names, say what was left out, and give the file of the records.

    The file is in a private folder, which is removed at the end of the block.

    Raises:
        DataUnavailableError, DataError, SiteConfigError, StorageError: it cannot be converted.
    """
    from client.data.conversion.convert import convert_for_prediction

    with contextlib.ExitStack() as stack:
        with show_progress() as show:
            converted = stack.enter_context(
                convert_for_prediction(contract, mapping, show, with_targets=with_targets)
            )
        report = converted.report
        for each in report.quarantined:
            for line in format_left_out(each):
                say(line)
        for sentence in (*report.warnings, *report.notes):
            say(f"note: {sentence}")
        yield converted.records
