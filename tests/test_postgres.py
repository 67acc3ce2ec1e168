"""Ledger, lists of months and ingest on a real PostgreSQL whose zone is not UTC, and what is said when it is not well."""

# ruff: noqa: F811 - fixtures are imported, and arguments bear their names

import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa

from app import periods, postgres
from app.config import Settings, load_systems
from app.errors import LedgerError, SourceUnavailable
from app.runs import index as ledger_module
from app.runs import tables
from app.runs.index import Ledger
from stack.data import WorldError
from stack.ingest import database
from stack.ingest.layout import IngestError
from stack.ingest.reading import read_month
from stack.postgres.connection import place
from tests.postgres_server import PASSWORD, fresh, server, small, where  # noqa: F401 - fixtures

# What holds for a SQLite file holds for a PostgreSQL database: the same tests, with the fixtures below.
from tests.test_ledger import (  # noqa: F401
    a_run,
    shelf,
    test_a_directory_finished_by_a_job_that_could_not_say_so_makes_its_row_done,
    test_a_note_is_kept_as_it_was_written_or_refused,
    test_a_note_needs_a_run_and_has_a_length,
    test_a_row_whose_directory_has_vanished_says_so_and_keeps_its_notes,
    test_a_run_comes_back_as_it_went_in,
    test_a_run_that_is_removed_takes_notes_and_hooks_with_it,
    test_a_step_that_fails_changes_nothing,
    test_an_index_is_remade_from_report_directories,
    test_an_index_is_remade_from_run_folders_and_a_dead_owner_is_an_interrupted_run,
    test_an_index_of_the_first_version_is_brought_up_and_filled_from_the_directories,
    test_an_older_file_is_brought_up_step_by_step,
    test_characters_that_no_database_keeps_do_not_stop_a_run,
    test_every_filter_of_the_library_narrows,
    test_four_processes_open_a_new_ledger_at_once_and_lose_nothing,
    test_history_is_the_known_shares_oldest_first,
    test_notes_are_kept_in_order_and_the_latest_says_whether_a_run_is_acknowledged,
    test_one_id_is_one_run,
    test_orphans_become_interrupted_and_living_or_ended_runs_stay,
    test_outcomes_of_hooks_need_a_run_and_keep_their_order,
    test_pages_of_the_library_cover_it_once,
    test_runs_are_newest_first_and_every_filter_narrows,
    test_runs_of_the_same_moment_have_a_stable_order,
    test_the_library_sorts_by_every_key_with_unknown_last_in_both_directions,
    test_threads_share_a_ledger,
    test_update_changes_the_columns_named_and_only_those,
    test_update_of_an_unknown_run_is_an_error,
    test_update_refuses_columns_that_do_not_exist_or_do_not_change,
    test_values_are_values_and_never_sql,
)

ROOT = Path(__file__).parent.parent
REF, CUR = date(2024, 1, 31), date(2024, 2, 29)


@pytest.fixture
def settings(server, fresh, tmp_path):
    environ = {"VIGIE_HOME": str(tmp_path / "home"), "REPORT_DIR": str(tmp_path / "reports")}
    return Settings.from_env(environ | {"VIGIE_LEDGER_URL": server.url(fresh)})


@pytest.fixture
def ledger(settings):
    with Ledger(settings.ledger_url) as made:
        yield made


def hidden(text):
    assert PASSWORD not in text
    assert "p%40ss" not in text
    return text


# --- the ledger -------------------------------------------------------------------------------------------------------


@pytest.mark.quick
def test_a_lost_connection_is_taken_up_again(server, ledger):
    ledger.add(a_run(1))
    server.kick()
    assert ledger.get(a_run(1).id) == a_run(1)
    server.kick()
    ledger.add(a_run(2))
    assert ledger.count() == 2


