"""Months for a page: from a database, from files, and every way in which there are none."""

import datetime as dt
import sqlite3
import threading

import pandas as pd
import pytest

from app import periods
from app.errors import DataError, SourceUnavailable, UnknownPeriod
from app.periods import coverage
from app.periods.files import cut_row
from tests.drift_frames import settings, system

MONTHS = ["2024-01-31", "2024-02-29", "2024-03-31"]


@pytest.fixture
def base(tmp_path):
    """Three months of five users in the course's tables; the last month has no labels, one user never has."""
    path = tmp_path / "world.db"
    with sqlite3.connect(path) as db:
        db.execute("create table entities (user_id text, as_of text)")
        db.execute("create table labels (user_id text, period_start text, churn integer)")
        rows = [(f"U{user}", month) for month in reversed(MONTHS) for user in range(5)]
        db.executemany("insert into entities values (?, ?)", rows)
        rows = [(f"U{user}", month, user % 2 if user else None) for month in MONTHS[:2] for user in range(5)]
        db.executemany("insert into labels values (?, ?, ?)", rows)
    db.close()
    return path


def feast(path, **more):
    table = {
        "source": "feast",
        "repo": "r",
        "database": f"sqlite:///{path}",
        "entities": "entities",
        "labels": "labels",
    }
    return table | {"features": ["v:x"], "identifier": "user_id", "label": "churn", **more}


def listed(tmp_path, drift, **environ):
    return periods.list_periods(settings(tmp_path, **environ), system(tmp_path, drift))


def change(path, *statements):
    with sqlite3.connect(path) as db:
        for statement in statements:
            db.execute(statement)
    db.close()


def test_months_come_in_order_with_rows_and_labels(tmp_path, base):
    months = listed(tmp_path, feast(base))
    assert [(one.name, one.key, one.date, one.rows, one.labelled, one.note) for one in months] == [
        ("month_000", "2024-01-31", dt.date(2024, 1, 31), 5, 4, ""),
        ("month_001", "2024-02-29", dt.date(2024, 2, 29), 5, 4, ""),
        ("month_002", "2024-03-31", dt.date(2024, 3, 31), 5, 0, ""),
    ]


def test_timestamps_of_one_day_are_one_month(tmp_path, base):
    change(base, "update entities set as_of = as_of || ' 00:00:00' where user_id = 'U1'")
    assert [(one.key, one.rows) for one in listed(tmp_path, feast(base))] == [(month, 5) for month in MONTHS]


def test_more_labels_than_rows_are_no_coverage(tmp_path, base):
    change(base, f"delete from entities where as_of = '{MONTHS[0]}' and user_id > 'U1'")
    (first, *_) = listed(tmp_path, feast(base))
    assert (first.rows, first.labelled) == (2, None)
    assert first.note == "4 labels for 2 rows: some belong to none of them"


def test_labels_without_a_period_are_unknown_with_the_reason(tmp_path, base):
    change(base, "alter table labels rename column period_start to made")
    (first, *_) = listed(tmp_path, feast(base))
    assert first.labelled is None
    assert "every month would get the same labels" in first.note


@pytest.mark.parametrize(
    ("statement", "words"),
    [("drop table labels", "no table labels"), ("alter table labels rename column churn to x", "no column churn")],
)
def test_missing_labels_are_tolerated_and_said(tmp_path, base, statement, words):
    change(base, statement)
    (first, *_) = listed(tmp_path, feast(base))
    assert (first.rows, first.labelled) == (5, None)
    assert words in first.note


def test_a_table_of_no_rows_has_no_months(tmp_path, base):
    change(base, "delete from entities")
    assert listed(tmp_path, feast(base)) == []


def test_a_table_of_minutes_is_no_table_of_months(tmp_path, base):
    with sqlite3.connect(base) as db:
        db.executemany("insert into entities values ('U1', ?)", [(f"{i // 365 + 1000}-x{i}",) for i in range(2100)])
    db.close()
    with pytest.raises(DataError, match="not a month"):
        listed(tmp_path, feast(base))


def test_a_key_that_is_none_is_refused(tmp_path, base):
    change(base, "insert into entities values ('U1', '../../etc/passwd')")
    with pytest.raises(DataError, match="cannot be the key"):
        listed(tmp_path, feast(base))


def test_a_missing_database_is_an_error_and_is_not_created(tmp_path):
    path = tmp_path / "gone" / "world.db"
    for place in (path, tmp_path / "world.db"):
        with pytest.raises(SourceUnavailable, match="no database file"):
            listed(tmp_path, feast(place))
        assert not place.exists()


def test_a_file_that_is_no_database_is_said(tmp_path):
    (tmp_path / "world.db").write_bytes(b"not a database at all " * 100)
    with pytest.raises(SourceUnavailable, match="not a SQLite database"):
        listed(tmp_path, feast(tmp_path / "world.db"))


