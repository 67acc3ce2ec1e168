"""The one path that must be without surprises: traffic, charts, two calm months, the files, then the planted event."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from app.exposition import parse
from tests.console_world import (
    Console,
    choose,
    frame_is_there,
    get,
    idle,
    no_trace,
    ready,
    settled,
    values,
    wait_equal,
    wait_text,
    wait_until,
)

pytestmark = pytest.mark.browser
PANELS = {"rps": "requests", "latency_mean": "mean", "latency_p95": "p95"}


def counted(console: Console) -> float:
    """`api_requests_total` of every series, straight from the API."""
    body = get(f"{console.service('streamflow')}/metrics")[2].decode()
    return sum(sample.value for sample in parse(body) if sample.name == "api_requests_total")


def gauges(console: Console, name: str) -> dict[str, float]:
    """A gauge of streamflow on the console's own /metrics: value by decision, or under ''."""
    body = get(f"{console.url}/metrics")[2].decode()
    found = [sample for sample in parse(body) if sample.name == name]
    return {dict(s.labels).get("decision", ""): s.value for s in found if dict(s.labels).get("system") == "streamflow"}


def go(page: Any, title: str, name: str) -> None:
    """Click a page's entry in the sidebar and wait until it is drawn."""
    page.locator("[data-testid=stSidebar]").get_by_role("link", name=title).click()
    ready(page, name)


def pick(page: Any, label: str, text: str) -> None:
    """Pick the month of this date, unless it is picked already, and wait until the page is drawn for it.

    While it is drawn it sets both pickers, and what is picked in the other one would be taken back.
    """
    box = page.locator("[data-testid=stMain] [data-testid=stSelectbox]").filter(has_text=label).locator("input")
    if text not in box.input_value():
        choose(page, box, text, lambda: f"={text}" in page.url)
        wait_until("the page is drawn for it", lambda: idle(page) and text in box.input_value(), page=page)


def plotted(page: Any, panel: str) -> dict[str, list[float]]:
    """The numbers drawn in one panel, by the name of the line."""
    script = """id => {
        const plot = document.querySelector(`.st-key-panel-${id} .js-plotly-plot`);
        return plot ? plot.data.map(t => [t.name || "", Array.from(t.y || [], v => v)]) : [];
    }"""
    return {name: [v for v in values if isinstance(v, (int, float))] for name, values in page.evaluate(script, panel)}


def highest(page: Any, panel: str, line: str) -> float:
    """The largest number of a line, 0 while there is none."""
    return max(plotted(page, panel).get(line, []), default=0)


def a_burst_has_its_height(page: Any) -> None:
    """100 requests over 10 s are not smoothed away in the window that Charts opens with, and are there in 24 h.

    On a busy machine they are not evenly sent; a minute's window would show 1.7 a second at most.
    """
    wait_until("the burst is drawn", lambda: highest(page, "rps", "requests") > 2, page=page)
    page.locator(".st-key-range").get_by_text("24 h", exact=True).click()
    wait_text(page, r"Requests a second, 5 min 2 s window")
    # The chart of before, with its higher burst, may still be there.
    wait_until("the burst is in the last 24 h", lambda: 0 < highest(page, "rps", "requests") < 2, page=page)
    page.locator(".st-key-range").get_by_text("5 min", exact=True).click()
    wait_text(page, r"Requests a second, 8 s window")


def compare(console: Console, page: Any, ref: str, cur: str, frame: str) -> str:
    """Pick two months by date, press the button, wait for their verdict in its frame; the id of the run."""
    before = run_in_address(page)
    pick(page, "Reference", ref)
    pick(page, "Current", cur)
    page.locator(".st-key-form").get_by_role("button", name="Compare months").click()
    wait_until("a new run stands in the address", lambda: run_in_address(page) not in ("", before), page=page)
    run = run_in_address(page)
    # Until it is done, the page may still show an earlier run of the same pair.
    wait_until(
        "the run is done",
        lambda: any(one["run"] == run and one["state"] == "done" for one in console.runs("drift")),
        page=page,
    )
    verdict = page.locator(f".st-key-verdict-{frame}").filter(has_text=re.compile(rf"{ref} \(.*→ {cur} \("))
    verdict.wait_for(state="visible")
    return run


def run_in_address(page: Any) -> str:
    return parse_qs(urlsplit(page.url).query).get("run", [""])[0]


def drifted_share(report: bytes) -> float:
    """The share that Evidently's own DriftedColumnsCount gives."""
    metrics = json.loads(report)["metrics"]
    values = [m["value"] for m in metrics if m["config"]["type"].endswith("DriftedColumnsCount")]
    assert len(values) == 1
    return float(values[0]["share"])


def download(page: Any, label: str) -> tuple[str, bytes]:
    with page.expect_download() as started:
        page.get_by_role("button", name=label).click()
    return started.value.suggested_filename, Path(started.value.path()).read_bytes()


