"""From a fresh clone to the first live chart and the first comparison, step by step; then the second start of it.

    python benchmarks/first_chart.py [--limit 900] [--cold] [--keep]

What is cloned is the last commit of this checkout. `python3 -m stack run` is typed in it and a headless Chromium opens
the charts page as soon as the console answers, as a person would; once all is there it compares the first two months.
Each line is a moment, in seconds since the command; CPU seconds are those of everything the command started.
`--cold` gives the installer an empty download cache of its own, as on a machine that has never seen these packages.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
# The services end within 2 s of the console; what is left after this is killed.
STOP_SECONDS = 15.0
POLL_SECONDS = 0.2
# How long a newcomer looks at Compare months before pressing.
READING_SECONDS = 5
CHROMIUM_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
# A chart lives when a line with at least two points is drawn in it and the sentence below speaks of now: after a second
# start, the line alone may be yesterday's.
DRAWN = """Array.from(document.querySelectorAll('path.js-line')).some(p => (p.getAttribute('d') || '').includes('L'))
    && / a second now/.test(document.body.innerText)"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False


def services(home: Path) -> dict[str, dict[str, Any]]:
    """The services of state.json; empty while there is none."""
    try:
        return dict(json.loads((home / "stack" / "state.json").read_bytes())["services"])
    except (OSError, ValueError, KeyError):
        return {}


def scraped(home: Path, since: float) -> bool:
    """Whether Prometheus has scraped the prediction service with success since a moment (epoch seconds)."""
    url = services(home).get("prometheus", {}).get("url")
    query = urllib.parse.quote(f'timestamp(up{{job="api"}} == 1) > {since:.3f}')
    try:
        with urllib.request.urlopen(f"{url}/api/v1/query?query={query}", timeout=2) as answer:
            return bool(json.load(answer)["data"]["result"])
    except (OSError, ValueError):
        return False


def clean_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """The environment without Vigie's variables and without the environment this script runs in."""
    mine = str(Path(sys.prefix) / "bin")
    path = os.pathsep.join(part for part in os.environ["PATH"].split(os.pathsep) if part != mine)
    ours = ("VIGIE_", "PROMETHEUS_", "POSTGRES_", "REPORT_DIR", "FEAST_REPO", "VIRTUAL_ENV", "STREAMLIT_")
    return {key: value for key, value in os.environ.items() if not key.startswith(ours)} | {"PATH": path} | dict(extra)


