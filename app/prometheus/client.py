"""The Prometheus HTTP API on our own session.

`prometheus_api_client` asks for targets, metadata and label values (over our session: no retries, total deadline). It
drops warnings and fails on empty, scalar and histogram answers, so query results are parsed here.
Source: https://prometheus.io/docs/prometheus/latest/querying/api/
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from prometheus_api_client import PrometheusConnect
from prometheus_api_client.exceptions import PrometheusApiClientException

from app import egress
from app.config import Settings, System
from app.errors import BadAnswer, QueryError, Unreachable, VigieError
from app.prometheus import promql
from app.prometheus.model import AlertNow, Answer, Metadata, Rule, Series, State
from app.prometheus.parse import UNFIT, Parsed, envelope, number, parse
from app.prometheus.promql import MAX_SERIES, TimeRange
from app.prometheus.targets import Target, moment, read_targets
from app.services import address
from app.words.message import clauses, t

# The server should give up a little before we do, so that its own words arrive.
SERVER_MARGIN = 0.5
# Below this a server would give up before it began.
MIN_SERVER_TIMEOUT = 0.5
# Proxies refuse longer addresses; a longer expression goes in the body.
MAX_QUERY_IN_URL = 2000
# Longer than anything written by hand; the server parses it while other queries wait.
MAX_EXPRESSION = 20_000
# What engines behind the same API answer to a path they do not have (VictoriaMetrics 400, Thanos and Mimir 404).
NO_SUCH_PATH = (400, 404, 405, 501)

T = TypeVar("T")


class Prometheus:
    """One Prometheus server. Queries never raise: their Answer says ERROR. Everything else raises VigieError.

    `deadline` is the total time of each request in seconds.
    """

    def __init__(
        self,
        url: str,
        *,
        session: egress.Session | None = None,
        deadline: float = egress.DEFAULT_DEADLINE,
        auth: egress.Credentials | None = None,
        tenant: str | None = None,
        ca: str | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self.shown = egress.shown(self.url)
        self.deadline = deadline
        headers = {"X-Scope-OrgID": tenant} if tenant else {}
        self._session = session or egress.Session(deadline, auth=auth, headers=headers, ca=ca)
        self._library = PrometheusConnect(self.url, session=self._session, timeout=deadline)

    def close(self) -> None:
        """Close the kept connections."""
        self._session.close()

    # --- what Prometheus knows about its targets and metrics

    def targets(self) -> list[Target]:
        """Every active target, down first."""
        return self._ask(lambda: read_targets(self._library.get_targets(state="active")), t("targets"))

    def metadata(self) -> dict[str, Metadata]:
        """Type, help and unit by metric name; the first entry where targets disagree."""
        metrics: dict[str, Metadata] = {}
        for row in self._ask(lambda: list(self._library.get_metric_metadata(metric="")), t("metadata")):
            entry = Metadata(str(row["type"]), str(row["help"]), str(row["unit"]))
            metrics.setdefault(str(row["metric_name"]), entry)
        return metrics

    def label_values(self, name: str) -> list[str]:
        """The values of one label."""
        promql.matcher(name, "")
        return self._ask(lambda: _texts(self._library.get_label_values(name)), t("label values"))

    def build(self) -> str:
        """The version, for example `2.42.0`. Raises BadAnswer where it is missing, as in VictoriaMetrics."""
        data = self._api("/api/v1/status/buildinfo")
        version = self._shape(lambda: str(data.get("version") or "").partition("+")[0], t("build facts"))
        if not version:
            hint = t("It answers as Prometheus does, and is perhaps another engine.")
            raise BadAnswer(t("{server} does not tell its version.", server=self.shown), hint=hint)
        return version

    def rules(self) -> list[Rule]:
        """Every rule the server evaluates, with its alerts; none where it evaluates none."""
        data = self._api("/api/v1/rules", t("rules"))
        return self._shape(
            lambda: [_rule(group["name"], rule) for group in data["groups"] for rule in group["rules"]], t("rules")
        )

    def alerts(self) -> list[AlertNow]:
        """Every pending or firing alert, firing first; none where the server evaluates no rules."""
        data = self._api("/api/v1/alerts", t("alerts"))
        rows = self._shape(lambda: [_alert(row) for row in data["alerts"]], t("alerts"))
        return sorted(rows, key=lambda one: (one.state != "firing", one.name, sorted(one.labels.items())))

    # --- queries

    def query(self, expr: str, at: float | None = None) -> Answer:
        """The value of `expr` at `at` (epoch seconds, None is now)."""
        params = {"query": expr} | ({} if at is None else {"time": f"{at:.3f}"})
        return self._answer("/api/v1/query", params, MAX_SERIES)

    def query_range(self, expr: str, span: TimeRange, limit: int = MAX_SERIES) -> Answer:
        """`expr` over a range. More than `limit` series: the largest by mean, PARTIAL with "50 of N"."""
        started = time.monotonic()
        try:
            total = self.series_count(expr, span.end)
        except QueryError:
            total = 0  # the expression itself is asked next, and its error has the right position
        except VigieError as error:
            return Answer.failed(error, time.monotonic() - started)
        times = {"start": f"{span.start:.3f}", "end": f"{span.end:.3f}", "step": f"{span.step:g}"}
        chosen = promql.largest(expr, span, limit) if total > limit else expr
        answer = self._answer("/api/v1/query_range", {"query": chosen, **times}, limit, total)
        if chosen is not expr and isinstance(answer.error, QueryError):
            # Some expressions cannot be compared with their own mean (several metric names): ask for all, then cut.
            answer = self._answer("/api/v1/query_range", {"query": expr, **times}, limit, total)
        return replace(answer, seconds=time.monotonic() - started)

    def series_count(self, expr: str, at: float | None = None) -> int:
        """How many series `expr` has at one moment. Raises QueryError and EgressError."""
        answer = self.query(promql.counted(expr), at).checked()
        return int(number(answer.value) or 0)

    def _answer(self, path: str, params: Mapping[str, str], limit: int, total: int = 0) -> Answer:
        started = time.monotonic()
        try:
            if not params["query"].strip():
                raise QueryError(t("the expression is empty."), hint=t("Type one, for example up."))
            if len(params["query"]) > MAX_EXPRESSION:
                raise QueryError(
                    t("the expression is longer than {most:count} characters.", most=MAX_EXPRESSION),
                    hint=t("Shorten it."),
                )
            http = self._send(path, {**params, "timeout": f"{self._server_timeout():.1f}"})
            parsed = parse(http.body, where=self.shown, status=http.status)
        except VigieError as error:
            return Answer.failed(error, time.monotonic() - started)
        return judge(parsed, limit, total, time.monotonic() - started)

    def _server_timeout(self) -> float:
        return max(MIN_SERVER_TIMEOUT, self.deadline - SERVER_MARGIN)

    # --- requests

    def _send(self, path: str, params: Mapping[str, str] | None = None) -> egress.Answer:
        """A GET (or POST for a long expression). Raises for an answer that is not Prometheus' own JSON."""
        url = self.url + path
        try:
            long = params is not None and len(params.get("query", "")) > MAX_QUERY_IN_URL
            if long:
                answer = self._session.fetch(url, method="POST", data=params, deadline=self.deadline)
            else:
                answer = self._session.fetch(url, params=params, deadline=self.deadline)
        except UnicodeError as error:
            raise QueryError(t("the expression holds characters that cannot be sent."), hint=t("Retype it.")) from error
        if not answer.body.lstrip().startswith(b"{"):
            answer.check().json()  # raises with the words that fit: HTML, empty, HTTP status
        return answer

    def _api(self, path: str, evaluated: str = "") -> Any:
        """The `data` of an answer. `evaluated` names what only a server that evaluates rules has."""
        try:
            answer = self._send(path)
        except BadAnswer as error:
            if not evaluated or error.status not in NO_SUCH_PATH:
                raise
            message = t(
                "{server} has no {evaluated} (HTTP {status}): it does not evaluate rules.",
                server=self.shown,
                evaluated=evaluated,
                status=error.status,
            )
            hint = t("Prometheus evaluates them, or a ruler such as vmalert. If queries fail too, check the address.")
            raise BadAnswer(message, hint=hint, status=error.status) from error
        return envelope(answer.body, where=self.shown, status=answer.status)[0]

    def _ask(self, call: Callable[[], T], what: str) -> T:
        """Call the library and map what it raises."""
        try:
            return self._shape(call, what)
        except PrometheusApiClientException as error:
            status = re.search(r"HTTP Status Code (\d{3})", str(error))
            code = int(status[1]) if status else None
            values = {"server": self.shown, "what": what}
            if code:
                message = t("{server} answered HTTP {status} when asked for {what}.", status=code, **values)
            else:
                message = t("{server} answered an error when asked for {what}.", **values)
            hint = egress.status_hint(code) if code else t("Is this address a Prometheus server?")
            raise BadAnswer(message, hint=hint, status=code) from error

    def _shape(self, call: Callable[[], T], what: str) -> T:
        try:
            return call()
        except (*UNFIT, OSError) as error:
            message = t("{server} answered something that is not a list of {what}.", server=self.shown, what=what)
            raise BadAnswer(message, hint=t("Is this address a Prometheus server, or a login page?")) from error