def test_a_locked_database_is_said(tmp_path, base):
    writer = sqlite3.connect(base, isolation_level=None)
    writer.execute("begin exclusive")
    with pytest.raises(SourceUnavailable, match="locked"):
        listed(tmp_path, feast(base))
    writer.close()


def test_reading_never_writes(tmp_path, base):
    before = base.stat().st_mtime_ns, sorted(tmp_path.iterdir())
    listed(tmp_path, feast(base))
    assert (base.stat().st_mtime_ns, [one for one in sorted(tmp_path.iterdir()) if one.name != "root"]) == before


def test_a_missing_table_is_said(tmp_path, base):
    with pytest.raises(SourceUnavailable, match="no such table: customers"):
        listed(tmp_path, feast(base, entities="customers"))


def test_an_address_that_is_none_is_said(tmp_path):
    with pytest.raises(SourceUnavailable, match="no SQLAlchemy URL"):
        listed(tmp_path, feast("x", database="nonsense"))


def test_the_environment_beats_the_system_file_and_its_password_stays_unsaid(tmp_path, base):
    with pytest.raises(SourceUnavailable) as caught:
        listed(tmp_path, feast(base), POSTGRES_HOST="127.0.0.1", POSTGRES_PORT="1", POSTGRES_PASSWORD="secret-word")
    assert "127.0.0.1:1" in str(caught.value)
    assert "secret-word" not in caught.value.text


