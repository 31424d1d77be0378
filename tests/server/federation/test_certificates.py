"""The certificate authority, against OpenSSL through Python's own ``ssl``."""

import datetime
import socket
import ssl
import threading
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from privacy.errors import FederationError, KeyFileError
from server.federation.certificates import (
    ALWAYS_NAMED,
    AUTHORITY_DAYS,
    RENEW_DAYS,
    SERVER_DAYS,
    TlsFiles,
    create_authority,
    issue_server_certificate,
    renew_in_time,
)


def shake_hands(server: TlsFiles, trusted: Path, name: str) -> str | None:
    """The TLS version agreed on by a strict client that expects ``name``."""
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(server.certificate, server.key)
    asking = ssl.create_default_context(cafile=trusted)
    asking.verify_flags |= ssl.VERIFY_X509_STRICT
    ours, theirs = socket.socketpair()

    def accept() -> None:
        try:
            with serving.wrap_socket(theirs, server_side=True) as connection:
                connection.recv(1)
        except ssl.SSLError:
            theirs.close()

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        with asking.wrap_socket(ours, server_hostname=name) as connection:
            connection.send(b".")
            return connection.version()
    finally:
        ours.close()
        thread.join()


@pytest.mark.parametrize("name", [*ALWAYS_NAMED, "coordinator.example", "192.0.2.7"])
def test_server_certificate_is_accepted_under_each_of_its_names(tmp_path: Path, name: str) -> None:
    files = create_authority(tmp_path, "oncology")
    issue_server_certificate(files, ["coordinator.example", "192.0.2.7"])
    assert shake_hands(files, files.ca, name) == "TLSv1.3"


def test_server_certificate_under_another_name_is_refused(certificates: TlsFiles) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(certificates, certificates.ca, "elsewhere.example")


def test_server_certificate_of_another_authority_is_refused(certificates: TlsFiles, tmp_path: Path) -> None:
    other = create_authority(tmp_path, "other")
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(certificates, other.ca, "localhost")


def test_keys_are_their_owners_alone(certificates: TlsFiles) -> None:
    for key in (certificates.ca_key, certificates.key):
        assert key.stat().st_mode & 0o777 == 0o600


def test_certificates_are_p256_and_valid_for_years(certificates: TlsFiles) -> None:
    now = datetime.datetime.now(datetime.UTC)
    for path, days in ((certificates.ca, 3650), (certificates.certificate, 825)):
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        key = certificate.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        assert key.curve.name == "secp256r1"
        assert certificate.not_valid_before_utc < now
        assert abs((certificate.not_valid_after_utc - now).total_seconds() / 86400 - days) < 1


def test_create_authority_twice_keeps_the_first(tmp_path: Path) -> None:
    files = create_authority(tmp_path, "first")
    key = files.ca_key.read_bytes()
    with pytest.raises(KeyFileError, match=r"ca\.key"):
        create_authority(tmp_path, "second")
    assert files.ca_key.read_bytes() == key


def test_issue_again_replaces_certificate_and_key(tmp_path: Path) -> None:
    files = create_authority(tmp_path, "renewed")
    issue_server_certificate(files)
    before = files.key.read_bytes(), files.certificate.read_bytes()
    issue_server_certificate(files, ["new.example"])
    assert files.key.read_bytes() != before[0]
    assert shake_hands(files, files.ca, "new.example") == "TLSv1.3"


def test_issue_with_a_foreign_key_is_refused(tmp_path: Path) -> None:
    first, second = (tmp_path / name for name in ("first", "second"))
    for folder in (first, second):
        folder.mkdir()
        create_authority(folder, folder.name)
    (first / "ca.pem").write_bytes((second / "ca.pem").read_bytes())
    with pytest.raises(FederationError, match=r"is not the key of ca\.pem"):
        issue_server_certificate(TlsFiles(first))


def test_issue_for_an_impossible_name_is_refused(tmp_path: Path) -> None:
    files = create_authority(tmp_path, "names")
    with pytest.raises(FederationError, match="neither a host name nor an address"):
        issue_server_certificate(files, ["x" * 64 + ".example"])