@contextlib.contextmanager
def started(command: list[str], folder: Path, environ: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen]:
    """A command in its own session that is ended with the block: asked first, then killed."""
    with log.open("ab") as out:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """A page of a headless Chromium; None, with the reason on standard error, when there is no browser."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        print("no Chromium on PATH: the browser's part is left out (apt-get install chromium)", file=sys.stderr)
        yield None
        return
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=found, args=CHROMIUM_FLAGS)
        try:
            yield browser.new_page(viewport={"width": 1280, "height": 900})
        finally:
            browser.close()


def steps(clone: Path, url: str, page: Any) -> dict[str, Callable[[], bool]]:
    """What a newcomer waits for, in the usual order, each with how to see that it has happened."""
    home, now = clone / "var", time.time()

    def up(name: str) -> bool:
        return services(home).get(name, {}).get("state") == "up"

    def drawn() -> bool:
        if page.url == "about:blank":
            if not answers(f"{url}/healthz"):
                return False
            page.goto(f"{url}/charts?system=streamflow")
        return bool(page.evaluate(DRAWN))

    found: dict[str, Callable[[], bool]] = {
        "Python environment made": (clone / ".venv" / "vigie.json").exists,
        "console answers": lambda: answers(f"{url}/healthz"),
        "Prometheus and node exporter up": lambda: up("prometheus") and up("node_exporter"),
        "sample world made": (home / "world" / "world.json").exists,
        "prediction service up": lambda: up("streamflow"),
        "first scrape of the prediction service": lambda: scraped(home, now),
    }
    return found | ({"first live chart in the browser": drawn} if page is not None else {})


def compared(url: str, page: Any) -> float:
    """Seconds from the click on Compare months to the verdict of the first two months."""
    page.goto(f"{url}/drift?system=streamflow")
    button = page.locator(".st-key-form").get_by_role("button", name="Compare months")
    button.wait_for(state="visible")
    # A reader looks at the page before pressing, and the worker loads its libraries meanwhile.
    page.wait_for_timeout(READING_SECONDS * 1000)
    before, begun = page.url, time.monotonic()
    button.click()
    page.wait_for_function(
        """before => location.href !== before && !document.querySelector('.st-key-running')
            && document.querySelector('[class*="st-key-verdict-"]')""",
        arg=before,
        timeout=120_000,
    )
    return time.monotonic() - begun


def cpu_seconds(process: subprocess.Popen) -> float:
    """CPU of a process and all that it started, what has ended included."""
    import psutil

    root = psutil.Process(process.pid)
    used = 0.0
    for one in [root, *root.children(recursive=True)]:
        with contextlib.suppress(psutil.Error):
            used += sum(one.cpu_times()[:4])
    return used


def measure(clone: Path, environ: Mapping[str, str], limit: float, *, compare: bool) -> dict[str, float]:
    """Seconds from the command to each step; then the first comparison of the home, where `compare` says so.

    Raises TimeoutError with the end of the log.
    """
    port, log = free_port(), clone.parent / "run.log"
    url = f"http://127.0.0.1:{port}"
    moments: dict[str, float] = {}
    with chromium() as page:
        begun = time.monotonic()
        with started(["python3", "-m", "stack", "run", "--port", str(port)], clone, environ, log) as process:
            waiting = steps(clone, url, page)
            while waiting:
                for name in list(waiting):
                    if waiting[name]():
                        moments[name] = time.monotonic() - begun
                        del waiting[name]
                if process.poll() is not None or time.monotonic() - begun > limit:
                    end = log.read_text(errors="replace")[-1500:]
                    raise TimeoutError(f"not reached in {time.monotonic() - begun:.0f} s: {', '.join(waiting)}\n{end}")
                time.sleep(POLL_SECONDS)
            print(f"  CPU until all is there: {cpu_seconds(process):.1f} s")
            if page is not None and compare:
                print(f"  first comparison, click to verdict: {compared(url, page):.1f} s")
    return moments


def size(folder: Path) -> str:
    whole = sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return f"{whole / 1e6:,.0f} MB"


def show(title: str, moments: Mapping[str, float]) -> None:
    print(f"\n{title}")
    before = 0.0
    for name, at in sorted(moments.items(), key=lambda pair: pair[1]):
        print(f"  {at:7.1f} s  (+{at - before:5.1f})  {name}")
        before = at


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=float, default=900.0, help="give up after this many seconds of one start")
    parser.add_argument("--cold", action="store_true", help="with an empty download cache")
    parser.add_argument("--keep", action="store_true", help="leave the clone behind and say where")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="vigie-first-"))
    try:
        begun = time.monotonic()
        clone = folder / "vigie"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True, timeout=120)
        cloned = time.monotonic() - begun
        environ = clean_environment({"UV_CACHE_DIR": str(folder / "cache")} if options.cold else {})
        cache = "empty download cache" if options.cold else "download cache of this machine"
        print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start; {cache}; clone {cloned:.1f} s")
        show("first start", measure(clone, environ, options.limit, compare=True))
        print(f"  on disk: environment {size(clone / '.venv')}, var/ {size(clone / 'var')}")
        # The pair has its verdict by now: nothing is left to be first.
        show("second start of the same clone", measure(clone, environ, options.limit, compare=False))
    except TimeoutError as error:
        sys.exit(str(error))
    finally:
        if options.keep:
            print(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
