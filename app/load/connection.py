"""One kept HTTP/1.1 connection of the load engine: writes a request, recognises the end of its answer.

httptools (llhttp) parses; this module decides what an answer is: complete, of which status, and whether the connection
may carry another request. Redirects are answers like any other. Bodies are counted, never kept.
"""

from __future__ import annotations

import asyncio
import errno
import re
import ssl
from typing import Protocol, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from app.words.message import t

# A prediction is a few hundred bytes. A service that answers with more than this would fill the memory at 800 at once.
MAX_ANSWER_BYTES = 1_000_000
# With one of these a body has its own end; without, the end of the connection is the end of the body.
_FRAMED = re.compile(rb"\r\n(?:content-length|transfer-encoding)[ \t]*:", re.IGNORECASE)

RESET = t("connection reset")
CLOSED = t("connection closed without an answer")
TRUNCATED = t("connection closed in the middle of the answer")
NOT_HTTP = t("the answer is not HTTP")
TOO_LARGE = t("answer larger than {most:count} bytes", most=MAX_ANSWER_BYTES)
UPGRADED = t("the service switched to another protocol")
TIMED_OUT = t("connection timed out")
TOO_MANY_FILES = t("too many open files on this machine")


class Flight:
    """One request on its way. Times are those of the engine's clock, in seconds."""

    __slots__ = ("connection", "deadline", "ended", "intended", "kind", "number", "sent", "task")

    def __init__(self, number: int, kind: int, intended: float, sent: float, deadline: float) -> None:
        self.number = number
        self.kind = kind
        self.intended = intended
        self.sent = sent
        self.deadline = deadline
        self.ended = False
        self.connection: Connection | None = None
        self.task: asyncio.Task[None] | None = None


class Owner(Protocol):
    """What a connection reports to the engine. Each flight ends with exactly one `answered` or `broken`."""

    def answered(self, connection: Connection, flight: Flight, status: int, *, keep: bool) -> None:
        """A complete answer; with `keep` the connection may carry another request."""

    def broken(self, connection: Connection, flight: Flight, cause: str) -> None:
        """No complete answer will come; the connection is gone."""

    def gone(self, connection: Connection) -> None:
        """An idle connection ended."""


class Connection(asyncio.Protocol):
    """See the module's docstring."""

    __slots__ = ("_complete", "_excess", "_flight", "_head", "_keep", "_owner", "_parser", "_received", "_status",
                 "_transport", "idle_since", "open")  # fmt: skip

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._parser = HttpResponseParser(self)
        self._flight: Flight | None = None
        self._transport: asyncio.Transport | None = None
        self._head = b""
        self._received = 0
        self._status = 0
        self._complete = self._keep = self._excess = False
        self.idle_since = 0.0
        self.open = False

    # -- used by the engine

    def send(self, flight: Flight, request: bytes) -> None:
        """Write a request; its end is reported to the owner."""
        assert self._transport is not None
        self._flight = flight
        flight.connection = self
        self._received = self._status = 0
        self._complete = self._keep = self._excess = False
        self._head = b""
        self._transport.write(request)

    def abort(self) -> None:
        """Drop the connection at once, with all that it carries; the owner is not notified."""
        self._flight = None
        self.open = False
        if self._transport is not None:
            self._transport.abort()

    # -- called by asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)
        self.open = True

    def data_received(self, data: bytes) -> None:
        """Feed the parser; end the flight when its answer is complete."""
        flight = self._flight
        if flight is None:
            # Nothing was asked: what comes now must never be taken for the answer to the next request.
            self._drop()
            return
        self._received += len(data)
        if self._received > MAX_ANSWER_BYTES:
            self._break(TOO_LARGE)
            return
        if not self._status:
            self._head = self._head + data if self._head else data
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            self._break(UPGRADED)
            return
        except HttpParserError:
            if not self._complete:
                self._break(NOT_HTTP)
                return
            self._excess = True
        if self._complete:
            self._finish(flight, keep=self._keep and not self._excess)

    def eof_received(self) -> bool:
        """The end of the connection is the end of a body that has no other."""
        flight = self._flight
        if flight is not None and self._status and not _FRAMED.search(self._final_head()):
            self._finish(flight, keep=False)
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """Report to the owner what was lost with it."""
        self.open = False
        flight, self._flight = self._flight, None
        if flight is None:
            self._owner.gone(self)
        elif isinstance(error, ssl.SSLError):
            self._owner.broken(self, flight, _tls_failed(error))
        elif error is not None:
            self._owner.broken(self, flight, RESET)
        else:
            self._owner.broken(self, flight, TRUNCATED if self._received else CLOSED)

    # -- called by the parser

    def on_message_begin(self) -> None:
        """A second answer to one request is one too many."""
        if self._complete:
            self._excess = True

    def on_headers_complete(self) -> None:
        """Note the status; 1xx are not the answer yet."""
        status = self._parser.get_status_code()
        if status >= 200 and not self._complete:
            self._status = status

    def on_message_complete(self) -> None:
        """The answer is whole, unless it was a 1xx."""
        if self._status and not self._complete:
            self._complete = True
            self._keep = self._parser.should_keep_alive()

    # -- own

    def _final_head(self) -> bytes:
        """Status line and headers of the answer itself, after any 1xx."""
        for block in self._head.split(b"\r\n\r\n"):
            if block[8:10] != b" 1":
                return block
        return b""

    def _finish(self, flight: Flight, *, keep: bool) -> None:
        self._flight = None
        status = self._status
        if not keep:
            self._drop()
        self._owner.answered(self, flight, status, keep=keep)

    def _break(self, cause: str) -> None:
        flight, self._flight = self._flight, None
        self._drop()
        if flight is not None:
            self._owner.broken(self, flight, cause)

    def _drop(self) -> None:
        self.open = False
        if self._transport is not None:
            self._transport.abort()


# Causes are grouped by these texts, so they carry no port, address or number of a request.
_SYSTEM_CAUSES = {
    errno.ECONNREFUSED: t("connection refused"),
    errno.ECONNRESET: RESET,
    errno.EPIPE: RESET,
    errno.ETIMEDOUT: TIMED_OUT,
    errno.EHOSTUNREACH: t("no route to host"),
    errno.ENETUNREACH: t("network unreachable"),
    errno.EMFILE: TOO_MANY_FILES,
    errno.ENFILE: TOO_MANY_FILES,
    errno.EADDRNOTAVAIL: t("no free port left on this machine"),
}


def cause_of(error: BaseException) -> str:
    """Why a connection could not be opened, as messages that group equal causes."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return t("TLS: the certificate is not valid ({why})", why=error.verify_message)
    if isinstance(error, ssl.SSLError):
        return _tls_failed(error)
    if isinstance(error, TimeoutError):
        return TIMED_OUT
    number = error.errno if isinstance(error, OSError) else None
    cause = _SYSTEM_CAUSES.get(number or 0)
    return cause or t("no connection ({error})", error=type(error).__name__)


def _tls_failed(error: ssl.SSLError) -> str:
    plain = "WRONG_VERSION_NUMBER" in str(error)
    why = t("the server speaks plain http") if plain else error.reason or t("unknown reason")
    return t("TLS failed: {why}", why=why)
