"""The command line: targets, query, periods, runs, drift, load, systems.

Standard output holds the answer alone (one JSON object with `--json`, null for unknown), standard error progress and
errors. Exit codes: 0 done, 1 error, 2 usage, 3 RETRAINING_TRIGGERED and 4 UNDECIDED (with `--exit-code`), 5 stopped by
a limit, 6 cancelled. Heavy rooms are imported by the command that needs them.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.config import Settings, System, load_system, load_systems
from app.errors import ConfigError, JobFailed, QueryError, VigieError
from app.terminal import plain, say_error, say_json, table

if TYPE_CHECKING:
    from app.jobs import Progress
    from app.ledger import Run
    from app.prometheus import Answer, Series, TimeRange

# A terminal shows this many runs at a glance; --limit asks for more.
DEFAULT_RUNS = 20
# Placeholder values with which a system file's expressions are tried; any will do.
TRIED = {"window": 60.0, "rate_interval": 8.0, "range_": 300.0}


class Exit(IntEnum):
    """Exit codes (docs: contracts)."""

    DONE = 0
    ERROR = 1
    USAGE = 2
    RETRAINING = 3
    UNDECIDED = 4
    LIMIT = 5
    CANCELLED = 6
    INTERRUPTED = 130


class UsageError(VigieError):
    """The arguments do not fit together; ends with exit code 2."""


def main(argv: Sequence[str] | None = None, environ: Mapping[str, str] | None = None) -> int:
    """Run one command and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")  # a label may hold what the terminal cannot write
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    options = parser().parse_args(argv)
    try:
        code = int(options.command(Settings.from_env(environ), options))
        sys.stdout.flush()
    except VigieError as error:
        code = Exit.USAGE if isinstance(error, UsageError) else Exit.ERROR
        if options.json:
            say_json({"error": _error(error)})
        say_error(f"error: {error.text}")
    except KeyboardInterrupt:
        say_error("left before the end; a run that somebody else started goes on")
        code = Exit.INTERRUPTED
    except BrokenPipeError:
        # `| head` has what it wanted; the interpreter must not try to flush into it once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = Exit.DONE
    return int(code)


def parser() -> argparse.ArgumentParser:
    """The arguments of every command."""
    top = argparse.ArgumentParser(prog="python -m app", description="Vigie on the command line.")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, call: Callable[..., int], text: str) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=text, description=text)
        one.add_argument("--json", action="store_true", help="one JSON object on standard output")
        one.set_defaults(command=call)
        return one

    one = command("targets", targets, "What Prometheus scrapes, down first, with each error in words.")
    one.add_argument("--system", help="only the targets of this system")

    one = command("query", query, "Ask a PromQL expression, now or over a range.")
    one.add_argument("expr", metavar="EXPR", help="PromQL; $selector, $window … are filled when --system is given")
    one.add_argument("--system", help="whose Prometheus and selector")
    one.add_argument("--start", help="epoch seconds, 2026-01-31T14:00:00Z, or 30m for half an hour ago")
    one.add_argument("--end", help="as --start; now when not given")
    one.add_argument("--step", help="seconds or 15s; chosen to suit the range when not given")
    one.add_argument("--window", default="1m", help="the value of $window (default: 1m)")

    one = command("periods", periods, "The months or windows of data a system has.")
    one.add_argument("--system", required=True)

    one = command("runs", runs, "Earlier comparisons and load runs, newest first.")
    one.add_argument("--system")
    one.add_argument("--kind", choices=["drift", "load", "quality", "monitoring", "imported"])
    one.add_argument("--limit", type=int, default=DEFAULT_RUNS)

    one = command("drift", drift, "Compare two months and decide whether retraining is due.")
    one.add_argument("--system", required=True)
    one.add_argument("--ref", help="reference: a date, a month name (month_000) or a period key")
    one.add_argument("--cur", help="current: as --ref")
    one.add_argument("--threshold", type=float, help="share of drifted columns from which retraining is due")
    one.add_argument("--exit-code", action="store_true", help="0 NO_ACTION, 3 RETRAINING_TRIGGERED, 4 UNDECIDED")

    one = command("load", load, "Send traffic to a system's prediction service and count what arrives.")
    one.add_argument("--system", required=True)
    what = one.add_mutually_exclusive_group(required=True)
    what.add_argument("--count", type=int, help="this many requests")
    what.add_argument("--rate", type=float, help="requests a second, for --duration seconds")
    one.add_argument("--duration", type=float, help="seconds; with --count the requests are spread over them")
    one.add_argument("--pause", type=float, help="with --count: seconds between an answer and the next request")
    one.add_argument("--shape", choices=["steady", "ramp", "spike"], help="with --rate")
    one.add_argument("--errors", type=float, help="share of requests that must fail, 0 to 1")
    one.add_argument("--period", help="draw the requests from this month")
    one.add_argument("--seed", type=int, help="equal seeds send equal requests")

    systems = commands.add_parser("systems", help="System files.", description="System files.")
    below = systems.add_subparsers(required=True, metavar="COMMAND")
    one = below.add_parser("check", help="read system files and say what is wrong with them")
    one.add_argument("files", nargs="*", type=Path, metavar="FILE", help="default: every known system file")
    one.add_argument("--json", action="store_true", help="one JSON object on standard output")
    one.set_defaults(command=systems_check)
    return top


