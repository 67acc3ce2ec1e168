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

from app.words.message import t

# A database on the same machine answers in milliseconds, one across a network within a second.
CONNECT_SECONDS: Final = 3
# The server ends a statement at its own deadline; silence for so much longer (seconds) means that it is not there.
SILENCE_SECONDS: Final = 3.0
UTF8: Final = "UTF8"
MAX_PORT: Final = 65536
_ESCAPED: Final = t("in user and password, write @ : / ? # and % as %40 %3A %2F %3F %23 %25")
_LOST: Final = (
    r"terminating connection|closed the connection|connection (is |was |has been )?(closed|lost|reset)"
    r"|consuming input|broken pipe|could not receive data"
)
# What the server, libpq and psycopg say, and what it means: pattern, sentence, next step.
_CAUSES: Final = (
    (
        r"password authentication failed|no password supplied|no pg_hba.conf entry|role .* does not exist",
        t("{database} refuses this user or password."),
        t("Check user and password (POSTGRES_USER, POSTGRES_PASSWORD)."),
    ),
    (
        r"connection refused",
        t("{database} cannot be reached: nothing listens there."),
        t("Start it, or correct host and port (POSTGRES_HOST, POSTGRES_PORT)."),
    ),
    (
        r"resolve host|translate host name|name or service not known|no route to host|network is unreachable",
        t("{database} cannot be reached: there is no way to that host."),
        t("Correct the host (POSTGRES_HOST); `postgres` is a name inside Docker Compose only."),
    ),
    (
        r'database "[^"]*" does not exist',
        t("{database} does not exist."),
        t("Create it, or correct its name (POSTGRES_DB)."),
    ),
    (
        r"starting up|shutting down|too many clients|remaining connection slots|in recovery mode",
        t("{database} takes no connection at the moment."),
        t("Try again in a few seconds."),
    ),
    (
        r"lock timeout|deadlock detected",
        t("{database} is held by another process (lock timeout)."),
        t("Wait a moment and try again: another process holds it."),
    ),
    (
        r"statement timeout|timeout expired|timed out|no answer within",
        t("{database} did not answer in time."),
        t("Is the server up and not overloaded?"),
    ),
    (
        _LOST,
        t("{database} was lost in the middle (the server was stopped or restarted)."),
        t("Try again when it is up."),
    ),
    (
        r"permission denied|must be owner|read-only transaction",
        t("{database} does not allow this user to do that."),
        t("Give the user the right to it, or use another user (POSTGRES_USER)."),
    ),
    (
        r"no space left|disk full|could not extend file",
        t("{database} has no room left on its disk."),
        t("Free some room there."),
    ),
)


class NotUtf8(exc.SQLAlchemyError):
    """The database stores bytes of no known or no sufficient encoding; its text is the name of that, or empty."""


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
        encoding = connection.info.parameter_status("server_encoding") or ""
        if encoding == "SQL_ASCII" or (encoding != UTF8 and not any_encoding):
            connection.close()
            raise NotUtf8(encoding)
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
                    raise OperationalError(f"no answer within {seconds:g} s") from error  # no catalogue: one of _CAUSES
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
        raise UnfitAddress(t("its port is no number ({escapes})", escapes=_ESCAPED)) from error
    # The first @ would end the password, and the rest of it be shown as a host.
    if not sqlite and text.count("@") > 1:
        raise UnfitAddress(t("its user or password holds an @ ({escapes})", escapes=_ESCAPED))
    if not 0 < port < MAX_PORT:
        raise UnfitAddress(t("its port is not from 1 to {most}", most=MAX_PORT - 1))
    if "\0" in text:
        raise UnfitAddress(t("it holds a character that no database knows (NUL)"))
    return url


def unreadable(error: Exception) -> str:
    """Why a URL makes no engine, in our own words: those of the libraries may repeat what they could not read."""
    if isinstance(error, exc.NoSuchModuleError):
        return t("no such kind of database")
    return error.args[0] if isinstance(error, UnfitAddress) else t("it cannot be taken apart")


def place(url: sa.URL) -> str:
    """The database as a message names it, without user and password."""
    port = f":{url.port}" if url.port else ""
    return t("database {name} at {address}", name=url.database, address=f"{url.host}{port}")


def why(error: BaseException, database: str) -> tuple[str, str]:
    """(sentence, next step) for what a connection or statement raised; `database` is the subject of the sentence."""
    cause = getattr(error, "orig", None) or error
    if isinstance(error, NotUtf8) or isinstance(cause, NotUtf8):
        hint = t("Make it anew: CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0.")
        if not str(cause):
            return t("{database} has an unknown encoding, not UTF8.", database=database), hint
        return t("{database} has the encoding {encoding}, not UTF8.", database=database, encoding=str(cause)), hint
    message = " ".join(str(cause).split())
    for pattern, sentence, hint in _CAUSES:
        if re.search(pattern, message, re.IGNORECASE):
            return t(sentence.id, database=database), t(hint)
    sentence = t("{database} cannot be used: {why}.", database=database, why=message[:300] or type(cause).__name__)
    return sentence, t("Check address, user and password.")
