"""Which addresses only this machine can reach, and under which names a server of this machine may be asked.

A page of a stranger can make a browser ask a server on this machine: under a name of its own that it lets point here
(DNS rebinding), or from another origin. The request tells both, in its headers Host and Origin.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import urlsplit

_PORTS = {"http": 80, "https": 443}


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach `address`."""
    try:
        return address == "localhost" or ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def is_own_host(host: str | None, listening: str, names: Iterable[str] = ()) -> bool:
    """Whether a Host header names this server.

    host       the header, with or without a port; None when there is none
    listening  the address that the server listens on; "" for all of them
    names      further names that were allowed; "*.example.org" allows every name that ends so

    On loopback only loopback names count. Elsewhere numbers count too (no stranger's page can have them as its own
    name), and the names of this machine.
    """
    name = _name(host)
    if name is None:
        return False
    if is_loopback(name) or any(_fits(name, pattern) for pattern in names):
        return True
    return not is_loopback(listening) and (_is_number(name) or name in {listening.lower(), *_own_names()})


def is_own_origin(origin: str | None, host: str | None, allowed: Iterable[str] = ()) -> bool:
    """Whether an Origin header is the server's own: that of the Host header, or one of the `allowed`.

    Without the header (a plain link, or no browser) there is no other origin.
    """
    if origin is None or origin in set(allowed):
        return True
    try:
        found, own = urlsplit(origin), urlsplit(f"//{host or ''}")
        port = _PORTS.get(found.scheme)
        return (
            port is not None
            and found.hostname is not None
            and (found.hostname, found.port or port) == (own.hostname, own.port or port)
        )
    except ValueError:
        return False


def _name(host: str | None) -> str | None:
    """The name in a Host header, in small letters; None when it is no name with or without a port."""
    try:
        parts = urlsplit(f"//{host or ''}")
        _ = parts.port
    except ValueError:
        return None
    if parts.path or parts.query or parts.fragment or parts.username is not None or not parts.hostname:
        return None
    return parts.hostname.lower().removesuffix(".")


def _fits(name: str, pattern: str) -> bool:
    wanted = pattern.strip().lower().removesuffix(".")
    return name.endswith(wanted[1:]) if wanted.startswith("*.") else name == wanted != ""


def _is_number(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


@lru_cache(maxsize=1)
def _own_names() -> frozenset[str]:
    short = socket.gethostname().lower()
    return frozenset({short, f"{short}.local", socket.getfqdn().lower()} - {""})
