"""The same feature repository over PostgreSQL: features in tables, the online store in tables, the registry in a file.

The folder is made anew and renamed, as over files; the online tables are one for all folders and are brought to the
newest month at the end. Nothing secret is written: feature_store.yaml names ${POSTGRES_PASSWORD}, and every reader of
the folder needs that variable.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from app.base.variables import POSTGRES_PASSWORD
from stack.data import WorldError, locked, read_manifest, replaced, say
from stack.feast.build import DEFINITIONS, MARKER, VERSION, apply, said, write_marker
from stack.postgres.connection import CONNECT_SECONDS, Place, connected, place

if TYPE_CHECKING:
    import psycopg

PROJECT: Final = "streamflow"
SNAPSHOTS: Final = (
    "subscriptions_profile_snapshots",
    "usage_agg_30d_snapshots",
    "payments_agg_90d_snapshots",
    "support_agg_90d_snapshots",
)
# sslmode null leaves the choice to libpq (PGSSLMODE; encrypted where the server can); Feast's own default refuses the
# server of Docker Compose, which has no certificate. The registry is cached for good, as over files.
CONFIGURATION: Final = """\
project: streamflow
provider: local
registry:
  path: registry.db
  cache_ttl_seconds: 0
offline_store:
  type: postgres
{connection}online_store:
  type: postgres
{connection}entity_key_serialization_version: 3
"""
CONNECTION: Final = """\
  host: {host}
  port: {port}
  database: {database}
  db_schema: public
  user: {user}
  password: "${{POSTGRES_PASSWORD}}"
  sslmode: null
"""


def configuration(where: Place) -> str:
    """feature_store.yaml for this database, without its password."""
    # A JSON string is a YAML string.
    words = {name: json.dumps(value) for name, value in (("host", where.host), ("database", where.database))}
    connection = CONNECTION.format(**words, user=json.dumps(where.user), port=where.port)
    return CONFIGURATION.format(connection=connection)


def ensure_repository(folder: Path, environ: Mapping[str, str], *, force: bool = False) -> bool:
    """Make the repository unless it, and the online store, are current; True when made. Raises WorldError."""
    where = place(environ)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.parent), _password(where):
        with connected(where) as connection:
            newest, content = _newest(connection, where)
        made = fingerprint(where, content)
        if not force and _is_current(folder, where, made):
            say(f"feast: {folder} is up to date")
            return False
        started = time.monotonic()
        with replaced(folder) as fresh:
            (fresh / "feature_store.yaml").write_text(configuration(where), "utf-8")
            _check_configuration(fresh, where)
            views = apply(fresh, newest)
            with connected(where) as connection:
                _retire(connection, views, newest)
            write_marker(fresh, made, newest, views)
        say(f"feast: {folder} made over the {where} in {time.monotonic() - started:.1f} s")
    return True


@contextmanager
def _password(where: Place) -> Iterator[None]:
    """What feature_store.yaml expands, and a deadline for Feast's connections, which have none of their own."""
    given = {POSTGRES_PASSWORD.name: where.password, "PGCONNECT_TIMEOUT": str(CONNECT_SECONDS)}
    before = {name: os.environ.get(name) for name in given}
    os.environ.update(given)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _check_configuration(folder: Path, where: Place) -> None:
    """Feast puts variables into the file as they are: a password that YAML reads otherwise would fail with no word."""
    with said(folder):
        from feast.repo_config import load_repo_config

        try:
            read = load_repo_config(folder, folder / "feature_store.yaml")
            store = read.offline_store
            same = (store.password, store.user) == (where.password, where.user)
            same = same and (store.host, store.database) == (where.host, where.database)
        except Exception:  # noqa: BLE001 - whichever error YAML or pydantic raise, it may quote the password
            same = False
    if not same:
        raise WorldError(
            'POSTGRES_PASSWORD (or another POSTGRES_*) holds " or \\, which Feast cannot take from its '
            "environment. Choose letters and digits; `make env` does."
        )


def _newest(connection: "psycopg.Connection[Any]", where: Place) -> tuple[str, list[Any]]:
    """The newest month and a hash of each table's rows of it. WorldError when there is none."""
    missing = [
        table for table in SNAPSHOTS if not connection.execute("SELECT to_regclass(%s)", (table,)).fetchall()[0][0]
    ]
    newest = None if missing else connection.execute(f"SELECT max(as_of)::date FROM {SNAPSHOTS[0]}").fetchone()  # noqa: S608
    if newest is None or newest[0] is None:
        raise WorldError(
            f"The {where} holds no month yet. Type `python -m stack ingest --from DIR --as-of DATE`, "
            "or `python -m stack ingest --sample` for the months of the sample world."
        )
    content: list[Any] = [str(newest[0])]
    for table in SNAPSHOTS:
        rows = "count(*), md5(string_agg(t::text, '|' ORDER BY t.user_id COLLATE \"C\"))"
        query = f"SELECT {rows} FROM {table} t WHERE as_of::date = %s"  # noqa: S608 - names from above
        content.append([*connection.execute(query, (newest[0],)).fetchall()[0]])
    return str(newest[0]), content


def fingerprint(where: Place, content: list[Any]) -> str:
    """A hash of what the repository is made from: definitions, this file, Feast, the place, the newest month."""
    digest = hashlib.sha256(DEFINITIONS.read_bytes() + Path(__file__).read_bytes())
    place_of_it = [where.host, where.port, where.database, where.user]
    digest.update(json.dumps([VERSION, version("feast"), place_of_it, content], sort_keys=True).encode())
    return digest.hexdigest()


def _is_current(folder: Path, where: Place, made: str) -> bool:
    marker = read_manifest(folder / MARKER)
    try:
        if marker["fingerprint"] != made or not (folder / "registry.db").stat().st_size:
            return False
        views, newest = list(marker["views"]), str(marker["online_as_of"])
    except (OSError, KeyError, TypeError):
        return False
    with connected(where) as connection:
        return all(_serves(connection, _table(view), newest) for view in views)


def _table(view: str) -> str:
    """The online table of a view, as Feast names it."""
    return f"{PROJECT}_{view}"


def _serves(connection: "psycopg.Connection[Any]", table: str, newest: str) -> bool:
    """Whether the online table is there and holds the newest month alone (the volume may have been made anew)."""
    if connection.execute("SELECT to_regclass(%s)", (table,)).fetchall()[0][0] is None:
        return False
    query = f'SELECT count(*), min(event_ts)::date::text, max(event_ts)::date::text FROM "{table}"'  # noqa: S608
    rows, first, last = connection.execute(query).fetchall()[0]
    return bool(rows) and first == newest == last


def _retire(connection: "psycopg.Connection[Any]", views: list[str], newest: str) -> None:
    """Take accounts that the newest month does not have out of the online store: Feast adds and replaces only."""
    from feast.infra.key_encoding_utils import serialize_entity_key
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value

    query = f"SELECT user_id FROM {SNAPSHOTS[0]} WHERE as_of::date = %s"  # noqa: S608 - a name from above
    keys = [
        serialize_entity_key(EntityKey(join_keys=["user_id"], entity_values=[Value(string_val=user)]), 3)
        for (user,) in connection.execute(query, (newest,)).fetchall()
    ]
    for view in views:
        connection.execute(f'DELETE FROM "{_table(view)}" WHERE NOT entity_key = ANY(%s)', (keys,))  # noqa: S608
