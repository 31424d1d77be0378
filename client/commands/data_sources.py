"""Find the two files that a ``data`` command is about: named, converted by a mapping, or registered.

A site's own data are converted to a snapshot, which stays in this process's hands until the command ends. What a
conversion found is told by its places, and never with a value.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from client.data.conversion.report import ConversionError, LeftOut, SnapshotReport
from client.data.inspection import CheckReport, TableFinding
from client.site.folder import SITE_FILE, SiteFolder
from client.site.launcher import find_confinement
from client.site.registry import Registration
from privacy.command_line import print_table, print_text, say
from privacy.errors import DataError, SiteConfigError, StorageError
from privacy.invisible import escape_invisible
from privacy.study import AnyContract

if TYPE_CHECKING:
    from client.data.conversion.kept_snapshots import Snapshot
    from client.training.confined_conversion import ConfinedConversion

_CLEAR: Final = "\033[K"  # to the end of the line (ECMA-48)


@dataclass(frozen=True)
class Files:
    """The two files, and the snapshot that they are in, if they were converted by ``mapping``."""

    train: Path
    test: Path
    mapping: Path | None = None
    snapshot: "Snapshot | None" = field(default=None, repr=False)

    @property
    def report(self) -> SnapshotReport | None:
        """What the conversion found, if there was one."""
        return None if self.snapshot is None else self.snapshot.report


def find_files(
    home: SiteFolder, contract: AnyContract, train: Path | None, test: Path | None, mapping: Path | None
) -> Files:
    """Return the files that were named, or those of the snapshot that ``mapping`` gives: the one named, or registered.

    Raises:
        ConversionError: the sources cannot be used.
        DataUnavailableError, SiteConfigError, StorageError: they cannot be read, or a snapshot not be made.
    """
    if mapping is not None and (train is not None or test is not None):
        raise SiteConfigError("--mapping makes both files; leave out --train and --test")
    if mapping is None and train is not None and test is not None:
        return Files(train, test)
    known = home.load_registry().find_nearest(contract)
    if mapping is None and train is None and test is None and known is not None and known.mapping is not None:
        mapping = Path(known.mapping)
    if mapping is None:
        raise SiteConfigError(
            "name both files (--train and --test), or a mapping of the hospital's data (--mapping)"
        )
    snapshot = _convert(home, contract, mapping)
    return Files(snapshot.train, snapshot.test, mapping, snapshot)


def find_files_to_check(
    home: SiteFolder, contract: AnyContract, train: Path | None, test: Path | None, mapping: Path | None
) -> tuple[Files, list[TableFinding]]:
    """Return the files to look at, and what has changed since they were registered.

    Without a name they are the registered ones. If these were converted, their sources are compared with what they
    were; a snapshot of what they are now is made, where only reading tells, and kept for ``data add``.

    Raises:
        ConversionError, DataUnavailableError, SiteConfigError, StorageError: as :func:`find_files`.
    """
    known = home.load_registry().find_nearest(contract)
    same = known is not None and known.contract.digest == contract.digest
    if mapping is not None or known is None or (known.mapping is not None and not same):
        if mapping is None and known is None and (train is None or test is None):
            raise SiteConfigError(
                f"no data are registered as '{contract.name}'; name both files (--train and --test), or a mapping of "
                "the hospital's data (--mapping)"
            )
        return find_files(home, contract, train, test, mapping), []
    files = Files(train or Path(known.train), test or Path(known.test))
    if known.mapping is None or train is not None or test is not None:
        return files, []
    return _compare_with_sources(home, known, files)


def describe_failure(contract: AnyContract, error: ConversionError) -> CheckReport:
    """Describe a conversion that gave nothing: each mistake is a finding."""
    return CheckReport(
        contract=contract.name,
        contract_sha256=contract.digest,
        conversion=error.report,
        public_patients=None,
        training=None,
        test=None,
        findings=tuple(
            TableFinding(level="mistake", where="sources", sentence=each) for each in error.report.mistakes
        ),
    )


def list_source_warnings(report: SnapshotReport | None) -> list[TableFinding]:
    """List what a conversion found that is probably not meant."""
    return [] if report is None else [_warn(each) for each in report.warnings]


def print_conversion(home: SiteFolder, report: SnapshotReport, folder: Path | None) -> None:
    """Print what a conversion found, on stdout; ``folder`` is the snapshot's, if there is one."""
    print_text(
        f"sources: {len(report.sources)} read; {report.training} records for training, {report.test} held out"
    )
    for each in report.quarantined:
        for line in format_left_out(each):
            print_text(line)
    if report.quarantined:
        from client.data.conversion.convert import QUARANTINE_FILE
        from client.data.conversion.kept_snapshots import REFUSED_FILE

        places = home.snapshots / REFUSED_FILE if folder is None else folder / QUARANTINE_FILE
        print_text(f"    all places: {places}")
    if report.columns:
        rows = [
            (each.name, *(str(count) for count in (each.missing, each.below, each.above)))
            for each in report.columns
        ]
        print_table(("column", "missing", "below the range", "above it"), rows)
    for note in report.notes:
        print_text(f"note: {note}")


