"""Real parts for tests: the Prometheus binary of the stack, and one running server per session."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.console_world import (  # noqa: F401 - fixtures and hooks of the browser tests
    browser,
    console,
    page,
    pytest_collection_modifyitems,
    pytest_runtest_makereport,
    stack_binaries,
    tabs,
)
from tests.http_fakes import Fake, metrics_page, serve

ROOT = Path(__file__).resolve().parents[1]
# The first samples come 6 to 10 s after the start (discovery tick); a busy machine takes longer.
FIRST_SCRAPE_SECONDS = 60.0


def absent(reason: str) -> None:
    """Skip with the reason; where CI is set, a missing real part is a failure."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def prometheus_binary() -> Path:
    """The Prometheus that the stack finds or fetches."""
    command = [sys.executable, "-m", "stack", "fetch", "prometheus"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=170)
    found = re.search(r"^prometheus \S+: (.+) \(from ", done.stdout, re.MULTILINE)
    if done.returncode or not found:
        absent(f"no Prometheus binary: {(done.stderr or done.stdout).strip()[-400:]}")
    assert found is not None
    return Path(found[1])


@pytest.fixture(scope="session")
def scraped_service() -> Iterator[Fake]:
    """A service with metrics of known values, and under /html a page that is none."""
    with serve(metrics_page()) as fake:
        yield fake


@pytest.fixture(scope="session")
def prometheus_url(prometheus_binary, scraped_service, tmp_path_factory) -> Iterator[str]:
    """A running Prometheus that scrapes itself, the service (job `api`), a closed port and a page of HTML."""
    folder = tmp_path_factory.mktemp("prometheus")
    port, closed = free_port(), free_port()
    service = scraped_service.url.removeprefix("http://")
    jobs = {
        "prometheus": (f"127.0.0.1:{port}", "/metrics"),
        "api": (service, "/metrics"),
        "dead": (f"127.0.0.1:{closed}", "/metrics"),
        "page": (service, "/html"),
        "missing": (service, "/missing"),
    }
    lines = ["global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}", "rule_files: [rules.yml]"]
    lines += ["scrape_configs:"]
    for job, (target, path) in jobs.items():
        lines += [f"  - job_name: {job}", f"    metrics_path: {path}", "    static_configs:"]
        lines += [f"      - targets: ['{target}']"]
    (folder / "prometheus.yml").write_text("\n".join(lines) + "\n")
    (folder / "rules.yml").write_text(
        "groups: [{name: test, rules: [{alert: Down, expr: 'up{job=\"dead\"} == 0', for: 0s, "
        "annotations: {summary: 'it is <b>down</b>'}}]}]\n"
    )
    command = [str(prometheus_binary), f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--query.timeout=10s", "--query.max-samples=5000000"]
    url = f"http://127.0.0.1:{port}"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
    try:
        wait_for_samples(url, process, folder / "log", len(jobs))
        yield url
    finally:
        process.terminate()
        process.wait(10)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def wait_for_samples(url: str, process: subprocess.Popen[bytes], log: Path, jobs: int) -> None:
    """Until every job has been scraped three times, which rate() needs."""
    question = f"{url}/api/v1/query?query=count(count_over_time(up%5B1m%5D)%20%3E%202)"
    until = time.monotonic() + FIRST_SCRAPE_SECONDS
    while time.monotonic() < until:
        assert process.poll() is None, log.read_text()[-2000:]
        try:
            with urllib.request.urlopen(question, timeout=2) as answer:
                if f'"{jobs}"' in answer.read().decode():
                    return
        except OSError:
            pass  # not listening yet
        time.sleep(0.3)
    pytest.fail(f"no samples within {FIRST_SCRAPE_SECONDS:g} s: {log.read_text()[-2000:]}")