def test_a_connection_lost_in_the_middle_is_said_and_leaves_nothing_half_written(server, ledger):
    with pytest.raises(LedgerError, match="was lost in the middle") as raised, ledger._write() as connection:
        connection.execute(tables.RUNS.insert().values(ledger_module.row_of(a_run())))
        server.kick()
        connection.execute(sa.select(1))
    assert raised.value.hint
    assert ledger.count() == 0


def test_a_server_that_is_down_is_said_and_found_again_when_it_is_back(server, ledger):
    ledger.add(a_run())
    server.stop()
    try:
        with pytest.raises(LedgerError, match="nothing listens there") as raised:
            ledger.count()
        assert "Start it" in raised.value.hint
    finally:
        server.start()
    assert ledger.count() == 1


@contextmanager
def frozen(server):
    """Every process of the server stopped: connections stay open and nothing answers."""
    parent = psutil.Process(server.process.pid)
    processes = [parent, *parent.children(recursive=True)]
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            process.resume()


def test_a_server_that_falls_silent_is_given_up(server, settings, monkeypatch):
    monkeypatch.setattr("app.runs.database.STATEMENT_MS", 100)
    monkeypatch.setattr("app.runs.database.BUSY_SECONDS", 0.1)
    monkeypatch.setattr(postgres, "SILENCE_SECONDS", 0.3)
    monkeypatch.setattr(postgres, "CONNECT_SECONDS", 1)
    with Ledger(settings.ledger_url) as ledger:
        assert ledger.count() == 0
        with frozen(server), pytest.raises(LedgerError, match="did not answer in time"):
            ledger.count()
        assert ledger.count() == 0


def test_a_writer_that_holds_on_is_said_after_the_busy_time(server, fresh, ledger, monkeypatch, settings):
    monkeypatch.setattr("app.runs.database.BUSY_SECONDS", 0.2)
    with server.connect(fresh) as other, Ledger(settings.ledger_url) as second:
        other.execute("select pg_advisory_lock(%s)", (ledger_module.WRITER_LOCK,))
        assert second.runs() == []
        with pytest.raises(LedgerError, match="held by another process") as raised:
            second.add(a_run())
        assert "another process" in raised.value.hint
    ledger.add(a_run())


def test_a_strangers_table_of_runs_is_left_alone(server, fresh, settings):
    with server.connect(fresh) as connection:
        connection.execute("create table runs (run_uuid text)")
    with pytest.raises(LedgerError, match="not the index of runs") as raised:
        Ledger(settings.ledger_url)
    assert "database of its own" in hidden(raised.value.text)
    with server.connect(fresh) as connection:
        assert connection.execute("select to_regclass('schema_version')").fetchone() == (None,)


# --- a database that is not well: one sentence each, in bounded time, without the password ---------------------------


