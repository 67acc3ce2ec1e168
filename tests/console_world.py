"""The console as a user starts it, for tests: real processes, a real Prometheus, a real browser.

`Console` is one `streamlit run` on its own home and port. A run shares one of them (`console`), a session one browser; a
test that ends processes makes a console of its own on a copy of the sample world (`world_copy`).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

import psutil
import pytest

from app.base import child_process
from tests.http_fakes import answer, serve
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[1]
ARTIFACTS = ROOT / "test-artifacts"
CHROMIUM = Path("/usr/bin/chromium")
# The same without windows and what stands round a page, where Debian's package of it is installed: a tenth cheaper.
HEADLESS = Path("/usr/bin/chromium-headless-shell")
VIEWPORT = {"width": 1280, "height": 900}
# What Playwright switches off (the last list counts), and two lists of suggestions under an address bar nobody types in:
# each window draws them in a process of their own.
SWITCHED_OFF = (
    *("AvoidUnnecessaryBeforeUnloadCheckSync", "DestroyProfileOnBrowserClose", "HttpsUpgrades"),
    *(
        "HttpsFirstBalancedModeAutoEnable",
        "LensOverlay",
        "MediaRouter",
        "PaintHolding",
        "ThirdPartyStoragePartitioning",
    ),
    *("AvoidCorsURLLoaderRestartOnRedirect", "OptimizationHints", "NetworkTimeServiceQuerying", "AimEnabled"),
    *("PreconnectToSearch", "WebUIOmniboxPopup", "WebUIOmniboxAimPopup"),
)
CHROMIUM_FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
    f"--disable-features={','.join(SWITCHED_OFF)}",
]
# A page of a test lives for seconds: scripts compiled for speed and a young heap kept small never pay there. These, and
# pages in which nothing moves by itself, leave three quarters of the processor time; pages that come one after another
# into a process that has compiled the console's scripts already, six tenths.
SHORT_LIVED = (
    "--js-flags=--no-opt --no-maglev --min-semi-space-size=64 --max-semi-space-size=64",
    "--process-per-site",
)
STILL = """addEventListener('DOMContentLoaded', () => {
  const style = document.createElement('style')
  style.textContent = '*, *::before, *::after { animation: none !important; transition: none !important }'
  document.head.append(style)
})"""
# The first start makes the world and trains a model: 20 s on two free cores, several times that on busy ones.
START_SECONDS = 300.0
# How long the end of a console, or of what it started, is waited for: it takes two seconds on a free machine.
END_SECONDS = 90.0
# What a reader would wait for a page at most; nothing is asserted about speed.
PATIENCE = 120.0
SERVICES = {"prometheus", "node_exporter", "streamflow"}
# Variables of the caller's own shell that would change what the console does.
FOREIGN = (
    "VIGIE_",
    "POSTGRES_",
    "PROMETHEUS_URL",
    "REPORT_DIR",
    "FEAST_REPO",
    "STREAMLIT_",
    "HTTP_PROXY",
    "http_proxy",
)
Value = TypeVar("Value")
FAILED = pytest.StashKey[bool]()


def wait_until(
    what: str, look: Callable[[], Value], seconds: float = PATIENCE, every: float = 0.1, *, page: Any = None
) -> Value:
    """The first true answer of `look`; fails naming what never came. `page` hears of its browser meanwhile."""
    pause = time.sleep if page is None else lambda wait: page.wait_for_timeout(wait * 1000)
    return until(look, what, seconds=seconds, every=every, pause=pause)


def processes_of(home: Path) -> dict[int, str]:
    """Every running process that was given this home, by pid: the console, all it started, and all they started."""
    found = {}
    for one in psutil.process_iter(["pid", "status"]):
        with contextlib.suppress(psutil.Error, OSError):
            if one.info["status"] == psutil.STATUS_ZOMBIE:
                continue
            if one.environ().get("VIGIE_HOME") == str(home):
                found[one.pid] = " ".join(one.cmdline())[:200]
    return found


def nothing_left(home: Path, seconds: float = END_SECONDS) -> None:
    """Fails when something started for this home still runs after so many seconds; ends it then."""
    until = time.monotonic() + seconds
    while left := processes_of(home):
        if time.monotonic() > until:
            for pid in left:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            pytest.fail(f"still running {seconds:g} s after the end of the console: {left}")
        time.sleep(0.1)


def get(
    url: str, *, headers: Mapping[str, str] | None = None, seconds: float = 15.0
) -> tuple[int, dict[str, str], bytes]:
    """(status, headers in lower case, body) of a GET without proxies and without following redirects."""

    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_args: Any, **_more: Any) -> None:
            return None

    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), Stay)
    request = urllib.request.Request(url, headers=dict(headers or {}))
    try:
        with opener.open(request, timeout=seconds) as answer:
            return answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, {k.lower(): v for k, v in error.headers.items()}, error.read()


def fetched_binaries() -> dict[str, str]:
    """The programs of the stack by environment variable: fetched once into the checkout's cache, then reused."""
    found = {}
    environ = {key: value for key, value in os.environ.items() if not key.startswith("VIGIE_")}
    for name, variable in (("prometheus", "VIGIE_PROMETHEUS_BIN"), ("node_exporter", "VIGIE_NODE_EXPORTER_BIN")):
        command = [sys.executable, "-m", "stack", "fetch", name]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=170, env=environ)
        match = re.search(rf"^{name} \S+: (.+) \(from ", done.stdout, re.MULTILINE)
        if done.returncode or not match:
            missing(f"no {name} binary: {(done.stderr or done.stdout).strip()[-400:]}")
        assert match is not None
        found[variable] = match[1]
    return found


