"""Keys: signatures, key agreement, encryption of keys, and key files.

* An **identity** (Ed25519) signs all statements of a party and every entry of its ledger. Peers pin its public
  half, which is its own fingerprint. People see and type it in groups with check characters
  (``privacy/typed_keys.py``). In what is signed or sent it has 43 characters of base64url.
* A **session key** (X25519) is in memory only, for one key epoch of one study; two of them give a pair secret.
* A **node key** (P-384, OpenSSH form) authenticates a site's connection to Flower.
* Every signature covers a label that says what is signed, so that a signature is never valid for another purpose.
* A private key is a file that only its owner can read (mode 0600); one that others can read is refused.

Sources: RFC 8032 (Ed25519), RFC 7748 (X25519), RFC 5869 (HKDF), NIST SP 800-38D (AES-GCM).
"""

import base64
import binascii
import hmac
import os
import secrets
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidSignature, InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from privacy.errors import KeyFileError, WireError
from privacy.files import sync_folder
from privacy.typed_keys import from_typed, to_typed

SECRET_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_NODE_HALF_BYTES: Final = 48
"""Of each of the two numbers of a P-384 signature."""

NodeKey = ec.EllipticCurvePrivateKey
"""The private half of a node key; on P-384."""


@dataclass(frozen=True)
class PublicKey:
    """The public half of an identity."""

    raw: bytes

    @classmethod
    def from_text(cls, text: str) -> "PublicKey":
        """Parse a key that :attr:`text` wrote.

        Raises:
            WireError: not 43 characters of base64url for 32 bytes.
        """
        try:
            raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        except (ValueError, binascii.Error):
            raw = b""
        if len(raw) != SECRET_BYTES or _encode_key(raw) != text:
            raise WireError(f"expected a public key of 43 base64url characters, got {len(text)} characters")
        return cls(raw)

    @classmethod
    def from_typed(cls, text: str) -> "PublicKey":
        """Parse a key in the form of :attr:`typed`, as a person typed it.

        Raises:
            WireError: it is no key, or was mistyped.
        """
        return cls(from_typed(text))

    @property
    def text(self) -> str:
        """The key as 43 characters of base64url, the form in what is signed and sent."""
        return _encode_key(self.raw)

    @property
    def typed(self) -> str:
        """The key as people read, type and compare it."""
        return to_typed(self.raw)

    def verify(self, signature: bytes, message: bytes) -> None:
        """Verify ``signature`` over ``message``.

        Raises:
            WireError: it is not this key's signature over these bytes.
        """
        try:
            _load_public_key(self.raw).verify(signature, message)
        except InvalidSignature:
            raise WireError(f"a signature is not by the key {self.typed} over these bytes") from None


class SignedBytes(NamedTuple):
    """Bytes (which begin with a label), a signature over them, and the key that it must be by."""

    key: PublicKey
    signature: bytes
    message: bytes

    def verify(self) -> None:
        """Verify the signature.

        Raises:
            WireError: it is not this key's signature over these bytes.
        """
        self.key.verify(self.signature, self.message)


class SigningKey:
    """An identity: the private half never leaves the installation that generated it."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private

    @classmethod
    def generate(cls) -> "SigningKey":
        """Generate a fresh identity from the operating system's randomness."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def load(cls, path: Path) -> "SigningKey":
        """Read an identity's key file.

        Raises:
            KeyFileError: missing, readable by others, or not an Ed25519 key.
        """
        try:
            private = serialization.load_pem_private_key(read_secret(path), password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            private = None
        if not isinstance(private, Ed25519PrivateKey):
            raise KeyFileError(f"{path}: expected an Ed25519 private key in PEM form; restore it from your backup")
        return cls(private)

    def save(self, path: Path) -> None:
        """Write the key file, 0600; an existing one is never overwritten."""
        pem = self._private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        write_secret(path, pem)

    @property
    def public(self) -> PublicKey:
        """The public half."""
        return PublicKey(self._private.public_key().public_bytes_raw())

    def derive_own_key(self, label: bytes) -> bytes:
        """Derive a 32-byte key that only this identity's owner can compute, for the purpose ``label``."""
        return derive_key(self._private.private_bytes_raw(), label)

    def sign(self, message: bytes) -> bytes:
        """Sign ``message`` (which begins with a label); 64 bytes."""
        return self._private.sign(message)


class SessionKey:
    """A site's X25519 key for one key epoch of one study, in memory only."""

    def __init__(self) -> None:
        self._private = X25519PrivateKey.generate()

    @property
    def public(self) -> str:
        """The public half as 43 characters of base64url."""
        return _encode_key(self._private.public_key().public_bytes_raw())

    def agree(self, peer: str, info: bytes) -> bytes:
        """Compute the 32-byte secret that only the two owners can compute, for the purpose ``info``.

        Raises:
            WireError: ``peer`` is no usable X25519 public key.
        """
        try:
            shared = self._private.exchange(X25519PublicKey.from_public_bytes(PublicKey.from_text(peer).raw))
        except ValueError:
            raise WireError("a peer's session key is not a usable X25519 key") from None
        return derive_key(shared, info)


def derive_key(secret: bytes, info: bytes, length: int = SECRET_BYTES) -> bytes:
    """Derive one key of ``secret`` for each purpose ``info``: HKDF-SHA256 without salt (RFC 5869)."""
    return HKDF(algorithm=hashes.SHA256(), length=length, salt=None, info=info).derive(secret)


def compute_keyed_digest(key: bytes, message: bytes) -> str:
    """Compute HMAC-SHA256 in hexadecimal: a digest that only the key's holders can compute or test."""
    return hmac.digest(key, message, "sha256").hex()


def wrap(key: bytes, secret: bytes, context: bytes) -> bytes:
    """Encrypt ``secret`` so that only a holder of ``key`` opens it, in this ``context`` only (AES-256-GCM)."""
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, secret, context)


