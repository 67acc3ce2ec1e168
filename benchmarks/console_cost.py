"""What a page costs: CPU seconds of the console process and bytes over the WebSocket.

    python benchmarks/console_cost.py [--reruns 20] [--idle 20]

A real console with its services runs on a home of its own, with traffic and a comparison in it. For each page, in
headless Chromium: the first load, reruns of the whole page (the key R, one after another), and a tab that is left
open, with what it refreshes by itself. The floor is a script that only writes a title, on the same Streamlit, measured
the same way in the same run. CPU is the console process alone: Prometheus, services and workers are other processes.
Needs Linux (/proc) and Chromium.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# The folder of this script is the first entry of sys.path.
from first_chart import ROOT, answers, chromium, clean_environment, free_port, scraped, services, started

PAGES = ["overview", "targets", "charts", "traffic", "drift"]
TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
# From nothing to services that are up: programs may have to be fetched first.
START_SECONDS = 300.0
# A page that has not come to rest by then never will.
PAGE_SECONDS = 60.0
# A page is at rest when its WebSocket was silent this long; the refreshes of a page are at least 2 s apart.
QUIET_SECONDS = 0.6
FLOOR = "import streamlit as st\n\nst.title('Floor')\nst.container(key='ready-floor').write('')\n"


def cpu_seconds(pid: int) -> float:
    """CPU time of one process so far, its threads included, its children not."""
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / TICKS


@dataclass
class Socket:
    """What came over the WebSocket of a page: bytes, and when the last of them."""

    received: int = 0
    last: float = field(default_factory=time.monotonic)

    def watch(self, page: Any) -> None:
        """Count from now on."""
        page.on("websocket", lambda socket: socket.on("framereceived", self._count))

    def _count(self, payload: bytes | str) -> None:
        self.received += len(payload)
        self.last = time.monotonic()


@dataclass
class Cost:
    """One row of the table."""

    name: str
    load: tuple[float, int]
    reruns: list[tuple[float, int]]
    idle: tuple[float, float]


def settle(page: Any, socket: Socket, since: float) -> None:
    """Wait until something has come since a moment and the socket has fallen silent."""
    deadline = time.monotonic() + PAGE_SECONDS
    while time.monotonic() < deadline:
        page.wait_for_timeout(50)
        if socket.last > since and time.monotonic() - socket.last > QUIET_SECONDS:
            return
    raise TimeoutError(f"{page.url} does not come to rest within {PAGE_SECONDS:.0f} s")


def measure(page: Any, url: str, name: str, pid: int, options: argparse.Namespace) -> Cost:
    """Load, reruns and rest of one page."""
    socket = Socket()
    socket.watch(page)
    begun, cpu = time.monotonic(), cpu_seconds(pid)
    page.goto(url)
    page.locator(f".st-key-ready-{name}").first.wait_for(state="attached", timeout=PAGE_SECONDS * 1000)
    settle(page, socket, begun)
    load = (cpu_seconds(pid) - cpu, socket.received)
    again = []
    for _ in range(options.reruns):
        begun, cpu, before = time.monotonic(), cpu_seconds(pid), socket.received
        page.keyboard.press("r")
        settle(page, socket, begun)
        again.append((cpu_seconds(pid) - cpu, socket.received - before))
    cpu, before = cpu_seconds(pid), socket.received
    page.wait_for_timeout(options.idle * 1000)
    rest = ((cpu_seconds(pid) - cpu) / options.idle, (socket.received - before) / options.idle)
    page.goto("about:blank")
    # The session of the tab ends in the background; its last rerun is none of the next page's cost.
    page.wait_for_timeout(1500)
    return Cost(name, load, again, rest)


def wait(what: str, until: Any, seconds: float = START_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not until():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.2)


def command_line(environ: dict[str, str], folder: Path, *arguments: str) -> None:
    """One `python -m app` command to its end; it makes what the pages then show."""
    with started([sys.executable, "-m", "app", *arguments], ROOT, environ, folder / "app.log") as process:
        if process.wait(180) != 0:
            raise TimeoutError((folder / "app.log").read_text()[-800:])


def programs(environ: dict[str, str]) -> dict[str, str]:
    """Prometheus and node exporter of the checkout's cache, so that a fresh home need not fetch them."""
    found = {}
    for variable, name in (
        ("VIGIE_PROMETHEUS_BIN", "prometheus"),
        ("VIGIE_NODE_EXPORTER_BIN", "prometheus-node-exporter"),
    ):
        cached = sorted((ROOT / "var" / "bin").rglob(f"usr/bin/{name}"))
        if variable not in environ and cached:
            found[variable] = str(cached[0])
    return found


