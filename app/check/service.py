"""The service itself: does it answer, and does it expose the metrics that the file names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from app import egress
from app.check.rows import Outcome, Row, failed
from app.config import Settings, System
from app.errors import AddressRefused, ConfigError, VigieError
from app.exposition import Described, Sample, described, parse
from app.services import Address, address

# A service that needs longer for a health check or one prediction is one that people wait for.
DEADLINE = 5.0
# A document of a thousand routes has about 2 MB.
MAX_DOCUMENT_BYTES = 8_000_000


def api_address(settings: Settings, system: System) -> Address | VigieError:
    """Where the service answers, or what is wrong with its address."""
    try:
        return address(settings, system, "api")
    except VigieError as error:
        return error


def fetch(settings: Settings, system: System, url: str, **options: Any) -> egress.Answer:
    """One request to the service, signed in as its file says; only to loopback and the hosts it names."""
    where = f"{system.id}.toml [api]"
    credentials = egress.credentials(system.api, settings.environ, settings.root, where=where)
    with egress.Session(DEADLINE, auth=credentials, hosts=system.load.hosts) as session:
        return session.fetch(url, **options)


def service(settings: Settings, system: System, where: Address | VigieError) -> Iterator[Row]:
    """Does it answer its health check."""
    if isinstance(where, VigieError):
        yield failed("service", "address", where)
        return
    if where.url is None:
        hint = "Give [api] url; without it there is no traffic and no raw count."
        yield Row("service", "address", Outcome.EMPTY, where.reason or "no address is configured", hint)
        return
    try:
        answer = fetch(settings, system, where.url.rstrip("/") + system.api.health, max_bytes=MAX_DOCUMENT_BYTES)
    except AddressRefused as error:
        yield Row("service", system.api.health, Outcome.SKIPPED, str(error), error.hint)
        return
    except VigieError as error:
        yield failed("service", system.api.health, error)
        return
    answered = f"HTTP {answer.status} in {answer.seconds * 1000:.0f} ms from {egress.shown(where.url)} ({where.origin})"
    good = Outcome.OK if answer.ok else Outcome.ERROR
    yield Row("service", system.api.health, good, answered, "" if answer.ok else egress.status_hint(answer.status))


def raw(
    settings: Settings, system: System, where: Address | VigieError
) -> tuple[Sequence[Sample], Mapping[str, Described], list[Row]]:
    """The service's own metrics, and whether they hold what `[metrics]` names."""
    names = {name: getattr(system.metrics, name) for name in ("requests", "latency", "errors")}
    if isinstance(where, VigieError) or where.url is None:
        return (), {}, [Row("metrics", "/metrics", Outcome.SKIPPED, "the service's address is not known")]
    try:
        answer = fetch(settings, system, where.url.rstrip("/") + "/metrics").check()
        samples, descriptions = parse(answer.body), described(answer.body)
    except AddressRefused as error:
        return (), {}, [Row("metrics", "/metrics", Outcome.SKIPPED, str(error), error.hint)]
    except VigieError as error:
        return (), {}, [failed("metrics", "/metrics", error)]
    rows = [_metric(system, name, str(text), samples, descriptions) for name, text in names.items() if text]
    missing = [name for name, text in names.items() if not text]
    if missing:
        text = "not named: " + ", ".join(missing)
        rows.append(Row("metrics", "[metrics]", Outcome.EMPTY, text, "What is not named is not drawn and not counted."))
    return samples, descriptions, rows


def _metric(
    system: System, name: str, text: str, samples: Sequence[Sample], descriptions: Mapping[str, Described]
) -> Row:
    if name == "errors" and any(sign in text for sign in "=~"):
        try:
            return _rule(system, text, samples)
        except ConfigError as error:
            return failed("metrics", "errors", error)
    names = {text, f"{text}_total"} if name != "latency" else {f"{text}_bucket"}
    series = [sample for sample in samples if sample.name in names]
    if series:
        count = f"{len(series)} series" if name != "latency" else f"{len(series)} buckets"
        return Row("metrics", name, Outcome.OK, f"{text}: {count} in raw /metrics")
    if text in descriptions or text.removesuffix("_total") in descriptions:
        hint = "A labelled metric appears with its first request."
        return Row("metrics", name, Outcome.EMPTY, f"{text} is declared and has no series yet", hint)
    near = sorted({sample.name for sample in samples if text.partition("_")[0] in sample.name})[:5]
    hint = f"The service has: {', '.join(near)}." if near else "Correct the name under [metrics]."
    return Row("metrics", name, Outcome.ERROR, f"the service does not expose {text}", hint)


def _rule(system: System, text: str, samples: Sequence[Sample]) -> Row:
    """Which values of the status label count as failed, or why the counter does not show it. Raises ConfigError."""
    from app.load.counting import excluded
    from app.prometheus.outcomes import outcome_labels, rule
    from app.prometheus.promql import parse_selector

    matchers, outcomes = parse_selector(text), outcome_labels(text)
    counter, own = system.metrics.requests, excluded(system)
    if counter is None:
        hint = "Name the counter of requests: `requests`."
        return Row("metrics", "errors", Outcome.EMPTY, f"{text} is a matcher on a counter that is not named", hint)
    labels = [dict(one.labels) for one in samples if one.name in (counter, f"{counter}_total")]
    traffic = [one for one in labels if not any(one.get(name) in values for name, values in own.items())]
    if not traffic:
        hint = "Right after its start a service has no series yet: send a request and check again."
        return Row("metrics", "errors", Outcome.EMPTY, f"{text}: {counter} has no series of requests yet", hint)
    words = []
    for one in matchers:
        if one.name not in outcomes:
            continue
        status = rule(one, Counter(one_series.get(one.name, "") for one_series in traffic), counter)
        if status.matcher is None:
            return Row("metrics", "errors", Outcome.EMPTY, f"the error rate is unknown: {status.reason}", status.hint)
        words.append(status.words)
    return Row("metrics", "errors", Outcome.OK, f"{text}: {'; '.join(words)}")
