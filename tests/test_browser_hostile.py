"""Hostile data, hosts, paths and frames against the running console."""

from __future__ import annotations

import base64
import http.client
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from tests import warm
from tests.console_world import Console, get, go_on, ready, wait_equal, wait_until
from tests.hostile_system import MONTHS, SCRIPT, SYSTEM, WORDS, hostile_prometheus, write_words
from tests.http_fakes import answer, serve

pytestmark = pytest.mark.browser
PAGES = ("/", "/targets", "/charts", "/traffic", "/drift")
ROUTES = ("/metrics", "/healthz", "/reports/view/20240101T000000Z-000000")


@pytest.fixture(scope="module")
def hostile_run(console) -> str:
    """The id of a comparison whose data holds a script as a category, made by the command line."""
    command = ("app", "drift", "--system", SYSTEM, "--ref", MONTHS[0], "--cur", MONTHS[1], "--json")
    done = warm.run(*command, env=console.environ, libraries=warm.LIGHT)
    assert done.returncode == 0, done.stderr
    return str(json.loads(done.stdout)["run"])


def exchange(console: Console, request: bytes) -> tuple[int, bytes]:
    """(status, whole answer) of a request sent byte for byte, so that no client tidies its path."""
    with socket.create_connection(("127.0.0.1", console.port), timeout=15) as client:
        client.sendall(request)
        answer = http.client.HTTPResponse(client)
        answer.begin()
        return answer.status, answer.read()


