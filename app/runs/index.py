"""The index of runs: one row per run, and the notes people wrote on them.

The run directories are the truth; this index makes listing, joining and marking quick and is remade from them by
`rescan`. SQLite in WAL mode by default, any SQLAlchemy URL otherwise (`VIGIE_LEDGER_URL`). Times are seconds since the
epoch, UTC. Every failure of the database leaves as `LedgerError`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError

from app.base.files import private
from app.errors import LedgerError
from app.runs.damage import DAMAGED_CODES, newest_aside, set_aside, sound, take_over
from app.runs.database import engine_of, explained, inode
from app.runs.kinds import DRIFT
from app.runs.run import ENDED, LIVE, Filter, HookOutcome, Note, Rescan, Run, State
from app.runs.tables import (
    HOOKS,
    LATEST,
    METADATA,
    MIGRATIONS,
    NOTES,
    RUNS,
    SCANS,
    SOURCE,
    SUMMARY,
    VERSIONS,
    acknowledged_runs,
    file_of,
    filtered,
    ordered,
    plain_where,
    row_of,
    run_of,
    shown,
    storable,
    values_of,
)
from app.words.message import english, sentences, t, tn

if TYPE_CHECKING:
    from app.runs.source import Source


# On PostgreSQL every writer takes this advisory lock first, so that two first starts, or two scans, queue as they do on
# a SQLite file. Any number will do; it is the word "vigie" in ASCII.
WRITER_LOCK = 0x7669676965
# A page never lists more runs than this at once; the next page has an offset.
MAX_LIMIT = 1000
# The newest comparison nearly always has the system's own policy: one page is read, seldom more. A day of experiments
# is a few hundred.
FINISHED_PAGE, MAX_FINISHED = 50, 500
LOG = logging.getLogger("vigie.jobs.ledger")
# A note is a remark, not a document.
MAX_NOTE = 4000


class Ledger:
    """The open index; use it as a context manager and keep it short. Safe to use from several threads."""

    def __init__(self, url: str, fill: Callable[[Ledger], object] | None = None) -> None:
        """`fill` is called with an index that was never scanned: a new one lists what the directories hold at once."""
        self.url = url
        self._fill = fill
        # Whether this object has just made the index, and what is known of that.
        self._new, self._words = False, ""
        self._engine = engine_of(url)
        self._inode: tuple[int, int] | None = None
        # The same connections, opened with the write lock at once: two writers queue instead of failing half-way.
        self._writer = self._engine.execution_options(vigie_write=True)
        try:
            self._prepare()
        except BaseException:
            self._engine.dispose()
            raise

    def _follow_file(self) -> None:
        """A long-lived ledger moves on when its file was put aside or removed: the open one is no one's index now."""
        if self._inode is not None and inode(self._engine) != self._inode:
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
            connection.execute(RUNS.insert().values(row_of(run)))

    def list_kept(self, run: Run) -> None:
        """Write the row of a run whose directory is whole; a scan that saw it has written the same row already."""
        with self._write() as connection:
            if connection.execute(sa.select(RUNS.c.id).where(RUNS.c.id == run.id)).first() is None:
                connection.execute(RUNS.insert().values(row_of(run)))

    def update(self, run_id: str, **values: Any) -> None:
        """Change columns of one row; LedgerError when there is no such run."""
        unknown = values.keys() - {field.name for field in fields(Run)} | (values.keys() & {"id"})
        if unknown:
            # no catalogue: for developers
            raise LedgerError(f"A run has no column {', '.join(sorted(unknown))} that can be changed.")
        with self._write() as connection:
            if connection.execute(RUNS.update().where(RUNS.c.id == run_id).values(values_of(values))).rowcount == 0:
                raise _absent(run_id, t("It is remade when the job host starts."))

    def get(self, run_id: str) -> Run | None:
        """The run of that id, or None."""
        with self._read() as connection:
            row = connection.execute(RUNS.select().where(RUNS.c.id == run_id)).mappings().first()
        return None if row is None else run_of(row)

    def runs(
        self,
        *,
        kind: str | None = None,
        system: str | None = None,
        key: str | None = None,
        states: Collection[str] = (),
        since: float | None = None,
        source: Source | None = None,
        months: tuple[str, str] | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> list[Run]:
        """Runs that match every filter given, newest first: of that `source` alone, of that pair of `months` alone."""
        query = plain_where(RUNS.select(), kind, system, key, states, since, source, months)
        return self._page(query.order_by(RUNS.c.created.desc(), RUNS.c.id.desc()), limit, offset)

    def count(
        self,
        *,
        kind: str | None = None,
        system: str | None = None,
        key: str | None = None,
        states: Collection[str] = (),
    ) -> int:
        """How many runs match every filter given."""
        query = plain_where(sa.select(sa.func.count()).select_from(RUNS), kind, system, key, states, None)
        with self._read() as connection:
            return int(connection.execute(query).scalar_one())

    def newest(
        self,
        kind: str,
        system: str,
        key: str | None = None,
        state: State | None = State.DONE,
        *,
        source: Source | None = None,
    ) -> Run | None:
        """The newest run of a system in `state` (None: in any), or None."""
        states = (state,) if state else ()
        runs = self.runs(kind=kind, system=system, key=key, states=states, source=source, limit=1)
        return runs[0] if runs else None

    def finished(self, kind: str, system: str, source: Source | None = None) -> Iterator[Run]:
        """The done runs of a system whose files are there, newest first, of the newest MAX_FINISHED."""
        asked: dict[str, Any] = {"kind": kind, "system": system, "states": (State.DONE,), "source": source}
        for offset in range(0, MAX_FINISHED, FINISHED_PAGE):
            page = self.runs(**asked, limit=FINISHED_PAGE, offset=offset)
            yield from (run for run in page if run.path)
            if len(page) < FINISHED_PAGE:
                return

    def library(
        self,
        which: Filter,
        *,
        sort: str = "created",
        descending: bool = True,
        limit: int = 50,
        offset: int = 0,
    ) -> list[Run]:
        """One page of the runs that match, sorted by a key of `app.runs.tables.SORTS`; unknown values come last."""
        return self._page(ordered(filtered(RUNS.select(), which), sort, descending=descending), limit, offset)

    def library_count(self, which: Filter) -> int:
        """How many runs match."""
        query = filtered(sa.select(sa.func.count()).select_from(RUNS), which)
        with self._read() as connection:
            return int(connection.execute(query).scalar_one())

    def history(self, system: str, *, limit: int = MAX_LIMIT, source: Source | None = None) -> list[Run]:
        """The newest done comparisons whose share is known, oldest first; with `source` of that source alone."""
        sources = () if source is None else (source.fingerprint or "-",)
        elsewhere = None if source is None else False
        which = Filter((system,), (DRIFT,), (State.DONE,), sources=sources, elsewhere=elsewhere)
        query = filtered(RUNS.select(), which).where(RUNS.c.share.is_not(None))
        return self._page(ordered(query, "created", descending=True), limit)[::-1]

    def remove(self, run_id: str) -> bool:
        """Forget a run, its notes and the outcomes of its hooks; False when there was no row. Its files stay."""
        with self._write() as connection:
            for table in (NOTES, HOOKS):
                connection.execute(table.delete().where(table.c.run == run_id))
            return connection.execute(RUNS.delete().where(RUNS.c.id == run_id)).rowcount > 0

    # -- hooks ----------------------------------------------------------------------------------------------------

    def hook(self, run_id: str, name: str, outcome: str, seconds: float) -> HookOutcome:
        """Write down what came of telling a hook about a run; LedgerError when there is no such run."""
        called = HookOutcome(run_id, time.time(), storable(name), storable(outcome)[:MAX_NOTE], seconds)
        with self._write() as connection:
            _must_be_there(connection, run_id)
            connection.execute(HOOKS.insert().values(asdict(called)))
        return called

    def hooks(self, run_id: str) -> list[HookOutcome]:
        """What came of the hooks of a run, oldest first."""
        columns = [HOOKS.c[field.name] for field in fields(HookOutcome)]
        with self._read() as connection:
            rows = connection.execute(sa.select(*columns).where(HOOKS.c.run == run_id).order_by(HOOKS.c.n)).mappings()
            return [HookOutcome(**row) for row in rows]

    # -- notes ----------------------------------------------------------------------------------------------------

    def note(self, run_id: str, text: str, *, acknowledged: bool | None = None) -> Note:
        """Write a note on a run; `acknowledged` None leaves it as the latest note has it.

        LedgerError when there is no such run or the text is too long.
        """
        if len(text) > MAX_NOTE:
            long = t("A note has at most {most} characters; this one has {n}.", most=MAX_NOTE, n=len(text))
            raise LedgerError(long)
        if storable(text) != text:
            # A note is kept as it was written or not at all.
            raise LedgerError(t("The note has a character that no database keeps (NUL, or half of a surrogate pair)."))
        with self._write() as connection:
            _must_be_there(connection, run_id)
            if acknowledged is None:
                # Asked under the lock: someone else may have acknowledged since the page was drawn.
                latest = sa.select(NOTES.c.acknowledged).where(NOTES.c.run == run_id).order_by(NOTES.c.n.desc())
                acknowledged = bool(connection.scalar(latest.limit(1)))
            note = Note(run_id, time.time(), text, acknowledged)
            connection.execute(NOTES.insert().values(asdict(note)))
        return note

    def notes(self, run_id: str) -> list[Note]:
        """Notes on a run, oldest first."""
        return self.notes_of([run_id])[run_id]

    def notes_of(self, run_ids: Collection[str]) -> dict[str, list[Note]]:
        """Notes on each of these runs, oldest first: one question for a whole page of runs."""
        columns = (NOTES.c.run, NOTES.c.at, NOTES.c.text, NOTES.c.acknowledged)
        query = sa.select(*columns).where(NOTES.c.run.in_(list(run_ids))).order_by(NOTES.c.n)
        notes: dict[str, list[Note]] = {run_id: [] for run_id in run_ids}
        with self._read() as connection:
            for row in connection.execute(query).mappings():
                notes[row["run"]].append(Note(**row))
        return notes

    def acknowledged(self) -> frozenset[str]:
        """Ids of the runs whose latest note acknowledges them: retention keeps these longest."""
        with self._read() as connection:
            return frozenset(connection.scalars(acknowledged_runs()))

    # -- after a restart ------------------------------------------------------------------------------------------

    def interrupt_orphans(
        self, alive: Collection[str] = (), *, reason: str = "", among: Collection[str] | None = None
    ) -> list[Run]:
        """Mark queued and running rows `interrupted` unless their id is in `alive`; return them as they now are.

        `among` names those that were looked at: a run that began since then goes on.
        """
        values: dict[str, Any] = {"state": State.INTERRUPTED, "finished": time.time(), "reason": reason or t(ENDED)}
        with self._write() as connection:
            rows = connection.execute(RUNS.select().where(RUNS.c.state.in_(LIVE))).mappings().all()
            dead = (row for row in rows if row["id"] not in alive and (among is None or row["id"] in among))
            orphans = [run_of(row) for row in dead]
            for run in orphans:
                connection.execute(RUNS.update().where(RUNS.c.id == run.id).values(values_of(values)))
        return [replace(run, **values) for run in orphans]

    def everything(self) -> dict[str, Run]:
        """Every row by id."""
        with self._read() as connection:
            return {row["id"]: run_of(row) for row in connection.execute(RUNS.select()).mappings()}

    def correct(self, ended: Mapping[str, Run], runs: Path) -> Rescan:
        """Make the rows agree with the runs that the directories hold; `runs` is the folder of this home's own."""
        added, changed, gone = [], [], []
        with self._write() as connection:
            rows = {row["id"]: run_of(row) for row in connection.execute(RUNS.select()).mappings()}
            for run in ended.values():
                old = rows.get(run.id)
                if old is None and _still_there(runs, run):
                    connection.execute(RUNS.insert().values(row_of(run)))
                    added.append(run.id)
                elif old is not None and (new := _corrected(old, run)) != old:
                    connection.execute(RUNS.update().where(RUNS.c.id == run.id).values(row_of(new)))
                    changed.append(run.id)
            for run in rows.values():
                if run.id not in ended and run.state.final and run.path and not Path(run.path).is_dir():
                    values = {"path": "", "bytes": None}
                    connection.execute(RUNS.update().where(RUNS.c.id == run.id).values(values))
                    gone.append(run.id)
            if connection.execute(sa.select(SCANS.c.n).limit(1)).first() is None:
                words = self._words or (_made_from(len(added)) if self._new and added else "")
                connection.execute(SCANS.insert().values(at=time.time(), words=storable(words)))
                if words:
                    LOG.warning("%s", words)
        return Rescan(tuple(added), tuple(changed), tuple(gone))

    def made_anew(self, since: float) -> str:
        """What is known of an index that was made anew after that moment (epoch seconds); else empty."""
        query = sa.select(SCANS.c.words).where(SCANS.c.at >= since).order_by(SCANS.c.n.desc()).limit(1)
        with self._read() as connection:
            return str(connection.scalar(query) or "")

    # -- plumbing -------------------------------------------------------------------------------------------------

    def _page(self, query: sa.Select[Any], limit: int, offset: int = 0) -> list[Run]:
        query = query.limit(max(0, min(limit, MAX_LIMIT))).offset(max(0, offset))
        with self._read() as connection:
            return [run_of(row) for row in connection.execute(query).mappings()]

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
            if getattr(getattr(error, "orig", None), "sqlite_errorcode", 0) & 0xFF in DAMAGED_CODES:
                raise self._replaced() from error
            raise explained(self._engine, error) from error

    def _replaced(self) -> LedgerError:
        """Keep a damaged file next to a new one, filled from the directories and what can still be read of the old."""
        self._engine.dispose()
        file, where = file_of(self._engine), shown(self._engine)
        aside = set_aside(file)
        if aside is None:
            if file is not None and sound(file):
                return LedgerError(
                    t("The index of runs {where} could not be read a moment ago and is whole now.", where=where),
                    hint=t("Try again."),
                )
            hint = t("Move the file away by hand: a new index is made from the run directories.")
            return LedgerError(t("The index of runs {where} is damaged; it stays where it is.", where=where), hint=hint)
        message = t("The index of runs {where} is damaged; it was kept as {aside}.", where=where, aside=aside)
        with contextlib.suppress(LedgerError), Ledger(self.url, self._fill) as new:
            hint = t("Try again: a new index stands in its place.")
            return LedgerError(sentences([message, new._words]), hint=hint)
        return LedgerError(message, hint=t("Try again: a new index is made from the run directories."))

    def _prepare(self) -> None:
        """Bring the tables to this version; refuse a newer one; set a damaged file aside."""
        file = file_of(self._engine)
        if file is not None:
            try:
                file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                # SQLite gives the rights of this file to its companions too.
                with contextlib.suppress(FileExistsError):
                    os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
                private(file)
            except OSError as error:
                message = t(
                    "The folder of the index of runs, {folder}, cannot be made ({why}).",
                    folder=file.parent,
                    why=error.strerror,
                )
                raise LedgerError(message, hint=t("Set VIGIE_HOME to a folder that can be written.")) from error
        self._inode = None
        with self._read() as connection:
            version = _version(connection)
        self._inode = inode(self._engine)
        if version > LATEST:
            message = t(
                "The index of runs {where} has version {version}; this Vigie knows {latest}.",
                where=shown(self._engine),
                version=version,
                latest=LATEST,
            )
            raise LedgerError(message, hint=t("Use the newer Vigie, or another VIGIE_HOME; nothing was changed."))
        with self._read() as connection:
            missing = version == LATEST and METADATA.tables.keys() - set(sa.inspect(connection).get_table_names())
        if version < LATEST or missing:
            self._bring_up()
        self._fill_when_new()

    def _bring_up(self) -> None:
        """Make the tables that are missing, step by step; a new index takes over what a damaged one still tells."""
        with self._write() as connection:
            # Another process may have been quicker: ask again under the lock.
            before = _version(connection)
            for step in range(before, LATEST):
                MIGRATIONS[step](connection)
                connection.execute(VERSIONS.delete())
                connection.execute(VERSIONS.insert().values(version=step + 1))
            if before == LATEST:
                # Someone dropped a table: what it held comes back from the directories.
                METADATA.create_all(connection)
                connection.execute(SCANS.delete())
            self._new = before in (0, LATEST)
            file = file_of(self._engine)
            aside = newest_aside(file) if before == 0 and file is not None else None
            if aside is not None:
                taken = take_over(aside, connection)
                made = t("A new index of runs was made from the run directories beside {file}.", file=aside.name)
                self._words = english(sentences([made, taken]))

    def _fill_when_new(self) -> None:
        if self._fill is None:
            return
        with self._read() as connection:
            scanned = connection.execute(sa.select(SCANS.c.n).limit(1)).first() is not None
        if not scanned:
            self._fill(self)


def _version(connection: Connection) -> int:
    if not sa.inspect(connection).has_table(VERSIONS.name):
        return 0
    return int(connection.execute(sa.select(sa.func.max(VERSIONS.c.version))).scalar() or 0)


def _still_there(runs: Path, run: Run) -> bool:
    """A run may be deleted between the look at its directory and the writing of its row."""
    return (runs / run.id).is_dir() or (run.path != "" and Path(run.path).is_dir())


def _corrected(old: Run, ended: Run) -> Run:
    """The row as its directory tells it.

    The directory is the truth; only the key and the time of a row written by the job itself say more than ours. A
    row that is right but lacks its summary gets that alone, and one whose directory is gone keeps what it knows.
    """
    if not old.reason and ended.reason:
        old = replace(old, reason=ended.reason)
    if not old.source_kind:
        old = replace(old, **{name: getattr(ended, name) for name in SOURCE})
    if not ended.path and old.state is ended.state:
        return replace(old, path="", bytes=None)
    if old.path != ended.path or (ended.state is State.DONE and old.state is not State.DONE):
        return replace(ended, key=old.key, created=old.created)
    return replace(old, **{name: getattr(ended, name) for name in SUMMARY if getattr(ended, name) not in (None, "")})


def _must_be_there(connection: Connection, run_id: str) -> None:
    if connection.execute(sa.select(RUNS.c.id).where(RUNS.c.id == run_id)).first() is None:
        raise _absent(run_id, t("Reload the list of runs."))


def _absent(run_id: str, hint: str) -> LedgerError:
    return LedgerError(t("The index has no run {run}.", run=run_id), hint=hint)


def _made_from(directories: int) -> str:
    return english(
        tn(
            "A new index of runs was made from {n} run directory; notes written into an earlier index are not in it.",
            "A new index of runs was made from {n} run directories; notes written into an earlier index are not in it.",
            directories,
        )
    )