def missing(reason: str) -> None:
    """Skip with the reason; where CI is set, a missing real part is a failure."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


# The consoles that run now: what they wrote is kept when a browser test fails.
LIVE: list[Console] = []


class Console:
    """One console on its own home: start it, ask it, end it."""

    def __init__(self, home: Path, port: int, environ: Mapping[str, str]) -> None:
        self.home = home
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        kept = {key: value for key, value in os.environ.items() if not key.startswith(FOREIGN)}
        # A configuration of the person who runs the tests is none of the tests' business.
        self.environ = {**kept, "HOME": str(home), "VIGIE_HOME": str(home), **environ}
        self.log = home / "console.out"
        self.process: subprocess.Popen[bytes] | None = None
        # Also of one that another process of this run has started.
        self.pid = 0

    def start(self, *, root: Path = ROOT) -> Console:
        """Start it and return when it answers; its services may still be starting."""
        self.home.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "streamlit", "run", "streamlit_app.py", "--server.port", str(self.port)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                # With this test run, however it ends, the console ends too, and with the console all it started.
                child_process.dying_with_parent(command),
                cwd=root,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.pid = self.process.pid
        LIVE.append(self)
        wait_until("the console answers on /healthz", self._answers, START_SECONDS)
        return self

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"the console ended: {self.text()}"
        try:
            return get(f"{self.url}/healthz", seconds=2)[0] == 200
        except OSError:
            return False

    def text(self) -> str:
        """What it printed, and the ends of its logs."""
        logs = "".join(
            f"\n--- {path.name}\n{path.read_text(errors='replace')[-1500:]}" for path in self.home.glob("logs/*.log")
        )
        return self.log.read_text(errors="replace")[-3000:] + logs

    def services(self) -> dict[str, dict[str, Any]]:
        """The services in state.json; empty while there is none."""
        try:
            return dict(json.loads((self.home / "stack" / "state.json").read_bytes())["services"])
        except (OSError, ValueError, KeyError):
            return {}

    def wait_up(self, names: set[str] = SERVICES) -> Console:
        """Until these services are up."""
        until(
            lambda: {name for name, row in self.services().items() if row["state"] == "up"} >= names,
            lambda: f"services up: {self.services()}\n{self.text()}",
            seconds=START_SECONDS,
            every=0.2,
        )
        return self

    def wait_job_host(self) -> Console:
        """Until the job host takes orders."""
        wait_until(
            "the job host's socket", lambda: (self.home / "jobs.sock").exists() or (self.home / "jobs.json").exists()
        )
        return self

    def service(self, name: str) -> str:
        """The address of a service."""
        return str(self.services()[name]["url"])

    def query(self, expr: str) -> list[tuple[dict[str, str], float]]:
        """An instant query to its Prometheus: labels and value of each series."""
        url = f"{self.service('prometheus')}/api/v1/query?{urlencode({'query': expr})}"
        rows = json.loads(get(url)[2])["data"]["result"]
        return [(row["metric"], float(row["value"][1])) for row in rows]

    def runs(self, kind: str, system: str = "streamflow") -> list[dict[str, Any]]:
        """The progress files of all runs of one kind of a system, oldest first."""
        found = []
        for path in sorted(self.home.glob("runs/*/progress.json")):
            with contextlib.suppress(OSError, ValueError):
                found.append(json.loads(path.read_bytes()))
        return [run for run in found if (run.get("kind"), run.get("system")) == (kind, system)]

    def end(self, number: int = signal.SIGTERM) -> None:
        """Send the console alone a signal; nothing it started may be left."""
        console = self.process
        if console is None:
            return
        self.process = None
        LIVE.remove(self)
        if console.poll() is None:
            console.send_signal(number)
        try:
            console.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            console.kill()
            console.wait()
            nothing_left(self.home)
            pytest.fail(f"the console did not end within {END_SECONDS:g} s of signal {number}: {self.text()}")
        nothing_left(self.home)


def world_copy(source: Path, home: Path) -> Path:
    """A home with the sample world and feature repository of another one: nothing to make at the start."""
    home.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source / "feast", home / "feast")
    # Other systems' data is made when somebody picks them.
    shutil.copytree(source / "world", home / "world")
    return home


@contextlib.contextmanager
def running(console: Console) -> Iterator[Console]:
    """A started console that ends with the block, however the block ends."""
    try:
        yield console.start()
    finally:
        console.end()


# -- the browser ---------------------------------------------------------------------------------------------------------


def ready(page: Any, name: str) -> Any:
    """Wait for the marker that a page of ours draws last; returns the page."""
    page.locator(f".st-key-ready-{name}").first.wait_for(state="attached", timeout=PATIENCE * 1000)
    return page


def go_on(page: Any, address: str) -> Any:
    """Lead a page of the console to another address of it, as back and forward do: a fifth of what it costs to load it.

    What was drawn before is there until the next is drawn, also the marker of the same page.
    """
    page.evaluate("to => { history.pushState(null, '', to); dispatchEvent(new PopStateEvent('popstate')) }", address)
    return page


def main_text(page: Any) -> str:
    """What stands in the main part of the page, as a reader sees it."""
    return str(page.locator("[data-testid=stMain]").inner_text())


def wait_text(place: Any, pattern: str, seconds: float = PATIENCE) -> re.Match[str]:
    """Wait until a place (the main part of a page, or any locator) holds a match of `pattern`; the match."""
    page = getattr(place, "page", place)

    def text() -> str:
        return main_text(page) if place is page else str(place.inner_text())

    return until(
        lambda: re.search(pattern, text()),
        lambda: f"{pattern!r} on the page, which says:\n{text()[:3000]}",
        seconds=seconds,
        every=0.15,
        pause=lambda wait: page.wait_for_timeout(wait * 1000),
    )


def wait_equal(page: Any, read: Callable[[], Value], expected: object) -> Value:
    """Until `read` gives this: what the page showed before may still be there, and what is read once may be half drawn."""
    until(
        lambda: read() == expected,
        lambda: f"{expected!r}; it is {read()!r}",
        seconds=PATIENCE,
        every=0.1,
        pause=lambda wait: page.wait_for_timeout(wait * 1000),
    )
    return read()


def values(boxes: Any) -> list[str]:
    """What the input boxes of a locator hold, in one look."""
    held: list[str] = boxes.evaluate_all("all => all.map(one => one.value)")
    return held


def idle(page: Any) -> bool:
    """Whether no script runs for this page, as far as it has heard."""
    return bool(page.locator("[data-testid=stApp][data-test-script-state=notRunning]").count())


def settled(place: Any) -> dict[str, float]:
    """The box of something to click at by coordinates, once no script runs and two looks find it in the same place."""
    page, boxes = place.page, [None]

    def still() -> bool:
        boxes.append(place.bounding_box() if idle(page) and place.count() else None)
        return boxes[-1] is not None and boxes[-1] == boxes[-2]

    wait_until("it stands still", still, every=0.2, page=page)
    box: dict[str, float] = boxes[-1]
    return box


def choose(page: Any, box: Any, text: str, done: Callable[[], Any]) -> None:
    """Pick the entry of a list that holds `text` by clicks, until `done` says that it was taken.

    A list that opens while the page is still being drawn closes again, or moves away from under the mouse.
    """
    from playwright.sync_api import TimeoutError as Moved

    option = page.get_by_role("option").filter(has_text=text)

    def taken() -> bool:
        if not option.is_visible():
            box.click()
            page.wait_for_timeout(500)
        if option.is_visible():
            with contextlib.suppress(Moved):
                option.click(timeout=2000)
        until = time.monotonic() + 5
        while not done() and option.count() == 0 and time.monotonic() < until:
            page.wait_for_timeout(100)
        return bool(done())

    wait_until(f"{text} is picked", taken, page=page)


def no_trace(page: Any) -> None:
    """Fails when the page shows an exception of Streamlit's, a Python trace, or our own word for a failed page."""
    assert page.locator("[data-testid=stException]").count() == 0, main_text(page)
    text = main_text(page)
    assert "Traceback" not in text
    assert "Vigie itself failed" not in text