def test_two_threads_list_at_the_same_time(tmp_path, base):
    counted = []
    threads = [threading.Thread(target=lambda: counted.append(len(listed(tmp_path, feast(base))))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counted == [3, 3]


# --- SQL --------------------------------------------------------------------------------------------------------------


def sql(path, **more):
    return {
        "source": "sql",
        "database": f"sqlite:///{path}",
        "query": "select * from entities where as_of = :period",
    } | {
        "periods": "select as_of, count(*) from entities group by as_of",
        "identifier": "user_id",
        **more,
    }


def test_periods_of_a_query(tmp_path, base):
    (first, *_) = listed(tmp_path, sql(base))
    assert (first.name, first.key, first.rows, first.labelled) == ("month_000", "2024-01-31", 5, None)
    (first, *_) = listed(tmp_path, sql(base, periods="select distinct as_of from entities"))
    assert (first.rows, first.note) == (None, "rows are counted when the period is loaded")
    labelled = "select period_start, count(*), count(churn) from labels group by period_start"
    assert [(one.rows, one.labelled) for one in listed(tmp_path, sql(base, periods=labelled))] == [(5, 4), (5, 4)]


# --- files ------------------------------------------------------------------------------------------------------------


def test_one_file_per_month(tmp_path):
    data = tmp_path / "data"
    for index, month in enumerate(MONTHS):
        (data / month).mkdir(parents=True)
        pd.DataFrame({"x": range(10 + index)}).to_csv(data / month / "usage.csv", index=False)
    months = listed(tmp_path, {"source": "files", "path": f"{data}/{{period}}/usage.csv"})
    assert [(one.name, one.key, one.rows) for one in months] == [
        ("month_000", MONTHS[0], 10),
        ("month_001", MONTHS[1], 11),
        ("month_002", MONTHS[2], 12),
    ]


def test_months_by_name_and_parquet_by_its_footer(tmp_path):
    for name in ("month_001", "month_000", ".hidden", "a b"):
        pd.DataFrame({"x": range(7)}).to_parquet(tmp_path / f"{name}.parquet")
    months = listed(tmp_path, {"source": "files", "path": f"{tmp_path}/{{period}}.parquet"})
    assert [(one.name, one.key, one.rows, one.date) for one in months] == [
        ("month_000", "month_000", 7, None),
        ("month_001", "month_001", 7, None),
    ]


def test_rows_that_cannot_be_counted_quickly_are_unknown_with_the_reason(tmp_path, monkeypatch):
    (tmp_path / "a.csv").write_text('x\n"two\nlines"\n')
    (tmp_path / "b.csv").write_text("")
    drift = {"source": "files", "path": f"{tmp_path}/{{period}}.csv"}
    assert [one.rows for one in listed(tmp_path, drift)] == [1, 0]
    monkeypatch.setattr(coverage, "READ_BYTES", 0)
    first, second = listed(tmp_path, drift)
    assert (first.rows, first.note) == (None, "rows are counted when the file is loaded")
    assert second.rows == 0


def test_who_only_looks_up_a_key_reads_no_file_for_its_labels(tmp_path):
    (tmp_path / "a.csv").write_text("x,y\n1,1\n2,\n")
    mine = system(tmp_path, {"source": "files", "path": f"{tmp_path}/{{period}}.csv", "label": "y"})
    assert [(one.rows, one.labelled) for one in periods.list_periods(settings(tmp_path), mine)] == [(2, 1)]
    assert [(one.rows, one.labelled) for one in periods.list_periods(settings(tmp_path), mine, labels=False)] == [
        (2, None)
    ]


def test_one_table_split_by_rows_is_one_fixed_pair(tmp_path):
    pd.DataFrame({"x": range(71_645)}).to_parquet(tmp_path / "laps.parquet")
    months = listed(tmp_path, {"source": "files", "path": f"{tmp_path}/laps.parquet", "split": 0.7})
    assert [(one.key, one.name, one.rows) for one in months] == [
        ("rows-000-070", "reference", 50_151),
        ("rows-070-100", "current", 21_494),
    ]


def test_one_table_split_at_a_date(tmp_path):
    (tmp_path / "laps.csv").write_text("when,x\n2024-01-01,1\n")
    drift = {"source": "files", "path": f"{tmp_path}/laps.csv", "split_at": "2024-01-15 00:00", "time": "when"}
    assert [one.key for one in listed(tmp_path, drift)] == ["before-2024-01-15-00-00", "from-2024-01-15-00-00"]


@pytest.mark.parametrize(("rows", "share", "cut"), [(10, 0.7, 7), (71_645, 0.7, 50_151), (3, 0.5, 1), (100, 0.29, 29)])
def test_the_cut_is_where_a_person_expects_it(rows, share, cut):
    assert cut_row(rows, share) == cut


@pytest.mark.parametrize("path", ["{period}.csv", "gone.csv"])
def test_no_file_is_said(tmp_path, path):
    with pytest.raises(SourceUnavailable, match=r"No file matches|no file"):
        listed(tmp_path, {"source": "files", "path": f"{tmp_path}/data/{path}", "split": 0.5})


def test_a_gauge_has_no_periods(tmp_path):
    assert listed(tmp_path, {"source": "gauge", "expr": "data_drift_score"}) == []
    assert periods.list_periods(settings(tmp_path), system(tmp_path).model_copy(update={"drift": None})) == []


# --- choosing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["2024-02-29", "month_001", " month_001 ", "2024-02"])
def test_a_period_is_picked_by_key_name_date_or_month(tmp_path, base, text):
    assert periods.pick(listed(tmp_path, feast(base)), text).key == "2024-02-29"


@pytest.mark.parametrize("text", ["2024-02-28", "month_012", "", "2023-01", "../../etc/passwd"])
def test_an_unknown_period_names_those_that_exist(tmp_path, base, text):
    with pytest.raises(UnknownPeriod) as caught:
        periods.pick(listed(tmp_path, feast(base)), text)
    assert "There are 3: month_000 = 2024-01-31, month_001 = 2024-02-29" in caught.value.hint


def test_of_many_periods_only_some_are_named():
    many = [periods.Period(f"p{index}", f"p{index}", None, 1, None) for index in range(100)]
    with pytest.raises(UnknownPeriod) as caught:
        periods.pick(many, "x")
    assert caught.value.hint == "There are 100: p0, p1, p2, p3, p4, …, p99."
    with pytest.raises(UnknownPeriod):
        periods.pick([], "x")


# --- identifiers ------------------------------------------------------------------------------------------------------


def ids(tmp_path, drift, key=None, limit=3):
    return periods.entity_ids(settings(tmp_path), system(tmp_path, drift), key, limit)


def test_identifiers_come_from_the_data(tmp_path, base):
    change(base, f"delete from entities where as_of = '{MONTHS[2]}' and user_id < 'U3'")
    assert ids(tmp_path, feast(base)) == ["U3", "U4"]
    assert ids(tmp_path, feast(base), MONTHS[0]) == ["U0", "U1", "U2"]
    assert ids(tmp_path, sql(base), "month_000", 2) == ["U0", "U1"]


def test_identifiers_of_files(tmp_path):
    pd.DataFrame({"user_id": ["a", None, "c", "d"]}).to_csv(tmp_path / "m.csv", index=False)
    drift = {"source": "files", "path": f"{tmp_path}/{{period}}.csv", "identifier": "user_id"}
    assert ids(tmp_path, drift) == ["a", "c"]
    with pytest.raises(DataError, match="no column 'x'"):
        ids(tmp_path, drift | {"identifier": "x"})


def test_identifiers_that_do_not_exist_are_said(tmp_path, base):
    with pytest.raises(UnknownPeriod, match="2025-01-31"):
        ids(tmp_path, feast(base), "2025-01-31")
    with pytest.raises(DataError, match="names no identifier"):
        ids(tmp_path, {"source": "gauge", "expr": "x"})
