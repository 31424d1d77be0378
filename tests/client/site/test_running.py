"""Whether a site runs: told by ``status``, heeded by what must not happen beside it."""

import json
from pathlib import Path

import pytest

from client.site.folder import SiteFolder
from client.site.running import Connection, keep_stopped, lock_for_serving, read_connection, write_connection
from privacy.errors import SiteConfigError
from tests.client.commands.terminal import site


@pytest.fixture
def home(tmp_path: Path) -> SiteFolder:
    return SiteFolder.create(tmp_path / "ash", "ash")


@pytest.mark.parametrize(
    "arguments", [("key", "change", "--yes"), ("ledger", "recover", "--yes")], ids=["key change", "ledger recover"]
)
def test_command_that_must_not_run_beside_the_site_is_refused_and_changes_nothing(
    home: SiteFolder, arguments: tuple[str, ...]
) -> None:
    key = home.load_identity().public
    with (
        lock_for_serving(home),
        pytest.raises(SiteConfigError, match=r"this site runs; stop it \(consilium-site up\)"),
    ):
        site(home.folder, *arguments)
    assert home.load_identity().public == key
    assert not home.next_identity_path.exists()


def test_key_of_a_stopped_site_is_changed(home: SiteFolder) -> None:
    key = home.load_identity().public
    site(home.folder, "key", "change", "--yes")
    assert home.load_identity().public != key


def test_site_that_is_to_stay_stopped_is_not_served_meanwhile(home: SiteFolder) -> None:
    taken = pytest.raises(SiteConfigError, match="serves this site already")
    with keep_stopped(home, "something is done"), taken, lock_for_serving(home):
        raise AssertionError("two processes at work on one folder")
    with lock_for_serving(home):
        pass


def test_status_says_whether_the_site_runs_and_is_connected(home: SiteFolder) -> None:
    assert read_connection(home) is None
    assert "does not run; start it with: consilium-site up" in site(home.folder, "status").stdout
    with lock_for_serving(home):
        assert "runs, not connected" in site(home.folder, "status").stdout
        write_connection(
            home, Connection(running_since="2026-03-02T08:00:00Z", sentence="the coordinator cannot be reached")
        )
        shown = site(home.folder, "status").stdout
        assert "runs since 2026-03-02T08:00:00Z, not connected: the coordinator cannot be reached" in shown
        write_connection(
            home, Connection(running_since="2026-03-02T08:00:00Z", connected_since="2026-03-02T09:00:00Z")
        )
        shown = site(home.folder, "status").stdout
        assert "runs since 2026-03-02T08:00:00Z, connected since 2026-03-02T09:00:00Z" in shown
        facts = json.loads(site(home.folder, "status", "--json").stdout)
        assert facts["running"]["connected_since"] == "2026-03-02T09:00:00Z"
    assert read_connection(home) is None


def test_name_that_was_changed_is_refused(home: SiteFolder) -> None:
    file = home.folder / "site.yaml"
    file.write_text(file.read_text().replace("name: ash", "name: elm"))
    with pytest.raises(
        SiteConfigError, match="names the site 'elm', its ledger is that of 'ash': put that name back"
    ):
        site(home.folder, "status")


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702])
def test_folder_in_which_others_may_write_is_refused(home: SiteFolder, mode: int) -> None:
    home.folder.chmod(mode)
    with pytest.raises(SiteConfigError, match=f"mode 0{mode:o}, expected 0700.*run: chmod 700"):
        site(home.folder, "status")
    home.folder.chmod(0o750)
    site(home.folder, "status")