def connect(settings: Settings, system: System | None, *, deadline: float = egress.DEFAULT_DEADLINE) -> Prometheus:
    """The Prometheus that watches `system`. Raises Unreachable (no address: says why) and ConfigError (secret)."""
    place = address(settings, system, "prometheus")
    if place.url is None:
        hint = t("Start the embedded stack (python -m stack up), or set VIGIE_PROMETHEUS_URL.")
        why = place.reason or t("no address is configured")
        raise Unreachable(t("there is no Prometheus to ask: {why}.", why=why), hint=hint)
    if system is None:
        return Prometheus(place.url, deadline=deadline)
    source = system.prometheus
    auth = egress.credentials(source, settings.environ, settings.root, where=f"{system.id}.toml [prometheus]")
    return Prometheus(place.url, deadline=deadline, auth=auth, tenant=source.tenant, ca=source.ca)


def judge(parsed: Parsed, limit: int, total: int, seconds: float) -> Answer:
    """What an answer is worth: OK, EMPTY (nothing, or nothing finite) or PARTIAL (warnings, series left out)."""
    total = max(total, len(parsed.series) + parsed.skipped)
    shown = _largest(parsed.series, limit)
    notes = list(parsed.warnings)
    if parsed.skipped:
        notes.append(t("{hidden} series hold native histograms, which are not drawn", hidden=parsed.skipped))
    if len(shown) + parsed.skipped < total:
        notes.append(
            t("{shown} of {total} series are shown, those with the highest mean", shown=len(shown), total=total)
        )
    state, reason, hint = State.OK, "", ""
    if parsed.kind == "string":
        return Answer(state, (), parsed.warnings, parsed.infos, "", "", seconds, 0, parsed.kind, parsed.text)
    if not shown and parsed.skipped:
        state, reason, hint = State.EMPTY, notes[-1], t("Ask for a number: histogram_quantile(0.95, rate(…[5m])).")
    elif not shown:
        state, reason = State.EMPTY, t("no series matches")
        hint = t("Check metric name and labels; a new service appears after its first scrape.")
    elif not any(np.isfinite(one.values).any() for one in shown):
        state, reason = State.EMPTY, t("the series hold no number")
        hint = t("0 divided by 0 is not a number: without traffic there is no mean and no share.")
    elif notes:
        state, reason = State.PARTIAL, clauses(notes)
        hint = t("Aggregate with sum by (…) or select fewer series.") if len(shown) < total else ""
    return Answer(state, shown, tuple(notes), parsed.infos, reason, hint, seconds, total, parsed.kind)


