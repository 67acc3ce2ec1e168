"""Picking a system whose API does not run: the stack is asked for it once, the page says what it waits for."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

from tests.conftest import f1pa_home
from tests.console_world import SERVICES, START_SECONDS, choose, no_trace, ready, wait_text

pytestmark = pytest.mark.browser


def pick(page: Any, title: str) -> None:
    """Choose a system in the sidebar, as a reader does."""
    heading = page.locator("[data-testid=stMain]").get_by_role("heading", name=title)
    choose(page, page.locator("[data-testid=stSidebar] [data-testid=stSelectbox]").first, title, heading.is_visible)


def test_a_picked_system_is_started_once_and_the_page_says_what_it_waits_for(console, page, tmp_path_factory):
    # Its data are there: that the stack makes them where they are not is in test_stack_systems.
    shutil.copytree(f1pa_home(tmp_path_factory) / "f1pa", console.home / "f1pa")
    page.goto(f"{console.url}/?system=streamflow")
    ready(page, "overview")
    # No other test picks a system of this console that does not run.
    assert set(console.services()) == SERVICES
    before = console.services()["streamflow"]

    pick(page, "F1PA lap times")
    # A quick machine is done between two looks of the page: whichever step it shows is the right one.
    steps = "The stack says: starting|The stack has been asked|Waiting for the first scrape of F1PA"
    wait_text(page, f"{steps}|F1PA lap times is starting|in the last minute", START_SECONDS)
    console.wait_up({"f1pa"})
    wait_text(page, r"(\d) of \1 targets up")
    pick(page, "StreamFlow churn")
    pick(page, "F1PA lap times")
    no_trace(page)

    assert console.services()["streamflow"] == before
    assert set(console.services()) == SERVICES | {"f1pa"}
    assert (console.home / "logs" / "stack.log").read_text().count("asked for") == 1