# --- what Prometheus says --------------------------------------------------------------------------------------------


def targets(settings: Settings, options: argparse.Namespace) -> int:
    """Every target, or those of a system."""
    from app.charts.units import Clock, format_duration
    from app.prometheus import connect
    from app.prometheus.targets import of_system

    system = _system(settings, options.system) if options.system else None
    prometheus = connect(settings, system)
    found = prometheus.targets()
    if system is not None:
        found = of_system(found, system.prometheus.selector)
    if options.json:
        objects = [{**plain(one), "meaning": one.meaning.text, "hint": one.meaning.hint} for one in found]
        say_json({"prometheus": prometheus.shown, "targets": objects})
        return Exit.DONE
    now = Clock().moment
    rows = [
        [
            "waiting" if one.waiting else str(one.health),
            one.job,
            one.address,
            "not yet scraped" if one.last_scrape is None else f"{format_duration(max(0.0, now - one.last_scrape))} ago",
            "" if one.health == "up" else f"{one.meaning.text}. {one.meaning.hint}",
        ]
        for one in found
    ]
    table(["health", "job", "address", "last scrape", "meaning"], rows, last_whole=True)
    return Exit.DONE


def query(settings: Settings, options: argparse.Namespace) -> int:
    """An instant query, or a range query when --start is given."""
    from app.charts.panel import Context
    from app.prometheus import State, TimeRange, connect
    from app.prometheus.promql import seconds_of

    if options.start is None and (options.step is not None):
        raise UsageError("--step needs --start.", hint="Give --start, for example --start 30m.")
    now = time.time()
    end = moment(options.end, now) if options.end else now
    span = TimeRange.last(300.0, now=end)
    if options.start is not None:
        span = TimeRange.between(moment(options.start, now), end, step=_step(options.step))
    system = _system(settings, options.system) if options.system else None
    prometheus = connect(settings, system)
    expr = options.expr
    if system is not None:
        expr = Context.of(system, seconds_of(options.window), span, prometheus.targets()).fill(expr)
    if options.start is not None:
        answer = prometheus.query_range(expr, span)
    else:
        answer = prometheus.query(expr, end if options.end else None)
    if options.json:
        say_json(_answer(expr, answer, span if options.start is not None else None))
        if answer.error is not None:
            say_error(f"error: {answer.error.text}")
    elif answer.error is not None:
        raise answer.error
    else:
        _print_answer(answer, ranged=options.start is not None)
    return Exit.ERROR if answer.state is State.ERROR else Exit.DONE


def _print_answer(answer: Answer, *, ranged: bool) -> None:
    from app.charts.panel import legend_name

    if answer.text:
        print(answer.text)
    if ranged:
        rows = [
            [legend_name("", one.labels), _stamp(at), _number(value)]
            for one in answer.series
            for at, value in zip(one.times.tolist(), one.values.tolist(), strict=True)
        ]
        table(["series", "time", "value"], rows)
    else:
        table(["series", "value"], [[legend_name("", one.labels), _number(one.values[-1])] for one in answer.series])
    for note in dict.fromkeys([answer.reason, *answer.warnings, *answer.infos]):
        if note:
            say_error(f"note: {note}")


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
        "error": _error(answer.error) if answer.error else None,
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
        hint = "Accepted: epoch seconds, 2026-01-31T14:00:00Z, now, 30m (ago)."
        raise UsageError(f"{text!r} is not a moment.", hint=hint) from error
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()


def _step(text: str | None) -> float | None:
    from app.prometheus.promql import seconds_of

    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        return seconds_of(text)


# --- data, runs, jobs ------------------------------------------------------------------------------------------------


