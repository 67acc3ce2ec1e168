"""The exceptions of requests, urllib3, http.client and ssl in our words; a test walks their classes."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator
from http.client import HTTPException, IncompleteRead, RemoteDisconnected
from urllib.parse import urlsplit

import requests
from urllib3 import exceptions as u3

from app.egress.addresses import DEFAULT_PORTS, SHOWN_CHARS, shown
from app.errors import AddressRefused, BadAnswer, DeadlineExceeded, EgressError, Unreachable

# Everything these libraries raise; ValueError and TypeError come from headers and bodies that cannot be encoded.
LIBRARY_ERRORS = (requests.RequestException, u3.HTTPError, HTTPException, OSError, ValueError, TypeError, Warning)


def too_late(url: str, seconds: float) -> DeadlineExceeded:
    """The error of a request that was cut after `seconds`."""
    message = f"{shown(url)} gave no complete answer within {seconds:.3g} s."
    return DeadlineExceeded(message, hint="The server is overloaded, hangs, or answers very slowly.")


def _chain(error: BaseException) -> Iterator[BaseException]:
    """`error` and everything it wraps, outermost first."""
    queue, seen = [error], set[int]()
    while queue:
        one = queue.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        wrapped = [*getattr(one, "args", ()), getattr(one, "reason", None), one.__cause__, one.__context__]
        queue += [item for item in wrapped if isinstance(item, BaseException)]


def map_error(error: BaseException, url: str, seconds: float) -> EgressError:
    """The error of a library in our words; `seconds` is how long it took."""
    causes = list(_chain(error))

    def first(*kinds: type[BaseException]) -> BaseException | None:
        return next((one for one in causes if isinstance(one, kinds)), None)

    where, port = shown(url), _port(url)
    own = first(EgressError)
    if isinstance(own, EgressError):
        return own
    if first(ssl.SSLError, requests.exceptions.SSLError, u3.SSLError):
        return _tls(where, str(first(ssl.SSLError) or error))
    if first(TimeoutError, requests.Timeout, u3.TimeoutError):
        return too_late(url, seconds)
    if first(ConnectionRefusedError):
        message = f"{where}: connection refused: nothing listens on port {port}."
        return Unreachable(message, hint="Start the service, or correct the address.")
    if first(RemoteDisconnected):
        message = f"{where}: the server closed the connection without an answer."
        return Unreachable(message, hint="It may be stopping, or speak https where http was sent.")
    if first(
        IncompleteRead, u3.IncompleteRead, u3.ProtocolError, HTTPException, requests.exceptions.ChunkedEncodingError
    ):
        reset = first(ConnectionError)
        what = "the connection was reset" if reset else "the answer is truncated or not HTTP"
        kind: type[EgressError] = Unreachable if reset else BadAnswer
        return kind(f"{where}: {what}.", hint="Try again; if it stays, read the server's log.")
    if first(
        u3.DecodeError,
        requests.exceptions.ContentDecodingError,
        requests.exceptions.InvalidJSONError,
        u3.HeaderParsingError,
    ):
        return BadAnswer(
            f"{where} answered with a body or headers that cannot be decoded.", hint="Is it the right server?"
        )
    if first(socket.gaierror, u3.NameResolutionError):
        return Unreachable(f"{where}: no such host.", hint="Check the spelling of the name.")
    if first(
        requests.exceptions.InvalidURL,
        requests.exceptions.InvalidSchema,
        requests.exceptions.MissingSchema,
        u3.LocationValueError,
        requests.exceptions.URLRequired,
    ):
        return AddressRefused(f"{where} is not an address that can be asked.", hint="Correct the address.")
    system = next((one for one in causes if isinstance(one, OSError) and one.strerror), None)
    if isinstance(system, OSError):
        message = f"{where}: {str(system.strerror).lower()}."
        return Unreachable(message, hint="Check address, network and firewall.")
    if first(requests.ConnectionError, u3.PoolError, OSError):
        return Unreachable(f"{where}: no connection ({type(error).__name__}).", hint="Check the address.")
    return BadAnswer(f"{where}: the request failed ({type(error).__name__}).", hint="Check address and headers.")


def _port(url: str) -> int | None:
    try:
        parts = urlsplit(url)
        return parts.port or DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return None


def _tls(where: str, text: str) -> Unreachable:
    if "WRONG_VERSION_NUMBER" in text or "record layer" in text.lower():
        return Unreachable(f"{where}: TLS failed: the server speaks plain http.", hint="Write http:// in the address.")
    reason = re.search(r"certificate verify failed: ([^(]+)", text)
    why = reason[1].strip() if reason else " ".join(text.split())[:SHOWN_CHARS]
    hint = "Name the certificate authority's file as `ca` under `[prometheus]`, or correct the host name."
    return Unreachable(f"{where}: TLS failed: {why}.", hint=hint)
