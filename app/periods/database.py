"""Reading a system's database: read only, with deadlines, every failure as a sentence."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy import exc

from app import postgres
from app.config import Settings, System
from app.errors import DataError, SourceUnavailable
from app.words.message import t

if TYPE_CHECKING:
    import pandas as pd

# A statement that runs longer blocks a page; months are listed in milliseconds, loaded in a second.
STATEMENT_MS: Final = 20_000
# How long SQLite waits for a writer to finish its transaction.
LOCK_SECONDS: Final = 1.0
# A pandas frame of more rows than this takes tens of gigabytes in Evidently (8.5 GB at five million).
MAX_ROWS: Final = 5_000_000
# Ports that an address may leave out.
_PORTS: Final = {"postgresql": 5432, "mysql": 3306, "mariadb": 3306, "mssql": 1433, "oracle": 1521}
# Parts of a database URL that say who asks or how, and not which data.
_NOT_DATA: Final = ("pass", "user", "ssl", "timeout", "channel_binding", "application_name", "gss", "krb", "keepalive")


def url_of(settings: Settings, system: System) -> str:
    """The SQLAlchemy URL: POSTGRES_* variables beat the system file. DataError when there is none."""
    url = settings.postgres_url or (system.drift.database if system.drift is not None else None)
    if not url:
        hint = t("Set drift.database in its system file.")
        raise DataError(t("{system} names no database.", system=t(system.title)), hint=hint)
    return url


@contextmanager
def connected(url: str) -> Iterator[sa.Connection]:
    """One read-only connection, closed afterwards. SourceUnavailable when it, or a statement, fails."""
    place, backend = "", ""
    try:
        parsed = postgres.address(url)
        place, backend = _place(parsed), parsed.get_backend_name()
        engine = _engine(parsed)
    except exc.ArgumentError as error:
        raise SourceUnavailable(
            t("drift.database is no SQLAlchemy URL: {why}.", why=postgres.unreadable(error)),
            hint=t("Accepted: sqlite:///PATH or postgresql+psycopg://USER@HOST:PORT/NAME."),
        ) from error
    except (exc.NoSuchModuleError, ImportError) as error:
        driver = getattr(error, "name", None) or t("the driver its URL names")
        raise SourceUnavailable(
            t(
                "Reading {database} needs the package {driver}, which is not installed.",
                database=place or t("the database"),
                driver=driver,
            ),
            hint=t("Install it in this environment: pip install {driver}", driver=driver),
        ) from error
    try:
        with engine.connect() as connection:
            yield connection
    except (exc.SQLAlchemyError, sqlite3.Error, OSError) as error:
        raise _unavailable(place, backend, error) from error
    finally:
        engine.dispose()


def frame_of(result: sa.CursorResult[Any], what: str) -> pd.DataFrame:
    """The rows of a query. DataError for more rows than can be compared."""
    import pandas as pd

    rows = result.fetchmany(MAX_ROWS + 1)
    if len(rows) > MAX_ROWS:
        message = t("{what} gives more than {most:count} rows.", what=what, most=MAX_ROWS)
        raise DataError(message, hint=t("Compare a sample of them."))
    return pd.DataFrame([tuple(row) for row in rows], columns=list(result.keys()))


def identity(url: str) -> tuple[str, str] | None:
    """(name for a person, identity), without user and password; None for a text that is no database URL."""
    try:
        parsed = sa.make_url(url)
    except (exc.ArgumentError, ValueError):
        return None
    backend = parsed.get_backend_name()
    if backend == "sqlite":
        path = os.path.realpath(Path(parsed.database or "").expanduser())
        return path, f"sqlite {path}"  # no catalogue: an identity
    host = (parsed.host or "").lower()
    host = "127.0.0.1" if host in ("localhost", "::1") else host
    options = sorted((name, str(value)) for name, value in parsed.query.items() if not _who_or_how(name))
    place = f"{backend} {host}:{parsed.port or _PORTS.get(backend, 0)}/{parsed.database or ''} {options or ''}"
    return postgres.place(parsed), place.strip()


def _who_or_how(option: str) -> bool:
    return any(part in option.lower() for part in _NOT_DATA)


def _place(url: sa.URL) -> str:
    """The database as a message names it, without its password."""
    return url.database or t("the database") if url.get_backend_name() == "sqlite" else postgres.place(url)


def _engine(url: sa.URL) -> sa.Engine:
    backend = url.get_backend_name()
    if backend == "sqlite":
        path = Path(url.database or "")
        if path.exists() and not path.is_file():
            # SQLite would wait for a pipe without end.
            hint = t("Correct drift.database: it names a file.")
            raise SourceUnavailable(t("{file} is no regular file.", file=path), hint=hint)
        # By default SQLite makes a missing file: a wrong path would read as a database without months.
        source = f"file:{quote(str(path.absolute()))}?mode=ro"
        return sa.create_engine(
            "sqlite://",
            creator=lambda: sqlite3.connect(source, uri=True, timeout=LOCK_SECONDS),
            poolclass=sa.pool.NullPool,
        )
    if backend != "postgresql":
        return sa.create_engine(url, poolclass=sa.pool.NullPool)
    return postgres.engine(
        url, statement_ms=STATEMENT_MS, read_only=True, any_encoding=True, poolclass=sa.pool.NullPool
    )


def _unavailable(place: str, backend: str, error: Exception) -> SourceUnavailable:
    cause = getattr(error, "orig", None) or error
    message = " ".join(str(cause).split())[:300] or type(cause).__name__
    lower = message.lower()
    if "no such table" in lower or re.search(r"(relation|column|table) .* does not exist", lower):
        return SourceUnavailable(
            t("{database}: {why}.", database=place, why=message),
            hint=t("Compare the names in [drift] with the database."),
        )
    sentence: str
    if backend != "sqlite":
        sentence, hint = postgres.why(error, t("{text:capital}", text=place))
    elif "unable to open database file" in lower:
        sentence = t("There is no database file {file}, or it may not be read.", file=place)
        hint = t("Start the embedded stack once (it makes the sample world), or correct drift.database.")
    elif "locked" in lower:
        sentence, hint = t("{file} is locked by another program.", file=place), t("Try again when its writer is done.")
    elif "not a database" in lower or "malformed" in lower:
        sentence = t("{file} is not a SQLite database, or damaged.", file=place)
        hint = t("Restore it, or make it again.")
    else:
        sentence = t("{file} cannot be read: {why}.", file=place, why=message)
        hint = t("Check the file and its rights.")
    return SourceUnavailable(sentence, hint=hint)


def table(name: str, *columns: str) -> sa.TableClause:
    """A table by name, `schema.name` included, quoted as the database needs."""
    schema, _, short = name.rpartition(".")
    return sa.table(short, *(sa.column(column) for column in columns), schema=schema or None)
