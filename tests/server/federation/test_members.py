"""Members: enrolled once, invited once, removed at once."""

import datetime
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from privacy.client_certificate import CredentialFiles, Role, read_certificate, read_subject
from privacy.errors import FederationError, RefusedCallError
from privacy.keys import SigningKey
from privacy.protocol.enrolment import JoinRequest, SignedJoinRequest, format_fingerprint
from privacy.protocol.invitation import Invitation
from server.federation.client_certificates import format_serial
from server.federation.config import CoordinatorConfig
from server.federation.folder import Federation
from server.federation.members import Members
from tests.privacy.launch_makers import key_number
from tests.server.federation.test_folder import CONFIG, KEYS, NODE_KEYS, request

BEHIND = CoordinatorConfig(
    federation="wood", host="wood.example.org", port=443, control_port=9093, contact="Anna 123"
)


@pytest.fixture
def federation(tmp_path: Path) -> Federation:
    return Federation.create(tmp_path / "wood", CONFIG)


@pytest.fixture
def published(tmp_path: Path) -> Members:
    """The members of a federation behind a gateway."""
    return Members(Federation.create(tmp_path / "published", BEHIND))


def folder_of(members: Members) -> Federation:
    return members._federation


def answer(
    invitation: Invitation, folder: Path, key: SigningKey | None = None, **changes: Any
) -> SignedJoinRequest:
    """Make the request of an invited site."""
    key = key or SigningKey.generate()
    folder.mkdir(exist_ok=True)
    fields = {
        "name": invitation.name,
        "role": invitation.role,
        "identity": key.public.text,
        "node_key": NODE_KEYS["ash"] if invitation.role is Role.SITE else None,
        "tls_request": CredentialFiles(folder).make_request(invitation.name),
        "coordinator": invitation.coordinator,
        "authority": invitation.authority_digest,
        **changes,
    }
    return SignedJoinRequest.sign(key, JoinRequest(**fields))


def read_revoked(federation: Federation) -> set[str]:
    crl = x509.load_pem_x509_crl((federation.folder / "gateway" / "crl.pem").read_bytes())
    return {f"{each.serial_number:x}" for each in crl}


def test_admission_names_what_the_site_needs(federation: Federation) -> None:
    signed = Members(federation).enrol(request("ash"))
    admission = signed.verify(federation.load_identity().public)
    assert (admission.federation, admission.name, admission.address) == ("wood", "ash", "127.0.0.1:9092")
    assert admission.identity == KEYS["ash"].public.text
    assert x509.load_pem_x509_certificate(admission.ca_certificate.encode()).subject.rfc4514_string()
    assert "PRIVATE" not in admission.ca_certificate


def test_enrolment_is_kept_and_answered_alike_again(federation: Federation) -> None:
    first = Members(federation).enrol(request("ash")).statement
    again = Members(Federation(federation.folder)).enrol(request("ash")).statement
    assert again.model_copy(update={"certificate": first.certificate}) == first
    assert set(federation.read_sites()) == {"ash"}
    assert len(federation.read_sites()["ash"].serials) == 2  # the earlier certificate stays valid


def test_request_that_was_changed_is_refused(federation: Federation) -> None:
    signed = request("ash")
    changed = signed.model_copy(update={"statement": signed.statement.model_copy(update={"name": "birch"})})
    with pytest.raises(FederationError, match="the join request is damaged: a signature is not by the key"):
        Members(federation).enrol(changed)
    assert federation.read_sites() == {}


@pytest.mark.parametrize(
    "line", ["ecdsa-sha2-nistp384 AAAA", "ecdsa-sha2-nistp384 " + NODE_KEYS["ash"].split()[1][:40]]
)
def test_request_with_a_node_key_that_flower_would_refuse_is_refused(federation: Federation, line: str) -> None:
    """Enrolled, it would end the coordinator's process whenever it registers its sites."""
    with pytest.raises(FederationError, match="the join request is damaged: expected a node key"):
        Members(federation).enrol(request("ash", node_key=line))


def test_name_that_is_enrolled_with_other_keys_is_refused(federation: Federation) -> None:
    Members(federation).enrol(request("ash"))
    for other in (request("ash", key_number(9)), request("ash", node_key=NODE_KEYS["birch"])):
        with pytest.raises(FederationError, match="'ash' is enrolled with other keys"):
            Members(federation).enrol(other)
    assert federation.read_sites()["ash"].identity == KEYS["ash"].public.text


def test_keys_that_are_enrolled_under_another_name_are_refused(federation: Federation) -> None:
    Members(federation).enrol(request("ash"))
    for other in (request("birch", KEYS["ash"]), request("birch", node_key=NODE_KEYS["ash"])):
        with pytest.raises(FederationError, match="the keys of this request are enrolled as 'ash' already"):
            Members(federation).enrol(other)


