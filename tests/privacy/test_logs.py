"""Logs that stay small, and keep what went wrong."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from privacy.logs import open_bounded_log

PROGRAM = """
import logging, sys
from pathlib import Path
from privacy.logs import log_to
log_to(Path(sys.argv[1]), "site")
log = logging.getLogger("client.study.request_handler")
log.warning("study: refused (policy)")
for number in range(200_000):
    log.info("round %d, a sentence of the usual length about what happens in it, and some more", number)
log.error("the disk is full")
for name in ("httpx", "flwr"):
    logging.getLogger(name).info("POST")
    logging.getLogger(name).warning("%s is not well", name)
for _ in range(50):
    log.warning("the SuperLink does not answer")
"""


def test_log_is_bounded_and_problems_outlive_it(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path)], check=True, cwd=Path(__file__).parents[2])
    written = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert sum(map(len, written.values())) < 30_000_000
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    everything = "".join(text for name, text in written.items() if "problems" not in name)
    assert "refused (policy)" not in everything
    problems = [line.split(" ", 2)[2] for line in written["site-problems.log"].splitlines()]
    assert problems == [
        "WARNING client.study.request_handler: study: refused (policy)",
        "ERROR client.study.request_handler: the disk is full",
        "WARNING httpx: httpx is not well",
        "WARNING flwr: flwr is not well",
        "WARNING client.study.request_handler: the SuperLink does not answer",
    ]
    assert "POST" not in everything


def test_sentence_is_written_again_after_another_one(tmp_path: Path) -> None:
    handler = open_bounded_log(tmp_path / "x.log", "%(message)s")
    for word in ("a", "a", "b", "a"):
        handler.handle(logging.LogRecord("x", logging.INFO, "", 0, word, (), None))
    handler.close()
    assert (tmp_path / "x.log").read_text() == "a\nb\na\n"


FULL_PROGRAM = """
import logging, sys
from pathlib import Path
from privacy.logs import log_to
log_to(Path(sys.argv[1]), "site", as_json=sys.argv[2] == "json")
for number in range(3):
    logging.getLogger("client.training.session").warning("round %d: loss %s", number, 0.7)
print("done")
"""


@pytest.mark.parametrize("form", ["json", "text"])
def test_log_on_a_full_disk_is_said_once_without_what_was_to_be_written(tmp_path: Path, form: str) -> None:
    (tmp_path / "site.log").symlink_to("/dev/full")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        [sys.executable, "-c", FULL_PROGRAM, str(tmp_path), form],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, env=environment,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "done\n")
    said = (
        f"{tmp_path}/site.log: the log cannot be written: No space left on device; the program goes on without it\n"
    )
    assert done.stderr == said
    assert len((tmp_path / "site-problems.log").read_text().splitlines()) == 3  # the other file is written


def test_program_whose_stderr_is_full_ends_with_0(tmp_path: Path) -> None:
    program = FULL_PROGRAM.replace("client.training.session", "activity")  # whose lines are shown
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path), "json"],
            cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, stderr=full, text=True, env=environment,
        )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "done\n")
    assert len((tmp_path / "site.log").read_text().splitlines()) == 3


JSON_PROGRAM = """
import logging, sys
from pathlib import Path
from privacy.logs import log_to
log_to(Path(sys.argv[1]), "site", as_json=True)
logging.getLogger("activity").info("two\\nlines and a \\u00e9 \\u201cquote\\u201d")
logging.getLogger("client.training.session").info("round 1: loss 0.7")
logging.getLogger("client.connection.client_app").warning("a record")
try:
    raise ValueError("a record")
except ValueError:
    logging.getLogger("client.study.release").exception("it failed")
"""


def test_json_log_is_one_object_a_line_and_stderr_has_nothing_computed_from_records(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", JSON_PROGRAM, str(tmp_path)],
        check=True, cwd=Path(__file__).parents[2], capture_output=True, text=True,
    )  # fmt: skip
    (shown,) = [json.loads(line) for line in done.stderr.splitlines()]
    assert set(shown) == {"time", "level", "logger", "message"}
    assert shown["message"] == "two\nlines and a é “quote”"
    assert shown["time"].endswith("Z")
    written = [json.loads(line) for line in (tmp_path / "site.log").read_text().splitlines()]
    assert [each["logger"] for each in written] == [
        "activity", "client.training.session", "client.connection.client_app", "client.study.release",
    ]  # fmt: skip
    assert "ValueError: a record" in written[-1]["exception"]
    assert len((tmp_path / "site-problems.log").read_text().splitlines()) == 2
