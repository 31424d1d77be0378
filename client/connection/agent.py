"""The site's connection: pull the coordinator's messages, answer them with installed code, send the replies.

It replaces ``flower-supernode``. The bundle that a run brings along is never downloaded. Calls, retries and limits
of size are in ``client/connection/link.py``.

Rules:

* a message is delivered once. Of the messages that wait, the newest of each run is answered: a run asks one
  question at a time, so an earlier message is the same question or an older one;
* a message of a run that has ended is dropped: the coordinator asks again in its next run;
* a message that cannot be read is dropped. Nothing that another party puts into a message ends the agent;
* a failure that ends the agent leaves :func:`serve` as the exception it is.
"""

import contextlib
import logging
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from flwr.app import Context, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.serde import message_from_proto
from flwr.proto.fleet_pb2 import PullMessagesResponse

from client.connection.client_app import Answer, make_client_app
from client.connection.link import (
    POLL_S,
    RETRY_S,
    AgentEvent,
    CoordinatorLink,
    InterruptError,
    Kind,
    LinkRefusedError,
    LostError,
    RunOverError,
    StoppingError,
    Wait,
)
from client.connection.message_listener import MessageListener
from client.connection.transfers import TransferRefusedError
from privacy.errors import WireError

_IDLE_AFTER_S: Final = 60.0
"""Without a message, before an agent with a listener looks rarely."""
_IDLE_POLL_S: Final = 300.0


def serve(
    address: str,
    ca_certificate: Path,
    node_key: Path,
    make_answer: Callable[[Wait], Answer],
    *,
    on_event: Callable[[AgentEvent], None],
    stop: threading.Event,
    tls: ssl.SSLContext | None = None,
    listener: MessageListener | None = None,
    memory: Path | None = None,
) -> None:
    """Answer the coordinator's messages until ``stop`` is set.

    Args:
        address: the coordinator's ``host:port``.
        ca_certificate: the federation's authority, PEM.
        node_key: this site's node key file.
        make_answer: given how to wait through an outage, returns what answers; that is called in this thread, one
            envelope at a time.
        on_event: called from this and other threads, never from two at once; must be quick.
        stop: ends the agent after the current message.
        tls: with the site's own certificate, for a gateway; without it the authority alone is trusted.
        listener: tells when a message waits; without it the agent looks often.
        memory: the file by which an agent takes over from one that was killed on this machine.

    Raises:
        LinkError: the coordinator does not know the node key, or refuses the node for good; or the environment
            names a proxy that cannot be used.
        KeyFileError: the node key cannot be used; or answering raised it.
        LedgerError: answering raised it.
    """
    _limit_logging()
    with contextlib.closing(
        CoordinatorLink(address, ca_certificate, node_key, on_event, stop, tls, memory)
    ) as link:
        app = make_client_app(make_answer(link.wait))
        while not stop.is_set():
            with contextlib.suppress(StoppingError, LostError):
                link.activate()
                with link.send_heartbeats():
                    _answer_messages(link, app, stop, listener)


def _answer_messages(
    link: "CoordinatorLink",
    app: ClientApp,
    stop: threading.Event,
    listener: MessageListener | None,
) -> None:
    """Pull messages when the listener says so; without it often after one has come, and ever less often after that."""
    shortest, longest = POLL_S
    heard = time.monotonic()
    while not stop.is_set():
        silent_s = time.monotonic() - heard
        told = listener is not None and listener.listening
        link.idle = told and silent_s > _IDLE_AFTER_S
        # who is not told looks after a tenth of the time since the last message, within POLL_S
        pause_s = _IDLE_POLL_S if link.idle else longest if told else min(longest, max(shortest, silent_s / 10))
        if listener is None:
            stop.wait(pause_s)
        else:
            listener.wait(pause_s)
        if stop.is_set():
            return
        try:
            waiting = link.pull_messages()
        except (LinkRefusedError, RunOverError) as error:
            link.wait(f"the coordinator refuses a call ({error}); trying again", RETRY_S[1])
            continue
        for pulled in waiting:
            _answer_message(link, app, pulled)
            heard = time.monotonic()


def _answer_message(link: "CoordinatorLink", app: ClientApp, pulled: PullMessagesResponse) -> None:
    try:
        _exchange(link, app, pulled)
    except RunOverError:
        link.report(Kind.DROPPED, "a message was dropped: its run has ended, the coordinator will ask again")
    except TransferRefusedError as error:
        link.report(Kind.DROPPED, f"a message was dropped: {error}")
    except LinkRefusedError as error:
        link.wait(f"the coordinator refuses a call ({error}); continuing with the next message", RETRY_S[1])


def _exchange(link: "CoordinatorLink", app: ClientApp, pulled: PullMessagesResponse) -> None:
    try:
        message = link.receive(message_from_proto(pulled.messages_list[0]), pulled.message_object_trees[0])
    except InterruptError:
        raise
    except WireError as error:
        link.report(Kind.DROPPED, f"a message was dropped: {error}")
        return
    except Exception as error:
        # Nothing that another party puts into a message may end the agent.
        link.report(Kind.DROPPED, f"a message was dropped: it cannot be read ({type(error).__name__})")
        return
    context = Context(message.metadata.run_id, link.node.node_id, {}, RecordDict(), {})
    reply = app(message, context)
    try:
        link.send(reply)
    except InterruptError:
        raise
    except Exception as error:
        link.report(Kind.DROPPED, f"a reply was dropped: it cannot be sent ({type(error).__name__})")


def _limit_logging() -> None:
    """Send the log records of Flower and httpx to the site's own handlers, warnings and worse only."""
    for name in ("flwr", "httpx"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.WARNING)
        for handler in tuple(logger.handlers):
            logger.removeHandler(handler)