def _convert(home: SiteFolder, contract: AnyContract, mapping: Path) -> "Snapshot":
    from client.data.conversion.kept_snapshots import make_snapshot

    most, convert = home.policy.most_quarantined, make_conversion(home)
    with show_progress() as show:
        return make_snapshot(contract, mapping, home.snapshots, most, show, convert=convert)


def make_conversion(home: SiteFolder) -> "ConfinedConversion":
    """Make the conversion of this site: in a process as confined as ``site.yaml`` asks for, if there is a site.

    Raises:
        SiteConfigError: ``site.yaml`` cannot be read.
    """
    from client.training.confined_conversion import ConfinedConversion

    if not (home.folder / SITE_FILE).exists():
        return ConfinedConversion()
    return ConfinedConversion(find_confinement(home.config.launcher), home.folder)


def _compare_with_sources(home: SiteFolder, known: Registration, files: Files) -> tuple[Files, list[TableFinding]]:
    """Look whether the registered mapping still gives the registered files."""
    from client.data.conversion.kept_snapshots import find_snapshot

    assert known.mapping is not None
    mapping = Path(known.mapping)
    registered = find_snapshot(Path(known.train), home.snapshots)
    again = "register what they are now: consilium-site data add STUDY.yaml"
    try:
        newer = _convert(home, known.contract, mapping)
    except StorageError:
        raise
    except (DataError, SiteConfigError) as error:
        return files, [_warn(f"studies use the registered snapshot; a new one cannot be made: {error}")]
    if registered is None:
        return files, [_warn(f"the registered snapshot is not in {home.snapshots} any more; {again}")]
    changes = registered.report.list_changes(newer.report)
    found = Files(files.train, files.test, mapping, registered)
    if not changes:
        return found, [TableFinding(level="note", where="sources", sentence="as they were when registered")]
    return found, [_warn(f"since they were registered: {', '.join(changes)}; {again}")]


def _warn(sentence: str) -> TableFinding:
    return TableFinding(level="warning", where="sources", sentence=sentence)


def format_left_out(left_out: LeftOut) -> list[str]:
    """Return the lines that tell what was left out, and the first places."""
    places = [
        f"    {place.source}"
        + (f", row {place.row}" if place.row else "")
        + (f", column {place.column}" if place.column else "")
        for place in left_out.places
    ]
    return [f"left out: {left_out.count}: {left_out.reason}", *places]


@contextlib.contextmanager
def show_progress() -> Iterator[Callable[[str, int, int | None], None]]:
    """Show on one line how far a conversion is, while the block runs; on a terminal only."""
    shown = False

    def show(what: str, done: int, total: int | None) -> None:
        nonlocal shown
        if sys.stderr.isatty():
            shown = True
            click.echo(
                f"\r{_CLEAR}{escape_invisible(what)}: {done}" + (f" of {total}" if total else ""),
                nl=False,
                err=True,
            )

    try:
        yield show
    finally:
        if shown:
            click.echo(f"\r{_CLEAR}", nl=False, err=True)


def say_conversion(report: SnapshotReport) -> None:
    """Say in a few lines what a conversion found."""
    sources = f"{len(report.sources)} {'source' if len(report.sources) == 1 else 'sources'}"
    say(f"converted {sources}: {report.training} records for training, {report.test} held out")
    for each in report.quarantined:
        say(f"left out: {each.count}: {each.reason}")
    for note in report.notes:
        say(f"note: {note}")
