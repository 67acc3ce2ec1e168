"""A month's rows: from a real Feast repository, a query, files; and every registry that must not be taken for truth."""

import os
import shutil
import sqlite3
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from app import periods
from app.errors import DataError, SourceUnavailable, UnknownPeriod
from tests.drift_frames import settings, system

MONTHS = ["2024-01-31", "2024-02-29", "2024-03-31"]
USERS = 40
YAML = """\
project: small
provider: local
registry: registry.db
online_store: {type: sqlite, path: online.db}
offline_store: {type: file}
entity_key_serialization_version: 3
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Two feature views of 40 users over three months, applied; labels for two months, three of them missing."""
    os.environ["FEAST_USAGE"] = "False"
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
    from feast.types import Bool, Float64, String

    home = tmp_path_factory.mktemp("small")
    users = [f"U{index:03d}" for index in range(USERS)]
    random = np.random.default_rng(3)
    rows = pd.DataFrame([(user, pd.Timestamp(month, tz="UTC")) for month in MONTHS for user in users])
    rows.columns = ["user_id", "event_timestamp"]
    use = rows.assign(hours=random.normal(30, 5, len(rows)) + 10 * rows.event_timestamp.dt.month)
    plan = rows.assign(paperless=random.random(len(rows)) < 0.5, net=random.choice(["DSL", "No"], len(rows)))
    repo = home / "repo"
    repo.mkdir()
    (repo / "feature_store.yaml").write_text(YAML)
    views = []
    user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
    fields = {"use": [Field(name="hours", dtype=Float64)]}
    fields["plan"] = [Field(name="paperless", dtype=Bool), Field(name="net", dtype=String)]
    for name, frame in (("use", use), ("plan", plan)):
        frame.to_parquet(home / f"{name}.parquet")
        source = FileSource(name=name, path=str(home / f"{name}.parquet"), timestamp_field="event_timestamp")
        views.append(FeatureView(name=f"{name}_fv", entities=[user], schema=fields[name], source=source))
    FeatureStore(repo_path=str(repo)).apply([user, *views])
    with sqlite3.connect(home / "world.db") as db:
        db.execute("create table entities (user_id text, as_of text)")
        db.execute("create table labels (user_id text, period_start text, churn integer)")
        db.executemany("insert into entities values (?, ?)", [(u, m) for m in MONTHS for u in reversed(users)])
        db.executemany(
            "insert into labels values (?, ?, ?)",
            [(user, month, int(user < "U010")) for month in MONTHS[:2] for user in users[3:]],
        )
    db.close()
    return home, use


@pytest.fixture
def copy(world, tmp_path):
    """The same world to be spoiled."""
    return shutil.copytree(world[0], tmp_path / "copy")


def feast(home, **more):
    keys = {"source": "feast", "repo": str(home / "repo"), "database": f"sqlite:///{home}/world.db", "label": "churn"}
    keys |= {"entities": "entities", "labels": "labels", "identifier": "user_id"}
    return keys | {"features": ["use_fv:hours", "plan_fv:paperless", "plan_fv:net"], **more}


def load(tmp_path, drift, month, **environ):
    one, mine = settings(tmp_path, **environ), system(tmp_path, drift)
    return periods.load(one, mine, periods.pick(periods.list_periods(one, mine), month))


def change(path, *statements):
    with sqlite3.connect(path) as db:
        for statement in statements:
            db.execute(statement)
    db.close()


def test_features_are_those_of_the_month_and_labels_join_left(tmp_path, world):
    home, use = world
    frame = load(tmp_path, feast(home), "month_001")
    assert list(frame.data.columns) == ["user_id", "hours", "paperless", "net", "churn"]
    assert (frame.key, frame.rows, frame.labelled, frame.label_reason) == ("2024-02-29", USERS, USERS - 3, "")
    month = use[use.event_timestamp == pd.Timestamp("2024-02-29", tz="UTC")].set_index("user_id").hours
    assert frame.data.set_index("user_id").hours.to_dict() == month.to_dict()
    assert frame.notes == ("month_001 (2024-02-29): 3 of 40 rows have no label.",)
    assert frame.data.churn.sum() == 7


