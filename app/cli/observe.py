"""What Prometheus says: targets and queries."""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from app.base.text import plain
from app.cli.common import Exit, UsageError, error_object, find_system, stamp
from app.cli.terminal import say, say_json, say_note, say_problem, table
from app.config import Settings
from app.errors import QueryError
from app.words.message import t
from app.words.numbers import entire

if TYPE_CHECKING:
    from app.prometheus import Answer, Series, TimeRange


def targets(settings: Settings, options: argparse.Namespace) -> int:
    """Every target, or those of a system."""
    from app.prometheus import connect
    from app.prometheus.targets import of_system
    from app.words.units import Clock

    system = find_system(settings, options.system) if options.system else None
    prometheus = connect(settings, system)
    scraped = prometheus.targets()
    if system is not None:
        scraped = of_system(scraped, system.prometheus.selector)
    if options.json:
        objects = [{**plain(one), "meaning": one.meaning.text, "hint": one.meaning.hint} for one in scraped]
        say_json({"prometheus": prometheus.shown, "targets": objects})
        return Exit.DONE
    now = Clock().moment
    rows = [
        [
            t("waiting") if one.waiting else t(str(one.health)),
            one.job,
            one.address,
            t("not yet scraped")
            if one.last_scrape is None
            else t("{age:duration} ago", age=max(0.0, now - one.last_scrape)),
            "" if one.health == "up" else f"{t(one.meaning.text)}. {t(one.meaning.hint)}",
        ]
        for one in scraped
    ]
    table([t("health"), t("job"), t("address"), t("last scrape"), t("meaning")], rows, last_whole=True)
    return Exit.DONE


def query(settings: Settings, options: argparse.Namespace) -> int:
    """An instant query, or a range query when --start is given."""
    from app.charts.panel import Context
    from app.prometheus import State, TimeRange, connect
    from app.prometheus.promql import seconds_of

    if options.start is None and (options.step is not None):
        hint = t("Give {option}, for example {example}.", option="--start", example="--start 30m")
        raise UsageError(t("{option} needs {other}.", option="--step", other="--start"), hint=hint)
    now = time.time()
    end = moment(options.end, now) if options.end else now
    span = TimeRange.last(300.0, now=end)
    if options.start is not None:
        span = TimeRange.between(moment(options.start, now), end, step=_step(options.step))
    system = find_system(settings, options.system) if options.system else None
    prometheus = connect(settings, system)
    expr = options.expr
    if system is not None:
        window = None if options.window == "auto" else seconds_of(options.window)
        expr = Context.of(system, window, span, prometheus.targets()).fill(expr)
    if options.start is not None:
        answer = prometheus.query_range(expr, span)
    else:
        answer = prometheus.query(expr, end if options.end else None)
    if options.json:
        say_json(_answer(expr, answer, span if options.start is not None else None))
        if answer.error is not None:
            say_problem(answer.error)
    elif answer.error is not None:
        raise answer.error
    else:
        _print_answer(answer, ranged=options.start is not None)
    return Exit.ERROR if answer.state is State.ERROR else Exit.DONE


def _print_answer(answer: Answer, *, ranged: bool) -> None:
    from app.charts.panel import legend_name

    if answer.text:
        say(answer.text)
    if ranged:
        rows = [
            [legend_name("", one.labels), stamp(at), entire(value)]
            for one in answer.series
            for at, value in zip(one.times.tolist(), one.values.tolist(), strict=True)
        ]
        table([t("series"), t("time"), t("value")], rows)
    else:
        table(
            [t("series"), t("value")], [[legend_name("", one.labels), entire(one.values[-1])] for one in answer.series]
        )
    for note in dict.fromkeys([answer.reason, *answer.warnings, *answer.infos]):
        if note:
            say_note(note)


def _answer(expr: str, answer: Answer, span: TimeRange | None) -> dict[str, Any]:
    def series(one: Series) -> dict[str, Any]:
        pairs = zip(one.times.tolist(), one.values.tolist(), strict=True)
        return {"labels": dict(one.labels), "values": [[at, value] for at, value in pairs]}

    return {
        "expr": expr,
        "state": str(answer.state),
        "kind": answer.kind,
        "range": asdict(span) if span else None,
        "series": [series(one) for one in answer.series],
        "total_series": answer.total_series,
        "text": answer.text or None,
        "warnings": answer.warnings,
        "infos": answer.infos,
        "reason": answer.reason,
        "hint": answer.hint,
        "seconds": answer.seconds,
        "error": error_object(answer.error) if answer.error else None,
    }


def moment(text: str, now: float) -> float:
    """`1700000000`, `2026-01-31T14:00:00Z`, `now` or `30m` (ago) as epoch seconds. Raises UsageError."""
    from app.prometheus.promql import seconds_of

    text = text.strip()
    if text == "now":
        return now
    try:
        return now - seconds_of(text.removeprefix("-"))
    except QueryError:
        pass  # not a duration: a number or a date, then
    try:
        return float(text)
    except ValueError:
        pass  # not a number: a date, then
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError as error:
        hint = t("Accepted: epoch seconds, 2026-01-31T14:00:00Z, now, 30m (ago).")
        raise UsageError(t("{text} is not a moment.", text=repr(text)), hint=hint) from error
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()


def _step(text: str | None) -> float | None:
    from app.prometheus.promql import seconds_of

    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        return seconds_of(text)
