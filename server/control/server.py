"""Serve the control plane: over the Unix socket in the federation's folder, and over TLS behind the gateway.

For each call, in this order: limits of size and rate, who calls (``server/control/caller.py``), whether they may
(``privacy/control/calls.py``), their signed order (``privacy/control/order.py``), the audit log, the call itself, its
outcome into the audit log. An expected error is answered as its sentence and exit code; any other one as its class.
A member's call that is refused before it is made is counted in the audit log, so that nobody fills it
(``server/control/refused_calls.py``); a stranger's is in the process's log.
"""

import contextlib
import datetime
import getpass
import itertools
import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from privacy.address import join_address
from privacy.canonical import compute_sha256
from privacy.client_certificate import Role
from privacy.control.calls import CALLS, CONTROL, ENROLMENT, TRANSFER
from privacy.control.channel import MAX_MESSAGE_BYTES, make_socket_address
from privacy.control.flat_messages import parse_message, to_fields, to_message
from privacy.control.order import REMEMBER_S, OrderBook
from privacy.errors import Error, FederationError, RefusedCallError
from privacy.keys import PublicKey, read_secret
from privacy.study import MAX_SITES
from server.control.caller import (
    NOBODY,
    Caller,
    OldGatewayError,
    RemovedCallerError,
    identify_caller,
    read_order,
    require_right,
)
from server.control.rate_limit import RateLimit, TooManyCallsError
from server.control.refused_calls import RefusedCalls
from server.federation.folder import Federation
from server.federation.invitations import KnownTokens

Fields = dict[str, Any]
Handler = Callable[[Fields, Caller], Fields]
Streamer = Callable[[Fields, Caller], Iterator[Fields]]
Receiver = Callable[[Iterator[Fields], Caller], Fields]

WATCHERS: Final = 16
"""Streams of people at a time; each holds a thread. Beside them, each site may have one, and transfers."""
_TRANSFERS_OF_A_SITE: Final = 2
"""One each way."""
_END_S: Final = 10.0
_THREADS: Final = 2 * WATCHERS + (2 + _TRANSFERS_OF_A_SITE) * MAX_SITES
STREAMS_OF_A_SITE: Final = 2
"""One, and one that the coordinator does not know to be dead yet."""
STREAMS_OF_A_PERSON: Final = 4
"""At other machines; a quarter of :data:`WATCHERS`, so that one person leaves some to the others."""
_STREAMS: Final = {
    Role.SITE: STREAMS_OF_A_SITE,
    Role.OPERATOR: STREAMS_OF_A_PERSON,
    Role.AUDITOR: STREAMS_OF_A_PERSON,
}
WINDOW_BYTES: Final = 16 << 10
"""What a stream may send beside the message that is awaited; HTTP/2 begins with four times as much."""
_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_metadata_size", 16 << 10),
    ("grpc.max_concurrent_streams", _THREADS),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 30_000),
    ("grpc.so_reuseport", 0),
    # A stream has a small window beside the message that is awaited, in place of several MiB on a fast line: who calls
    # is the gateway, or on this machine, so that the way is short.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", WINDOW_BYTES),
)
_log = logging.getLogger(__name__)


