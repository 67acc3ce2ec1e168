import datetime as dt
import json
import sqlite3
from decimal import Decimal

import pytest

from app.config import Field, Request, RequestError, Settings, System
from app.errors import ConfigError, DataError, SourceUnavailable, UnknownPeriod
from app.load import payload
from app.load.payload import encode, fill, make, placeholders
from app.load.plan import Plan
from app.periods.feast import Feast
from app.periods.sql import Sql


def field(**keys):
    return Field.model_validate({"from": keys.pop("from_"), **keys})


def system(body, fields=None, errors=None, **more):
    request = Request(body=body, fields=fields or {}, errors=errors or {})
    return System(id="fake", title="Fake", request=request, **more)


def bodies(of, settings=None, **args):
    plan = Plan.from_args({"count": 200, "duration": 10, **args}, of)
    made = make(plan, settings, of)
    return [json.loads(made.bodies[kind][at]) for kind, at in map(made.at, range(plan.requests))]


def test_a_placeholder_is_replaced_by_a_value_of_its_own_type():
    of = system(
        {"a": "$word", "deep": [{"b": "$number"}, "$flag"], "c": "plain", "d": 3, "price": "$$word", "cost": "5 $"},
        {
            "word": field(from_="list", values=["x"]),
            "number": field(from_="list", values=[7]),
            "flag": field(from_="list", values=[True]),
        },
    )
    assert bodies(of)[0] == {"a": "x", "deep": [{"b": 7}, True], "c": "plain", "d": 3, "price": "$word", "cost": "5 $"}


def test_the_same_seed_draws_the_same_and_another_seed_something_else():
    of = system({"u": "$u"}, {"u": field(from_="list", values=list(range(1000)))})
    assert bodies(of, seed=1) == bodies(of, seed=1)
    assert bodies(of, seed=1) != bodies(of, seed=2)
    assert len({body["u"] for body in bodies(of)}) > 150


@pytest.mark.parametrize(
    ("keys", "check"),
    [
        ({"min": 0, "max": 13, "whole": True}, lambda v: isinstance(v, int) and 0 <= v <= 13),
        ({"min": 10, "max": 20, "whole": True, "step": 5}, lambda v: v in (10, 15, 20)),
        ({"min": 18.2, "max": 55.0, "step": 0.1}, lambda v: 18.2 <= v <= 55.0 and v == round(v, 1)),
        ({"min": 0.08, "max": 1.8, "step": 0.001}, lambda v: 0.08 <= v <= 1.8 and v == round(v, 3)),
        ({"min": -1, "max": 1}, lambda v: isinstance(v, float) and -1 <= v <= 1),
        ({"min": 5, "max": 5}, lambda v: v == 5),
    ],
)
def test_a_range_stays_within_its_ends_and_on_its_steps(keys, check):
    of = system({"v": "$v"}, {"v": field(from_="range", **keys)})
    values = [body["v"] for body in bodies(of)]
    assert all(check(value) for value in values)
    assert len(set(values)) > 1 or keys["min"] == keys["max"]


def test_both_ends_of_a_range_are_drawn():
    of = system({"v": "$v"}, {"v": field(from_="range", min=1, max=3, whole=True)})
    assert {body["v"] for body in bodies(of)} == {1, 2, 3}


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "data.db"
    with sqlite3.connect(path) as made:
        made.execute("create table users (id text, age integer)")
        made.executemany("insert into users values (?, ?)", [(f"U{i}", i) for i in range(20)] + [(None, 1)])
        made.execute("create table nobody (id text)")
    return Sql(database=f"sqlite:///{path}", query="x", periods="y")


@pytest.fixture
def settings(tmp_path):
    return Settings.from_env({"VIGIE_HOME": str(tmp_path), "HOME": str(tmp_path)})


def test_values_come_from_a_query_and_nulls_are_left_out(database, settings):
    of = system({"u": "$u"}, {"u": field(from_="sql", query="select age, id from users", column="id")}, drift=database)
    assert {body["u"] for body in bodies(of, settings)} == {f"U{i}" for i in range(20)}
    first = system({"u": "$u"}, {"u": field(from_="sql", query="select age from users")}, drift=database)
    assert all(isinstance(body["u"], int) for body in bodies(first, settings))


