"""The index of runs: one row per drift, load, quality or monitoring run, and the notes people wrote on them.

The run directories are the truth; this index makes listing, joining and marking quick and is remade from them by
`rescan`. SQLite in WAL mode by default, any SQLAlchemy URL otherwise (`VIGIE_LEDGER_URL`). Times are seconds since the
epoch, UTC. Every failure of the database leaves as `LedgerError`.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import ArgumentError, IntegrityError, NoSuchModuleError, SQLAlchemyError

from app import postgres
from app.errors import LedgerError

if TYPE_CHECKING:
    from app.config import Settings, Systems

# A writer holds the file for milliseconds; five seconds of waiting means that something is wrong, and saying so helps.
BUSY_SECONDS = 5.0
# Statements take milliseconds, after the wait for another writer; a page does not wait longer for a sick server.
STATEMENT_MS = 2000
# On PostgreSQL every writer takes this advisory lock first, so that two first starts, or two scans, queue as they do on
# a SQLite file. Any number will do; it is the word "vigie" in ASCII.
WRITER_LOCK = 0x7669676965
# A page never lists more runs than this at once; the next page has an offset.
MAX_LIMIT = 1000
# A note is a remark, not a document.
MAX_NOTE = 4000
# SQLite's own words for "this is no database" and "this database is damaged".
DAMAGED_CODES = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
GONE = "the directory of this run is gone"


class State(StrEnum):
    """Where a run stands. The last four are final."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"

    @property
    def final(self) -> bool:
        """True when nothing about the run will change any more."""
        return self not in LIVE


LIVE = (State.QUEUED, State.RUNNING)


@dataclass(frozen=True, slots=True)
class Run:
    """One row. `outcome` is a word (NO_ACTION, …), `reason` a sentence, `path` the absolute run directory."""

    id: str
    kind: str
    system: str
    key: str
    state: State = State.QUEUED
    created: float = 0.0
    started: float | None = None
    finished: float | None = None
    outcome: str = ""
    reason: str = ""
    path: str = ""


@dataclass(frozen=True, slots=True)
class Note:
    """What a person wrote on a run; `acknowledged` says that somebody has seen to it."""

    run: str
    at: float
    text: str
    acknowledged: bool


