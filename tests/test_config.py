"""Settings and system files: what is accepted, and the sentence for what is not."""

import json
import math
import os
import re
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field as Key
from pydantic import ValidationError

from app.config import Settings, load_system, load_systems
from app.config.table import REASONS, Table, reason
from app.errors import ConfigError
from app.services import address, public_url, read_state
from app.words.message import Message

ROOT = Path(__file__).resolve().parents[1]


def settings(tmp_path, **env):
    return Settings.from_env({"VIGIE_HOME": str(tmp_path / "home"), "HOME": str(tmp_path), **env})


def write(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_all_three_reference_systems_are_valid(tmp_path):
    systems = load_systems(settings(tmp_path))
    assert list(systems.by_id) == ["streamflow", "diabetes", "f1pa"]
    assert systems.broken == ()


def test_the_reference_systems_keep_the_numbers_of_their_documents(tmp_path):
    systems = load_systems(settings(tmp_path)).by_id
    assert len(systems["streamflow"].drift.feature_names) == 14
    assert systems["streamflow"].drift.columns == "all"
    assert systems["f1pa"].drift.split == 0.7
    assert len(systems["f1pa"].drift.features) == 10
    assert {alert.name for alert in systems["f1pa"].alerts} == {
        "HighPredictionLatency", "ModelNotLoaded", "DatabaseDisconnected", "HighPredictionErrorRate",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ('title = "x"\n[promethues]\nurl = "http://a"', ["unknown key promethues", "prometheus", "metrics"]),
        ('title = "x"\n[prometheus]\nselectr = "a"', ["unknown key prometheus.selectr", "selector", "tenant"]),
        ('title = "x"\n[[panels]]\nid = "a"\ntitle = "t"\nexpr = "up"\nunits = "s"', ["panels.0.units", "unit"]),
        ('title = "x"\n[[panels]]\nid = "a"\ntitle = "t"\nexpr = "up"\nunit = "parsec"', ["unit", "parsec", "1/s"]),
        ('title = "x"\n[drift]\nsource = "files"', ["drift", "`path`"]),
        ('title = "x"\n[drift]\nsource = "csv"\npath = "x"', ["drift.source", "csv", "feast"]),
        ('title = "x"\n[drift]\npath = "x"', ["drift.source", "required"]),
        ('title = "x"\n[drift]\nsource = ["sql"]', ["drift.source", "['sql']", "feast"]),
        ('title = "x"\ndrift = "files"', ["key drift is 'files'", "Drift"]),
        (
            'title = "x"\n[drift]\nsource = "feast"\nrepo = "r"',
            ["drift", "`database`, `features`, `identifier`, `entities`"],
        ),
        (
            'title = "x"\n[drift]\nsource = "files"\npath = "{period}.csv"\nquery = "q"',
            ["unknown key drift.query", "with source = 'files'", "split_at"],
        ),
        (
            'title = "x"\n[drift]\nsource = "sql"\ndatabase = "d"\nquery = "q"\nperiods = "p"\nthreshold = 2',
            ["drift", "a share of columns: 0 to 1"],
        ),
        ('title = "x"\n[drift]\nsource = "gauge"\nexpr = "x"\nneeds = 3', ["drift", "`needs` and `has` belong"]),
        ('title = "x"\n[drift]\nsource = "gauge"\nexpr = "x"\nthreshold = "lots"', ["drift.threshold", "lots"]),
        ('title = "x"\n[api]\nurl = "localhost:8000"', ["api.url", "localhost:8000", "http://HOST:PORT"]),
        ('title = "x"\n[api]\nurl = "http://u:p@h:1"', ["api.url", "user or password"]),
        ('title = "x"\n[api]\nuser = "a:b"', ["api.user", "a:b", "no colon"]),
        ('title = "x"\n[prometheus]\nauth = "basic"\nuser = "a\\u0000"\nsecret = "S"', ["prometheus.user", "control"]),
        ('title = "x"\n[load]\nmax_rate = 1000000', ["load.max_rate", "1000000", "1000"]),
        ('title = "x"\n[request.fields.a]\nfrom = "range"\nmin = 2\nmax = 1', ["request.fields.a", "min <= max"]),
        ("title = ", ["not valid TOML", "end of document"]),
        ("", ["title", "required"]),
        ('title = "x"\n' + "[[panels]]\nid='a'\ntitle='t'\nexpr='up'\n" * 2, ["two panels share the id 'a'"]),
    ],
)
def test_a_wrong_system_file_is_refused_with_file_key_value_and_what_is_accepted(tmp_path, text, parts):
    path = write(tmp_path, "mine.toml", text)
    with pytest.raises(ConfigError) as caught:
        load_system(path, settings(tmp_path))
    message = str(caught.value)
    assert str(path) in message
    for part in parts:
        assert part in message, message
    assert "pydantic" not in message
    assert "Value error" not in message
    assert caught.value.hint


