"""Tries a system file live, part by part: addresses, targets, metrics, expressions, request, data.

Every part becomes a row that says OK, EMPTY (valid, nothing there yet: why), ERROR (what, where, what to do) or SKIPPED
(not tried: why). Nothing is sent to the service but GETs, unless a prediction is asked for.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from app import egress
from app.config import Address, Panel, Settings, System, address
from app.errors import AddressRefused, ConfigError, QueryError, VigieError
from app.exposition import Described, Sample, described, parse
from app.prometheus.promql import TimeRange, fill

if TYPE_CHECKING:
    from app.charts.panel import Context
    from app.prometheus import Answer, Prometheus, Target

# Placeholder values with which a system file's expressions are tried without a Prometheus; any will do.
TRIED = {"window": 60.0, "rate_interval": 8.0, "range_": 300.0}
# The range expressions are asked over, and their window: what the Charts page begins with.
RANGE_SECONDS = 300.0
WINDOW_SECONDS = 60.0
# A service that needs longer for a health check or one prediction is one that people wait for.
DEADLINE = 5.0
# Prometheus runs four queries at once.
ASK_AT_ONCE = 4
# Bodies that are drawn and compared with the service's own schema: enough to meet each value of a short list.
BODIES = 20
# A document of a thousand routes has about 2 MB.
MAX_DOCUMENT_BYTES = 8_000_000

_STRINGS = re.compile(r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'|`[^`]*`|#[^\n]*')
_NAMES = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)\s*\{")


class Outcome(StrEnum):
    """How one part fared."""

    OK = "OK"
    EMPTY = "EMPTY"
    ERROR = "ERROR"
    SKIPPED = "SKIPPED"


@dataclass(frozen=True, slots=True)
class Row:
    """One part of a system file: what was tried, how it fared, and the next step."""

    part: str
    name: str
    outcome: Outcome
    text: str
    hint: str = ""

    @property
    def words(self) -> str:
        """What was seen and the next step, as sentences."""
        return f"{self.text.rstrip('.')}. {self.hint}" if self.hint else self.text.rstrip(".")


@dataclass(frozen=True, slots=True)
class Report:
    """All rows of a check, in the order of the file."""

    system: str
    rows: tuple[Row, ...]

    @property
    def failed(self) -> bool:
        """True when something is wrong; what is only empty or was not tried is not."""
        return any(row.outcome is Outcome.ERROR for row in self.rows)

    def counts(self) -> dict[Outcome, int]:
        """How many rows of each outcome."""
        return {one: sum(row.outcome is one for row in self.rows) for one in Outcome}

    @property
    def sentence(self) -> str:
        """All in one line: `9 of 14 parts answer, 4 have nothing yet, 1 fails.`, for example."""
        counts = self.counts()
        told = [f"{counts[Outcome.OK]} of {len(self.rows)} parts answer"]
        told += [f"{counts[Outcome.EMPTY]} have nothing yet"] if counts[Outcome.EMPTY] else []
        told += [f"{counts[Outcome.SKIPPED]} not tried"] if counts[Outcome.SKIPPED] else []
        failing = counts[Outcome.ERROR]
        told += [f"{failing} {'fails' if failing == 1 else 'fail'}"] if failing else ["nothing fails"]
        return ", ".join(told) + "."


@dataclass(frozen=True, slots=True)
class Watched:
    """What Prometheus and the raw metrics know, read once for all rows."""

    prometheus: Prometheus | None
    reason: str
    context: Context | None
    scraped: bool
    known: frozenset[str]
    raw: frozenset[str]


def check(settings: Settings, system: System, *, send: bool = False) -> Report:
    """Try every part of a system. Raises nothing a part could say; with `send` one real prediction is sent."""
    where = _api_address(settings, system)
    rows = [*_service(settings, system, where)]
    samples, told, metric_rows = _raw(settings, system, where)
    watched, target_rows = _watch(settings, system, samples, told)
    rows += target_rows
    rows += metric_rows
    rows += _expressions(system, watched)
    rows += _request(settings, system, where, send=send)
    rows += _data(settings, system, watched)
    return Report(system.id, tuple(rows))


def expression_problems(system: System) -> list[VigieError]:
    """What is wrong with the placeholders of a system's expressions and with its selector; nothing is asked."""
    found: list[VigieError] = []
    for place, expr in _all_expressions(system):
        try:
            fill(expr, selector=system.prometheus.selector, **TRIED)
        except QueryError as error:
            found.append(ConfigError(f"{system.id}.toml: key {place}.expr: {error}", hint=error.hint))
        except ConfigError as error:
            return [ConfigError(f"{system.id}.toml: key prometheus.selector: {error}", hint=error.hint)]
    return found