def plain(path: str, host: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()


def upgrade(console: Console, host: str, origin: str) -> bytes:
    key = base64.b64encode(os.urandom(16)).decode()
    lines = ["GET /_stcore/stream HTTP/1.1", f"Host: {host}", "Upgrade: websocket", "Connection: Upgrade"]
    lines += [f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", f"Origin: {origin}", "", ""]
    return "\r\n".join(lines).encode()


def test_a_category_that_is_a_script_runs_nothing_and_the_report_draws(console, page, hostile_run):
    dialogs: list[Any] = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    status, _, body = get(f"{console.url}/reports/frame/{hostile_run}")
    assert status == 200
    assert SCRIPT.encode() not in body
    assert b"document.title=" in body  # it is in the report, harmless

    page.goto(f"{console.url}/reports/view/{hostile_run}")
    full = page.frame_locator("iframe")
    full.get_by_text("plan").first.wait_for(state="visible")
    full.locator("table, .js-plotly-plot").first.wait_for(state="visible")
    assert page.get_by_role("link", name="Download HTML").is_visible()
    # Charts that Evidently draws when a row is opened come as well.
    plots = full.locator(".js-plotly-plot").count()
    full.get_by_label("Detail panel visibility toggle").first.click()
    wait_until("the details of a row are drawn", lambda: full.locator(".js-plotly-plot").count() > plots, page=page)
    assert page.title() != "x"
    assert dialogs == []


def test_on_the_page_hostile_names_are_text_and_the_report_reaches_neither_that_page_nor_its_storage(
    console, page, hostile_run
):
    dialogs: list[Any] = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    page.goto(f"{console.url}/drift?system={SYSTEM}&run={hostile_run}")
    ready(page, "drift")
    page.locator("[class*=st-key-verdict-]").first.wait_for(state="visible")
    assert page.locator("[data-testid=stMain] script").count() == 0
    page.locator("[data-testid=stMain]").get_by_text("Evidently report", exact=True).click()
    frame = page.locator("[data-testid=stMain] iframe").first.content_frame
    frame.locator("table, .js-plotly-plot").first.wait_for(state="visible")
    assert page.title() != "x"
    assert [inner.title() for inner in page.frames[1:]] != ["x"]
    assert dialogs == []

    report = next(frame for frame in page.frames if "/reports/frame/" in frame.url)
    attempts = {
        "the page": "parent.document.title",
        "its cookies": "document.cookie",
        "its storage": "localStorage.getItem('x')",
        "another site": "new XMLHttpRequest().open('GET', 'http://127.0.0.1:1/') || fetch('/healthz').then(a => a.status)",
    }
    said = {
        name: report.evaluate(
            f"async () => {{ try {{ return 'reached: ' + await ({code}) }} catch (e) {{ return e.name }} }}"
        )
        for name, code in attempts.items()
    }
    assert said == {
        "the page": "SecurityError",
        "its cookies": "SecurityError",
        "its storage": "SecurityError",
        "another site": "TypeError",
    }


@pytest.mark.parametrize("path", [*PAGES, *ROUTES, "/_stcore/health"])
def test_a_foreign_host_name_is_refused_everywhere(console, path):
    assert exchange(console, plain(path, "evil.example"))[0] == 400
    assert exchange(console, plain(path, f"evil.example:{console.port}"))[0] == 400
    assert exchange(console, plain(path, f"127.0.0.1:{console.port}"))[0] in (200, 404)


def test_a_foreign_host_name_gets_no_websocket(console):
    own = f"127.0.0.1:{console.port}"
    assert exchange(console, upgrade(console, "evil.example", "http://evil.example"))[0] in (400, 403)
    assert exchange(console, upgrade(console, own, "http://evil.example"))[0] == 403
    with socket.create_connection(("127.0.0.1", console.port), timeout=15) as client:
        client.sendall(upgrade(console, own, f"http://{own}"))
        assert client.recv(1000).startswith(b"HTTP/1.1 101 ")


@pytest.mark.parametrize(
    "path",
    [
        "/reports/view/../../etc/passwd",
        "/reports/view/..%2f..%2fetc%2fpasswd",
        "/reports/view/%2e%2e/%2e%2e/etc/passwd",
        "/reports/view/....//....//etc/passwd",
        "/reports/view/%00",
        "/reports/view/%5c..%5c..%5cetc%5cpasswd",
        "/reports/file/../../etc/passwd/html",
        "/reports/file/..%2f..%2f..%2fetc%2fpasswd/json",
        "/reports/file//etc/passwd/html",
        "/reports/view/20240101T000000Z-000000",
    ],
)
def test_a_report_address_that_is_no_run_is_not_found(console, path):
    status, body = exchange(console, plain(path, f"127.0.0.1:{console.port}"))
    assert status == 404
    assert b"root:" not in body


@pytest.mark.parametrize("path", PAGES + ROUTES)
def test_pages_and_routes_carry_the_security_headers(console, path):
    _, headers, _ = get(f"{console.url}{path}")
    policy = headers["content-security-policy"]
    if path.startswith("/reports/"):
        assert policy.startswith("sandbox allow-scripts; default-src 'none'")
    else:
        assert "frame-ancestors 'none'" in policy
        assert "frame-src 'self'" in policy
        assert "object-src 'none'" in policy
        assert "base-uri 'self'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] in ("same-origin", "no-referrer")


NAMES = {
    "Overview": "overview",
    "Targets": "targets",
    "Charts": "charts",
    "Generate traffic": "traffic",
    "Compare months": "drift",
    "Reports": "reports",
    "Add a service": "add_service",
}


@pytest.fixture(scope="module")
def words(console) -> Iterator[tuple[str, str]]:
    """A system whose every word is markup, at a Prometheus of the same kind; its title, and every other text."""
    with serve(answer()) as outside, serve(hostile_prometheus(lambda: written[1])) as prometheus:
        written = write_words(Path(console.environ["VIGIE_SYSTEMS"]), prometheus.url, outside.url)
        yield written
        assert outside.requests == []
        assert prometheus.requests
    (Path(console.environ["VIGIE_SYSTEMS"]) / f"{WORDS}.toml").unlink()


@pytest.mark.parametrize("system", ["streamflow", WORDS])
def test_no_page_asks_any_other_host_for_anything(console, page, words, system):
    asked: set[str] = set()
    refused: list[str] = []
    page.on("request", lambda request: asked.add(urlsplit(request.url).netloc))
    page.on("console", lambda message: refused.append(message.text) if "Content Security" in message.text else None)
    page.on("dialog", lambda dialog: (refused.append("dialog"), dialog.dismiss()))
    page.goto(f"{console.url}/?system={system}")
    for title, name in NAMES.items():
        page.locator("[data-testid=stSidebar]").get_by_role("link", name=title, exact=True).click()
        ready(page, name)
        wait_equal(page, lambda: parse_qs(urlsplit(page.url).query).get("system"), [system])
        assert page.title() != "owned"
        assert page.locator("[data-testid=stMain] script, [data-testid=stMain] a[href^=javascript]").count() == 0
    wait_until("something was asked", lambda: asked, page=page)
    assert asked - {""} == {f"127.0.0.1:{console.port}"}
    # The policy gets in the way of none of Streamlit's own parts.
    assert refused == []


def test_words_from_a_system_file_and_from_prometheus_are_drawn_letter_by_letter(console, page, words):
    title, text = words

    def reads(place: Any, words: str = text) -> bool:
        # The invisible joiners that keep codes from being read are no part of the text.
        return words in " ".join(str(place.inner_text()).replace("\u2060", "").split())

    page.goto(f"{console.url}/?system={WORDS}")
    ready(page, "overview")
    sidebar, main = page.locator("[data-testid=stSidebar]"), page.locator("[data-testid=stMain]")
    wait_until("the title is its letters", lambda: reads(main.locator("h1"), title), page=page)
    wait_until("the version is its letters", lambda: reads(sidebar.locator(".st-key-connection")), page=page)
    ready(go_on(page, f"/targets?system={WORDS}"), "targets")
    card = main.locator("[class*=st-key-card-down]").first
    wait_until("the target's error is its letters", lambda: reads(card), page=page)
    ready(go_on(page, f"/charts?system={WORDS}"), "charts")
    panel = main.locator(".st-key-panel-one")
    wait_until("the panel's title is its letters", lambda: reads(panel, title), page=page)
    assert panel.locator("img, b").count() == 0
    # An address that is written out is a link to just what it says.
    links = panel.locator("a[href]").evaluate_all("all => all.map(one => [one.getAttribute('href'), one.textContent])")
    assert [href for href, shown in links if unquote(href) != shown.replace("\u2060", "")] == []


def test_a_page_fetches_nothing_from_outside_even_when_told_to(console, page):
    with serve(answer(extra="Access-Control-Allow-Origin: *\r\n")) as outside:
        page.goto(f"{console.url}/targets")
        ready(page, "targets")
        tried = page.evaluate(
            """async (url) => {
                const image = new Promise(done => {
                    const one = new Image(); one.onload = one.onerror = event => done(event.type); one.src = url;
                });
                const font = new FontFace('f', `url(${url})`).load().catch(error => error.name);
                const style = document.createElement('style');
                style.textContent = `@import url(${url}); body { background: url(${url}) }`;
                document.head.append(style);
                const fetched = fetch(url).then(() => 'came', error => error.name);
                return [await image, await font, await fetched];
            }""",
            outside.url,
        )
        assert tried == ["error", "NetworkError", "TypeError"]
        assert outside.requests == []
