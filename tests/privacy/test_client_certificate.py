"""A party's TLS key and certificate: made at the party, certified for it alone, replaced as one file."""

import datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from privacy.client_certificate import (
    CLIENT_DAYS,
    RENEW_DAYS,
    CredentialFiles,
    Role,
    Subject,
    read_certificate,
    read_signing_request,
    read_subject,
)
from privacy.errors import KeyFileError, SiteConfigError, WireError
from server.federation.certificates import create_authority, issue_server_certificate
from server.federation.client_certificates import issue_client_certificate, issue_for_key, verify_client_certificate

ASH = Subject("wood", Role.SITE, "ash")
NOW = datetime.datetime.now(datetime.UTC)


def test_key_stays_and_its_certificate_comes_beside_it(tmp_path: Path) -> None:
    files, authority = CredentialFiles(tmp_path), create_authority(tmp_path, "wood")
    request = files.make_request("ash")
    assert "PRIVATE" not in request
    assert files.make_request("ash") != request, "a signature of ECDSA has a random part"
    issued = issue_client_certificate(authority, request, ASH, NOW)
    files.accept(issued.pem, ASH, SiteConfigError)
    assert not files.next_key.exists()
    assert files.path.stat().st_mode & 0o777 == 0o600
    files.accept(issued.pem, ASH, SiteConfigError)  # the same one again changes nothing
    assert files.load().ends == issued.ends


def test_interrupted_renewal_keeps_the_present_certificate(tmp_path: Path) -> None:
    files, authority = CredentialFiles(tmp_path), create_authority(tmp_path, "wood")
    files.accept(issue_client_certificate(authority, files.make_request("ash"), ASH, NOW).pem, ASH, SiteConfigError)
    first = files.load()
    files.make_request("ash")  # and the answer never comes
    assert files.load() == first
    second = issue_client_certificate(authority, files.make_request("ash"), ASH, NOW)
    files.accept(second.pem, ASH, SiteConfigError)
    assert files.load().certificate.decode() == second.pem
    assert files.load().key != first.key


def test_certificate_is_due_a_month_before_its_end(tmp_path: Path) -> None:
    files, authority = CredentialFiles(tmp_path), create_authority(tmp_path, "wood")
    files.accept(issue_client_certificate(authority, files.make_request("ash"), ASH, NOW).pem, ASH, SiteConfigError)
    day = datetime.timedelta(days=1)
    assert not files.load().is_due(NOW + (CLIENT_DAYS - RENEW_DAYS - 1) * day)
    assert files.load().is_due(NOW + (CLIENT_DAYS - RENEW_DAYS + 1) * day)


@pytest.mark.parametrize("other", [Subject("wood", Role.SITE, "birch"), Subject("wood", Role.OPERATOR, "ash")])
def test_certificate_of_another_owner_is_refused(tmp_path: Path, other: Subject) -> None:
    files, authority = CredentialFiles(tmp_path), create_authority(tmp_path, "wood")
    issued = issue_client_certificate(authority, files.make_request("ash"), other, NOW)
    with pytest.raises(SiteConfigError, match="expected consilium://wood/site/ash"):
        files.accept(issued.pem, ASH, SiteConfigError)


def test_certificate_of_another_key_is_refused(tmp_path: Path) -> None:
    files, authority = CredentialFiles(tmp_path), create_authority(tmp_path, "wood")
    files.make_request("ash")
    other = issue_for_key(authority, ec.generate_private_key(ec.SECP256R1()).public_key(), ASH, NOW)
    with pytest.raises(SiteConfigError, match="is for another TLS key"):
        files.accept(other.pem, ASH, SiteConfigError)
    assert not files.path.exists()


def test_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    files, authority = CredentialFiles(tmp_path), create_authority(tmp_path, "wood")
    files.accept(issue_client_certificate(authority, files.make_request("ash"), ASH, NOW).pem, ASH, SiteConfigError)
    files.path.chmod(0o640)
    with pytest.raises(KeyFileError, match="others can read this key"):
        files.load()


def test_signing_request_that_somebody_changed_is_refused(tmp_path: Path) -> None:
    request = CredentialFiles(tmp_path).make_request("ash")
    lines = request.splitlines()
    for changed in ("", "x", request.replace(lines[2], lines[2][::-1])):
        with pytest.raises(WireError, match="expected a certificate signing request for a P-256 key"):
            read_signing_request(changed)


def test_servers_certificate_is_no_clients(tmp_path: Path) -> None:
    """Attack: the coordinator's own server certificate, shown as a client's."""
    authority = create_authority(tmp_path, "wood")
    issue_server_certificate(authority, ["localhost"])
    ca = x509.load_pem_x509_certificate(authority.ca.read_bytes())
    with pytest.raises(WireError, match="is a server's, not a client's"):
        verify_client_certificate(ca, x509.load_pem_x509_certificate(authority.certificate.read_bytes()), NOW)


def test_certificate_that_another_authority_signed_is_refused(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.mkdir()
    theirs.mkdir()
    ca = x509.load_pem_x509_certificate(create_authority(ours, "wood").ca.read_bytes())
    key = ec.generate_private_key(ec.SECP256R1())
    issued = issue_for_key(create_authority(theirs, "wood"), key.public_key(), ASH, NOW)
    with pytest.raises(WireError, match="not one that this federation's authority issued"):
        verify_client_certificate(ca, read_certificate(issued.pem), NOW)


@pytest.mark.parametrize(
    "uri", ["consilium://wood/king/ash", "spiffe://wood/site/ash", "consilium://wood/site/ash/x"]
)
def test_certificate_without_a_party_is_refused(tmp_path: Path, uri: str) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW)
        .not_valid_after(NOW + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    with pytest.raises(WireError, match="expected a certificate with one name consilium"):
        read_subject(certificate)
