"""Everything pages keep between reruns, with its lifetime in seconds, in one table.

Pages rerun every few seconds for every open tab. Two tabs that ask the same question within a lifetime share one
answer; nothing here is older than its lifetime, and what failed is not kept longer than what worked.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final, TypeVar
from zoneinfo import ZoneInfo

import streamlit as st

from app import periods as data
from app.charts import Context, Mark, ask, kpis
from app.config import Panel, Settings, System, Systems, load_systems
from app.doors import Access
from app.drift import panels as drift_panels
from app.errors import BadAnswer, DeadlineExceeded, VigieError
from app.prometheus import Answer, Prometheus, State, Target, TimeRange, connect
from app.prometheus.targets import scrape_interval as _scrape_interval
from app.report import lab
from app.report.asking import Asking
from app.report.proof import Exercise
from app.runs.index import Ledger
from app.runs.opening import ledger_of
from app.runs.own_source import fingerprints, source_of
from app.runs.run import Run
from app.runs.source import Source
from app.runs.words import state_word
from app.services import Address, StackState, address, public_url, reach, read_state
from app.ui.login import login
from app.verdict import whole
from app.words.language import language, speaking
from app.words.message import t
from app.words.units import Clock

# Files edited by hand: a change shows within five seconds.
SYSTEMS_TTL: Final = 5
# Scrapes come every 2 s or more; asking twice a second reports nothing new.
TARGETS_TTL: Final = 1
QUERY_TTL: Final = 1
VERSION_TTL: Final = 8
# Months arrive once a month, but the sample world is made while the page is open.
PERIODS_TTL: Final = 10
# A probe costs a connection to a service that may hang.
PROBE_TTL: Final = 2
# A short list from a local file, read on every rerun of every page.
RUNS_TTL: Final = 1
# Twenty questions, each cheap; traffic takes longer than this to reach Prometheus.
EXERCISES_TTL: Final = 4
# Entries per cache: some hundred panels and ranges, a few MB.
ENTRIES: Final = 400
# A chart with more bands than this shows nothing else.
MAX_MARKS: Final = 60
# A load run lasts a quarter of an hour at most: earlier ones cannot reach into the range.
LONGEST_RUN: Final = 1000.0
# Panels are asked for at the same time, so that a slow one does not hold up the rest; Prometheus runs four at once.
ASK_AT_ONCE: Final = 4
# A server that let a cheap question wait for its whole deadline is left alone for this long: a page of many
# questions then waits once, not once for each.
SILENT_SECONDS: Final = 8.0
Result = TypeVar("Result")


@st.cache_resource
def settings() -> Settings:
    """The environment of this console."""
    return Settings.from_env()


@st.cache_resource
def access() -> Access:
    """Who may come in: what the console was started with."""
    return Access.of(settings(), login=login())


@st.cache_data(ttl=SYSTEMS_TTL, show_spinner=False)
def systems() -> Systems:
    """Every system file."""
    return load_systems(settings())


def stack() -> StackState:
    """The embedded stack; one small file, read each time."""
    return read_state(settings())


def where(system: System | None, service: str) -> Address:
    """Where a service answers, and where that was read."""
    return address(settings(), system, service)


@st.cache_resource
def _silent() -> dict[str, tuple[float, DeadlineExceeded]]:
    """The servers that hang, by address: when that was found (monotonic seconds), and how."""
    return {}


def shown_address(system: System, service: str) -> str | None:
    """Where a reader's browser finds a service: `VIGIE_<SERVICE>_PUBLIC_URL`, else where the console itself does."""
    return public_url(settings(), system, service) or where(system, service).url


def prometheus(system: System) -> Prometheus:
    """A client for this system's Prometheus. Raises EgressError when its address is not known, or it hangs."""
    silent = _silent().get(where(system, "prometheus").url or "")
    if silent is not None and time.monotonic() - silent[0] < SILENT_SECONDS:
        raise silent[1].with_traceback(None)
    return connect(settings(), system)