# Renewal ---------------------------------------------------------------------------------------------------


def now() -> datetime.datetime:
    """The time, when it is asked for: a certificate that is made later must not be one of the future."""
    return datetime.datetime.now(datetime.UTC)


def days(count: float) -> datetime.timedelta:
    return datetime.timedelta(days=count)


def test_renewal_of_what_is_good_changes_nothing(tmp_path: Path) -> None:
    files = create_authority(tmp_path, "good")
    issue_server_certificate(files, ["fl.example.org"])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert renew_in_time(files, ["fl.example.org"], now() + days(SERVER_DAYS - RENEW_DAYS - 1)) == []
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("issued", "why"),
    [
        (-(SERVER_DAYS + 20), "ran out on"),
        (-(SERVER_DAYS - RENEW_DAYS + 1), "runs out on"),
        (2, "is not valid before"),
    ],
)
def test_server_certificate_is_renewed_in_time_and_sites_need_nothing(
    tmp_path: Path, issued: float, why: str
) -> None:
    files = create_authority(tmp_path, "late", now() - days(1000))
    issue_server_certificate(files, now=now() + days(issued))
    held_by_sites = tmp_path / "held"
    held_by_sites.write_bytes(files.ca.read_bytes())
    (said,) = renew_in_time(files, ["fl.example.org"], now())
    assert "the server's certificate does not name fl.example.org" in said
    issue_server_certificate(files, now=now() + days(issued))
    (said,) = renew_in_time(files, [], now())
    assert f"the server's certificate {why}" in said
    assert f"valid until {now() + days(SERVER_DAYS):%Y-%m-%d}; sites need nothing" in said
    assert shake_hands(files, held_by_sites, "localhost") == "TLSv1.3"
    assert renew_in_time(files, [], now()) == []


@pytest.mark.parametrize("harm", ["missing", "other key", "other authority", "no PEM"])
def test_server_certificate_that_cannot_be_used_is_replaced(tmp_path: Path, harm: str) -> None:
    files = create_authority(tmp_path, "harmed")
    issue_server_certificate(files)
    (tmp_path / "other").mkdir()
    other = create_authority(tmp_path / "other", "other")
    issue_server_certificate(other)
    match harm:
        case "missing":
            files.certificate.unlink()
        case "other key":
            files.key.write_bytes(other.key.read_bytes())
        case "other authority":
            files.key.write_bytes(other.key.read_bytes())
            files.certificate.write_bytes(other.certificate.read_bytes())
        case _:
            files.certificate.write_text("no certificate")
    (said,) = renew_in_time(files, [], now())
    assert "a new one is valid until" in said
    assert shake_hands(files, files.ca, "localhost") == "TLSv1.3"


def test_authority_is_renewed_with_the_same_key_before_a_server_certificate_outlives_it(tmp_path: Path) -> None:
    files = create_authority(tmp_path, "old", now() - days(AUTHORITY_DAYS - 300))
    issue_server_certificate(files)
    held_by_sites = tmp_path / "held"
    held_by_sites.write_bytes(files.ca.read_bytes())
    said = renew_in_time(files, [], now())
    assert "hand every site a new admission: consilium admit REQUEST --out FILE" in said[0]
    authority = x509.load_pem_x509_certificate(files.ca.read_bytes())
    assert authority.not_valid_after_utc > now() + days(AUTHORITY_DAYS - 1)
    issue_server_certificate(files)
    for trusted in (files.ca, held_by_sites):
        assert shake_hands(files, trusted, "localhost") == "TLSv1.3"


def test_server_certificate_never_outlives_its_authority(tmp_path: Path) -> None:
    files = create_authority(tmp_path, "old", now() - days(AUTHORITY_DAYS - 300))
    issue_server_certificate(files)
    authority, server = (
        x509.load_pem_x509_certificate(path.read_bytes()) for path in (files.ca, files.certificate)
    )
    assert server.not_valid_after_utc == authority.not_valid_after_utc
