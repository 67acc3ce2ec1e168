"""Which addresses may be asked, and how they are shown."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from app.errors import AddressRefused, DeadlineExceeded, Unreachable
from app.words.message import t

# A name server that takes longer than a person waits for a panel counts as one that does not answer.
LOOKUP_SECONDS = 5.0
# Longest address shown in a message that is no URL.
SHOWN_CHARS = 160
# fd00:ec2::254 is a cloud's metadata service outside the link-local range; 169.254.169.254 is inside it.
METADATA_ADDRESSES = frozenset({"fd00:ec2::254", "100.100.100.200"})
# The names that mean this machine; each address they resolve to must still be a loopback address.
LOOPBACK_NAMES = frozenset({"localhost", "localhost.localdomain", "ip6-localhost"})
DEFAULT_PORTS = {"http": 80, "https": 443}


def shown(url: str) -> str:
    """`url` for a message: without user, password, query and fragment."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return t("an address that is not a URL")
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}{port}{parts.path}" if host else f"{parts.scheme}:{parts.path}"[:SHOWN_CHARS]


def origin(url: str) -> str:
    """`url` without path, query and fragment, for addresses whose path is a secret."""
    try:
        parts = urlsplit(url)
    except ValueError:
        # What cannot be taken apart is not shown in part; it is no address either.
        return ""
    return urlunsplit((parts.scheme, parts.netloc, "", "", ""))


@dataclass(frozen=True, slots=True)
class Checked:
    """An address that passed `check_address`: connect to one of `addresses`, send `host` in the Host header."""

    scheme: str
    host: str
    port: int
    path: str
    addresses: tuple[str, ...]


def check_address(url: str, hosts: Sequence[str] = (), *, deadline: float = LOOKUP_SECONDS) -> Checked:
    """Judge an address before traffic is sent to it. Raises AddressRefused or Unreachable (no such host).

    Accepted: http(s) to a loopback address or name, or to a host of `hosts` ("name", "name:port" or an IP address).
    The name is resolved here and every address it has is judged; the caller connects to `Checked.addresses`, so that a
    name cannot change its meaning between the check and the request.
    """
    check_parts(url)
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = parts.port or DEFAULT_PORTS[parts.scheme]
    if not named(host, port, hosts):
        accepted = ", ".join(["127.0.0.1", "localhost", *hosts])
        message = t(
            "{address} is not an address that configuration allows; accepted hosts: {hosts}.",
            address=shown(url),
            hosts=accepted,
        )
        raise AddressRefused(message, hint=t("Name the host in `[load] hosts` of the system file."))
    addresses = resolve(host, port, time.monotonic() + deadline)
    for address in addresses:
        judge(host, address)
    return Checked(parts.scheme, host, port, parts.path or "/", addresses)


def is_loopback_name(host: str) -> bool:
    """True for `localhost`, its spellings and loopback IP addresses."""
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return host.lower().rstrip(".") in LOOPBACK_NAMES
    # A zone (`::1%eth0`) makes another address of it; ::ffff:127.0.0.1 is judged as what it carries, on every Python.
    return "%" not in host and (getattr(ip, "ipv4_mapped", None) or ip).is_loopback


def named(host: str, port: int, hosts: Sequence[str]) -> bool:
    """True for loopback and for what `hosts` names as "name", "name:port" or address."""
    bare = host.lower().rstrip(".")
    spelled = {bare, f"{bare}:{port}", f"[{bare}]", f"[{bare}]:{port}"}
    return is_loopback_name(host) or any(name.strip().lower() in spelled for name in hosts)


def check_parts(url: str) -> None:
    r"""AddressRefused unless `url` is http(s) with a host and without credentials.

    Line breaks, spaces and backslashes are refused: programs disagree on the host of `http://a\@b` or `http://a\tb`.
    """
    try:
        parts = urlsplit(url)
        good = parts.scheme in DEFAULT_PORTS and bool(parts.hostname) and parts.port != 0
        good = good and url.isprintable() and not any(char.isspace() or char == "\\" for char in url)
    except ValueError:
        good = False
    if not good:
        message = t(
            "{text!r} is not an address; accepted: http://HOST:PORT or https://HOST[:PORT][/PATH].", text=shown(url)
        )
        raise AddressRefused(message, hint=t("Correct the address."))
    if "@" in parts.netloc:
        message = t("{address} carries a user or password in the address.", address=shown(url))
        hint = t("Give credentials through `auth`, `user` and `secret` in the system file.")
        raise AddressRefused(message, hint=hint)


def judge(host: str, address: str) -> None:
    """AddressRefused for what no watched service has: metadata, multicast, 0.0.0.0, a `localhost` elsewhere."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    ip = getattr(ip, "ipv4_mapped", None) or ip
    place, message = {"host": host, "address": address}, ""
    if ip.is_link_local or str(ip) in METADATA_ADDRESSES:
        message = t("{host} ({address}) is a link-local or cloud metadata address: refused.", **place)
    elif ip.is_multicast or ip.is_unspecified or str(ip) == "255.255.255.255":
        message = t("{host} ({address}) is not the address of one machine: refused.", **place)
    elif is_loopback_name(host) and not ip.is_loopback:
        message = t("{host} ({address}) is not this machine, although its name says that: refused.", **place)
    if message:
        raise AddressRefused(message, hint=t("Configure the service's own address."))


def resolve(host: str, port: int, until: float) -> tuple[str, ...]:
    """The addresses of `host`, within the deadline even when the name server hangs."""
    with contextlib.suppress(ValueError):
        return (str(ipaddress.ip_address(host)),)
    answers: list[str] = []
    failed: list[Exception] = []

    def look_up() -> None:
        try:
            rows = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            answers.extend(dict.fromkeys(str(row[4][0]) for row in rows))
        except (OSError, UnicodeError) as error:
            failed.append(error)

    thread = threading.Thread(target=look_up, name="egress-dns", daemon=True)
    thread.start()
    thread.join(max(0.0, until - time.monotonic()))
    if thread.is_alive():
        message = t("looking up the name {host} took too long.", host=host)
        raise DeadlineExceeded(message, hint=t("Check the name server of this machine, or use an IP address."))
    if failed or not answers:
        message = t("no such host: the name {host} has no address.", host=host)
        hint = t("Check the spelling; inside containers a service's name is known, on the host it is localhost.")
        raise Unreachable(message, hint=hint) from (failed[0] if failed else None)
    return tuple(answers)
