"""Where months come from: counted before they are loaded, told when a view has none of their rows, compared to the end.

Every source goes through list, load and decision here; the parts of each are in the tests of app.periods.
"""

import json
import os
import sqlite3

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app import periods
from app.base import memory
from app.config import Settings, load_systems
from app.drift import worker
from app.drift.result import Result, Verdict
from app.errors import DataError, SourceUnavailable, UnknownPeriod
from app.periods import coverage, database
from app.periods.model import LABELS_LATER, LATER
from app.runs import reports
from app.runs.run import new_run_id
from tests import warm
from tests.drift_frames import calm, quiet_job, settings, system

MONTHS = ["2024-01-31", "2024-02-29", "2024-03-31"]


@pytest.fixture(scope="module", autouse=True)
def evidently():
    """Evidently and Feast, loaded once for the whole file."""
    worker.preload()


def listed(tmp_path, drift, **environ):
    return periods.list_periods(settings(tmp_path, **environ), system(tmp_path, drift))


def loaded(tmp_path, drift, key, **environ):
    one, mine = settings(tmp_path, **environ), system(tmp_path, drift)
    return periods.load(one, mine, periods.pick(periods.list_periods(one, mine), key))


def counts(listing):
    return [(one.rows, one.labelled, one.note) for one in listing]


# --- label coverage of files -----------------------------------------------------------------------------------------


def months(tmp_path, suffix, labelled=(10, 4, 0)):
    for month, count in zip(MONTHS, labelled, strict=True):
        churn = pd.array([1] * count + [None] * (10 - count), dtype="Int64")
        data = pd.DataFrame({"x": range(10), "churn": churn})
        path = tmp_path / f"{month}.{suffix}"
        data.to_parquet(path) if suffix == "parquet" else data.to_csv(path, index=False)
    return {"source": "files", "path": f"{tmp_path}/{{period}}.{suffix}", "label": "churn"}


@pytest.mark.parametrize("suffix", ["parquet", "csv", "csv.gz"])
def test_each_file_tells_its_rows_and_labels_as_loading_finds_them(tmp_path, suffix):
    drift = months(tmp_path, suffix)
    assert counts(listed(tmp_path, drift)) == [(10, 10, ""), (10, 4, ""), (10, 0, "")]
    for one in listed(tmp_path, drift):
        frame = loaded(tmp_path, drift, one.key)
        assert (frame.rows, frame.labelled) == (one.rows, one.labelled)


def test_parquet_labels_come_from_its_statistics_without_reading_a_row(tmp_path, monkeypatch):
    drift = months(tmp_path, "parquet")

    def never(*_arguments, **_named):
        raise AssertionError("rows were read")

    monkeypatch.setattr(pq.ParquetFile, "read", never)
    assert [one.labelled for one in listed(tmp_path, drift)] == [10, 4, 0]


def test_a_nan_in_parquet_is_no_label_although_its_statistics_count_a_number(tmp_path):
    table = pa.table({"churn": pa.array([1.0, float("nan"), None, 0.0])})
    pq.write_table(table, tmp_path / "a.parquet")
    pq.write_table(table, tmp_path / "b.parquet", write_statistics=False)
    drift = {"source": "files", "path": f"{tmp_path}/{{period}}.parquet", "label": "churn"}
    assert counts(listed(tmp_path, drift)) == [(4, 2, "")] * 2
    assert loaded(tmp_path, drift, "a").labelled == 2


def test_what_would_take_long_is_unknown_with_the_reason_and_the_newest_are_read_first(tmp_path, monkeypatch):
    drift = months(tmp_path, "csv")
    size = (tmp_path / f"{MONTHS[2]}.csv").stat().st_size
    monkeypatch.setattr(coverage, "READ_BYTES", size + 1)
    listing = listed(tmp_path, drift)
    assert counts(listing) == [(10, None, LABELS_LATER), (10, None, LABELS_LATER), (10, 0, "")]
    assert loaded(tmp_path, drift, listing[0].key).labelled == 10
    (tmp_path / f"{MONTHS[2]}.csv").write_text('x,churn\n"two\nlines",1\n\n' + "1,0\n" * 40)
    assert counts(listed(tmp_path, drift))[2] == (None, None, LATER)


