"""Runs and browsers: a run is found again after a reload and in a second tab, joined, stopped, and survives its page."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from app import jobs
from app.config import Settings
from tests.console_world import Console, no_trace, processes_of, ready, wait_text, wait_until
from tests.test_browser_main_path import counted, go, run_in_address

pytestmark = pytest.mark.browser


@contextlib.contextmanager
def workers_asleep(console: Console) -> Iterator[None]:
    """Every worker of the job host is stopped for the block: a run that starts now stays in its middle."""
    workers = [pid for pid, words in processes_of(console.home).items() if "-m app.jobs.worker" in words]
    assert workers
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def warm(console: Console, page: Any, query: str = "") -> None:
    """Open Compare months and wait until the worker of comparisons has loaded its libraries."""
    page.goto(f"{console.url}/drift{query}")
    ready(page, "drift")
    worker_is_warm(console, page)


def worker_is_warm(console: Console, page: Any) -> None:
    settings = Settings.from_env(console.environ)
    wait_until("the worker of comparisons is warm", lambda: "drift" in jobs.ping(settings).warm, 300, page=page)


def press_compare(page: Any) -> str:
    before = run_in_address(page)
    page.locator(".st-key-form").get_by_role("button", name="Compare months").click()
    wait_until("a new run stands in the address", lambda: run_in_address(page) not in ("", before), page=page)
    return run_in_address(page)


def test_a_comparison_is_found_again_after_a_reload_joined_by_a_second_click_and_seen_in_two_tabs(console, tabs):
    first, second = tabs(), tabs()
    for page in (first, second):
        warm(console, page, "?ref=2024-03-31&cur=2024-04-30")
    before = len(console.runs("drift"))
    with workers_asleep(console):
        run = press_compare(first)
        first.locator(".st-key-running").wait_for(state="visible")
        assert press_compare(second) == run
        second.locator(".st-key-running").wait_for(state="visible")
        first.reload()
        ready(first, "drift")
        assert run_in_address(first) == run
        first.locator(".st-key-running").wait_for(state="visible")
        assert len(console.runs("drift")) == before + 1
    for page in (first, second):
        wait_text(page.locator("[class*=st-key-verdict-]"), r"2024-03-31 \(7,043 rows\) → 2024-04-30")
        no_trace(page)


def test_a_comparison_is_cancelled_and_says_so(console, page):
    warm(console, page, "?ref=2024-05-31&cur=2024-06-30")
    with workers_asleep(console):
        press_compare(page)
        page.locator(".st-key-running").get_by_role("button", name="Cancel").click()
        # The worker, asleep, does not end when it is asked to; after a while its process is ended.
        page.locator(".st-key-running").wait_for(state="detached")
    wait_text(page, "The comparison was cancelled")
    no_trace(page)


def test_a_load_run_is_found_again_and_stop_keeps_what_was_counted(console, tabs):
    first, second = tabs(), tabs()
    before = counted(console)
    first.goto(f"{console.url}/traffic")
    ready(first, "traffic")
    first.get_by_role("button", name="1 minute steady").click()
    first.locator(".st-key-live").wait_for(state="visible")
    run = wait_until("the run stands in the address", lambda: run_in_address(first), page=first)
    first.reload()
    ready(first, "traffic")
    assert run_in_address(first) == run
    first.locator(".st-key-live").wait_for(state="visible")

    # Without an address of the run: the page finds the one that is going.
    second.goto(f"{console.url}/traffic")
    ready(second, "traffic")
    second.locator(".st-key-live").wait_for(state="visible")
    wait_until("no second one", second.get_by_role("button", name="100 requests over 10 s").is_disabled, page=second)
    wait_until("requests were sent", lambda: counted(console) - before >= 10, page=second)
    second.locator(".st-key-live").get_by_role("button", name="Stop").click()

    for page in (second, first):
        page.locator(".st-key-load-result").wait_for(state="visible")
        text = wait_text(page, r"stopped[\s\S]*?(\d+) sent, (\d+) answered, counter \+(\d+)\b")
        sent, answered, moved = map(int, text.groups())
        # One that was on its way when Stop was pressed has no answer; the service may have counted it.
        assert 10 <= answered <= moved <= counted(console) - before <= sent <= answered + 1
        no_trace(page)


def test_a_run_goes_on_when_its_page_is_closed(console, tabs):
    page = tabs()
    page.goto(f"{console.url}/traffic")
    ready(page, "traffic")
    page.get_by_role("button", name="100 requests over 10 s").click()
    page.locator(".st-key-live").wait_for(state="visible")
    run = wait_until("the run stands in the address", lambda: run_in_address(page), page=page)
    page.goto("about:blank")
    again = tabs()
    again.goto(f"{console.url}/traffic?run={run}")
    ready(again, "traffic")
    wait_text(again, r"100 sent, 100 answered, counter \+100")


def test_background_traffic_is_switched_on_in_one_tab_and_off_in_another(console, tabs):
    first, second = tabs(), tabs()
    first.goto(f"{console.url}/traffic")
    ready(first, "traffic")
    first.get_by_text("Background traffic, 1 request a second").click()
    wait_until(
        "background traffic runs",
        lambda: any(r["state"] == "running" and r["key"].endswith(":background") for r in console.runs("load")),
        page=first,
    )
    second.goto(f"{console.url}/traffic")
    ready(second, "traffic")
    switch = second.locator("[data-testid=stCheckbox] input, [data-testid=stCheckbox] [role=switch]").first
    wait_until("the switch shows on", switch.is_checked, page=second)
    wait_until("runs may start", second.get_by_role("button", name="100 requests over 10 s").is_enabled, page=second)
    second.get_by_text("Background traffic, 1 request a second").click()
    wait_until(
        "background traffic ended", lambda: not any(r["state"] == "running" for r in console.runs("load")), page=second
    )
    no_trace(second)


def test_the_page_process_never_loads_the_libraries_of_the_workers(console, page):
    page.goto(console.url)
    ready(page, "overview")
    for title, name in (("Targets", "targets"), ("Charts", "charts"), ("Generate traffic", "traffic")):
        go(page, title, name)
    go(page, "Compare months", "drift")
    worker_is_warm(console, page)
    go(page, "Overview", "overview")
    wait_text(page, "drift worker warm")
    with open(f"/proc/{console.pid}/maps") as maps:
        mapped = maps.read()
    # evidently brings scipy and scikit-learn, feast brings mmh3; DuckDB is a shared object of its own.
    assert "/numpy/" in mapped
    assert [name for name in ("/scipy/", "/sklearn/", "/mmh3", "/duckdb", "/_duckdb") if name in mapped] == []


def test_the_story_goes_on_after_a_reload_and_ends_with_its_two_decisions_and_its_reports(console, page, tabs):
    """Its steps are runs like all others: those that are there already are not carried out again."""
    page.goto(f"{console.url}/?system=streamflow&story=going")
    story = page.locator(".st-key-story")
    wait_text(story, r"100 requests over 10 s[\s\S]*month_000 with month_001[\s\S]*month_000 with month_008")
    if parse_qs(urlsplit(page.url).query).get("story"):
        page.reload()
    wait_text(story, r"month_001 · NO_ACTION[\s\S]*month_008 · RETRAINING_TRIGGERED", seconds=170)
    story.get_by_role("button", name="Write the reports").click()
    wait_text(story, r"Monitoring report\s[\s\S]*Open in Reports[\s\S]*Lab report\s[\s\S]*Open in Reports", seconds=170)
    again = tabs()
    again.goto(story.get_by_role("link", name="Open in Reports").first.evaluate("link => link.href"))
    story.get_by_role("button", name="Close").click()
    story.wait_for(state="detached")
    assert "story" not in parse_qs(urlsplit(page.url).query)
    no_trace(page)
    written = again.frame_locator("iframe[src*='/reports/frame/']")
    written.get_by_role("heading", name="Monitoring report: StreamFlow churn").wait_for()
    assert written.locator("figure svg").count() > 2
    for kind in ("HTML", "Markdown", "ZIP"):
        again.get_by_role("button", name=f"Download {kind}").wait_for()
    no_trace(again)
    opens_without_a_network(tabs(), Path(console.environ["REPORT_DIR"]))


def opens_without_a_network(tab, folder):
    """Both reports as files: nothing is asked for but the page itself, every picture is seen, and it prints."""
    asked, wrong = [], []
    tab.on("request", lambda request: asked.append(request.url))
    tab.on("console", lambda message: wrong.append(message.text))
    tab.on("pageerror", lambda error: wrong.append(str(error)))
    for name in ("monitoring", "rapport_tp5"):
        file = folder / f"{name}.html"
        tab.context.set_offline(True)
        try:
            asked.clear()
            tab.goto(file.as_uri())
            assert asked == [file.as_uri()]
            assert all(box and box["width"] > 300 for box in map(bounds, tab.locator("figure svg").all()))
            assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
            assert tab.pdf(prefer_css_page_size=True).startswith(b"%PDF")
        finally:
            tab.context.set_offline(False)
    assert wrong == []


def bounds(element):
    return element.bounding_box()