def _cheaply(system: System, question: Callable[[Prometheus], Result]) -> Result:
    """Ask what any server answers at once; one that does not is remembered as hanging."""
    client = prometheus(system)
    try:
        return question(client)
    except DeadlineExceeded as error:
        _silent()[where(system, "prometheus").url or ""] = (time.monotonic(), error)
        raise


@dataclass(frozen=True, slots=True)
class Connection:
    """What answers at the address of a Prometheus (name and version), when (epoch seconds), or why nothing does."""

    name: str
    url: str
    at: float
    error: VigieError | None = None


@st.cache_data(ttl=VERSION_TTL, show_spinner=False)
def connection(system_id: str) -> Connection:
    """Which Prometheus answers for this system, and since when it does or does not."""
    system = systems().by_id[system_id]
    url = where(system, "prometheus").url or ""
    try:
        # no catalogue: name and version
        return Connection(f"Prometheus {_cheaply(system, Prometheus.build)}", url, time.time())
    except BadAnswer as error:
        # Engines behind the same API answer queries and report no version.
        if error.status is None and _cheaply(system, _answers_queries):
            return Connection("Prometheus API", url, time.time())  # no catalogue: a name
        return Connection("", url, time.time(), error)
    except VigieError as error:
        return Connection("", url, time.time(), error)


def _answers_queries(client: Prometheus) -> bool:
    return client.query("vector(1)").state is State.OK


@st.cache_data(ttl=TARGETS_TTL, show_spinner=False)
def targets(system_id: str) -> tuple[list[Target], VigieError | None]:
    """Every target the Prometheus of this system knows, or why it cannot say."""
    try:
        return _cheaply(systems().by_id[system_id], Prometheus.targets), None
    except VigieError as error:
        return [], error


@st.cache_data(ttl=QUERY_TTL, max_entries=ENTRIES, show_spinner=False)
def _answers(
    system_id: str, panel_ids: tuple[str, ...], span: TimeRange, window: float | None, reader: tuple[str, str]
) -> list[Answer]:
    system = systems().by_id[system_id]
    made = (*drift_panels.panels(system), *kpis.panels(system), *kpis.status_panels(system))
    by_id = {panel.id: panel for panel in (*system.panels, *made)}
    scraped, _ = targets(system_id)
    context = Context.of(system, window, span, scraped)
    zone, reader_language = reader
    clock = Clock(ZoneInfo(zone))

    def one(name: str) -> Answer:
        try:
            # A thread has no reader. A client each: a slow answer then holds up no other connection.
            with speaking(reader_language):
                return ask(prometheus(system), by_id[name], context, clock)
        except VigieError as error:
            return Answer.failed(error)

    with ThreadPoolExecutor(max_workers=ASK_AT_ONCE) as pool:
        return list(pool.map(one, panel_ids))


def answers(system: System, panels: Sequence[Panel], span: TimeRange, window: float | None, zone: str) -> list[Answer]:
    """Each panel over the range, asked for at the same time, in order. A failure is an answer in state ERROR."""
    ids = tuple(panel.id for panel in panels)
    return _answers(system.id, ids, span, window, (zone, language())) if panels else []


def scrape_interval(system: System) -> float | None:
    """How often this system is scraped, in seconds; None when unknown."""
    return _scrape_interval(targets(system.id)[0], system.prometheus.selector)


@st.cache_data(ttl=RUNS_TTL, max_entries=ENTRIES, show_spinner=False)
def marks(system_id: str, start: float, end: float) -> list[Mark]:
    """Load and drift runs that are in a time range, for the bands on every chart. Background traffic is no event.

    Runs of another source happened to another service, or say something of other data.
    """
    bands = []
    own = own_sources(system_id)
    for run in ledger().runs(system=system_id, since=start - LONGEST_RUN, limit=MAX_MARKS):
        if run.source_id not in own:
            continue
        if run.background or run.started is None or run.started > end:
            continue
        if (run.finished or end) < start:
            continue
        query = f"?system={run.system}&run={run.id}"
        if run.kind == "load":
            bands.append(Mark(run.started, run.finished, "load", t("traffic"), f"/traffic{query}"))
        elif run.kind == "drift":
            text = run.outcome or t("comparison {state}", state=state_word(run.state))
            bands.append(Mark(run.started, None, "drift", text, f"/drift{query}"))
    return bands


