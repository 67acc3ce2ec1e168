"""Every page by a bookmark, cold on a server that has drawn nothing yet: frame, system of the address, no trace."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.conftest import free_port
from tests.console_world import (
    Console,
    choose,
    frame_is_there,
    go_on,
    no_trace,
    ready,
    running,
    values,
    wait_equal,
    wait_text,
    wait_until,
    world_copy,
)

pytestmark = pytest.mark.browser
# The address of each page, the system it is opened for cold, and what it says of one that does not run: a state in words,
# never an empty space. What every page says of every system is in test_pages.
PAGES = {
    "overview": ("/", "diabetes", "Prometheus does not scrape Diabetes"),
    "targets": ("/targets", "f1pa", "NOT SCRAPED"),
    "reports": ("/reports", "", ""),
    "drift": ("/drift", "diabetes", "UNDECIDED[\\s\\S]*gauge has no value"),
    "charts": ("/charts", "", ""),
    "traffic": ("/traffic", "f1pa", "No address for F1PA lap times"),
    "add_service": ("/add_service", "", ""),
}
# A server that has drawn nothing knows no page yet: it finds the one at its root, and one of an address of its own, in
# the same way whichever it is. What a page itself needs is in test_pages, where nothing was drawn before either.
BESIDE_THE_FIRST = ("overview", "targets", "reports")
TITLES = {"streamflow": "StreamFlow churn", "diabetes": "Diabetes", "f1pa": "F1PA lap times"}


@pytest.fixture(scope="module")
def home(console, tmp_path_factory) -> Path:
    """A home with the world of StreamFlow alone."""
    place = world_copy(console.home, tmp_path_factory.mktemp("fresh") / "home")
    assert not (place / "f1pa").exists()
    (place / "systems").mkdir()
    return place


@pytest.fixture(scope="module")
def port() -> int:
    """Of each fresh console: what the browser has in its cache belongs to an address."""
    return free_port()


@contextlib.contextmanager
def fresh(console: Console, home: Path, port: int) -> Iterator[Console]:
    """A console that has just started and has drawn no page; it watches the session's Prometheus and starts no API."""
    environ = {
        "VIGIE_PROMETHEUS_URL": console.service("prometheus"),
        "VIGIE_STREAMFLOW_URL": console.service("streamflow"),
        "VIGIE_SYSTEMS": str(home / "systems"),
        # What somebody compared in this checkout is no part of a fresh console.
        "REPORT_DIR": str(home / "reports"),
    }
    with running(Console(home, port, environ)) as one:
        yield one.wait_job_host()


@pytest.fixture(scope="module")
def watching(console, home, port) -> Iterator[Console]:
    """A fresh console for all that follows."""
    with fresh(console, home, port) as one:
        yield one


def opens(console: Console, page: Any, name: str) -> None:
    """Open a bookmark of this page: frame, system of the address, what it says, no trace."""
    path, system, state = PAGES[name]
    page.goto(f"{console.url}{path}" + (f"?system={system}" if system else ""))
    ready(page, name)
    frame_is_there(page)
    picked = page.locator("[data-testid=stSidebar] [data-testid=stSelectbox]").first
    title = TITLES[system or "streamflow"]
    wait_until(title, lambda: title in picked.inner_text() + picked.locator("input").input_value(), page=page)
    wait_equal(page, lambda: parse_qs(urlsplit(page.url).query)["system"], [system or "streamflow"])
    wait_text(page, state)
    no_trace(page)


def test_the_first_page_of_a_server_that_has_drawn_nothing_is_that_of_its_address(console, home, port, tabs):
    with fresh(console, home, port) as one:
        for name in BESIDE_THE_FIRST:
            opens(one, tabs(), name)


def test_a_page_of_its_own_address_is_the_first_that_a_server_draws(watching, tabs):
    # The first test of this console.
    for name in (name for name in PAGES if name not in BESIDE_THE_FIRST):
        opens(watching, tabs(), name)


