"""Every page by a cold bookmark on a server that has drawn nothing yet: frame, system of the address, no trace."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.conftest import free_port
from tests.console_world import (
    Console,
    choose,
    frame_is_there,
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
    "charts": ("/charts", "", ""),
    "traffic": ("/traffic", "f1pa", "No address for F1PA lap times"),
    "drift": ("/drift", "diabetes", "UNDECIDED[\\s\\S]*gauge has no value"),
    "reports": ("/reports", "", ""),
    "add_service": ("/add_service", "", ""),
}
TITLES = {"streamflow": "StreamFlow churn", "diabetes": "Diabetes", "f1pa": "F1PA lap times"}


@pytest.fixture(scope="module")
def home(console, tmp_path_factory) -> Path:
    """A home with the world of StreamFlow alone."""
    place = world_copy(console.home, tmp_path_factory.mktemp("fresh") / "home")
    assert not (place / "world" / "f1pa").exists()
    return place


@pytest.fixture(scope="module")
def port() -> int:
    """Of each fresh console: what the browser has in its cache belongs to an address."""
    return free_port()


@pytest.fixture
def fresh(console, home, port) -> Iterator[Console]:
    """A console that has just started and has drawn no page; it watches the session's Prometheus and starts no API."""
    environ = {
        "VIGIE_PROMETHEUS_URL": console.service("prometheus"),
        "VIGIE_STREAMFLOW_URL": console.service("streamflow"),
        # What somebody compared in this checkout is no part of a fresh console.
        "REPORT_DIR": str(home / "reports"),
    }
    with running(Console(home, port, environ)) as one:
        yield one.wait_job_host()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_opened_by_a_cold_bookmark_shows_the_frame_for_its_system(fresh, page, name):
    path, system, state = PAGES[name]
    page.goto(f"{fresh.url}{path}" + (f"?system={system}" if system else ""))
    ready(page, name)
    frame_is_there(page)
    picked = page.locator("[data-testid=stSidebar] [data-testid=stSelectbox]").first
    title = TITLES[system or "streamflow"]
    wait_until(title, lambda: title in picked.inner_text() + picked.locator("input").input_value(), page=page)
    wait_equal(page, lambda: parse_qs(urlsplit(page.url).query)["system"], [system or "streamflow"])
    wait_text(page, state)
    no_trace(page)


def test_the_picked_system_stays_through_navigation_and_the_back_button(fresh, page):
    page.goto(f"{fresh.url}/?system=diabetes")
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


def test_a_bookmark_of_a_system_that_is_gone_says_what_is_shown_instead(console, page):
    page.goto(f"{console.url}/targets?system=../**passwd**")
    ready(page, "targets")
    page.wait_for_url("**system=streamflow**")
    wait_text(page, "targets up")
    sidebar = page.locator("[data-testid=stSidebar]")
    wait_text(sidebar, r"No system is called \.\./\*\*passwd\*\*\. This is StreamFlow churn\.")
    picked = sidebar.locator("[data-testid=stSelectbox]").first
    choose(page, picked.locator("input"), "Diabetes", lambda: "system=diabetes" in page.url)
    wait_until("nothing more of it", lambda: "No system is called" not in sidebar.inner_text(), page=page)
    no_trace(page)


def test_a_system_whose_file_was_written_a_moment_ago_is_found(console, page):
    page.goto(f"{console.url}/targets?system=streamflow")
    ready(page, "targets")
    late = Path(console.environ["VIGIE_SYSTEMS"]) / "late.toml"
    late.write_text('title = "Late"\n')
    try:
        page.goto(f"{console.url}/targets?system=late")
        ready(page, "targets")
        sidebar = page.locator("[data-testid=stSidebar]")
        picked = sidebar.locator("[data-testid=stSelectbox]").first
        wait_until("Late", lambda: "Late" in picked.inner_text() + picked.locator("input").input_value(), page=page)
        assert "No system is called" not in sidebar.inner_text()
    finally:
        late.unlink()


def test_the_back_button_leaves_the_months_and_takes_back_a_choice_of_them(console, page):
    page.goto(f"{console.url}/targets?system=streamflow")
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
def test_another_system_is_picked_on_a_page_that_keeps_its_own_controls_in_the_address(console, page, path):
    page.goto(f"{console.url}{path}&system=streamflow")
    ready(page, path[1:].partition("?")[0])
    picked = page.locator("[data-testid=stSidebar] [data-testid=stSelectbox]").first
    choose(page, picked.locator("input"), "Diabetes", lambda: "system=diabetes" in page.url and "run=" not in page.url)
    ready(page, path[1:].partition("?")[0])
    no_trace(page)


def months(page) -> list[str]:
    """What the two pickers show."""
    return values(page.locator(".st-key-form [data-testid=stSelectbox] input"))


def test_a_run_nobody_knows_is_said_in_words(console, page):
    for path, name in (("/drift", "drift"), ("/traffic", "traffic")):
        page.goto(f"{console.url}{path}?run=20240101T000000Z-000000")
        ready(page, name)
        wait_text(page, "That run is not known for this system")
        no_trace(page)
