"""Tell a program or a server of this site's own people that something happened: one hook for each class of events.

::

    hooks:                                                     # in site.yaml
      approval_wanted: {program: [/usr/local/bin/mail-dpo]}
      incident: {url: https://tickets.hospital.example/consilium}
      budget_below: 1.0

Rules:

* what is told are public facts and the site's own: a study's identifier, a sentence, the time. Nothing is computed
  from records;
* the event is a signed statement as one JSON document (``docs/policy.md`` shows one): a program reads it from its
  standard input, a server gets it as the body of a POST;
* a hook never delays or ends anything: events wait in a queue of limited length, one thread delivers them, and what
  cannot be delivered after a few attempts is in the site's log;
* a program is started without a shell, with a fixed environment, and killed with all that it started when its time is
  over. A URL is https, or http to this machine; a redirection is a failure and is never followed.
"""

import contextlib
import logging
import os
import queue
import signal
import ssl
import subprocess
import threading
from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from typing import ClassVar, Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from privacy import labels
from privacy.address import is_loopback
from privacy.document import Document
from privacy.errors import LinkError
from privacy.fields import KeyText, SiteName
from privacy.keys import SigningKey
from privacy.ledger.ledger import read_utc_time
from privacy.proxy import make_http_client
from privacy.sentence import Sentence, fit_sentence
from privacy.signed import Signed, Statement

_log = logging.getLogger(__name__)

MAX_WAITING: Final = 100
ATTEMPT_PAUSES_S: Final = (5.0, 60.0)
"""Seconds between the attempts to deliver one event."""


class EventKind(StrEnum):
    """A class of events; also the key of its hook in ``site.yaml``."""

    APPROVAL_WANTED = "approval_wanted"
    """A study, or the release of its model, waits for this site's people."""
    STUDY_FINISHED = "study_finished"
    INCIDENT = "incident"
    """Something that is in the ledger as an incident; or the ledger itself does not verify."""
    BUDGET_LOW = "budget_low"
    """An admission has left a population less than ``budget_below``."""
    CERTIFICATE_ENDS = "certificate_ends"
    """A certificate of this site runs out soon."""


class HookEvent(Statement):
    """An event, as a hook is told of it. Signed by the site."""

    label: ClassVar[str] = labels.HOOK_EVENT

    version: Literal[1] = 1
    site: SiteName
    key: KeyText
    """The site's identity key, which signs."""
    event: EventKind
    time: str
    """UTC."""
    study: str | None
    sentence: Sentence


class ProgramHook(Document):
    """A program of this machine: its path, and its arguments."""

    program: tuple[str, ...] = Field(min_length=1)
    timeout_s: float = Field(default=10.0, gt=0, le=600)

    @field_validator("program")
    @classmethod
    def _absolute(cls, program: tuple[str, ...]) -> tuple[str, ...]:
        if not os.path.isabs(program[0]):
            raise ValueError(
                "expected the program's whole path, such as /usr/local/bin/mail-dpo, then its arguments"
            )
        return program


class UrlHook(Document):
    """A server that takes a POST."""

    url: str = Field(max_length=2000)
    timeout_s: float = Field(default=10.0, gt=0, le=600)

    @field_validator("url")
    @classmethod
    def _safe(cls, url: str) -> str:
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname or "", parts.port
        except ValueError:
            raise ValueError("expected a URL such as https://host/path") from None
        if not host or parts.username or parts.password or not url.isprintable():
            raise ValueError("expected a URL such as https://host/path, without a name or a password in it")
        if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(host)):
            raise ValueError("expected https, or http to this machine alone")
        return url


Hook = ProgramHook | UrlHook


class HooksConfig(Document):
    """The hooks of ``site.yaml``: one for each class of events, and the mark below which a budget is low."""

    approval_wanted: Hook | None = None
    study_finished: Hook | None = None
    incident: Hook | None = None
    budget_low: Hook | None = None
    certificate_ends: Hook | None = None
    budget_below: float = Field(default=1.0, gt=0)
    """In epsilon."""

    def find(self, kind: EventKind) -> Hook | None:
        """Return the hook of a class of events; None if there is none."""
        hook: Hook | None = getattr(self, kind.value)
        return hook


