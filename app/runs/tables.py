"""The rows of the index of runs, its tables, and the steps that bring an older index up to this version.

Only `app.runs.index` opens a database; this module says what is in it and how a question to it is put.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from app.errors import LedgerError
from app.runs.run import Filter, Run, State
from app.runs.source import Source
from app.words.message import code_of, english, kept, t

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
    sa.Column("ref", sa.Text),
    sa.Column("cur", sa.Text),
    sa.Column("rows_ref", sa.BigInteger),
    sa.Column("rows_cur", sa.BigInteger),
    sa.Column("share", sa.Double),
    sa.Column("threshold", sa.Double),
    sa.Column("drifted", sa.BigInteger),
    sa.Column("counted", sa.BigInteger),
    sa.Column("target_drift", sa.Double),
    sa.Column("bytes", sa.BigInteger),
    sa.Column("own", sa.Boolean),
    sa.Column("source_kind", sa.String(16)),
    sa.Column("source_address", sa.Text),
    sa.Column("source_id", sa.String(64)),
    # The reason as JSON of its id and values, which says it in another language; null where it is a sentence alone.
    sa.Column("reason_code", sa.Text),
)
# What a run's own files say of it: the columns of version 2 and those of version 3, in the order above.
_SECOND: Final = tuple(column.name for column in RUNS.columns)[11:22]
SOURCE: Final = tuple(column.name for column in RUNS.columns)[22:25]
SUMMARY: Final = (*_SECOND, *SOURCE)
# Older versions wrote this in place of the reason of a run without a path.
_GONE: Final = "the directory of this run is gone"  # no catalogue: as it was written
NOTES = sa.Table(
    "notes",
    METADATA,
    sa.Column("n", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("run", sa.String(64), nullable=False, index=True),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("acknowledged", sa.Boolean, nullable=False),
)
HOOKS = sa.Table(
    "hooks",
    METADATA,
    sa.Column("n", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("run", sa.String(64), nullable=False, index=True),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("hook", sa.Text, nullable=False),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("seconds", sa.Double, nullable=False),
)
# When the directories were read into this index; a new one has no row, and anyone who opens it reads them. `words` say
# what is known of how it came about.
SCANS = sa.Table(
    "scans",
    METADATA,
    sa.Column("n", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("words", sa.Text, nullable=False, server_default=""),
)
VERSIONS = sa.Table("schema_version", METADATA, sa.Column("version", sa.Integer, primary_key=True))
# The three questions pages ask: newest of everything, newest of a system and kind, who has this key; and who is live.
sa.Index("runs_by_time", RUNS.c.created, RUNS.c.id)
sa.Index("runs_by_system", RUNS.c.system, RUNS.c.kind, RUNS.c.created, RUNS.c.id)
sa.Index("runs_by_key", RUNS.c.key, RUNS.c.created)
sa.Index("runs_by_state", RUNS.c.state, RUNS.c.created)


def file_of(engine: Engine) -> Path | None:
    """The file of a SQLite database; None for another one, or one in memory."""
    name = engine.url.database
    return Path(name) if engine.dialect.name == "sqlite" and name and name != ":memory:" else None


def shown(engine: Engine) -> str:
    """The database in a sentence, without its password."""
    return str(file_of(engine) or engine.url.render_as_string(hide_password=True))


def _first_tables(connection: Connection) -> None:
    if sa.inspect(connection).has_table(RUNS.name):
        # MLflow, for one, has a table of this name: writing into it would spoil both.
        where, table = shown(connection.engine), RUNS.name
        message = t("The database {where} has a table {table} that is not the index of runs.", where=where, table=table)
        raise LedgerError(message, hint=t("Give Vigie a database of its own (VIGIE_LEDGER_URL)."))
    METADATA.create_all(connection)


def _summaries_and_hooks(connection: Connection) -> None:
    """What a comparison came to, next to each run; the outcomes of hooks. A new index has both from the first step."""
    _add_columns(connection, _SECOND)
    HOOKS.create(connection, checkfirst=True)


def _sources(connection: Connection) -> None:
    """Where the data of each run came from; the scan that follows fills it in."""
    _add_columns(connection, SOURCE)
    SCANS.create(connection, checkfirst=True)


def _reason_codes(connection: Connection) -> None:
    """Reasons that can be written in another language; those that are there stay the sentence they are."""
    _add_columns(connection, ("reason_code",))


def _add_columns(connection: Connection, names: Sequence[str]) -> None:
    """Add those that are missing, empty."""
    there = {column["name"] for column in sa.inspect(connection).get_columns(RUNS.name)}
    for name in names:
        if name not in there:
            kind = RUNS.c[name].type.compile(connection.dialect)
            connection.exec_driver_sql(f'ALTER TABLE {RUNS.name} ADD COLUMN "{name}" {kind}')


# Step n brings an index from version n to n + 1. A step, once released, is never edited: add the next one.
MIGRATIONS: Sequence[Callable[[Connection], None]] = (_first_tables, _summaries_and_hooks, _sources, _reason_codes)
LATEST: Final = len(MIGRATIONS)


# --- rows ------------------------------------------------------------------------------------------------------------


def storable(text: str) -> str:
    """`text` as every database can hold it: half a surrogate pair becomes `?`, NUL the replacement character."""
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")


def row_of(run: Run) -> dict[str, Any]:
    """The values of a run's row."""
    return values_of(asdict(run))


