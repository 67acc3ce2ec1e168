"""What can break under a comparison, with real parts: a sentence, exit 1, nothing half-saved, and the next run works."""

# ruff: noqa: F811 - fixtures are imported, and arguments bear their names

import os
import re
import shutil
import sqlite3

import numpy as np
import pandas as pd
import pytest

from app import jobs, periods
from app.config import load_systems
from app.errors import SourceUnavailable, UnknownPeriod
from app.runs.run import State
from tests.drift_frames import calm, settings, system
from tests.drift_host import MONTHS, PATIENCE, Home, whole
from tests.postgres_server import server  # noqa: F401 - a fixture
from tests.waiting import until


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A host with a warm worker, and a pair that works."""
    one = Home(tmp_path_factory.mktemp("faults"))
    one.pair("short", 300)
    one.start()
    try:
        jobs.warm(one.settings, "drift")
        yield one
    finally:
        one.end()


@pytest.fixture
def works(home):
    """After the test the next run works, and no trace of a failure is on the disk."""
    yield
    assert home.ended(home.compare("short", *MONTHS)).state == "done"
    whole(home)


def sentence(err):
    """The one line of an error, which has no trace above it."""
    assert "Traceback" not in err, err
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, err
    return lines[0]


# --- the database goes away ------------------------------------------------------------------------------------------


def asleep(server):
    query = "select 1 from pg_stat_activity where wait_event = 'PgSleep'"
    with server.connect() as connection:
        return connection.execute(query).fetchone() is not None


@pytest.mark.parametrize("how", ["terminated", "stopped"])
def test_a_database_that_goes_away_in_mid_query_is_a_sentence(home, server, works, how):
    query = "select x, pg_sleep(case when x = 50 then 60 else 0 end)::text as nap from generate_series(1, 100) x"
    drift = {"source": "sql", "database": server.url(), "query": f"{query} where :period <> ''"}
    home.system("slow", drift | {"periods": "select month, 100 from unnest(array['2024-01-31', '2024-02-29']) month"})
    before = home.saved()
    process = home.begin("drift", "--system", "slow")
    until(lambda: asleep(server), "the query to run")
    try:
        server.kick() if how == "terminated" else server.stop()
        out, err = process.communicate(timeout=PATIENCE)
    finally:
        if how == "stopped":
            server.start()
    assert (process.returncode, out) == (1, "")
    said = sentence(err)
    assert "atabase streamflow at 127.0.0.1" in said
    assert "was lost in the middle (the server was stopped or restarted)" in said
    assert server.password not in err
    assert home.saved() == before
    (row, *_) = home.rows()
    assert (row.system, row.state) == ("slow", State.FAILED)
    assert row.reason in said


def sqlite(tmp_path):
    path = tmp_path / "own.db"
    with sqlite3.connect(path) as db:
        db.execute("create table rows (month text, x real, note text)")
        for month in MONTHS:
            db.executemany("insert into rows values (?, ?, ?)", [(month, index, "n" * 200) for index in range(2000)])
    db.close()
    query = "select x, note from rows where month = :period"
    drift = {"source": "sql", "database": f"sqlite:///{path}", "query": query}
    return path, drift | {"periods": "select month, count(*) from rows group by month"}


def overwrite(path):
    """The middle of the file as a bad disk leaves it; the header is whole."""
    with path.open("r+b") as file:
        file.seek(8192)
        file.write(os.urandom(path.stat().st_size - 8192))


SPOILED = {
    "deleted": (lambda path: path.unlink(), "no database file"),
    "emptied": (lambda path: path.write_bytes(b""), "no such table"),
    "overwritten": (lambda path: path.write_bytes(b"not a database" * 1000), "not a SQLite database"),
    "corrupted": (overwrite, "not a SQLite database, or damaged"),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), "is no regular file"),
    "without its table": (lambda path: _execute(path, "drop table rows"), "no such table: rows"),
    "without a column": (lambda path: _execute(path, "alter table rows drop column note"), "no such column: note"),
}


def _execute(path, statement):
    with sqlite3.connect(path) as db:
        db.execute(statement)
    db.close()


@pytest.mark.parametrize("how", SPOILED)
def test_a_database_spoiled_between_listing_and_loading_is_a_sentence(tmp_path, how):
    path, drift = sqlite(tmp_path)
    one, mine = settings(tmp_path), system(tmp_path, drift)
    month = periods.list_periods(one, mine)[0]
    spoil, words = SPOILED[how]
    spoil(path)
    with pytest.raises(SourceUnavailable, match=words) as caught:
        periods.load(one, mine, month)
    assert caught.value.hint


def test_a_database_that_another_program_holds_is_a_sentence_and_readable_again_afterwards(tmp_path):
    path, drift = sqlite(tmp_path)
    one, mine = settings(tmp_path), system(tmp_path, drift)
    month = periods.list_periods(one, mine)[0]
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("begin exclusive")
    with pytest.raises(SourceUnavailable, match="locked by another program"):
        periods.load(one, mine, month)
    writer.close()
    assert periods.load(one, mine, month).rows == 2000


def test_a_spoiled_database_is_exit_1_and_one_line(home, tmp_path, works):
    path, drift = sqlite(tmp_path)
    overwrite(path)
    home.system("spoiled", drift)
    before = home.saved()
    code, out, err = home.told("drift", "--system", "spoiled", "--ref", MONTHS[0], "--cur", MONTHS[1])
    assert (code, out) == (1, "")
    assert "is not a SQLite database, or damaged" in sentence(err)
    assert home.saved() == before


# --- Feast -----------------------------------------------------------------------------------------------------------

YAML = """\
project: tiny
provider: local
registry: registry.db
online_store: {type: sqlite, path: online.db}
offline_store: {type: duckdb}
entity_key_serialization_version: 3
"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """One feature view of 100 users over two months, applied; beside it a registry with an entity alone."""
    os.environ["FEAST_USAGE"] = "False"
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
    from feast.types import Float64

    folder = tmp_path_factory.mktemp("tiny")
    users = [f"U{index:03d}" for index in range(100)]
    rows = pd.DataFrame([(user, pd.Timestamp(month, tz="UTC")) for month in MONTHS for user in users])
    rows.columns = ["user_id", "event_timestamp"]
    rows.assign(x=np.random.default_rng(1).normal(0, 1, len(rows))).to_parquet(folder / "x.parquet")
    user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
    source = FileSource(name="x", path=str(folder / "x.parquet"), timestamp_field="event_timestamp")
    view = FeatureView(name="x_fv", entities=[user], schema=[Field(name="x", dtype=Float64)], source=source)
    for name, objects in (("repo", [user, view]), ("bare", [user])):
        (folder / name).mkdir()
        (folder / name / "feature_store.yaml").write_text(YAML)
        FeatureStore(repo_path=str(folder / name)).apply(objects)
    with sqlite3.connect(folder / "world.db") as db:
        db.execute("create table entities (user_id text, as_of text)")
        db.executemany("insert into entities values (?, ?)", [(user, month) for month in MONTHS for user in users])
    db.close()
    return folder


def _bare(folder):
    shutil.copyfile(folder / "bare" / "registry.db", folder / "repo" / "registry.db")


def _torn(folder):
    data = (folder / "repo" / "registry.db").read_bytes()
    (folder / "repo" / "registry.db").write_bytes(data[: len(data) // 2])


FEAST = {
    "registry missing": (lambda folder: (folder / "repo" / "registry.db").unlink(), "registry.db is missing"),
    "registry of no bytes": (lambda folder: (folder / "repo" / "registry.db").write_bytes(b""), "registry.db is empty"),
    "registry corrupt": (
        lambda folder: (folder / "repo" / "registry.db").write_bytes(b"\xff\x00 none" * 99),
        "cannot be opened",
    ),
    "registry torn": (_torn, "cannot be opened|does not know|no feature views"),
    "registry without views": (_bare, "has no feature views"),
    "yaml broken": (
        lambda folder: (folder / "repo" / "feature_store.yaml").write_text("project: [1"),
        "cannot be opened",
    ),
    "yaml of something else": (
        lambda folder: (folder / "repo" / "feature_store.yaml").write_text("- a\n- b\n"),
        "cannot be opened",
    ),
    "repository gone": (lambda folder: shutil.rmtree(folder / "repo"), "no feature repository"),
    "parquet gone": (lambda folder: (folder / "x.parquet").unlink(), "could not read the features"),
    "parquet of no bytes": (lambda folder: (folder / "x.parquet").write_bytes(b""), "could not read the features"),
    "parquet corrupt": (
        lambda folder: (folder / "x.parquet").write_bytes(b"PAR1" * 500),
        "could not read the features",
    ),
}


@pytest.mark.parametrize("part", ["registry", "yaml", "repository", "parquet"])
def test_a_sick_feature_store_is_a_failed_run_with_its_reason_and_the_next_run_works(home, repository, part):
    kept = {path: path.read_bytes() for path in repository.rglob("*") if path.is_file()}
    drift = {"source": "feast", "repo": f"{repository}/repo", "database": f"sqlite:///{repository}/world.db"}
    home.system("tiny", drift | {"entities": "entities", "identifier": "user_id", "features": ["x_fv:x"]})
    before = home.saved()
    for case, (spoil, words) in FEAST.items():
        if not case.startswith(part):
            continue
        spoil(repository)
        try:
            found = home.ended(home.compare("tiny", *MONTHS))
            assert found.state == "failed", case
            assert re.search(words, found.reason), (case, found.reason)
            assert "\n" not in found.reason, case
            assert home.saved() == before, case
        finally:
            (repository / "repo").mkdir(exist_ok=True)
            for path, content in kept.items():
                path.write_bytes(content)
    found = home.ended(home.compare("tiny", *MONTHS))
    assert found.state == "done", found.reason


def test_a_registry_that_is_missing_is_exit_1_and_is_not_made(home, repository, works):
    drift = {"source": "feast", "repo": f"{repository}/nothing", "database": f"sqlite:///{repository}/world.db"}
    home.system("none", drift | {"entities": "entities", "identifier": "user_id", "features": ["x_fv:x"]})
    (repository / "nothing").mkdir(exist_ok=True)
    (repository / "nothing" / "feature_store.yaml").write_text(YAML)
    code, out, err = home.told("drift", "--system", "none")
    assert (code, out) == (1, "")
    assert "registry.db is missing. Run `feast apply`" in sentence(err)
    assert [path.name for path in (repository / "nothing").iterdir()] == ["feature_store.yaml"]


# --- files and command lines -----------------------------------------------------------------------------------------


def test_a_month_deleted_between_listing_and_loading_is_named(tmp_path):
    for month in MONTHS:
        calm(1).to_csv(tmp_path / f"{month}.csv", index=False)
    one, mine = settings(tmp_path), system(tmp_path)
    first, second = periods.list_periods(one, mine)
    (tmp_path / f"{second.key}.csv").unlink()
    with pytest.raises(UnknownPeriod, match=r"no file for '2024-02-29'") as caught:
        periods.load(one, mine, second)
    assert "2024-01-31" in caught.value.hint
    (tmp_path / f"{first.key}.csv").unlink()
    with pytest.raises(SourceUnavailable, match="No file matches"):
        periods.load(one, mine, first)


def test_a_month_deleted_before_the_worker_looks_is_a_failed_run(home, tmp_path, works):
    for month in (*MONTHS, "2024-03-31"):
        calm(1).to_csv(tmp_path / f"{month}.csv", index=False)
    home.system("shrinking", {"source": "files", "path": f"{tmp_path}/{{period}}.csv"})
    assert [one.key for one in periods.list_periods(home.settings, load_systems(home.settings).by_id["shrinking"])][2:]
    (tmp_path / "2024-03-31.csv").unlink()
    found = home.ended(home.compare("shrinking", MONTHS[0], "2024-03-31"))
    assert found.state == "failed"
    assert found.reason.startswith("There is no period '2024-03-31'. There are 2: month_000 = 2024-01-31")
