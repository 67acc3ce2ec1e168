"""The connection to the database of the index of runs: SQLite in WAL mode or PostgreSQL, and what its failures mean."""

from __future__ import annotations

import contextlib
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from app import postgres
from app.errors import LedgerError
from app.runs.tables import file_of, shown
from app.words.message import t

# A writer holds the file for milliseconds; five seconds of waiting means that something is wrong, and saying so helps.
BUSY_SECONDS = 5.0
# Statements take milliseconds, after the wait for another writer; a page does not wait longer for a sick server.
STATEMENT_MS = 2000
# What SQLite says (a part of it, in small letters) -> the next step.
_NEXT_STEPS = {
    "locked": t("Wait a moment and try again: another process holds it."),
    "readonly": t(
        "Give this user the right to write the file and its folder, or set VIGIE_HOME to a folder that has it."
    ),
    "full": t("Free some room on that disk, then try again."),
    "": t("Check that the file can be written and that the disk is not full."),
}


def engine_of(url: str) -> Engine:
    """The engine for an address of VIGIE_LEDGER_URL; LedgerError for one that names no database."""
    try:
        parsed = postgres.address(url)
        options: dict[str, Any] = {"pool_pre_ping": True}
        if parsed.get_backend_name() == "sqlite":
            options = {"connect_args": {"timeout": BUSY_SECONDS, "check_same_thread": False}}
        if parsed.get_backend_name() == "postgresql":
            busy = int(BUSY_SECONDS * 1000)
            return postgres.engine(parsed, statement_ms=busy + STATEMENT_MS, lock_ms=busy, **options)
        engine = sa.create_engine(parsed, **options)
    except ImportError as error:
        message = t("VIGIE_LEDGER_URL names a database whose driver is not installed ({driver}).", driver=error.name)
        raise LedgerError(message, hint=t("Install the driver, for example psycopg, or unset the variable.")) from error
    except (SQLAlchemyError, TypeError, ValueError) as error:
        message = t("VIGIE_LEDGER_URL is no database address known here: {why}.", why=postgres.unreadable(error))
        raise LedgerError(message, hint=t("Accepted: sqlite:////path/ledger.db or postgresql+psycopg://…")) from error
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _on_connect)
        event.listen(engine, "begin", _on_begin)
    return engine


def _on_connect(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # BEGIN is ours, see _on_begin
    # NORMAL is safe in WAL: a power cut may lose the last row, which the scan of directories brings back.
    for pragma in (f"busy_timeout={int(BUSY_SECONDS * 1000)}", "journal_mode=WAL", "synchronous=NORMAL"):
        connection.execute(f"PRAGMA {pragma}")


def _on_begin(connection: Connection) -> None:
    write = connection.get_execution_options().get("vigie_write")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def inode(engine: Engine) -> tuple[int, int] | None:
    """Device and inode of the file of the database; None for another database, or without a file."""
    file = file_of(engine)
    with contextlib.suppress(OSError):
        status = file.stat() if file is not None else None
        return None if status is None else (status.st_dev, status.st_ino)
    return None


def explained(engine: Engine, error: SQLAlchemyError | OSError) -> LedgerError:
    """The sentence and the next step for a failure of the database."""
    original = getattr(error, "orig", None)
    where, hint = shown(engine), ""
    if isinstance(error, IntegrityError):
        there = t("The index of runs {where} already has this run.", where=where)
        return LedgerError(there, hint=t("Start the run again."))
    file = file_of(engine)
    if file is not None and file.is_dir():
        hint = t("Move that folder away: a new index is made from the run directories.")
        return LedgerError(t("The index of runs {where} is a folder; it has to be a file.", where=where), hint=hint)
    if engine.dialect.name == "postgresql":
        place = t("The index of runs, {where},", where=postgres.place(engine.url))
        sentence, hint = postgres.why(error, place)
        return LedgerError(sentence, hint=hint)
    cause = str(original or error).splitlines()[0]
    message = t("The index of runs {where} cannot be used: {cause}.", where=where, cause=cause)
    hint = next((step for part, step in _NEXT_STEPS.items() if part in cause.lower()), _NEXT_STEPS[""])
    return LedgerError(message, hint=t(hint))
