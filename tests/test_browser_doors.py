"""The doors in a real browser: a page elsewhere, a token, a proxy that speaks TLS, a path prefix, `st.login`."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.conftest import free_port
from tests.console_world import (
    Console,
    get,
    ready,
    running,
    wait_equal,
    wait_text,
    wait_until,
)
from tests.door_fakes import Provider, provider, tls_proxy
from tests.http_fakes import answer, serve

pytestmark = pytest.mark.browser
# Browsers find every name under localhost on this machine; to the console it is a host like any other.
HOST = "vigie.localhost"
TOKEN = "a-token-of-the-tests-0123456789"

# What a page may try with the console of its reader: each says whether it got through.
TRIES = """async ([http, own]) => {
  const socket = () => new Promise(done => {
    const tried = new WebSocket(http.replace(/^http/, 'ws') + '/_stcore/stream', ['streamlit'])
    tried.onopen = () => { tried.close(); done('open') }
    tried.onerror = () => done('refused')
  })
  const sent = async (method, path, more) => {
    try { const answer = await fetch(http + path, { method, ...more }); return answer.type + ' ' + await answer.text() }
    catch (error) { return error.name }
  }
  return {
    socket: await socket(),
    post: await sent('POST', '/signin', { body: 'token=x', mode: own ? 'same-origin' : 'no-cors' }),
    put: await sent('PUT', '/_stcore/upload_file/a/b', { body: 'x' }),
  }
}"""


def test_a_page_on_another_port_of_this_machine_gives_the_console_no_order(console, tabs):
    with serve(answer(b"<!doctype html><title>elsewhere</title>", kind="text/html")) as elsewhere:
        page = tabs()
        page.goto(f"{elsewhere.url}/")
        heard: list[int] = []
        page.on("response", lambda one: heard.append(one.status) if one.request.method == "POST" else None)
        got = page.evaluate(TRIES, [console.url, False])
        # A page elsewhere may not read the answer of its POST; what it was stands in the browser's own record.
        assert got == {"socket": "refused", "post": "opaque ", "put": "TypeError"}
        wait_equal(page, lambda: heard, [403])
    page.goto(console.url)
    ready(page, "overview")
    got = page.evaluate(TRIES, [console.url, True])
    assert got["socket"] == "open"
    # An open console leads from the form to its first page; the upload reaches Streamlit, which knows no such session.
    assert got["post"].startswith("basic <!")
    assert got["put"].startswith("basic ")
    assert "may not act here" not in got["post"] + got["put"]


@dataclass
class Closed:
    """A console behind TLS and a path prefix, with a token and an identity provider."""

    console: Console
    provider: Provider
    url: str


@pytest.fixture(scope="module")
def closed(tmp_path_factory, stack_binaries) -> Iterator[Closed]:
    folder = tmp_path_factory.mktemp("closed")
    server = socket.create_server(("127.0.0.1", 0), backlog=50)
    origin = f"https://{HOST}:{server.getsockname()[1]}"
    environ = {
        **stack_binaries,
        "VIGIE_START": "none",
        "VIGIE_TOKEN": TOKEN,
        "VIGIE_ALLOWED_ORIGINS": origin,
        "STREAMLIT_SERVER_BASE_URL_PATH": "vigie",
    }
    console = Console(folder / "home", free_port(), environ)
    with provider() as fake, tls_proxy(server, folder, HOST, console.port):
        place = folder / "home" / ".streamlit"
        place.mkdir(parents=True)
        (place / "secrets.toml").write_text(fake.secrets_toml(f"{origin}/vigie/oauth2callback"))
        with running(console):
            yield Closed(console, fake, f"{origin}/vigie")


def answered(page: Any, url: str) -> int:
    """The status of an address, opened as a link would open it."""
    other = page.context.new_page()
    status = other.goto(url).status
    other.close()
    return int(status)


def test_the_token_opens_the_console_behind_tls_and_a_prefix(closed, page):
    page.goto(f"{closed.url}/charts?system=diabetes")
    assert page.title() == "Sign in · Vigie"
    page.get_by_label("Token").fill("not the token at all")
    page.get_by_role("button", name="Sign in").click()
    page.get_by_text("That is not the token").wait_for()
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_role("button", name="Sign in").click()
    ready(page, "charts")
    wait_equal(page, lambda: page.url, f"{closed.url}/charts?system=diabetes")
    cookies = {row["name"]: row for row in page.context.cookies()}
    (session,) = (row for name, row in cookies.items() if name.startswith("vigie_"))
    assert (session["httpOnly"], session["secure"], session["sameSite"]) == (True, True, "Lax")
    assert session["path"] == "/vigie"
    assert answered(page, f"{closed.url}/metrics") == 200

    page.get_by_role("link", name="Sign out").click()
    page.get_by_role("heading", name="Sign out?").wait_for()
    page.get_by_role("button", name="Sign out").click()
    page.get_by_label("Token").wait_for()
    assert answered(page, f"{closed.url}/metrics") == 401


def test_a_link_with_the_token_shows_the_page_and_no_token(closed, page):
    page.goto(f"{closed.url}/charts?token={TOKEN}&system=diabetes")
    ready(page, "charts")
    assert TOKEN not in page.url
    assert TOKEN not in page.evaluate("document.referrer")
    assert TOKEN not in closed.console.text()
    # A link on another site, as in a chat, finds the session.
    link = f'<!doctype html><a href="{closed.url}/targets">the targets</a>'
    with serve(answer(link.encode(), kind="text/html")) as chat:
        page.goto(f"{chat.url}/")
        with page.expect_navigation() as led:
            page.get_by_role("link").click()
        assert led.value.status == 200


def test_the_embedded_prometheus_scrapes_the_closed_console_with_its_token(closed):
    closed.console.wait_up({"prometheus"})
    wait_until(
        "the console is up for its Prometheus",
        lambda: [value for _, value in closed.console.query('up{job="console"}')] == [1.0],
    )
    # No child of the console has the token in its environment: hooks and services never see it.
    state = json.loads((closed.console.home / "stack" / "state.json").read_bytes())
    for pid in (state["owner"]["pid"], state["services"]["prometheus"]["pid"]):
        with open(f"/proc/{pid}/environ", "rb") as environ:
            assert TOKEN.encode() not in environ.read()
    assert get(f"{closed.console.url}/metrics")[0] == 401


def test_who_signs_in_with_an_identity_provider_sees_pages_and_our_routes(closed, page):
    page.goto(f"{closed.url}/charts")
    assert answered(page, f"{closed.url}/metrics") == 401
    page.get_by_role("link", name="Sign in with your account").click()
    ready(page, "charts")
    assert {"/authorize", "/token", "/jwks"} <= set(closed.provider.asked)
    assert answered(page, f"{closed.url}/metrics") == 200
    assert not any(row["name"].startswith("vigie_") for row in page.context.cookies())

    # Streamlit's cookie with one letter changed is nobody's.
    (cookie,) = (row for row in page.context.cookies() if row["name"] == "_streamlit_user")
    spoilt = cookie["value"][:-3] + ("A" if cookie["value"][-3] != "A" else "B") + cookie["value"][-2:]
    page.context.add_cookies([{**cookie, "value": spoilt}])
    assert answered(page, f"{closed.url}/metrics") == 401
    page.context.add_cookies([cookie])
    assert answered(page, f"{closed.url}/metrics") == 200

    page.get_by_role("link", name="Sign out").click()
    page.get_by_role("button", name="Sign out").click()
    page.get_by_label("Token").wait_for()
    assert answered(page, f"{closed.url}/metrics") == 401


def test_a_stack_that_was_told_to_start_no_api_starts_none_when_one_is_picked(closed, page):
    # Nothing of it is about doors; this console has been told so.
    console = closed.console.wait_up({"prometheus", "node_exporter"})
    page.goto(f"{closed.url}/?token={TOKEN}&system=f1pa")
    wait_text(page, "Prometheus does not scrape F1PA lap times. Start it with python -m stack up --systems f1pa")
    assert set(console.services()) == {"prometheus", "node_exporter"}
    assert not list((console.home / "stack" / "wanted").iterdir())
