"""Check the coordinator's keys, clock, process, members, studies and logs."""

import ctypes
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Final

from privacy.health import Line, amber, green, red
from privacy.sqlite_file import connect
from server.federation.folder import Federation
from server.study.events import StudyStatus
from server.study.journal import Journal

_TIME_ERROR: Final = 5  # adjtimex(2): the clock is not synchronised
_TIMEX_BYTES: Final = 512  # more than struct timex has
_AHEAD_S: Final = 60.0


def check_keys(federation: Federation) -> Iterator[Line]:
    """Check the coordinator's identity key.

    Raises:
        KeyFileError: it is missing, damaged or readable by others.
    """
    yield green("keys", f"identity {federation.load_identity().public.typed}")


def check_time(federation: Federation) -> Iterator[Line]:
    """Check that this machine's clock is kept right, and has not gone back behind the audit log.

    Raises:
        FederationError: the audit log does not verify.
    """
    last = max((entry.time for entry in federation.open_audit_log().read()), default=0.0)
    if last > time.time() + _AHEAD_S:
        yield red(
            "time", f"the audit log's last entry is {last - time.time():.0f} s ahead of this clock", "set the clock"
        )
    elif _is_unsynchronised():
        yield amber(
            "time",
            "the system does not say that its clock is synchronised",
            "let NTP keep it (chrony, systemd-timesyncd): signatures are refused when clocks differ by 300 s",
        )
    else:
        yield green("time", "the clock is synchronised")


def _is_unsynchronised() -> bool:
    """Return whether the kernel says that no program keeps its clock right."""
    try:
        state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    except (OSError, AttributeError):
        return True
    return state in (-1, _TIME_ERROR)


def check_process(federation: Federation) -> Iterator[Line]:
    """Check that the coordinator runs and answers, and which sites are online.

    Raises:
        FederationError: the folder's path is too long for a socket.
    """
    from privacy.control.channel import ControlClient, NotRunningError

    client = ControlClient.local(federation.folder)
    try:
        sites = client.call("ListSites")["items"]
        requests = [each for each in client.call("ListRequests")["items"] if each["request"]]
    except NotRunningError:
        yield red("service", "the coordinator does not run", "start it: consilium up")
        return
    finally:
        client.close()
    yield green("service", "the coordinator runs and answers")
    offline = [each["name"] for each in sites if not each["online"]]
    found = f"{len(sites) - len(offline)} of {len(sites)} sites are online"
    if requests:
        waiting = ", ".join(each["name"] for each in requests)
        yield amber("members", f"{found}; requests wait: {waiting}", "look at them: consilium requests")
    elif offline:
        yield amber("members", f"{found}; not {', '.join(offline)}", "call them, if they should be")
    elif not sites:
        yield amber("members", "no site is enrolled", "invite one: consilium invite --help")
    else:
        yield green("members", found)


def check_studies(federation: Federation) -> Iterator[Line]:
    """Check every study that is not finished.

    Raises:
        FederationError: a journal cannot be read.
    """
    stuck, running = [], []
    for study in federation.list_studies():
        with Journal(federation.find_study_folder(study)) as journal:
            status, history = journal.read_status(), journal.read_history()
        if status is StudyStatus.STOPPED:
            stuck.append(f"{study} is stopped: {history.stopped}")
        elif history.waiting:
            stuck.append(f"{study} waits: {history.waiting}")
        elif status is StudyStatus.OPEN:
            running.append(study)
    found = f"open: {', '.join(running) or 'none'}"
    if stuck:
        yield amber("studies", f"{found}; {'; '.join(stuck)}", "consilium study show STUDY says more")
    else:
        yield green("studies", found)


def check_records(federation: Federation) -> Iterator[Line]:
    """Check the chain of the audit log, and the files of journals and of countersigned heads.

    Raises:
        FederationError: the audit log does not verify.
    """
    number = sum(1 for _ in federation.open_audit_log().read())
    paths = [
        federation.folder / "witness.sqlite",
        *(federation.find_study_folder(study) / "journal.sqlite" for study in federation.list_studies()),
    ]
    for path in paths:
        if not path.exists():
            continue
        try:
            with closing(connect(path, "mode=rw", 10.0)) as connection:
                damage = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        except sqlite3.Error as error:
            damage = str(error)
        if damage != "ok":
            yield red(
                "records", f"{path.name} in {path.parent} is damaged: {damage}", "restore it from your backup"
            )
            return
    yield green("records", f"{number} entries of the audit log verify, all journals and heads can be read")
