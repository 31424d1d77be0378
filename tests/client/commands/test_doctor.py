"""``consilium-site doctor``: secrets, records and figures that were planted everywhere do not get into the file."""

import os
import tarfile
from pathlib import Path

import yaml

from privacy.logs import open_bounded_log
from tests.client.commands.terminal import site, with_data

FIGURE = "loss 0.73519"
PATIENT = "Ann-Example-1961"


def read(file: Path) -> dict[str, str]:
    """The parts of a support file."""
    found = {}
    with tarfile.open(file) as tar:
        for member in tar.getmembers():
            part = tar.extractfile(member)
            assert part is not None
            found[member.name] = part.read().decode()
    return found


def plant(folder: Path) -> list[str]:
    """Put secrets and records where a careless collector would find them; return them."""
    (folder / "log" / "training.log").write_text(f"2026-01-02 03:04:05,678 INFO activity: round 1: {FIGURE}\n")
    (folder / "log" / "site.log").write_text(
        "2026-01-02 03:04:05,678 INFO activity: 'ash' serves /srv/ash\n"
        "2026-01-02 03:04:05,678 INFO activity: small-1f: round 1 of 2 is trained and sealed; epsilon 0.3 spent\n"
        f"2026-01-02 03:04:05,678 INFO activity: small-1f: round 1: 7 of 90 values of the sum lie at {FIGURE}\n"
        f"2026-01-02 03:04:05,678 WARNING client.study.request_handler: refused: {PATIENT}\n"
        f"2026-01-02 03:04:05,678 ERROR client.connection.client_app: {PATIENT}\nValueError: {PATIENT}\n"
        f"2026-01-02 03:04:05,678 WARNING client.site.hooks: the hook incident was not told: https://u:hunter2pw@h/x\n"
    )
    password = folder / "proxy-password"
    open_bounded_log(password).close()  # a file of mode 0600
    password.write_text("correct horse\n")
    fields = yaml.safe_load((folder / "site.yaml").read_text())
    fields["proxy"] = {"url": "http://proxy.example:3128", "user": "ada-lovelace", "password_file": str(password)}
    fields["hooks"] = {"incident": {"program": ["/opt/secret-path/notify"]}}
    (folder / "site.yaml").write_text(yaml.safe_dump(fields))
    (folder / "policy.yaml").write_text('contact: "Dr Jane Roe, +49 30 1234"\n')
    secrets = [(folder / name).read_text() for name in ("identity.key", "node.key")]
    return [
        *(line for text in secrets for line in text.splitlines() if "-----" not in line and line),
        (folder / "patients" / "secret").read_bytes().hex(),
        *("hunter2pw", "correct horse", "ada-lovelace", "secret-path", "Jane Roe", PATIENT, FIGURE),
    ]


def test_planted_secrets_records_and_figures_do_not_get_in(folder: Path) -> None:
    with_data(folder)
    planted = plant(folder)
    records = (folder.parent / "train.csv").read_text().splitlines()[1:]
    train = folder.parent / "train.csv"
    train.rename(folder.parent / f"{PATIENT}.csv")
    said = site(folder, "doctor", str(folder.parent / "d.tgz"))
    parts = read(folder.parent / "d.tgz")
    everything = "".join(parts.values())
    assert len(planted) > 9
    assert [each for each in planted if each in everything] == []
    assert [each for each in records if each in everything] == []
    assert "train.csv" not in everything
    for name in parts:
        assert name in said.stderr


def test_what_helps_is_in_it(folder: Path) -> None:
    plant(folder)
    os.umask(0o022)
    site(folder, "doctor", str(folder.parent / "d.tgz"))
    parts = read(folder.parent / "d.tgz")
    assert set(parts) == {"check.json", "versions.json", "configuration.json", "site.log", "site-problems.log"}
    assert '"check": "ledger"' in parts["check.json"]
    assert '"torch"' in parts["versions.json"]
    assert '"minimum_patients": 50' in parts["configuration.json"]
    assert "'ash' serves /srv/ash" in parts["site.log"]
    assert "round 1 of 2 is trained and sealed" in parts["site.log"]
    assert "the hook incident was not told: https://[removed]@h/x" in parts["site.log"]
    assert (folder.parent / "d.tgz").stat().st_mode & 0o777 == 0o600
