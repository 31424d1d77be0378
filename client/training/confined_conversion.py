"""Convert a hospital's data in a confined process: files from many hands are never parsed beside the site's keys.

HDF5, Parquet, TIFF, JPEG and others are read by libraries written in C. A file that takes one of them over gets a
process without network and keys, that reads what the mapping names and writes the new snapshot
(``client/training/confinement.py`` says how far the machine allows it).

Rules:

* the result is a folder of plain files. The site reads them as it reads files from anybody: links and other files are
  refused, arrays are never unpickled, the report is a bounded document;
* errors, progress and Ctrl-C are those of a conversion in this process (``client/data/conversion/convert.py``);
* a mapping that reads a database server keeps the network, and ``libpq``'s files and variables. Only bubblewrap hides
  the site's files then: a filter of system calls, and so Landlock, would leave no socket;
* links within the folders that a mapping names are followed, but never into the site's folder.
"""

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from client.data.conversion.convert import QUARANTINE_FILE, REPORT_FILE, read_mapping
from client.data.conversion.events.converter import LISTING_FILE
from client.data.conversion.findings import Progress
from client.data.conversion.kept_snapshots import read_report
from client.data.conversion.reach import Reach, find_reach
from client.data.conversion.report import ConversionError, SnapshotReport
from client.site.launcher import Confinement
from client.training import frames
from client.training.confinement import Found, InForce, choose_confinement, confine, make_environment
from client.training.conversion_child import ERRORS, MAX_ANSWER, Answer, Defect, Ended, Failed, Order, Told
from privacy.canonical import from_canonical
from privacy.command_line import TRACEBACK
from privacy.document import parse
from privacy.errors import DataError, SiteConfigError, TrainingError, WireError
from privacy.study import AnyContract

_PROGRAM: Final = (sys.executable, "-P", "-m", "client.training.conversion_child")
_MADE: Final = frozenset({"train.npz", "test.npz", REPORT_FILE, QUARANTINE_FILE, LISTING_FILE, ".lock"})
MAX_MEMORY: Final = 8 << 30
_STOP_S: Final = 5.0
_MOST_PATHS: Final = 2000  # what a command line has room for
_NETWORK_FILES: Final = tuple(
    map(
        Path,
        ("/etc/hosts", "/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/passwd", "/etc/ssl", "/run/systemd/resolve"),
    )
)
_HOME_FILES: Final = (".postgresql", ".pgpass", ".pg_service.conf")


@dataclass(frozen=True)
class ConfinedConversion:
    """A conversion in a confined process; called as :func:`client.data.conversion.convert.convert_to` is.

    Attributes:
        confinement: how much the site insists on.
        site_folder: the folder of keys and ledger; None where there is no site.
        most_memory: of the process, in bytes.
        program: what the process runs; a descriptor's number is added.
    """

    confinement: Confinement = Confinement.AVAILABLE
    site_folder: Path | None = None
    most_memory: int = MAX_MEMORY
    program: Sequence[str] = _PROGRAM

    def __call__(
        self,
        contract: AnyContract,
        mapping_path: Path,
        folder: Path,
        most_quarantined: float,
        report_progress: Progress | None = None,
        *,
        with_targets: bool = True,
        divided: bool = True,
    ) -> SnapshotReport:
        """Convert what ``mapping_path`` names into the empty private ``folder``.

        Raises:
            DataUnavailableError, ConversionError, SiteConfigError, StorageError: as of ``convert_to``.
            DataError: the process crashed, or needs too much memory.
        """
        reach = find_reach(read_mapping(contract, mapping_path)[1], mapping_path)
        order = Order(
            contract=contract,
            working_folder=os.getcwd(),
            mapping=str(mapping_path),
            folder=str(folder.absolute()),
            most_quarantined=most_quarantined,
            with_targets=with_targets,
            divided=divided,
            most_memory=self.most_memory,
        )
        process, stream = self._start(reach, folder)
        try:
            with stream:
                ended = _follow(process, stream, order, report_progress or (lambda *_: None))
        except BaseException:
            process.kill()
            raise
        finally:
            _await_end(process)
        _require_plain_files(folder)
        report = read_report(folder)
        if not ended.usable:
            raise ConversionError(report)
        return report

    def _start(self, reach: Reach, folder: Path) -> tuple[subprocess.Popen[bytes], socket.socket]:
        found, visible = self._choose(reach), list_visible(reach, self.site_folder)
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                command = confine(
                    [*self.program, str(theirs.fileno())],
                    found,
                    visible,
                    self.site_folder,
                    writable=[folder],
                    network=reach.has_server,
                )
                shows = None if os.environ.get(TRACEBACK) else subprocess.DEVNULL
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=shows,
                    pass_fds=(theirs.fileno(),),
                    cwd="/",
                    env=_make_environment(reach, folder),
                    start_new_session=True,  # Ctrl-C is for the site, which ends the process
                )
        except TrainingError as error:
            ours.close()
            raise SiteConfigError(str(error)) from None
        except OSError as error:
            ours.close()
            raise SiteConfigError(f"the process that reads the data does not start: {error.strerror}") from None
        return process, ours

    def _choose(self, reach: Reach) -> Found:
        found = choose_confinement(self.confinement)
        if not reach.has_server:
            return found
        if found.in_force is InForce.BUBBLEWRAP:
            return found._replace(filters_calls=False)
        if self.confinement is Confinement.REQUIRED:
            raise SiteConfigError(
                "site.yaml says confinement: required, and a mapping that reads a database server is confined by "
                "bubblewrap alone; install and allow it, or write confinement: available"
            )
        return Found(InForce.NONE, "the mapping reads a database server", filters_calls=False)


