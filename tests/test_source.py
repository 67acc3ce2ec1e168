"""Where a run's data came from: when two sources are one, what a person reads of them, and what is never own."""

from __future__ import annotations

import pytest

from app.config import Settings, System
from app.runs.own_source import fingerprints, source_of, source_of_job
from app.runs.source import UNKNOWN, Source

SQL = {"source": "sql", "query": "SELECT 1", "periods": "SELECT 2"}
POSTGRES = SQL | {"database": "postgresql+psycopg://reader:pw-one@db:5432/churn"}


def made(drift=None, *, home="/srv/one", api=None, **environ):
    """(settings, system) of that [drift] table and environment."""
    settings = Settings.from_env({"VIGIE_HOME": str(home), "HOME": "/nonexistent", **environ})
    tables = {"drift": drift} if drift else {}
    tables |= {"api": {"url": api}} if api else {}
    return settings, System.model_validate({"id": "mine", "title": "Mine", **tables})


def files(path):
    return {"source": "files", "path": str(path), "split": 0.5}


FEAST = {"source": "feast", "entities": "e", "features": ["v:f"], "identifier": "u", "repo": "/srv/one/feast"}
ENVIRONMENT = {"POSTGRES_HOST": "db", "POSTGRES_DB": "churn", "POSTGRES_USER": "a", "POSTGRES_PASSWORD": "b@c"}


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        (made(POSTGRES), made(POSTGRES | {"database": "postgresql://other:pw@DB/churn"}), True),
        (made(POSTGRES), made(POSTGRES | {"query": "SELECT 3", "periods": "SELECT 4", "threshold": 0.1}), True),
        (made(POSTGRES), made(POSTGRES | {"database": "postgresql://reader:pw-one@db:5433/churn"}), False),
        (made(POSTGRES), made(POSTGRES | {"database": "postgresql://reader:pw-one@db/other"}), False),
        (made(POSTGRES), made(POSTGRES, home="/srv/two"), True),
        (made(POSTGRES), made(SQL | {"database": "sqlite:////x.db"}, **ENVIRONMENT), True),
        (
            made(POSTGRES),
            made(POSTGRES | {"database": "postgresql://db/churn?options=-csearch_path%3Dother"}),
            False,
        ),
        (made(POSTGRES), made(POSTGRES | {"database": "postgresql://db/churn?sslmode=require&password=p"}), True),
        (
            made(SQL | {"database": "postgresql://localhost/x"}),
            made(SQL | {"database": "postgresql://127.0.0.1:5432/x"}),
            True,
        ),
        (made(SQL | {"database": "sqlite:////a/../b.db"}), made(SQL | {"database": "sqlite:////b.db"}), True),
        (made(SQL | {"database": "sqlite:////a.db"}), made(SQL | {"database": "sqlite:////b.db"}), False),
        (made(files("/data/{period}.csv")), made(files("/data/./{period}.csv")), True),
        (made(files("/data/{period}.csv")), made(files("/data/{period}.parquet")), False),
        (made(FEAST | {"database": "sqlite:////w.db"}), made(FEAST | {"database": "sqlite:////w.db"}), True),
        (
            made(FEAST | {"database": "sqlite:////w.db"}),
            made(FEAST | {"database": "sqlite:////w.db", "repo": "/srv/two/feast"}),
            False,
        ),
        # Equal paths, and another way of reading them.
        (made(FEAST | {"database": "sqlite:////w.db"}), made(SQL | {"database": "sqlite:////w.db"}), False),
    ],
)
def test_two_sources_are_one_when_they_are_the_same_data_whoever_asks(first, second, same):
    assert source_of(*first).same(source_of(*second)) is same


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        # The stack takes the next free port: it is this home's all the same.
        (made(), made(), True),
        (made(), made(home="/srv/two"), False),
        (made(api="http://a:1"), made(api="http://a:1"), True),
        (made(api="http://a:1"), made(api="http://a:2"), False),
        (made(api="http://a:1"), made(api="http://b:9", VIGIE_MINE_URL="http://a:1"), True),
        (made(api="http://a:1"), made(api="http://a:1", VIGIE_PROMETHEUS_URL="http://p:9090"), False),
    ],
)
def test_traffic_is_of_the_service_and_the_prometheus_that_watches_it(first, second, same):
    assert source_of(*first, "load").same(source_of(*second, "load")) is same


def test_a_source_names_its_place_and_no_secret():
    found = source_of(*made(FEAST | {"database": "postgresql://reader:pw-one@db/churn"}))
    assert (found.kind, found.address) == ("feast", "database churn at db, feature repository /srv/one/feast")
    found = source_of(*made(api="http://a:1", VIGIE_PROMETHEUS_URL="http://p:9090"), "load")
    assert (found.kind, found.address) == ("api", "http://a:1, Prometheus http://p:9090")


@pytest.mark.parametrize(
    "place",
    [
        made(),
        made(SQL | {"database": "no address at all"}),
        made(SQL | {"database": "postgresql://user:secret@host:port/x"}),
    ],
)
def test_what_cannot_be_told_is_unknown_and_the_same_as_nothing(place):
    found = source_of(*place)
    assert found == UNKNOWN
    assert not found.same(found)
    assert found.word(["", "x"]) == "unknown"


def test_a_link_to_a_path_is_that_path(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "data")
    first, second = (source_of(*made(files(tmp_path / name / "{period}.csv"))) for name in ("data", "link"))
    assert first.same(second)


def test_a_run_of_given_files_or_frames_is_never_the_systems_own():
    settings, system = made(files("/data/{period}.csv"))
    own = fingerprints(settings, system)
    upload = Source.of("upload", "jan.csv, feb.csv", "sha of jan", "sha of feb")
    assert source_of(settings, system).word(own) == "own"
    assert source_of(settings, system).elsewhere(own) == ""
    assert upload.word(own) == "upload"
    assert "jan.csv, feb.csv" in upload.elsewhere(own) and "moves no gauge" in upload.elsewhere(own)
    assert Source.of("files", "/elsewhere").word(own) == "another"
    assert source_of_job(settings, "mine", "drift", {"source": upload.as_dict()}) == upload
    assert source_of_job(settings, "nobody", "drift", {}) == UNKNOWN


@pytest.mark.parametrize("raw", [None, "x", 7, [], {}, {"kind": ""}, {"kind": 3}, {"address": "x"}])
def test_what_is_no_source_is_none(raw):
    assert Source.from_dict(raw) is None
    assert Source.from_dict(UNKNOWN.as_dict()) == UNKNOWN
    assert len(Source.from_dict({"kind": "k" * 99, "address": "a" * 9999, "fingerprint": "f" * 999}).address) == 500
