"""Members: enrolled once, invited once, removed at once."""

import base64
import datetime
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_public_key

from privacy.client_certificate import CredentialFiles, Role, read_certificate, read_subject
from privacy.errors import FederationError, RefusedCallError
from privacy.files import hold_lock
from privacy.keys import SigningKey
from privacy.protocol.enrolment import JoinRequest, NodeKeyClaim, SignedJoinRequest, format_fingerprint
from privacy.protocol.invitation import Invitation
from server.federation.client_certificates import format_serial
from server.federation.config import CoordinatorConfig
from server.federation.folder import Federation
from server.federation.members import Members
from tests.privacy.launch_makers import key_number
from tests.server.federation.test_folder import (
    CONFIG,
    KEYS,
    NODE_KEYS,
    OWN_NODE_KEYS,
    TLS_REQUEST,
    prove,
    prove_node_key,
    request,
)

BEHIND = CoordinatorConfig(
    federation="wood", host="wood.example.org", port=443, gateway=True, control_port=9093, contact="Anna 123"
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
    return SignedJoinRequest.sign(key, prove(JoinRequest(**fields)))


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
    assert federation.read_sites()["ash"].serials == {format_serial(certificate): certificate.not_valid_after_utc}


def test_members_that_are_enrolled_side_by_side_are_all_kept(federation: Federation) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: Members(federation).enrol(request(name)), KEYS))
    assert set(federation.read_sites()) == set(KEYS)


def test_node_key_of_a_removed_site_is_refused_also_under_another_name(federation: Federation) -> None:
    """Attack: a removed site hands its key to another one. Flower never takes it again, and everything would wait."""
    Members(federation).enrol(request("ash"))
    Members(federation).remove("ash")
    for other in (request("ash"), request("birch", node_key=NODE_KEYS["ash"])):
        with pytest.raises(FederationError, match="never accepted again: its people make another one"):
            Members(federation).enrol(other)
    Members(federation).enrol(request("ash", node_key=NODE_KEYS["elm"]))
    assert set(federation.read_sites()) == {"ash"}


def write_otherwise(line: str) -> list[str]:
    """Write a node key in other ways: two that an SSH library reads as the same key, and with a compressed point."""
    kind, text = line.split()
    point = load_ssh_public_key(line.encode()).public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    fields = (b"ecdsa-sha2-nistp384", b"nistp384", point)
    compressed = b"".join(struct.pack(">I", len(each)) + each for each in fields)
    same = [f"{kind} {text[:10]}!{text[10:]}", f"{kind} {text}===="]
    assert all(load_ssh_public_key(each.encode()) == load_ssh_public_key(line.encode()) for each in same)
    return [*same, f"{kind} {base64.b64encode(compressed).decode()}"]


def test_node_key_that_is_written_otherwise_is_refused(federation: Federation) -> None:
    """Attack: the key of an enrolled site in another text, to be enrolled twice; keys are compared as text."""
    Members(federation).enrol(request("ash"))
    for line in write_otherwise(NODE_KEYS["ash"]):
        with pytest.raises(FederationError, match="the join request is damaged: expected a node key"):
            Members(federation).enrol(request("birch", node_key=line))
    assert set(federation.read_sites()) == {"ash"}


def test_name_of_the_local_operator_is_nobody_elses(published: Members, tmp_path: Path) -> None:
    """Attack: in the audit log and in launches, ``local`` is the operator at the coordinator's machine."""
    with pytest.raises(FederationError, match="'local' is the operator at the coordinator's own machine"):
        published.invite("local", Role.OPERATOR, "", 1)
    with pytest.raises(FederationError, match="'local' is the operator at the coordinator's own machine"):
        published.enrol(answer(published.invite("anna", Role.OPERATOR, "", 1), tmp_path / "anna", name="local"))


# Renewal ---------------------------------------------------------------------------------------------------


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = datetime.datetime.now(datetime.UTC)

    def __call__(self) -> datetime.datetime:
        return self.now

    def pass_days(self, days: float) -> None:
        self.now += datetime.timedelta(days=days)


def make_signing_request(folder: Path, number: int) -> tuple[str, str]:
    """Make a signing request of ash, and the proof by its node key that belongs to it."""
    (folder / str(number)).mkdir()
    signing_request = CredentialFiles(folder / str(number)).make_request("ash")
    claim = NodeKeyClaim(name="ash", identity=KEYS["ash"].public.text, tls_request=signing_request)
    return signing_request, claim.prove(OWN_NODE_KEYS["ash"])


def test_certificate_is_renewed_once_it_is_due_and_not_before(federation: Federation, tmp_path: Path) -> None:
    """Attack: a member asks for certificates without end, and the list of members grows with each."""
    clock = Clock()
    members = Members(federation, clock)
    members.enrol(request("ash"))
    first, second, third = (make_signing_request(tmp_path, number) for number in range(3))
    with pytest.raises(FederationError, match=r"has a certificate until .*, and it is not time for another"):
        members.renew_member(Role.SITE, "ash", *first)
    clock.pass_days(61)
    renewed = members.renew_member(Role.SITE, "ash", *second)
    assert members.renew_member(Role.SITE, "ash", *second) == renewed, "whose answer was lost gets it again"
    for _ in range(3):
        with pytest.raises(FederationError, match="if its key was lost, have 'ash' removed and invited again"):
            members.renew_member(Role.SITE, "ash", *third)
    assert len(federation.read_sites()["ash"].serials) == 2


