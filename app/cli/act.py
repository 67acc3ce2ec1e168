"""Data, runs and jobs: periods, runs, drift, load."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from app.base.text import plain
from app.cli.common import Exit, UsageError, find_system, stamp
from app.cli.terminal import say, say_error, say_json, table
from app.config import Settings, System
from app.errors import ConfigError, DataError, JobFailed, ReportNotFound
from app.words.numbers import count
from app.words.shared import NO_REASON

if TYPE_CHECKING:
    from app.drift.result import Result
    from app.jobs import Progress
    from app.runs.run import Run

# A terminal shows this many runs at a glance; --limit asks for more.
DEFAULT_RUNS = 20


def periods(settings: Settings, options: argparse.Namespace) -> int:
    """The periods of a system."""
    from app.periods import list_periods

    system = find_system(settings, options.system)
    found = list_periods(settings, system)
    if options.json:
        say_json({"system": system.id, "periods": [plain(one) for one in found]})
        return Exit.DONE
    rows = [[one.name, one.key, count(one.rows), count(one.labelled), one.note] for one in found]
    table(["name", "key", "rows", "labelled", "note"], rows)
    if not found:
        say_error(f"note: {system.title} has no months to compare")
    return Exit.DONE


def runs(settings: Settings, options: argparse.Namespace) -> int:
    """The runs of the ledger that match, newest first or by --sort."""
    from app.runs.opening import opened
    from app.runs.run import Filter
    from app.runs.tidy import tidy

    if options.limit < 1:
        raise UsageError("--limit is a number from 1.", hint=f"The default is {DEFAULT_RUNS}.")
    from app.config import load_systems
    from app.runs.own_source import fingerprints

    system = find_system(settings, options.system).id if options.system else None
    tidy(settings)
    known = load_systems(settings).by_id.values()
    own = frozenset().union(*(fingerprints(settings, one) for one in known if system in (None, one.id)))
    with opened(settings) as ledger:
        wanted = Filter(
            systems=(system,) if system else (),
            kinds=(options.kind,) if options.kind else (),
            decisions=(options.decision,) if options.decision else (),
            months=options.month or "",
            sources=own,
            elsewhere=None if options.source is None else options.source == "other",
        )
        found = ledger.library(wanted, sort=options.sort, limit=options.limit)
        total = ledger.library_count(wanted)
    if options.json:
        rows = [{**plain(one), "source": one.source.word(own)} for one in found]
        say_json({"runs": rows, "total": total})
        return Exit.DONE
    heads = ["run", "kind", "system", "state", "months", "share", "outcome", "source", "created", "reason"]
    table(heads, [_cells(one, own) for one in found])
    if total > len(found):
        say_error(f"note: {len(found)} of {total} runs; --limit shows more")
    return Exit.DONE


def _cells(run: Run, own: Collection[str]) -> list[str]:
    """A run in a table. The share is unrounded in --json; here it is with the counts it comes from."""
    from app.runs.words import why

    months = f"{run.ref} → {run.cur}" if run.ref and run.cur else ""
    share = "" if run.share is None else f"{run.share:.2f}"
    if share and run.drifted is not None and run.counted is not None:
        share += f" ({run.drifted} of {run.counted})"
    state, created = str(run.state), stamp(run.created)
    return [run.id, run.kind, run.system, state, months, share, run.outcome, run.source.word(own), created, why(run)]


def drift(settings: Settings, options: argparse.Namespace) -> int:
    """Compare two periods; the last two lines of the output are those of the original course script."""
    from app.drift.request import job_args, job_key
    from app.drift.result import Policy, Result
    from app.drift.sentence import target_line
    from app.jobs import run_and_wait
    from app.notify import calls
    from app.runs.kinds import DRIFT
    from app.runs.result import read_result

    system = find_system(settings, options.system)
    if options.threshold is not None and not 0 <= options.threshold <= 1 and not _by_gauge(system):
        raise UsageError(f"--threshold is {options.threshold:g}; accepted: a share from 0 to 1.", hint="Try 0.3.")
    if options.ref_file or options.cur_file:
        key, args = _two_files(settings, system, options)
    elif options.label or options.identifier:
        raise UsageError("--label and --identifier go with --ref-file.", hint="Of months the system file names them.")
    elif system.drift is None:
        message = f"{system.id}: the system file has no [drift]: there is nothing to compare."
        raise ConfigError(message, hint="Add [drift] to the system file, or give --ref-file and --cur-file.")
    elif _by_gauge(system):
        return _gauge(settings, system, options)
    else:
        ref, cur = _pair(settings, system, options.ref, options.cur)
        policy = Policy.of(system.drift, options.threshold)
        key, args = job_key(system, ref, cur, policy), job_args(ref, cur, policy)
    own: list[Run] = []
    run = run_and_wait(settings, DRIFT, system.id, key, args, _Stages(), after=own.append)
    if not run.done:
        return _not_done(run, as_json=options.json)
    result = read_result(run, Result)
    if options.json:
        say_json({**json.loads(result.to_json()), "state": str(run.state), "path": run.path})
    else:
        _explain(result)
        say(target_line(result.target_drift))
        say(result.line)
    # The verdict is out before anyone is notified of it.
    sys.stdout.flush()
    for one in own:
        calls.call(settings, one.id, say_error)
    return _code(result.decision, options)


def _by_gauge(system: System) -> bool:
    return system.drift is not None and system.drift.source == "gauge"


def _two_files(settings: Settings, system: System, options: argparse.Namespace) -> tuple[str, Mapping[str, Any]]:
    """Key and arguments of a comparison of two files, which are handed over."""
    from app.drift import uploads
    from app.drift.tables import Rules

    if not (options.ref_file and options.cur_file) or options.ref or options.cur:
        raise UsageError("--ref-file and --cur-file go together, without --ref and --cur.", hint="Give both files.")
    rules = Rules(label=options.label, identifier=options.identifier)
    if options.threshold is not None:
        rules = replace(rules, threshold=options.threshold)
    try:
        with open(options.ref_file, "rb") as ref, open(options.cur_file, "rb") as cur:
            given = (uploads.Given(options.ref_file, ref), uploads.Given(options.cur_file, cur))
            handed = uploads.hand_over(settings, system.id, *given, rules)
    except OSError as error:
        raise DataError(f"{error.filename} cannot be read ({error.strerror}).", hint="Look at its name.") from error
    return handed.key, handed.args


def _explain(result: Result) -> None:
    """Why it was decided so, on standard error: the two lines alone are on standard output."""
    from app.drift.sentence import target_words

    for name, side in (("reference", result.ref), ("current", result.cur)):
        labels = "" if side.labelled is None else f", {side.labelled:,} with a label"
        say_error(f"{name} {side.key}: {count(side.rows)} rows{labels}")
    say_error(f"why: {result.reason}")
    say_error(f"why: {target_words(result.policy, result.target_drift, result.columns)}")
    for note in result.notes:
        say_error(f"note: {note}")


def _code(decision: str, options: argparse.Namespace) -> int:
    codes = {"RETRAINING_TRIGGERED": Exit.RETRAINING, "UNDECIDED": Exit.UNDECIDED}
    return codes.get(decision, Exit.DONE) if options.exit_code else Exit.DONE


def _gauge(settings: Settings, system: System, options: argparse.Namespace) -> int:
    """A system that measures its own drift: the same two lines, without reports."""
    from app.drift.gauge import look
    from app.prometheus import connect

    if options.ref or options.cur:
        message = f"{system.id} measures its drift itself, as a gauge: there are no months to compare."
        raise UsageError(message, hint="Leave --ref and --cur out.")
    found = look(connect(settings, system), system, options.threshold)
    if options.json:
        say_json(found.to_dict())
    else:
        say(f"[Target drift] not measured: {system.id} decides on a gauge and has no labels")
        say(found.line)
    return _code(found.decision, options)


def _pair(settings: Settings, system: System, ref: str | None, cur: str | None) -> tuple[str, str]:
    """The keys of both periods; without names, of a source that has exactly two, or rolling windows."""
    from app.periods import list_periods, pick

    found = list_periods(settings, system)
    rolling = system.drift is not None and system.drift.rolling and len(found) > 1
    if ref is None and cur is None and (rolling or len(found) == 2):
        return found[-2].key, found[-1].key
    if ref is None or cur is None:
        names = ", ".join(one.name for one in found[:3])
        raise UsageError("--ref and --cur are needed.", hint=f"{system.id} has {len(found)} periods: {names} …")
    return pick(found, ref).key, pick(found, cur).key


def load(settings: Settings, options: argparse.Namespace) -> int:
    """Send traffic and say what both sides counted."""
    from app.jobs import run_and_wait
    from app.load.plan import Plan
    from app.load.result import Result
    from app.runs.kinds import LOAD
    from app.runs.result import read_result
    from app.runs.run import State

    if options.rate is not None and options.duration is None:
        raise UsageError("--rate needs --duration.", hint="For example --rate 20 --duration 60.")
    if options.pause is not None and (options.count is None or options.duration is not None):
        raise UsageError("--pause goes with --count alone.", hint="For example --count 100 --pause 0.1.")
    if options.shape is not None and options.rate is None:
        raise UsageError("--shape goes with --rate.", hint="For example --shape ramp --rate 20 --duration 60.")
    system = find_system(settings, options.system)
    names = ("count", "rate", "duration", "pause", "shape", "errors", "seed")
    args = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    if options.period is not None:
        from app.periods import list_periods, pick

        args["period"] = pick(list_periods(settings, system), options.period).key
    plan = Plan.from_args(args, system)
    run = run_and_wait(settings, LOAD, system.id, plan.key, args, _Stages())
    try:
        found = read_result(run, Result)
    except ReportNotFound:
        found = None
    if found is None:
        return _not_done(run, as_json=options.json)
    if found.plan.get("words") != plan.words:
        say_error(f"note: a run was already going and was joined: {found.plan.get('words')}")
    if options.json:
        say_json({**found.to_dict(), "state": str(run.state), "path": run.path})
    if run.state not in (State.DONE, State.CANCELLED):
        return _not_done(run, as_json=False)
    if not options.json:
        say(found.sentence)
    if run.state is State.CANCELLED:
        return Exit.CANCELLED
    return Exit.LIMIT if found.stopped_by else Exit.DONE


def _not_done(run: Run, *, as_json: bool) -> int:
    """A run without a result: cancelled is an outcome, everything else an error."""
    from app.runs.run import State

    if run.state is not State.CANCELLED:
        reason = (run.reason or NO_REASON).rstrip(".")
        raise JobFailed(f"run {run.id} {run.state}: {reason}.")
    if as_json:
        say_json({"run": run.id, "state": run.state, "reason": run.reason})
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