class ControlServer:
    """The server of the control plane of ``federation``, until closed.

    Args:
        federation: its folder, which says who is enrolled.
        handlers: the calls with one answer, by name.
        streamers: the calls with a stream of answers.
        receivers: the calls with a stream of requests.
        port: of the TLS listener for the gateway or for sites on this machine, and its interface; None for the Unix
            socket alone.
    """

    def __init__(
        self,
        federation: Federation,
        handlers: dict[str, Handler],
        streamers: dict[str, Streamer],
        port: tuple[str, int] | None = None,
        receivers: dict[str, Receiver] | None = None,
    ) -> None:
        self._federation = federation
        used = federation.open_audit_log().read_orders(since=time.time() - REMEMBER_S)
        self._orders = OrderBook(federation.config.federation, used)
        self._members_rate, self._nobody_rate = RateLimit(60, 20), RateLimit(30, 2)
        self._tokens = KnownTokens(federation.open_invitations())
        self._refused = RefusedCalls(federation.open_audit_log())
        self._streams: Counter[Caller] = Counter()
        self._transfers: dict[tuple[Caller, str], tuple[grpc.ServicerContext, threading.Event]] = {}
        self._lock = threading.Lock()
        self._server = grpc.server(ThreadPoolExecutor(_THREADS), options=_OPTIONS)
        methods_by_name = {name: self._make_unary(name, each) for name, each in handlers.items()}
        methods_by_name |= {name: self._make_stream(name, each) for name, each in streamers.items()}
        methods_by_name |= {name: self._make_receiver(name, each) for name, each in (receivers or {}).items()}
        for service in (ENROLMENT, CONTROL, TRANSFER):
            methods = {name: each for name, each in methods_by_name.items() if CALLS[name].service == service}
            self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, methods),))
        state = health.HealthServicer()
        state.set("", health_pb2.HealthCheckResponse.SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(state, self._server)
        self._listen(port)
        self._server.start()

    def close(self) -> None:
        """Stop serving."""
        self._server.stop(grace=0.5).wait()
        self._refused.close()

    def _listen(self, port: tuple[str, int] | None) -> None:
        address = make_socket_address(self._federation.folder)
        Path(address.removeprefix("unix:")).unlink(missing_ok=True)
        try:
            self._server.add_insecure_port(address)
        except RuntimeError:
            raise FederationError(
                f"{self._federation.folder}: the coordinator cannot open its socket there"
            ) from None
        if port is None:
            return
        tls = self._federation.tls
        credentials = grpc.ssl_server_credentials(
            [(read_secret(tls.key), tls.certificate.read_bytes())], tls.ca.read_bytes(), require_client_auth=True
        )
        try:
            self._server.add_secure_port(join_address(*port), credentials)
        except RuntimeError:
            raise FederationError(
                f"{join_address(*port)} cannot be listened on; free that port, or name another one in coordinator.yaml "
                "(control_port)"
            ) from None

    def _make_unary(self, name: str, handler: Handler) -> grpc.RpcMethodHandler:
        def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
            with _answer_errors(name, context):
                fields, caller = self._admit(name, request, context)
                record = self._begin_record(name, fields, request, caller, context)
                try:
                    found = handler(fields, caller)
                except Error as error:
                    record(f"refused: {error}")
                    raise
                record("done", found)
                return _serialize(name, found)
            raise AssertionError  # an error has ended the call

        return grpc.unary_unary_rpc_method_handler(answer)

    def _make_stream(self, name: str, streamer: Streamer) -> grpc.RpcMethodHandler:
        def answer(request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
            with _answer_errors(name, context):
                fields, caller = self._admit(name, request, context)
                transfers = CALLS[name].service == TRANSFER
                with self._take_transfer(name, caller, context) if transfers else self._take_stream(caller):
                    # map keeps no answer while the caller takes it, which a loop would
                    answers = map(partial(_serialize, name), streamer(fields, caller))
                    yield from itertools.takewhile(lambda _: context.is_active(), answers)

        return grpc.unary_stream_rpc_method_handler(answer)

    def _make_receiver(self, name: str, receiver: Receiver) -> grpc.RpcMethodHandler:
        def answer(requests: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
            with _answer_errors(name, context):
                # before the first request: who sends none holds a thread of their own alone
                caller = identify_caller(context, self._federation, datetime.datetime.now(datetime.UTC))
                require_right(name, caller)
                with self._take_transfer(name, caller, context):
                    fields, caller = self._admit(name, next(requests, b""), context)
                    # map keeps no part while it waits for the next one, which a loop would
                    rest = map(to_fields, map(partial(parse_message, CALLS[name].request), requests))
                    found = receiver(itertools.chain((fields,), rest), caller)
                return _serialize(name, found)
            raise AssertionError  # an error has ended the call

        return grpc.stream_unary_rpc_method_handler(answer)

    @contextlib.contextmanager
    def _take_transfer(self, name: str, caller: Caller, context: grpc.ServicerContext) -> Iterator[None]:
        """Make this the caller's only transfer of its kind: an earlier one, whose line is dead, is ended before.

        Raises:
            TooManyCallsError: the earlier one does not end.
        """
        ended = threading.Event()
        with self._lock:
            earlier, self._transfers[caller, name] = self._transfers.get((caller, name)), (context, ended)
        try:
            if earlier is not None:
                earlier[0].cancel()
                if not earlier[1].wait(_END_S):
                    raise TooManyCallsError("an earlier transfer has not ended yet; try again")
            if not context.is_active():
                raise TooManyCallsError("a later transfer has begun")
            yield
        finally:
            ended.set()
            with self._lock:
                if self._transfers.get((caller, name)) == (context, ended):
                    del self._transfers[caller, name]

    @contextlib.contextmanager
    def _take_stream(self, caller: Caller) -> Iterator[None]:
        """Hold one of the streams that are allowed at a time: each caller's own, and of people one of all."""
        most = WATCHERS if caller.is_local else _STREAMS[caller.role or Role.AUDITOR]
        with self._lock:
            people = sum(number for each, number in self._streams.items() if each.role is not Role.SITE)
            if self._streams[caller] >= most:
                raise RefusedCallError(f"'{caller.name}' has {most} streams open already; try again later")
            if caller.role is not Role.SITE and people >= WATCHERS:
                raise RefusedCallError(f"{WATCHERS} streams are open, and no more are allowed; try again later")
            self._streams[caller] += 1
        try:
            yield
        finally:
            with self._lock:
                self._streams[caller] -= 1
                self._streams += Counter()  # drops those that have none

    def _admit(self, name: str, request: bytes, context: grpc.ServicerContext) -> tuple[Fields, Caller]:
        """Check everything about a call before it is made; return its arguments and its caller."""
        call, caller = CALLS[name], NOBODY
        try:
            caller = identify_caller(context, self._federation, datetime.datetime.now(datetime.UTC))
            if caller.role is not None and not caller.is_local:
                self._members_rate.take(f"{caller.role} {caller.name}", time.monotonic())
            require_right(name, caller)
            if call.changes and caller.identity is not None:
                key = PublicKey.from_text(caller.identity)
                self._orders.verify(read_order(context), key, caller.name, name, request, time.time())
        except RefusedCallError as error:
            if isinstance(error, RemovedCallerError):
                caller = error.caller
            if caller.role is None:
                self._nobody_rate.take("", time.monotonic())
            else:
                self._refused.record(caller, name, compute_sha256(request), str(error))
            _log.warning("a call was refused: %s", error)
            raise
        return self._read_fields(name, request, caller), caller

    def _read_fields(self, name: str, request: bytes, caller: Caller) -> Fields:
        """Read a call's arguments. Strangers have one bucket together, and keep nobody waiting who is invited."""
        bucket = ""
        try:
            fields = to_fields(parse_message(CALLS[name].request, request))
            bucket = self._tokens.find(str(fields.get("token", ""))) or ""
        finally:
            if caller.role is None:
                self._nobody_rate.take(bucket, time.monotonic())
        return fields

    def _begin_record(
        self, name: str, fields: Fields, request: bytes, caller: Caller, context: grpc.ServicerContext
    ) -> "Record":
        """Write that a call was asked for; return a function that writes its outcome."""
        if not CALLS[name].changes:
            return lambda outcome, found=None: None
        log, order = self._federation.open_audit_log(), read_order(context)

        def record(outcome: str, found: Fields | None = None) -> None:
            log.append(
                time=time.time(),
                role=str(caller.role or ""),
                name=caller.name,
                account=getpass.getuser() if caller.is_local else "",
                call=name,
                about=_find_subject(fields, found or {}),
                request=compute_sha256(request),
                outcome=outcome[:500],
                order="" if order is None else order.decode("utf-8"),
            )

        record("asked")
        return record


class Record(Protocol):
    """Writes the outcome of a call into the audit log, with what was answered if it succeeded."""

    def __call__(self, outcome: str, found: Fields | None = None) -> None:
        """Write it."""


def _serialize(name: str, answer: Fields) -> bytes:
    serialized: bytes = to_message(CALLS[name].answer, answer).SerializeToString()
    return serialized


def _find_subject(fields: Fields, found: Fields) -> str:
    """Find what a call is about: a study or a name; of a launch the study that it made, before that its terms' name."""
    terms = fields.get("terms")
    named = terms.get("name") if isinstance(terms, dict) else None
    return str(fields.get("study") or fields.get("name") or found.get("study") or named or "")[:100]


@contextlib.contextmanager
def _answer_errors(name: str, context: grpc.ServicerContext) -> Iterator[None]:
    """Answer an error of the block as gRPC's status."""
    try:
        yield
    except TooManyCallsError as error:
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))
    except OldGatewayError as error:
        _log.warning("a call was refused: %s", error)
        context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
    except Error as error:
        answer = json.dumps({"exit_code": error.exit_code, "sentence": str(error)})
        context.abort(grpc.StatusCode.ABORTED, answer)
    except Exception as error:
        _log.exception("the call %s failed", name)
        context.abort(grpc.StatusCode.INTERNAL, type(error).__name__)
