"""Parse the address of a coordinator: a host, and ``host:port`` as one text.

Rules:

* A host is a name (letters, digits, hyphens, dots; RFC 1123) or an IPv4 or IPv6 address that one machine can have.
  A URL, a port or blanks are refused, and the message says what to type.
* A name is kept in lower case and ASCII (a name with other letters as IDNA writes it). An IPv6 address is kept in
  its shortest form, with brackets only where a port follows.
* The loopback interface is this machine: 127.0.0.0/8, ::1, localhost.

>>> join_address(read_host("::1"), 9092)
'[::1]:9092'
>>> split_address("[::1]:9092")
('::1', 9092)
"""

import ipaddress
import re
from typing import Annotated, Final

from pydantic import AfterValidator

_LONGEST_NAME: Final = 253
_LONGEST_LABEL: Final = 63
_LABEL: Final = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")


def read_host(text: str) -> str:
    """Parse a host as people type it; return its one form.

    Raises:
        ValueError: it is no host; the message says why, and what to type.
    """
    if not text:
        raise ValueError("expected a host name or an address, got nothing")
    if text != "".join(text.split()):
        raise ValueError(f"{text!r} is no host: a host has no blanks")
    if "://" in text or "/" in text:
        inside = re.sub(r"^[^/]*://", "", text).split("/")[0].rpartition("@")[2]
        raise ValueError(f"{text!r} is a URL, not a host{_suggest_input(inside)}")
    if ":" in text and not _is_ip(_remove_brackets(text)):
        raise ValueError(f"{text!r} is more than a host, or no IPv6 address{_suggest_input(text)}")
    return _read_bare_host(text)


def join_address(host: str, port: int) -> str:
    """Write ``host:port``, with an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split_address(address: str) -> tuple[str, int]:
    """Return host and port of a text that :func:`join_address` wrote.

    Raises:
        ValueError: it is no ``host:port`` in its one form.
    """
    bracketed, colon, port = address.rpartition(":")
    if not colon or not re.fullmatch(r"[1-9]\d{0,4}", port) or int(port) > 65535:
        raise ValueError("expected host:port")
    host = _remove_brackets(bracketed)
    if join_address(read_host(host), int(port)) != address:
        raise ValueError("expected host:port, a host name in lower case or an address in its shortest form")
    return host, int(port)


def is_loopback(host: str) -> bool:
    """Return whether ``host`` is this machine's loopback interface."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _check_address(address: str) -> str:
    split_address(address)
    return address


Host = Annotated[str, AfterValidator(read_host)]
Address = Annotated[str, AfterValidator(_check_address)]


def _read_bare_host(text: str) -> str:
    """Parse a name or an address, which may be in brackets."""
    bare = _remove_brackets(text)
    if "%" in bare:
        raise ValueError(f"{text!r} names an interface (%), which means something on one machine only")
    if not _is_ip(bare):
        return _read_name(bare)
    address = ipaddress.ip_address(bare)
    if address.is_unspecified or address.is_multicast or bare == "255.255.255.255":
        raise ValueError(f"{text!r} is no address at which a machine can be reached; name the machine's own")
    return str(address)


def _remove_brackets(text: str) -> str:
    return text[1:-1] if text.startswith("[") and text.endswith("]") else text


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _read_name(text: str) -> str:
    name = text.rstrip(".").lower()
    if not name.isascii():
        name = _convert_to_ascii(text, name)
    labels = name.split(".")
    if len(name) > _LONGEST_NAME or any(len(label) > _LONGEST_LABEL for label in labels):
        raise ValueError(
            f"{text[:40]!r}... is too long for a host name: at most {_LONGEST_LABEL} characters between dots, "
            f"{_LONGEST_NAME} in all"
        )
    if labels[-1].isdigit():
        raise ValueError(f"{text!r} is no IPv4 address: four numbers of at most 255, without zeros in front")
    if not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError(
            f"{text!r} is no host name: expected letters, digits, hyphens and dots, as in fl.example.org"
        )
    return name


def _convert_to_ascii(text: str, name: str) -> str:
    """Convert a name to its IDNA form, if the old and the new standard of IDNA agree on it."""
    try:
        ascii_name = name.encode("idna")
        if ascii_name.decode("idna") == name:
            return ascii_name.decode("ascii")
    except UnicodeError:
        pass
    raise ValueError(f"{text!r} has letters outside ASCII: write the name as IDNA does (xn--...)")


def _suggest_input(text: str) -> str:
    """Describe what to type instead of ``text``, if it holds a host and perhaps a port."""
    host, colon, port = text.rpartition(":")
    with_port = bool(colon) and port.isdigit() and (":" not in host or host.endswith("]"))
    try:
        found = _read_bare_host(host if with_port else text)
    except ValueError:
        return ": type the name or address alone, and the port as --port"
    return f": type --host {found}" + (f" --port {port}" if with_port else "")