def test_the_picked_system_stays_through_navigation_and_the_back_button(watching, page):
    page.goto(f"{watching.url}/?system=diabetes")
    ready(page, "overview")
    for title, name in (("Targets", "targets"), ("Compare months", "drift")):
        page.locator("[data-testid=stSidebar]").get_by_role("link", name=title).click()
        ready(page, name)
        assert parse_qs(urlsplit(page.url).query)["system"] == ["diabetes"]
    picked = page.locator("[data-testid=stSidebar] [data-testid=stSelectbox]").first
    choose(page, picked.locator("input"), "StreamFlow", lambda: "system=streamflow" in page.url)
    page.locator(".st-key-form").wait_for(state="visible")
    page.go_back()
    page.wait_for_url("**system=diabetes**")
    wait_text(page, "gauge has no value")
    no_trace(page)


def test_a_bookmark_of_a_system_that_is_gone_says_what_is_shown_instead(watching, page):
    page.goto(f"{watching.url}/targets?system=../**passwd**")
    ready(page, "targets")
    page.wait_for_url("**system=streamflow**")
    wait_text(page, "targets up")
    sidebar = page.locator("[data-testid=stSidebar]")
    wait_text(sidebar, r"No system is called \.\./\*\*passwd\*\*\. This is StreamFlow churn\.")
    picked = sidebar.locator("[data-testid=stSelectbox]").first
    choose(page, picked.locator("input"), "Diabetes", lambda: "system=diabetes" in page.url)
    wait_until("nothing more of it", lambda: "No system is called" not in sidebar.inner_text(), page=page)
    no_trace(page)


def test_a_system_whose_file_was_written_a_moment_ago_is_found(watching, page):
    page.goto(f"{watching.url}/targets?system=streamflow")
    ready(page, "targets")
    late = Path(watching.environ["VIGIE_SYSTEMS"]) / "late.toml"
    late.write_text('title = "Late"\n')
    try:
        go_on(page, "/targets?system=late")
        sidebar = page.locator("[data-testid=stSidebar]")
        picked = sidebar.locator("[data-testid=stSelectbox]").first
        wait_until("Late", lambda: "Late" in picked.inner_text() + picked.locator("input").input_value(), page=page)
        assert "No system is called" not in sidebar.inner_text()
    finally:
        late.unlink()


def test_the_back_button_leaves_the_months_and_takes_back_a_choice_of_them(watching, page):
    page.goto(f"{watching.url}/targets?system=streamflow")
    ready(page, "targets")
    page.locator("[data-testid=stSidebar]").get_by_role("link", name="Compare months").click()
    ready(page, "drift")
    # The pair a page begins with is not in the address: nothing for the back button to stumble over.
    page.locator(".st-key-form").wait_for(state="visible")
    wait_equal(page, lambda: parse_qs(urlsplit(page.url).query), {"system": ["streamflow"]})
    before = wait_until("both months", lambda: len(both := months(page)) == 2 and both, page=page)
    page.locator(".st-key-form").get_by_role("button", name="swap_horiz icon").click()
    page.wait_for_url("**cur=**")
    wait_equal(page, lambda: months(page), before[::-1])
    page.go_back()
    page.wait_for_url(lambda url: "cur=" not in url)
    wait_equal(page, lambda: months(page), before)
    page.go_back()
    page.wait_for_url("**/targets**")
    ready(page, "targets")


@pytest.mark.parametrize("path", ["/charts?window=5+min&run=20240101T000000Z-000000", "/reports?all=true&run=a&run=b"])
def test_another_system_is_picked_on_a_page_that_keeps_its_own_controls_in_the_address(watching, page, path):
    page.goto(f"{watching.url}{path}&system=streamflow")
    ready(page, path[1:].partition("?")[0])
    picked = page.locator("[data-testid=stSidebar] [data-testid=stSelectbox]").first
    choose(page, picked.locator("input"), "Diabetes", lambda: "system=diabetes" in page.url and "run=" not in page.url)
    ready(page, path[1:].partition("?")[0])
    no_trace(page)


def months(page) -> list[str]:
    """What the two pickers show."""
    return values(page.locator(".st-key-form [data-testid=stSelectbox] input"))


def test_a_run_nobody_knows_is_said_in_words(watching, page):
    page.goto(f"{watching.url}/targets")
    ready(page, "targets")
    for name in ("drift", "traffic"):
        ready(go_on(page, f"/{name}?run=20240101T000000Z-000000"), name)
        wait_text(page, "That run is not known for this system")
        no_trace(page)