def test_certificate_names_the_member_and_nothing_that_the_request_says(
    federation: Federation, tmp_path: Path
) -> None:
    other = CredentialFiles(tmp_path).make_request("coordinator")
    admission = Members(federation).enrol(request("ash", tls_request=other)).statement
    certificate = read_certificate(admission.certificate)
    assert read_subject(certificate).uri == "consilium://wood/site/ash"
    assert certificate.subject.rfc4514_string() == "CN=ash"
    assert federation.read_sites()["ash"].serials == (format_serial(certificate),)


def test_members_that_are_enrolled_side_by_side_are_all_kept(federation: Federation) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: Members(federation).enrol(request(name)), KEYS))
    assert set(federation.read_sites()) == set(KEYS)


# Invitations -----------------------------------------------------------------------------------------------


def test_invited_site_is_admitted_after_the_fingerprint_was_compared(published: Members, tmp_path: Path) -> None:
    invitation = published.invite("ash", Role.SITE, "Bob", 24)
    signed = answer(Invitation.from_text(invitation.to_text(), FederationError), tmp_path / "ash")
    published.receive(invitation.token, signed)
    assert folder_of(published).read_sites() == {}, "a request alone admits nobody"
    admission = published.admit("ash", format_fingerprint(signed.statement).upper().replace("-", " ")).statement
    assert (admission.address, admission.contact) == ("wood.example.org:443", "Anna 123")
    assert set(folder_of(published).read_sites()) == {"ash"}


def test_fingerprint_of_another_request_admits_nobody(published: Members, tmp_path: Path) -> None:
    """Attack: who has read the invitation sends a request first; the site's people read another fingerprint."""
    invitation = published.invite("ash", Role.SITE, "Bob", 24)
    published.receive(invitation.token, answer(invitation, tmp_path / "mallory"))
    ours = answer(invitation, tmp_path / "ash")
    with pytest.raises(RefusedCallError, match="this invitation was used by another request"):
        published.receive(invitation.token, ours)
    with pytest.raises(FederationError, match="the invitation is in other hands"):
        published.admit("ash", format_fingerprint(ours.statement))
    assert folder_of(published).read_sites() == {}
    assert published.list_requests()[0]["others"] == 1


def test_replaced_invitation_is_noticed(published: Members, tmp_path: Path) -> None:
    """Attack: the invitation was changed on its way, so that the site believes in another coordinator."""
    invitation = published.invite("ash", Role.SITE, "Bob", 24)
    signed = answer(invitation, tmp_path / "ash", coordinator=key_number(77).public.text)
    published.receive(invitation.token, signed)
    with pytest.raises(FederationError, match="names another coordinator's key"):
        published.admit("ash", format_fingerprint(signed.statement))


def test_invitation_is_for_its_name_and_role(published: Members, tmp_path: Path) -> None:
    invitation = published.invite("anna", Role.AUDITOR, "Anna", 24)
    as_operator = answer(invitation, tmp_path / "anna", role=Role.OPERATOR)
    with pytest.raises(RefusedCallError, match="this invitation is for the auditor 'anna'"):
        published.receive(invitation.token, as_operator)
    with pytest.raises(RefusedCallError, match="no invitation has this token"):
        published.receive("x" * 32, answer(invitation, tmp_path / "anna"))


def test_invitation_that_ran_out_is_refused(published: Members, tmp_path: Path) -> None:
    invitation = published.invite("ash", Role.SITE, "Bob", 1)
    late = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=2)
    with pytest.raises(RefusedCallError, match="the invitation of 'ash' ran out"):
        folder_of(published).open_invitations().receive(
            invitation.token, answer(invitation, tmp_path / "ash"), late
        )


def test_token_is_not_kept(published: Members) -> None:
    invitation = published.invite("ash", Role.SITE, "Bob", 24)
    for path in folder_of(published).folder.rglob("*"):
        assert not path.is_file() or invitation.token.encode() not in path.read_bytes(), path


def test_federation_that_nobody_reaches_invites_nobody(federation: Federation) -> None:
    with pytest.raises(FederationError, match="an invitation would lead nowhere"):
        Members(federation).invite("ash", Role.SITE, "Bob", 24)


# Removal ---------------------------------------------------------------------------------------------------


def test_removed_member_is_revoked_with_all_its_certificates(published: Members) -> None:
    federation = folder_of(published)
    for _ in range(2):
        published.enrol(request("ash"))
    serials = federation.read_sites()["ash"].serials
    assert read_revoked(federation) == set()
    published.remove("ash")
    assert federation.read_sites() == {}
    assert read_revoked(federation) == set(serials)
    with pytest.raises(FederationError, match="'ash' is not enrolled; enrolled are: none"):
        published.remove("ash")


def test_removed_invitation_cannot_be_used(published: Members, tmp_path: Path) -> None:
    invitation = published.invite("ash", Role.SITE, "Bob", 24)
    published.remove("ash")
    with pytest.raises(RefusedCallError, match="no invitation has this token"):
        published.receive(invitation.token, answer(invitation, tmp_path / "ash"))
