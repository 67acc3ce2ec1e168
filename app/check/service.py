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
from app.words.message import clauses, joined, t, tn

# A service that needs longer for a health check or one prediction is one that people wait for.
DEADLINE = 5.0
# Where an address was read.
ORIGINS = {"environment": t("environment"), "system file": t("system file"), "stack": t("stack")}
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
        hint = t("Give [api] url; without it there is no traffic and no raw count.")
        yield Row("service", "address", Outcome.EMPTY, where.reason or t("no address is configured"), hint)
        return
    try:
        answer = fetch(settings, system, where.url.rstrip("/") + system.api.health, max_bytes=MAX_DOCUMENT_BYTES)
    except AddressRefused as error:
        yield Row("service", system.api.health, Outcome.SKIPPED, str(error), error.hint)
        return
    except VigieError as error:
        yield failed("service", system.api.health, error)
        return
    answered = t(
        "HTTP {status} in {took:.0f} ms from {address} ({origin})",
        status=answer.status,
        took=answer.seconds * 1000,
        address=egress.shown(where.url),
        origin=t(ORIGINS.get(where.origin, where.origin)),
    )
    good = Outcome.OK if answer.ok else Outcome.ERROR
    yield Row("service", system.api.health, good, answered, "" if answer.ok else egress.status_hint(answer.status))


def raw(
    settings: Settings, system: System, where: Address | VigieError
) -> tuple[Sequence[Sample], Mapping[str, Described], list[Row]]:
    """The service's own metrics, and whether they hold what `[metrics]` names."""
    names = {name: getattr(system.metrics, name) for name in ("requests", "latency", "errors")}
    if isinstance(where, VigieError) or where.url is None:
        return (), {}, [Row("metrics", "/metrics", Outcome.SKIPPED, t("the service's address is not known"))]
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
        text = t("not named: {names}", names=", ".join(missing))
        hint = t("What is not named is not drawn and not counted.")
        rows.append(Row("metrics", "[metrics]", Outcome.EMPTY, text, hint))
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
    exposed = [sample for sample in samples if sample.name in names]
    if exposed:
        size = tn("{n:count} series", "{n:count} series", len(exposed))
        if name == "latency":
            size = tn("{n:count} bucket", "{n:count} buckets", len(exposed))
        return Row("metrics", name, Outcome.OK, t("{metric}: {size} in raw /metrics", metric=text, size=size))
    if text in descriptions or text.removesuffix("_total") in descriptions:
        hint = t("A labelled metric appears with its first request.")
        return Row("metrics", name, Outcome.EMPTY, t("{metric} is declared and has no series yet", metric=text), hint)
    near = sorted({sample.name for sample in samples if text.partition("_")[0] in sample.name})[:5]
    hint = t("The service has: {metrics}.", metrics=", ".join(near)) if near else t("Correct the name under [metrics].")
    return Row("metrics", name, Outcome.ERROR, t("the service does not expose {name}", name=text), hint)


def _rule(system: System, text: str, samples: Sequence[Sample]) -> Row:
    """Which values of the status label count as failed, or why the counter does not show it. Raises ConfigError."""
    from app.load.counting import excluded
    from app.prometheus.outcomes import outcome_labels, rule
    from app.prometheus.promql import parse_selector

    matchers, outcomes = parse_selector(text), outcome_labels(text)
    counter, own = system.metrics.requests, excluded(system)
    if counter is None:
        hint = t("Name the counter of requests: `requests`.")
        reason = t("{matcher} is a matcher on a counter that is not named", matcher=text)
        return Row("metrics", "errors", Outcome.EMPTY, reason, hint)
    labels = [dict(one.labels) for one in samples if one.name in (counter, f"{counter}_total")]
    traffic = [one for one in labels if not any(one.get(name) in values for name, values in own.items())]
    if not traffic:
        hint = t("Right after its start a service has no series yet: send a request and check again.")
        reason = t("{matcher}: {counter} has no series of requests yet", matcher=text, counter=counter)
        return Row("metrics", "errors", Outcome.EMPTY, reason, hint)
    words = []
    for one in matchers:
        if one.name not in outcomes:
            continue
        status = rule(one, Counter(one_series.get(one.name, "") for one_series in traffic), counter)
        if status.matcher is None:
            reason = t("the error rate is unknown: {why}", why=status.reason)
            return Row("metrics", "errors", Outcome.EMPTY, reason, status.hint)
        words.append(status.words)
    return Row("metrics", "errors", Outcome.OK, joined([text, clauses(words)], ": "))
