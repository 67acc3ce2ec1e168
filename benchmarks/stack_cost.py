"""What the embedded stack costs with one system and with three: memory of every process, and seconds to start.

    python benchmarks/stack_cost.py [--repeats 3] [--json]

Each repeat starts the console as a reader does (`streamlit run`, the same that `make run` becomes), in turn with
StreamFlow alone and with all three systems, on homes of its own. The first start of a home makes its sample data; the
second finds them. Times are from the start of the process to the console's first answer, to the last API being up, and
to every API scraped. Memory is read once all is up and nothing was asked for a while (`--settle`): PSS counts a page
that several processes share once among them, so its sum is what the machine lacks; RSS counts it in each.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[1]
CHOICES = {"one system": "streamflow", "three systems": "all"}
APIS = {"streamflow": 1, "all": 3}
# A first start on a busy machine; a stack that needs longer is broken.
MOST_SECONDS = 600.0
POLL_SECONDS = 0.05
# By then the worker that compares months has loaded its libraries, the largest single part.
SETTLE_SECONDS = 25.0
# Words in a command line -> what the row is called; the first that fits.
NAMES = (
    ("streamlit run", "console"),
    ("app.jobs", "job host and its workers"),
    ("stack up", "supervisor"),
    ("api/streamflow", "StreamFlow API"),
    ("api/diabetes", "diabetes API"),
    ("api/f1pa", "F1PA API"),
    ("prometheus.yml", "Prometheus"),
    ("node-exporter", "node exporter"),
    ("node_exporter", "node exporter"),
)


@dataclass
class Cost:
    """One start: seconds since the process was started, and bytes by name (PSS, RSS)."""

    console: float
    ready: float
    scraped: float
    memory: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def pss(self) -> int:
        """Bytes, shared pages divided among those who share them."""
        return sum(pss for pss, _ in self.memory.values())

    @property
    def rss(self) -> int:
        """Bytes, shared pages counted by each."""
        return sum(rss for _, rss in self.memory.values())


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def fetch(url: str) -> Any:
    """The JSON of an answer; None while there is none."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return json.load(answer)
    except (OSError, ValueError):
        return None


def until(what: str, look: Callable[[], bool], process: subprocess.Popen[bytes], begun: float) -> float:
    """Seconds from the start to the first time that `look` is true."""
    while not look():
        if process.poll() is not None:
            raise SystemExit(f"the console ended before: {what}")
        if time.perf_counter() - begun > MOST_SECONDS:
            raise SystemExit(f"not within {MOST_SECONDS:g} s: {what}")
        time.sleep(POLL_SECONDS)
    return time.perf_counter() - begun


def services(home: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((home / "stack" / "state.json").read_bytes())["services"])
    except (OSError, ValueError, KeyError):
        return {}


def all_up(home: Path, apis: int) -> bool:
    rows = services(home)
    return len(rows) == apis + 2 and all(row["state"] == "up" for row in rows.values())


def all_scraped(home: Path, apis: int) -> bool:
    # Not the series `up`: for five minutes Prometheus also answers with what it scraped before a start.
    answer = fetch(f"{services(home)['prometheus']['url']}/api/v1/targets")
    targets = answer["data"]["activeTargets"] if answer else []
    up = {target["labels"]["job"] for target in targets if target["health"] == "up"}
    return len(up & {"api", "fastapi", "f1pa_api"}) == apis


def named(process: psutil.Process) -> str:
    """What a process is called in the table: its own name, or that of the parent that started it."""
    command = " ".join(process.cmdline())
    found = next((name for words, name in NAMES if words in command), "")
    parent = process.parent()
    return found or (named(parent) if parent is not None and parent.pid > 1 else command[:30])


