"""Where a secret is looked for: variable, secrets.toml, file. The rest of signing in is in test_egress.py."""

import os
from types import SimpleNamespace

import pytest

from app.config import Settings, load_systems
from app.egress import credentials
from app.egress.signin import MAX_SECRET_BYTES
from app.errors import ConfigError


def source(secret):
    return SimpleNamespace(auth="basic", user="f1pa", secret=secret)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "a folder, with comma" / "password"
    path.parent.mkdir()
    path.write_text("generated\n")
    return path


@pytest.mark.parametrize("secret", ["file:{}", "NAME, file:{}", "NAME,file:{}", "NAME file: {}"])
def test_a_file_is_read_without_its_last_line_break(tmp_path, file, secret):
    sign_in = credentials(source(secret.format(file)), {}, tmp_path, where="x")
    assert sign_in.secret == "generated"
    assert "generated" not in repr(sign_in)


def test_variable_and_secrets_file_come_before_the_file(tmp_path, file):
    places = source(f"NAME, file:{file}")
    assert credentials(places, {"NAME": "env"}, tmp_path, where="x").secret == "env"
    (tmp_path / ".streamlit").mkdir()
    (tmp_path / ".streamlit" / "secrets.toml").write_text('NAME = "stored"\n')
    assert credentials(places, {}, tmp_path, where="x").secret == "stored"
    assert credentials(places, {"NAME": "env"}, tmp_path, where="x").name == "NAME"


def test_a_secrets_file_that_is_empty_or_missing_names_both_places(tmp_path, file):
    for missing in (file.parent / "nowhere", file):
        file.write_text("")
        with pytest.raises(ConfigError) as caught:
            credentials(source(f"NAME, file:{missing}"), {}, tmp_path, where="f1pa.toml [api]")
        assert "f1pa.toml [api]: the secret NAME is not set" in str(caught.value)
        assert str(missing) in str(caught.value)
        assert "NAME" in caught.value.hint


@pytest.mark.parametrize("content", [b"a\nb\n", b"\xff\xfe", b"x" * (MAX_SECRET_BYTES + 1), b"a\x00b"])
def test_a_file_that_holds_no_secret_is_said_without_its_content(tmp_path, file, content):
    file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        credentials(source(f"file:{file}"), {}, tmp_path, where="x")
    assert str(file) in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_folder_in_place_of_the_file_is_said(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        credentials(source(f"file:{tmp_path}"), {}, tmp_path, where="x")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_of_somebody_else_is_said(tmp_path, file):
    file.chmod(0)
    with pytest.raises(ConfigError, match="cannot be read"):
        credentials(source(f"file:{file}"), {}, tmp_path, where="x")


def test_the_shipped_f1pa_finds_the_password_its_own_stack_generated(tmp_path):
    settings = Settings.from_env({"VIGIE_HOME": str(tmp_path), "HOME": str(tmp_path)})
    api = load_systems(settings).by_id["f1pa"].api
    (tmp_path / "f1pa").mkdir()
    (tmp_path / "f1pa" / "password").write_text("generated")
    assert credentials(api, {}, tmp_path, where="x").secret == "generated"
    assert credentials(api, {"F1PA_PASSWORD": "own"}, tmp_path, where="x").secret == "own"
