"""Encrypted archives: round trips of any length, every change noticed, and the bytes themselves read by hand."""

import io
import unicodedata
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.encrypted_file import (
    FIRST_LINE,
    PART_BYTES,
    SALT_BYTES,
    DecryptingReader,
    EncryptingWriter,
    is_encrypted,
)
from privacy.errors import SiteConfigError

PASSPHRASE = "correct horse battery staple"
HEAD = len(FIRST_LINE) + 1 + SALT_BYTES
LENGTHS = (0, 1, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 3 * PART_BYTES, 3 * PART_BYTES + 7)


def encrypt(*pieces: bytes, passphrase: str = PASSPHRASE) -> bytes:
    out = io.BytesIO()
    writer = EncryptingWriter(out, passphrase)
    for piece in pieces:
        assert writer.write(piece) == len(piece)
    writer.finish()
    return out.getvalue()


def decrypt(data: bytes, passphrase: str = PASSPHRASE) -> bytes:
    return DecryptingReader(io.BytesIO(data), passphrase, "b.tar", SiteConfigError).read()


def make_data(length: int) -> bytes:
    return (bytes(range(251)) * (length // 251 + 1))[:length]


@pytest.mark.parametrize("length", LENGTHS)
def test_data_of_any_length_come_back(length: int) -> None:
    data = make_data(length)
    encrypted = encrypt(data)
    assert decrypt(encrypted) == data
    parts = max(1, -(-length // PART_BYTES))
    assert len(encrypted) == HEAD + length + 16 * parts


@settings(max_examples=3, deadline=None)
@given(st.lists(st.binary(max_size=90_000), max_size=5))
def test_data_written_in_pieces_are_the_same_data(pieces: list[bytes]) -> None:
    assert decrypt(encrypt(*pieces)) == b"".join(pieces)


def test_layout_is_what_the_page_says() -> None:
    """Opened by hashlib's scrypt and AES-GCM alone."""
    import hashlib

    data = make_data(PART_BYTES + 5)
    encrypted = encrypt(data)
    assert encrypted.startswith(b"consilium encrypted backup 1\n\x11")
    key = hashlib.scrypt(
        PASSPHRASE.encode(), salt=encrypted[HEAD - 32 : HEAD], n=1 << 17, r=8, p=1, dklen=32, maxmem=1 << 28
    )
    first, last = encrypted[HEAD : HEAD + PART_BYTES + 16], encrypted[HEAD + PART_BYTES + 16 :]
    cipher, head = AESGCM(key), encrypted[:HEAD]
    opened = cipher.decrypt(bytes(12), first, head) + cipher.decrypt(bytes(10) + b"\1\1", last, head)
    assert opened == data


def test_same_data_twice_share_no_byte_but_the_first_line() -> None:
    one, other = encrypt(make_data(100)), encrypt(make_data(100))
    assert one[HEAD:] != other[HEAD:]
    assert one[HEAD - SALT_BYTES : HEAD] != other[HEAD - SALT_BYTES : HEAD]


def test_wrong_passphrase_is_a_sentence() -> None:
    with pytest.raises(
        SiteConfigError, match=r"b\.tar: cannot be opened: the passphrase is another one, or the file"
    ):
        decrypt(encrypt(b"secret"), "correct horse battery stable")


def test_passphrase_typed_with_accents_in_two_pieces_is_the_same() -> None:
    composed = unicodedata.normalize("NFC", "Übergrößenträger-Café")
    assert decrypt(encrypt(b"x", passphrase=composed), unicodedata.normalize("NFD", composed)) == b"x"


@pytest.fixture(scope="module")
def three_parts() -> bytes:
    return encrypt(make_data(2 * PART_BYTES + 10))


@pytest.mark.parametrize(
    "place", [0, 5, HEAD - 33, HEAD - 32, HEAD - 1, HEAD, HEAD + PART_BYTES + 3, HEAD + 2 * PART_BYTES + 40, -1]
)
def test_every_changed_byte_is_noticed(three_parts: bytes, place: int) -> None:
    changed = bytearray(three_parts)
    changed[place] ^= 1
    with pytest.raises(SiteConfigError, match=r"b\.tar: "):
        decrypt(bytes(changed))


@pytest.mark.parametrize(
    "length", [0, 10, HEAD - 1, HEAD, HEAD + 5, HEAD + PART_BYTES + 16, HEAD + 2 * (PART_BYTES + 16), -1]
)
def test_cut_file_is_noticed_also_between_parts(three_parts: bytes, length: int) -> None:
    with pytest.raises(SiteConfigError, match=r"cut off"):
        decrypt(three_parts[:length])


def test_parts_exchanged_repeated_or_added_are_noticed(three_parts: bytes) -> None:
    size = PART_BYTES + 16
    head, one, two, last = (
        three_parts[:HEAD],
        three_parts[HEAD : HEAD + size],
        three_parts[HEAD + size : HEAD + 2 * size],
        three_parts[HEAD + 2 * size :],
    )
    for wrong in (
        two + one + last,
        one + one + two + last,
        one + last,
        one + two + last + last,
        one + two + last + b"x",
    ):
        with pytest.raises(SiteConfigError, match=r"b\.tar: "):
            decrypt(head + wrong)


def test_nothing_unverified_is_returned(three_parts: bytes) -> None:
    changed = bytearray(three_parts)
    changed[HEAD + PART_BYTES + 20] ^= 1  # in the second part
    reader = DecryptingReader(io.BytesIO(changed), PASSPHRASE, "b.tar", SiteConfigError)
    assert reader.read(PART_BYTES) == make_data(PART_BYTES)
    with pytest.raises(SiteConfigError, match=f"damaged or cut off behind byte {PART_BYTES}"):
        reader.read(1)


def test_file_that_asks_for_a_machines_memory_is_refused_before_any_work() -> None:
    for work in (0, 21, 255):
        with pytest.raises(SiteConfigError, match="asks for scrypt"):
            decrypt(FIRST_LINE + bytes([work]) + bytes(SALT_BYTES + 40))


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_refused_with_a_sentence(data: bytes) -> None:
    with pytest.raises(SiteConfigError, match=r"b\.tar: "):
        decrypt(data)


def test_encrypted_file_is_told_from_a_tar_file(tmp_path: Path) -> None:
    for data, expected in ((encrypt(b"x"), True), (b"identity.key" + bytes(600), False), (b"", False)):
        file = io.BytesIO(data)
        assert is_encrypted(file) is expected
        assert file.tell() == 0