def test_quoted_line_ends_and_blank_lines_are_counted_as_loading_counts_them(tmp_path):
    (tmp_path / "a.csv").write_text('x,churn\n"two\nlines",1\n\n3,\n4,0\n')
    drift = {"source": "files", "path": f"{tmp_path}/{{period}}.csv", "label": "churn"}
    assert counts(listed(tmp_path, drift)) == [(3, 2, "")]
    assert loaded(tmp_path, drift, "a").rows == 3


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_missing_label_is_named_and_no_label_is_said(tmp_path, suffix):
    drift = months(tmp_path, suffix)
    assert counts(listed(tmp_path, drift | {"label": "gone"}))[0] == (
        10,
        None,
        f"{MONTHS[0]}.{suffix} has no column gone",
    )
    del drift["label"]
    assert counts(listed(tmp_path, drift))[0] == (10, None, "the system file names no label")


def test_a_file_that_changes_is_counted_again(tmp_path):
    drift = months(tmp_path, "csv")
    assert listed(tmp_path, drift)[0].labelled == 10
    (tmp_path / f"{MONTHS[0]}.csv").write_text("x,churn\n1,\n2,1\n")
    assert counts(listed(tmp_path, drift))[0] == (2, 1, "")


def test_a_damaged_file_is_a_note_in_the_list_and_an_error_when_loaded(tmp_path):
    drift = months(tmp_path, "parquet")
    path = tmp_path / f"{MONTHS[1]}.parquet"
    path.write_bytes(path.read_bytes()[:-40])
    first, second, _ = listed(tmp_path, drift)
    assert (first.rows, second.rows) == (10, None)
    assert "cannot be read" in second.note
    with pytest.raises(SourceUnavailable, match="cannot be read"):
        loaded(tmp_path, drift, second.key)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize(
    "more", [{"split": 0.7}, {"split": 0.7, "time": "at"}, {"split_at": "2024-01-11", "time": "at"}]
)
def test_both_parts_of_a_table_are_counted_as_they_are_loaded(tmp_path, suffix, more):
    at = [f"2024-01-{day:02d}" for day in range(30, 0, -1)]
    data = pd.DataFrame({"at": at, "x": range(30), "y": [1 if index % 3 else None for index in range(30)]})
    path = tmp_path / f"t.{suffix}"
    data.to_parquet(path) if suffix == "parquet" else data.to_csv(path, index=False)
    drift = {"source": "files", "path": str(path), "label": "y", **more}
    listing = listed(tmp_path, drift)
    frames = [loaded(tmp_path, drift, one.key) for one in listing]
    assert [(one.rows, one.labelled) for one in listing] == [(one.rows, one.labelled) for one in frames]
    assert sum(one.rows for one in listing) == 30
    assert sum(one.labelled for one in listing) == 20


def test_a_table_too_large_to_read_for_a_list_is_cut_by_its_number_of_rows(tmp_path, monkeypatch):
    pd.DataFrame({"x": range(100), "y": [1.0] * 100}).to_parquet(tmp_path / "t.parquet")
    drift = {"source": "files", "path": f"{tmp_path}/t.parquet", "split": 0.7, "label": "y"}
    monkeypatch.setattr(coverage, "READ_BYTES", 10)
    assert counts(listed(tmp_path, drift)) == [(70, None, LABELS_LATER), (30, None, LABELS_LATER)]


# --- SQL -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def base(tmp_path):
    """Three months of one table; the last without labels."""
    path = tmp_path / "own.db"
    with sqlite3.connect(path) as db:
        db.execute("create table rows (month text, user text, a real, b real, y integer)")
        for index, month in enumerate(MONTHS):
            data = calm(index + 1)
            values = zip(data.user, data.f0 + 3 * (index == 2), data.f1, data.label, strict=True)
            db.executemany(
                "insert into rows values (?, ?, ?, ?, ?)",
                [(month, user, a, b, None if index == 2 else int(y)) for user, a, b, y in values],
            )
    db.close()
    return path


def sql(path, **more):
    table = {"source": "sql", "database": f"sqlite:///{path}", "label": "y", "identifier": "user"}
    table |= {"periods": "select month, count(*), count(y) from rows group by month"}
    return table | {"query": "select user, a, b, y from rows where month = :period", **more}