def test_under_all_labels_join_inner_and_the_lost_rows_are_said(tmp_path, world):
    frame = load(tmp_path, feast(world[0], columns="all"), "month_000")
    assert (frame.rows, frame.labelled) == (USERS - 3, USERS - 3)
    assert "3 of 40 rows have no label and are left out" in frame.notes[0]


def test_rows_come_in_the_same_order_each_time(tmp_path, world):
    first, second = (load(tmp_path, feast(world[0]), "month_000").data for _ in range(2))
    pd.testing.assert_frame_equal(first, second)
    assert first.user_id.is_monotonic_increasing


@pytest.mark.parametrize("columns", ["features", "all"])
def test_a_month_without_labels_keeps_its_rows(tmp_path, world, columns):
    frame = load(tmp_path, feast(world[0], columns=columns), "month_002")
    assert (frame.rows, frame.labelled) == (USERS, 0)
    assert frame.label_reason == "month_002 (2024-03-31) has no labels yet"
    assert "churn" not in frame.data


def test_labels_without_a_period_are_not_measurable(tmp_path, copy):
    change(copy / "world.db", "alter table labels rename column period_start to made")
    frame = load(tmp_path, feast(copy), "month_000")
    assert frame.labelled is None
    assert "the course script prints 0.0 here: both months get the same labels" in frame.label_reason


def test_no_labels_table_is_said(tmp_path, copy):
    change(copy / "world.db", "drop table labels")
    assert load(tmp_path, feast(copy), "month_000").label_reason == "there is no table labels"


def test_rows_and_labels_given_twice_are_counted_and_said(tmp_path, copy):
    change(
        copy / "world.db",
        "insert into entities values ('U005', '2024-01-31')",
        "insert into entities values (null, '2024-01-31')",
    )
    change(copy / "world.db", "insert into labels values ('U005', '2024-01-31', 0)")
    frame = load(tmp_path, feast(copy), "month_000")
    assert frame.rows == USERS
    assert [note.partition(": ")[2] for note in frame.notes[:3]] == [
        "1 row without user_id is left out.",
        "1 row given twice is left out.",
        "1 label is given twice; the first one counts.",
    ]


def test_a_month_without_rows_is_named(tmp_path, copy):
    one, mine = settings(tmp_path), system(tmp_path, feast(copy))
    month = periods.pick(periods.list_periods(one, mine), "month_001")
    change(copy / "world.db", "delete from entities where as_of = '2024-02-29'")
    with pytest.raises(UnknownPeriod, match="2024-02-29"):
        periods.load(one, mine, month)


def test_the_environment_names_the_repository(tmp_path, copy, world):
    shutil.rmtree(copy / "repo")
    assert load(tmp_path, feast(copy), "month_000", FEAST_REPO=str(world[0] / "repo")).rows == USERS


def spoil_registry(data):
    def spoil(home):
        (home / "repo" / "registry.db").write_bytes(data((home / "repo" / "registry.db").read_bytes()))

    return spoil


def _fresh(home):
    shutil.rmtree(home / "repo")
    (home / "repo").mkdir()
    (home / "repo" / "feature_store.yaml").write_text(YAML)


