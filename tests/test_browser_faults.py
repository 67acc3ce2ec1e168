"""Prometheus absent, hanging, answering HTML or half an answer; the API down; a page file touched while it runs."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import free_port
from tests.console_world import (
    ROOT,
    Console,
    frame_is_there,
    go_on,
    main_text,
    no_trace,
    ready,
    running,
    values,
    wait_equal,
    wait_text,
    wait_until,
    world_copy,
)
from tests.hostile_system import SYSTEM, write_system
from tests.http_fakes import Fake, answer, serve

pytestmark = pytest.mark.browser
# A page that waited for a server that hangs for a minute would not be drawn by then; a busy machine is given time.
DRAWN_SECONDS = 30.0
HANG_SECONDS = 60.0
PAGES = {
    "overview": "Overview",
    "targets": "Targets",
    "charts": "Charts",
    "traffic": "Generate traffic",
    "lab": "Lab",
    "drift": "Compare months",
}
# What a page says about each fault, and its next step.
FAULTS = {
    "closed": (r"closed the connection without an answer", r"It may be stopping"),
    "hanging": (r"gave no complete answer within", r"overloaded, hangs, or answers very slowly"),
    "html": (r"not a list of targets|answered HTML where JSON was expected", r"login page"),
    "truncated": (r"not a list of targets|not JSON", r"Is this address a Prometheus server"),
}
# A system at whose address nothing listens.
NOBODY = """
title = "Nobody listens"

[api]
url = "{url}"

[request]
path = "/predict"
body = {{ user_id = "$user_id" }}

[request.fields.user_id]
from = "list"
values = ["U0001"]
"""
# What goes on without Prometheus on the pages that need it.
ALIVE = {"overview": "127.0.0.1:{api}", "targets": "probed by the console", "charts": "How to read these charts"}


class Faulty:
    """A Prometheus that misbehaves in the way that is set; `well`: what the one at `port` answers."""

    def __init__(self, port: int) -> None:
        self.mode = "html"
        self._port = port

    def __call__(self, client: socket.socket, request: bytes) -> None:
        if self.mode == "well":
            with socket.create_connection(("127.0.0.1", self._port)) as real:
                first, _, rest = request.partition(b"\r\n")
                real.sendall(first + b"\r\nConnection: close\r\n" + rest)
                while part := real.recv(65536):
                    client.sendall(part)
            client.close()
        elif self.mode == "hanging":
            until = time.monotonic() + HANG_SECONDS
            while time.monotonic() < until and self.mode == "hanging":
                time.sleep(0.1)
            client.close()
        elif self.mode == "html":
            answer(b"<!doctype html><html><title>Log in</title></html>", kind="text/html")(client, request)
        elif self.mode == "truncated":
            answer(b'{"status":"success","data":{"resultType":"vector","result":[{"metric":{"job":"api"')(
                client, request
            )
        else:
            client.close()


class Api:
    """A prediction API that counts: POST /predict answers 200, /metrics tells how many."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, client: socket.socket, request: bytes) -> None:
        method, path = request.split(b" ", 2)[:2]
        if path == b"/metrics":
            text = f'# TYPE api_requests_total counter\napi_requests_total{{endpoint="/predict",status="200"}} {self.count}\n'
            answer(text.encode(), kind="text/plain; version=0.0.4")(client, request)
            return
        self.count += method == b"POST"
        answer(b'{"prediction": 0}')(client, request)


@pytest.fixture(scope="module")
def faulty(console) -> Iterator[tuple[Faulty, Fake]]:
    handler = Faulty(int(console.service("prometheus").rpartition(":")[2]))
    with serve(handler) as fake:
        yield handler, fake
        handler.mode = "closed"


@pytest.fixture(scope="module")
def api() -> Iterator[tuple[Api, Fake]]:
    handler = Api()
    with serve(handler) as fake:
        yield handler, fake


@pytest.fixture(scope="module")
def attached(console, faulty, api, tmp_path_factory) -> Iterator[Console]:
    """A console that watches the faulty Prometheus, sees page files change, and has the sample world."""
    folder = tmp_path_factory.mktemp("attached")
    write_system(folder / "systems")
    (folder / "systems" / "nobody.toml").write_text(NOBODY.format(url=f"http://127.0.0.1:{free_port()}"))
    environ = {
        "VIGIE_PROMETHEUS_URL": faulty[1].url,
        "VIGIE_STREAMFLOW_URL": api[1].url,
        "VIGIE_SYSTEMS": str(folder / "systems"),
        "REPORT_DIR": str(folder / "reports"),
        "STREAMLIT_SERVER_FILE_WATCHER_TYPE": "poll",
    }
    with running(Console(world_copy(console.home, folder / "home"), free_port(), environ)) as one:
        yield one.wait_job_host()


def set_fault(console: Console, faulty: Faulty, page: Any, mode: str) -> None:
    """Let Prometheus misbehave in one way, and wait until what was remembered of the last one is forgotten."""
    faulty.mode = mode
    page.goto(f"{console.url}/targets")
    ready(page, "targets")
    wait_text(page, FAULTS[mode][0])