def memory(pid: int) -> dict[str, tuple[int, int]]:
    """PSS and RSS in bytes of a process and all below it, by name."""
    found: dict[str, tuple[int, int]] = {}
    top = psutil.Process(pid)
    for process in [top, *top.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            full, name = process.memory_full_info(), named(process)
            pss, rss = found.get(name, (0, 0))
            # macOS knows no PSS: what is private to the process stands for it.
            found[name] = (pss + getattr(full, "pss", full.uss), rss + full.rss)
    return found


@contextlib.contextmanager
def started(home: Path, systems: str, binaries: dict[str, str]) -> Iterator[tuple[subprocess.Popen[bytes], int, float]]:
    """A console on its own home: process, port and when it was started; ended with the block."""
    home.mkdir(exist_ok=True)
    port = free_port()
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("VIGIE_", "PROMETHEUS_URL"))}
    environ = {**kept, **binaries, "VIGIE_HOME": str(home), "VIGIE_START": systems, "HOME": str(home)}
    command = [sys.executable, "-m", "streamlit", "run", "streamlit_app.py", "--server.port", str(port)]
    begun = time.perf_counter()
    with (home / "console.out").open("ab") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=log, stderr=log, start_new_session=True)
    try:
        yield process, port, begun
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def measure(home: Path, systems: str, binaries: dict[str, str], settle: float | None) -> Cost:
    """One start; memory is read after `settle` seconds of nothing, not at all without."""
    apis = APIS[systems]
    with started(home, systems, binaries) as (process, port, begun):
        health = f"http://127.0.0.1:{port}/healthz"
        console = until("the console answers", lambda: fetch(health) is not None, process, begun)
        ready = until("every service is up", lambda: all_up(home, apis), process, begun)
        scraped = until("every API is scraped", lambda: all_scraped(home, apis), process, begun)
        if settle is None:
            return Cost(console, ready, scraped)
        time.sleep(settle)
        return Cost(console, ready, scraped, memory(process.pid))


def fetched() -> dict[str, str]:
    """Prometheus and node exporter of the checkout's cache, fetched once."""
    sys.path.insert(0, str(ROOT))
    from app.base.home import Home
    from stack import binaries

    cache = Home(ROOT / "var")
    cache.make()
    return {
        program.variable: str(binaries.fetch(program, cache, os.environ, lambda _: None).path)
        for program in binaries.PROGRAMS.values()
    }


def words(values: list[float]) -> str:
    """Median and range in seconds."""
    return f"{statistics.median(values):.1f} ({min(values):.1f}-{max(values):.1f})"


def show(first: dict[str, list[Cost]], later: dict[str, list[Cost]]) -> None:
    """Print the two tables."""
    print(f"\n{'seconds, median (range)':<40}" + "".join(f"{choice:>22}" for choice in first))
    for title, costs in (("first start", first), ("later start", later)):
        for what in ("console", "ready", "scraped"):
            row = "".join(f"{words([getattr(cost, what) for cost in costs[choice]]):>22}" for choice in costs)
            text = {"console": "console answers", "ready": "every service up", "scraped": "every API scraped"}[what]
            print(f"{title + ': ' + text:<40}{row}")
    print(f"\n{'memory in MB, PSS (RSS), median':<40}" + "".join(f"{choice:>22}" for choice in later))
    names = dict.fromkeys(name for costs in later.values() for cost in costs for name in cost.memory)
    for name in [*names, "together"]:
        cells = []
        for costs in later.values():
            pairs = [(cost.pss, cost.rss) if name == "together" else cost.memory.get(name, (0, 0)) for cost in costs]
            pss, rss = (statistics.median(pair[place] for pair in pairs) / 1e6 for place in (0, 1))
            cells.append(f"{pss:.0f} ({rss:.0f})" if rss else "-")
        print(f"{name:<40}" + "".join(f"{cell:>22}" for cell in cells))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3, help="starts of each kind (default 3)")
    parser.add_argument("--settle", type=float, default=SETTLE_SECONDS, help="seconds of nothing before memory is read")
    parser.add_argument("--json", action="store_true", help="print the raw numbers")
    options = parser.parse_args()
    binaries = fetched()
    first: dict[str, list[Cost]] = {choice: [] for choice in CHOICES}
    later: dict[str, list[Cost]] = {choice: [] for choice in CHOICES}
    for _ in range(options.repeats):
        for choice, systems in CHOICES.items():
            home = Path(tempfile.mkdtemp(prefix="stack-cost-")) / "home"
            try:
                first[choice].append(measure(home, systems, binaries, None))
                later[choice].append(measure(home, systems, binaries, options.settle))
            finally:
                shutil.rmtree(home.parent, ignore_errors=True)
            print(f"{choice}: first {first[choice][-1].ready:.1f} s, later {later[choice][-1].ready:.1f} s", flush=True)
    if options.json:
        raw = {title: {choice: [vars(cost) for cost in costs] for choice, costs in found.items()}
               for title, found in (("first", first), ("later", later))}  # fmt: skip
        print(json.dumps(raw))
        return
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    room = psutil.virtual_memory().total / 1e9
    print(f"{os.cpu_count()} cores, load {load}, {room:.1f} GB, Python {sys.version.split()[0]}")
    show(first, later)


if __name__ == "__main__":
    main()
