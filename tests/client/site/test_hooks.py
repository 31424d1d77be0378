"""Hooks: real programs and a real server; none of them can delay, end or flood the site."""

import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from client.site.config import SiteConfig
from client.site.hooks import EventKind, HookEvent, Hooks, HooksConfig
from privacy.document import parse
from privacy.errors import SiteConfigError
from privacy.signed import Signed
from tests.privacy.launch_makers import SITE_KEYS

KEY = SITE_KEYS["ash"]


def wait_for(ready: Callable[[], Any], patience_s: float = 10.0) -> None:
    end = time.monotonic() + patience_s
    while not ready():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture
def started() -> Iterator[list[Hooks]]:
    made: list[Hooks] = []
    yield made
    for each in made:
        each.close()


def hooks(started: list[Hooks], **config: Any) -> Hooks:
    made = Hooks(HooksConfig.model_validate(config), "ash", KEY, pauses_s=(0.05,))
    started.append(made)
    return made


def program(tmp_path: Path, text: str) -> dict[str, Any]:
    path = tmp_path / "hook"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return {"program": [str(path), "one"], "timeout_s": 1.0}


def test_program_reads_the_signed_event_with_a_fixed_environment(
    tmp_path: Path, started: list[Hooks], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_SITE", "x")
    out = tmp_path / "out"
    hook = program(tmp_path, f'cat > {out}.part; env > {out}.env; echo "$1" > {out}.word; mv {out}.part {out}')
    hooks(started, incident=hook).tell(EventKind.INCIDENT, "a round is void", "small-00000000")
    wait_for(out.exists)
    signed = Signed[HookEvent].model_validate_json(out.read_bytes())
    event = signed.verify(KEY.public)
    assert (event.site, event.event, event.study) == ("ash", EventKind.INCIDENT, "small-00000000")
    assert event.sentence == "a round is void"
    assert (tmp_path / "out.word").read_text() == "one\n"
    assert "SECRET_OF_THE_SITE" not in (tmp_path / "out.env").read_text()


def test_event_without_a_hook_starts_nothing(started: list[Hooks]) -> None:
    made = hooks(started)
    made.tell(EventKind.INCIDENT, "nobody hears of it")
    assert made._thread is None


def test_program_that_hangs_is_killed_with_what_it_started_and_the_site_never_waits(
    tmp_path: Path, started: list[Hooks], caplog: pytest.LogCaptureFixture
) -> None:
    pid = tmp_path / "pid"
    made = hooks(
        started, incident=program(tmp_path, f"sleep 600 & echo $! > {pid}.part; mv {pid}.part {pid}; sleep 600")
    )
    made.tell(EventKind.INCIDENT, "it hangs")
    assert "was killed" not in caplog.text  # this came back before the program's end
    wait_for(lambda: "did not end within 1 s and was killed" in caplog.text)
    child = int(pid.read_text())
    wait_for(lambda: not _runs(child))


def test_program_that_fails_is_tried_again_and_then_only_the_log_says_so(
    tmp_path: Path, started: list[Hooks], caplog: pytest.LogCaptureFixture
) -> None:
    count = tmp_path / "count"
    made = hooks(started, incident=program(tmp_path, f"echo x >> {count}; exit 3"))
    made.tell(EventKind.INCIDENT, "it fails")
    wait_for(lambda: caplog.text.count("ended with 3") == 2)
    assert count.read_text() == "x\nx\n"
    assert "again soon" in caplog.text


def test_program_that_is_missing_or_never_reads_ends_nothing(
    tmp_path: Path, started: list[Hooks], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    made = hooks(
        started,
        incident={"program": [str(tmp_path / "none")]},
        study_finished=program(tmp_path, f"touch {tmp_path}/deaf"),
    )
    made.tell(EventKind.INCIDENT, "x" * 3000)
    made.tell(EventKind.STUDY_FINISHED, "y")
    wait_for((tmp_path / "deaf").exists)
    assert "does not start: No such file or directory" in caplog.text


def test_queue_is_bounded_and_a_site_that_stops_says_what_was_not_told(
    tmp_path: Path, started: list[Hooks], caplog: pytest.LogCaptureFixture
) -> None:
    made = hooks(started, incident=program(tmp_path, "sleep 600") | {"timeout_s": 600})
    for _ in range(150):
        made.tell(EventKind.INCIDENT, "again")
    assert "100 events wait already" in caplog.text
    began = time.monotonic()
    made.close()
    assert time.monotonic() - began < 60  # and not the program's 600 s
    assert "was not told: the site stops" in caplog.text


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"


# servers -----------------------------------------------------------------------------------------------------


class Server(HTTPServer):
    """Keeps what was posted to it, and answers as a test says."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.posted: list[tuple[str, bytes]] = []
        self.status, self.location = 200, ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook"


class Answer(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posted.append((self.path, body))
        self.send_response(self.server.status)
        if self.server.location:
            self.send_header("Location", self.server.location)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_server_gets_the_signed_event(server: Server, started: list[Hooks]) -> None:
    hooks(started, budget_low={"url": server.url}).tell(EventKind.BUDGET_LOW, "epsilon 0.2 is left")
    wait_for(lambda: server.posted)
    path, body = server.posted[0]
    assert path == "/hook"
    assert Signed[HookEvent].model_validate(json.loads(body)).verify(KEY.public).event is EventKind.BUDGET_LOW


@pytest.mark.parametrize("status", [301, 307, 308])
def test_redirection_is_a_failure_and_is_not_followed(
    status: int, server: Server, started: list[Hooks], caplog: pytest.LogCaptureFixture
) -> None:
    server.status, server.location = status, f"{server.url}/elsewhere"
    hooks(started, incident={"url": server.url}).tell(EventKind.INCIDENT, "x")
    wait_for(lambda: caplog.text.count("which is not followed") == 2)
    assert {path for path, _ in server.posted} == {"/hook"}


def test_server_that_is_away_or_fails_is_in_the_log_alone(
    server: Server, started: list[Hooks], caplog: pytest.LogCaptureFixture
) -> None:
    server.status = 500
    hooks(started, incident={"url": server.url}).tell(EventKind.INCIDENT, "x")
    wait_for(lambda: caplog.text.count("answered with status 500") == 2)
    hooks(started, incident={"url": "http://127.0.0.1:9/hook"}).tell(EventKind.INCIDENT, "x")
    wait_for(lambda: caplog.text.count("cannot be reached (ConnectError)") == 2)


@pytest.mark.parametrize(
    ("hook", "sentence"),
    [
        ({"url": "http://tickets.example/x"}, "expected https, or http to this machine alone"),
        ({"url": "https://ada:secret@tickets.example/x"}, "without a name or a password"),
        ({"url": "file:///etc/passwd"}, "expected a URL such as https://host/path"),
        ({"url": "https://[x"}, "expected a URL"),
        ({"program": ["mail-dpo"]}, "the program's whole path"),
        ({"program": []}, "expected at least 1 entries"),
        ({"program": ["/bin/true"], "url": "https://x.example"}, "unknown key"),
        ({"program": ["/bin/true"], "timeout_s": 0}, "expected more than 0"),
        ("/bin/true", "expected"),
    ],
)
def test_hook_that_cannot_be_meant_is_refused(hook: Any, sentence: str) -> None:
    with pytest.raises(SiteConfigError) as caught:
        parse({"name": "ash", "hooks": {"incident": hook}}, SiteConfig, SiteConfigError, "site.yaml")
    assert sentence in str(caught.value)
    assert "secret" not in str(caught.value)


def test_class_of_events_that_does_not_exist_is_refused() -> None:
    with pytest.raises(SiteConfigError, match="did you mean 'incident'"):
        parse({"name": "ash", "hooks": {"incidents": {}}}, SiteConfig, SiteConfigError, "site.yaml")
    assert set(EventKind) == set(HooksConfig.model_fields) - {"budget_below"}