def _all_expressions(system: System) -> Iterator[tuple[str, str]]:
    for panel in system.panels:
        yield from ((f"panels.{panel.id}", text) for text in _texts(panel.expr))
    yield from ((f"alerts.{one.name}", one.expr) for one in system.alerts)
    yield from ((f"status.{one.title}", one.expr) for one in system.status)
    if system.drift is not None and system.drift.expr:
        yield "drift", system.drift.expr


def _texts(expr: str | Mapping[str, str]) -> list[str]:
    return [expr] if isinstance(expr, str) else list(expr.values())


def _failed(part: str, name: str, error: VigieError) -> Row:
    return Row(part, name, Outcome.ERROR, str(error), error.hint)


# --- the service -----------------------------------------------------------------------------------------------------


def _api_address(settings: Settings, system: System) -> Address | VigieError:
    try:
        return address(settings, system, "api")
    except VigieError as error:
        return error


def _fetch(settings: Settings, system: System, url: str, **options: Any) -> egress.Answer:
    """One request to the service, signed in as its file says; only to loopback and the hosts it names."""
    where = f"{system.id}.toml [api]"
    credentials = egress.credentials(system.api, settings.environ, settings.root, where=where)
    with egress.Session(DEADLINE, auth=credentials, hosts=system.load.hosts) as session:
        return session.fetch(url, **options)


def _service(settings: Settings, system: System, where: Address | VigieError) -> Iterator[Row]:
    if isinstance(where, VigieError):
        yield _failed("service", "address", where)
        return
    if where.url is None:
        hint = "Give [api] url; without it there is no traffic and no raw count."
        yield Row("service", "address", Outcome.EMPTY, where.reason or "no address is configured", hint)
        return
    try:
        answer = _fetch(settings, system, where.url.rstrip("/") + system.api.health, max_bytes=MAX_DOCUMENT_BYTES)
    except AddressRefused as error:
        yield Row("service", system.api.health, Outcome.SKIPPED, str(error), error.hint)
        return
    except VigieError as error:
        yield _failed("service", system.api.health, error)
        return
    told = f"HTTP {answer.status} in {answer.seconds * 1000:.0f} ms from {egress.shown(where.url)} ({where.origin})"
    good = Outcome.OK if answer.ok else Outcome.ERROR
    yield Row("service", system.api.health, good, told, "" if answer.ok else egress.status_hint(answer.status))


def _raw(
    settings: Settings, system: System, where: Address | VigieError
) -> tuple[Sequence[Sample], Mapping[str, Described], list[Row]]:
    """The service's own metrics, and whether they hold what `[metrics]` names."""
    wanted = {name: getattr(system.metrics, name) for name in ("requests", "latency", "errors")}
    if isinstance(where, VigieError) or where.url is None:
        return (), {}, [Row("metrics", "/metrics", Outcome.SKIPPED, "the service's address is not known")]
    try:
        answer = _fetch(settings, system, where.url.rstrip("/") + "/metrics").check()
        samples, told = parse(answer.body), described(answer.body)
    except AddressRefused as error:
        return (), {}, [Row("metrics", "/metrics", Outcome.SKIPPED, str(error), error.hint)]
    except VigieError as error:
        return (), {}, [_failed("metrics", "/metrics", error)]
    rows = [_metric(name, str(text), samples, told) for name, text in wanted.items() if text]
    missing = [name for name, text in wanted.items() if not text]
    if missing:
        text = "not named: " + ", ".join(missing)
        rows.append(Row("metrics", "[metrics]", Outcome.EMPTY, text, "What is not named is not drawn and not counted."))
    return samples, told, rows


