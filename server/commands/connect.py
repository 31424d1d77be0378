"""Connect a command to the coordinator's process."""

from typing import TYPE_CHECKING

from server.federation.folder import Federation

if TYPE_CHECKING:
    from server.control.client import ControlClient


def connect_to_coordinator(federation: Federation) -> "ControlClient":
    """Make the client of the coordinator of ``federation``; gRPC is loaded only by commands that call this.

    Raises:
        FederationError: the folder is not a federation's.
    """
    from server.control.client import ControlClient

    _ = federation.config  # raises if the folder is not a federation's

    return ControlClient(federation.folder)
