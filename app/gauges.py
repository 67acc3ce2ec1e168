"""What Vigie itself exports on `/metrics`: drift decisions and load runs, read from the ledger at scrape time.

"Current" is the newest done drift run of the system's own data source and policy; what-if, other policies and captures
move nothing, and traffic counts that went to the service and Prometheus of today.
An unknown value is absent, never 0. A scrape never fails: with a sick ledger `vigie_ledger_up` is 0 and the rest is
there.
"""
# no catalogue in this file: HELP lines are read by other programs

from __future__ import annotations

import logging
import math
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from app.config import Settings, System, Systems, load_systems
from app.drift.decide import count
from app.drift.result import Policy, Result, Verdict
from app.errors import LedgerError, ReportNotFound, VigieError
from app.load.result import Result as Traffic
from app.load.stats import LES, Histogram
from app.runs.index import MAX_FINISHED, Ledger
from app.runs.kinds import DRIFT, LOAD
from app.runs.opening import ledger_of
from app.runs.own_source import source_of
from app.runs.result import read_result
from app.runs.run import Run

LOG = logging.getLogger("vigie.gauges")
# Reading a thousand results takes about a second, once per start of the console; older load runs are not counted.
MAX_LOADS = 1000
# ok + failed were sent; all three together were planned.
OUTCOMES = ("ok", "failed", "not_sent")


@dataclass(frozen=True, slots=True)
class Drifted:
    """What the gauges need of one result.json."""

    policy: Policy
    capture: bool
    share: float | None
    drifted: int | None
    compared: int
    not_comparable: int
    columns: tuple[tuple[str, str | None, float | None, bool | None], ...]
    target: float | None
    decision: Verdict


@dataclass(slots=True)
class Loads:
    """Sums over the load runs of one system since the ledger begins."""

    requests: Counter[str] = field(default_factory=Counter)
    latency: dict[str, Histogram] = field(default_factory=dict)


class Gauges(Collector):
    """The exporter of one console; keeps what it has read of runs, which never change once they have ended."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)
        self._systems: tuple[object, Systems] | None = None
        self._drifts: dict[str, Drifted | None] = {}
        self._counted: set[str] = set()
        self._pending: dict[str, Run] = {}
        self._rows = -1
        # By system and source.
        self._loads: dict[tuple[str, str], Loads] = {}
        self._targets: dict[str, str] = {}
        self._unreadable: set[str] = set()

    def exposition(self) -> tuple[bytes, str]:
        """Body and media type of one scrape."""
        # Two scrapes at once would count a new load run twice.
        with self._lock:
            return generate_latest(self._registry), CONTENT_TYPE_LATEST

    def collect(self) -> Iterator[Metric]:
        """Every family; prometheus_client writes and escapes them."""
        up = GaugeMetricFamily("vigie_ledger_up", "1 when the index of runs can be read, 0 when it cannot.")
        families: list[Metric] = []
        try:
            systems = self._read_systems()
            with ledger_of(self._settings) as ledger:
                current = {system.id: self._current(ledger, system) for system in systems.by_id.values()}
                self._count_loads(ledger)
            families += _drift_families({name: pair for name, pair in current.items() if pair is not None})
            sources = {system.id: source_of(self._settings, system, LOAD) for system in systems.by_id.values()}
            self._targets = {name: source.fingerprint for name, source in sources.items()}
            up.add_metric([], 1)
        except LedgerError as error:
            LOG.warning("%s", error.text)
            up.add_metric([], 0)
        shown = {name: self._loads.get((name, source)) for name, source in self._targets.items() if source}
        families += _load_families({name: sums for name, sums in shown.items() if sums is not None})
        unreadable = GaugeMetricFamily("vigie_unreadable_results", "Ended runs whose result.json cannot be read.")
        unreadable.add_metric([], len(self._unreadable))
        yield from (up, unreadable, *families)

    def _read_systems(self) -> Systems:
        """The system files, parsed again only when one of them has changed."""
        seen: list[tuple[str, int]] = []
        for folder in self._settings.systems_dirs:
            seen += [(str(path), _stamp(path)) for path in folder.glob("*.toml")]
        if self._systems is None or self._systems[0] != seen:
            self._systems = (seen, load_systems(self._settings))
        return self._systems[1]

    # -- drift ----------------------------------------------------------------------------------------------------

    def _current(self, ledger: Ledger, system: System) -> tuple[Run, Drifted] | None:
        """The newest done run of the system's own source and policy."""
        if system.drift is None:
            return None
        own = Policy.of(system.drift)
        # Of a run whose directory is gone the index knows too little for the gauges of columns.
        for run in ledger.finished(DRIFT, system.id, source_of(self._settings, system)):
            drift = self._drift(run)
            if drift is not None and drift.policy == own and not drift.capture:
                return run, drift
        return None

    def _drift(self, run: Run) -> Drifted | None:
        if run.id not in self._drifts:
            if len(self._drifts) > 2 * MAX_FINISHED:
                self._drifts.clear()
            try:
                self._drifts[run.id] = _digest(read_result(run, Result))
            except VigieError as error:
                LOG.warning("%s: %s", run.id, error.text)
                self._unreadable.add(run.id)
                self._drifts[run.id] = None
        return self._drifts[run.id]

    # -- load -----------------------------------------------------------------------------------------------------

    def _count_loads(self, ledger: Ledger) -> None:
        """Add every load run that has ended since the last scrape to the sums."""
        pending = [ledger.get(run) for run in self._pending]
        rows = ledger.count(kind=LOAD)
        listed = ledger.runs(kind=LOAD, limit=MAX_LOADS) if rows != self._rows else []
        self._rows = rows
        for run in {run.id: run for run in [*pending, *listed] if run is not None}.values():
            if run.id in self._counted:
                continue
            if not run.state.final or not run.source_kind:
                # It still goes, or no scan has noted its source yet.
                self._pending[run.id] = run
                continue
            self._pending.pop(run.id, None)
            self._counted.add(run.id)
            self._count(run)

    def _count(self, run: Run) -> None:
        try:
            traffic = read_result(run, Traffic)
            latency = {kind: Histogram.from_dict(raw) for kind, raw in traffic.histograms.items()}
        except ReportNotFound:
            return  # it ended before it could write anything, or was deleted
        except (VigieError, ValueError) as error:
            LOG.warning("%s: %s", run.id, error)
            self._unreadable.add(run.id)
            return
        sums = self._loads.setdefault((run.system, run.source_id), Loads())
        sums.requests.update(ok=traffic.ok, failed=traffic.failed, not_sent=traffic.not_sent)
        for kind, histogram in latency.items():
            sums.latency.setdefault(kind, Histogram()).merge(histogram)