class Everything(Table):
    """A value of each kind that a system file has."""

    text: Annotated[str, Key(pattern="^a$")]
    whole: Annotated[int, Key(gt=1, le=4)]
    share: Annotated[float, Key(ge=0.5, lt=1, allow_inf_nan=False)]
    flag: bool
    choice: Literal["a", "b"]
    table: dict[str, int]
    rows: tuple[int, ...]


WRONG = (
    {},
    {"text": 1, "whole": "x", "share": "x", "flag": [], "choice": "c", "table": 1, "rows": 1},
    {"text": "b", "whole": 1, "share": 0.25},
    {"whole": 5, "share": 1.5},
    {"whole": 1.5, "share": math.inf},
    {"whole": [], "share": []},
)


def test_most_of_what_pydantic_reports_is_a_message_with_pydantics_own_english():
    faults = {}
    for values in WRONG:
        with pytest.raises(ValidationError) as failed:
            Everything.model_validate(values)
        faults |= {fault["type"]: fault for fault in failed.value.errors()}
    assert set(faults) >= set(REASONS)
    for fault in faults.values():
        assert reason(fault) == fault["msg"]
        assert isinstance(reason(fault), Message) == (fault["type"] in REASONS)


def test_a_url_in_an_error_never_shows_its_password(tmp_path):
    path = write(tmp_path, "mine.toml", 'title = "x"\n[api]\nurl = "http://u:hunter2@h:1"')
    with pytest.raises(ConfigError) as caught:
        load_system(path, settings(tmp_path))
    assert "hunter2" not in caught.value.text


@pytest.mark.parametrize("name", ["Mine.toml", "9x.toml", "a b.toml", "x" * 33 + ".toml"])
def test_a_file_name_that_is_no_system_id_is_refused(tmp_path, name):
    with pytest.raises(ConfigError, match="system's id"):
        load_system(write(tmp_path, name, 'title = "x"'), settings(tmp_path))


@pytest.mark.parametrize("content", [b"\xff\xfe", b"title = 'x'\n" + b"#" * 1_100_000, b"a=" + b"[" * 20_000])
def test_a_hostile_file_is_an_error_and_not_a_crash(tmp_path, content):
    path = tmp_path / "mine.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError):
        load_system(path, settings(tmp_path))


def test_one_broken_file_and_one_double_hide_no_other(tmp_path):
    folder = tmp_path / "systems"
    folder.mkdir()
    write(folder, "bad.toml", "nonsense")
    write(folder, "good.toml", 'title = "Good"')
    write(folder, "streamflow.toml", 'title = "Twice"')
    systems = load_systems(settings(tmp_path, VIGIE_SYSTEMS=str(folder)))
    assert "good" in systems.by_id
    assert systems.by_id["streamflow"].title == "StreamFlow churn"
    messages = sorted(str(error) for error in systems.broken)
    assert [message.split(":")[0] for message in messages] == [f"{folder}/bad.toml", f"{folder}/streamflow.toml"]
    assert "already defined" in messages[1]