def test_a_query_of_three_columns_gives_rows_and_labels(tmp_path, base):
    assert counts(listed(tmp_path, sql(base))) == [(200, 200, ""), (200, 200, ""), (200, 0, "")]
    two = sql(base, periods="select month, count(*) from rows group by month")
    assert counts(listed(tmp_path, two))[0] == (200, None, "labels are counted when the period is loaded")


def test_from_a_query_to_a_decision(tmp_path, base):
    result = judged(tmp_path, sql(base, threshold=0.5), "month_000", "month_002")
    assert (result.k, result.n, result.share, result.decision) == (1, 2, 0.5, Verdict.RETRAINING_TRIGGERED)
    assert result.target_drift.reason == "month_002 (2024-03-31) has no labels."


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"query": "select * from rows"}, "no :period: each month would be the same rows"),
        ({"query": "select * from rows where month = :month"}, "names :month, but only :period has a value"),
        ({"query": "selec * from rows where month = :period"}, "syntax error"),
        ({"query": "select gone from rows where month = :period"}, "no such column: gone"),
        ({"query": "select * from gone where month = :period"}, "no such table: gone"),
        ({"query": "select * from rows where month = :period and a > 1e9"}, "2024-01-31.* has no rows"),
        ({"query": "delete from rows where month = :period"}, "readonly|read-only|gives no rows"),
        ({"query": "select * from rows where month = :period; select 1"}, "one statement at a time"),
        ({"periods": "select month, 'many' from rows group by month"}, "'many' as the number of rows of 2024-01-31"),
        ({"periods": "select month from rows"}, "2024-01-31 more than once"),
        ({"periods": "select '../' || month from rows"}, "cannot be the key"),
        ({"periods": "pragma user_version = 3"}, "readonly|read-only|gives no rows"),
        ({"database": "mysql+pymysql://u:secret-word@127.0.0.1/x"}, "needs the package pymysql"),
        ({"database": "nosuch://127.0.0.1/x"}, "needs the package|no SQLAlchemy URL"),
    ],
)
def test_what_is_wrong_with_a_query_is_a_sentence(tmp_path, base, more, words):
    with pytest.raises((DataError, SourceUnavailable), match=words) as caught:
        loaded(tmp_path, sql(base, **more), "2024-01-31")
    assert caught.value.hint
    assert "secret-word" not in caught.value.text
    assert len(caught.value.text) < 500


def test_two_columns_of_one_name_are_listed_as_not_comparable(tmp_path, base):
    twice = sql(base, query="select user, a, b, b, y from rows where month = :period")
    result = judged(tmp_path, twice, "month_000", "month_001")
    assert result.decision is Verdict.UNDECIDED
    assert "two columns of this name" in next(one.reason for one in result.columns if one.name == "b")


def test_a_query_of_too_many_rows_is_refused_before_they_are_all_held(tmp_path, base, monkeypatch):
    monkeypatch.setattr(database, "MAX_ROWS", 150)
    endless = "with recursive n(x) as (select 1 union all select x + 1 from n) select x from n where :period > ''"
    with pytest.raises(DataError, match="more than 150 rows") as caught:
        loaded(tmp_path, sql(base, query=endless), "2024-01-31")
    assert "sample" in caught.value.hint


# --- the environment -------------------------------------------------------------------------------------------------


def test_the_environment_names_the_database_of_a_query(tmp_path, base):
    with pytest.raises(SourceUnavailable) as caught:
        listed(tmp_path, sql(base), POSTGRES_HOST="127.0.0.1", POSTGRES_PORT="1", POSTGRES_DB="own", POSTGRES_USER="u")
    assert "atabase own at 127.0.0.1:1 cannot be reached" in caught.value.text


def test_the_environment_names_where_reports_go(tmp_path, base):
    result, folder = ran(tmp_path, sql(base), "month_000", "month_001", REPORT_DIR=str(tmp_path / "out"))
    assert folder.is_relative_to(tmp_path / "out")
    assert str(tmp_path / "out") in result.line


# --- feature views without rows of the month -------------------------------------------------------------------------

