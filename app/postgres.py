"""What every connection to PostgreSQL needs: deadlines, UTF-8, UTC, and its failures as sentences without secrets.

libpq bounds connecting alone, the server bounds statements only while it lives; a server that goes silent in mid-answer
is given up by a timer here.
"""

from __future__ import annotations

import os
import re
import socket
from contextlib import suppress
from functools import cache
from threading import Event, Timer
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import exc

# A database on the same machine answers in milliseconds, one across a network within a second.
CONNECT_SECONDS: Final = 3
# The server ends a statement at its own deadline; silence for so much longer (seconds) means that it is not there.
SILENCE_SECONDS: Final = 3.0
UTF8: Final = "UTF8"
MAX_PORT: Final = 65536
_ESCAPED: Final = " (in user and password, write @ : / ? # and % as %40 %3A %2F %3F %23 %25)"
_LOST: Final = (
    "terminating connection|closed the connection|connection (is |was |has been )?(closed|lost|reset)"
    "|consuming input|broken pipe|could not receive data"
)
# What the server, libpq and psycopg say, and what it means: pattern, clause after the database's name, next step.
_CAUSES: Final = (
    (
        r"password authentication failed|no password supplied|no pg_hba.conf entry|role .* does not exist",
        "refuses this user or password",
        "Check user and password (POSTGRES_USER, POSTGRES_PASSWORD).",
    ),
    (
        r"connection refused",
        "cannot be reached: nothing listens there",
        "Start it, or correct host and port (POSTGRES_HOST, POSTGRES_PORT).",
    ),
    (
        r"resolve host|translate host name|name or service not known|no route to host|network is unreachable",
        "cannot be reached: there is no way to that host",
        "Correct the host (POSTGRES_HOST); `postgres` is a name inside Docker Compose only.",
    ),
    (r'database "[^"]*" does not exist', "does not exist", "Create it, or correct its name (POSTGRES_DB)."),
    (
        r"starting up|shutting down|too many clients|remaining connection slots|in recovery mode",
        "takes no connection at the moment",
        "Try again in a few seconds.",
    ),
    (
        r"lock timeout|deadlock detected",
        "is held by another process (lock timeout)",
        "Wait a moment and try again: another process holds it.",
    ),
    (
        r"statement timeout|timeout expired|timed out|no answer within",
        "did not answer in time",
        "Is the server up and not overloaded?",
    ),
    (
        _LOST,
        "was lost in the middle (the server was stopped or restarted)",
        "Try again when it is up.",
    ),
    (
        r"permission denied|must be owner|read-only transaction",
        "does not allow this user to do that",
        "Give the user the right to it, or use another user (POSTGRES_USER).",
    ),
    (r"no space left|disk full|could not extend file", "has no room left on its disk", "Free some room there."),
)


class NotUtf8(exc.SQLAlchemyError):
    """The database stores bytes of no known or no sufficient encoding; the message names it."""


def engine(
    url: sa.URL,
    *,
    statement_ms: int,
    lock_ms: int | None = None,
    read_only: bool = False,
    any_encoding: bool = False,
    **options: Any,
) -> sa.Engine:
    """An engine whose connections have deadlines on both sides, speak UTF-8 and UTC, and refuse a wrong encoding.

    `any_encoding` is for readers: the server converts every encoding but SQL_ASCII, which is none.
    """
    settings = ["timezone=UTC", f"statement_timeout={statement_ms}"]
    if lock_ms is not None:
        settings.append(f"lock_timeout={lock_ms}")
    if read_only:
        settings.append("default_transaction_read_only=on")
    arguments: dict[str, Any] = {
        **url.query,
        **url.translate_connect_args(username="user", database="dbname"),
        "connect_timeout": CONNECT_SECONDS,
        "options": " ".join(f"-c {setting}" for setting in settings),
        # A server without an encoding sends bytes otherwise, on which SQLAlchemy fails before we can report it.
        "client_encoding": "utf8",
    }
    connection_class = _bounded(statement_ms / 1000 + SILENCE_SECONDS)

    def creator() -> Any:
        connection = connection_class.connect(**arguments)
        encoding = connection.info.parameter_status("server_encoding") or "an unknown encoding"
        if encoding == "SQL_ASCII" or (encoding != UTF8 and not any_encoding):
            connection.close()
            raise NotUtf8(f"has the encoding {encoding}, not UTF8")
        return connection

    return sa.create_engine(url, creator=creator, **options)


@cache
def _bounded(seconds: float) -> Any:
    """A psycopg connection that gives up a server that has been silent for so long; psycopg waits without end."""
    from psycopg import Connection, OperationalError

    class Bounded(Connection[Any]):
        """Every answer is waited for in `wait`; a timer there ends the conversation from our side."""

        def wait(self, gen: Any, *arguments: Any, **named: Any) -> Any:
            given_up = Event()
            timer = Timer(seconds, _give_up, (self.fileno(), given_up))
            timer.daemon = True
            timer.start()
            try:
                return super().wait(gen, *arguments, **named)
            except OperationalError as error:
                if given_up.is_set():
                    raise OperationalError(f"no answer within {seconds:g} s") from error
                raise
            finally:
                timer.cancel()

    return Bounded


def _give_up(number: int, given_up: Event) -> None:
    """Wake the thread that waits for the answer: its connection is at an end."""
    given_up.set()
    with suppress(OSError), socket.socket(fileno=os.dup(number)) as wire:
        wire.shutdown(socket.SHUT_RDWR)


class UnfitAddress(exc.ArgumentError):
    """A database URL that makes no engine; its text repeats nothing of the URL."""


def address(text: str) -> sa.URL:
    """The parts of a database URL. Raises UnfitAddress, or what SQLAlchemy raises."""
    try:
        url = sa.make_url(text)
        sqlite = url.get_backend_name() == "sqlite"
        port = 1 if url.port is None else url.port
    except ValueError as error:  # SQLAlchemy reads the port with int()
        raise UnfitAddress(f"its port is no number{_ESCAPED}") from error
    # The first @ would end the password, and the rest of it be shown as a host.
    if not sqlite and text.count("@") > 1:
        raise UnfitAddress(f"its user or password holds an @{_ESCAPED}")
    if not 0 < port < MAX_PORT:
        raise UnfitAddress(f"its port is not from 1 to {MAX_PORT - 1}")
    if "\0" in text:
        raise UnfitAddress("it holds a character that no database knows (NUL)")
    return url


def unreadable(error: Exception) -> str:
    """Why a URL makes no engine, in our own words: those of the libraries may repeat what they could not read."""
    if isinstance(error, exc.NoSuchModuleError):
        return "no such kind of database"
    return str(error) if isinstance(error, UnfitAddress) else "it cannot be taken apart"


def place(url: sa.URL) -> str:
    """The database as a message names it, without user and password."""
    port = f":{url.port}" if url.port else ""
    return f"database {url.database} at {url.host}{port}"


def why(error: BaseException) -> tuple[str, str]:
    """(clause that goes after the database's name, next step) for what a connection or statement raised."""
    cause = getattr(error, "orig", None) or error
    if isinstance(error, NotUtf8) or isinstance(cause, NotUtf8):
        return str(cause), "Make it anew: CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0."
    message = " ".join(str(cause).split())
    for pattern, clause, hint in _CAUSES:
        if re.search(pattern, message, re.IGNORECASE):
            return clause, hint
    return f"cannot be used: {message[:300] or type(cause).__name__}", "Check address, user and password."