def console_rows(folder: Path, options: argparse.Namespace) -> list[Cost]:
    home, port = folder / "home", free_port()
    environ = clean_environment({"VIGIE_HOME": str(home), "REPORT_DIR": str(folder / "reports")})
    environ |= programs(environ)
    url = f"http://127.0.0.1:{port}"
    serve = [sys.executable, "-m", "streamlit", "run", "streamlit_app.py", "--server.port", str(port)]
    now = time.time()
    with started(serve, ROOT, environ, folder / "console.log") as process:
        wait("the console answers", lambda: answers(f"{url}/healthz"))
        wait("StreamFlow is up", lambda: services(home).get("streamflow", {}).get("state") == "up")
        wait("the first scrape", lambda: scraped(home, now))
        command_line(environ, folder, "load", "--system", "streamflow", "--count", "100", "--duration", "10")
        command_line(environ, folder, "drift", "--system", "streamflow", "--ref", "month_000", "--cur", "month_001")
        with chromium() as page:
            if page is None:
                sys.exit(1)
            found = []
            for name in PAGES:
                path = "/" if name == "overview" else f"/{name}"
                found.append(measure(page, f"{url}{path}?system=streamflow", name, process.pid, options))
            return found


def floor_row(folder: Path, options: argparse.Namespace) -> Cost:
    script, port = folder / "floor.py", free_port()
    script.write_text(FLOOR)
    quiet = ["--server.port", str(port), "--server.headless", "true", "--browser.gatherUsageStats", "false"]
    serve = [sys.executable, "-m", "streamlit", "run", str(script), "--server.address", "127.0.0.1", *quiet]
    url = f"http://127.0.0.1:{port}"
    with started(serve, folder, clean_environment({}), folder / "floor.log") as process:
        wait("the floor answers", lambda: answers(f"{url}/_stcore/health"), 60)
        with chromium() as page:
            if page is None:
                sys.exit(1)
            return measure(page, url, "floor", process.pid, options)


def show(costs: list[Cost]) -> None:
    print(f"{'page':<10}{'first load':>22}{'one rerun, median (range)':>38}{'open tab':>26}")
    for cost in costs:
        cpu = sorted(seconds * 1000 for seconds, _ in cost.reruns)
        kilobytes = statistics.median(size for _, size in cost.reruns) / 1000
        load = f"{cost.load[0] * 1000:.0f} ms, {cost.load[1] / 1000:.0f} kB"
        rerun = f"{statistics.median(cpu):.0f} ms ({cpu[0]:.0f} to {cpu[-1]:.0f}), {kilobytes:.1f} kB"
        rest = f"{cost.idle[0] * 100:.1f} % of a core, {cost.idle[1] / 1000:.1f} kB/s"
        print(f"{cost.name:<10}{load:>22}{rerun:>38}{rest:>26}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reruns", type=int, default=20)
    parser.add_argument("--idle", type=float, default=20.0, help="seconds that a tab is left open")
    options = parser.parse_args()
    if not Path("/proc/self/stat").exists():
        sys.exit("needs /proc: CPU time of another process is read there (Linux)")
    cores, load = os.cpu_count(), os.getloadavg()[0]
    print(f"{cores} cores, load {load:.1f} at the start; {options.reruns} reruns; CPU of the console, bytes received")
    with tempfile.TemporaryDirectory(prefix="vigie-cost-") as name:
        try:
            costs = console_rows(Path(name), options)
            show([floor_row(Path(name), options), *costs])
        except TimeoutError as error:
            log = Path(name) / "console.log"
            sys.exit(f"{error}\n{re.sub(r'(?m)^', '  ', log.read_text()[-800:]) if log.exists() else ''}")


if __name__ == "__main__":
    main()