@dataclass(frozen=True, slots=True)
class Rescan:
    """What a scan of the run directories found: ids of rows added or corrected, and of rows whose directory is gone."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    gone: tuple[str, ...]
    unreadable: tuple[str, ...]


METADATA = sa.MetaData()
RUNS = sa.Table(
    "runs",
    METADATA,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("system", sa.String(32), nullable=False),
    sa.Column("key", sa.String(512), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("created", sa.Double, nullable=False),
    sa.Column("started", sa.Double),
    sa.Column("finished", sa.Double),
    sa.Column("outcome", sa.Text, nullable=False, server_default=""),
    sa.Column("reason", sa.Text, nullable=False, server_default=""),
    sa.Column("path", sa.Text, nullable=False, server_default=""),
)
NOTES = sa.Table(
    "notes",
    METADATA,
    sa.Column("n", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("run", sa.String(64), nullable=False, index=True),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("acknowledged", sa.Boolean, nullable=False),
)
VERSIONS = sa.Table("schema_version", METADATA, sa.Column("version", sa.Integer, primary_key=True))
# The three questions pages ask: newest of everything, newest of a system and kind, who has this key; and who is live.
sa.Index("runs_by_time", RUNS.c.created, RUNS.c.id)
sa.Index("runs_by_system", RUNS.c.system, RUNS.c.kind, RUNS.c.created, RUNS.c.id)
sa.Index("runs_by_key", RUNS.c.key, RUNS.c.created)
sa.Index("runs_by_state", RUNS.c.state, RUNS.c.created)


def _first_tables(connection: Connection) -> None:
    if sa.inspect(connection).has_table(RUNS.name):
        # MLflow, for one, has a table of this name: writing into it would spoil both.
        message = f"The database {_shown(connection.engine)} has a table {RUNS.name} that is not the index of runs."
        raise LedgerError(message, hint="Give Vigie a database of its own (VIGIE_LEDGER_URL).")
    METADATA.create_all(connection)


# Step n brings a ledger from version n to n + 1. A step, once released, is never edited: add the next one.
MIGRATIONS: Sequence[Callable[[Connection], None]] = (_first_tables,)
LATEST = len(MIGRATIONS)


class Ledger:
    """The open index; use it as a context manager and keep it short. Safe to use from several threads."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._engine = _engine(url)
        self._inode: tuple[int, int] | None = None
        # The same connections, opened with the write lock at once: two writers queue instead of failing half-way.
        self._writer = self._engine.execution_options(vigie_write=True)
        try:
            self._prepare()
        except BaseException:
            self._engine.dispose()
            raise

    def _follow_file(self) -> None:
        """A long-lived ledger moves on when its file was put aside or removed: the open one is nobody's index now."""
        if self._inode is not None and _inode(self._engine) != self._inode:
            self._engine.dispose()
            self._prepare()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()

    # -- runs -----------------------------------------------------------------------------------------------------

    def add(self, run: Run) -> None:
        """Write a new row; LedgerError when the id is taken."""
        with self._write() as connection:
            connection.execute(RUNS.insert().values(_row(run)))

    def update(self, run_id: str, **values: Any) -> None:
        """Change columns of one row; LedgerError when there is no such run."""
        unknown = values.keys() - {field.name for field in fields(Run)} | (values.keys() & {"id"})
        if unknown:
            raise LedgerError(f"A run has no column {', '.join(sorted(unknown))} that can be changed.")
        with self._write() as connection:
            plain = {name: str(value) if isinstance(value, State) else value for name, value in values.items()}
            if connection.execute(RUNS.update().where(RUNS.c.id == run_id).values(plain)).rowcount == 0:
                raise LedgerError(f"The index has no run {run_id}.", hint="It is remade when the job host starts.")

    def get(self, run_id: str) -> Run | None:
        """The run of that id, or None."""
        with self._read() as connection:
            row = connection.execute(RUNS.select().where(RUNS.c.id == run_id)).mappings().first()
        return None if row is None else _run(row)

    def runs(
        self,
        *,
        kind: str | None = None,
        system: str | None = None,
        key: str | None = None,
        states: Collection[str] = (),
        since: float | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> list[Run]:
        """Runs that match every filter given, newest first."""
        query = _where(RUNS.select(), kind, system, key, states, since)
        query = query.order_by(RUNS.c.created.desc(), RUNS.c.id.desc())
        query = query.limit(max(0, min(limit, MAX_LIMIT))).offset(max(0, offset))
        with self._read() as connection:
            return [_run(row) for row in connection.execute(query).mappings()]

    def count(
        self,
        *,
        kind: str | None = None,
        system: str | None = None,
        key: str | None = None,
        states: Collection[str] = (),
        since: float | None = None,
    ) -> int:
        """How many runs match every filter given."""
        query = _where(sa.select(sa.func.count()).select_from(RUNS), kind, system, key, states, since)
        with self._read() as connection:
            return int(connection.execute(query).scalar_one())

    def newest(self, kind: str, system: str, key: str | None = None, state: State | None = State.DONE) -> Run | None:
        """The newest run of a system in `state` (done unless told otherwise; None = any), or None."""
        found = self.runs(kind=kind, system=system, key=key, states=(state,) if state else (), limit=1)
        return found[0] if found else None

    # -- notes ----------------------------------------------------------------------------------------------------

    def note(self, run_id: str, text: str, *, acknowledged: bool = False) -> Note:
        """Write a note on a run; LedgerError when there is no such run or the text is too long."""
        if len(text) > MAX_NOTE:
            raise LedgerError(f"A note has at most {MAX_NOTE} characters; this one has {len(text)}.")
        note = Note(run_id, time.time(), text, acknowledged)
        with self._write() as connection:
            if connection.execute(sa.select(RUNS.c.id).where(RUNS.c.id == run_id)).first() is None:
                raise LedgerError(f"The index has no run {run_id}.", hint="Reload the list of runs.")
            connection.execute(NOTES.insert().values(asdict(note)))
        return note

    def notes(self, run_id: str) -> list[Note]:
        """Notes on a run, oldest first."""
        columns = (NOTES.c.run, NOTES.c.at, NOTES.c.text, NOTES.c.acknowledged)
        query = sa.select(*columns).where(NOTES.c.run == run_id).order_by(NOTES.c.n)
        with self._read() as connection:
            return [Note(**row) for row in connection.execute(query).mappings()]

    def acknowledged(self) -> frozenset[str]:
        """Ids of the runs whose latest note acknowledges them: retention keeps these longest."""
        latest = sa.select(sa.func.max(NOTES.c.n)).group_by(NOTES.c.run)
        query = sa.select(NOTES.c.run).where(NOTES.c.n.in_(latest), NOTES.c.acknowledged)
        with self._read() as connection:
            return frozenset(connection.execute(query).scalars())

    # -- after a restart ------------------------------------------------------------------------------------------

    def interrupt_orphans(self, alive: Collection[str] = (), *, reason: str = "") -> list[Run]:
        """Mark queued and running rows `interrupted` unless their id is in `alive`; return them as they now are."""
        said = reason or "the process that ran it ended"
        now = time.time()
        with self._write() as connection:
            rows = connection.execute(RUNS.select().where(RUNS.c.state.in_(LIVE))).mappings().all()
            orphans = [_run(row) for row in rows if row["id"] not in alive]
            values = {"state": str(State.INTERRUPTED), "finished": now, "reason": said}
            for run in orphans:
                connection.execute(RUNS.update().where(RUNS.c.id == run.id).values(values))
        return [_run({**asdict(run), **values}) for run in orphans]

    def rescan(self, settings: Settings, systems: Systems) -> Rescan:
        """Make the index agree with the run directories: add missing rows, say which directories are gone."""
        from app.jobs.recover import found_runs

        found, unreadable = found_runs(settings, systems)
        added, changed, gone = [], [], []
        with self._write() as connection:
            known = {row["id"]: _run(row) for row in connection.execute(RUNS.select()).mappings()}
            for run in found.values():
                old = known.get(run.id)
                if old is None:
                    connection.execute(RUNS.insert().values(_row(run)))
                    added.append(run.id)
                elif old.path != run.path or (run.state is State.DONE and old.state is not State.DONE):
                    # The directory is the truth; the key of a row written by the job itself says more than ours.
                    values = _row(run) | {"key": old.key, "created": old.created}
                    connection.execute(RUNS.update().where(RUNS.c.id == run.id).values(values))
                    changed.append(run.id)
            for run in known.values():
                if run.id not in found and run.state.final and run.reason != GONE and not Path(run.path).is_dir():
                    values = {"reason": GONE, "path": ""}
                    connection.execute(RUNS.update().where(RUNS.c.id == run.id).values(values))
                    gone.append(run.id)
        return Rescan(tuple(added), tuple(changed), tuple(gone), unreadable)

    # -- plumbing -------------------------------------------------------------------------------------------------

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        self._follow_file()
        with self._mapped(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        self._follow_file()
        with self._mapped(), self._writer.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(WRITER_LOCK)))
            yield connection

    @contextmanager
    def _mapped(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, OSError) as error:
            raise _explained(self._engine, error) from error

    def _prepare(self) -> None:
        """Bring the tables to this version; refuse a newer one; set a damaged file aside."""
        file = _file(self._engine)
        if file is not None:
            try:
                file.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                message = f"The folder of the index of runs, {file.parent}, cannot be made ({error.strerror})."
                raise LedgerError(message, hint="Set VIGIE_HOME to a folder that can be written.") from error
        self._inode = None
        with self._read() as connection:
            version = _version(connection)
        self._inode = _inode(self._engine)
        if version == LATEST:
            return
        if version > LATEST:
            message = f"The index of runs {_shown(self._engine)} has version {version}; this Vigie knows {LATEST}."
            raise LedgerError(message, hint="Use the newer Vigie, or another VIGIE_HOME; nothing was changed.")
        with self._write() as connection:
            # Another process may have been quicker: ask again under the lock.
            for step in range(_version(connection), LATEST):
                MIGRATIONS[step](connection)
                connection.execute(VERSIONS.delete())
                connection.execute(VERSIONS.insert().values(version=step + 1))