def frame_is_there(page: Any) -> None:
    """Fails when logo, system picker, every navigation entry or the connection line is missing."""
    sidebar = page.locator("[data-testid=stSidebar]")
    page.locator("[data-testid=stSidebarLogo], [data-testid=stHeaderLogo], [data-testid=stLogo]").first.wait_for(
        state="visible"
    )
    sidebar.locator("[data-testid=stSelectbox]").first.wait_for(state="visible")
    for title in ("Overview", "Targets", "Charts", "Generate traffic", "Compare months", "Reports", "Add a service"):
        sidebar.get_by_role("link", name=title).first.wait_for(state="visible")
    sidebar.locator(".st-key-connection").get_by_text("Prometheus").first.wait_for(state="visible")


def keep(page: Any, name: str) -> None:
    """Picture and markup of a page, and the logs of the consoles, under test-artifacts/."""
    ARTIFACTS.mkdir(exist_ok=True)
    safe = re.sub(r"[^A-Za-z0-9_.-]", "-", name)[:100]
    # The failure itself must not be hidden by one of the camera.
    with contextlib.suppress(Exception):
        page.screenshot(path=ARTIFACTS / f"{safe}.png", full_page=True)
    with contextlib.suppress(Exception):
        (ARTIFACTS / f"{safe}.html").write_text(f"<!-- {page.url} -->\n{page.content()}")
    for console in LIVE:
        (ARTIFACTS / f"{safe}-{console.port}.log").write_text(console.text())


