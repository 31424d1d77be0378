"""A site at work: the agent in this process, training in a warm child, both ended together.

Talk goes to stderr, one line an event; figures computed from records go to ``log/`` and nowhere else.
"""

import fcntl
import os
import threading
import time
from collections.abc import Callable

from client.agent import AgentEvent, serve
from client.data import StudyFiles
from client.home import SiteHome
from client.site import Site
from client.trainer import Trainer
from client.trust import warn_in_time
from privacy.console import say
from privacy.errors import SiteConfigError
from privacy.lifetime import stop_on_signals
from privacy.logs import log_to
from privacy.study import Terms


def serve_site(home: SiteHome) -> None:
    """Take part in studies until stopped by a signal (``privacy/lifetime.py``).

    Raises:
        SiteConfigError: the folder is not that of a site that has joined, or another process serves it.
        LinkError: the coordinator does not know this site.
        LedgerError, KeyFileError: book or keys cannot be believed.
    """
    config, admission = home.config, home.admission()
    lock = _lock(home)
    log_to(home.folder / "log", "site")
    stop = threading.Event()
    stop_on_signals(stop)

    def training_for(terms: Terms, files: StudyFiles) -> Trainer:
        return Trainer(terms, files, config.device, home.log_path, config.precision)

    site = Site(home, training_for)
    try:
        say(f"{site.name}: serving {home.folder}")
        if warning := warn_in_time(home.ca_path, time.time()):
            say(f"{site.name}: {warning}")
        serve(
            admission.address, home.ca_path, home.node_key_path, site.answer, on_event=_tell(site.name), stop=stop
        )
    finally:
        site.close()
        os.close(lock)
    say(f"{site.name}: stopped")


def _tell(name: str) -> Callable[[AgentEvent], None]:
    def on_event(event: AgentEvent) -> None:
        size = f" ({event.size} bytes)" if event.size else ""
        say(f"{name}: {event.kind}: {event.sentence}{size}")

    return on_event


def _lock(home: SiteHome) -> int:
    """One process serves a site's folder; the lock ends with the process."""
    descriptor = os.open(home.folder / "up.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise SiteConfigError(f"{home.folder}: another 'consilium-site up' serves this site already") from None
    return descriptor