def unwrap(key: bytes, wrapped: bytes, context: bytes) -> bytes:
    """Undo :func:`wrap`.

    Raises:
        WireError: another key, another context, or altered bytes.
    """
    try:
        return AESGCM(key).decrypt(wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], context)
    except (InvalidTag, ValueError):
        raise WireError(
            "a wrapped key does not open: it was made for another site or context, or altered"
        ) from None


def generate_node_key(path: Path) -> str:
    """Write a fresh P-384 key for Flower's node authentication (OpenSSH form, 0600); return its public line."""
    private = ec.generate_private_key(ec.SECP384R1())
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    write_secret(path, pem)
    return format_node_key(private)


def load_node_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Read a node key.

    Raises:
        KeyFileError: missing, readable by others, or not a P-384 key in OpenSSH form.
    """
    try:
        private = serialization.load_ssh_private_key(read_secret(path), password=None)
    except (ValueError, UnsupportedAlgorithm):
        private = None
    if not isinstance(private, ec.EllipticCurvePrivateKey) or not isinstance(private.curve, ec.SECP384R1):
        raise KeyFileError(f"{path}: expected a P-384 private key in OpenSSH form; restore it from your backup")
    return private


def format_node_key(private: ec.EllipticCurvePrivateKey) -> str:
    """Write the public half of a node key as one line in OpenSSH form."""
    return _format_ssh_key(private.public_key())


def sign_with_node_key(private: ec.EllipticCurvePrivateKey, message: bytes) -> str:
    """Sign ``message`` (which begins with a label) with a node key; 128 characters of base64url (FIPS 186-5, ECDSA)."""
    r, s = decode_dss_signature(private.sign(message, ec.ECDSA(hashes.SHA384())))
    raw = r.to_bytes(_NODE_HALF_BYTES) + s.to_bytes(_NODE_HALF_BYTES)
    return base64.urlsafe_b64encode(raw).decode("ascii")


def verify_node_signature(line: str, signature: str, message: bytes) -> None:
    """Verify that the holder of the node key in ``line`` has signed ``message``.

    Raises:
        WireError: ``line`` is no node key, or the signature is not by it.
    """
    public = serialization.load_pem_public_key(convert_node_key_to_pem(line))
    assert isinstance(public, ec.EllipticCurvePublicKey)
    try:
        raw = base64.b64decode(signature, altchars=b"-_", validate=True)
        halves = int.from_bytes(raw[:_NODE_HALF_BYTES]), int.from_bytes(raw[_NODE_HALF_BYTES:])
        public.verify(encode_dss_signature(*halves), message, ec.ECDSA(hashes.SHA384()))
    except (ValueError, InvalidSignature):
        raise WireError("a proof is not by the node key that it names") from None


def convert_node_key_to_pem(line: str) -> bytes:
    """Convert a node key's public line to PEM form, which Flower uses.

    Raises:
        WireError: ``line`` is no P-384 public key in OpenSSH form, or not as :func:`format_node_key` writes it. A key
            has several texts, and texts are compared to find out whose a key is.
    """
    try:
        public = serialization.load_ssh_public_key(line.encode())
    except (ValueError, UnsupportedAlgorithm, NotImplementedError):  # the last: a compressed point
        public = None
    if (
        not isinstance(public, ec.EllipticCurvePublicKey)
        or not isinstance(public.curve, ec.SECP384R1)
        or _format_ssh_key(public) != line
    ):
        raise WireError("expected a node key as one ecdsa-sha2-nistp384 line in OpenSSH form")
    return public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def generate_secret(path: Path) -> None:
    """Write 32 fresh random bytes, 0600."""
    write_secret(path, secrets.token_bytes(SECRET_BYTES))


def read_secret(path: Path) -> bytes:
    """Read a file that only its owner may read.

    Raises:
        KeyFileError: it is missing, or others can read it.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            mode = os.fstat(descriptor).st_mode & 0o777
            if mode & 0o077:
                raise KeyFileError(
                    f"{path}: others can read this key (mode {mode:04o}, expected 0600); "
                    f"if nobody has copied it, run: chmod 600 {path}"
                )
            return file.read()
    except OSError as error:
        raise KeyFileError(f"{path}: the key file cannot be read: {error.strerror}") from None


def write_secret(path: Path, data: bytes) -> None:
    """Write a new file that only its owner may read; durable when this returns.

    Raises:
        KeyFileError: there is a file already (it is left as it is), or the folder cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        sync_folder(path.parent)
    except OSError as error:
        raise KeyFileError(f"{path}: the key file cannot be written: {error.strerror}") from None


@lru_cache(maxsize=64)
def _load_public_key(raw: bytes) -> Ed25519PublicKey:
    """Load the key with these bytes; a ledger has thousands of signatures by two or three keys."""
    return Ed25519PublicKey.from_public_bytes(raw)


def _format_ssh_key(public: ec.EllipticCurvePublicKey) -> str:
    return public.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode("ascii")


def _encode_key(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode("ascii").rstrip("=")
