"""Real parts for tests: the Prometheus binary of the stack, and one running server per session."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.console_world import (  # noqa: F401 - fixtures and hooks of the browser tests
    browser,
    console,
    drives_the_browser,
    page,
    pytest_runtest_makereport,
    pytest_runtest_teardown,
    stack_binaries,
    tabs,
)
from tests.http_fakes import Fake, metrics_page, serve
from tests.metric_forms import FORMS
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[1]
pytest_plugins = ["tests.heavy_suites"]
# Files whose names begin so share a console and a browser. They are two pieces of work of one length: one alone would
# take longer than everything else.
BROWSER = "test_browser_"
WITH_RUNS = "test_browser_ with runs"
RUNS = {f"{BROWSER}{name}" for name in ("drift_charts", "library", "main_path", "runs", "what_if")}
# What takes more than some ten seconds of a processor, longest first: a run on several processes begins with it, so that
# no long file is left for its end, and the quick set does without, but for tests marked `quick`. Measured; only time
# depends on it.
SLOW = (
    BROWSER,
    WITH_RUNS,
    "test_stack_systems",
    "test_pages",
    "test_drift_once",
    "test_console_process",
    "test_feast_postgres",
    "test_drift_compare",
    "test_hooks",
    "test_jobs",
    "test_world",
    "test_api_contracts",
    "test_second_engine",
    "test_drift_degenerate",
    "test_stack_run",
    "test_two_tables",
    "test_api_diabetes",
    "test_library_faults",
    "test_load_worker",
    "test_drift_known_answers",
    "test_drift_killed",
    "test_drift_faults",
    "test_drift_alerts",
    "test_report_monitoring",
    "test_cli",
    "test_api_streamflow",
    "test_api_f1pa_faults",
    "test_world_f1pa",
    "test_ingest",
    "test_drift_oracle",
    "test_postgres",
    "test_load_engine",
    "test_stack_services",
    "test_feast_repo",
    "test_world_diabetes",
    "test_api_f1pa",
    "test_system_f1pa_alerts",
    "test_drift_sources",
    "test_drift_worker",
    "test_periods_loading",
    "test_grafana",
    "test_attached_prometheus",
    "test_page_add_service",
    "test_drift_methods",
    "test_periods_source",
    "test_page_library",
    "test_prefect_flow",
    "test_mlflow",
)
# The first samples come 6 to 10 s after the start (discovery tick); a busy machine takes longer.
FIRST_SCRAPE_SECONDS = 180.0


# -- the run itself ------------------------------------------------------------------------------------------------------


def pytest_configure() -> None:
    """Give what tests start the usual hang-up and Ctrl-C, also where this run was started to ignore them.

    A handler of ours, unlike an ignored signal, does not go on to a new program. `nohup make test` itself still
    survives its terminal: the handler does nothing. A process of -n ends with the one that started it.
    """
    if "PYTEST_XDIST_WORKER" in os.environ or signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: None)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, lambda *_: None)


def piece(nodeid: str) -> str:
    """What stays together in one process: a file, or those that share a browser."""
    file = Path(nodeid.partition("::")[0]).stem
    if file in RUNS:
        return WITH_RUNS
    return BROWSER if file.startswith(BROWSER) else file


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """A file of which the quick set runs nothing is not read either: that would take each process seconds."""
    quick = "not slow" in config.option.markexpr and collection_path.suffix == ".py"
    if quick and piece(collection_path.name) in SLOW and "mark.quick" not in collection_path.read_text():
        return True
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow pieces of work first; the marker `browser` for what drives one, `slow` for all of a slow piece."""
    order = {name: place for place, name in enumerate(SLOW)}
    items.sort(key=lambda item: order.get(piece(item.nodeid), len(order)))
    for item in items:
        if piece(item.nodeid) in order and not item.get_closest_marker("quick"):
            item.add_marker(pytest.mark.slow)
        if drives_the_browser(item):
            item.add_marker(pytest.mark.browser)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Hand out pieces in the order of collection (`--dist loadfile` knows only files)."""
    from xdist.scheduler.loadfile import LoadFileScheduling

    class Pieces(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return piece(nodeid)

    config.option.loadscopereorder = False
    return Pieces(config, log)


def of_this_run(factory: pytest.TempPathFactory) -> Path:
    """The temporary folder of all processes of this run."""
    base = factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that `make` fills once for all processes of this run; to be read, or copied, by whoever asks."""
    folder = of_this_run(factory) / f"once-{name}"
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Beside the folder: what is in it is what `make` made.
        whole = folder.with_suffix(".whole")
        if not whole.exists():
            folder.mkdir(exist_ok=True)
            make(folder)
            whole.touch()
    return folder


