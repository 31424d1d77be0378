"""One connection to the coordinator: a call, its retries, its timeout, and what its errors mean.

Rules:

* calls use the Fleet API with Flower's own client and request signatures, over TLS 1.3. Only the federation's
  authority is trusted (``client/connection/tls_trust.py``). A proxy is used only where ``privacy/proxy.py`` says
  so;
* Flower's connection manager is not used: it hides errors, signals the process, and ends it;
* an outage, a restart of the coordinator, or a node that still counts as online makes a call wait, and the reason
  is reported. Only a node key that the coordinator does not know, and does not learn within a few seconds, ends the
  agent;
* a reply is sent until the coordinator has it. A part that it could not store is sent again, after a pause, with
  whatever else it lacks. A reply is given up only when nothing of it is stored for half a minute;
* no more of a message is fetched than the largest message has. One with more pieces, or a larger one, is dropped.
"""

import contextlib
import random
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, TypeVar

import httpx
from flwr.app import Message
from flwr.app.message import remove_content_from_message
from flwr.common.serde import message_to_proto
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    DeactivateNodeRequest,
    PullMessagesRequest,
    PullMessagesResponse,
    PushMessagesRequest,
)
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.message_pb2 import ObjectTree
from flwr.proto.node_pb2 import Node
from flwr.supercore.error import ApiErrorCode, FlowerError
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
    iterate_object_tree,
    no_object_id_recompute,
)
from flwr.supercore.inflatable.inflatable_protobuf_utils import (
    make_confirm_message_received_fn_protobuf,
    make_pull_object_fn_protobuf,
    make_push_object_fn_protobuf,
)
from flwr.supercore.inflatable.inflatable_utils import (
    ObjectPushError,
    pull_and_inflate_object_from_tree,
    push_objects,
)
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

from client.connection.node_memory import NodeMemory
from client.connection.tls_trust import describe_old_tls, explain_refusal, make_tls_context
from privacy.address import is_loopback, split_address
from privacy.errors import LinkError
from privacy.keys import convert_node_key_to_pem, format_node_key, load_node_key
from privacy.protocol.flower_records import require_small
from privacy.proxy import find_proxy, make_http_client

HEARTBEAT_INTERVAL_S: Final = 10.0
"""Flower counts a node as online for twice this time after a heartbeat; it accepts no shorter interval."""
_BEAT_S: Final = 3.0
IDLE_INTERVAL_S: Final = 90.0
"""As :data:`HEARTBEAT_INTERVAL_S`, for a site in which nothing goes on: it costs the coordinator next to nothing."""
_IDLE_BEAT_S: Final = 75.0
POLL_S: Final = (0.1, 2.0)
RETRY_S: Final = (0.2, 5.0)
_CALL_S: Final = 20.0
_TRIES: Final = 10
"""Of an upload of which nothing is stored, one after the other: about half a minute."""
_PIECES_AT_A_TIME: Final = 1
"""One, since the coordinator holds in memory what all sites send at once."""
_UNKNOWN_S: Final = 5.0
"""A coordinator that has just started answers shortly before it has registered its sites."""
_GATEWAY: Final = "; check that its gateway runs, and that this network lets connections out to it"
_random: Final = random.SystemRandom()
Wait = Callable[[str, float], None]
"""Reports a reason, waits for some seconds, and raises when the agent is to stop."""
Request = TypeVar("Request")
Response = TypeVar("Response")


class Kind(StrEnum):
    """What an event is about."""

    ONLINE = "online"
    WAITING = "waiting"
    ASKED = "asked"
    ANSWERED = "answered"
    DROPPED = "dropped"


@dataclass(frozen=True)
class AgentEvent:
    """An event to show or log; ``size`` is the number of bytes received or sent with it."""

    kind: Kind
    sentence: str
    size: int = 0


class InterruptError(Exception):
    """Ends what the agent is doing now, for a reason that is no failure of the message."""


