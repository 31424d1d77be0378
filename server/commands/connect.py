"""How a command reaches the coordinator's process."""

from typing import TYPE_CHECKING

from server.federation.folder import Federation

if TYPE_CHECKING:
    from server.control.client import ControlClient


def connect_to_coordinator(federation: Federation) -> "ControlClient":
    """The door of the coordinator of ``federation``; its library is only loaded by a command that needs it.

    Raises:
        FederationError: the folder is no federation.
    """
    from server.control.client import ControlClient

    _ = federation.config

    return ControlClient(federation.folder)