# Everything of a sample takes half a minute on two free cores.
MAKE_SECONDS = 600.0


def _by_command(module: str) -> Callable[[Path], object]:
    """Made by the command that a user types, in a process of its own: Feast and sklearn stay out of this one."""
    from tests import warm
    from tests.locked_environments import environ

    def make(home: Path) -> None:
        done = warm.run(module, "--home", str(home), env=environ(home), timeout=MAKE_SECONDS)
        assert done.returncode == 0, done.stderr

    return make


def sample_home(factory: pytest.TempPathFactory) -> Path:
    """A home with the sample world and its feature repository."""
    return made_once(factory, "sample", _by_command("stack.world"))


def diabetes_home(factory: pytest.TempPathFactory) -> Path:
    """A home with the data and model of the second system."""
    return made_once(factory, "diabetes", _by_command("stack.world.diabetes"))


def f1pa_home(factory: pytest.TempPathFactory) -> Path:
    """A home with the laps of the third system."""
    return made_once(factory, "f1pa", _by_command("stack.world.f1pa"))


# -- real parts ----------------------------------------------------------------------------------------------------------


def absent(reason: str) -> None:
    """Skip with the reason; where CI is set, a missing real part is a failure."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def forget_pages() -> None:
    """Empty the console's caches: an earlier test's environment may be in them."""
    import streamlit as st

    st.cache_data.clear()
    st.cache_resource.clear()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty home for pages that are drawn here: no stack, no job host, no runs, and not the checkout's reports."""
    for name in ("VIGIE_PROMETHEUS_URL", "PROMETHEUS_URL", "FEAST_REPO", "VIGIE_SYSTEMS", "VIGIE_LEDGER_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("VIGIE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("REPORT_DIR", str(tmp_path / "home" / "reports"))
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "home").mkdir()
    forget_pages()
    yield tmp_path / "home"
    forget_pages()


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
def promtool(prometheus_binary) -> Path:
    path = prometheus_binary.with_name("promtool")
    if not path.exists():
        absent(f"no promtool beside {prometheus_binary}")
    return path


@pytest.fixture(scope="session")
def scraped_service() -> Iterator[Fake]:
    """A service with metrics of known values, and under /html a page that is none."""
    with serve(metrics_page()) as fake:
        yield fake


@pytest.fixture(scope="session")
def prometheus_url(prometheus_binary, scraped_service, tmp_path_factory) -> Iterator[str]:
    """A running Prometheus that scrapes itself, the service (job `api`), a closed port, a page of HTML, and each form of FORMS."""
    folder = tmp_path_factory.mktemp("prometheus")
    port, closed = free_port(), free_port()
    service = scraped_service.url.removeprefix("http://")
    jobs = {
        "prometheus": (f"127.0.0.1:{port}", "/metrics"),
        "api": (service, "/metrics"),
        "dead": (f"127.0.0.1:{closed}", "/metrics"),
        "page": (service, "/html"),
        "missing": (service, "/missing"),
        **{f"form-{name}": (service, f"/forms/{name}/metrics") for name in FORMS},
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
        process.wait(120)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def wait_for_samples(url: str, process: subprocess.Popen[bytes], log: Path, jobs: int) -> None:
    """Until every job has been scraped three times, which rate() needs."""
    question = f"{url}/api/v1/query?query=count(count_over_time(up%5B1m%5D)%20%3E%202)"

    def scraped() -> bool:
        assert process.poll() is None, log.read_text()[-2000:]
        with urllib.request.urlopen(question, timeout=2) as answer:
            return f'"{jobs}"' in answer.read().decode()

    # OSError: not listening yet.
    until(scraped, lambda: log.read_text()[-2000:], seconds=FIRST_SCRAPE_SECONDS, every=0.3, despite=(OSError,))