@pytest.fixture
def mute():
    """A listener that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture(params=["down", "wrong password", "no such database", "SQL_ASCII", "LATIN1", "mute", "no such host"])
def sick(request, server, mute):
    """(POSTGRES_* of a database that cannot be used, what is to be said)."""
    environ = server.environ()
    if request.param == "wrong password":
        return environ | {"POSTGRES_PASSWORD": "wrong-secret"}, "refuses this user or password"
    if request.param == "no such database":
        return environ | {"POSTGRES_DB": "nowhere"}, "does not exist"
    if request.param in {"SQL_ASCII", "LATIN1"}:
        name = server.create("odd", f"encoding '{request.param}' lc_collate 'C' lc_ctype 'C'")
        return environ | {"POSTGRES_DB": name}, f"has the encoding {request.param}, not UTF8"
    if request.param == "mute":
        return environ | {"POSTGRES_PORT": str(mute)}, "did not answer in time"
    if request.param == "no such host":
        return environ | {"POSTGRES_HOST": "no-such-host.invalid"}, "cannot be reached"
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    return environ | {"POSTGRES_PORT": str(port)}, "nothing listens there"


def url_of(environ):
    return Settings.from_env(environ).postgres_url


def test_the_ledger_says_what_is_wrong(sick):
    environ, words = sick
    with pytest.raises(LedgerError) as raised:
        Ledger(url_of(environ))
    assert words in hidden(raised.value.text)
    assert "wrong-secret" not in raised.value.text
    assert raised.value.hint


def test_the_list_of_months_says_what_is_wrong(sick, tmp_path):
    environ, words = sick
    if "LATIN1" in words:
        # The server converts it: it can be read, and what is missing are the tables.
        words = 'relation "subscriptions_profile_snapshots" does not exist'
    one = Settings.from_env({**environ, "VIGIE_HOME": str(tmp_path)})
    with pytest.raises(SourceUnavailable) as raised:
        periods.list_periods(one, load_systems(one).by_id["streamflow"])
    assert words in hidden(raised.value.text)
    assert "wrong-secret" not in raised.value.text
    assert raised.value.hint


def test_an_ingest_says_what_is_wrong(sick, small):
    environ, words = sick
    with pytest.raises(WorldError) as raised:
        database.put(place(environ), read_month(small, REF))
    assert words in hidden(str(raised.value))
    assert "wrong-secret" not in str(raised.value)


def test_the_command_ends_with_one_line(small, tmp_path, server):
    environ = server.environ(POSTGRES_PASSWORD="wrong-secret", VIGIE_HOME=str(tmp_path))
    command = [sys.executable, "-m", "stack", "ingest", "--from", str(small), "--as-of", str(REF)]
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=170)
    assert (done.returncode, done.stdout) == (1, "")
    assert "refuses this user or password. Nothing was written" in done.stderr
    assert "Traceback" not in done.stderr
    assert "wrong-secret" not in done.stderr


# --- ingest -----------------------------------------------------------------------------------------------------------


def everything(server, name):
    """The content of every table, by name."""
    with server.connect(name) as connection:
        tables = connection.execute("select tablename from pg_tables where schemaname = 'public' order by 1").fetchall()
        return {
            table: connection.execute(f"select t::text from {table} t order by 1").fetchall() for (table,) in tables
        }


@pytest.mark.quick
def test_a_month_is_written_once_and_the_same_month_again_changes_nothing(server, where, small):
    month, changed = database.put(where, read_month(small, REF))
    assert (changed, month.labelled) == (True, 3)
    before = everything(server, where.database)
    assert sorted(before) == [
        "labels",
        "payments_agg_90d_snapshots",
        "subscriptions_profile_snapshots",
        "support_agg_90d_snapshots",
        "usage_agg_30d_snapshots",
        "users",
    ]
    assert before["labels"] == [("(2024-01-31,U0001,f)",), ("(2024-01-31,U0002,t)",), ("(2024-01-31,U0003,f)",)]
    assert "(2024-01-31,U0003,0,t,t,Month-to-month,t,80.05,,DSL)" in [
        row for (row,) in before["subscriptions_profile_snapshots"]
    ]
    assert database.put(where, read_month(small, REF))[1] is False
    assert everything(server, where.database) == before


def test_months_lie_side_by_side_and_each_keeps_its_labels(server, where, small):
    database.put(where, read_month(small, REF))
    path = small / "labels.csv"
    path.write_text(path.read_text().replace("U0001,False", "U0001,True"))
    database.put(where, read_month(small, CUR))
    with server.connect(where.database) as connection:
        months = connection.execute("select distinct as_of from subscriptions_profile_snapshots order by 1").fetchall()
        assert months == [(REF,), (CUR,)]
        query = "select period_start, count(*) filter (where churn_label) from labels group by 1 order by 1"
        assert connection.execute(query).fetchall() == [(REF, 1), (CUR, 2)]
    path.unlink()
    month, changed = database.put(where, read_month(small, CUR))
    assert (changed, month.labelled) == (False, 3)
    assert month.notes[-1] == "no labels: the 3 labels that this month has already stay"


def test_gaps_are_null_and_a_table_that_forbids_them_no_longer_does(server, where, small):
    """Tables that an earlier version made say NOT NULL where the course's do not."""
    database.put(where, read_month(small, REF))
    with server.connect(where.database) as connection:
        connection.execute("alter table subscriptions_profile_snapshots alter column plan_stream_tv set not null")
    path = small / "subscriptions.csv"
    path.write_text(path.read_text().replace("U0002,48,False", "U0002,48,"))
    users = small / "users.csv"
    users.write_text(users.read_text().replace("2020-01-15", ""))
    assert database.put(where, read_month(small, REF))[1] is True
    assert database.put(where, read_month(small, REF))[1] is False
    with server.connect(where.database) as connection:
        query = "select user_id, plan_stream_tv from subscriptions_profile_snapshots order by 1"
        assert connection.execute(query).fetchall() == [("U0001", True), ("U0002", None), ("U0003", True)]
        assert connection.execute("select signup_date from users where user_id = 'U0002'").fetchall() == [(None,)]