def _largest(series: tuple[Series, ...], limit: int) -> tuple[Series, ...]:
    if len(series) <= limit:
        return series

    def mean(one: Series) -> float:
        good = one.values[np.isfinite(one.values)]
        return float(good.mean()) if good.size else -np.inf

    kept = {id(one) for one in sorted(series, key=mean, reverse=True)[:limit]}
    return tuple(one for one in series if id(one) in kept)


def _texts(names: Any) -> list[str]:
    """A list of names as the API gives it. Raises TypeError for anything else."""
    if not isinstance(names, list) or not all(isinstance(one, str) for one in names):
        raise TypeError("not a list of names")
    return names


def _alert(row: Mapping[str, Any]) -> AlertNow:
    labels = {str(name): str(value) for name, value in row["labels"].items()}
    notes = {str(name): str(value) for name, value in (row.get("annotations") or {}).items()}
    name, state = labels.get("alertname", ""), str(row["state"])
    return AlertNow(name, state, labels, notes, moment(row.get("activeAt")), number(row.get("value")))


def _rule(group: str, row: Mapping[str, Any]) -> Rule:
    return Rule(
        group=str(group),
        name=str(row["name"]),
        kind=str(row["type"]),
        expr=str(row["query"]),
        state=str(row.get("state", "")),
        for_seconds=number(row.get("duration")) or 0.0,
        health=str(row.get("health", "unknown")),
        last_error=str(row.get("lastError") or ""),
        labels={str(name): str(value) for name, value in (row.get("labels") or {}).items()},
        annotations={str(name): str(value) for name, value in (row.get("annotations") or {}).items()},
        evaluated=moment(row.get("lastEvaluation")),
        seconds=number(row.get("evaluationTime")),
        alerts=tuple(_alert(alert) for alert in row.get("alerts") or ()),
    )
