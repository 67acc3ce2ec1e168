"""What is there for the exercises of a lab, each looked up once: light enough for a page that looks again and again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np

from app import egress
from app.charts import Mark, kpis
from app.config import Panel
from app.drift import gauge
from app.drift.result import Result as Drift
from app.errors import VigieError
from app.load.readings import AFTER, BEFORE, read
from app.load.result import Result as Sent
from app.periods import list_periods, pick
from app.prometheus import Answer, Rule, Target
from app.prometheus.targets import of_system
from app.report.asking import Asking
from app.report.comparison import Compared
from app.report.origin import Kept, marks
from app.report.traffic import Load
from app.runs.kinds import DRIFT, LOAD
from app.runs.result import Form, read_result
from app.runs.run import Run
from app.services import PROBE_SECONDS, Address, StackState, address, read_state
from app.words.explain import FIRST_QUERIES

# The course asks for 50 to 100 calls: fewer make no peak worth showing.
ENOUGH_REQUESTS = 50
# What is shown before and after a peak, in seconds. Its end is within the five minutes of the first queries.
BEFORE_PEAK, AFTER_PEAK = 120.0, 240.0
# Results that are read for one look: a page looks every few seconds, and each has up to 200 KB.
MOST_READ = 10
Result = TypeVar("Result", bound=Form)


@dataclass(frozen=True, slots=True)
class Reply:
    """What a service answered to a question of ours; without `url` it has no address, else `error` says why not."""

    url: str
    body: str = ""
    error: VigieError | None = None


class Facts:
    """Everything the proofs of one system and range are judged by. What fails is None, or says why."""

    def __init__(self, asking: Asking) -> None:
        self.asking = asking
        self.system = asking.system
        self._answers: dict[str, Answer] = {}
        # Why the index of runs, and why the rules of Prometheus, cannot be read: then nothing is said to be missing.
        self.unread: VigieError | None = None
        self.rules_unread: VigieError | None = None

    # --- services and targets ---

    @cached_property
    def stack(self) -> StackState:
        """The embedded stack."""
        return read_state(self.asking.settings)

    def place(self, service: str) -> Address:
        """Where a service answers."""
        return address(self.asking.settings, self.system, service)

    @cached_property
    def prometheus(self) -> tuple[str, VigieError | None]:
        """The version of Prometheus ("" where it tells none), or why nothing answers."""
        _, error = self.asking.targets
        if error is not None:
            return "", error
        try:
            return self.asking.prometheus.build(), None
        except VigieError:
            return "", None  # engines behind the same API answer queries and report no version

    @cached_property
    def own(self) -> list[Target]:
        """The targets of the system itself."""
        return of_system(self.asking.targets[0], self.system.prometheus.selector)

    @cached_property
    def health(self) -> Reply:
        """What the prediction service says of its health."""
        return self._asked("api", self.system.api.health)

    @cached_property
    def grafana(self) -> Reply:
        """What Grafana says of its health."""
        return self._asked("grafana", "/api/health")

    def _asked(self, service: str, path: str) -> Reply:
        url = self.place(service).url
        if url is None:
            return Reply("")
        try:
            return Reply(url, egress.get(url + path, deadline=PROBE_SECONDS).check().body.decode("utf-8", "replace"))
        except VigieError as error:
            return Reply(url, error=error)

    # --- runs ---

    @cached_property
    def loads(self) -> list[Load]:
        """Load runs with a result, newest first; background traffic is none."""
        read_runs = self._done(LOAD, Sent)
        return [Load(run, sent, Kept(run.id, sent.to_dict())) for run, sent in read_runs if not run.background]

    @cached_property
    def load(self) -> Load | None:
        """The newest load run with enough good answers, else the newest."""
        enough = (load for load in self.loads if load.result.ok >= ENOUGH_REQUESTS)
        return next(enough, self.loads[0] if self.loads else None)

    @cached_property
    def refused(self) -> Load | None:
        """The newest load run with requests that were meant to fail."""
        return next((load for load in self.loads if load.result.meant_to_fail), None)

    @cached_property
    def scraped(self) -> tuple[Load, bytes, bytes] | None:
        """The load run that kept `/metrics` before and after, with both texts."""
        for load in ([self.load] if self.load else []) + self.loads:
            before, after = read(load.folder, BEFORE), read(load.folder, AFTER)
            if before is not None and after is not None:
                return load, before, after
        return None

    @cached_property
    def pair(self) -> tuple[str, str] | None:
        """The keys of the two months that the course compares: of the story's first chapter, else the first."""
        try:
            months = list_periods(self.asking.settings, self.system, labels=False)
            if self.system.story:
                return pick(months, self.system.story[0].ref).key, pick(months, self.system.story[0].cur).key
        except VigieError:
            return None
        return (months[0].key, months[1].key) if len(months) > 1 else None

    @cached_property
    def compared(self) -> Compared | None:
        """The newest comparison of the course's two months, else the newest of all."""
        done = self._done(DRIFT, Drift)
        asked = [pair for pair in done if pair[0].months == self.pair]
        for run, result in asked or done:
            return Compared(run, result, Kept(run.id, json.loads(result.to_json())))
        return None

    @cached_property
    def gauge(self) -> gauge.Look:
        """The drift that the service measures itself, at the end of the range. Raises VigieError."""
        if error := self.asking.targets[1]:
            raise error
        return gauge.look(self.asking.prometheus, self.system, at=self.asking.until)

    def _done(self, kind: str, form: type[Result]) -> list[tuple[Run, Result]]:
        try:
            runs, _ = self.asking.runs(kind)
        except VigieError as error:
            self.unread = error
            return []
        results: list[tuple[Run, Result]] = []
        for run in [run for run in runs if run.done and Path(run.path).is_dir()][:MOST_READ]:
            try:
                results.append((run, read_result(run, form)))
            except VigieError:
                continue  # damaged, or of another version: it proves nothing
        return results

    # --- queries ---

    @cached_property
    def first_queries(self) -> list[tuple[str, str]]:
        """The PromQL a newcomer reads first, in the names of this system, each with what it answers."""
        metrics, selector = self.system.metrics, self.system.prometheus.selector
        names = {"requests": metrics.requests, "latency": metrics.latency, "selector": selector}
        return [
            (expr.format(**names) if "{" in expr else expr, about)
            for expr, about in FIRST_QUERIES
            if ("{requests}" not in expr or metrics.requests) and ("{latency}" not in expr or metrics.latency)
        ]

    @cached_property
    def peak(self) -> Asking:
        """The same system over the range round the newest traffic, or over the last minutes where there was none."""
        asking, load = self.asking, self.load
        if load is None:
            return replace(asking, since=max(asking.since, asking.until - BEFORE_PEAK - AFTER_PEAK))
        until = max(min(load.result.finished + AFTER_PEAK, asking.until), load.result.finished)
        return replace(asking, since=load.result.started - BEFORE_PEAK, until=until)

    @cached_property
    def marks(self) -> list[Mark]:
        """The runs of the range, for its charts."""
        return marks(self.asking)

    def answer(self, expr: str) -> Answer:
        """A query at the end of the peak, placeholders filled, asked once; a Prometheus that is away is not asked."""
        if expr not in self._answers:
            away = self.asking.targets[1]
            try:
                self._answers[expr] = Answer.failed(away) if away else self._ask(expr)
            except VigieError as error:
                self._answers[expr] = Answer.failed(error)
        return self._answers[expr]

    def _ask(self, expr: str) -> Answer:
        return self.asking.prometheus.query(self.peak.context.fill(expr), self.peak.until)

    def highest(self, expr: str) -> float | None:
        """The highest value of a query round the peak; None where it has none. Raises what the query raises."""
        context = self.peak.context
        answer = self.asking.prometheus.query_range(context.fill(expr), context.span).checked()
        values = [one.values[np.isfinite(one.values)] for one in answer.series]
        return max((float(one.max()) for one in values if one.size), default=None)

    @cached_property
    def rules(self) -> list[Rule]:
        """The alerting rules that Prometheus runs."""
        try:
            return [] if self.asking.targets[1] else self.asking.prometheus.rules()
        except VigieError as error:
            self.rules_unread = error
            return []

    @cached_property
    def panels(self) -> Mapping[str, Panel]:
        """The panels of the file by id, and the three numbers that every system has."""
        return {panel.id: panel for panel in (*self.system.panels, *kpis.panels(self.system))}
