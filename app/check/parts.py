"""The request that a load run would send, and the data that a comparison would read."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

from app.check.expressions import Watched, expression
from app.check.rows import Outcome, Row, failed
from app.check.service import MAX_DOCUMENT_BYTES, fetch
from app.config import Gauge, Settings, System
from app.errors import AddressRefused, VigieError
from app.services import Address
from app.words.message import clauses, t
from app.words.shared import rows

# Bodies that are drawn and compared with the service's own schema: enough to meet each value of a short list.
BODIES = 20


def request_row(settings: Settings, system: System, where: Address | VigieError, *, send: bool) -> Iterator[Row]:
    """Whether the bodies of a load run can be made and are accepted: by the schema, or by sending one."""
    request = system.request
    if request is None:
        yield Row("request", "[request]", Outcome.SKIPPED, t("none is given: no traffic can be generated"))
        return
    name = f"{request.method} {request.path}"
    try:
        bodies = _bodies(settings, system)
    except VigieError as error:
        yield failed("request", name, error)
        return
    if isinstance(where, VigieError) or where.url is None:
        yield Row("request", name, Outcome.SKIPPED, t("the body can be made; the service's address is not known"))
        return
    url = where.url.rstrip("/")
    if send:
        yield _sent(settings, system, url, name, bodies[0])
        return
    try:
        document = fetch(settings, system, f"{url}/openapi.json", max_bytes=MAX_DOCUMENT_BYTES).check().json()
    except AddressRefused as error:
        yield failed("request", name, error)
        return
    except VigieError as error:
        reason = t("no schema to compare the body with: {why}", why=error.message)
        yield Row("request", name, Outcome.SKIPPED, reason, t("Send one real prediction to know: --send."))
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
        answer = fetch(settings, system, url + request.path, **options)
    except VigieError as error:
        return failed("request", name, error)
    if answer.ok:
        took = (time.monotonic() - started) * 1000
        text = t("sent one real prediction: HTTP {status} in {took:.0f} ms", status=answer.status, took=took)
        return Row("request", name, Outcome.OK, text)
    text = t("sent one real prediction: HTTP {status} “{excerpt}”", status=answer.status, excerpt=answer.excerpt)
    return Row("request", name, Outcome.ERROR, text, t("Correct path, body or fields under [request]."))


def _compared(document: Any, system: System, name: str, bodies: Sequence[bytes]) -> Row:
    """The bodies against the schema of the service's own OpenAPI document."""
    from app.openapi import Schemas, mapping

    request = system.request
    assert request is not None
    schemas = Schemas(mapping(document))
    item = mapping(mapping(schemas.document.get("paths")).get(request.path))
    operation = mapping(item.get(request.method.lower()))
    if not operation:
        paths = [path for path in mapping(schemas.document.get("paths")) if isinstance(path, str)][:5]
        hint = t("Its routes: {paths} …", paths=", ".join(paths))
        if not paths:
            hint = t("Correct path and method under [request].")
        return Row("request", name, Outcome.ERROR, t("the service's OpenAPI document has no such route"), hint)
    content = mapping(schemas.resolve(operation.get("requestBody")).get("content"))
    media = next((mapping(content[kind]) for kind in content if str(kind).partition(";")[0] == "application/json"), {})
    for body in bodies:
        problems = schemas.problems(media.get("schema"), json.loads(body) if body else None) if media else []
        if problems:
            hint = t("Correct the body or its fields under [request].")
            return Row("request", name, Outcome.ERROR, clauses(problems), hint)
    return Row("request", name, Outcome.OK, t("body fits the service's /openapi.json (nothing was sent)"))


def data(settings: Settings, system: System, watched: Watched) -> Iterator[Row]:
    """The periods that can be compared, with their rows; of a gauge what it says now."""
    drift = system.drift
    if drift is None:
        yield Row("drift", "[drift]", Outcome.SKIPPED, t("none is given: no months are compared"))
        return
    if isinstance(drift, Gauge):
        yield expression(watched, "drift", "gauge", drift.expr)
        if drift.has:
            yield expression(watched, "drift", "predictions", drift.has)
        return
    from app.periods import list_periods

    try:
        periods = list_periods(settings, system)
    except VigieError as error:
        yield failed("drift", drift.source, error)
        return
    for one in periods:
        counts = t("{rows}, {labelled:count} with a label", rows=rows(one.rows), labelled=one.labelled)
        yield Row("month", one.name, Outcome.OK, counts, one.note)
    if len(periods) < 2:
        text = t("{count} found; a comparison needs two", count=len(periods))
        yield Row("drift", drift.source, Outcome.EMPTY, text, t("Check path or query, and that the data is there."))
