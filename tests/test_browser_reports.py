"""Hostile reports in Chromium: every way out that we know of, embedded in a page and as a full page.

Two browsers: one opens the reports as the console serves them, the other the same markup without any protection, so that
a probe that tries nothing is seen. Both are used up by one fixture; the tests read what arrived.
"""

from __future__ import annotations

import json
import selectors
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route

from app.config import Settings, load_systems
from app.routes import middleware, routes
from app.runs import reports
from app.runs.html import SANDBOX, guarded
from tests.console_world import CHROMIUM, CHROMIUM_FLAGS, wait_until
from tests.report_probes import ADDRESS, IN_A_TOP_PAGE, PROBES, REQUESTS, TOP, WEBRTC

pytestmark = pytest.mark.browser
# What Streamlit gives the frames of `st.iframe`: none of it may help a report.
STREAMLITS_FRAME = (
    "allow-forms allow-modals allow-popups allow-popups-to-escape-sandbox allow-same-origin allow-scripts"
)
# Where the page round a report may make a difference: what navigates, asks or looks up, and the plainest frames.
FULL = [*TOP, *REQUESTS, "constructor", "frame_in_markup", "inner_html"]
# Chromium connects ahead of a navigation that the page's policy then refuses; only its Connection-Allowlist ends that.
CONNECTS_AHEAD = {"location", "link_click", "link_click_in_svg"}
BARE = [*WEBRTC, *sorted(CONNECTS_AHEAD)]
# Seen in the browser's log alone.
LOOKS_UP = ("dns_prefetch", "dns_prefetch_made")
# Debian's Chromium guesses no connections; most others do.
PREFERENCES = {"net": {"network_prediction_options": 0}, "dns_prefetching": {"enabled": True}}