def values_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values of columns as the database takes them; errors and names of files may carry any character.

    A reason is kept as its English sentence, with the code that says it in another language.
    """
    texts = {name: storable(english(value)) if isinstance(value, str) else value for name, value in values.items()}
    if "reason" not in values or "reason_code" in values:
        return texts
    code = code_of(values["reason"])
    return texts | {"reason_code": None if code is None else json.dumps(code)}


def run_of(row: Mapping[Any, Any]) -> Run:
    """The run of a row; the text columns of an index brought up from an older version are empty, not null."""
    texts = {name: row[name] or "" for name in ("ref", "cur", *SOURCE)}
    rest = {name: value for name, value in row.items() if name != "reason_code"}
    reason = "" if row["reason"] == _GONE else kept(row["reason"], row["reason_code"])
    return Run(**{**rest, **texts, "state": State(row["state"]), "reason": reason})


# --- questions -------------------------------------------------------------------------------------------------------

_SECONDS = RUNS.c.finished - RUNS.c.started
# What a list can be sorted by. Text that is empty is unknown, as null is.
SORTS: Mapping[str, sa.ColumnElement[Any]] = {
    "created": RUNS.c.created,
    "ref": sa.func.nullif(RUNS.c.ref, ""),
    "cur": sa.func.nullif(RUNS.c.cur, ""),
    "rows_cur": RUNS.c.rows_cur,
    "share": RUNS.c.share,
    "target_drift": RUNS.c.target_drift,
    "outcome": sa.func.nullif(RUNS.c.outcome, ""),
    "seconds": _SECONDS,
    "bytes": RUNS.c.bytes,
}


def ordered(query: sa.Select[Any], sort: str, *, descending: bool) -> sa.Select[Any]:
    """Sorted by a key of SORTS (LedgerError for another), unknown values last either way, equal ones newest first."""
    if sort not in SORTS:
        refusal = t("Runs cannot be sorted by {column!r}.", column=sort)
        raise LedgerError(refusal, hint=t("Accepted: {names}.", names=", ".join(SORTS)))
    if sort == "created":
        # Never unknown, and without more terms an index has the order already.
        pair = (RUNS.c.created, RUNS.c.id)
        return query.order_by(*(column.desc() if descending else column.asc() for column in pair))
    value = SORTS[sort]
    direction = value.desc() if descending else value.asc()
    return query.order_by(value.is_(None), direction, RUNS.c.created.desc(), RUNS.c.id.desc())


def filtered(query: sa.Select[Any], which: Filter) -> sa.Select[Any]:
    """The query narrowed by every filter given."""
    one_of = (
        (RUNS.c.system, which.systems),
        (RUNS.c.kind, which.kinds),
        (RUNS.c.state, which.states),
        (RUNS.c.outcome, which.decisions),
    )
    for column, values in one_of:
        if values:
            query = query.where(column.in_([str(value) for value in values]))
    if which.months:
        query = query.where(sa.or_(_has(RUNS.c.ref, which.months), _has(RUNS.c.cur, which.months)))
    if which.since is not None:
        query = query.where(RUNS.c.created >= which.since)
    if which.until is not None:
        query = query.where(RUNS.c.created < which.until)
    if which.acknowledged is not None:
        inside = RUNS.c.id.in_(acknowledged_runs())
        query = query.where(inside if which.acknowledged else ~inside)
    if which.elsewhere is not None:
        here = sa.func.coalesce(RUNS.c.source_id, "").in_(list(which.sources))
        query = query.where(~here if which.elsewhere else here)
    if which.text:
        noted = sa.select(NOTES.c.run).where(_has(NOTES.c.text, which.text))
        columns = (RUNS.c.id, RUNS.c.ref, RUNS.c.cur, RUNS.c.outcome, RUNS.c.reason)
        query = query.where(sa.or_(*(_has(column, which.text) for column in columns), RUNS.c.id.in_(noted)))
    return query


def _has(column: sa.ColumnElement[str], part: str) -> sa.ColumnElement[bool]:
    """Whether the text contains `part`; each database folds the capitals it knows, at least the ASCII ones."""
    return column.icontains(storable(part), autoescape=True)


def acknowledged_runs() -> sa.Select[tuple[str]]:
    """Ids of the runs whose latest note acknowledges them."""
    latest = sa.select(sa.func.max(NOTES.c.n)).group_by(NOTES.c.run)
    return sa.select(NOTES.c.run).where(NOTES.c.n.in_(latest), NOTES.c.acknowledged)


def plain_where(  # noqa: PLR0917 - the filters of `runs` and `count`, in their order
    query: Any,
    kind: str | None,
    system: str | None,
    key: str | None,
    states: Collection[str],
    since: float | None,
    source: Source | None = None,
    months: tuple[str, str] | None = None,
) -> Any:
    """The narrow question of jobs and gauges: single values, no text."""
    if months is not None:
        # A comparison without a result yet has its months in its key alone.
        asked = RUNS.c.key.startswith(f"{kind}:{system}:{months[0]}:{months[1]}:", autoescape=True)
        query = query.where(sa.or_(sa.and_(RUNS.c.ref == months[0], RUNS.c.cur == months[1]), asked))
    if source is not None:
        # An unknown source is no one's: no row has this fingerprint.
        query = query.where(RUNS.c.source_id == (source.fingerprint or "-"))
    for column, value in ((RUNS.c.kind, kind), (RUNS.c.system, system), (RUNS.c.key, key)):
        if value is not None:
            query = query.where(column == value)
    if states:
        query = query.where(RUNS.c.state.in_([str(state) for state in states]))
    return query if since is None else query.where(RUNS.c.created >= since)