def describe_conversion(confinement: Confinement) -> tuple[str, bool]:
    """Describe what confines conversions on this machine; return also whether it hides the site's files.

    Raises:
        SiteConfigError: ``confinement: required``, and it does not work here.
    """
    found = choose_confinement(confinement)
    match found.in_force:
        case InForce.BUBBLEWRAP:
            has = "without network and keys"
        case InForce.LANDLOCK:
            has = "without network and keys, and beside the site's where it reads a database server"
        case InForce.FILTER:
            has = "without network that could read what the site's user may read"
        case InForce.NONE:
            has = "that has what the site's user has"
    return f"hospital data are read by a process {has}", found.hides_files


def list_visible(reach: Reach, site_folder: Path | None) -> list[Path]:
    """List what the process sees: what the mapping names, and what links there lead to.

    Raises:
        SiteConfigError: there are too many links.
    """
    found = dict.fromkeys([*reach.paths, *(_list_network_files() if reach.has_server else ())])
    waiting = list(reach.paths)
    while waiting:
        folder = waiting.pop()
        for link in _list_links(folder):
            target = link.parent / os.readlink(link)
            if target in found or (site_folder is not None and _lies_in(target, site_folder)):
                continue
            found[target] = None
            waiting.append(target)
            if len(found) > _MOST_PATHS:
                raise SiteConfigError(
                    f"{folder}: has more than {_MOST_PATHS} links to other places; name the place itself in the mapping"
                )
    return list(found)


def _list_links(folder: Path) -> Iterator[Path]:
    """Yield the links in a folder and in all folders in it; none if it is no folder."""
    for place, folders, files in os.walk(folder):
        yield from (Path(place, name) for name in (*folders, *files) if os.path.islink(os.path.join(place, name)))


def _lies_in(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())


def _follow(
    process: subprocess.Popen[bytes], stream: socket.socket, order: Order, report_progress: Progress
) -> Ended:
    """Give the order, pass on how far it is, and return the end."""
    last = ""
    try:
        frames.send(stream, order.to_bytes())
        while True:
            match _receive(stream):
                case Told() as told:
                    last = told.what
                    report_progress(told.what, told.done, told.total)
                case Ended() as ended:
                    return ended
                case Failed() as failed:
                    raise ERRORS[failed.error](failed.sentence)
                case Defect() as defect:
                    raise DataError(
                        f"{_name_last(order, last)}: a defect of this program ({defect.error}); with {TRACEBACK}=1 in "
                        "the environment it shows where"
                    )
    except (EOFError, OSError, frames.TooLongError, WireError):
        raise DataError(
            f"{_name_last(order, last)}: the process that reads it {_describe_end(process)}: a file is damaged, or "
            "made to do harm; find it by leaving files out"
        ) from None


def _receive(stream: socket.socket) -> Told | Ended | Failed | Defect:
    data = bytes(frames.receive(stream, MAX_ANSWER))
    return parse(from_canonical(data), Answer, WireError, "the answer").said


def _name_last(order: Order, last: str) -> str:
    return f"{order.mapping}, at '{last}'" if last else order.mapping


def _describe_end(process: subprocess.Popen[bytes]) -> str:
    try:
        code = process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        return "closed its connection"
    return f"ended with exit code {code}" if code >= 0 else f"was ended by signal {-code}"


def _await_end(process: subprocess.Popen[bytes]) -> None:
    """Wait until nothing writes into the folder any more."""
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _require_plain_files(folder: Path) -> None:
    """Refuse what a process that was taken over may have left: a link leads to whatever it likes.

    Raises:
        DataError: there is something else than the files of a snapshot.
    """
    for path in folder.iterdir():
        status = path.lstat()
        if path.name not in _MADE or not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            raise DataError(
                f"the process that reads the data has left something in {folder} that is no file of a snapshot; find "
                "the file that made it do so by leaving files out"
            )


def _list_network_files() -> Iterable[Path]:
    return (*_NETWORK_FILES, *(Path.home() / name for name in _HOME_FILES))


def _make_environment(reach: Reach, folder: Path) -> dict[str, str]:
    """Return the environment of the process: passwords of this mapping's own databases, and no others."""
    own = {name: os.environ[name] for name in reach.passwords if name in os.environ}
    if reach.has_server:
        own |= {name: value for name, value in os.environ.items() if name.startswith("PG") or name == "HOME"}
    return {**make_environment(), "TMPDIR": str(folder.absolute()), **own}
