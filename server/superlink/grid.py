"""Messages to sites and their replies, over Flower's grid.

* No call waits: :meth:`SiteMessages.poll` looks once, and the caller decides when to look again and when to give
  up.
* Replies are fetched one at a time, each only when it is complete. However many replies are waiting or incomplete,
  only one is in memory, and a site on a slow line delays no other site.
* A reply may be lost, because Flower delivers once and a site may fail. The caller asks again, and sites answer the
  same.
* An error in a reply affects only its node: a reply that is larger than a message may be is not fetched, and any error
  of reading it becomes an error reply of that node. Only errors before a reply is there are raised to the caller.

Flower's own ``pull_messages`` fetches and inflates in one step, waits for pieces for up to two hours, and has no
limit of size. Its calls and its inflation are used one by one here.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, cast

import httpx
from flwr.app import Message, MessageType
from flwr.common.constant import SUPERLINK_NODE_ID, ErrorCode
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest, ObjectTree
from flwr.proto.node_pb2 import Node
from flwr.proto.runtime_pb2 import PullAppMessagesRequest
from flwr.serverapp import Grid as FlowerGrid
from flwr.supercore.inflatable.inflatable_object import iterate_object_tree
from flwr.supercore.inflatable.inflatable_protobuf_utils import make_pull_object_fn_protobuf
from flwr.supercore.inflatable.inflatable_utils import (
    ObjectPullError,
    ObjectPushError,
    ObjectUnavailableError,
    inflate_object_from_contents,
)
from flwr.supercore.run import RunNotRunningException

from privacy.errors import StoppedError, SuperLinkError, WireError
from privacy.protocol.envelope import Envelope
from privacy.protocol.flower_records import from_records, require_small, to_records
from privacy.sentence import fit_sentence

_LOST: Final = (ErrorCode.MESSAGE_UNAVAILABLE, ErrorCode.REPLY_MESSAGE_UNAVAILABLE, ErrorCode.NODE_UNAVAILABLE)
_MOST_GAPS: Final = 100
"""A piece that another node has announced too may come after the last one of a reply. This bounds the wait."""


@dataclass(frozen=True)
class SiteReply:
    """The result of a message: an envelope, or a sentence that says why there is none."""

    message_id: str
    node_id: int
    envelope: Envelope | None
    error: str = ""
    lost: bool = False
    """Whether the message or its reply was lost, or the site is offline; then ask again."""


@dataclass
class _Asked:
    """A message without a reply yet; ``tree`` names the reply's pieces once it is announced."""

    node_id: int
    tree: ObjectTree | None = None
    gaps: int = 0
    """How often a piece was missing although the last one was there."""