def test_only_the_named_placeholders_are_expanded(tmp_path):
    path = write(
        tmp_path, "mine.toml", 'title = "$HOME ${HOME}"\n[drift]\nsource="files"\npath="${VIGIE_HOME}/{period}.csv"'
    )
    system = load_system(path, settings(tmp_path))
    assert system.title == "$HOME ${HOME}"
    assert system.drift.path == f"{tmp_path}/home/{{period}}.csv"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("VIGIE_PROMETHEUS_URL", "ftp://x"),
        ("PROMETHEUS_URL", "nonsense"),
        ("VIGIE_KEEP_BYTES", "5GB"),
        ("VIGIE_PROMETHEUS_URL", "http://[::1"),
    ],
)
def test_a_wrong_variable_is_named_with_its_value(tmp_path, name, value):
    with pytest.raises(ConfigError, match=re.escape(name)) as caught:
        settings(tmp_path, **{name: value})
    assert value in str(caught.value)


def test_any_postgres_variable_beats_the_system_files_database(tmp_path):
    assert settings(tmp_path).postgres_url is None
    made = settings(tmp_path, POSTGRES_PASSWORD="p@ss/w", POSTGRES_HOST="db").postgres_url
    assert made == "postgresql+psycopg://streamflow:p%40ss%2Fw@db:5432/streamflow"


def test_an_address_comes_from_environment_then_file_then_stack(tmp_path):
    plain = settings(tmp_path)
    system = load_systems(plain).by_id["streamflow"]
    assert address(plain, system, "api").url is None
    assert "not been started" in address(plain, system, "api").reason
    state = plain.home / "stack" / "state.json"
    state.parent.mkdir(parents=True)
    row = {"url": "http://127.0.0.1:8000", "state": "up", "reason": "", "pid": 1, "started": "1", "log": None}
    state.write_text(json.dumps({"version": 1, "owner": None, "services": {"streamflow": row}}))
    assert address(plain, system, "api").origin == "stack"
    filed = system.model_copy(update={"api": system.api.model_copy(update={"url": "http://file:1"})})
    assert (address(plain, filed, "api").url, address(plain, filed, "api").origin) == ("http://file:1", "system file")
    named = settings(tmp_path, VIGIE_STREAMFLOW_URL="http://env:1/")
    assert (address(named, filed, "api").url, address(named, filed, "api").origin) == ("http://env:1", "environment")


def test_services_of_a_supervisor_that_was_killed_read_down(tmp_path):
    made = settings(tmp_path)
    (made.home / "stack").mkdir(parents=True)
    row = {"url": "http://127.0.0.1:8000", "state": "up", "reason": "", "pid": 1, "started": "1", "log": None}
    owner = {"pid": os.getpid(), "started": "not when this process started"}
    text = json.dumps({"version": 1, "owner": owner, "services": {"streamflow": row}})
    (made.home / "stack" / "state.json").write_text(text)
    service = read_state(made).services["streamflow"]
    assert service.state == "down"
    assert "the stack has ended" in service.reason


def test_the_address_of_a_service_that_has_ended_is_not_used(tmp_path):
    made = settings(tmp_path)
    (made.home / "stack").mkdir(parents=True)
    row = {
        "url": "http://127.0.0.1:9090",
        "state": "down",
        "reason": "killed",
        "pid": None,
        "started": None,
        "log": None,
    }
    text = json.dumps({"version": 1, "owner": None, "services": {"prometheus": row}})
    (made.home / "stack" / "state.json").write_text(text)
    place = address(made, None, "prometheus")
    assert (place.url, place.state, place.reason) == (None, "down", "killed")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"services": 3}', '{"services": {"a": null}}'])
def test_a_torn_state_file_is_a_reason_and_not_a_crash(tmp_path, content):
    made = settings(tmp_path)
    (made.home / "stack").mkdir(parents=True)
    (made.home / "stack" / "state.json").write_text(content)
    state = read_state(made)
    assert state.services == {}
    assert "cannot be read" in state.reason


def test_the_home_id_does_not_show_the_path(tmp_path):
    assert re.fullmatch(r"[0-9a-f]{16}", settings(tmp_path).home_id)


def test_links_show_the_address_a_browser_reaches(tmp_path):
    made = settings(tmp_path, VIGIE_PROMETHEUS_PUBLIC_URL="http://127.0.0.1:9999/")
    assert public_url(made, None, "prometheus") == "http://127.0.0.1:9999"
    assert public_url(made, None, "grafana") is None