class StoppingError(InterruptError):
    """The agent was asked to stop."""


class LostError(InterruptError):
    """The coordinator no longer accepts this node's signature."""


class RunOverError(InterruptError):
    """The Flower run of the message has ended."""


class LinkRefusedError(InterruptError):
    """The coordinator refuses a call."""

    def __init__(self, error: httpx.HTTPStatusError) -> None:
        answer = FlowerError.from_json(error.response.text)
        self.code = None if answer is None else answer.code
        super().__init__(answer.message if answer else f"HTTP status {error.response.status_code}")


class CoordinatorLink:
    """This node's connection: calls that wait through an outage, and events that report it."""

    def __init__(
        self,
        address: str,
        ca_certificate: Path,
        node_key: Path,
        on_event: Callable[[AgentEvent], None],
        stop: threading.Event,
        tls: ssl.SSLContext | None = None,
        memory: Path | None = None,
    ) -> None:
        key = load_node_key(node_key)
        host, port = split_address(address)
        proxy = find_proxy(host, port)
        self.client = FleetHttpClient(
            f"https://{address}", interceptors=[NodeAuthHttpInterceptor(key, key.public_key())]
        )
        self.client._client.close()  # Flower's client takes proxies from the environment, by its own rules
        self.client._client = make_http_client(host, port, tls or make_tls_context(ca_certificate), _CALL_S)
        self.node = Node()
        self.idle = False
        """Whether nothing is going on, so that heartbeats may be rare."""
        self._memory = None if memory is None else NodeMemory(memory)
        self._public_key = convert_node_key_to_pem(format_node_key(key))
        self._address = address
        self._ca_certificate = ca_certificate
        self._way = f" through the proxy {proxy.name}" if proxy else ""
        self._hint = "" if proxy or is_loopback(host) else _GATEWAY
        self._on_event = on_event
        self._stop = stop
        self._telling = threading.Lock()
        self._waiting_for = ""

    def close(self) -> None:
        """Sign off, if the coordinator can be reached, and close the client."""
        with contextlib.suppress(httpx.HTTPError, ValueError):
            if self.node.node_id:
                self.client.DeactivateNode(DeactivateNodeRequest(node_id=self.node.node_id))
        self.client.close()

    def report(self, kind: Kind, sentence: str, size: int = 0) -> None:
        """Report an event; the same reason for waiting is reported once."""
        with self._telling:
            if kind is Kind.WAITING and sentence == self._waiting_for:
                return
            self._waiting_for = sentence if kind is Kind.WAITING else ""
            self._on_event(AgentEvent(kind, sentence, size))

    def call(self, ask: Callable[[Request], Response], request: Request) -> Response:
        """Make a call; wait through an outage."""
        delay, longest = RETRY_S
        while True:
            try:
                response = ask(request)
            except httpx.TransportError as error:
                reason = self._describe_outage(error)
            except httpx.HTTPStatusError as error:
                reason = _describe_server_error(error)
            except ValueError:
                reason = "what answers there is no SuperLink"
            else:
                if self._waiting_for and self.node.node_id:
                    self.report(Kind.ONLINE, f"connected to {self._address} again")
                return response
            self.wait(
                f"the coordinator at {self._address} cannot be reached{self._way} ({reason}){self._hint}; trying again",
                delay,
            )
            delay = min(longest, 2 * delay)

    def _describe_outage(self, error: httpx.TransportError) -> str:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            return explain_refusal(self._address, self._ca_certificate)
        if "PROTOCOL_VERSION" in str(error) or "UNSUPPORTED_PROTOCOL" in str(error):
            return describe_old_tls(self._address)
        return str(error) or type(error).__name__

    def wait(self, reason: str, delay_s: float) -> None:
        """Report the reason and wait, unless the agent is to stop."""
        self.report(Kind.WAITING, reason)
        if self._stop.wait(delay_s):
            raise StoppingError

    def activate(self) -> None:
        """Come online under this site's node key.

        Raises:
            LinkError: the key is not registered, or the coordinator refuses for another lasting reason.
        """
        self.node = Node()
        request = ActivateNodeRequest(public_key=self._public_key, heartbeat_interval=HEARTBEAT_INTERVAL_S)
        unknown_since = None
        while True:
            try:
                activated = self.call(self.client.ActivateNode, request)
            except LostError:
                reason = "the coordinator does not accept this site's signature: check that the clocks agree"
            except RunOverError:
                reason = "something on the way to the coordinator forbids the connection (HTTP status 403)"
            except LinkRefusedError as error:
                if self._is_busy(error):
                    if self._take_over():
                        continue
                    reason = (
                        "this site's node counts as online: another agent holds its key, "
                        f"or one was killed less than {2 * HEARTBEAT_INTERVAL_S:.0f} s ago"
                    )
                else:
                    unknown_since = unknown_since or time.monotonic()
                    reason = f"the coordinator at {self._address} does not know this site's node key"
                    if time.monotonic() - unknown_since > _UNKNOWN_S:
                        raise LinkError(f"{reason}; send it the join request and wait for its admission") from None
            else:
                self.node = Node(node_id=activated.node_id)
                if self._memory is not None:
                    self._memory.keep(activated.node_id)
                self.report(Kind.ONLINE, f"connected to {self._address}{self._way} as node {activated.node_id}")
                return
            self.wait(f"{reason}; trying again", 1.0)

    def _take_over(self) -> bool:
        """Sign the node off that an agent of this folder left online when it was killed; once for each process."""
        node_id = None if self._memory is None else self._memory.take()
        if node_id is None:
            return False
        with contextlib.suppress(LinkRefusedError, LostError):
            self.call(self.client.DeactivateNode, DeactivateNodeRequest(node_id=node_id))
        return True

    def _is_busy(self, refusal: LinkRefusedError) -> bool:
        """Return whether a refused node is one that the coordinator knows.

        Flower refuses an unknown key and a busy node alike. It checks the heartbeat interval of a known key only,
        so an invalid interval shows which of the two it is.
        """
        if refusal.code != ApiErrorCode.FLEET_NODE_ACTIVATION_FAILED:
            raise LinkError(f"the coordinator at {self._address} refuses this site's node: {refusal}") from None
        try:
            self.call(
                self.client.ActivateNode, ActivateNodeRequest(public_key=self._public_key, heartbeat_interval=0)
            )
        except LinkRefusedError as error:
            return error.code == ApiErrorCode.FLEET_INVALID_HEARTBEAT_INTERVAL
        return False

    @contextlib.contextmanager
    def send_heartbeats(self) -> Iterator[None]:
        """Send heartbeats while the block runs; a failed one is ignored, since the next call notices the outage."""
        ended = threading.Event()

        def send_beats() -> None:
            while not ended.wait(_IDLE_BEAT_S if self.idle else _BEAT_S):
                interval = IDLE_INTERVAL_S if self.idle else HEARTBEAT_INTERVAL_S
                with contextlib.suppress(httpx.HTTPError, ValueError):
                    self.client.SendNodeHeartbeat(
                        SendNodeHeartbeatRequest(node=self.node, heartbeat_interval=interval)
                    )

        thread = threading.Thread(target=send_beats, name="heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def pull_messages(self) -> Iterable[PullMessagesResponse]:
        """Pull the messages that wait, and return the newest of each run."""
        newest: dict[int, PullMessagesResponse] = {}
        while (pulled := self.call(self.client.PullMessages, PullMessagesRequest(node=self.node))).messages_list:
            run_id = pulled.messages_list[0].metadata.run_id
            if run_id in newest:
                self.report(Kind.DROPPED, "a message was dropped: a newer one of its run has come")
            newest[run_id] = pulled  # Flower sends the oldest first
        return newest.values()

    def receive(self, notice: Message, tree: ObjectTree) -> Message:
        """Download the message that ``notice`` announces.

        Raises:
            WireError: it is larger than a message may be.
        """
        pieces = sum(1 for _ in iterate_object_tree(tree))
        require_small(pieces)
        run_id = notice.metadata.run_id
        pull = make_pull_object_fn_protobuf(
            lambda request: self.call(self.client.PullObject, request), self.node, run_id
        )
        confirm = make_confirm_message_received_fn_protobuf(
            lambda request: self.call(self.client.ConfirmMessageReceived, request), self.node, run_id
        )
        sizes: list[int] = []

        def pull_and_count(object_id: str) -> bytes:
            content = pull(object_id)
            sizes.append(len(content))
            require_small(pieces, sum(sizes))
            return content

        # A message is announced before its parts are there, so Flower's first pause of a second is too long.
        message = pull_and_inflate_object_from_tree(
            tree,
            pull_and_count,
            confirm,
            return_type=Message,
            max_concurrent_pulls=_PIECES_AT_A_TIME,
            initial_backoff=0.05,
            backoff_cap=1.0,
        )
        message.metadata.__dict__["_message_id"] = notice.metadata.message_id
        self.report(Kind.ASKED, f"a message of {sum(sizes)} bytes has come", sum(sizes))
        return message

    def send(self, reply: Message) -> None:
        """Upload a reply; if the coordinator could not store a piece, send it again with whatever else it lacks.

        Raises:
            ObjectPushError: the coordinator stores nothing in all tries.
        """
        sizes: list[int] = []
        delays, before = _draw_back_offs(), 0
        while True:
            try:
                self._push(reply, sizes.append)
            except ObjectPushError:
                if len(sizes) > before:  # something was stored: count the tries anew
                    delays, before = _draw_back_offs(), len(sizes)
                if (delay := next(delays, None)) is None:
                    raise
                self.wait("the coordinator could not store a part of a reply; sending what it lacks again", delay)
            else:
                break
        self.report(Kind.ANSWERED, f"a reply of {sum(sizes)} bytes was sent", sum(sizes))

    def _push(self, reply: Message, stored: Callable[[int], None]) -> None:
        """Announce a reply and upload the pieces that the coordinator lacks; give ``stored`` the size of each."""
        with no_object_id_recompute():
            reply.metadata.__dict__["_message_id"] = reply.object_id
            tree, parts = get_object_tree(reply), get_all_nested_objects(reply)
            bare = remove_content_from_message(reply) if reply.has_content() else reply
            pushed = self.call(
                self.client.PushMessages,
                PushMessagesRequest(
                    node=self.node, messages_list=[message_to_proto(bare)], message_object_trees=[tree]
                ),
            )
            push = make_push_object_fn_protobuf(
                lambda request: self.call(self.client.PushObject, request),
                self.node,
                reply.metadata.run_id,
                pushed.session_id,
            )

            def push_and_count(object_id: str, content: bytes) -> None:
                push(object_id, content)
                stored(len(content))

            push_objects(
                parts,
                push_and_count,
                object_ids_to_push=set(pushed.objects_to_push),
                max_concurrent_pushes=_PIECES_AT_A_TIME,
            )


def _draw_back_offs() -> Iterator[float]:
    """Yield the seconds to wait before each new try: longer each time, and different at each site."""
    shortest, longest = RETRY_S
    for number in range(_TRIES):
        yield min(longest, shortest * 2**number) * _random.uniform(0.5, 1.5)


def _describe_server_error(error: httpx.HTTPStatusError) -> str:
    """Describe why the coordinator or its gateway failed; raise a status that waiting cannot resolve."""
    status = error.response.status_code
    if status >= 500:
        return f"HTTP status {status}"
    if status == 401:
        raise LostError from None
    if status == 403:
        raise RunOverError from None
    raise LinkRefusedError(error) from None
