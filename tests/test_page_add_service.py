"""The Add a service page as a script: a real service is read, its file changed, tried and saved."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from app.config import Settings, load_system
from tests import drawn
from tests.conftest import forget_pages, free_port
from tests.http_fakes import answer, serve
from tests.own_service_fixture import running_service


@pytest.fixture(scope="module")
def service() -> Iterator[str]:
    with running_service() as url:
        yield url


@pytest.fixture
def own(home, tmp_path, monkeypatch) -> Path:
    """The folder that new systems go to."""
    monkeypatch.delenv("VIGIE_PROPOSE_HOSTS", raising=False)
    monkeypatch.setenv("VIGIE_SYSTEMS", str(tmp_path / "own"))
    return tmp_path / "own"


def opened() -> AppTest:
    return drawn.opened("add_service")


def read(url: str) -> AppTest:
    app = opened()
    app.text_input(key="own_url").set_value(url)
    return press(app, "Read")


def press(app: AppTest, label: str) -> AppTest:
    next(one for one in app.button if one.label == label).click()
    return app.run()


def words(app: AppTest) -> str:
    kinds = ("title", "subheader", "markdown", "caption", "error", "code")
    return "\n".join(str(one.value) for kind in kinds for one in app.main.get(kind)).replace("\\", "")


def test_before_an_address_the_page_says_what_it_will_read(own):
    app = opened()
    assert not app.exception
    assert app.title[0].value == "Add a service"
    assert "/openapi.json" in words(app)


def test_a_service_is_read_tried_and_saved_and_its_pages_are_offered(own, service):
    app = read(service)
    said = words(app)
    assert "counter**: iris_requests_total (label code)" in said
    assert "POST /v1/classify" in said
    assert "job_name: iris" in said
    assert "counted from its raw /metrics" in said
    assert app.dataframe[0].value["what was seen"].str.contains("HTTP 200").any()
    assert not own.exists()
    app = press(app, "Save")
    assert not app.exception
    assert "Saved as" in words(app)
    kept = load_system(own / "iris.toml", Settings.from_env())
    assert kept.metrics.requests == "iris_requests_total"
    assert "iris" in app.sidebar.selectbox[0].options or "Iris API" in app.sidebar.selectbox[0].options


def test_a_file_that_is_not_valid_is_named_with_its_key_and_cannot_be_saved(own, service):
    app = read(service)
    text = app.text_area(key="own_text")
    text.set_value(text.value.replace("[metrics]", '[metrics]\ncolour = "red"'))
    app.run()
    assert "unknown key metrics.colour" in words(app)
    assert next(one for one in app.button if one.label == "Save").disabled
    assert "Nothing was tried" in words(app)
    text = app.text_area(key="own_text")
    text.set_value(text.value.replace('colour = "red"\n', ""))
    app.run()
    assert "Valid: every key" in words(app)
    assert not next(one for one in app.button if one.label == "Save").disabled


def test_another_name_goes_through_the_file(own, service):
    app = read(service)
    app.text_input(key="own_name").set_value("flowers")
    app.run()
    assert "selector = 'job=\"flowers\"'" in app.text_area(key="own_text").value
    assert "job_name: flowers" in words(app)
    press(app, "Save")
    assert [path.name for path in own.iterdir()] == ["flowers.toml"]


@pytest.mark.parametrize("name", ["../iris", "streamflow", "Iris", ""])
def test_a_name_that_is_none_or_is_taken_is_refused_in_words(own, service, name):
    app = read(service)
    app.text_input(key="own_name").set_value(name)
    app.run()
    if not next(one for one in app.button if one.label == "Save").disabled:
        app = press(app, "Save")
    assert not app.exception
    assert app.error
    assert not own.exists() or not list(own.iterdir())


def test_a_typed_file_that_names_another_machine_is_neither_tried_nor_saved(own, service):
    app = read(service)
    text = app.text_area(key="own_text")
    text.set_value(text.value.replace(service + '"\nhealth', 'http://10.255.255.1:80"\nhealth'))
    app.run()
    assert "VIGIE_PROPOSE_HOSTS" in words(app)
    assert next(one for one in app.button if one.label == "Save").disabled


def test_a_command_typed_into_the_file_is_neither_tried_nor_saved_whatever_the_browser_sends(own, service):
    app = read(service)
    text = app.text_area(key="own_text")
    hook = '[[drift.hooks]]\nname = "x"\ncommand = ["/bin/sh", "-c", "id > PWNED"]\n'
    data = '[drift]\nsource = "files"\npath = "${VIGIE_HOME}/{period}.csv"\n'
    text.set_value(f"{text.value}\n{data}{hook}")
    app.run()
    assert "a page may not save drift.hooks" in words(app)
    assert str(own / "iris.toml") in words(app)
    assert "Nothing was tried" in words(app)
    assert next(one for one in app.button if one.label == "Save").disabled
    # A disabled button keeps a browser back, not a client that speaks the protocol: text and press in one message.
    app = read(service)
    text = app.text_area(key="own_text")
    text.set_value(f"{text.value}\n{data}{hook}")
    next(one for one in app.button if one.label == "Save").set_value(True)
    app.run()
    assert not app.exception
    assert "a page may not save drift.hooks" in words(app)
    assert not own.exists() or not list(own.iterdir())


def test_what_was_typed_is_still_there_after_another_page(own, service):
    app = read(service)
    text = app.text_area(key="own_text")
    text.set_value(text.value + "\n# mine\n")
    app.run()
    app.switch_page("../pages/targets.py").run()
    app.switch_page("../pages/add_service.py").run()
    assert "# mine" in app.text_area(key="own_text").value


@pytest.mark.parametrize(
    "url", ["", "nonsense address", "http://169.254.169.254", "http://10.0.0.1", "file:///etc/passwd"]
)
def test_an_address_that_is_none_or_not_allowed_is_refused_in_words(own, url):
    app = read(url)
    assert not app.exception
    assert app.error
    assert not app.text_area


def test_a_server_that_is_no_service_is_said(own):
    with serve(answer(b"<html><title><b>Log in</b></title></html>", kind="text/html")) as fake:
        app = read(fake.url)
    assert "nothing could be read" in words(app)
    app = read(f"http://127.0.0.1:{free_port()}")
    assert "Nothing can be proposed" in words(app)


def test_an_attached_prometheus_that_scrapes_the_service_is_recognised(
    own, monkeypatch, prometheus_url, scraped_service
):
    monkeypatch.setenv("VIGIE_PROMETHEUS_URL", prometheus_url)
    forget_pages()
    app = read(scraped_service.url)
    said = words(app)
    assert 'already scraped: job="api"' in said
    assert "configuration of your Prometheus" in said
    seen = app.dataframe[0].value
    assert set(seen[seen["name"] == "rps"]["state"]) == {"✓ OK"}
