"""Picking a system whose API does not run: the stack is asked for it once, the page says what it waits for."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import free_port
from tests.console_world import Console, choose, no_trace, ready, running, wait_text, wait_until

pytestmark = pytest.mark.browser
# The sample data of F1PA are made and its model is trained: 8 s on two free cores.
MAKING_SECONDS = 300.0


def wait_up(console: Console, *names: str) -> None:
    """Until every one of these services is up."""
    wait_until(
        f"{names} up",
        lambda: all(console.services().get(name, {}).get("state") == "up" for name in names),
        MAKING_SECONDS,
    )


def pick(page: Any, title: str) -> None:
    """Choose a system in the sidebar, as a reader does."""
    heading = page.locator("[data-testid=stMain]").get_by_role("heading", name=title)
    choose(page, page.locator("[data-testid=stSidebar] [data-testid=stSelectbox]").first, title, heading.is_visible)


def test_a_picked_system_is_started_once_and_the_page_says_what_it_waits_for(tmp_path, stack_binaries, page):
    environ = {**stack_binaries, "VIGIE_START": "diabetes"}
    with running(Console(tmp_path / "home", free_port(), environ)) as console:
        wait_up(console, "prometheus", "node_exporter", "diabetes")
        page.goto(f"{console.url}/?system=diabetes")
        ready(page, "overview")
        assert set(console.services()) == {"prometheus", "node_exporter", "diabetes"}
        before = console.services()["diabetes"]

        pick(page, "F1PA lap times")
        # A quick machine makes the data between two looks of the page: whichever step it shows is the right one.
        steps = "The stack says: starting|The stack has been asked|Waiting for the first scrape of F1PA"
        wait_text(page, f"{steps}|F1PA lap times is starting|in the last minute", MAKING_SECONDS)
        wait_up(console, "f1pa")
        wait_text(page, r"(\d) of \1 targets up")
        pick(page, "Diabetes")
        pick(page, "F1PA lap times")
        no_trace(page)

        assert console.services()["diabetes"] == before
        assert set(console.services()) == {"prometheus", "node_exporter", "diabetes", "f1pa"}
        assert (console.home / "logs" / "stack.log").read_text().count("asked for") == 1


def test_a_stack_that_was_told_to_start_no_api_starts_none_when_one_is_picked(tmp_path, stack_binaries, page):
    environ = {**stack_binaries, "VIGIE_START": "none"}
    with running(Console(tmp_path / "home", free_port(), environ)) as console:
        wait_up(console, "prometheus", "node_exporter")
        page.goto(f"{console.url}/?system=f1pa")
        wait_text(page, "Prometheus does not scrape F1PA lap times. Start it with python -m stack up --systems f1pa")
        assert set(console.services()) == {"prometheus", "node_exporter"}
        assert not list((console.home / "stack" / "wanted").iterdir())
