"""A site's certificate: renewed in time by a real control plane, over TLS with the present one."""

import datetime
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from client.connection.renewal import keep_renewing, renew_certificate
from client.site.folder import SiteFolder
from privacy.control.channel import NotRunningError
from privacy.errors import RefusedCallError
from server.control.membership import Membership
from server.control.server import ControlServer
from server.federation.config import CoordinatorConfig
from server.federation.folder import Federation
from server.federation.members import Members
from server.superlink.process import SuperLink, find_free_port

NOW = datetime.datetime.now(datetime.UTC)
LONG_AGO = NOW - datetime.timedelta(days=61)


@pytest.fixture
def federation(tmp_path: Path) -> Iterator[Federation]:
    port = find_free_port()
    config = CoordinatorConfig(federation="wood", host="localhost", port=port, gateway=True, control_port=port)
    federation = Federation.create(tmp_path / "wood", config)
    superlink = SuperLink(federation.folder, federation.tls, find_free_port())
    server = ControlServer(federation, Membership(federation, superlink).handlers, {}, ("127.0.0.1", port))
    yield federation
    server.close()


@pytest.fixture
def home(federation: Federation, tmp_path: Path) -> SiteFolder:
    home = SiteFolder.create(tmp_path / "ash", "ash")
    home.accept_admission(Members(federation, lambda: LONG_AGO).enrol(home.make_join_request()))
    return home


def test_certificate_that_is_not_due_is_left_alone(home: SiteFolder) -> None:
    before = home.credentials.load()
    assert renew_certificate(home, LONG_AGO) is None
    assert home.credentials.load() == before


def test_certificate_that_is_due_is_replaced_with_a_new_key(federation: Federation, home: SiteFolder) -> None:
    before = home.credentials.load()
    assert renew_certificate(home, NOW) == home.credentials.load().ends
    after = home.credentials.load()
    assert after.key != before.key
    assert len(federation.read_sites()["ash"].serials) == 2
    assert renew_certificate(home, NOW) is None
    (asked, done) = federation.open_audit_log().read()
    assert (asked.call, asked.name, done.outcome) == ("Renew", "ash", "done")


def test_removed_site_renews_nothing(federation: Federation, home: SiteFolder) -> None:
    Members(federation).remove("ash")
    before = home.credentials.load()
    with pytest.raises(RefusedCallError, match="the site 'ash' was removed from this federation"):
        renew_certificate(home, NOW)
    assert home.credentials.load() == before


def test_site_that_was_interrupted_renews_at_the_next_look(home: SiteFolder) -> None:
    home.credentials.make_request("ash")  # the process ended before the answer came
    assert renew_certificate(home, NOW) is not None
    assert not home.credentials.next_key.exists()


def test_coordinator_that_is_away_is_reported_and_asked_again(tmp_path: Path) -> None:
    port = find_free_port()
    config = CoordinatorConfig(federation="wood", host="localhost", port=port, gateway=True, control_port=port)
    members = Members(Federation.create(tmp_path / "wood", config))
    home = SiteFolder.create(tmp_path / "ash", "ash")
    home.accept_admission(members.enrol(home.make_join_request()))
    with pytest.raises(NotRunningError, match="cannot be reached"):
        renew_certificate(home, NOW + datetime.timedelta(days=61))
    stop, told = threading.Event(), threading.Event()
    thread = keep_renewing(home, stop, lambda _: told.set(), lambda: None, lambda _: told.set())
    stop.set()
    thread.join(20)
    assert not told.is_set(), "nothing was due"
