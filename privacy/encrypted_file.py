r"""Encrypt a stream of any length under a passphrase, and read it again.

::

    consilium encrypted backup 1\n      29 bytes
    N                                   1 byte: scrypt works with 2**N (17; r = 8, p = 1: 128 MiB of memory)
    salt                                32 bytes, drawn anew for every file
    part, part, ... last part           each of 65536 bytes (the last of 0 to 65536), encrypted, and a tag of 16 bytes

The key is ``scrypt(passphrase in UTF-8 and NFC, salt)``, 32 bytes, and of this file alone. Part *i* is encrypted by
AES-256-GCM with the nonce *i* (11 bytes, big-endian) and 1 for the last part, 0 for another; what precedes the parts is
its associated data. So no part can be changed, left out, exchanged or added, and the end cannot be cut off.

What it does not do: hide the length, or make a short passphrase long. Who tries passphrases needs 128 MiB and a good
part of a second for each.

Version 1 never changes; another layout gets another first line.

Sources: RFC 7914 (scrypt); NIST SP 800-38D (GCM); Hoang, Reyhanitabar, Rogaway and Vizar 2015 (STREAM: parts with a
mark on the last one), as used by age (age-encryption.org/v1).
"""

import io
import os
import unicodedata
from typing import IO, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from privacy.errors import Error

FIRST_LINE: Final = b"consilium encrypted backup 1\n"
PART_BYTES: Final = 1 << 16
SALT_BYTES: Final = 32
_TAG_BYTES: Final = 16
_WORK: Final = 17
_MOST_WORK: Final = 20
"""A file that asks for more than 1 GiB of memory is refused."""


def is_encrypted(file: IO[bytes]) -> bool:
    """Return whether the file, which is at its beginning and stays there, has the first line of an encrypted one."""
    begin = file.read(len(FIRST_LINE))
    file.seek(0)
    return begin == FIRST_LINE


class EncryptingWriter(io.RawIOBase):
    """A stream that writes what it is given, encrypted, into ``file``. Only :meth:`finish` makes it whole.

    *Guarantee*: whoever has the file and not the passphrase learns its length, and can change nothing unnoticed.
    """

    def __init__(self, file: IO[bytes], passphrase: str) -> None:
        salt = os.urandom(SALT_BYTES)
        self._file = file
        self._head = FIRST_LINE + bytes([_WORK]) + salt
        self._cipher = AESGCM(_derive_key(passphrase, salt, _WORK))
        self._waiting = bytearray()
        self._number = 0
        file.write(self._head)

    def writable(self) -> bool:
        """Return that this stream is written to."""
        return True

    def write(self, data: "bytes | bytearray | memoryview") -> int:  # type: ignore[override]
        """Take data; a part is written once it is known not to be the last one."""
        self._waiting += data
        while len(self._waiting) > PART_BYTES:
            self._write_part(bytes(self._waiting[:PART_BYTES]), last=False)
            del self._waiting[:PART_BYTES]
        return len(data)

    def finish(self) -> None:
        """Write the last part."""
        self._write_part(bytes(self._waiting), last=True)
        self._waiting.clear()

    def _write_part(self, data: bytes, last: bool) -> None:
        self._file.write(self._cipher.encrypt(_make_nonce(self._number, last), data, self._head))
        self._number += 1


class DecryptingReader(io.RawIOBase):
    """A stream of what is encrypted in ``file``. Every byte that it returns has been verified.

    Raises:
        error: (also by ``read``) the passphrase is another one, or the file is damaged, cut off, or of a newer program.
    """

    def __init__(self, file: IO[bytes], passphrase: str, name: str, error: type[Error]) -> None:
        self._file, self._name, self._error = file, name, error
        head = file.read(len(FIRST_LINE) + 1 + SALT_BYTES)
        if len(head) < len(FIRST_LINE) + 1 + SALT_BYTES or not head.startswith(FIRST_LINE):
            raise error(f"{name}: not an encrypted backup of version 1, or cut off")
        work = head[len(FIRST_LINE)]
        if not 1 <= work <= _MOST_WORK:
            raise error(f"{name}: damaged: it asks for scrypt with 2**{work}, expected at most 2**{_MOST_WORK}")
        self._head = head
        self._cipher = AESGCM(_derive_key(passphrase, head[-SALT_BYTES:], work))
        self._next = file.read(PART_BYTES + _TAG_BYTES)
        self._ready = b""
        self._number = 0
        self._ended = False

    def readable(self) -> bool:
        """Return that this stream is read from."""
        return True

    def readinto(self, buffer: "bytearray | memoryview") -> int:  # type: ignore[override]
        """Read into ``buffer``; 0 at the end."""
        while not self._ready and not self._ended:
            self._ready = self._read_part()
        size = min(len(buffer), len(self._ready))
        buffer[:size], self._ready = self._ready[:size], self._ready[size:]
        return size

    def require_end(self) -> None:
        """Verify the rest, which is read past.

        Raises:
            error: it is damaged or cut off.
        """
        while not self._ended:
            self._read_part()

    def _read_part(self) -> bytes:
        part, self._next = self._next, self._file.read(PART_BYTES + _TAG_BYTES)
        last = not self._next
        try:
            data = self._cipher.decrypt(_make_nonce(self._number, last), part, self._head)
        except (InvalidTag, ValueError):
            if self._number == 0:
                raise self._error(
                    f"{self._name}: cannot be opened: the passphrase is another one, or the file was damaged or cut off"
                ) from None
            raise self._error(
                f"{self._name}: damaged or cut off behind byte {self._number * PART_BYTES}; use another backup"
            ) from None
        self._number += 1
        self._ended = last
        return data


def _make_nonce(number: int, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([last])


def _derive_key(passphrase: str, salt: bytes, work: int) -> bytes:
    """Derive the key of 32 bytes; it takes 2**work KiB of memory."""
    return Scrypt(salt, 32, 1 << work, 8, 1).derive(unicodedata.normalize("NFC", passphrase).encode())