class SiteMessages:
    """The messages of a Flower run to its sites, by node id."""

    def __init__(self, grid: FlowerGrid) -> None:
        self._grid: Any = grid
        self._asked: dict[str, _Asked] = {}

    def online(self) -> set[int]:
        """Return the nodes that Flower counts as online now.

        Raises:
            SuperLinkError, StoppedError: as :meth:`send`.
        """
        with _translate_errors():
            return set(self._grid.get_node_ids())

    def send(self, node_id: int, envelope: Envelope, ttl_s: float) -> str:
        """Send ``envelope`` to a site; return the message's id, which its reply will have.

        Args:
            node_id: the site's node.
            envelope: the request; its blobs travel beside it.
            ttl_s: how long the message and its reply are kept, in seconds.

        Raises:
            SuperLinkError: the SuperLink does not accept it, or does not answer.
            StoppedError: this run was stopped.
        """
        message = Message(to_records(envelope), node_id, MessageType.QUERY, ttl=ttl_s)
        with _translate_errors():
            (message_id,) = tuple(self._grid.push_messages([message])) or ("",)
        if not message_id:
            raise SuperLinkError(
                f"the SuperLink does not take a message of {len(envelope.body)} bytes for node {node_id}"
            )
        self._asked[message_id] = _Asked(node_id)
        return str(message_id)

    def poll(self, coming: Callable[[int], None] = lambda node_id: None) -> Iterator[SiteReply]:
        """Yield the replies that have arrived since the last call, each fetched when the caller asks for it.

        Args:
            coming: called with a node's id before anything that it has sent is inflated.

        Raises:
            SuperLinkError, StoppedError: as :meth:`send`.
        """
        self._look_for_replies()
        for message_id, asked in tuple(self._asked.items()):
            if asked.tree is None:
                continue
            reply = self._fetch_reply(message_id, asked, asked.tree, coming)
            if reply is not None:
                self._asked.pop(message_id, None)
                yield reply
                del reply  # before the next one is fetched: it may be large

    def forget(self, message_id: str) -> None:
        """Stop waiting for this reply."""
        self._asked.pop(message_id, None)

    def _look_for_replies(self) -> None:
        """Fetch the names of the pieces of new replies, which the SuperLink sends once; one call for all."""
        waiting = [message_id for message_id, asked in self._asked.items() if asked.tree is None]
        if not waiting:
            return
        with _translate_errors():
            response = self._client.PullMessages(PullAppMessagesRequest(message_ids=waiting))
        for message, tree in zip(response.messages_list, response.message_object_trees, strict=True):
            if (asked := self._asked.get(message.metadata.reply_to_message_id)) is not None:
                asked.tree = tree

    def _fetch_reply(
        self, message_id: str, asked: _Asked, tree: ObjectTree, coming: Callable[[int], None]
    ) -> SiteReply | None:
        """Fetch a reply; None while pieces are missing. An error in it becomes an error reply of its node."""

        def failed(why: str, *, lost: bool = False) -> SiteReply:
            return SiteReply(message_id, asked.node_id, None, fit_sentence(why), lost)

        try:
            contents = self._fetch_pieces(tree, asked, coming)
            if contents is None:
                return None
            reply = cast(Message, inflate_object_from_contents(tree.object_id, contents))
            if reply.has_error():
                error = reply.error
                return failed(error.reason or "no reason given", lost=error.code in _LOST)
            return SiteReply(message_id, asked.node_id, from_records(reply.content))
        except (httpx.TransportError, RunNotRunningException):
            with _translate_errors():
                raise
        except ObjectPullError:
            return failed("its reply did not come whole", lost=True)
        except httpx.HTTPStatusError as error:
            status = error.response.status_code
            return failed(f"its reply cannot be fetched (HTTP status {status})", lost=status >= 500)
        except WireError as error:
            return failed(str(error))
        except Exception as error:  # a reply is foreign data: no error of reading it may end the study
            return failed(f"its reply cannot be read ({type(error).__name__})")

    def _fetch_pieces(
        self, tree: ObjectTree, asked: _Asked, coming: Callable[[int], None]
    ) -> dict[str, bytes] | None:
        """Fetch the bytes of a reply, by piece; None while pieces are missing.

        Raises:
            WireError: the reply is larger than a message may be.
        """
        pull = make_pull_object_fn_protobuf(self._client.PullObject, Node(node_id=SUPERLINK_NODE_ID), self._run_id)
        pieces = list(dict.fromkeys(each.object_id for each in iterate_object_tree(tree)))
        require_small(len(pieces))
        contents: dict[str, bytes] = {}
        size = 0
        try:
            # The SuperLink stores the root last. It is fetched first: while it is missing, the reply is not
            # complete, and no other piece is fetched.
            for piece in reversed(pieces):
                contents[piece] = pull(piece)
                size += len(contents[piece])
                require_small(len(pieces), size)
                if piece == tree.object_id:
                    coming(asked.node_id)
        except ObjectUnavailableError:
            asked.gaps += bool(contents)
            if asked.gaps > _MOST_GAPS:
                raise ObjectPullError(tree.object_id, "pieces are missing") from None
            return None
        self._client.ConfirmMessageReceived(
            ConfirmMessageReceivedRequest(
                node=Node(node_id=SUPERLINK_NODE_ID), run_id=self._run_id, message_object_id=tree.object_id
            )
        )
        return contents

    @property
    def _client(self) -> Any:
        return self._grid._runtime_client

    @property
    def _run_id(self) -> int:
        return int(self._grid.run.run_id)


@contextlib.contextmanager
def _translate_errors() -> Iterator[None]:
    try:
        yield
    except RunNotRunningException:
        raise StoppedError("this run was stopped") from None
    except httpx.HTTPError as error:
        raise SuperLinkError(f"the SuperLink does not answer ({type(error).__name__})") from None
    except ObjectPushError:
        raise SuperLinkError("the SuperLink could not store a part of a message") from None
