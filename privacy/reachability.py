"""Check the way to a coordinator: name, proxy, port, certificate, clock, and whether the coordinator answers.

* The connection is made as the agent makes it: same proxy, same trust, same TLS, and one GET of ``/health``.
* A line that could not be looked at, since an earlier one is red, is amber and says so.
* The clock is compared with the answer's ``Date`` header (RFC 9110, section 6.6.1; whole seconds).
"""

import email.utils
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from typing import Final

import httpx

from privacy.address import split_address
from privacy.errors import LinkError
from privacy.health import Line, amber, green, red
from privacy.proxy import Proxy, find_proxy, make_http_client

CONNECT_S: Final = 10.0
SKEW_AMBER_S: Final = 5.0
"""Flower takes a signature that is this much ahead of the coordinator's clock."""
SKEW_RED_S: Final = 240.0
"""Shortly before a signature counts as too old, which is after 300 s."""
_DAY_S: Final = 86400.0
_SOON_DAYS: Final = 14


class _Stopped(Exception):
    """A line is red, and nothing behind it can be looked at."""

    def __init__(self, line: Line) -> None:
        super().__init__(line.check)
        self.line = line


def check_way(address: str, context: ssl.SSLContext, explain: Callable[[], str]) -> Iterator[Line]:
    """Check the way to the coordinator at ``address``, as far as it can be gone.

    Args:
        address: ``host:port``, as sites know it.
        context: TLS as the caller's program uses it.
        explain: says why the certificate there is refused; called only if it is.
    """
    names = ["proxy", "name", "port", "certificate", "coordinator", "clock"]
    try:
        for line in _go(address, context, explain):
            names.remove(line.check)
            yield line
    except _Stopped as stopped:
        names.remove(stopped.line.check)
        yield stopped.line
        for name in names:
            yield amber(name, f"not looked at, since '{stopped.line.check}' is red", "mend that first")


def _go(address: str, context: ssl.SSLContext, explain: Callable[[], str]) -> Iterator[Line]:
    host, port = split_address(address)
    proxy = _find_proxy(host, port)
    if proxy is None:
        yield green("proxy", f"none: {address} is reached directly")
        yield _resolve(host, port)
        yield _open_port(host, port)
    else:
        yield _reach_proxy(proxy)
        yield green("name", f"the proxy resolves {host}")
    began = time.time()
    status, date, certificate = _ask(address, context, explain, proxy)
    if proxy is not None:
        yield green("port", f"the proxy connects to {address}")
    yield _judge_certificate(certificate, time.time())
    yield _judge_answer(address, status)
    yield _judge_clock(date, (began + time.time()) / 2)


def _find_proxy(host: str, port: int) -> Proxy | None:
    try:
        return find_proxy(host, port)
    except LinkError as error:
        raise _Stopped(red("proxy", str(error), "correct the environment of this program")) from None


def _reach_proxy(proxy: Proxy) -> Line:
    host, port = split_address(proxy.name)
    try:
        socket.create_connection((host, port), CONNECT_S).close()
    except OSError as error:
        raise _Stopped(
            red(
                "proxy",
                f"{proxy.name} is not reached: {error.strerror or 'no answer'}",
                "compare host and port with your network's people (proxy in site.yaml, or HTTPS_PROXY)",
            )
        ) from None
    return green("proxy", f"{proxy.name} takes connections")


def _resolve(host: str, port: int) -> Line:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise _Stopped(
            red(
                "name",
                f"{host} is not resolved: {error.strerror or error}",
                "ask your network's people for this name in their DNS, or for the proxy to use",
            )
        ) from None
    return green("name", f"{host} is {', '.join(sorted({str(each[4][0]) for each in found}))}")


def _open_port(host: str, port: int) -> Line:
    try:
        socket.create_connection((host, port), CONNECT_S).close()
    except OSError as error:
        refused = isinstance(error, ConnectionRefusedError)
        step = (
            "ask the coordinator's operator whether the coordinator and its gateway run"
            if refused
            else f"ask your network's people to let this machine connect to {host} on TCP port {port}"
        )
        raise _Stopped(
            red("port", f"{host}:{port} is not reached: {error.strerror or 'no answer'}", step)
        ) from None
    return green("port", f"{host}:{port} takes connections")


def _ask(
    address: str, context: ssl.SSLContext, explain: Callable[[], str], proxy: Proxy | None
) -> tuple[int, str | None, ssl.SSLObject | None]:
    """Ask for ``/health``; return its status, its date, and the TLS connection's object."""
    host, port = split_address(address)
    try:
        with (
            make_http_client(host, port, context, CONNECT_S) as client,
            client.stream("GET", f"https://{address}/health") as response,
        ):
            shown = response.extensions["network_stream"].get_extra_info("ssl_object")
            return response.status_code, response.headers.get("date"), shown
    except httpx.ProxyError as error:
        name = proxy.name if proxy else "the proxy"
        raise _Stopped(
            red(
                "port",
                f"{name} does not connect to {address}: {error}",
                f"ask your network's people to let the proxy connect to {address}; 407 asks for user and password",
            )
        ) from None
    except httpx.TransportError as error:
        text = str(error)
        if "CERTIFICATE_VERIFY_FAILED" in text:
            raise _Stopped(red("certificate", explain(), "do what the sentence says, then check again")) from None
        raise _Stopped(
            red(
                "certificate",
                f"no TLS connection to {address}: {text or type(error).__name__}",
                "what answers there may be a firewall or another program; compare the address with the coordinator's "
                "operator",
            )
        ) from None


def _judge_certificate(shown: ssl.SSLObject | None, now: float) -> Line:
    certificate = shown.getpeercert() if shown else None
    if not certificate:
        return amber("certificate", "accepted, but its dates could not be read", "check again")
    ends = ssl.cert_time_to_seconds(str(certificate["notAfter"]))
    day = time.strftime("%Y-%m-%d", time.gmtime(ends))
    found = f"the federation's, valid until {day}"
    if ends - now < _SOON_DAYS * _DAY_S:
        return amber(
            "certificate", found, "tell the coordinator's operator: starting the coordinator again renews it"
        )
    return green("certificate", found)


def _judge_answer(address: str, status: int) -> Line:
    if status == httpx.codes.OK:
        return green("coordinator", f"answers at {address}")
    what = f"{address} answers with HTTP status {status}"
    if status >= 500:
        return red(
            "coordinator", f"{what}: the gateway runs, the coordinator behind it does not", "call its operator"
        )
    if status == 400:
        return red(
            "coordinator",
            f"{what}: the gateway refuses this installation's certificate",
            "ask the coordinator's operator whether it was removed; else join again with a new invitation",
        )
    if status == 429:
        return amber("coordinator", f"{what}: too many checks at once", "check again in a minute")
    return red("coordinator", what, "compare the address with the coordinator's operator")


def _judge_clock(date: str | None, now: float) -> Line:
    try:
        theirs = email.utils.parsedate_to_datetime(date or "").timestamp()
    except ValueError:
        return amber("clock", "the answer states no time", "compare this machine's clock with another one")
    skew = now - theirs - 0.5  # whole seconds: half a second late on the average
    found = f"{abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} the coordinator's"
    step = "set the clocks by NTP on both machines; signatures are refused from 300 s on"
    if abs(skew) > SKEW_RED_S:
        return red("clock", found, step)
    if abs(skew) > SKEW_AMBER_S:
        return amber("clock", found, step)
    return green("clock", "agrees with the coordinator's")