@pytest.mark.parametrize(
    ("keys", "error", "words"),
    [
        ({"query": "select id from nobody"}, SourceUnavailable, "gave no value"),
        ({"query": "select id from nowhere"}, SourceUnavailable, "no such table"),
        ({"query": "not sql"}, SourceUnavailable, "syntax error"),
        ({"query": "select id from users", "column": "name"}, ConfigError, "no column 'name'"),
    ],
)
def test_a_query_that_gives_nothing_says_why(database, settings, keys, error, words):
    of = system({"u": "$u"}, {"u": field(from_="sql", **keys)}, drift=database)
    with pytest.raises(error) as caught:
        bodies(of, settings)
    assert words in str(caught.value)
    assert caught.value.hint


def test_a_query_without_a_database_says_so(settings):
    with pytest.raises(DataError, match="names no database"):
        bodies(system({"u": "$u"}, {"u": field(from_="sql", query="select 1")}), settings)


def test_a_placeholder_without_a_field_is_named():
    with pytest.raises(ConfigError) as caught:
        bodies(system({"a": ["$nobody"]}, {"other": field(from_="list", values=[1])}))
    assert "$nobody" in str(caught.value)
    assert "other" in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), {1, 2}])
def test_what_json_cannot_say_is_refused(value):
    with pytest.raises(ConfigError, match="cannot be written as JSON"):
        encode({"a": value}, "fake")


def test_database_types_become_json():
    row = {"a": Decimal("1.5"), "b": Decimal(3), "c": dt.date(2024, 1, 31), "d": dt.datetime(2024, 1, 31, 12)}
    assert json.loads(encode(row, "fake")) == {"a": 1.5, "b": 3, "c": "2024-01-31", "d": "2024-01-31T12:00:00"}


def test_a_body_of_nothing_is_no_body():
    assert encode(None, "fake") == b""
    assert fill(None, {}) is None
    assert placeholders({"a": "$b", "c": ["$d", "$$e", "$"]}) == {"b", "d"}


def test_bodies_are_bounded_and_sent_in_turn(monkeypatch):
    monkeypatch.setattr(payload, "MAX_BODIES", 10)
    of = system({"u": "$u"}, {"u": field(from_="list", values=list(range(1000)))})
    drawn = [body["u"] for body in bodies(of)]
    assert drawn[:10] == drawn[10:20]
    monkeypatch.setattr(payload, "MAX_BODY_BYTES", 5)
    with pytest.raises(ConfigError, match="bytes"):
        bodies(of)


def test_exactly_the_asked_share_fails_and_every_kind_of_failure_is_used():
    errors = {"one": RequestError(body={"x": 1}, status=422), "two": RequestError(body={"x": 2}, status=404)}
    of = system({"u": 0}, errors=errors)
    drawn = bodies(of, errors=0.1)
    assert len(drawn) == 200
    assert [drawn.count({"x": 1}), drawn.count({"x": 2}), drawn.count({"u": 0})] == [10, 10, 180]
    places = [number for number, body in enumerate(drawn) if body != {"u": 0}]
    assert places != list(range(20))


@pytest.fixture
def months(tmp_path):
    path = tmp_path / "months.db"
    with sqlite3.connect(path) as made:
        made.execute("create table entities (user_id text, as_of text)")
        rows = [(f"{month}-{i}", month) for month in ("2024-01-31", "2024-02-29") for i in range(5)]
        made.executemany("insert into entities values (?, ?)", rows)
    return Feast(
        repo="r",
        database=f"sqlite:///{path}",
        entities="entities",
        features=("f:x",),
        identifier="user_id",
    )


def test_identifiers_come_from_the_period_of_the_plan_or_the_newest(months, settings):
    of = system({"u": "$u"}, {"u": field(from_="period", column="user_id")}, drift=months)
    assert {body["u"] for body in bodies(of, settings)} == {f"2024-02-29-{i}" for i in range(5)}
    for name in ("2024-01-31", "month_000"):
        assert {body["u"] for body in bodies(of, settings, period=name)} == {f"2024-01-31-{i}" for i in range(5)}
    with pytest.raises(UnknownPeriod):
        bodies(of, settings, period="2031-01-31")