def _metric(name: str, text: str, samples: Sequence[Sample], told: Mapping[str, Described]) -> Row:
    if name == "errors" and any(sign in text for sign in "=~"):
        from app.prometheus.promql import parse_selector

        try:
            labels = [one.name for one in parse_selector(text)]
        except ConfigError as error:
            return _failed("metrics", "errors", error)
        known = {key for sample in samples for key, _ in sample.labels}
        missing = [label for label in labels if label not in known]
        if missing:
            hint = "Right after its start a service has no series yet: send a request and check again."
            return Row("metrics", "errors", Outcome.EMPTY, f"no series has the label {', '.join(missing)}", hint)
        return Row("metrics", "errors", Outcome.OK, text)
    names = {text, f"{text}_total"} if name != "latency" else {f"{text}_bucket"}
    found = [sample for sample in samples if sample.name in names]
    if found:
        count = f"{len(found)} series" if name != "latency" else f"{len(found)} buckets"
        return Row("metrics", name, Outcome.OK, f"{text}: {count} in raw /metrics")
    if text in told or text.removesuffix("_total") in told:
        hint = "A labelled metric appears with its first request."
        return Row("metrics", name, Outcome.EMPTY, f"{text} is declared and has no series yet", hint)
    near = sorted({sample.name for sample in samples if text.partition("_")[0] in sample.name})[:5]
    hint = f"The service has: {', '.join(near)}." if near else "Correct the name under [metrics]."
    return Row("metrics", name, Outcome.ERROR, f"the service does not expose {text}", hint)


# --- Prometheus ------------------------------------------------------------------------------------------------------


def _watch(
    settings: Settings, system: System, samples: Sequence[Sample], told: Mapping[str, Described]
) -> tuple[Watched, list[Row]]:
    from app.charts.panel import Context
    from app.prometheus import connect
    from app.prometheus.targets import of_system

    raw = _exposed(samples, told)
    try:
        prometheus = connect(settings, system, deadline=DEADLINE)
        targets = tuple(prometheus.targets())
        known = frozenset(prometheus.label_values("__name__"))
        mine = of_system(targets, system.prometheus.selector)
        context = Context.of(system, WINDOW_SECONDS, TimeRange.last(RANGE_SECONDS), targets)
    except VigieError as error:
        return Watched(None, str(error), None, False, frozenset(), raw), [_failed("targets", "Prometheus", error)]
    rows = [_target(one) for one in mine]
    if not mine:
        text = f"{prometheus.shown} has no target with {system.prometheus.selector}"
        hint = "Give Prometheus the job. Until then charts are empty; traffic is still counted from raw /metrics."
        rows = [Row("targets", system.prometheus.selector, Outcome.EMPTY, text, hint)]
    return Watched(prometheus, "", context, bool(mine), known, raw), rows


def _target(one: Target) -> Row:
    name = f"{one.job} {one.address}"
    if one.health == "up":
        return Row("targets", name, Outcome.OK, "up")
    outcome = Outcome.EMPTY if one.waiting else Outcome.ERROR
    return Row("targets", name, outcome, one.meaning.text, one.meaning.hint)


def _expressions(system: System, watched: Watched) -> list[Row]:
    """A row for each panel, status and alert, asked a few at a time."""
    tasks: list[tuple[str, str, Panel | str]] = [("panel", one.id, one) for one in system.panels]
    tasks += [("status", one.title, one.expr) for one in system.status]
    tasks += [("alert", one.name, one.expr) for one in system.alerts]
    with ThreadPoolExecutor(max_workers=ASK_AT_ONCE) as pool:
        return list(pool.map(lambda task: _expression(watched, *task), tasks))