# -- fixtures, imported by conftest.py -----------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def stack_binaries() -> dict[str, str]:
    """Prometheus and node exporter of the checkout's cache, as environment."""
    return fetched_binaries()


@pytest.fixture(scope="session")
def console(tmp_path_factory, stack_binaries) -> Iterator[Console]:
    """The real thing, once for all processes of this run: console, job host, supervisor, Prometheus, node exporter, API.

    Its world is there already; test_console_process starts a console that makes its own. A file counts only what it
    brings itself: systems, runs, requests.
    """
    from tests.conftest import of_this_run

    kept = of_this_run(tmp_path_factory) / "console.json"
    with kept.with_suffix(".lock").open("w") as lock, kept.with_suffix(".users").open("w") as users:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with started_by_another(kept) if kept.exists() else started_here(kept, stack_binaries, tmp_path_factory) as one:
            fcntl.flock(users, fcntl.LOCK_SH)
            fcntl.flock(lock, fcntl.LOCK_UN)
            yield one
            if one.process is not None:
                # It ends when nobody uses it any more; whoever comes later starts one again.
                fcntl.flock(lock, fcntl.LOCK_EX)
                fcntl.flock(users, fcntl.LOCK_EX)
                kept.unlink()


@contextlib.contextmanager
def started_by_another(kept: Path) -> Iterator[Console]:
    """The console that another process of this run has started."""
    about = json.loads(kept.read_text())
    console = Console(Path(about["home"]), about["port"], about["environ"])
    console.pid = about["pid"]
    LIVE.append(console)
    yield console
    LIVE.remove(console)