def _engine(url: str) -> Engine:
    try:
        parsed = sa.make_url(url)
        options: dict[str, Any] = {"pool_pre_ping": True}
        if parsed.get_backend_name() == "sqlite":
            options = {"connect_args": {"timeout": BUSY_SECONDS, "check_same_thread": False}}
        if parsed.get_backend_name() == "postgresql":
            busy = int(BUSY_SECONDS * 1000)
            return postgres.engine(parsed, statement_ms=busy + STATEMENT_MS, lock_ms=busy, **options)
        engine = sa.create_engine(parsed, **options)
    except ImportError as error:
        message = f"VIGIE_LEDGER_URL names a database whose driver is not installed ({error.name})."
        raise LedgerError(message, hint="Install the driver, for example psycopg, or unset the variable.") from error
    except (ArgumentError, NoSuchModuleError, TypeError, ValueError) as error:
        message = f"VIGIE_LEDGER_URL cannot be used ({type(error).__name__}): it is no database address known here."
        raise LedgerError(message, hint="Accepted: sqlite:////path/ledger.db or postgresql+psycopg://…") from error
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


def _version(connection: Connection) -> int:
    if not sa.inspect(connection).has_table(VERSIONS.name):
        return 0
    return int(connection.execute(sa.select(sa.func.max(VERSIONS.c.version))).scalar() or 0)