def periods(settings: Settings, options: argparse.Namespace) -> int:
    """The periods of a system."""
    from app.periods import list_periods

    system = _system(settings, options.system)
    found = list_periods(settings, system)
    if options.json:
        say_json({"system": system.id, "periods": [plain(one) for one in found]})
        return Exit.DONE
    rows = [[one.name, one.key, _count(one.rows), _count(one.labelled), one.note] for one in found]
    table(["name", "key", "rows", "labelled", "note"], rows)
    if not found:
        say_error(f"note: {system.title} has no months to compare")
    return Exit.DONE


def runs(settings: Settings, options: argparse.Namespace) -> int:
    """The newest runs of the ledger."""
    from app.ledger import Ledger

    if options.limit < 1:
        raise UsageError("--limit is a number from 1.", hint=f"The default is {DEFAULT_RUNS}.")
    system = _system(settings, options.system).id if options.system else None
    with Ledger(settings.ledger_url) as ledger:
        found = ledger.runs(kind=options.kind, system=system, limit=options.limit)
        total = ledger.count(kind=options.kind, system=system)
    if options.json:
        say_json({"runs": [plain(one) for one in found], "total": total})
        return Exit.DONE
    rows = [
        [one.id, one.kind, one.system, str(one.state), one.outcome, _stamp(one.created), one.reason] for one in found
    ]
    table(["run", "kind", "system", "state", "outcome", "created", "reason"], rows)
    if total > len(found):
        say_error(f"note: {len(found)} of {total} runs; --limit shows more")
    return Exit.DONE


def drift(settings: Settings, options: argparse.Namespace) -> int:
    """Compare two periods; the last two lines of the output are those of the original course script."""
    from app import reports
    from app.drift.decide import target_line
    from app.drift.request import job_args, job_key
    from app.drift.result import Policy, Result, Verdict
    from app.jobs import run_and_wait

    system = _system(settings, options.system)
    if system.drift is None:
        message = f"{system.id}: the system file has no [drift]: there is nothing to compare."
        raise ConfigError(message, hint="Add [drift] to the system file.")
    if options.threshold is not None and not 0 <= options.threshold <= 1:
        raise UsageError(f"--threshold is {options.threshold:g}; accepted: a share from 0 to 1.", hint="Try 0.3.")
    ref, cur = _pair(settings, system, options.ref, options.cur)
    policy = Policy.of(system.drift, options.threshold)
    key, args = job_key(system, ref, cur, policy), job_args(ref, cur, policy)
    run = run_and_wait(settings, "drift", system.id, key, args, _Stages())
    if run.state != "done":
        return _not_done(run, as_json=options.json)
    result = Result.from_json(reports.read_file(Path(run.path), "result.json"))
    if options.json:
        say_json({**json.loads(result.to_json()), "state": str(run.state), "path": run.path})
    else:
        print(target_line(result.target_drift))
        print(result.line)
    codes = {Verdict.RETRAINING_TRIGGERED: Exit.RETRAINING, Verdict.UNDECIDED: Exit.UNDECIDED}
    return codes.get(result.decision, Exit.DONE) if options.exit_code else Exit.DONE


def _pair(settings: Settings, system: System, ref: str | None, cur: str | None) -> tuple[str, str]:
    """The keys of both periods; without names, of a source that has exactly two."""
    from app.periods import list_periods, pick

    if system.drift is not None and system.drift.source == "gauge":
        return ref or "", cur or ""
    found = list_periods(settings, system)
    if ref is None and cur is None and len(found) == 2:
        return found[0].key, found[1].key
    if ref is None or cur is None:
        names = ", ".join(one.name for one in found[:3])
        raise UsageError("--ref and --cur are needed.", hint=f"{system.id} has {len(found)} periods: {names} …")
    return pick(found, ref).key, pick(found, cur).key


def load(settings: Settings, options: argparse.Namespace) -> int:
    """Send traffic and say what both sides counted."""
    from app.jobs import run_and_wait
    from app.load import result
    from app.load.plan import Plan

    if options.rate is not None and options.duration is None:
        raise UsageError("--rate needs --duration.", hint="For example --rate 20 --duration 60.")
    if options.pause is not None and (options.count is None or options.duration is not None):
        raise UsageError("--pause goes with --count alone.", hint="For example --count 100 --pause 0.1.")
    if options.shape is not None and options.rate is None:
        raise UsageError("--shape goes with --rate.", hint="For example --shape ramp --rate 20 --duration 60.")
    system = _system(settings, options.system)
    names = ("count", "rate", "duration", "pause", "shape", "errors", "seed")
    args = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    if options.period is not None:
        from app.periods import list_periods, pick

        args["period"] = pick(list_periods(settings, system), options.period).key
    plan = Plan.from_args(args, system)
    run = run_and_wait(settings, "load", system.id, plan.key, args, _Stages())
    if run.state not in ("done", "cancelled") or not run.path:
        return _not_done(run, as_json=options.json)
    found = result.read(Path(run.path))
    if found.plan.get("words") != plan.words:
        say_error(f"note: a run was already going and was joined: {found.plan.get('words')}")
    if options.json:
        say_json({**found.to_dict(), "state": str(run.state), "path": run.path})
    else:
        print(found.sentence)
    if run.state == "cancelled":
        return Exit.CANCELLED
    return Exit.LIMIT if found.stopped_by else Exit.DONE


