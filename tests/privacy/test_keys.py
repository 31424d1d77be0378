"""Keys against the RFCs' vectors, and against every file that should be refused."""

import hmac
import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from privacy import keys
from privacy.errors import KeyFileError, WireError
from privacy.keys import PublicKey, SessionKey, SigningKey
from tests.privacy.launch_makers import key_number


def pem(
    private: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | Ed25519PrivateKey, openssh: bool = False
) -> bytes:
    form = serialization.PrivateFormat.OpenSSH if openssh else serialization.PrivateFormat.PKCS8
    return private.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


def test_derived_key_is_hkdf_sha256_of_the_private_half() -> None:
    """RFC 5869 written out: extract without salt, one block of expand."""
    private = bytes(range(32))
    extracted = hmac.digest(bytes(32), private, "sha256")
    expected = hmac.digest(extracted, b"a label\x00" + b"\x01", "sha256")
    key = SigningKey(Ed25519PrivateKey.from_private_bytes(private))
    assert key.derive_own_key(b"a label\0") == expected
    assert key.derive_own_key(b"another label\0") != expected


# Identities ------------------------------------------------------------------------------------------------


def test_signature_is_the_rfc_8032_vector() -> None:
    """RFC 8032, section 7.1, test 3."""
    key = SigningKey(
        Ed25519PrivateKey.from_private_bytes(
            bytes.fromhex("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7")
        )
    )
    assert key.public.raw.hex() == "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025"
    assert key.sign(b"\xaf\x82").hex() == (
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
        "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
    )


@given(st.binary(max_size=200))
def test_signature_by_the_key_is_accepted(message: bytes) -> None:
    key = key_number(7)
    key.public.verify(key.sign(message), message)


@pytest.mark.parametrize(
    ("signature", "message"),
    [
        (key_number(7).sign(b"text"), b"texs"),
        (key_number(8).sign(b"text"), b"text"),
        (key_number(7).sign(b"text")[:-1], b"text"),
        (key_number(7).sign(b"text") + b"\0", b"text"),
        (bytes(64), b"text"),
        (b"", b"text"),
    ],
)
def test_signature_that_is_not_the_keys_own_is_refused(signature: bytes, message: bytes) -> None:
    with pytest.raises(WireError, match="a signature is not by the key"):
        key_number(7).public.verify(signature, message)


def test_public_key_that_is_no_point_verifies_nothing() -> None:
    with pytest.raises(WireError, match="a signature is not by the key"):
        PublicKey(b"\xff" * 32).verify(bytes(64), b"text")


@given(st.binary(min_size=32, max_size=32))
def test_public_key_read_back_from_its_text_is_equal(raw: bytes) -> None:
    text = PublicKey(raw).text
    assert len(text) == 43
    assert PublicKey.from_text(text) == PublicKey(raw)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A" * 42,
        "A" * 44,
        "A" * 42 + "B",
        "A" * 42 + "=",
        "A" * 42 + "\n",
        "A" * 42 + "+",
        "é" * 43,
        "!" + "A" * 43,
    ],
)
def test_text_that_is_no_public_key_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(WireError, match=f"expected a public key of 43 base64url characters, got {len(text)}"):
        PublicKey.from_text(text)


def test_identity_read_back_from_its_file_is_the_same(tmp_path: Path) -> None:
    key = SigningKey.generate()
    key.save(tmp_path / "identity.key")
    assert (tmp_path / "identity.key").stat().st_mode & 0o777 == 0o600
    assert SigningKey.load(tmp_path / "identity.key").public == key.public


def test_identity_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "identity.key"
    key = SigningKey.generate()
    key.save(path)
    with pytest.raises(KeyFileError, match="cannot be written: File exists"):
        SigningKey.generate().save(path)
    assert SigningKey.load(path).public == key.public


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o602, 0o610, 0o777])
def test_key_file_that_others_may_touch_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "identity.key"
    SigningKey.generate().save(path)
    path.chmod(mode)
    with pytest.raises(
        KeyFileError, match=rf"others can read this key \(mode {mode:04o}, expected 0600\)"
    ) as caught:
        SigningKey.load(path)
    assert f"chmod 600 {path}" in str(caught.value)


def test_key_file_that_is_missing_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match=r"none\.key: the key file cannot be read: No such file"):
        SigningKey.load(tmp_path / "none.key")


@pytest.mark.parametrize("data", [b"", b"text", pem(ec.generate_private_key(ec.SECP384R1()))])
def test_file_that_holds_no_identity_is_refused(tmp_path: Path, data: bytes) -> None:
    keys.write_secret(tmp_path / "a.key", data)
    with pytest.raises(KeyFileError, match="expected an Ed25519 private key in PEM form"):
        SigningKey.load(tmp_path / "a.key")


def test_identity_under_a_password_is_refused(tmp_path: Path) -> None:
    encrypted = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
    )
    keys.write_secret(tmp_path / "a.key", encrypted)
    with pytest.raises(KeyFileError, match="expected an Ed25519 private key in PEM form"):
        SigningKey.load(tmp_path / "a.key")


# Node keys -------------------------------------------------------------------------------------------------


def test_node_key_is_p384_in_openssh_form(tmp_path: Path) -> None:
    path = tmp_path / "node.key"
    line = keys.generate_node_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_bytes().startswith(b"-----BEGIN OPENSSH PRIVATE KEY-----")
    assert line.startswith("ecdsa-sha2-nistp384 ")
    assert keys.format_node_key(keys.load_node_key(path)) == line


