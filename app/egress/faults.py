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
from app.words.message import t

# Everything these libraries raise; ValueError and TypeError come from headers and bodies that cannot be encoded.
LIBRARY_ERRORS = (requests.RequestException, u3.HTTPError, HTTPException, OSError, ValueError, TypeError, Warning)


def too_late(url: str, seconds: float) -> DeadlineExceeded:
    """The error of a request that was cut after `seconds`."""
    message = t("{address} gave no complete answer within {seconds:.3g} s.", address=shown(url), seconds=seconds)
    return DeadlineExceeded(message, hint=t("The server is overloaded, hangs, or answers very slowly."))


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
        message = t("{address}: connection refused: nothing listens on port {port}.", address=where, port=port)
        return Unreachable(message, hint=t("Start the service, or correct the address."))
    if first(RemoteDisconnected):
        message = t("{address}: the server closed the connection without an answer.", address=where)
        return Unreachable(message, hint=t("It may be stopping, or speak https where http was sent."))
    if first(
        IncompleteRead, u3.IncompleteRead, u3.ProtocolError, HTTPException, requests.exceptions.ChunkedEncodingError
    ):
        hint = t("Try again; if it stays, read the server's log.")
        if first(ConnectionError):
            return Unreachable(t("{address}: the connection was reset.", address=where), hint=hint)
        return BadAnswer(t("{address}: the answer is truncated or not HTTP.", address=where), hint=hint)
    if first(
        u3.DecodeError,
        requests.exceptions.ContentDecodingError,
        requests.exceptions.InvalidJSONError,
        u3.HeaderParsingError,
    ):
        return BadAnswer(
            t("{address} answered with a body or headers that cannot be decoded.", address=where),
            hint=t("Is it the right server?"),
        )
    if first(socket.gaierror, u3.NameResolutionError):
        return Unreachable(t("{address}: no such host.", address=where), hint=t("Check the spelling of the name."))
    if first(
        requests.exceptions.InvalidURL,
        requests.exceptions.InvalidSchema,
        requests.exceptions.MissingSchema,
        u3.LocationValueError,
        requests.exceptions.URLRequired,
    ):
        message = t("{address} is not an address that can be asked.", address=where)
        return AddressRefused(message, hint=t("Correct the address."))
    system = next((one for one in causes if isinstance(one, OSError) and one.strerror), None)
    if isinstance(system, OSError):
        message = t("{address}: {why}.", address=where, why=str(system.strerror).lower())
        return Unreachable(message, hint=t("Check address, network and firewall."))
    if first(requests.ConnectionError, u3.PoolError, OSError):
        message = t("{address}: no connection ({error}).", address=where, error=type(error).__name__)
        return Unreachable(message, hint=t("Check the address."))
    message = t("{address}: the request failed ({error}).", address=where, error=type(error).__name__)
    return BadAnswer(message, hint=t("Check address and headers."))


def _port(url: str) -> int | None:
    try:
        parts = urlsplit(url)
        return parts.port or DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return None


def _tls(where: str, text: str) -> Unreachable:
    if "WRONG_VERSION_NUMBER" in text or "record layer" in text.lower():
        message = t("{address}: TLS failed: the server speaks plain http.", address=where)
        return Unreachable(message, hint=t("Write http:// in the address."))
    reason = re.search(r"certificate verify failed: ([^(]+)", text)
    why = reason[1].strip() if reason else " ".join(text.split())[:SHOWN_CHARS]
    hint = t("Name the certificate authority's file as `ca` under `[prometheus]`, or correct the host name.")
    return Unreachable(t("{address}: TLS failed: {why}.", address=where, why=why), hint=hint)
