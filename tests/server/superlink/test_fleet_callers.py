"""Who makes a Fleet request: real signatures, real certificates, no server."""

import base64
import datetime
import urllib.parse
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.supercore.primitives.asymmetric import public_key_to_bytes, sign_message

from privacy.client_certificate import Role, Subject
from privacy.keys import SigningKey, format_node_key
from server.federation.client_certificates import issue_for_key
from server.federation.config import CoordinatorConfig, EnrolledSite, Enrolment
from server.federation.folder import Federation
from server.superlink.fleet_callers import CERTIFICATE_HEADER, FleetCallers, NotTheirsError, find_members

NOW = datetime.datetime.now(datetime.UTC)
KEY = ec.generate_private_key(ec.SECP384R1())
Headers = dict[str, str]


def sign(key: ec.EllipticCurvePrivateKey = KEY, at: datetime.datetime = NOW) -> Headers:
    stamp = at.isoformat()
    return {
        "Flwr-Public-Key": base64.b64encode(public_key_to_bytes(key.public_key())).decode(),
        "flwr-timestamp": stamp,
        "flwr-signature": base64.b64encode(sign_message(key, stamp.encode())).decode(),
    }


def verify(callers: FleetCallers, headers: Headers, now: datetime.datetime = NOW) -> None:
    callers.verify([(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()], now)


def test_signature_passes_once() -> None:
    callers, headers = FleetCallers(), sign()
    verify(callers, headers)
    verify(callers, sign())
    with pytest.raises(NotTheirsError, match="sent before"):
        verify(callers, headers)


def test_signature_is_forgotten_only_when_its_time_is_over() -> None:
    callers, headers = FleetCallers(), sign()
    verify(callers, headers)
    for minutes in (4, 30):
        later = NOW + datetime.timedelta(minutes=minutes)
        verify(callers, sign(at=later), later)
        with pytest.raises(NotTheirsError):
            verify(callers, headers, later)
    assert len(callers._seen) == 1


@pytest.mark.parametrize("name", ["Flwr-Public-Key", "flwr-timestamp", "flwr-signature"])
@pytest.mark.parametrize("value", ["", "é", "AAAA", "2026-01-01T00:00:00", "****", "-" * 5000])
def test_headers_of_nonsense_are_refused(name: str, value: str) -> None:
    with pytest.raises(NotTheirsError):
        verify(FleetCallers(), {**sign(), name: value})


@pytest.mark.parametrize("name", ["flwr-public-key", "FLWR-Timestamp", "flwr-signature", CERTIFICATE_HEADER])
def test_header_that_comes_twice_is_refused(name: str) -> None:
    """Flower reads the first of two: it could be another site's, recorded before."""
    headers = [(key.encode(), value.encode()) for key, value in (sign() | {CERTIFICATE_HEADER: ""}).items()]
    with pytest.raises(NotTheirsError, match="twice"):
        FleetCallers().verify([(name.encode(), b"x"), *headers], NOW)


def test_signature_of_another_key_is_refused() -> None:
    other = ec.generate_private_key(ec.SECP384R1())
    with pytest.raises(NotTheirsError, match="not by the node key"):
        verify(FleetCallers(), {**sign(), "flwr-signature": sign(other)["flwr-signature"]})


@pytest.fixture
def federation(tmp_path: Path) -> Federation:
    config = CoordinatorConfig(federation="wood", port=443, gateway=True, control_port=9093)
    return Federation.create(tmp_path / "wood", config)


def issue(federation: Federation, name: str, role: Role = Role.SITE, of: str = "wood") -> tuple[Headers, str]:
    """A certificate as the gateway hands it on, and its serial number."""
    key = ec.generate_private_key(ec.SECP256R1())
    issued = issue_for_key(federation.tls, key.public_key(), Subject(of, role, name), NOW)
    return {CERTIFICATE_HEADER: urllib.parse.quote(issued.pem)}, issued.serial


def enrol(federation: Federation, name: str, key: ec.EllipticCurvePrivateKey, *serials: str) -> None:
    site = EnrolledSite(
        identity=SigningKey.generate().public.text,
        node_key=format_node_key(key),
        serials={serial: NOW + datetime.timedelta(days=90) for serial in serials},
    )
    federation.write_enrolment(Enrolment(sites={**federation.read_sites(), name: site}))


def make_callers(federation: Federation) -> FleetCallers:
    members = find_members(federation.folder)
    assert members is not None
    return FleetCallers(members)


def test_site_passes_with_its_own_certificate_until_it_is_removed(federation: Federation) -> None:
    shown, serial = issue(federation, "north")
    enrol(federation, "north", KEY, serial)
    callers = make_callers(federation)
    verify(callers, sign() | shown)
    federation.write_enrolment(Enrolment())
    with pytest.raises(NotTheirsError, match="removed"):
        verify(callers, sign() | shown)


def test_another_sites_request_is_refused(federation: Federation) -> None:
    (north, serial), (south, other) = issue(federation, "north"), issue(federation, "south")
    enrol(federation, "north", KEY, serial)
    enrol(federation, "south", ec.generate_private_key(ec.SECP384R1()), other)
    callers, recorded = make_callers(federation), sign()
    with pytest.raises(NotTheirsError, match="another site's"):
        verify(callers, recorded | south)
    verify(callers, recorded | north)  # a refused copy does not use up the site's own request


@pytest.mark.parametrize(
    ("role", "of", "name"),
    [(Role.OPERATOR, "wood", "north"), (Role.SITE, "other", "north"), (Role.SITE, "wood", "x")],
)
def test_certificate_of_another_role_federation_or_name_is_refused(
    federation: Federation, role: Role, of: str, name: str
) -> None:
    shown, serial = issue(federation, name, role, of)
    enrol(federation, "north", KEY, serial)
    with pytest.raises(NotTheirsError):
        verify(make_callers(federation), sign() | shown)


@pytest.mark.parametrize("value", ["", "%00", "-----BEGIN CERTIFICATE-----", "é"])
def test_no_certificate_is_refused_behind_a_gateway(federation: Federation, value: str) -> None:
    enrol(federation, "north", KEY)
    with pytest.raises(NotTheirsError, match="no certificate"):
        verify(make_callers(federation), sign() | {CERTIFICATE_HEADER: value})


def test_certificate_that_ran_out_is_refused_also_after_it_was_accepted(federation: Federation) -> None:
    shown, serial = issue(federation, "north")
    enrol(federation, "north", KEY, serial)
    callers, late = make_callers(federation), NOW + datetime.timedelta(days=91)
    verify(callers, sign() | shown)
    with pytest.raises(NotTheirsError):
        verify(callers, sign(at=late) | shown, late)


def test_nobody_is_enrolled_while_the_list_is_damaged(federation: Federation) -> None:
    shown, serial = issue(federation, "north")
    enrol(federation, "north", KEY, serial)
    callers = make_callers(federation)
    verify(callers, sign() | shown)
    (federation.folder / "sites.json").write_text("{")
    with pytest.raises(NotTheirsError):
        verify(callers, sign() | shown)


def test_federation_on_one_machine_needs_no_certificates(tmp_path: Path) -> None:
    Federation.create(tmp_path / "wood", CoordinatorConfig(federation="wood", port=9092))
    assert find_members(tmp_path / "wood") is None
    assert find_members(tmp_path) is None