@pytest.mark.parametrize("mode", FAULTS)
def test_every_page_is_readable_and_the_rest_alive_when_prometheus_is(attached, faulty, api, tabs, mode):
    page = tabs()
    set_fault(attached, faulty[0], page, mode)
    for name, title in PAGES.items():
        page.locator("[data-testid=stSidebar]").get_by_role("link", name=title).click()
        page.locator(f".st-key-ready-{name}").first.wait_for(state="attached", timeout=DRAWN_SECONDS * 1000)
        frame_is_there(page)
        wait_text(page.locator("[data-testid=stSidebar]"), "does not answer")
        if name in ALIVE:
            said, hint = FAULTS[mode]
            wait_text(page, said)
            wait_text(page, hint)
            wait_text(page, ALIVE[name].format(api=api[1].host.rpartition(":")[2]))
        no_trace(page)
    # Months are listed and can be compared without Prometheus.
    page.locator(".st-key-form").get_by_role("button", name="Compare months").wait_for(state="visible")
    months = page.locator(".st-key-form [data-testid=stSelectbox] input")
    wait_equal(page, lambda: [box[:9] for box in values(months)], ["month_000", "month_001"])


def test_months_are_compared_while_prometheus_hangs(attached, faulty, page):
    set_fault(attached, faulty[0], page, "hanging")
    ready(go_on(page, f"/drift?system={SYSTEM}"), "drift")
    page.locator(".st-key-form").get_by_role("button", name="Compare months").click()
    page.locator("[class*=st-key-verdict-]").wait_for(state="visible", timeout=90_000)
    wait_text(page, r"\d of 2 columns drifted")
    no_trace(page)


def stopped_is_counted(page: Any, api: Api) -> None:
    """Start traffic and stop it once some has arrived: what was sent, answered and counted agrees."""
    before = api.count
    page.get_by_role("button", name="100 requests over 10 s").click()
    page.locator(".st-key-live").wait_for(state="visible")
    wait_until("some have arrived", lambda: api.count - before >= 10, page=page)
    page.locator(".st-key-live").get_by_role("button", name="Stop").click()
    page.locator(".st-key-load-result").wait_for(state="visible", timeout=90_000)
    text = wait_text(page, r"(\d+) sent, (\d+) answered, counter \+(\d+)\b")
    sent, answered, counted = map(int, text.groups())
    # One that was on its way when Stop was pressed has no answer; the service may have counted it, now or a moment later.
    assert 10 <= answered <= counted <= api.count - before <= sent <= answered + 1


def test_traffic_is_counted_by_the_service_alone_while_prometheus_answers_html(attached, faulty, api, page):
    set_fault(attached, faulty[0], page, "html")
    page.locator("[data-testid=stSidebar]").get_by_role("link", name="Generate traffic").click()
    ready(page, "traffic")
    stopped_is_counted(page, api[0])
    assert "Prometheus +" not in main_text(page)
    no_trace(page)


def test_start_still_works_after_page_files_were_touched(attached, faulty, api, page):
    set_fault(attached, faulty[0], page, "closed")
    page.locator("[data-testid=stSidebar]").get_by_role("link", name="Generate traffic").click()
    ready(page, "traffic")
    for name in ("pages/traffic.py", "app/ui/traffic.py", "app/jobs/client.py", "app/errors.py"):
        os.utime(ROOT / name)
    # The watcher polls; its next round must have seen the new times before the page runs again.
    page.wait_for_timeout(3000)
    stopped_is_counted(page, api[0])
    ready(go_on(page, f"/drift?system={SYSTEM}"), "drift")
    page.locator(".st-key-form").get_by_role("button", name="Compare months").click()
    wait_text(page, r"\d of 2 columns drifted", seconds=300)
    no_trace(page)


def test_an_api_that_is_down_is_said_by_the_run(attached, faulty, page):
    faulty[0].mode = "well"
    page.goto(f"{attached.url}/traffic?system=nobody")
    ready(page, "traffic")
    page.get_by_role("button", name="100 requests over 10 s").click()
    wait_text(page, r"No traffic was sent\.[\s\S]*(refused|nothing listens)", seconds=300)
    # The rest is alive: the Prometheus it watches answers again, and says so in the frame.
    wait_text(page.locator("[data-testid=stSidebar]"), r"Prometheus \d.*answered")
    no_trace(page)


def test_a_broken_system_file_is_said_in_the_sidebar_and_hides_no_other(attached, page):
    folder = Path(attached.environ["VIGIE_SYSTEMS"])
    broken = folder / "broken.toml"
    broken.write_text('title = "Broken"\n[drift]\nsource = "gauge"\nexpr = "x"\ntreshold = 0.2\n')
    try:
        # As somebody opens it who has just written it: what is remembered of the files is forgotten.
        page.goto(f"{attached.url}/targets?system=broken")
        ready(page, "targets")
        sidebar = page.locator("[data-testid=stSidebar]")
        wait_text(sidebar, r"broken\.toml: unknown key drift\.treshold; accepted with source = 'gauge': .*threshold")
        sidebar.locator("[data-testid=stSelectbox] input").first.click()
        titles = {"StreamFlow churn", "Diabetes", "F1PA lap times", "Hostile data", "Nobody listens"}
        wait_equal(page, lambda: set(page.get_by_role("option").all_inner_texts()), titles)
    finally:
        broken.unlink()