def test_node_key_in_pem_form_is_the_same_key(tmp_path: Path) -> None:
    line = keys.generate_node_key(tmp_path / "node.key")
    public = serialization.load_pem_public_key(keys.convert_node_key_to_pem(line))
    assert public == keys.load_node_key(tmp_path / "node.key").public_key()


@pytest.mark.parametrize(
    "data",
    [
        pem(ec.generate_private_key(ec.SECP256R1()), openssh=True),
        pem(Ed25519PrivateKey.generate(), openssh=True),
        pem(ec.generate_private_key(ec.SECP384R1())),
        b"text",
    ],
)
def test_file_that_holds_no_node_key_is_refused(tmp_path: Path, data: bytes) -> None:
    keys.write_secret(tmp_path / "node.key", data)
    with pytest.raises(KeyFileError, match="expected a P-384 private key in OpenSSH form"):
        keys.load_node_key(tmp_path / "node.key")


def test_line_that_is_no_node_key_is_refused() -> None:
    small = keys.format_node_key(ec.generate_private_key(ec.SECP256R1()))
    for line in ("", "ecdsa-sha2-nistp384 AAAA", small):
        with pytest.raises(WireError, match="expected a node key as one ecdsa-sha2-nistp384 line"):
            keys.convert_node_key_to_pem(line)


# Secrets ---------------------------------------------------------------------------------------------------


def test_secret_file_holds_32_bytes_of_its_owner(tmp_path: Path) -> None:
    keys.generate_secret(tmp_path / "a")
    keys.generate_secret(tmp_path / "b")
    assert len(keys.read_secret(tmp_path / "a")) == 32
    assert keys.read_secret(tmp_path / "a") != keys.read_secret(tmp_path / "b")
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600


def test_secret_in_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="the key file cannot be written: No such file"):
        keys.write_secret(tmp_path / "none" / "a", b"secret")


def test_derived_key_is_the_rfc_5869_vector() -> None:
    """RFC 5869, appendix A.3: no salt, no info."""
    assert keys.derive_key(b"\x0b" * 22, b"", 42).hex() == (
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"
    )


def test_derived_keys_differ_by_purpose() -> None:
    assert keys.derive_key(b"secret", b"one") != keys.derive_key(b"secret", b"two")
    assert len(keys.derive_key(b"secret", b"one")) == keys.SECRET_BYTES


def test_keyed_digest_is_the_rfc_4231_vector() -> None:
    """RFC 4231, test case 2."""
    assert keys.compute_keyed_digest(b"Jefe", b"what do ya want for nothing?") == (
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    )


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=300), st.binary(max_size=50))
def test_wrapped_secret_opens_with_its_key_and_context(key: bytes, secret: bytes, context: bytes) -> None:
    assert keys.unwrap(key, keys.wrap(key, secret, context), context) == secret


def test_secret_wrapped_twice_looks_different() -> None:
    assert keys.wrap(bytes(32), b"secret", b"") != keys.wrap(bytes(32), b"secret", b"")


def test_wrapped_secret_with_any_bit_changed_is_refused() -> None:
    wrapped = keys.wrap(bytes(32), b"secret", b"context")
    for place in range(len(wrapped)):
        changed = bytearray(wrapped)
        changed[place] ^= 1
        with pytest.raises(WireError, match="a wrapped key does not open"):
            keys.unwrap(bytes(32), bytes(changed), b"context")


@pytest.mark.parametrize("length", [0, 5, 12, 20, 33])
def test_wrapped_secret_that_is_cut_short_is_refused(length: int) -> None:
    with pytest.raises(WireError, match="a wrapped key does not open"):
        keys.unwrap(bytes(32), keys.wrap(bytes(32), b"secret", b"")[:length], b"")


def test_wrapped_secret_with_another_key_or_context_is_refused() -> None:
    wrapped = keys.wrap(bytes(32), b"secret", b"context")
    for key, context in ((b"\1" * 32, b"context"), (bytes(32), b"another")):
        with pytest.raises(WireError, match="it was made for another site or context, or altered"):
            keys.unwrap(key, wrapped, context)


# Session keys ----------------------------------------------------------------------------------------------


def test_session_keys_agree_from_both_sides() -> None:
    a, b = SessionKey(), SessionKey()
    assert a.agree(b.public, b"info") == b.agree(a.public, b"info")
    assert len(a.agree(b.public, b"info")) == keys.SECRET_BYTES


def test_session_keys_agree_on_another_secret_for_another_purpose_or_peer() -> None:
    a, b, c = SessionKey(), SessionKey(), SessionKey()
    assert len({a.agree(b.public, b"one"), a.agree(b.public, b"two"), a.agree(c.public, b"one")}) == 3


@pytest.mark.parametrize("number", [0, 1])
def test_session_key_of_small_order_is_refused(number: int) -> None:
    """RFC 7748, section 6.1: the shared secret would be zero whatever our key."""
    peer = PublicKey(number.to_bytes(32, "little")).text
    with pytest.raises(WireError, match="a peer's session key is not a usable X25519 key"):
        SessionKey().agree(peer, b"info")


def test_text_that_is_no_session_key_is_refused() -> None:
    with pytest.raises(WireError, match="expected a public key of 43 base64url characters"):
        SessionKey().agree("short", b"info")


def test_written_secret_is_durable_with_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a power cut a file that was synced has no name unless its folder was synced after it was made."""
    synced: list[int] = []
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    keys.write_secret(tmp_path / "secret.key", b"secret")
    assert synced == [(tmp_path / "secret.key").stat().st_ino, tmp_path.stat().st_ino]
