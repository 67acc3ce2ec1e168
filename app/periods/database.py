"""Reading a system's database: read only, with deadlines, every failure in words."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy import exc

from app.config import Settings, System
from app.errors import DataError, SourceUnavailable

# A page waits for this; a database on the same machine answers in milliseconds, one across a network within a second.
CONNECT_SECONDS: Final = 3
# A statement that runs longer holds a page; months are listed in milliseconds, loaded in a second.
STATEMENT_MS: Final = 20_000
# How long SQLite waits for a writer to finish its transaction.
LOCK_SECONDS: Final = 1.0


def url_of(settings: Settings, system: System) -> str:
    """The SQLAlchemy URL: POSTGRES_* variables beat the system file. DataError when there is none."""
    drift = system.drift
    url = settings.postgres_url or (drift.database if drift is not None else None)
    if not url:
        raise DataError(f"{system.title} names no database.", hint="Set drift.database in its system file.")
    return url


@contextmanager
def connected(settings: Settings, system: System) -> Iterator[sa.Connection]:
    """One read-only connection, closed afterwards. SourceUnavailable in words when it, or a statement, fails."""
    place = "the database"
    try:
        parsed = sa.make_url(url_of(settings, system))
        place = _place(parsed)
        engine = _engine(parsed)
    except exc.ArgumentError as error:
        raise SourceUnavailable(
            f"{system.title}: drift.database is no SQLAlchemy URL.",
            hint="Accepted: sqlite:///PATH or postgresql+psycopg://USER@HOST:PORT/NAME.",
        ) from error
    except (exc.NoSuchModuleError, ImportError) as error:
        driver = getattr(error, "name", None) or "the driver its URL names"
        raise SourceUnavailable(
            f"Reading {place} needs the package {driver}, which is not installed.",
            hint=f"Install it in this environment: pip install {driver}",
        ) from error
    try:
        with engine.connect() as connection:
            yield connection
    except (exc.SQLAlchemyError, sqlite3.Error, OSError) as error:
        raise _unavailable(place, error) from error
    finally:
        engine.dispose()


def _place(url: sa.URL) -> str:
    """The database in words, without its password."""
    if url.get_backend_name() == "sqlite":
        return str(url.database or "the database")
    port = f":{url.port}" if url.port else ""
    return f"database {url.database} at {url.host}{port}"


def _engine(url: sa.URL) -> sa.Engine:
    backend = url.get_backend_name()
    if backend == "sqlite":
        path = Path(url.database or "")
        # By default SQLite makes a missing file: a wrong path would read as a database without months.
        source = f"file:{quote(str(path.absolute()))}?mode=ro"
        return sa.create_engine(
            "sqlite://",
            creator=lambda: sqlite3.connect(source, uri=True, timeout=LOCK_SECONDS),
            poolclass=sa.pool.NullPool,
        )
    options: dict[str, Any] = {}
    if backend == "postgresql":
        options = {
            "connect_timeout": CONNECT_SECONDS,
            "options": f"-c statement_timeout={STATEMENT_MS} -c default_transaction_read_only=on",
            # A server that goes silent in mid-answer is given up after this, in milliseconds.
            "tcp_user_timeout": STATEMENT_MS,
        }
    return sa.create_engine(url, connect_args=options, poolclass=sa.pool.NullPool)


def _unavailable(place: str, error: Exception) -> SourceUnavailable:
    cause = getattr(error, "orig", None) or error
    said = " ".join(str(cause).split())[:300] or type(cause).__name__
    lower = said.lower()
    if "unable to open database file" in lower:
        return SourceUnavailable(
            f"There is no database file {place}, or it may not be read.",
            hint="Start the embedded stack once (it makes the sample world), or correct drift.database.",
        )
    if "locked" in lower:
        return SourceUnavailable(f"{place} is locked by another program.", hint="Try again when its writer is done.")
    if "not a database" in lower or "malformed" in lower:
        return SourceUnavailable(f"{place} is not a SQLite database, or damaged.", hint="Restore it, or make it again.")
    if "no such table" in lower or "does not exist" in lower:
        return SourceUnavailable(f"{place}: {said}.", hint="Compare the names in [drift] with the database.")
    if "timeout" in lower or "timed out" in lower:
        return SourceUnavailable(
            f"{place} did not answer in time ({said}).", hint="Is the server up and not overloaded?"
        )
    return SourceUnavailable(f"{place} cannot be read: {said}.", hint="Check address, user and password.")


def table(name: str, *columns: str) -> sa.TableClause:
    """A table by name, `schema.name` included, quoted as the database needs."""
    schema, _, short = name.rpartition(".")
    return sa.table(short, *(sa.column(column) for column in columns), schema=schema or None)