YAML = """\
project: small
provider: local
registry: registry.db
online_store: {{type: sqlite, path: online.db}}
offline_store: {{type: {engine}}}
entity_key_serialization_version: 3
"""
ENGINES = ["duckdb", "file"]


@pytest.fixture(scope="module", params=ENGINES)
def world(request, tmp_path_factory):
    """Views of 40 users: all months, all but March, half of March, only the future, outlived, and without users."""
    os.environ["FEAST_USAGE"] = "False"
    from datetime import timedelta

    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
    from feast.types import Float64

    home = tmp_path_factory.mktemp("views")
    users = [f"U{index:03d}" for index in range(40)]
    rows = pd.DataFrame([(user, pd.Timestamp(month, tz="UTC")) for month in MONTHS for user in users])
    rows.columns = ["user_id", "event_timestamp"]
    march = rows.event_timestamp == pd.Timestamp(MONTHS[2], tz="UTC")
    tables = {"all": rows, "old": rows[~march], "half": rows[~march | (rows.user_id < "U020")]}
    tables["future"] = rows.assign(event_timestamp=rows.event_timestamp + pd.Timedelta(days=400))
    tables["stale"] = rows[rows.event_timestamp == pd.Timestamp(MONTHS[0], tz="UTC")]
    # Times without a zone, and the afternoon of the last day: later than the moment that is asked for.
    late = rows.assign(event_timestamp=rows.event_timestamp.dt.tz_localize(None) + pd.Timedelta(hours=15))
    tables["late"] = late
    user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
    repo = home / "repo"
    repo.mkdir()
    (repo / "feature_store.yaml").write_text(YAML.format(engine=request.param))
    views = []
    for name, table in tables.items():
        table.assign(**{f"{name}_x": np.arange(len(table)) * 1.5}).to_parquet(home / f"{name}.parquet")
        source = FileSource(name=name, path=str(home / f"{name}.parquet"), timestamp_field="event_timestamp")
        live = timedelta(days=20) if name == "stale" else timedelta(0)
        field = Field(name=f"{name}_x", dtype=Float64)
        views.append(FeatureView(name=f"{name}_fv", entities=[user], ttl=live, schema=[field], source=source))
    FeatureStore(repo_path=str(repo)).apply([user, *views])
    with sqlite3.connect(home / "world.db") as db:
        db.execute("create table entities (user_id text, as_of text)")
        db.executemany("insert into entities values (?, ?)", [(user, month) for month in MONTHS for user in users])
    db.close()
    return home


def feast(home, *views):
    table = {"source": "feast", "repo": str(home / "repo"), "database": f"sqlite:///{home}/world.db"}
    return table | {"entities": "entities", "identifier": "user_id", "features": [f"{one}_fv:{one}_x" for one in views]}


def test_views_with_rows_of_the_month_need_no_word(tmp_path, world):
    for month in MONTHS:
        assert loaded(tmp_path, feast(world, "all"), month).notes == ()


def test_a_view_without_rows_of_the_month_is_named_with_the_date_that_was_joined(tmp_path, world):
    frame = loaded(tmp_path, feast(world, "all", "old"), MONTHS[2])
    assert frame.notes == (
        "old_fv has no rows for month_002 (2024-03-31); the newest older values, 2024-02-29, were joined.",
    )
    assert frame.data.old_x.notna().all()
    assert loaded(tmp_path, feast(world, "all", "old"), MONTHS[1]).notes == ()


def test_a_view_with_rows_for_some_only_says_for_how_many(tmp_path, world):
    frame = loaded(tmp_path, feast(world, "half"), MONTHS[2])
    (note,) = frame.notes
    assert note.startswith("half_fv has no row of month_002 (2024-03-31) for 20 of 40 user_ids: their newest older")


EMPTY = {
    "future": (MONTHS[0], "future_fv has no rows up to month_000 (2024-01-31): its features are empty."),
    "stale": (MONTHS[2], "its newest, of 2024-01-31, have outlived their time: they are empty."),
}


