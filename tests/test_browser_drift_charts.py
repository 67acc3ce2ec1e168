"""Drift on the Charts page: what a comparison found, over time, with a mark that leads back to it."""

from __future__ import annotations

import pytest

from tests.console_world import go_on, main_text, no_trace, ready, wait_text, wait_until
from tests.test_browser_runs import press_compare, warm

pytestmark = pytest.mark.browser


def marks(page):
    """(text, link) of every mark on the charts."""
    # In one step: the charts draw themselves again at each refresh.
    read = "all => all.map(one => [one.textContent, one.getAttribute('xlink:href') || one.getAttribute('href')])"
    return {tuple(pair) for pair in page.locator(".annotation-text a").evaluate_all(read)}


def test_a_comparison_is_on_the_charts_of_either_theme_with_its_decision_and_a_way_back(console, page):
    warm(console, page, "?ref=2024-01-31&cur=2024-02-29")
    run = press_compare(page)
    page.locator("[class*=st-key-verdict-]").wait_for(state="visible", timeout=120_000)
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        page.goto(f"{console.url}/charts?tab=Drift")
        ready(page, "charts")
        page.get_by_text("Drift", exact=True).first.click()
        wait_text(page, "Share of drifted columns")
        # Prometheus scrapes the console every few seconds.
        wait_text(page, r"share 6\.25\s*%, threshold 30\s*% now")
        wait_text(page, r"drifted 1, not comparable 0 now")
        wait_text(page, r"rebuffer_events_7d 0\.205 now")
        assert "no comparison" not in main_text(page)
        no_trace(page)
        (link,) = wait_until(
            "the mark of the run with its decision",
            lambda: {to for text, to in marks(page) if text == "NO_ACTION" and f"run={run}" in to},
            page=page,
        )
    go_on(page, link)
    wait_text(page.locator("[class*=st-key-verdict-]"), r"2024-01-31 \(7,043 rows\) → 2024-02-29")
