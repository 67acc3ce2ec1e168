"""Connecting to the database of POSTGRES_*, with deadlines and failures as sentences; the password stays inside."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from app.base import variables
from stack.data import WorldError

if TYPE_CHECKING:
    import psycopg

# One on the same machine answers in milliseconds, one across a network within a second.
CONNECT_SECONDS: Final = 3
# A month of a million accounts is written in less.
STATEMENT_SECONDS: Final = 120
# Another ingest of a month holds the lock for seconds.
LOCK_SECONDS: Final = 30
# A peer that no longer acknowledges is given up after this.
SILENCE_MS: Final = 15_000
# What libpq and the server say, and what it means: pattern, clause, next step.
_CAUSES: Final = (
    ("password authentication failed|no password|pg_hba|role .* does not exist", "refuses this user or password"),
    ("connection refused", "cannot be reached: nothing listens there"),
    ("resolve host|translate host name|not known|no route|unreachable", "cannot be reached: no way to that host"),
    ("starting up|shutting down|too many clients|remaining connection", "takes no connection now; try again"),
    ("lock timeout|deadlock", "is being written by another process; try again"),
    ("statement timeout|timeout expired|timed out", "did not answer in time"),
    ("terminating|closed the connection|connection .*(closed|lost|reset)|consuming|broken pipe", "was lost midway"),
    ("no space left|could not extend", "has no room left on its disk"),
    ("permission denied|must be owner", "does not let this user do that"),
)
NOTHING_WRITTEN: Final = "Nothing was written; look at POSTGRES_* and try again."


@dataclass(frozen=True, slots=True)
class Place:
    """A database, as POSTGRES_* names it."""

    host: str
    port: int
    database: str
    user: str
    password: str = field(repr=False)

    def __str__(self) -> str:
        """As text, without user and password."""
        return f"database {self.database} at {self.host}:{self.port}"


def named(environ: Mapping[str, str]) -> bool:
    """Whether any POSTGRES_* is set; it is then what the console reads, too."""
    return any(environ.get(variable.name) for variable in variables.POSTGRES)


def place(environ: Mapping[str, str]) -> Place:
    """Where the database is; the same defaults as the console's. WorldError on a port that is none."""
    port = variables.POSTGRES_PORT.of(environ)
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise WorldError(f"POSTGRES_PORT is {port[:20]!r}; accepted: a number from 1 to 65535.")
    return Place(
        host=variables.POSTGRES_HOST.of(environ),
        port=int(port),
        database=variables.POSTGRES_DB.of(environ),
        user=variables.POSTGRES_USER.of(environ),
        password=variables.POSTGRES_PASSWORD.of(environ),
    )


@contextmanager
def connected(where: Place) -> Iterator["psycopg.Connection[Any]"]:
    """A connection in one transaction: committed when the block ends, rolled back on any error. WorldError."""
    import psycopg

    settings = {
        "timezone": "UTC",
        "statement_timeout": f"{STATEMENT_SECONDS}s",
        "lock_timeout": f"{LOCK_SECONDS}s",
        # Floats are compared with files to the last digit.
        "extra_float_digits": "3",
    }
    try:
        with psycopg.connect(
            host=where.host,
            port=where.port,
            dbname=where.database,
            user=where.user,
            password=where.password,
            connect_timeout=CONNECT_SECONDS,
            client_encoding="utf8",
            tcp_user_timeout=SILENCE_MS,
            options=" ".join(f"-c {name}={value}" for name, value in settings.items()),
        ) as connection:
            encoding = connection.info.parameter_status("server_encoding")
            if encoding != "UTF8":
                raise WorldError(
                    f"The {where} has the encoding {encoding}, not UTF8. "
                    "Make it anew: CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0."
                )
            yield connection
    except psycopg.Error as error:
        raise WorldError(f"The {where} {_why(error)}. {NOTHING_WRITTEN}") from error


def _why(error: Exception) -> str:
    message = " ".join(str(error).split())
    missing = re.search(r'database "[^"]*" does not exist', message)
    if missing:
        return "does not exist"
    for pattern, clause in _CAUSES:
        if re.search(pattern, message, re.IGNORECASE):
            return clause
    return f"cannot be used: {message[:300] or type(error).__name__}"