class Listener:
    """A port of its own for each probe, UDP and TCP alike; `arrived` are the names of those that were reached."""

    def __init__(self, names: Iterable[str]) -> None:
        self.arrived: set[str] = set()
        self.ports: dict[str, int] = {}
        self._select = selectors.DefaultSelector()
        self._end = threading.Event()
        for name in names:
            self._listen(name)
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _listen(self, name: str) -> None:
        while name not in self.ports:
            tcp, udp = socket.create_server((ADDRESS, 0)), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            try:
                udp.bind(tcp.getsockname())
            except OSError:
                tcp.close()
                udp.close()
                continue
            self.ports[name] = tcp.getsockname()[1]
            for one in (tcp, udp):
                self._select.register(one, selectors.EVENT_READ, name)

    def _serve(self) -> None:
        while not self._end.is_set():
            for key, _ in self._select.select(0.1):
                self.arrived.add(key.data)
                sock = key.fileobj
                assert isinstance(sock, socket.socket)
                if sock.type == socket.SOCK_DGRAM:
                    sock.recv(2000)
                else:
                    sock.accept()[0].close()

    def taken(self) -> set[str]:
        """What has arrived since this was last asked."""
        arrived, self.arrived = self.arrived, set()
        return arrived

    def close(self) -> None:
        """End the thread and free the ports."""
        self._end.set()
        self._thread.join()
        for key in list(self._select.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        self._select.close()


@contextmanager
def serving(application: Starlette) -> Iterator[str]:
    """A real server; its address."""
    sock = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(application, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
    thread.start()
    try:
        wait_until("the server is there", lambda: server.started)
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        sock.close()


@dataclass
class Outcome:
    """The probes that got out, by how their report was shown; and whatever else happened in the protected browser."""

    embedded: set[str] = field(default_factory=set)
    full: set[str] = field(default_factory=set)
    bare: set[str] = field(default_factory=set)
    looked_up: set[str] = field(default_factory=set)
    open: set[str] = field(default_factory=set)
    # Dialogs, downloads, further windows, and pages that went elsewhere.
    events: list[str] = field(default_factory=list)
    # Where somebody lands who opens the frame's address as a page.
    alone: str = ""


def framing(*addresses: str, sandbox: str = "") -> HTMLResponse:
    attribute = f' sandbox="{sandbox}"' if sandbox else ""
    frames = "".join(f'<iframe{attribute} src="{address}"></iframe>' for address in addresses)
    keep = "<script>document.cookie = 'c=1'; localStorage.setItem('x', 'y')</script>"
    return HTMLResponse(f"<!doctype html><title>page</title>{keep}{frames}")


@contextmanager
def chromium(browser: Any, folder: Path) -> Iterator[Any]:
    """A browser that guesses connections as most do and logs each name it looks up; its page."""
    (folder / "Default").mkdir(parents=True)
    (folder / "Default" / "Preferences").write_text(json.dumps(PREFERENCES))
    context = browser.browser_type.launch_persistent_context(
        folder,
        executable_path=str(CHROMIUM),
        args=[*CHROMIUM_FLAGS, f"--log-net-log={folder / 'net.json'}"],
        ignore_default_args=["--disable-background-networking"],
    )
    try:
        yield context.pages[0]
    finally:
        context.close()


def looked_up(folder: Path) -> set[str]:
    """The probes whose host name was looked up; the log is whole once its browser has ended."""
    log = (folder / "net.json").read_text(errors="replace")
    return {name for name in PROBES if f"{name.replace('_', '-')}.probe.invalid" in log}


def show_protected(
    page: Any, url: str, runs: dict[str, str], listener: Listener, settle: Callable[[], None]
) -> Outcome:
    """Open every report embedded, as a full page, and with the guard alone."""
    outcome = Outcome()
    context = page.context
    context.on("page", lambda other: outcome.events.append(f"window {other.url}"))
    context.on("dialog", lambda dialog: (outcome.events.append(f"dialog {dialog.message}"), dialog.dismiss()))
    page.on("download", lambda download: outcome.events.append(f"download {download.url}"))

    def shown(address: str) -> None:
        page.goto(f"{url}{address}")

    def stayed(address: str) -> None:
        if page.url != f"{url}{address}":
            outcome.events.append(f"{address} went to {page.url}")

    for address in ("/embedding", "/bare"):
        shown(address)
        settle()
        stayed(address)
        setattr(outcome, address.strip("/").replace("embedding", "embedded"), listener.taken() - {"sentinel"})
    for name in FULL:
        shown(f"/reports/view/{runs[name]}")
        stayed(f"/reports/view/{runs[name]}")
    settle()
    stayed(f"/reports/view/{runs[FULL[-1]]}")
    outcome.full = listener.taken() - {"sentinel"}
    page.goto(f"{url}/reports/frame/{runs['constructor']}")
    outcome.alone = page.url.removeprefix(url)
    return outcome


def show_open(page: Any, url: str, listener: Listener) -> set[str]:
    """The same markup with no protection at all; those that got out."""
    from playwright.sync_api import Error

    framed = {name for name, probe in PROBES.items() if probe.reaches} - {*TOP, *IN_A_TOP_PAGE, *LOOKS_UP}
    page.goto(f"{url}/all", wait_until="commit")
    wait_until("every probe gets out", lambda: framed <= listener.arrived or None, page=page)
    for name in [*IN_A_TOP_PAGE, *(name for name in TOP if PROBES[name].reaches)]:
        alone = page.context.new_page()
        # The probe may take the page elsewhere before it has come.
        with suppress(Error):
            alone.goto(f"{url}/{'raw' if name in IN_A_TOP_PAGE else 'framing'}/{name}", wait_until="commit")
        wait_until(f"{name} gets out", lambda name=name: name in listener.arrived, page=page)
        alone.close()
    return listener.taken()


# What came of it, once for all tests: the browser is lent to one test at a time. None when it went wrong.
TRIED: list[Outcome | None] = []


@pytest.fixture
def outcome(browser, tmp_path_factory) -> Outcome:
    """Everything tried once."""
    if not TRIED:
        TRIED.append(None)
        TRIED[0] = tried_once(browser, tmp_path_factory.mktemp("probes"))
    if TRIED[0] is None:
        pytest.fail("the probes could not be tried: see the first test of this file")
    return TRIED[0]


def tried_once(browser: Any, folder: Path) -> Outcome:
    """Every probe in both browsers."""
    settings = Settings.from_env({"VIGIE_HOME": str(folder / "home"), "REPORT_DIR": str(folder / "reports")})
    directory = reports.report_dir(settings, load_systems(settings).by_id["streamflow"])
    listener = Listener([*PROBES, "sentinel"])
    pages = {name: probe.page(name, listener.ports[name]) for name, probe in PROBES.items()}
    sentinel = WEBRTC["constructor"].page("sentinel", listener.ports["sentinel"])
    runs = {name: f"20240101T000000Z-{number:06x}" for number, name in enumerate(PROBES)}
    for name, run in runs.items():
        # As a report lies there that was saved by an earlier version: nothing was taken out of it.
        reports.save(directory, run, "imported", {"report.html": pages[name].encode()}, ())

    async def embedding(_request: Request) -> HTMLResponse:
        return framing(*(f"/reports/frame/{run}" for run in runs.values()), sandbox=STREAMLITS_FRAME)

    async def bare(_request: Request) -> HTMLResponse:
        return framing(*(f"/guarded/{name}" for name in BARE), sandbox=STREAMLITS_FRAME)

    async def guard_alone(request: Request) -> HTMLResponse:
        body = guarded(pages[request.path_params["name"]].encode())
        return HTMLResponse(body, headers={"Content-Security-Policy": SANDBOX})

    async def raw(request: Request) -> HTMLResponse:
        name = request.path_params["name"]
        return HTMLResponse(sentinel if name == "sentinel" else pages[name])

    async def one(request: Request) -> HTMLResponse:
        return framing(f"/raw/{request.path_params['name']}")

    async def every(_request: Request) -> HTMLResponse:
        return framing(*(f"/raw/{name}" for name, probe in PROBES.items() if probe.reaches and name not in TOP))

    own = [Route("/embedding", embedding), Route("/bare", bare), Route("/guarded/{name}", guard_alone)]
    console = Starlette(routes=[*routes(settings), *own], middleware=middleware(settings))
    unprotected = Starlette(routes=[Route("/raw/{name}", raw), Route("/framing/{name}", one), Route("/all", every)])
    try:
        with serving(console) as url, serving(unprotected) as open_url:
            with chromium(browser, folder / "one") as page:
                other = page.context.new_page()

                def settle() -> None:
                    """Until what was tried later than everything else has arrived."""
                    other.goto(f"{open_url}/raw/sentinel")
                    wait_until("the sentinel arrives", lambda: "sentinel" in listener.arrived, page=other)

                tried = show_protected(page, url, runs, listener, settle)
            with chromium(browser, folder / "two") as page:
                tried.open = show_open(page, open_url, listener)
            tried.looked_up = looked_up(folder / "one")
            tried.open |= looked_up(folder / "two")
        return tried
    finally:
        listener.close()


@pytest.mark.parametrize("name", PROBES)
def test_nothing_gets_out_of_a_report_embedded_in_a_page(outcome, name):
    assert name not in outcome.embedded | outcome.looked_up


@pytest.mark.parametrize("name", FULL)
def test_nothing_gets_out_of_a_report_as_a_full_page(outcome, name):
    assert name not in outcome.full


@pytest.mark.parametrize("name", WEBRTC)
def test_the_guard_alone_holds_back_webrtc_in_browsers_that_know_no_allowlist_of_connections(outcome, name):
    assert name not in outcome.bare


@pytest.mark.parametrize("name", [name for name, probe in PROBES.items() if probe.reaches])
def test_the_same_probe_gets_out_of_an_open_page(outcome, name):
    # Without this a probe that tries nothing would pass the tests above.
    assert name in outcome.open


def test_no_report_opens_a_window_asks_a_question_saves_a_file_or_leaves(outcome):
    assert outcome.events == []


def test_the_address_of_the_frame_opened_as_a_page_is_the_page_round_it(outcome):
    assert outcome.alone == f"/reports/view/20240101T000000Z-{0:06x}"