@contextlib.contextmanager
def started_here(kept: Path, binaries: dict[str, str], factory: pytest.TempPathFactory) -> Iterator[Console]:
    """A console that the other processes of this run can use as well."""
    from tests.conftest import free_port, sample_home
    from tests.hostile_system import write_system

    folder = factory.mktemp("console")
    write_system(folder / "systems")
    environ = {**binaries, "REPORT_DIR": str(folder / "reports"), "VIGIE_SYSTEMS": str(folder / "systems")}
    home = world_copy(sample_home(factory), folder / "home")
    with running(Console(home, free_port(), environ)) as console:
        console.wait_up().wait_job_host()
        about = {"home": str(home), "port": console.port, "environ": environ, "pid": console.pid}
        kept.write_text(json.dumps(about))
        yield console


class Chromium:
    """One headless Chromium for tests that stand in a row, and one context: its cache has the parts of the console.

    A page whose scripts come from the cache costs a third of one in a context of its own. A page that stays open keeps
    the process of all pages from this machine. While the browser runs, its event loop is in the way of tests that have
    one of their own.
    """

    def __init__(self) -> None:
        self._ends: contextlib.ExitStack | None = None
        self._browser: Any = None
        self._context: Any = None
        self._stays: Any = None

    def browser(self) -> Any:
        if self._ends is None:
            from playwright.sync_api import sync_playwright

            with contextlib.ExitStack() as ends:
                play = ends.enter_context(sync_playwright())
                path = HEADLESS if HEADLESS.exists() else CHROMIUM
                self._browser = play.chromium.launch(executable_path=str(path), args=[*CHROMIUM_FLAGS, *SHORT_LIVED])
                ends.callback(self._browser.close)
                self._context = self._browser.new_context(
                    viewport=VIEWPORT, ignore_https_errors=True, reduced_motion="reduce"
                )
                self._context.add_init_script(STILL)
                self._context.set_default_timeout(PATIENCE * 1000)
                self._stays = self._context.new_page()
                self._stays.goto(ends.enter_context(serve(answer())).url)
                self._ends = ends.pop_all()
        return self._browser

    def tab(self) -> Any:
        """A page of the one context."""
        self.browser()
        return self._context.new_page()

    def tidy(self) -> None:
        """Close every page; nothing that a test left (cookies, storage) is there for the next one."""
        if self._context is None:
            return
        for each in self._context.pages:
            if each is not self._stays:
                each.close()
        stored = {"origin": "*", "storageTypes": "local_storage,indexeddb,service_workers,cache_storage"}
        self._context.clear_cookies()
        session = self._context.new_cdp_session(self._stays)
        session.send("Storage.clearDataForOrigin", stored)
        session.detach()

    def end(self) -> None:
        if self._ends is not None:
            ends, self._ends, self._browser, self._context = self._ends, None, None, None
            ends.close()


SHARED = Chromium()


def drives_the_browser(item: pytest.Item | None) -> bool:
    return "browser" in getattr(item, "fixturenames", ())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(nextitem: pytest.Item | None) -> Any:
    """End the browser after the last test of a row of files about it."""
    try:
        return (yield)
    finally:
        if nextitem is None or nextitem.get_closest_marker("browser") is None:
            SHARED.end()


@pytest.fixture
def browser() -> Any:
    """The headless Chromium of all browser tests in a row."""
    if not CHROMIUM.exists():
        missing(f"no browser: {CHROMIUM} is missing (apt-get install chromium)")
    return SHARED.browser()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """Note on the item that its test failed, for the fixture that keeps the pictures."""
    report = yield
    item.stash[FAILED] = item.stash.get(FAILED, False) or report.failed
    return report


@pytest.fixture
def tabs(browser, request) -> Iterator[Callable[[], Any]]:
    """Makes tabs of one visitor who has never been here; after a failed test their pictures and markup are kept."""
    made: list[Any] = []

    def make() -> Any:
        made.append(SHARED.tab())
        return made[-1]

    yield make
    if request.node.stash.get(FAILED, False):
        for number, page in enumerate(made):
            keep(page, f"{request.node.name}-{number}" if number else request.node.name)
    SHARED.tidy()


@pytest.fixture
def page(tabs) -> Any:
    """One tab of a visitor who has never been here."""
    return tabs()
