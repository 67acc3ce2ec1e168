"""What Prometheus knows of a system: its targets, and what each of its expressions answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.check.rows import Outcome, Row, failed
from app.config import Panel, Settings, System
from app.errors import VigieError
from app.exposition import Described, Sample
from app.prometheus.names import metric_names, texts_of
from app.prometheus.promql import TimeRange
from app.words.message import clauses, t, tn

if TYPE_CHECKING:
    from app.charts.panel import Context
    from app.prometheus import Answer, Prometheus, Target

# The range expressions are asked over: what the Charts page begins with, as does the window ("auto").
RANGE_SECONDS = 300.0
# A person waits for some twenty answers, one after the other: a slow one is an answer, too.
DEADLINE = 5.0
# Prometheus runs four queries at once.
ASK_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Watched:
    """What Prometheus and the raw metrics know, read once for all rows."""

    prometheus: Prometheus | None
    reason: str
    context: Context | None
    scraped: bool
    names: frozenset[str]
    raw: frozenset[str]


def watch(
    settings: Settings, system: System, samples: Sequence[Sample], descriptions: Mapping[str, Described]
) -> tuple[Watched, list[Row]]:
    """What Prometheus and the raw metrics know, and a row for each target of the system."""
    from app.charts.panel import Context
    from app.prometheus import connect
    from app.prometheus.targets import of_system, scrape_interval

    raw = _exposed(samples, descriptions)
    try:
        prometheus = connect(settings, system, deadline=DEADLINE)
        targets = tuple(prometheus.targets())
        names = frozenset(prometheus.label_values("__name__"))
        mine = of_system(targets, system.prometheus.selector)
        context = Context.of(system, None, TimeRange.last(RANGE_SECONDS, scrape=scrape_interval(mine, "")), targets)
    except VigieError as error:
        return Watched(None, error.message, None, False, frozenset(), raw), [failed("targets", "Prometheus", error)]
    rows = [_target(one) for one in mine]
    if not mine:
        text = t("{server} has no target with {selector}", server=prometheus.shown, selector=system.prometheus.selector)
        hint = t("Give Prometheus the job. Until then charts are empty; traffic is still counted from raw /metrics.")
        rows = [Row("targets", system.prometheus.selector, Outcome.EMPTY, text, hint)]
    return Watched(prometheus, "", context, bool(mine), names, raw), rows


def _target(one: Target) -> Row:
    name = f"{one.job} {one.address}"
    if one.health == "up":
        return Row("targets", name, Outcome.OK, "up")
    outcome = Outcome.EMPTY if one.waiting else Outcome.ERROR
    return Row("targets", name, outcome, one.meaning.text, one.meaning.hint)


def expressions(system: System, watched: Watched) -> list[Row]:
    """A row for each panel, status and alert, asked a few at a time."""
    tasks: list[tuple[str, str, Panel | str]] = [("panel", one.id, one) for one in system.panels]
    tasks += [("status", one.title, one.expr) for one in system.status]
    tasks += [("alert", one.name, one.expr) for one in system.alerts]
    with ThreadPoolExecutor(max_workers=ASK_AT_ONCE) as pool:
        return list(pool.map(lambda task: expression(watched, *task), tasks))


def expression(watched: Watched, part: str, name: str, asked: Panel | str) -> Row:
    """One panel over the last minutes, or one expression as it is now."""
    prometheus, context = watched.prometheus, watched.context
    if prometheus is None or context is None:
        return Row(part, name, Outcome.SKIPPED, t("not asked: {why:clause}", why=watched.reason))
    if isinstance(asked, Panel):
        from app.charts.panel import ask

        answer = ask(prometheus, asked, context)
        if answer.state == "PARTIAL" and isinstance(asked.expr, dict):
            wrong = [note for note in answer.warnings if note.partition(": ")[0] in asked.expr]
            if wrong:
                # One of several expressions that fails is a mistake in the file, even when the others answer.
                return Row(part, name, Outcome.ERROR, clauses(wrong), answer.hint)
        return _judged(watched, part, name, texts_of(asked.expr), answer)
    try:
        answer = prometheus.query(context.fill(asked))
    except VigieError as error:
        return failed(part, name, error)
    if part == "alert" and answer.state in ("OK", "EMPTY") and not _unknown([asked], watched):
        text = t("answers; its condition holds now" if answer.state == "OK" else "answers; it does not fire now")
        return Row(part, name, Outcome.OK, text)
    return _judged(watched, part, name, [asked], answer)


def _judged(watched: Watched, part: str, name: str, texts: Sequence[str], answer: Answer) -> Row:
    if answer.state == "ERROR":
        return Row(part, name, Outcome.ERROR, answer.reason, answer.hint)
    if answer.state == "EMPTY":
        unknown = _unknown(texts, watched)
        here = watched.raw.issuperset(unknown)
        if here and not watched.scraped:
            return Row(part, name, Outcome.EMPTY, t("Prometheus does not scrape the service yet"))
        if unknown and here:
            reason = t("Prometheus has not scraped {metrics} yet", metrics=", ".join(unknown))
            return Row(part, name, Outcome.EMPTY, reason, t("A labelled metric appears with its first request."))
        if unknown:
            reason = t("there is no metric called {metrics}", metrics=", ".join(unknown))
            return Row(part, name, Outcome.ERROR, reason, t("Correct the name in the expression."))
        return Row(part, name, Outcome.EMPTY, answer.reason, answer.hint)
    count = tn("{n:count} series", "{n:count} series", answer.total_series)
    return Row(part, name, Outcome.OK, count)


def _unknown(texts: Sequence[str], watched: Watched) -> list[str]:
    """Metric names in expressions of which Prometheus has no series."""
    return [name for name in metric_names(texts) if name not in watched.names]


def _exposed(samples: Sequence[Sample], descriptions: Mapping[str, Described]) -> frozenset[str]:
    """Names of series the service has or will have with its first request, and the one that every target has."""
    parts = {"histogram": ("_bucket", "_sum", "_count"), "summary": ("", "_sum", "_count"), "counter": ("", "_total")}
    declared = {name + part for name, one in descriptions.items() for part in parts.get(one.type, ("",))}
    return frozenset({"up"} | declared | {sample.name for sample in samples})