REGISTRIES = {
    "missing": (lambda home: (home / "repo" / "registry.db").unlink(), "registry .* is missing"),
    "empty": (spoil_registry(lambda _: b""), "registry .* is empty"),
    "torn": (spoil_registry(lambda data: data[: len(data) // 2]), "cannot be opened|does not know|no feature views"),
    "noise": (spoil_registry(lambda _: b"\xff\x00 no registry" * 50), "cannot be opened"),
    "no repository": (lambda home: shutil.rmtree(home / "repo"), "no feature repository"),
    "wrong yaml": (lambda home: (home / "repo" / "feature_store.yaml").write_text("project: [1"), "cannot be opened"),
    "never applied": (_fresh, "registry .* is missing"),
}


@pytest.mark.parametrize("case", REGISTRIES)
def test_a_sick_registry_is_an_error_and_never_an_empty_store(tmp_path, copy, case):
    spoil, words = REGISTRIES[case]
    spoil(copy)
    before = sorted(path.name for path in copy.rglob("*"))
    with pytest.raises(SourceUnavailable, match=words) as caught:
        load(tmp_path, feast(copy), "month_000")
    assert caught.value.hint
    assert sorted(path.name for path in copy.rglob("*")) == before


def test_a_feature_the_registry_does_not_know_is_named(tmp_path, world):
    with pytest.raises(SourceUnavailable, match="does not know use_fv:minutes, gone_fv:x"):
        load(tmp_path, feast(world[0], features=["use_fv:minutes", "gone_fv:x", "use_fv:hours"]), "month_000")


def test_a_source_file_that_is_gone_is_said(tmp_path, world):
    (world[0] / "plan.parquet").rename(world[0] / "aside.parquet")
    try:
        with pytest.raises(SourceUnavailable, match="could not read the features"):
            load(tmp_path, feast(world[0]), "month_000")
    finally:
        (world[0] / "aside.parquet").rename(world[0] / "plan.parquet")


# --- SQL and files ----------------------------------------------------------------------------------------------------


def test_a_query_brings_features_and_label(tmp_path, world):
    drift = {"source": "sql", "database": f"sqlite:///{world[0]}/world.db", "label": "churn"}
    drift |= {
        "query": "select * from labels where period_start = :period",
        "periods": "select distinct period_start from labels",
    }
    frame = load(tmp_path, drift, "month_001")
    assert (frame.rows, frame.labelled, frame.label_reason) == (USERS - 3, USERS - 3, "")
    assert (
        load(tmp_path, drift | {"label": "gone"}, "month_001").label_reason
        == "month_001 (2024-02-29) has no column gone"
    )
    empty = drift | {"query": "select * from labels where period_start = :period and user_id = 'x'"}
    with pytest.raises(UnknownPeriod, match="2024-02-29"):
        load(tmp_path, empty, "month_001")


def test_a_query_with_an_error_is_said(tmp_path, world):
    drift = {
        "source": "sql",
        "database": f"sqlite:///{world[0]}/world.db",
        "periods": "select distinct as_of from entities",
    }
    with pytest.raises(SourceUnavailable, match="syntax error"):
        load(tmp_path, drift | {"query": "selec * from x where :period = 1"}, "month_000")


def table(tmp_path, **more):
    data = pd.DataFrame({"when": [f"2024-01-{day:02d}" for day in range(30, 0, -1)], "x": range(30)})
    data.to_csv(tmp_path / "t.csv", index=False)
    return {"source": "files", "path": f"{tmp_path}/t.csv", **more}


@pytest.mark.quick
def test_one_table_is_split_by_rows_in_its_order_or_by_time(tmp_path):
    assert list(load(tmp_path, table(tmp_path, split=0.7), "reference").data.x) == list(range(21))
    assert list(load(tmp_path, table(tmp_path, split=0.7), "rows-070-100").data.x) == list(range(21, 30))
    assert list(load(tmp_path, table(tmp_path, split=0.7, time="when"), "reference").data.x) == list(range(29, 8, -1))


@pytest.mark.quick
def test_one_table_is_split_at_a_date(tmp_path):
    drift = table(tmp_path, split_at="2024-01-11", time="when")
    assert sorted(load(tmp_path, drift, "reference").data.x) == list(range(20, 30))
    assert len(load(tmp_path, drift, "current").data) == 20
    for wrong, words in (({"time": "gone"}, "no column 'gone'"), ({"time": "x", "split_at": "soon"}, "no date")):
        with pytest.raises(DataError, match=words):
            load(tmp_path, drift | wrong, "reference")


@pytest.mark.quick
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b'a,b\n1,2\n3,4,5,6\n"', "row 2 has 4 values"),
        (b"a\n\xff\xfe", "cannot be read"),
        (b"a,b\n", "no rows"),
        (b"a,b,c\n1,2,3\n4,5", "row 2 has 2 of 3 values"),
        (b"a,b,c\r\n1,2,3\r\n4", "row 2 has 1 of 3 values"),
        (b"a,b\n1,2,\n3,4,\n", "jan.csv: row 1 has 3 values, for 2 columns"),
        (b"a,b\n1,2\n3,4,5\n", "row 2 has 3 values, for 2 columns"),
        (b"a,b,c\n1,2,3\n4\n5,6,7\n", "row 2 has 1 of 3 values"),
        (b'a,b\n"x\ny",1\n\n2,3,\n', "row 2 has 3 values"),
        (b"a,b,\n1,2\n3,4\n", "row 1 has 2 of 3 values"),
        (b"a;b\n1;2\n3;4\n", "separated by semicolons"),
        (b"a;b\n1,5;2\n3,5;4\n", "separated by semicolons"),
        (b"a\tb\n1\t2\n", "separated by tabs"),
    ],
)
def test_a_file_that_cannot_be_read_is_said(tmp_path, content, words):
    (tmp_path / "jan.csv").write_bytes(content)
    with pytest.raises(DataError, match=words):
        load(tmp_path, {"source": "files", "path": f"{tmp_path}/{{period}}.csv"}, "jan")