def _expression(watched: Watched, part: str, name: str, asked: Panel | str) -> Row:
    prometheus, context = watched.prometheus, watched.context
    if prometheus is None or context is None:
        return Row(part, name, Outcome.SKIPPED, f"not asked: {watched.reason.rstrip('.')}")
    if isinstance(asked, Panel):
        from app.charts.panel import ask

        answer = ask(prometheus, asked, context)
        if answer.state == "PARTIAL" and isinstance(asked.expr, dict):
            failed = [note for note in answer.warnings if note.partition(": ")[0] in asked.expr]
            if failed:
                # One of several expressions that fails is a mistake in the file, whatever the others answer.
                return Row(part, name, Outcome.ERROR, "; ".join(failed), answer.hint)
        return _judged(watched, part, name, _texts(asked.expr), answer)
    try:
        answer = prometheus.query(context.fill(asked))
    except VigieError as error:
        return _failed(part, name, error)
    if part == "alert" and answer.state in ("OK", "EMPTY") and not _unknown([asked], watched):
        holds = "its condition holds now" if answer.state == "OK" else "it does not fire now"
        return Row(part, name, Outcome.OK, f"answers; {holds}")
    return _judged(watched, part, name, [asked], answer)


def _judged(watched: Watched, part: str, name: str, texts: Sequence[str], answer: Answer) -> Row:
    if answer.state == "ERROR":
        return Row(part, name, Outcome.ERROR, answer.reason, answer.hint)
    if answer.state == "EMPTY":
        unknown = _unknown(texts, watched)
        here = watched.raw.issuperset(unknown)
        if here and not watched.scraped:
            return Row(part, name, Outcome.EMPTY, "Prometheus does not scrape the service yet")
        if unknown and here:
            reason = f"Prometheus has not scraped {', '.join(unknown)} yet"
            return Row(part, name, Outcome.EMPTY, reason, "A labelled metric appears with its first request.")
        if unknown:
            reason = f"nobody has a metric called {', '.join(unknown)}"
            return Row(part, name, Outcome.ERROR, reason, "Correct the name in the expression.")
        return Row(part, name, Outcome.EMPTY, answer.reason, answer.hint)
    told = f"{answer.total_series} series" if answer.total_series != 1 else "1 series"
    return Row(part, name, Outcome.OK, told)


def _unknown(texts: Sequence[str], watched: Watched) -> list[str]:
    """Metric names in expressions of which Prometheus has no series."""
    names = dict.fromkeys(name for text in texts for name in _NAMES.findall(_STRINGS.sub('""', text)))
    return [name for name in names if name not in watched.known]


def _exposed(samples: Sequence[Sample], told: Mapping[str, Described]) -> frozenset[str]:
    """Names of series the service has or will have with its first request, and the one that every target has."""
    parts = {"histogram": ("_bucket", "_sum", "_count"), "summary": ("", "_sum", "_count"), "counter": ("", "_total")}
    declared = {name + part for name, one in told.items() for part in parts.get(one.type, ("",))}
    return frozenset({"up"} | declared | {sample.name for sample in samples})


# --- the request -----------------------------------------------------------------------------------------------------


def _request(settings: Settings, system: System, where: Address | VigieError, *, send: bool) -> Iterator[Row]:
    request = system.request
    if request is None:
        yield Row("request", "[request]", Outcome.SKIPPED, "none is given: no traffic can be generated")
        return
    name = f"{request.method} {request.path}"
    try:
        bodies = _bodies(settings, system)
    except VigieError as error:
        yield _failed("request", name, error)
        return
    if isinstance(where, VigieError) or where.url is None:
        yield Row("request", name, Outcome.SKIPPED, "the body can be made; the service's address is not known")
        return
    url = where.url.rstrip("/")
    if send:
        yield _sent(settings, system, url, name, bodies[0])
        return
    try:
        document = _fetch(settings, system, f"{url}/openapi.json", max_bytes=MAX_DOCUMENT_BYTES).check().json()
    except AddressRefused as error:
        yield _failed("request", name, error)
        return
    except VigieError as error:
        hint = "Send one real prediction to know: --send."
        yield Row("request", name, Outcome.SKIPPED, f"no schema to compare the body with: {error}", hint)
        return
    yield _compared(document, system, name, bodies)