def _where(  # noqa: PLR0917 - the filters of `runs` and `count`, in their order
    query: Any, kind: str | None, system: str | None, key: str | None, states: Collection[str], since: float | None
) -> Any:
    for column, value in ((RUNS.c.kind, kind), (RUNS.c.system, system), (RUNS.c.key, key)):
        if value is not None:
            query = query.where(column == value)
    if states:
        query = query.where(RUNS.c.state.in_([str(state) for state in states]))
    return query if since is None else query.where(RUNS.c.created >= since)


def _row(run: Run) -> dict[str, Any]:
    return asdict(run) | {"state": str(run.state)}


def _run(row: Mapping[Any, Any]) -> Run:
    return Run(**{**row, "state": State(row["state"])})


def _file(engine: Engine) -> Path | None:
    name = engine.url.database
    return Path(name) if engine.dialect.name == "sqlite" and name and name != ":memory:" else None


def _inode(engine: Engine) -> tuple[int, int] | None:
    file = _file(engine)
    try:
        found = file.stat() if file is not None else None
    except OSError:
        return None
    return None if found is None else (found.st_dev, found.st_ino)


def _shown(engine: Engine) -> str:
    return str(_file(engine) or engine.url.render_as_string(hide_password=True))


def _explained(engine: Engine, error: SQLAlchemyError | OSError) -> LedgerError:
    """The sentence and the next step for a failure of the database."""
    original = getattr(error, "orig", None)
    where = _shown(engine)
    if isinstance(error, IntegrityError):
        return LedgerError(f"The index of runs {where} already has this run.", hint="Start the run again.")
    if getattr(original, "sqlite_errorcode", 0) & 0xFF in DAMAGED_CODES:
        engine.dispose()
        aside = _set_aside(_file(engine))
        kept = f"it was kept as {aside}" if aside else "it stays where it is"
        message = f"The index of runs {where} is damaged; {kept}."
        return LedgerError(message, hint="Try again: a new index is made from the run directories.")
    if engine.dialect.name == "postgresql":
        clause, hint = postgres.why(error)
        return LedgerError(f"The index of runs, {postgres.place(engine.url)}, {clause}.", hint=hint)
    cause = str(original or error).splitlines()[0]
    message = f"The index of runs {where} cannot be used: {cause}."
    hint = "Wait a moment and try again: another process holds it." if "locked" in cause else ""
    return LedgerError(message, hint=hint or "Check that the file can be written and that the disk is not full.")


def _sound(file: Path) -> bool:
    """True when the file is a good database by now: another process met the damage first and put it aside."""
    try:
        connection = sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_SECONDS)
        try:
            return bool(connection.execute("PRAGMA quick_check(1)").fetchone() == ("ok",))
        finally:
            connection.close()
    except sqlite3.Error:
        return False


def _set_aside(file: Path | None) -> Path | None:
    """Rename a damaged file and its two companions out of the way; never delete them."""
    if file is None or _sound(file):
        return None
    aside = file.with_name(f"{file.name}.damaged-{time.time_ns()}")
    try:
        for suffix in ("-wal", "-shm", ""):
            part = file.with_name(file.name + suffix)
            if part.exists():
                part.rename(aside.with_name(aside.name + suffix))
    except OSError:
        return None  # the message then says that the file stays where it is
    return aside