@pytest.mark.parametrize("view", EMPTY)
def test_a_view_with_nothing_for_the_month_is_named(tmp_path, world, view):
    month, words = EMPTY[view]
    drift = feast(world, "all", view)
    if "type: file" in (world / "repo" / "feature_store.yaml").read_text():
        # This engine of Feast's drops such rows, with the values of the other view.
        with pytest.raises(DataError, match="leaves out 40 of 40 rows") as caught:
            loaded(tmp_path, drift, month)
        assert words in caught.value.hint
        return
    frame = loaded(tmp_path, drift, month)
    assert len(frame.notes) == 1
    assert frame.notes[0].endswith(words)
    assert frame.data[f"{view}_x"].isna().all()
    assert frame.data.all_x.notna().all()


def test_rows_later_on_the_last_day_are_not_of_the_month(tmp_path, world):
    (note,) = loaded(tmp_path, feast(world, "late"), MONTHS[1]).notes
    assert note.startswith("late_fv has rows of 2024-02-29 15:00, later than 00:00 UTC, the moment of month_001")
    assert note.endswith("they were not joined, those of 2024-01-31 were.")


def test_the_note_stands_in_the_result_of_the_run(tmp_path, world):
    result = judged(tmp_path, feast(world, "all", "old"), MONTHS[1], MONTHS[2])
    assert any("old_fv has no rows for month_002" in note for note in result.notes)


def test_a_check_that_fails_is_a_note_and_no_failure(tmp_path, world, monkeypatch):
    def broken(*_arguments):
        raise RuntimeError("an engine of its own")

    monkeypatch.setattr("app.periods.freshness._ViewRows.between", broken)
    frame = loaded(tmp_path, feast(world, "all"), MONTHS[0])
    assert frame.rows == 40
    assert frame.notes == ("Whether all_fv has rows of month_000 (2024-01-31) could not be checked (RuntimeError).",)


# --- what does not fit -----------------------------------------------------------------------------------------------


def test_a_comparison_that_would_not_fit_is_refused_with_both_numbers_before_it_begins(tmp_path, base, monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 90_000_000)
    with pytest.raises(DataError, match=r"Comparing 200 and 200 rows in 4 columns needs about 0.1 GB of memory; 81 MB"):
        judged(tmp_path, sql(base), "month_000", "month_001")
    monkeypatch.setattr(memory, "available", lambda: None)
    result = judged(tmp_path, sql(base), "month_000", "month_001")
    assert result.decision is Verdict.NO_ACTION
    assert result.peak_bytes > 100_000_000


# --- rolling windows, to the decision --------------------------------------------------------------------------------


def events(tmp_path, days, *, start="2026-03-01", zone="UTC", gap=(), moved=(), window="7d"):
    """Sixty rows a day; `gap` days are left out, `moved` days drift in two of four columns."""
    random = np.random.default_rng(7)
    parts = []
    for day in sorted(set(range(days)) - set(gap)):
        at = pd.date_range(pd.Timestamp(start, tz=zone) + pd.Timedelta(days=day), periods=60, freq="20min")
        data = pd.DataFrame({name: random.normal(10, 2, 60) for name in "abcd"}).assign(at=at)
        data[["a", "b"]] += 5 * (day in moved)
        parts.append(data.assign(y=(random.random(60) < 0.3).astype(int)))
    pd.concat(parts).to_csv(tmp_path / "events.csv", index=False)
    table = {"source": "files", "path": f"{tmp_path}/events.csv", "time": "at", "window": window, "label": "y"}
    return table | {"features": ["a", "b", "c", "d"]}


def write(one, drift, name="mine"):
    lines = [f"{key} = {json.dumps(value)}" for key, value in drift.items()]
    (one.root / "app" / "systems" / f"{name}.toml").write_text('title = "Mine"\n[drift]\n' + "\n".join(lines) + "\n")


def ran(tmp_path, drift, ref, cur, **environ):
    """(result, folder) of a whole run."""
    one = settings(tmp_path, **{"REPORT_DIR": "out", **environ})
    write(one, drift)
    args = {"ref": ref, "cur": cur, "threshold": None}
    outcome = worker.run(quiet_job(one, run=new_run_id(), system="mine", args=args))
    return Result.from_json(reports.read_file(outcome.path, "result.json")), outcome.path


def judged(tmp_path, drift, ref, cur):
    return ran(tmp_path, drift, ref, cur)[0]