def _bodies(settings: Settings, system: System) -> tuple[bytes, ...]:
    """Some bodies as the load generator would send them. Raises what it would raise."""
    from app.load import payload
    from app.load.plan import Plan

    plan = Plan.from_args({"count": BODIES, "duration": float(BODIES)}, system)
    return payload.make(plan, settings, system).bodies[0]


def _sent(settings: Settings, system: System, url: str, name: str, body: bytes) -> Row:
    request = system.request
    assert request is not None
    started = time.monotonic()
    try:
        options: dict[str, Any] = {"method": request.method, "data": body or None}
        options["headers"] = {"Content-Type": "application/json"} if body else {}
        answer = _fetch(settings, system, url + request.path, **options)
    except VigieError as error:
        return _failed("request", name, error)
    took = f"{(time.monotonic() - started) * 1000:.0f} ms"
    if answer.ok:
        return Row("request", name, Outcome.OK, f"sent one real prediction: HTTP {answer.status} in {took}")
    text = f"sent one real prediction: HTTP {answer.status} “{answer.excerpt}”"
    return Row("request", name, Outcome.ERROR, text, "Correct path, body or fields under [request].")


def _compared(document: Any, system: System, name: str, bodies: Sequence[bytes]) -> Row:
    """The bodies against the schema of the service's own OpenAPI document."""
    from app.propose.schema import Schemas, mapping

    request = system.request
    assert request is not None
    schemas = Schemas(mapping(document))
    item = mapping(mapping(schemas.document.get("paths")).get(request.path))
    operation = mapping(item.get(request.method.lower()))
    if not operation:
        known = [path for path in mapping(schemas.document.get("paths")) if isinstance(path, str)][:5]
        hint = f"Its routes: {', '.join(known)} …" if known else "Correct path and method under [request]."
        return Row("request", name, Outcome.ERROR, "the service's OpenAPI document has no such route", hint)
    content = mapping(schemas.resolve(operation.get("requestBody")).get("content"))
    media = next((mapping(content[kind]) for kind in content if str(kind).partition(";")[0] == "application/json"), {})
    for body in bodies:
        problems = schemas.problems(media.get("schema"), json.loads(body) if body else None) if media else []
        if problems:
            hint = "Correct the body or its fields under [request]."
            return Row("request", name, Outcome.ERROR, "; ".join(problems), hint)
    return Row("request", name, Outcome.OK, "body fits the service's /openapi.json (nothing was sent)")


# --- data ------------------------------------------------------------------------------------------------------------


def _data(settings: Settings, system: System, watched: Watched) -> Iterator[Row]:
    drift = system.drift
    if drift is None:
        yield Row("drift", "[drift]", Outcome.SKIPPED, "none is given: no months are compared")
        return
    if drift.source == "gauge":
        yield _expression(watched, "drift", "gauge", drift.expr or "")
        return
    from app.periods import list_periods

    try:
        found = list_periods(settings, system)
    except VigieError as error:
        yield _failed("drift", drift.source, error)
        return
    yield from (
        Row("month", one.name, Outcome.OK, f"{_count(one.rows)} rows, {_count(one.labelled)} with a label", one.note)
        for one in found
    )
    if len(found) < 2:
        text = f"{len(found)} found; a comparison needs two"
        yield Row("drift", drift.source, Outcome.EMPTY, text, "Check path or query, and that the data is there.")


def _count(number: int | None) -> str:
    return "unknown" if number is None else f"{number:,}"