@pytest.mark.timeout(300)
def test_traffic_moves_the_charts_and_the_months_give_one_decision_everywhere(console, page):
    page.goto(console.url)
    ready(page, "overview")
    frame_is_there(page)
    wait_until("the API has been scraped", lambda: console.query('up{job="api"} == 1'))

    before = counted(console)
    go(page, "Generate traffic", "traffic")
    page.get_by_role("button", name="100 requests over 10 s").click()
    # Until then the page may still show the result of an earlier run.
    wait_until("the API has counted them", lambda: counted(console) - before >= 100, page=page)
    page.locator(".st-key-load-result").wait_for(state="visible")
    wait_text(page, r"100 sent, 100 answered, counter \+100, Prometheus \+100")
    assert counted(console) - before == 100
    no_trace(page)

    go(page, "Charts", "charts")
    for panel, line in PANELS.items():
        wait_until(f"{panel} is drawn", lambda panel=panel, line=line: highest(page, panel, line) > 0, page=page)
        assert "Nothing to draw" not in wait_text(page.locator(f".st-key-sentence-{panel}"), r".*\d.*")[0]
    a_burst_has_its_height(page)
    no_trace(page)

    go(page, "Compare months", "drift")
    shown = page.locator(".st-key-form [data-testid=stSelectbox] input")
    wait_equal(page, lambda: [box[:9] for box in values(shown)], ["month_000", "month_001"])
    run = compare(console, page, "2024-01-31", "2024-02-29", "none")
    calm_pair(console, page, run)
    report_is_drawn(page)
    downloads(page, run, console)
    event_and_unlabelled_month(console, page)


def calm_pair(console: Console, page: Any, run: str) -> None:
    """month_000 → month_001: one number and one word in banner, decision line, report, result, gauge, Prometheus."""
    banner = page.locator(".st-key-verdict-none")
    wait_text(banner, r"NO_ACTION\s*· 1 of 16 columns drifted: 0\.06 < 0\.30")
    words = r".*drift_share=0\.06 -> NO_ACTION drift_share=0\.06 < 0\.30 \(target_drift=0\.02[\s\S]*"
    line = wait_text(banner.locator("[data-testid=stCode]"), words)[0]
    assert "drift_2024-01-31_vs_2024-02-29.html" in line

    status, _, report = get(f"{console.url}/reports/file/{run}/json")
    assert status == 200
    share = drifted_share(report)
    assert share == 1 / 16
    stored = next(Path(console.environ["REPORT_DIR"]).glob(f"**/{run}/result.json"))
    result = json.loads(stored.read_bytes())
    assert (result["share"], result["k"], result["n"], result["decision"]) == (share, 1, 16, "NO_ACTION")
    assert result["line"] == line.strip()
    assert gauges(console, "vigie_drift_share") == {"": share}
    assert gauges(console, "vigie_decision") == {"NO_ACTION": 1, "RETRAINING_TRIGGERED": 0, "UNDECIDED": 0}
    wait_until(
        "Prometheus has the share",
        lambda: [v for _, v in console.query('vigie_drift_share{system="streamflow"}')] == [share],
    )
    assert [v for _, v in console.query('vigie_decision{system="streamflow",decision="NO_ACTION"}')] == [1]


def report_is_drawn(page: Any) -> None:
    """The embedded report is visible and Evidently has drawn its table or plots in it."""
    page.locator("[data-testid=stMain]").get_by_text("Evidently report", exact=True).click()
    frame = page.locator("[data-testid=stMain] iframe").first
    frame.wait_for(state="visible")
    box = settled(frame)
    assert box["width"] > 600 and box["height"] > 500
    inside = frame.content_frame
    inside.get_by_text("rebuffer_events_7d").first.wait_for(state="visible")
    inside.locator("table, .js-plotly-plot").first.wait_for(state="visible")


def downloads(page: Any, run: str, console: Console) -> None:
    name, body = download(page, "Download HTML")
    assert name == "drift_2024-01-31_vs_2024-02-29.html"
    assert b"rebuffer_events_7d" in body and body.rstrip().endswith(b"</html>")
    name, body = download(page, "Download JSON")
    assert name == "drift_2024-01-31_vs_2024-02-29.json"
    assert drifted_share(body) == 1 / 16
    assert body == get(f"{console.url}/reports/file/{run}/json")[2]


def event_and_unlabelled_month(console: Console, page: Any) -> None:
    """The planted event triggers; the last month has no labels yet and says that target drift is not measured."""
    run = compare(console, page, "2024-08-31", "2024-09-30", "trigger")
    banner = page.locator(".st-key-verdict-trigger")
    wait_text(banner, r"RETRAINING_TRIGGERED\s*\(SIMULÉ\) · 7 of 16 columns drifted: 0\.44 ≥ 0\.30")
    wait_text(banner, r"drift_share=0\.44 -> RETRAINING_TRIGGERED \(SIMULÉ\) drift_share=0\.44 >= 0\.30")
    assert drifted_share(get(f"{console.url}/reports/file/{run}/json")[2]) == 7 / 16
    assert gauges(console, "vigie_decision")["RETRAINING_TRIGGERED"] == 1

    compare(console, page, "2024-01-31", "2024-12-31", "trigger")
    wait_text(page, "Target drift not measured: ")
    wait_text(page, "target_drift=NaN")
    no_trace(page)