@pytest.mark.quick
@pytest.mark.parametrize("content", [b"a,b\n1,2\n3,4", b"a,b\n1,2\n\n", b'a,b\n1,"x\ny"', b"a\n1\n2", b"a,b\n1,2\n3,"])
def test_a_file_without_a_last_line_end_is_whole_when_its_values_are(tmp_path, content):
    (tmp_path / "jan.csv").write_bytes(content)
    frame = load(tmp_path, {"source": "files", "path": f"{tmp_path}/{{period}}.csv"}, "jan").data
    assert len(frame) == content.strip().count(b"\n") - (b'"' in content)


@pytest.mark.quick
@pytest.mark.parametrize("way", ["split", "window", "split_at"])
def test_rows_that_end_in_a_comma_are_refused_however_a_table_is_cut(tmp_path, way):
    """pandas takes their first column for row names and shifts the others: each value under its neighbour's name."""
    rows = "".join(f"2024-01-{day:02},{hour},1,\n" for day in range(1, 29) for hour in range(3))
    (tmp_path / "all.csv").write_text(f"when,x,y\n{rows}")
    cut = {"split": {"split": 0.7}, "window": {"window": "7d"}, "split_at": {"split_at": "2024-01-11"}}[way]
    one = system(tmp_path, {"source": "files", "path": f"{tmp_path}/all.csv", "label": "y", "time": "when", **cut})
    with pytest.raises(DataError, match=r"all\.csv: (row 1 has 4 values, for 3 columns|its rows have more)"):
        periods.load(settings(tmp_path), one, periods.list_periods(settings(tmp_path), one)[-1])


@pytest.mark.quick
def test_a_comma_at_the_end_of_every_line_makes_no_column_and_the_list_counts_as_the_loader(tmp_path):
    (tmp_path / "jan.csv").write_text("x,label,\n1,0,\n2,,\n3,1,\n")
    one = system(tmp_path, {"source": "files", "path": f"{tmp_path}/{{period}}.csv", "label": "label"})
    (period,) = periods.list_periods(settings(tmp_path), one)
    frame = periods.load(settings(tmp_path), one, period)
    assert list(frame.data.columns) == ["x", "label"]
    assert (period.rows, period.labelled) == (frame.rows, frame.labelled) == (3, 2)


@pytest.mark.quick
def test_a_gauge_has_no_rows(tmp_path):
    month = periods.Period("a", "a", None, 1, None)
    with pytest.raises(DataError, match="as a gauge"):
        periods.load(settings(tmp_path), system(tmp_path, {"source": "gauge", "expr": "x"}), month)


@pytest.mark.quick
def test_two_columns_of_one_name_in_a_csv_file_stay_two(tmp_path):
    (tmp_path / "2024-01-31.csv").write_text("plan,user,plan,\na,u1,b,1\nc,u2,d,2\n")
    drift = {"source": "files", "path": f"{tmp_path}/{{period}}.csv", "identifier": "plan"}
    one = system(tmp_path, drift)
    (period,) = periods.list_periods(settings(tmp_path), one)
    frame = periods.load(settings(tmp_path), one, period)
    assert list(frame.data.columns) == ["plan", "user", "plan", "Unnamed: 3"]
    with pytest.raises(DataError, match="two columns 'plan'"):
        periods.entity_ids(settings(tmp_path), one, None, 9)


def test_a_warm_worker_has_imported_what_the_first_retrieval_needs():
    """Feast imports its engine when it is first asked: a second that the first person who compares would wait."""
    code = (
        "import importlib, sys; from app.periods import store; store.preload(); "
        "assert {*store.LATE, 'duckdb', 'sqlglot'} <= set(sys.modules), set(store.LATE) - set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=170, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
