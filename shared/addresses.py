"""Where a request on a user's behalf may go: to public addresses, unless others are allowed."""

import ipaddress
import re
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

from shared.errors import Invalid

PORTS = {"http": 80, "https": 443}
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
OUT_OF_PLACE = re.compile(r"[\x00-\x20\x7f-\xa0]")
"""`urlsplit` drops some of these and keeps others, and for who resolves a host NUL ends it."""
RESERVED = tuple(map(ipaddress.ip_network, ("192.0.0.0/24", "192.88.99.0/24", "3fff::/20")))
"""For protocols, for relays that are no more, for documentation: Python 3.11 takes some of it for
global."""


@dataclass(frozen=True)
class Pinned:
    """Connect to one of `addresses`, with `host` for the Host header and the certificate. To
    resolve the name again would let its owner answer otherwise the second time."""

    host: str
    port: int
    addresses: tuple[str, ...]


def public(url: str) -> Pinned:
    """Invalid for a URL that leads, by any of its host's addresses, to what is not public."""
    found = resolved(url)
    for address in found.addresses:
        if not _is_public(ipaddress.ip_address(address)):
            raise Invalid(
                f"The host {found.host[:80]!r} is at {address}, which is not a public address"
            )
    return found


def resolved(url: str) -> Pinned:
    """Wherever it leads. Invalid for what is no URL to call."""
    if OUT_OF_PLACE.search(url):
        raise Invalid(f"{url[:80]!r} holds a space or a control character: leave it out")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or PORTS.get(parts.scheme, 0)
    except ValueError:
        raise Invalid(f"{url[:80]!r} is not a URL") from None
    if parts.scheme not in PORTS or not host:
        raise Invalid(f"{url[:80]!r} is not of the form http://HOST or https://HOST")
    if "@" in parts.netloc:
        raise Invalid("The URL holds a user's name or password: leave them out")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise Invalid(f"The host {host[:80]!r} is not known") from None
    return Pinned(host, port, tuple(dict.fromkeys(str(place[0]) for *_, place in found)))


def _is_public(address: Address) -> bool:
    """IPv6 addresses that stand for an IPv4 one are not: whatever that one is."""
    if isinstance(address, ipaddress.IPv6Address) and (
        address.ipv4_mapped or address.sixtofour or address.is_site_local
    ):
        return False
    if any(address in network for network in RESERVED):
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved)
