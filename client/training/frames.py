"""Send and receive messages over a stream socket between the site and the process that trains.

::

    8 bytes     length n of the message, little-endian
    n bytes     the message

Rules:

* a message of more than the receiver allows is refused before it is read;
* memory is taken as bytes arrive, not as they are announced.
"""

import socket
from typing import Final

import numpy as np

_LENGTH_BYTES: Final = 8


def send(stream: socket.socket, *parts: bytes | memoryview) -> None:
    """Send one message that consists of ``parts``.

    Raises:
        OSError: the other end is closed.
    """
    stream.sendall(sum(len(part) for part in parts).to_bytes(_LENGTH_BYTES, "little"))
    for part in parts:
        stream.sendall(part)


def receive(stream: socket.socket, most_bytes: int) -> memoryview:
    """Receive one message of at most ``most_bytes``.

    Raises:
        EOFError: the other end is closed.
        TooLongError: the message is longer, or than there is memory for.
        OSError: the connection is broken.
    """
    length = int.from_bytes(_fill(stream, _LENGTH_BYTES), "little")
    if length > most_bytes:
        raise TooLongError(f"a message of {length} bytes, expected at most {most_bytes}")
    try:
        return _fill(stream, length)
    except MemoryError:
        raise TooLongError(f"a message of {length} bytes, which is more than there is memory for") from None


class TooLongError(Exception):
    """A message that is longer than the receiver allows."""


def _fill(stream: socket.socket, length: int) -> memoryview:
    view = np.empty(length, dtype=np.uint8).data  # pages of the array are taken when written
    filled = 0
    while filled < length:
        count = stream.recv_into(view[filled:])
        if count == 0:
            raise EOFError
        filled += count
    return view