def _digest(result: Result) -> Drifted:
    # The columns that the share counts: the label of a policy of features alone has its score, and no place in these.
    counting = count(result.columns, result.policy)
    return Drifted(
        policy=result.policy,
        capture=result.captured,
        share=result.share,
        drifted=result.k,
        compared=counting.comparable,
        not_comparable=counting.n - counting.comparable,
        columns=tuple((column.name, column.method, column.score, column.drifted) for column in result.columns),
        target=result.target_drift.value,
        decision=result.decision,
    )


def _stamp(path: Path) -> int:
    """When the file last changed; 0 for one that has just gone."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _gauge(name: str, text: str, labels: Iterable[str], rows: Iterable[tuple[list[str], float | None]]) -> Metric:
    """A family with the rows whose value is known."""
    family = GaugeMetricFamily(name, text, labels=["system", *labels])
    for values, number in rows:
        if number is not None and _known(number):
            family.add_metric(values, float(number))
    return family


def _drift_families(current: Mapping[str, tuple[Run, Drifted]]) -> list[Metric]:
    runs = [(system, run, drift) for system, (run, drift) in current.items()]
    states = [
        ([system, state], count)
        for system, _, drift in runs
        for state, count in (
            ("drifted", drift.drifted),
            ("compared", drift.compared),
            ("not_comparable", drift.not_comparable),
        )
    ]
    scores = [
        ([system, name, method], score)
        for system, _, drift in runs
        for name, method, score, _ in drift.columns
        if method is not None
    ]
    flags = [
        ([system, name], None if flag is None else float(flag))
        for system, _, drift in runs
        for name, _, _, flag in drift.columns
    ]
    decisions = [
        ([system, str(verdict)], float(verdict is drift.decision)) for system, _, drift in runs for verdict in Verdict
    ]
    return [
        _gauge("vigie_drift_share", "Drifted columns over counted columns.", (), [([s], d.share) for s, _, d in runs]),
        _gauge(
            "vigie_drift_threshold",
            "Share from which retraining is due.",
            (),
            [([s], d.policy.threshold) for s, _, d in runs],
        ),
        _gauge("vigie_drift_columns", "Counted columns by how the comparison went.", ("state",), states),
        _gauge("vigie_drift_column_score", "Drift score of a column by its method.", ("column", "method"), scores),
        _gauge("vigie_drift_column_drifted", "1 when the column drifted, 0 when not.", ("column",), flags),
        _gauge(
            "vigie_target_drift",
            "Absolute difference of the label rates.",
            (),
            [([s], d.target) for s, _, d in runs],
        ),
        _gauge("vigie_decision", "1 for the current decision, 0 for the others.", ("decision",), decisions),
        _gauge(
            "vigie_drift_last_run_timestamp_seconds",
            "When the current drift run ended.",
            (),
            [([s], run.finished) for s, run, _ in runs],
        ),
    ]


def _load_families(loads: Mapping[str, Loads]) -> list[Metric]:
    requests = CounterMetricFamily("vigie_load_requests", "Requests of all load runs.", labels=["system", "outcome"])
    latency = HistogramMetricFamily(
        "vigie_load_latency_seconds",
        "Latency seen by the load generator: response from the intended send, service from the actual one.",
        labels=["system", "kind"],
    )
    for system, sums in loads.items():
        for outcome in OUTCOMES:
            requests.add_metric([system, outcome], sums.requests[outcome])
        for kind, times in sums.latency.items():
            buckets = [("+Inf" if math.isinf(le) else repr(le), count) for le, count in times.cumulative(LES)]
            latency.add_metric([system, kind], buckets=buckets, sum_value=times.total / 1e6)
    return [requests, latency]
