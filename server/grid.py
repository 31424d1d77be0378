"""Messages to sites and their replies, as the coordinator's rounds see them: a thin shell around Flower's grid.

* Nothing here waits: :meth:`Grid.poll` looks once, and the caller decides when to look again and when to give up.
* Replies are fetched one at a time, so that however many have come only one is in memory.
* A reply may be lost (Flower delivers once, and a site may vanish): the caller asks again, sites answer the same.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import httpx
from flwr.app import Message, MessageType
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid as FlowerGrid
from flwr.supercore.inflatable.inflatable_utils import ObjectPushError, pull_objects
from flwr.supercore.run import RunNotRunningException

from privacy.errors import StoppedError, SuperLinkError, WireError
from privacy.flower import from_records, to_records
from privacy.wire import Envelope

_LOST: Final = (ErrorCode.MESSAGE_UNAVAILABLE, ErrorCode.REPLY_MESSAGE_UNAVAILABLE, ErrorCode.NODE_UNAVAILABLE)
_PATIENCE: Final = {"initial_backoff": 0.05, "backoff_cap": 1.0}


@dataclass(frozen=True)
class Reply:
    """What came of a message: an envelope, or the sentence that says why there is none."""

    message_id: str
    node_id: int
    envelope: Envelope | None
    error: str = ""
    lost: bool = False
    """The site did not say this: it is offline, or the message or its reply was lost. Ask again."""


class Grid:
    """The sites of a Flower run, by node id."""

    def __init__(self, grid: FlowerGrid) -> None:
        # A reply is announced before its parts are there; Flower would then pause for a second or more.
        pull_objects.__kwdefaults__ = (pull_objects.__kwdefaults__ or {}) | _PATIENCE
        self._grid = grid
        self._asked: dict[str, int] = {}

    def online(self) -> set[int]:
        """The nodes that count as online now.

        Raises:
            SuperLinkError, StoppedError: as :meth:`send`.
        """
        with _translated():
            return set(self._grid.get_node_ids())

    def send(self, node_id: int, envelope: Envelope, ttl_s: float) -> str:
        """Send ``envelope`` to a site; return the id that its reply will carry.

        Args:
            node_id: the site's node.
            envelope: the request.
            ttl_s: how long the message and its reply are kept, in seconds.

        Raises:
            SuperLinkError: the SuperLink does not take it.
            StoppedError: this run was stopped.
        """
        message = Message(to_records(envelope), node_id, MessageType.QUERY, ttl=ttl_s)
        with _translated():
            (message_id,) = tuple(self._grid.push_messages([message])) or (None,)
        if not message_id:
            raise SuperLinkError(
                f"the SuperLink does not take a message of {envelope.size} bytes for node {node_id}"
            )
        self._asked[message_id] = node_id
        return message_id

    def poll(self) -> Iterator[Reply]:
        """The replies that have come since the last look, fetched one by one as they are asked for.

        Raises:
            SuperLinkError, StoppedError: as :meth:`send`.
        """
        for message_id, node_id in tuple(self._asked.items()):
            with _translated():
                replies = tuple(self._grid.pull_messages([message_id]))
            if replies:
                self._asked.pop(message_id, None)
                reply = _read(message_id, node_id, replies[0])
                del replies
                yield reply
                del reply

    def forget(self, message_id: str) -> None:
        """Wait for this reply no longer."""
        self._asked.pop(message_id, None)


def _read(message_id: str, node_id: int, reply: Message) -> Reply:
    if reply.has_error():
        error = reply.error
        return Reply(message_id, node_id, None, error.reason or "no reason given", lost=error.code in _LOST)
    try:
        return Reply(message_id, node_id, from_records(reply.content))
    except WireError as error:
        return Reply(message_id, node_id, None, str(error))


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except RunNotRunningException:
        raise StoppedError("this run was stopped") from None
    except httpx.HTTPError as error:
        raise SuperLinkError(f"the SuperLink does not answer ({type(error).__name__})") from None
    except ObjectPushError:
        raise SuperLinkError("the SuperLink could not store a part of a message") from None