class Hooks:
    """The hooks of one running site."""

    def __init__(
        self,
        config: HooksConfig,
        site: str,
        key: SigningKey,
        clock: Callable[[], datetime] = read_utc_time,
        pauses_s: tuple[float, ...] = ATTEMPT_PAUSES_S,
    ) -> None:
        self.config = config
        self._site, self._key, self._clock, self._pauses_s = site, key, clock, pauses_s
        self._events: queue.Queue[tuple[Hook, bytes, str]] = queue.Queue(MAX_WAITING)
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def tell(self, kind: EventKind, sentence: str, study: str | None = None) -> None:
        """Tell the hook of ``kind``, if there is one, later and from another thread; this never fails or waits."""
        hook = self.config.find(kind)
        if hook is None or self._stopping.is_set():
            return
        event = HookEvent(
            site=self._site,
            key=self._key.public.text,
            event=kind,
            time=f"{self._clock():%Y-%m-%dT%H:%M:%SZ}",
            study=study,
            sentence=fit_sentence(sentence),
        )
        try:
            self._events.put_nowait((hook, Signed[HookEvent].sign(self._key, event).to_bytes(), kind.value))
        except queue.Full:
            _log.warning("the hook %s is not told: %d events wait already", kind, MAX_WAITING)
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._deliver_all, name="hooks", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Stop delivering; a program that runs is killed, and what waits is in the log."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout=5.0)

    def _deliver_all(self) -> None:
        while not self._stopping.is_set():
            try:
                hook, data, name = self._events.get(timeout=0.2)
            except queue.Empty:
                continue
            self._deliver(hook, data, name)
        for _, _, name in iter(self._take_waiting, None):
            _log.warning("the hook %s was not told: the site stops", name)

    def _take_waiting(self) -> tuple[Hook, bytes, str] | None:
        try:
            return self._events.get_nowait()
        except queue.Empty:
            return None

    def _deliver(self, hook: Hook, data: bytes, name: str) -> None:
        for pause_s in (*self._pauses_s, None):
            try:
                why = self._run(hook, data) if isinstance(hook, ProgramHook) else _post(hook, data)
            except Exception as error:
                why = f"it failed ({type(error).__name__})"
            if why is None:
                return
            _log.warning("the hook %s was not told: %s%s", name, why, "" if pause_s is None else "; again soon")
            if pause_s is None or self._stopping.wait(pause_s):
                return

    def _run(self, hook: ProgramHook, data: bytes) -> str | None:
        """Run a program once; return why it failed, None if it did not."""
        try:
            process = subprocess.Popen(
                hook.program,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"},
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            return f"{hook.program[0]} does not start: {error.strerror}"
        feeder = threading.Thread(target=_feed, args=(process, data), daemon=True)
        feeder.start()
        try:
            left_s = hook.timeout_s
            while process.poll() is None and left_s > 0 and not self._stopping.is_set():
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(min(0.1, left_s))
                left_s -= 0.1
            if process.poll() is None:
                return f"{hook.program[0]} did not end within {hook.timeout_s:g} s and was killed"
            return None if process.returncode == 0 else f"{hook.program[0]} ended with {process.returncode}"
        finally:
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)  # what it started too
            process.wait()


def _feed(process: subprocess.Popen[bytes], data: bytes) -> None:
    """Write ``data`` to a program that may not read it."""
    assert process.stdin is not None
    with contextlib.suppress(OSError, ValueError):
        process.stdin.write(data + b"\n")
        process.stdin.close()


def _post(hook: UrlHook, data: bytes) -> str | None:
    """Post ``data`` once; return why it failed, None if it did not."""
    import httpx  # a command that calls no hook starts without it

    parts = urlsplit(hook.url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    try:
        with make_http_client(host, port, ssl.create_default_context(), hook.timeout_s) as client:
            headers = {"Content-Type": "application/json"}
            # the body of the answer is never read: a server cannot make this site read without end
            with client.stream("POST", hook.url, content=data, headers=headers, follow_redirects=False) as reply:
                status = reply.status_code
    except (httpx.HTTPError, LinkError, ssl.SSLError) as error:
        return f"{host} cannot be reached ({type(error).__name__})"
    if 300 <= status < 400:
        return f"{host} redirects (status {status}), which is not followed"
    return None if 200 <= status < 300 else f"{host} answered with status {status}"
