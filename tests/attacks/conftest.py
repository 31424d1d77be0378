"""The federations of the protocol's tests."""

from tests.protocol.conftest import _one_thread, found, mallory

__all__ = ["_one_thread", "found", "mallory"]