@st.cache_resource
def _ledger(url: str) -> Ledger:
    return ledger_of(replace(settings(), ledger_url=url))


def ledger() -> Ledger:
    """The index of runs."""
    return _ledger(settings().ledger_url)


@st.cache_data(ttl=RUNS_TTL, max_entries=ENTRIES, show_spinner=False)
def runs(system_id: str, kind: str, limit: int, since: float | None = None) -> list[Run]:
    """The newest runs of one kind and of the system's own source, newest first."""
    return ledger().runs(kind=kind, system=system_id, since=since, source=source(system_id, kind), limit=limit)


@st.cache_data(ttl=SYSTEMS_TTL, max_entries=ENTRIES, show_spinner=False)
def source(system_id: str, kind: str = "drift") -> Source:
    """Where a run of this kind gets its data now: runs of another source are not the system's own."""
    return source_of(settings(), systems().by_id[system_id], kind)


@st.cache_data(ttl=SYSTEMS_TTL, max_entries=ENTRIES, show_spinner=False)
def own_sources(system_id: str) -> frozenset[str]:
    """The fingerprints of the system's own runs of any kind."""
    return fingerprints(settings(), systems().by_id[system_id])


@st.cache_data(ttl=PERIODS_TTL, show_spinner=False)
def _periods(system_id: str) -> tuple[list[data.Period], VigieError | None]:
    try:
        return data.list_periods(settings(), systems().by_id[system_id]), None
    except VigieError as error:
        return [], error


def periods(system: System) -> list[data.Period]:
    """The months of a system. Raises DataError when its source cannot be read."""
    months, error = _periods(system.id)
    if error is not None:
        raise error
    return months


def forget_runs() -> None:
    """A run has just ended: the next rerun reads the ledger again."""
    runs.clear()


@st.cache_data(ttl=PROBE_TTL, max_entries=ENTRIES, show_spinner=False)
def _probe(url: str) -> VigieError | None:
    return reach(url)


def probe(url: str) -> str | None:
    """None when the console itself reaches `url`, else why not."""
    error = _probe(url)
    return None if error is None else whole(error)


class _Asked(Asking):
    """What the proofs of a lab ask, through what other pages have asked already."""

    @cached_property
    def prometheus(self) -> Prometheus:
        """Not asked again for a while when it hangs."""
        return prometheus(self.system)

    @cached_property
    def targets(self) -> tuple[list[Target], VigieError | None]:
        """Shared with every page."""
        return targets(self.system.id)


@st.cache_data(ttl=EXERCISES_TTL, max_entries=ENTRIES, show_spinner=False)
def _exercises(system_id: str, seconds: float, reader: tuple[str, str]) -> list[Exercise]:
    now = time.time()
    asked = _Asked(settings(), systems().by_id[system_id], now - seconds, now, Clock(ZoneInfo(reader[0])))
    # What would draw a proof is the report's, and cannot be kept here.
    return [replace(one, proofs=[replace(proof, draw=None) for proof in one.proofs]) for one in lab.exercises(asked)]


def exercises(system: System, seconds: float, zone: str) -> list[Exercise]:
    """The exercises of a system's course, by what is there of the last `seconds`."""
    return _exercises(system.id, seconds, (zone, language()))


@st.cache_data(ttl=TARGETS_TTL, show_spinner=False)
def up_history(system_id: str, seconds: int) -> Answer:
    """`up` of every target over the last seconds, for the strokes on the cards."""
    client = prometheus(systems().by_id[system_id])
    return client.query_range("up", TimeRange.last(seconds))
