"""Find the proxy for a coordinator by the site's setting or the environment, and make an HTTP client that uses it.

Rules:

* The loopback interface is never reached through a proxy, whatever setting and environment say.
* A proxy that :func:`set_proxy` has set for this process counts alone; else the environment counts.
* ``https_proxy``, then ``all_proxy``, name the proxy (lower case before upper case). HTTP and HTTPS proxies are
  used.
* ``no_proxy`` is a list of what is reached directly: ``*``, names (with all names below them), addresses, networks
  (``10.0.0.0/8``), each perhaps with a port. A name is not resolved to see whether its address is in a network.
* A message never holds a proxy's user name or password.

Source: curl(1) on NO_PROXY, with networks. Flower and httpx do not support networks, so this module is needed.
"""

import ipaddress
import re
import ssl
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit, urlunsplit

from privacy.address import is_loopback, join_address
from privacy.errors import LinkError

if TYPE_CHECKING:
    import httpx


@dataclass(frozen=True)
class Proxy:
    """A proxy; ``url`` may hold a password."""

    url: str

    @property
    def name(self) -> str:
        """Its host and port, for messages."""
        parts = urlsplit(self.url)
        return join_address(parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))


@dataclass(frozen=True)
class _Setting:
    """The proxy of this process, and what is reached without it."""

    proxy: Proxy
    direct: tuple[str, ...]


class _Process:
    """This process, whose proxy can be set."""

    setting: _Setting | None = None


_process: Final = _Process()


def set_proxy(url: str | None, direct: Iterable[str] = (), user: str = "", password: str = "") -> None:
    """Set the proxy of this process, for all its connections from now on.

    Args:
        url: of the proxy, without user and password; None lets the environment count again.
        direct: what is reached without it, each as an entry of ``no_proxy``.
        user: the proxy's user name, if it asks for one.
        password: and their password.
    """
    if url is None:
        _process.setting = None
        return
    parts = urlsplit(url)
    if user:
        parts = parts._replace(netloc=f"{quote(user, safe='')}:{quote(password, safe='')}@{parts.netloc}")
    _process.setting = _Setting(Proxy(urlunsplit(parts)), tuple(direct))


def find_proxy(host: str, port: int) -> Proxy | None:
    """Find the proxy by which this process reaches ``host``; None if it is reached directly.

    Raises:
        LinkError: the environment names a proxy that cannot be used.
    """
    if is_loopback(host):
        return None
    if (setting := _process.setting) is not None:
        return None if any(_covers(each, host, port) for each in setting.direct) else setting.proxy
    environment = urllib.request.getproxies_environment()
    found = environment.get("https") or environment.get("all")
    if not found or any(_covers(each, host, port) for each in re.split(r"[,\s]+", environment.get("no", ""))):
        return None
    return _require_usable(found if "://" in found else f"http://{found}")


def make_http_client(host: str, port: int, verify: ssl.SSLContext, timeout_s: float) -> "httpx.Client":
    """Make a client for one server, which takes nothing but the proxy from the environment."""
    import httpx  # most commands start without it

    proxy = find_proxy(host, port)
    return httpx.Client(verify=verify, timeout=timeout_s, trust_env=False, proxy=proxy.url if proxy else None)


def _require_usable(url: str) -> Proxy:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        kind = url.partition("://")[0]
        raise LinkError(
            f"the environment names a proxy of kind '{kind}' that cannot be used (HTTPS_PROXY or ALL_PROXY): expected "
            "http://host:port; correct it, or name the coordinator in NO_PROXY"
        )
    return Proxy(url)


def _covers(entry: str, host: str, port: int) -> bool:
    """Return whether an entry of ``no_proxy`` covers a server."""
    if entry == "*":
        return True
    name, colon, its_port = entry.rpartition(":")
    if colon and its_port.isdigit() and (":" not in name or name.endswith("]")):
        if int(its_port) != port:
            return False
        entry = name
    entry = entry.strip("[]").lower().removeprefix("*").strip(".")
    if not entry:
        return False
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return host == entry or host.endswith(f".{entry}")
