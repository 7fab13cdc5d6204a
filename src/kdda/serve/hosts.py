"""Host and Origin: the names by which a server answers, and the web pages that may call it; all others get 403."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from kdda.errors import KddaError
from kdda.serve.errors import HTTPError

# A host name or an address, and a port. Neither user names nor spellings that only some programs read.
AUTHORITY = re.compile(r"(\[[0-9a-f:.]{2,45}\]|[a-z0-9]([a-z0-9._-]{0,252}[a-z0-9])?)(?::([0-9]{1,5}))?")

DEFAULT_PORTS = {"http": 80, "https": 443}

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Authority(NamedTuple):
    """A host in lower case, without the brackets of an IPv6 address, and its port, where one is written."""

    name: str
    port: int | None


@dataclass(frozen=True)
class AllowedHosts:
    """By which names a server may be called, so that no page of another origin reads it through a visitor's browser.

    A page whose name is made to resolve to this machine (DNS rebinding) sends that name as Host; another page sends
    itself as Origin. Programs send no Origin.

    Attributes:
        names: host names, and addresses as they were given.
        networks: "loopback" allows all loopback addresses, "any" all addresses (no name resolves to a written address,
            so these cannot be rebound), "none" only those among `names`.
        further: those of --allow-host, from whose pages requests may come through a proxy that changes Host, too.
    """

    names: frozenset[str]
    networks: str = "loopback"
    further: tuple[Authority, ...] = ()

    @classmethod
    def of(cls, host: str, further: Sequence[str] = ()) -> AllowedHosts:
        """The names of a server that listens on a host.

        Args:
            host: of --host; 0.0.0.0 and :: listen on all addresses of this machine.
            further: of --allow-host: names with or without a port.

        Raises:
            KddaError: a further host that is no host name or address.
        """
        authorities = tuple(map(_further, further))
        names = {host.lower(), *_addresses(host)}
        for authority in authorities:
            names.add(authority.name)
        listened = _address(host)
        if listened is not None and listened.is_unspecified:
            return cls(frozenset({*names, "localhost", socket.gethostname().lower()}), "any", authorities)
        if is_loopback(host):
            return cls(frozenset({*names, "localhost"}), "loopback", authorities)
        return cls(frozenset(names), "none", authorities)

    def check(self, method: str, headers: Mapping[bytes, bytes]) -> None:
        """Refuse a request that another origin's page may have sent.

        Args:
            headers: by names in lower case.

        Raises:
            HTTPError: 403, for another Host, another Origin, or what a browser says that another site asked for.
        """
        host = parse_authority(headers.get(b"host", b"").decode("latin-1"))
        if host is None or not self._has(host.name):
            raise HTTPError(403, "the Host of this request is not one of this server; kdda serve --allow-host adds one")
        origin = headers.get(b"origin")
        if origin is not None and not self._is_same_origin(origin.decode("latin-1"), host):
            raise HTTPError(403, "pages of another origin may not call this server; kdda serve --allow-host adds one")
        if origin is None and _is_of_another_site(method, headers):
            raise HTTPError(403, "pages of another site may not load parts of this server")

    def _has(self, name: str) -> bool:
        """Whether the server may be called by a name or address."""
        if name in self.names:
            return True
        address = _address(name)
        if address is None or self.networks == "none":
            return False
        if address.version == 6 and address.ipv4_mapped is not None:
            return False  # browsers' rules for local networks do not see through these
        if self.networks == "loopback":
            return address.is_loopback
        return not address.is_unspecified and not address.is_multicast

    def _is_same_origin(self, origin: str, host: Authority) -> bool:
        """Whether an Origin is that of the Host, or a page of a host of --allow-host."""
        scheme, _, rest = origin.lower().partition("://")
        authority = parse_authority(rest)
        if scheme not in DEFAULT_PORTS or authority is None:
            return False
        default = DEFAULT_PORTS[scheme]
        port = authority.port or default
        host_port = host.port or default  # behind a proxy, Host may have no port
        if authority.name == host.name and port == host_port:
            return True
        for further in self.further:
            if authority.name == further.name and port in (further.port or default, host_port):
                return True
        return False


def parse_authority(text: str) -> Authority | None:
    """A Host header's host and port; None where it is neither a name nor an address.

    >>> parse_authority("[::1]:8000"), parse_authority("LOCALHOST"), parse_authority("a@b")
    (Authority(name='::1', port=8000), Authority(name='localhost', port=None), None)
    """
    match = AUTHORITY.fullmatch(text.lower())
    if match is None:
        return None
    name, _, port = match.groups()
    number = int(port) if port else None
    if name.startswith("["):
        address = _address(name[1:-1])
        return None if address is None else Authority(str(address), number)
    return Authority(name, number)


def is_loopback(host: str) -> bool:
    """Whether every address of a host name is this machine's loopback.

    Raises:
        KddaError: a name without an address.
    """
    return all(ipaddress.ip_address(name).is_loopback for name in _addresses(host))


def _addresses(host: str) -> set[str]:
    """The addresses that a host name has now.

    Raises:
        KddaError: it has none.
    """
    try:
        infos = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise KddaError(f"--host: no address for {host!r}") from None
    addresses = set()
    for *_, address in infos:
        addresses.add(str(address[0]).partition("%")[0])  # without an IPv6 zone, such as %eth0
    return addresses


def _address(name: str) -> Address | None:
    """A written address; None for a name."""
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def _further(text: str) -> Authority:
    """A host of --allow-host, with names of other scripts as DNS has them."""
    try:
        written = text if text.isascii() else text.encode("idna").decode()
    except UnicodeError:
        written = ""
    authority = parse_authority(written)
    if authority is None:
        raise KddaError(f"--allow-host: got {text!r}, expected a host name or address, with a port or without one")
    return authority


def _is_of_another_site(method: str, headers: Mapping[bytes, bytes]) -> bool:
    """Whether a browser says that another site's page asked; following a link to here is no such request."""
    if headers.get(b"sec-fetch-site", b"none") in (b"none", b"same-origin"):
        return False
    is_link = headers.get(b"sec-fetch-mode") == b"navigate" and headers.get(b"sec-fetch-dest") == b"document"
    return not (is_link and method in ("GET", "HEAD"))
