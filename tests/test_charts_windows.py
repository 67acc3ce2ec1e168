"""One burst of requests, in every window and range of the Charts page, on a real Prometheus with a written past."""

from __future__ import annotations

import re
import subprocess
import time
import urllib.request

import numpy as np
import pytest

from app.charts import Context, ask, sentence
from app.config import Panel
from app.prometheus import Prometheus, TimeRange
from app.prometheus.promql import window_for
from app.ui.charts import RANGES, WINDOWS
from app.words.units import Clock
from tests.conftest import free_port
from tests.console_world import wait_until

# A past that lies on no boundary of any step: 40 minutes of scrapes, and in the last of them a hundred requests.
END = float(int(time.time()) // 3600 * 3600 - 7200 + 1234)
BEGIN = END - 2400
BURST = END - 30
PANEL = Panel(
    id="rps", title="x", unit="1/s", legend="requests", expr="sum(rate(api_requests_total{$selector}[$window]))"
)


def burst(at):
    """100 requests over 10 s."""
    return 7 + min(100, max(0, 10 * (at - BURST)))


def page():
    """OpenMetrics with times: the burst as scraped every 2 s, 10 and 60 s; every job up all the time."""
    jobs = {"quick": 2, "calm": 10, "slow": 60}
    lines = ["# TYPE up gauge"]
    lines += [f'up{{job="{job}"}} 1 {at}' for job, every in jobs.items() for at in np.arange(BEGIN, END + 1, every)]
    lines += ["# TYPE api_requests counter"]
    for job, every in jobs.items():
        moments = np.arange(BEGIN, END + 1, every)
        lines += [f'api_requests_total{{job="{job}"}} {burst(at)} {at}' for at in moments]
    lines += [f'api_requests_total{{job="idle"}} 7 {at}' for at in np.arange(END - 240, END + 1, 2)]
    return "\n".join([*lines, "# EOF\n"])


@pytest.fixture(scope="module")
def prometheus(prometheus_binary, promtool, tmp_path_factory):
    folder = tmp_path_factory.mktemp("past")
    (folder / "past.txt").write_text(page())
    (folder / "prometheus.yml").write_text("scrape_configs: []\n")
    write = [str(promtool), "tsdb", "create-blocks-from", "openmetrics", "--quiet", "past.txt", "data"]
    subprocess.run(write, cwd=folder, check=True, capture_output=True, timeout=60)
    url = f"http://127.0.0.1:{free_port()}"
    command = [str(prometheus_binary), "--config.file=prometheus.yml", "--storage.tsdb.path=data"]
    with (folder / "log").open("wb") as log:
        address = f"--web.listen-address={url.removeprefix('http://')}"
        process = subprocess.Popen([*command, address], cwd=folder, stdout=log, stderr=log)

    def ready():
        assert process.poll() is None, (folder / "log").read_text()
        try:
            with urllib.request.urlopen(f"{url}/-/ready", timeout=2) as answer:
                return answer.status == 200
        except OSError:
            return False

    try:
        wait_until("Prometheus reads its past", ready, 60)
        client = Prometheus(url)
        yield client
        client.close()
    finally:
        process.terminate()
        process.wait(10)


def drawn(prometheus, job, scrape, window, seconds, end=END):
    """(answer, context) of the panel as Charts asks it."""
    span = TimeRange.last(seconds, now=end, scrape=scrape)
    context = Context(f'job="{job}"', window_for(window, scrape, span.step), span, scrape, "api_requests_total")
    return ask(prometheus, PANEL, context, Clock(now=end)), context


def test_charts_as_they_open_show_the_height_of_a_burst(prometheus):
    answer, context = drawn(prometheus, "quick", 2.0, WINDOWS["auto"], RANGES["5 min"])
    assert context.window == 8
    assert 9 <= np.nanmax(answer.series[0].values) <= 11


@pytest.mark.parametrize("range_", RANGES)
@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize(("job", "scrape"), [("quick", 2.0), ("calm", 10.0), ("slow", 60.0)])
def test_a_burst_is_seen_in_every_window_and_range(prometheus, job, scrape, window, range_):
    """Also in the 24 h whose steps are longer than a minute, and although it ended seconds ago."""
    answer, context = drawn(prometheus, job, scrape, WINDOWS[window], RANGES[range_], END + scrape)
    assert context.window >= context.span.step
    seen = float(np.nanmax(answer.series[0].values)) * context.window
    # What lies at the edge of a window is extrapolated, and what lies between two steps is counted once or twice.
    assert 40 <= seen <= 160
    assert "through this range" not in sentence(PANEL, answer, context.span, Clock(now=END))


def test_a_line_claims_nothing_of_the_time_before_the_first_scrape(prometheus):
    """Prometheus was 40 minutes old when the burst came, and a second service 4 minutes."""
    answer, context = drawn(prometheus, "quick", 2.0, None, RANGES["24 h"])
    assert "(the first value at" in sentence(PANEL, answer, context.span, Clock(now=END))
    answer, context = drawn(prometheus, "idle", 2.0, None, RANGES["30 min"])
    text = sentence(PANEL, answer, context.span, Clock(now=END))
    assert text.startswith("0 requests a second now, ever since the first value at ")
    mean = Panel(id="m", title="x", expr="sum(rate(nothing_sum{$selector}[$window]))")
    # As exact as the steps it looks at.
    assert re.fullmatch(
        r"no request in the (4 min|3 min 5\d s) since the first scrape", ask(prometheus, mean, context).reason
    )