def test_the_last_window_against_the_one_before(tmp_path):
    drift = events(tmp_path, 21, moved=range(14, 21))
    listing = listed(tmp_path, drift)
    assert [(one.key, one.rows, one.labelled) for one in listing] == [
        ("2026-03-01.7d", 420, 420),
        ("2026-03-08.7d", 420, 420),
        ("2026-03-15.7d", 420, 420),
    ]
    result = judged(tmp_path, drift, listing[1].key, listing[2].key)
    assert (result.k, result.n, result.decision) == (2, 4, Verdict.RETRAINING_TRIGGERED)
    assert (result.ref.rows, result.cur.rows) == (420, 420)
    assert result.target_drift.value is not None
    assert judged(tmp_path, drift, listing[0].key, listing[1].key).decision is Verdict.NO_ACTION


def test_a_window_that_is_a_gap_has_no_rows_and_says_so(tmp_path):
    drift = events(tmp_path, 21, gap=range(7, 14))
    listing = listed(tmp_path, drift)
    assert [one.rows for one in listing] == [420, 0, 420]
    with pytest.raises(UnknownPeriod, match=r"2026-03-08 to 2026-03-14 \(2026-03-08.7d\) has no rows"):
        judged(tmp_path, drift, listing[0].key, listing[1].key)
    assert judged(tmp_path, drift, listing[0].key, listing[2].key).decision is Verdict.NO_ACTION


def test_days_are_those_of_utc_whatever_zone_the_times_carry(tmp_path):
    drift = events(tmp_path, 15, zone="America/New_York", start="2026-03-01")
    listing = listed(tmp_path, drift)
    frame = loaded(tmp_path, drift, listing[-1].key)
    assert frame.rows == listing[-1].rows
    times = pd.to_datetime(frame.data["at"], utc=True)
    assert str(times.min().date()) == listing[-1].key[:10]
    # The clocks go forward on the 8th: no row is in two windows, none is lost between them.
    assert sum(one.rows for one in listing) <= 900
    assert len({one.key for one in listing}) == len(listing)


def test_a_day_of_hours_is_called_by_its_hour(tmp_path):
    listing = listed(tmp_path, events(tmp_path, 3, window="24h", start="2026-03-01 05:00"))
    assert [one.key for one in listing] == ["2026-03-02T01.24h", "2026-03-03T01.24h"]
    assert listing[0].name == "2026-03-02 01:00 to 2026-03-03 01:00 UTC"


def test_one_window_alone_is_listed_and_two_are_asked_for(tmp_path):
    drift = events(tmp_path, 9)
    (only,) = listed(tmp_path, drift)
    with pytest.raises(DataError, match="Two months are needed"):
        judged(tmp_path, drift, None, None)
    assert judged(tmp_path, drift, only.key, only.key).decision is Verdict.UNDECIDED


def test_a_label_the_table_lacks_is_said_at_each_window(tmp_path):
    drift = events(tmp_path, 14) | {"label": "gone"}
    assert [(one.labelled, one.note) for one in listed(tmp_path, drift)] == [
        (None, "events.csv has no column gone")
    ] * 2


def test_windows_on_the_command_line_take_the_newest_two(tmp_path):
    keep = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    environ = keep | {"VIGIE_HOME": str(tmp_path / "home"), "HOME": str(tmp_path), "REPORT_DIR": str(tmp_path / "out")}
    environ |= {"VIGIE_SYSTEMS": str(tmp_path / "systems")}
    (tmp_path / "systems").mkdir()
    drift = events(tmp_path, 21, moved=range(14, 21))
    lines = [f"{key} = {json.dumps(value)}" for key, value in drift.items()]
    (tmp_path / "systems" / "mine.toml").write_text('title = "Mine"\n[drift]\n' + "\n".join(lines) + "\n")
    assert "mine" in load_systems(Settings.from_env(environ)).by_id
    command = warm.run("app", "periods", "--system", "mine", env=environ)
    assert [line.split()[-2:] for line in command.stdout.splitlines()[1:]] == [["420", "420"]] * 3
    done = warm.run("app", "drift", "--system", "mine", "--exit-code", env=environ)
    assert "drift_2026-03-08.7d_vs_2026-03-15.7d.html" in done.stdout, done.stderr
    assert "RETRAINING_TRIGGERED (SIMULÉ) drift_share=0.50 >= 0.30" in done.stdout