def test_a_corrected_month_replaces_the_old_one_whole(server, where, small):
    database.put(where, read_month(small, REF))
    for path in small.iterdir():
        path.write_text("".join(line for line in path.read_text().splitlines(True) if not line.startswith("U0002")))
    assert database.put(where, read_month(small, REF))[1] is True
    tables = everything(server, where.database)
    assert {name: len(rows) for name, rows in tables.items() if name != "users"} == dict.fromkeys(
        [name for name in tables if name != "users"], 2
    )


@pytest.mark.parametrize("fault", ["an error", "a lost connection"])
def test_what_fails_half_way_leaves_what_was_there(server, where, small, monkeypatch, fault):
    database.put(where, read_month(small, REF))
    before = everything(server, where.database)
    write = database._write

    def failing(connection, layout, month):
        if layout.table == "labels" and fault == "an error":
            raise IngestError("stop")
        if layout.table == "labels":
            server.kick()
        write(connection, layout, month)

    monkeypatch.setattr(database, "_write", failing)
    with pytest.raises(WorldError, match=r"stop|was lost midway"):
        database.put(where, read_month(small, CUR))
    assert everything(server, where.database) == before
    monkeypatch.undo()
    assert database.put(where, read_month(small, CUR))[1] is True


def test_two_ingests_of_a_new_month_at_once_queue(where, small):
    month, results = read_month(small, REF), []
    threads = [threading.Thread(target=lambda: results.append(database.put(where, month)[1])) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [False, False, True]


def test_old_labels_without_a_month_are_refused_until_somebody_says_their_month(server, where, small):
    with server.connect(where.database) as connection:
        connection.execute("create table labels (user_id text primary key, churn_label boolean)")
        connection.execute("insert into labels values ('U0001', true), ('U0002', true)")
    with pytest.raises(IngestError, match=r"2 rows without a month .* --labels-of DATE"):
        database.put(where, read_month(small, CUR))
    assert list(everything(server, where.database)) == ["labels"]
    database.put(where, read_month(small, CUR), labels_of=REF)
    with server.connect(where.database) as connection:
        query = "select period_start, count(*) from labels group by 1 order by 1"
        assert connection.execute(query).fetchall() == [(REF, 2), (CUR, 3)]


def test_an_empty_labels_table_without_a_month_gets_one(server, where, small):
    with server.connect(where.database) as connection:
        connection.execute("create table labels (user_id text primary key, churn_label boolean)")
    assert database.put(where, read_month(small, REF))[0].labelled == 3


def test_a_table_of_another_shape_is_left_alone_and_named(server, where, small):
    with server.connect(where.database) as connection:
        connection.execute("create table usage_agg_30d_snapshots (user_id text, as_of date, watch_hours_30d real)")
    with pytest.raises(IngestError, match="usage_agg_30d_snapshots is there without the column avg_session_mins_7d"):
        database.put(where, read_month(small, REF))
    assert list(everything(server, where.database)) == ["usage_agg_30d_snapshots"]
