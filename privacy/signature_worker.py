"""Verify signatures for the process that started this one (``signature_checkers.py``), and write what it is sent.

It reads batches from its standard input, and writes a byte for each signature to its standard output. It ends with its
input: when the process that started it has ended, for whatever reason. It imports little, since it starts for every
verification of a long ledger.
"""

import gc
import struct
import sys
from collections.abc import Iterator, Sequence
from typing import IO, Final

from privacy.errors import WireError
from privacy.keys import PublicKey, SignedBytes
from privacy.process_lifetime import leave_terminal_to_parent

_COUNT: Final = struct.Struct(">I")
_LENGTHS: Final = struct.Struct(">III")


def format_batch(batch: Sequence[SignedBytes]) -> bytes:
    """Return what :func:`read_batches` reads: how many, then of each three lengths, key, signature and message."""
    parts = [_COUNT.pack(len(batch))]
    for key, signature, message in batch:
        parts += [_LENGTHS.pack(len(key.raw), len(signature), len(message)), key.raw, signature, message]
    return b"".join(parts)


def read_batches(file: IO[bytes]) -> Iterator[list[SignedBytes]]:
    """Yield the batches that come through a pipe, until its end."""
    while count := file.read(_COUNT.size):
        yield [_read_one(file) for _ in range(*_COUNT.unpack(count))]


def check_batch(batch: Sequence[SignedBytes]) -> bytes:
    """Return one byte for each signature, 1 where it holds."""
    return bytes(map(_holds, batch))


def main() -> None:
    """Check until there is nothing left to check."""
    leave_terminal_to_parent()
    gc.disable()  # nothing here refers to itself
    for batch in read_batches(sys.stdin.buffer):
        sys.stdout.buffer.write(check_batch(batch))
        sys.stdout.buffer.flush()


def _read_one(file: IO[bytes]) -> SignedBytes:
    key, signature, message = _LENGTHS.unpack(file.read(_LENGTHS.size))
    return SignedBytes(PublicKey(file.read(key)), file.read(signature), file.read(message))


def _holds(signed: SignedBytes) -> bool:
    try:
        signed.verify()
    except (WireError, ValueError):  # the latter: 32 bytes that are no key
        return False
    return True


if __name__ == "__main__":
    main()
