"""No password in words: errors, log lines, stored outcomes."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import exc

from app import errors, postgres
from app.base.redaction import Formatter, named_secrets, redacted, without
from app.cli.common import error_object
from app.config import Settings, parse_system
from app.errors import ConfigError, DataError, LedgerError, SourceUnavailable, VigieError
from app.periods import list_periods
from app.periods.database import _engine
from app.runs.index import Ledger

# What no message may show of `postgresql://vigie:<this>@db:5432/x`, however little of it was escaped.
PASSWORDS = ["s3cret", "s3@cret", "s3/cret", "s3:cret", "s3#cret", "s3?cret", "s3%cret", "s3%40cret", "@s3cret", "s3cret@",
             "a:s3@cret/x?y#z", "s3'cret", 's3"cret', "s3\\cret", "s3=cret", "s3&cret", "[s3cret]", "s3cret:80"]  # fmt: skip
PARTS = ("s3", "cret")


@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize(
    "words",
    [
        "VIGIE_PROMETHEUS_URL is 'http://vigie:{}@db:99999/x'; accepted: http://HOST:PORT.",
        "the database postgresql+psycopg://vigie:{}@db:5432/x?sslmode=require is sick",
        "{{'source': 'feast', 'database': 'postgresql://vigie:{}@db/x', 'features': ['v:f']}}",
        "http://first.example http://vigie:{}@db:80, and more",
    ],
)
def test_an_address_is_quoted_without_its_password_whatever_stands_in_it(words, password):
    said = redacted(words.format(password))
    assert not any(part in said for part in PARTS)
    assert said.startswith(words[:10].replace("{{", "{"))
    assert "@db" in said
    assert said.endswith(words[-6:].replace("}}", "}"))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://db/x?user=u&password=s3cret&sslmode=require", "postgresql://db/x?user=u&password=***&sslmode=require"),
        ("http://api.example/x?access_token=s3cret", "http://api.example/x?access_token=***"),
        ("http://api.example/x?a=1&api_key=s3cret#top", "http://api.example/x?a=1&api_key=***#top"),
        ("http://api.example/?token=s3cret", "http://api.example/?token=***"),
        ("host=db user=u password=s3cret dbname=x", "host=db user=u password=*** dbname=x"),
        ("host=db password = 's3 cret\\' x' dbname=x", "host=db password = *** dbname=x"),
        ('host=db sslpassword="s3 cret"', "host=db sslpassword=***"),
        ("F1PA_PASSWORD=s3cret exit 1", "F1PA_PASSWORD=*** exit 1"),
    ],
)  # fmt: skip
def test_secrets_in_query_strings_and_in_libpqs_own_form_are_hidden(text, shown):
    assert redacted(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "", "http://127.0.0.1:9090: connection refused: nothing listens on port 9090.", "write to me@example.org",
        "http://127.0.0.1:9090 says: 1:5: parse error near avg_over_time(x[5m] @ end())", "Name the secret as `secret`.",
        "Accepted: sqlite:///PATH or postgresql+psycopg://USER@HOST:PORT/NAME.", "Set POSTGRES_PASSWORD and start again.",
        'auth = "basic" needs `secret` and `user`.', "key api.secret is 5: Input should be a valid string.",
    ],
)  # fmt: skip
def test_what_holds_no_secret_stays_as_it_is(text):
    assert redacted(text) == text


@given(st.text(max_size=200))
def test_any_text_is_taken(text):
    assert redacted(redacted(text)) == redacted(text)
    assert isinstance(without(text, {text, "abcd"}), str)


@pytest.mark.parametrize("part", ["://", "://a", "?password", "://USER@HOST", "password=", "x.pwd&"])
def test_a_long_text_from_outside_is_passed_once(part):
    """A text that repeats what the search looks for held up every page for minutes: the time limit of tests ends it."""
    text = "@ = " + part * 200_000 + " end"
    assert redacted(text).endswith("end")


def test_no_error_of_ours_shows_a_password_in_message_hint_line_or_json():
    text = "cannot read postgresql://u:s3@cret@db/x"
    for name in errors.__all__:
        kind = getattr(errors, name)
        more = {"run": "x"} if name == "AlreadyImported" else {}
        error = kind(text, hint=f"Correct {text}.", **more)
        whole = f"{error} {error!r} {error.hint} {error.text} {json.dumps(error_object(error))}"
        assert "cret" not in whole
        assert "db/x" in whole


def test_log_files_hold_no_password_not_even_in_a_trace():
    try:
        raise ValueError("http://u:s3@cret@db")
    except ValueError as error:
        record = logging.LogRecord("x", 40, "f", 1, "at %s", ("postgres://u:s3/cret@h",), (ValueError, error, None))
    line = Formatter("%(message)s").format(record)
    assert "cret" not in line
    assert "***@db" in line


def test_values_are_secrets_by_their_name_or_as_passwords_of_addresses():
    pairs = {"POSTGRES_PASSWORD": "one", "GITHUB_TOKEN": " two ", "MY_API_KEY": "three", "PATH": "/bin", "F1PA_PASSWORD_FILE": "/f",
             "VIGIE_LEDGER_URL": "postgresql://u:fo@ur@h/x", "EDITOR": "vi", "AWS_SECRET_ACCESS_KEY": "five"}  # fmt: skip
    assert named_secrets(pairs.items()) == {"one", "two", "three", "fo@ur", "five"}


def test_a_secret_is_found_escaped_too_and_ordinary_words_are_left():
    assert without("got p@ss/word and p%40ss%2Fword", {"p@ss/word"}) == "got *** and ***"
    assert without("false: no such thing, exit 1", {"false", "", "no"}) == "false: no such thing, exit 1"


# --- database addresses -----------------------------------------------------------------------------------------------


def system_on(database, settings):
    text = f'title = "X"\n[drift]\nsource = "sql"\nquery = "q"\nperiods = "p"\ndatabase = {json.dumps(database)}\n'
    return parse_system(text, Path("x.toml"), settings)


@pytest.mark.parametrize(
    "url",
    [*(f"postgresql+psycopg://vigie:{password}@127.0.0.1:1/x" for password in PASSWORDS),
     "postgresql://u:s3cret@h:port/x", "postgresql://u:s3cret@h:99999/x", "postgresql://u:s3cret@h:0/x", "postgresql://u:s3cret@[::1/x",
     "nothing://u:s3cret@h/x", "u:s3cret@h", "postgresql+psycopg://127.0.0.1:1/x?user=u&password=s3cret", "postgresql+psycopg://u:s3cret@127.0.0.1:1/x?a=1&a=2",
     "postgresql+psycopg://127.0.0.1:1/x\0s3cret", "", "://", "mysql://u:s3@cret@h/x"],
)  # fmt: skip
def test_a_database_address_is_refused_or_fails_in_words_that_show_no_password(tmp_path, url):
    settings = Settings.from_env({"VIGIE_HOME": str(tmp_path)})
    said = []
    with pytest.raises(LedgerError) as caught:
        Ledger(url)
    said.append(caught.value.text)
    try:
        with pytest.raises((DataError, SourceUnavailable)) as refused:
            list_periods(settings, system_on(url, settings))
        said.append(refused.value.text)
    except ConfigError as error:
        said.append(error.text)
    assert all(not any(part in text for part in PARTS) for text in said), said


@pytest.mark.parametrize("password", ["s3@cret", "a:s3@cret/x", "s3cret@"])
def test_an_unescaped_at_sign_is_named_with_the_way_to_write_it(tmp_path, password):
    settings = Settings.from_env({"VIGIE_HOME": str(tmp_path)})
    with pytest.raises(SourceUnavailable, match=r"write @ : / .* as %40"):
        list_periods(settings, system_on(f"postgresql+psycopg://vigie:{password}@db/x", settings))
    assert postgres.address("postgresql+psycopg://vigie:s3%40cret@db/x").password == "s3@cret"


@given(st.one_of(st.text(max_size=80), st.builds("{}://{}:{}@{}:{}/{}?{}={}".format, st.sampled_from(["postgresql+psycopg", "sqlite", "mysql", "x"]), *[st.text(max_size=12)] * 7)))  # fmt: skip
def test_any_text_is_a_database_address_or_an_error_of_ours(text):
    try:
        url = postgres.address(text)
    except exc.ArgumentError as error:
        assert postgres.unreadable(error)
        return
    except exc.NoSuchModuleError:
        return
    assert "@" not in (url.host or "")
    try:
        _engine(url).dispose()
    except (exc.SQLAlchemyError, ImportError, ValueError, TypeError, SourceUnavailable):
        return


def test_a_system_file_that_is_refused_quotes_its_database_without_the_password(tmp_path):
    settings = Settings.from_env({"VIGIE_HOME": str(tmp_path)})
    lines = 'title = "X"\n[drift]\nsource = "feast"\ndatabase = "postgresql://u:s3@cret@db/x"\n'
    with pytest.raises(ConfigError) as caught:
        parse_system(lines, tmp_path / "x.toml", settings)
    assert "cret" not in caught.value.text
    for name in ("VIGIE_PROMETHEUS_URL", "VIGIE_API_URL"):
        with pytest.raises(VigieError) as refused:
            Settings.from_env({name: "http://u:s3/cret@h:99999"})
            from app.services import public_url

            public_url(Settings.from_env({"VIGIE_CONSOLE_PUBLIC_URL": "http://u:s3/cret@h:99999"}), None, "console")
        assert "cret" not in refused.value.text