def _not_done(run: Run, *, as_json: bool) -> int:
    """A run without a result: cancelled is an outcome, everything else an error."""
    if run.state != "cancelled":
        reason = (run.reason or "no reason is known").rstrip(".")
        raise JobFailed(f"run {run.id} {run.state}: {reason}.")
    if as_json:
        say_json({"run": run.id, "state": "cancelled", "reason": run.reason})
    say_error(f"run {run.id} was cancelled")
    return Exit.CANCELLED


class _Stages:
    """Progress on standard error: a line for each new stage."""

    def __init__(self) -> None:
        self.seen = ""

    def __call__(self, progress: Progress) -> None:
        if progress.stage and progress.stage != self.seen and not progress.final:
            self.seen = progress.stage
            say_error(f"{progress.run} {progress.stage}")


# --- system files ----------------------------------------------------------------------------------------------------


def systems_check(settings: Settings, options: argparse.Namespace) -> int:
    """Read system files; every expression's placeholders and every selector are tried as well."""
    good: list[System] = []
    broken: list[VigieError] = []
    if options.files:
        for path in options.files:
            try:
                good.append(load_system(path.absolute(), settings))
            except ConfigError as error:
                broken.append(error)
    else:
        found = load_systems(settings)
        good, broken = list(found.by_id.values()), list(found.broken)
    for system in list(good):
        problems = expression_problems(system)
        broken += problems
        if problems:
            good.remove(system)
    if options.json:
        say_json(
            {"systems": [{"id": one.id, "title": one.title} for one in good], "broken": [_error(one) for one in broken]}
        )
    else:
        for system in good:
            print(f"ok {system.id}: {system.title}, {len(system.panels)} panels, {len(system.alerts)} alerts")
        for problem in broken:
            say_error(f"error: {problem.text}")
    return Exit.ERROR if broken else Exit.DONE


def expression_problems(system: System) -> list[VigieError]:
    """What is wrong with the placeholders of a system's expressions and with its selector."""
    from app.prometheus.promql import fill

    expressions = [(f"panels.{one.id}", text) for one in system.panels for text in _texts(one.expr)]
    expressions += [(f"alerts.{one.name}", one.expr) for one in system.alerts]
    expressions += [(f"status.{one.title}", one.expr) for one in system.status]
    if system.drift is not None and system.drift.expr:
        expressions.append(("drift", system.drift.expr))
    found: list[VigieError] = []
    for place, expr in expressions:
        try:
            fill(expr, selector=system.prometheus.selector, **TRIED)
        except QueryError as error:
            found.append(ConfigError(f"{system.id}.toml: key {place}.expr: {error}", hint=error.hint))
        except ConfigError as error:
            return [ConfigError(f"{system.id}.toml: key prometheus.selector: {error}", hint=error.hint)]
    return found


def _texts(expr: str | Mapping[str, str]) -> list[str]:
    return [expr] if isinstance(expr, str) else list(expr.values())


def _system(settings: Settings, name: str) -> System:
    systems = load_systems(settings)
    if name in systems.by_id:
        return systems.by_id[name]
    for error in systems.broken:
        if f"{name}.toml" in str(error):
            raise error
    known = ", ".join(systems.by_id) or "none"
    raise ConfigError(f"there is no system called {name!r}.", hint=f"Known systems: {known}.")


def _error(error: VigieError) -> dict[str, Any]:
    found = {"type": type(error).__name__, "message": str(error), "hint": error.hint}
    position = getattr(error, "position", None)
    return found | ({"line": position[0], "column": position[1]} if position else {})


def _stamp(at: float | None) -> str:
    return "unknown" if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _number(value: float) -> str:
    return repr(float(value)).removesuffix(".0")


def _count(value: int | None) -> str:
    return "unknown" if value is None else f"{value:,}"
