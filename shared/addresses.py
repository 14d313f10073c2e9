"""Where a request on a user's behalf may go: to public addresses only."""

import ipaddress
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

from shared.errors import Invalid

PORTS = {"http": 80, "https": 443}
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True)
class Pinned:
    """Connect to one of `addresses`, with `host` for the Host header and the certificate. To
    resolve the name again would let its owner answer otherwise the second time."""

    host: str
    port: int
    addresses: tuple[str, ...]


def public(url: str) -> Pinned:
    """Invalid for a URL that leads, by any of its host's addresses, to what is not public."""
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
    addresses = tuple(dict.fromkeys(str(place[0]) for *_, place in found))
    for address in addresses:
        if not _is_public(ipaddress.ip_address(address)):
            raise Invalid(f"The host {host[:80]!r} is at {address}, which is not a public address")
    return Pinned(host, port, addresses)


def _is_public(address: Address) -> bool:
    """IPv6 addresses that stand for an IPv4 one are not: whatever that one is."""
    if isinstance(address, ipaddress.IPv6Address) and (
        address.ipv4_mapped or address.sixtofour or address.is_site_local
    ):
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved)
