"""Decode compressed DICOM frames in a process of its own: a damaged file may crash a decoder written in C.

Started by ``decoder_process.py``; both ends speak, on standard input and output, in messages of two parts::

    4 bytes     length of the head, big-endian
    head        JSON
    8 bytes     length of the body
    body        compressed frames as they are in the file; in an answer, the pixels

An answer's head has ``type`` and ``shape`` of the pixels, or ``failed``. Nothing else of a file comes here.
"""

import contextlib
import json
import os
import resource
import signal
import tempfile
import warnings
from typing import Any, BinaryIO, Final

MAX_MEMORY: Final = 8 << 30  # bytes of address space


def write_message(stream: BinaryIO, head: dict[str, Any], body: bytes | memoryview = b"") -> None:
    """Write a message."""
    words = json.dumps(head).encode()
    stream.write(len(words).to_bytes(4, "big") + words + len(body).to_bytes(8, "big"))
    stream.write(body)
    stream.flush()


def read_message(stream: BinaryIO) -> tuple[dict[str, Any], bytes]:
    """Read a message.

    Raises:
        EOFError: the other end is gone.
    """
    head: dict[str, Any] = json.loads(_read(stream, int.from_bytes(_read(stream, 4), "big")))
    return head, _read(stream, int.from_bytes(_read(stream, 8), "big"))


def _read(stream: BinaryIO, count: int) -> bytes:
    data = stream.read(count)
    if len(data) < count:
        raise EOFError
    return data


def main() -> None:
    """Answer requests until the other end is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the other end, and so this one
    with contextlib.suppress(ValueError):  # a lower limit is set already
        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
    warnings.simplefilter("ignore")
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    with tempfile.TemporaryFile() as told, contextlib.suppress(EOFError, BrokenPipeError):
        for descriptor in (1, 2):  # decoders write their complaints there
            os.dup2(told.fileno(), descriptor)
        while True:
            head, body = read_message(requests)
            told.truncate(0)
            try:
                pixels = _decode(head, body)
            except Exception:  # decoders raise nearly everything for damaged frames
                write_message(answers, {"failed": True})
                continue
            if told.seek(0, os.SEEK_END):  # libjpeg tells damage there only
                write_message(answers, {"failed": True})
            else:
                write_message(answers, {"type": pixels.dtype.str, "shape": pixels.shape}, pixels.data.cast("B"))


def _decode(head: dict[str, Any], body: bytes) -> Any:
    import numpy as np
    from pydicom.pixels.decoders.base import get_decoder

    pixels, _ = get_decoder(head["syntax"]).as_array(body, decoding_plugin=head["plugin"], **head["options"])
    return np.ascontiguousarray(pixels)


if __name__ == "__main__":
    main()
