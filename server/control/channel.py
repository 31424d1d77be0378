"""The coordinator's door for its own operator: gRPC over a socket in the federation's folder.

Only who may enter the folder (mode 0700) reaches it. Calls take and give one JSON document each; ``watch`` streams
notes. An expected failure crosses as its sentence and exit code.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from privacy.errors import FederationError

SERVICE: Final = "consilium.Control"
_LONGEST_SOCKET: Final = 100
WATCHERS: Final = 16

Document = dict[str, Any]
Call = Callable[[Document], Document]
Stream = Callable[[Document], Iterator[Document]]


class NotRunningError(FederationError):
    """The coordinator does not run, so nobody answers."""


def make_socket_address(folder: Path) -> str:
    """Where the coordinator of ``folder`` listens.

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
    """Write a document for the channel."""
    return json.dumps(document).encode("utf-8")


def from_bytes(data: bytes) -> Document:
    """Read a document from the channel."""
    document: Document = json.loads(data)
    return document
