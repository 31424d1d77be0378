"""A support file: only lines that are known to be harmless, nothing that looks like a secret, and none that is one."""

import io
import json
import tarfile
from pathlib import Path

import pytest

from privacy.errors import SiteConfigError
from privacy.support_file import read_log_lines, remove_secrets, write_support_file

KEY = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIHh4\n-----END PRIVATE KEY-----"


@pytest.mark.parametrize(
    "secret",
    [KEY, KEY[:-20], "h4x0r:hunter2", "A" * 43, "0123456789abcdef" * 4, "ab-_" * 12],
)
def test_what_looks_like_a_secret_is_replaced(secret: str) -> None:
    text = f"https://{secret}@proxy.example:3128 is used" if ":h" in secret else f"before {secret} after"
    assert secret not in remove_secrets(text)
    assert "[removed]" in remove_secrets(text)


def test_plain_sentence_is_as_it_was() -> None:
    text = (
        "2026-01-02 03:04:05,678 INFO activity: sepsis-1f2e3d4c: round 3 of 10 is trained and sealed; epsilon 0.3"
    )
    assert remove_secrets(text) == text


def test_lines_of_other_loggers_of_unknown_sentences_and_of_tracebacks_are_left_out(tmp_path: Path) -> None:
    log = tmp_path / "site.log"
    log.write_text(
        "2026-01-02 03:04:05,678 INFO activity: connected to wood\n"
        "2026-01-02 03:04:05,678 INFO activity: something new\n"
        "2026-01-02 03:04:05,678 INFO client.study.cut_values: round 3: 7 of 90 values of the update\n"
        "2026-01-02 03:04:05,678 WARNING client.connection.client_app: a request failed unexpectedly\n"
        "Traceback (most recent call last):\n"
        "ValueError: could not convert 'Ann'\n"
        + json.dumps({"time": "T", "level": "info", "logger": "activity", "message": "connected again"})
        + "\n"
        + json.dumps({"time": "T", "level": "info", "logger": "client.training.session", "message": "connected 7"})
        + '\n{"time": 1\n{"time": "T"}\n'
    )
    lines = read_log_lines(log, lambda logger, text: text.startswith("connected"))
    assert lines == [
        "(8 lines are left out)",
        "2026-01-02 03:04:05,678 INFO activity connected to wood",
        "T info activity connected again",
    ]
    assert read_log_lines(tmp_path / "none", lambda logger, text: True) == []


def test_file_is_private_and_never_replaces_another(tmp_path: Path) -> None:
    file = tmp_path / "s.tgz"
    assert write_support_file(file, {"a.txt": "text"}, [], SiteConfigError) == {"a.txt": 4}
    assert file.stat().st_mode & 0o777 == 0o600
    with tarfile.open(file) as tar:
        assert (tar.extractfile("a.txt") or io.BytesIO()).read() == b"text"
    with pytest.raises(SiteConfigError, match="File exists"):
        write_support_file(file, {"a.txt": "other"}, [], SiteConfigError)


@pytest.mark.parametrize("raw", [b"hunter2\n", bytes(range(200, 232)), KEY.encode()])
def test_secret_of_the_installation_ends_it_and_leaves_no_file(tmp_path: Path, raw: bytes) -> None:
    secret = tmp_path / "identity.key"
    secret.write_bytes(raw)
    leaked = raw.hex() if raw[0] > 127 else raw.decode().splitlines()[-2 if b"\n" in raw.strip() else 0]
    with pytest.raises(SiteConfigError, match=r"a\.txt would hold a secret of identity\.key"):
        write_support_file(tmp_path / "s.tgz", {"a.txt": f"so {leaked} it is"}, [secret], SiteConfigError)
    assert not (tmp_path / "s.tgz").exists()
    write_support_file(tmp_path / "s.tgz", {"a.txt": "no secret"}, [secret, tmp_path / "none"], SiteConfigError)