def test_list_of_certificates_stays_short_over_the_authoritys_life(federation: Federation, tmp_path: Path) -> None:
    """Ten years in which a site asks every ten days, with a new key each time."""
    clock = Clock()
    members, keys = Members(federation, clock), [make_signing_request(tmp_path, number) for number in range(2)]
    members.enrol(request("ash"))
    authority = x509.load_pem_x509_certificate(federation.tls.ca.read_bytes())
    most, renewed = 0, 0
    while clock.now + datetime.timedelta(days=2) < authority.not_valid_after_utc:
        try:
            members.renew_member(Role.SITE, "ash", *keys[renewed % 2])
            renewed += 1
        except FederationError:
            pass
        serials = federation.read_sites()["ash"].serials
        most = max(most, len(serials))
        clock.pass_days(10)
    assert most == 2
    assert 55 < renewed < 65


# Possession of the node key --------------------------------------------------------------------------------


def make_request_of_mallory(node_key: str, proof: str | None) -> SignedJoinRequest:
    key = key_number(66)
    identity = key.public.text
    asked = JoinRequest(
        name="mallory", identity=identity, node_key=node_key, node_proof=proof, tls_request=TLS_REQUEST
    )
    return SignedJoinRequest.sign(key, asked)


def list_stolen_proofs() -> dict[str, str | None]:
    """What somebody without ash's node key can put in the place of its proof."""
    own = make_request_of_mallory(NODE_KEYS["ash"], None).statement
    return {
        "none": None,
        "by another node key": prove_node_key(OWN_NODE_KEYS["birch"], own),
        "ash's own, from its request": request("ash").statement.node_proof,
        "zeros": "A" * 128,
    }


@pytest.mark.parametrize("how", list_stolen_proofs())
def test_node_key_of_another_site_is_not_enrolled_for_who_only_knows_it(federation: Federation, how: str) -> None:
    """Attack: mallory names ash's public node key, is removed, and ash can never be enrolled with its key."""
    members = Members(federation)
    with pytest.raises(FederationError, match=r"the join request is damaged: .* the node key that it names"):
        members.enrol(make_request_of_mallory(NODE_KEYS["ash"], list_stolen_proofs()[how]))
    assert federation.read_sites() == {}
    members.enrol(request("ash"))


def test_invited_site_that_does_not_hold_its_node_key_leaves_no_request(published: Members, tmp_path: Path) -> None:
    invitation = published.invite("ash", Role.SITE, "", 1)
    stolen = answer(invitation, tmp_path / "mallory", node_proof="A" * 128)
    with pytest.raises(RefusedCallError, match="a proof is not by the node key that it names"):
        published.receive(invitation.token, stolen)
    assert published.list_requests()[0].request is None
    published.receive(invitation.token, answer(invitation, tmp_path / "ash"))


def test_renewal_is_refused_to_who_does_not_hold_the_node_key(federation: Federation, tmp_path: Path) -> None:
    """Attack: somebody has a site's TLS and identity keys, not its node key, and wants the certificate to go on."""
    clock = Clock()
    members = Members(federation, clock)
    members.enrol(request("ash"))
    clock.pass_days(61)
    (first, proof), (second, _) = (make_signing_request(tmp_path, number) for number in range(2))
    for stolen in (None, "", "A" * 128, proof):
        with pytest.raises(FederationError, match="is renewed only for who holds the node key"):
            members.renew_member(Role.SITE, "ash", second, stolen)
    assert len(federation.read_sites()["ash"].serials) == 1
    assert members.renew_member(Role.SITE, "ash", first, proof)


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
    assert published.list_requests()[0].others == 1


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


def test_gateways_folder_is_for_the_group_and_the_federation_around_it_is_not(published: Members) -> None:
    federation = folder_of(published)
    federation.renew_certificates()
    gateway = federation.folder / "gateway"
    assert (gateway.stat().st_mode & 0o777, federation.folder.stat().st_mode & 0o777) == (0o750, 0o700)
    assert {path.name: path.stat().st_mode & 0o777 for path in gateway.iterdir()} == dict.fromkeys(
        ("ca.crt", "crl.pem", "gateway.crt", "gateway.key"), 0o640
    )


def test_invitation_that_is_replaced_while_it_is_admitted_stays_replaced(
    published: Members, tmp_path: Path
) -> None:
    """The operator invites again in one window while another admits: what was read before would come back."""
    invitation = published.invite("ash", Role.SITE, "Bob", 24)
    signed = answer(invitation, tmp_path / "ash")
    published.receive(invitation.token, signed)
    invitations = folder_of(published).open_invitations()
    with ThreadPoolExecutor(1) as pool:
        with hold_lock(folder_of(published).folder / "members.lock"):
            admitted = pool.submit(published.admit, "ash", format_fingerprint(signed.statement))
            with pytest.raises(TimeoutError):
                admitted.result(0.5)
            invitations.add("ash", invitations.read()["ash"].model_copy(update={"request": None}))
        with pytest.raises(FederationError, match="no request of it has come yet"):
            admitted.result()
    assert invitations.read()["ash"].admission is None
    assert folder_of(published).read_sites() == {}


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
