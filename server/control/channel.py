"""Operator API of the coordinator: gRPC over a Unix socket in the federation's folder.

* Only users who may enter the folder (mode 0700) reach the socket.
* A call takes one JSON document and returns one; ``watch`` streams notes.
* An expected error is sent as its message and exit code.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from privacy.errors import FederationError

SERVICE: Final = "consilium.Control"
_LONGEST_SOCKET: Final = 100  # characters; Linux allows 107 bytes (unix(7))
WATCHERS: Final = 16

Document = dict[str, Any]
Call = Callable[[Document], Document]
Stream = Callable[[Document], Iterator[Document]]


class NotRunningError(FederationError):
    """The coordinator does not run."""


def make_socket_address(folder: Path) -> str:
    """Return the address of the socket at which the coordinator of ``folder`` listens.

    Raises:
        FederationError: the path is longer than a socket's name may be.
    """
    path = folder.resolve() / "control.sock"
    if len(str(path)) > _LONGEST_SOCKET:
        raise FederationError(
            f"{folder}: the path has {len(str(path))} characters, a socket's at most {_LONGEST_SOCKET}; "
            "move the federation to a folder with a shorter path"
        )
    return f"unix:{path}"


def to_bytes(document: Document) -> bytes:
    """Encode a document for the channel."""
    return json.dumps(document).encode("utf-8")


def from_bytes(data: bytes) -> Document:
    """Decode a document from the channel."""
    document: Document = json.loads(data)
    return document
