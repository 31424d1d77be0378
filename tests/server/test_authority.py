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
from server.authority import ALWAYS_NAMED, TlsFiles, create_authority, issue_server_certificate


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
